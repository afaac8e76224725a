//! What a target says of its load, in a header field of its answer.
//!
//! Source: Open Request Cost Aggregation (ORCA), `endpoint-load-metrics` as Envoy and vLLM have it: `TEXT` with pairs, or `JSON`. Of
//! its named metrics weir knows two, which the Prequal paper asks for.

use std::time::Duration;

use serde_json::Value;
use weir_core::load_report::LoadReport;

/// The field.
pub(crate) const FIELD: &str = "endpoint-load-metrics";

/// Requests that the target has under way.
const IN_FLIGHT: &str = "in_flight";

/// Milliseconds that one more would take.
const LATENCY: &str = "latency_ms";

/// What all that it names stands in.
const NAMED: &str = "named_metrics";

/// Reads the value of the field; `None` when it does not say what is under way, or says nonsense.
pub(crate) fn parse(value: &[u8]) -> Option<LoadReport> {
    let value = std::str::from_utf8(value).ok()?;
    let (format, metrics) = value.split_once(' ')?;
    let named = match format {
        "TEXT" => Named::Pairs(metrics),
        "JSON" => Named::Json(serde_json::from_str::<Value>(metrics).ok()?.get_mut(NAMED)?.take()),
        _ => return None,
    };
    let in_flight =
        named.number(IN_FLIGHT).ok()?.filter(|count| (0.0..=f64::from(u32::MAX)).contains(count))?;
    let millis = named.number(LATENCY).ok()?;
    let latency = millis.map(|millis| Duration::try_from_secs_f64(millis / 1e3)).transpose().ok()?;
    Some(LoadReport { in_flight: in_flight.round() as u32, latency })
}

/// The named metrics of a report.
enum Named<'v> {
    Pairs(&'v str),
    Json(Value),
}

/// What should be a number and is none.
struct NoNumber;

impl Named<'_> {
    /// One of them, if it is there.
    fn number(&self, name: &str) -> Result<Option<f64>, NoNumber> {
        match self {
            Self::Pairs(pairs) => {
                let is_named = |key: &str| key.trim().split_once('.') == Some((NAMED, name));
                let mut pairs = pairs.split(',').filter_map(|pair| pair.split_once('='));
                let value = pairs.find(|(key, _)| is_named(key));
                value.map(|(_, value)| value.trim().parse().map_err(|_| NoNumber)).transpose()
            }
            Self::Json(named) => named.get(name).map(|value| value.as_f64().ok_or(NoNumber)).transpose(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(in_flight: u32, micros: u64) -> LoadReport {
        LoadReport { in_flight, latency: (micros > 0).then(|| Duration::from_micros(micros)) }
    }

    #[test]
    fn a_report_is_read_in_both_of_its_forms() {
        for (value, expected) in [
            ("TEXT named_metrics.in_flight=3,named_metrics.latency_ms=12.5", report(3, 12_500)),
            ("TEXT cpu_utilization=0.3, named_metrics.in_flight = 3", report(3, 0)),
            ("JSON {\"named_metrics\": {\"in_flight\": 3, \"latency_ms\": 12.5}}", report(3, 12_500)),
            ("JSON {\"rps_fractional\": 9, \"named_metrics\": {\"in_flight\": 0.0}}", report(0, 0)),
        ] {
            assert_eq!(parse(value.as_bytes()), Some(expected), "{value}");
        }
    }

    #[test]
    fn what_does_not_say_what_is_under_way_or_says_nonsense_is_no_report() {
        for value in [
            "",
            "TEXT",
            "named_metrics.in_flight=3",
            "TEXT cpu_utilization=0.3",
            "TEXT in_flight=3",
            "TEXT named_metrics.in_flight=-1",
            "TEXT named_metrics.in_flight=NaN",
            "TEXT named_metrics.in_flight=1e99",
            "TEXT named_metrics.in_flight=3,named_metrics.latency_ms=inf",
            "TEXT named_metrics.in_flight=3,named_metrics.latency_ms=-2",
            "TEXT named_metrics.in_flight=3,named_metrics.latency_ms=soon",
            "JSON {\"named_metrics\": {\"in_flight\": \"3\"}}",
            "JSON {\"named_metrics\": 3}",
            "JSON {\"in_flight\": 3",
            "BIN CAM=",
        ] {
            assert_eq!(parse(value.as_bytes()), None, "{value}");
        }
        assert_eq!(parse(b"TEXT named_metrics.in_flight=3,\xff"), None);
    }

    #[test]
    fn no_bytes_break_the_reader() {
        let mut random = fastrand::Rng::with_seed(1);
        let seeds = [
            "TEXT named_metrics.in_flight=3,named_metrics.latency_ms=1",
            "JSON {\"named_metrics\":{\"in_flight\":3}}",
        ];
        for round in 0..20_000 {
            let mut bytes = seeds[round % 2].as_bytes().to_vec();
            for _ in 0..random.usize(1..6) {
                let at = random.usize(0..bytes.len());
                bytes[at] = if random.bool() {
                    random.u8(..)
                } else {
                    *random.choice(b"{}[]\",.=-e0 9").unwrap_or(&0)
                };
            }
            bytes.truncate(random.usize(0..=bytes.len()));
            let _ = parse(&bytes);
        }
    }
}
