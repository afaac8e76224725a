//! What is said of a load.

use std::fmt::Write;

use serde_json::{Value, json};
use weir_lab::load::{Outcome, Plan, Protocol};

use super::options::{Options, Schedule};

/// Shares of requests whose latency is shown.
const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];

type Histogram = weir_lab::load::Histogram<u64>;

/// For people.
pub(super) fn table(options: &Options, plan: &Plan, schedule: &Schedule, outcome: &Outcome) -> String {
    let mut text = format!("{} over {}", options.url, spoken(plan));
    let achieved = outcome.answered as f64 / outcome.seconds.max(1e-9);
    match schedule {
        Schedule::Closed(duration) => {
            let _ = write!(
                text,
                ", a closed loop of {} connections for {}\nrate      {achieved:.1}/s answered, as fast as it went",
                plan.connections,
                humantime::format_duration(*duration)
            );
        }
        Schedule::Open { rate, .. } => {
            let arrivals = &options.arrivals;
            let _ = write!(
                text,
                ", {arrivals} arrivals, seed {}\nrate      {rate:.1}/s wanted, {achieved:.1}/s answered",
                options.seed
            );
        }
    }
    let _ = write!(
        text,
        "\nrequests  {} planned, {} sent, {} answered, {} unanswered at the end, in {:.2} s",
        outcome.planned, outcome.sent, outcome.answered, outcome.unanswered, outcome.seconds
    );
    if outcome.is_interrupted {
        text.push_str(
            "\nINTERRUPTED: what came until then is all that is shown, and what was under way is unanswered",
        );
    }
    let failures: Vec<String> = outcome
        .failures
        .by_name()
        .iter()
        .filter(|(_, count)| *count > 0)
        .map(|(name, count)| format!("{count} {name}"))
        .collect();
    let _ = write!(
        text,
        "\nfailures  {}",
        if failures.is_empty() { "none".to_owned() } else { failures.join(", ") }
    );
    let statuses = outcome.failures.status_4xx + outcome.failures.status_5xx;
    if statuses > 0 && statuses == outcome.answered {
        text.push_str("; no answer was a good one: is the path right, and is the server well?");
    }
    let _ = write!(text, "\n\n{:<24}", "milliseconds");
    for (name, _) in QUANTILES {
        let _ = write!(text, "{name:>11}");
    }
    let from = if outcome.is_scheduled { "from when it was due" } else { "from sending" };
    row(&mut text, from, &outcome.latency);
    if outcome.is_scheduled {
        row(&mut text, "from when it was sent", &outcome.service);
        row(&mut text, "the generator's lag", &outcome.lag);
    }
    let _ = write!(
        text,
        "\n\ngenerator {:.2} s of processor time, {:.0} requests per second of it",
        outcome.cpu_seconds,
        outcome.answered as f64 / outcome.cpu_seconds.max(1e-9)
    );
    for (name, count) in &outcome.targets {
        let share = 100.0 * *count as f64 / outcome.answered.max(1) as f64;
        let _ = write!(text, "\ntarget    {name}: {count} answers, {share:.1} %");
    }
    let _ = write!(text, "\n{}", verdict(outcome));
    text
}

fn row(text: &mut String, name: &str, histogram: &Histogram) {
    let _ = write!(text, "\n{name:<24}");
    for (_, quantile) in QUANTILES {
        let _ = if histogram.is_empty() {
            write!(text, "{:>11}", "-")
        } else {
            write!(text, "{:>11.3}", histogram.value_at_quantile(quantile) as f64 / 1e6)
        };
    }
}

/// Whether the figures may be believed, in a sentence.
fn verdict(outcome: &Outcome) -> String {
    match outcome.invalid() {
        Some(reason) => format!("INVALID: {reason}."),
        None if outcome.answered == 0 => "no request was answered before the load was interrupted.".to_owned(),
        None if outcome.is_scheduled => {
            "valid: the generator's p99.9 lag is at most 10 % of the p99 from when requests were due, and at most 10 ms."
                .to_owned()
        }
        None => {
            "valid as a rate; its latency is from no schedule, and leaves out whoever would have come while the server was slow."
                .to_owned()
        }
    }
}

fn spoken(plan: &Plan) -> &'static str {
    match plan.target.protocol {
        Protocol::Http1 => "HTTP/1.1",
        Protocol::Http2 => "HTTP/2",
        Protocol::Tcp => "TCP, a connection for each request",
        Protocol::Udp => "UDP",
    }
}

/// For programs: times in nanoseconds.
pub(super) fn json(options: &Options, plan: &Plan, schedule: &Schedule, outcome: &Outcome) -> String {
    let rate = match schedule {
        Schedule::Closed(_) => Value::Null,
        Schedule::Open { rate, .. } => json!(rate),
    };
    let failures: serde_json::Map<String, Value> =
        outcome.failures.by_name().iter().map(|(name, count)| ((*name).to_owned(), json!(count))).collect();
    let value = json!({
        "url": options.url,
        "protocol": spoken(plan),
        "arrivals": if outcome.is_scheduled { json!(options.arrivals) } else { Value::Null },
        "seed": options.seed,
        "connections": plan.connections,
        "connections_max": plan.connections_max,
        "threads": plan.threads,
        "is_scheduled": outcome.is_scheduled,
        "rate_wanted": rate,
        "rate_answered": outcome.answered as f64 / outcome.seconds.max(1e-9),
        "planned": outcome.planned,
        "sent": outcome.sent,
        "answered": outcome.answered,
        "unanswered": outcome.unanswered,
        "failures": failures,
        "bytes": outcome.bytes,
        "seconds": outcome.seconds,
        "cpu_seconds": outcome.cpu_seconds,
        "latency": histogram(&outcome.latency),
        "service": histogram(&outcome.service),
        "lag": histogram(&outcome.lag),
        "targets": outcome.targets,
        "is_interrupted": outcome.is_interrupted,
        "is_valid": outcome.is_valid(),
        "invalid_because": outcome.invalid().map(|reason| reason.to_string()),
    });
    value.to_string()
}

/// Quantiles, and the whole histogram as pairs of a value and how often it occurred.
fn histogram(histogram: &Histogram) -> Value {
    let mut value: serde_json::Map<String, Value> = QUANTILES
        .iter()
        .map(|(name, quantile)| ((*name).to_owned(), json!(histogram.value_at_quantile(*quantile))))
        .collect();
    value.insert("mean".to_owned(), json!(histogram.mean()));
    let counts: Vec<Value> = histogram
        .iter_recorded()
        .map(|step| json!([step.value_iterated_to(), step.count_at_value()]))
        .collect();
    value.insert("histogram".to_owned(), Value::Array(counts));
    Value::Object(value)
}
