//! The report: medians, ranges, and ratios of paired slices.

use serde_json::json;

use crate::say;
use crate::scenario::{Front, Scenario};
use crate::schedule::Slice;

/// All slices of one proxy.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    name: String,
    slices: Vec<Slice>,
    /// CPU time per request over that of the floor slices on both sides.
    ratios: Vec<f64>,
}

impl Measured {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned(), slices: Vec::new(), ratios: Vec::new() }
    }

    pub(crate) fn add(&mut self, slice: Slice, floor_micros: Option<f64>) {
        self.ratios.extend(floor_micros.map(|floor| slice.cpu_micros / floor));
        self.slices.push(slice);
    }

    fn cpu(&self) -> Vec<f64> {
        self.slices.iter().map(|slice| slice.cpu_micros).collect()
    }

    fn errors(&self) -> u64 {
        self.slices.iter().map(|slice| slice.run.errors).sum()
    }

    fn per_second(&self) -> f64 {
        median(self.slices.iter().map(|slice| slice.run.requests as f64 / slice.run.seconds))
    }
}

/// Prints one scenario's table.
pub(crate) fn report(scenario: Scenario, floor: &Measured, proxies: &[Measured], as_json: bool) {
    let ratio_to_best = weir_to_best_peer(proxies);
    if as_json {
        let rows: Vec<_> = std::iter::once(floor).chain(proxies).map(row_json).collect();
        say(&json!({ "scenario": scenario.name(), "rows": rows, "weir_to_best_peer": ratio_to_best })
            .to_string());
        return;
    }
    let (name, unit) = (scenario.name(), scenario.unit());
    say(&format!("\n{name}: CPU of the proxy per {unit}, one worker each"));
    say(&format!(
        "                     CPU µs median [min–max]  {unit:>7}s/s p50 µs   p99 µs  errors  ÷ floor (paired)"
    ));
    for measured in std::iter::once(floor).chain(proxies) {
        say(&row(measured));
    }
    if scenario.front() == Front::Udp {
        for measured in std::iter::once(floor).chain(proxies) {
            let of_a_second = 1e6 / median(measured.cpu().into_iter());
            say(&format!("{:<20} {of_a_second:>8.0} datagrams a second of CPU", measured.name));
        }
    }
    if let Some((peer, ratio)) = ratio_to_best {
        say(&format!("weir ÷ {peer}, the better peer: {ratio:.2} (median of paired rounds)"));
    }
}

fn row(measured: &Measured) -> String {
    let cpu = measured.cpu();
    let (low, high) = (cpu.iter().copied().fold(f64::MAX, f64::min), cpu.iter().copied().fold(0.0, f64::max));
    let latency = |of: fn(&Slice) -> u64| median(measured.slices.iter().map(|slice| of(slice) as f64));
    let ratio = if measured.ratios.is_empty() {
        "1".to_owned()
    } else {
        format!("{:.2}", median(measured.ratios.iter().copied()))
    };
    format!(
        "{:<20} {:>8.1} [{low:.1}–{high:.1}] {:>12.0} {:>8.0} {:>8.0} {:>7}  {ratio}",
        measured.name,
        median(cpu.iter().copied()),
        measured.per_second(),
        latency(|slice| slice.run.p50_micros),
        latency(|slice| slice.run.p99_micros),
        measured.errors(),
    )
}

fn row_json(measured: &Measured) -> serde_json::Value {
    json!({
        "name": measured.name,
        "cpu_micros": median(measured.cpu().into_iter()),
        "requests_per_second": measured.per_second(),
        "errors": measured.errors(),
        "ratio_to_floor": (!measured.ratios.is_empty()).then(|| median(measured.ratios.iter().copied())),
    })
}

/// weir's paired ratio over that of the better of its peers, round by round; the peer's name and the median.
fn weir_to_best_peer(proxies: &[Measured]) -> Option<(String, f64)> {
    let weir = proxies.iter().find(|proxy| proxy.name.starts_with("weir"))?;
    let peers = proxies.iter().filter(|proxy| !proxy.name.starts_with("weir"));
    let best =
        peers.min_by(|a, b| median(a.ratios.iter().copied()).total_cmp(&median(b.ratios.iter().copied())))?;
    let ratio = median(weir.ratios.iter().zip(&best.ratios).map(|(weir, peer)| weir / peer));
    Some((best.name.clone(), ratio))
}

pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        n if n % 2 == 1 => values[n / 2],
        n => f64::midpoint(values[n / 2 - 1], values[n / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_of_an_even_count_is_between_the_two_in_the_middle() {
        assert!((median([4.0, 1.0, 3.0, 2.0].into_iter()) - 2.5).abs() < f64::EPSILON);
        assert!((median([3.0, 1.0, 2.0].into_iter()) - 2.0).abs() < f64::EPSILON);
    }

    #[test]
    fn weir_is_compared_with_the_better_peer_round_by_round() {
        let proxy = |name: &str, ratios: &[f64]| Measured {
            name: name.into(),
            slices: Vec::new(),
            ratios: ratios.into(),
        };
        let proxies =
            [proxy("nginx 1", &[1.5, 1.5]), proxy("HAProxy 2", &[2.0, 1.0]), proxy("weir 0", &[1.5, 3.0])];
        let (peer, ratio) = weir_to_best_peer(&proxies).unwrap();
        assert_eq!(peer, "nginx 1");
        assert!((ratio - 1.5).abs() < f64::EPSILON);
    }
}
