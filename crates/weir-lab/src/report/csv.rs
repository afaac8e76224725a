//! One line for each run.

use super::live::lag;
use super::stability::Stability;
use super::words::MILLISECOND;
use crate::compare::{Case, Results, Series};
use crate::run::Run;

/// What columns are called, in order. Times are milliseconds; what does not apply is empty.
pub(super) const COLUMNS: [&str; 34] = [
    "experiment",
    "case",
    "load",
    "policy",
    "kind",
    "seed",
    "stability",
    "all",
    "answered",
    "in_time",
    "errors",
    "refused",
    "timed_out",
    "attempts",
    "answered_part",
    "mean_ms",
    "p50_ms",
    "p90_ms",
    "p99_ms",
    "p99_9_ms",
    "p99_99_ms",
    "max_ms",
    "imbalance",
    "mean_wait_ms",
    "p99_wait_ms",
    "answers_by_server",
    "rate_wanted",
    "rate_answered",
    "lag_p50_ms",
    "lag_p99_ms",
    "lag_p99_9_ms",
    "from_sent_mean_ms",
    "from_sent_p99_ms",
    "is_valid",
];

/// All of it. Source: RFC 4180, with line feeds alone.
pub(super) fn of(results: &Results) -> String {
    let mut text = COLUMNS.join(",");
    text.push('\n');
    for case in &results.cases {
        for (kind, all) in [("simulated", &case.simulated), ("live", &case.live)] {
            for series in all {
                let stability = Stability::of(case, series);
                for run in &series.runs {
                    let mut fields = first(results, case, series, kind);
                    fields.push(run.seed.to_string());
                    fields.push(if stability.is_stable() { "stable".to_owned() } else { stability.words() });
                    fields.extend(figures(case, run));
                    fields.extend(live(run));
                    let fields: Vec<String> = fields.iter().map(|field| escaped(field)).collect();
                    text.push_str(&fields.join(","));
                    text.push('\n');
                }
            }
        }
    }
    text
}

fn first(results: &Results, case: &Case, series: &Series, kind: &str) -> Vec<String> {
    let load = case.load.map_or(String::new(), |load| load.to_string());
    let policy = series.policy.name().to_owned();
    vec![results.name.clone(), case.scenario.name.clone(), load, policy, kind.to_owned()]
}

fn figures(case: &Case, run: &Run) -> Vec<String> {
    let counts = run.counts;
    let in_time = case.scenario.objective.map_or(String::new(), |_| counts.in_time.to_string());
    let mut fields = vec![counts.all.to_string(), counts.answered.to_string(), in_time];
    fields.extend([counts.errors, counts.refused, counts.timed_out, counts.attempts].map(|n| n.to_string()));
    fields.push(run.answered_part().to_string());
    let is_known = !run.latencies.is_empty();
    fields.push(time(run.latencies.mean(), is_known));
    fields.extend([0.5, 0.9, 0.99, 0.999, 0.9999].map(|part| time(run.quantile(part), is_known)));
    fields.push(time(run.latencies.max() as f64, is_known));
    fields.push(run.imbalance().to_string());
    fields.push(time(run.waits.mean(), !run.waits.is_empty()));
    fields.push(time(run.waits.value_at_quantile(0.99) as f64, !run.waits.is_empty()));
    fields.push(run.answers.iter().map(u64::to_string).collect::<Vec<_>>().join(" "));
    fields
}

fn live(run: &Run) -> Vec<String> {
    let Some(live) = &run.live else { return vec![String::new(); 8] };
    let mut fields = vec![live.rates.0.to_string(), live.rates.1.to_string()];
    fields.extend([0.5, 0.99, 0.999].map(|part| time(lag(live, part), !live.lag.is_empty())));
    fields.push(time(live.from_sent.mean(), !live.from_sent.is_empty()));
    fields.push(time(live.from_sent.value_at_quantile(0.99) as f64, !live.from_sent.is_empty()));
    fields.push(run.is_valid().to_string());
    fields
}

fn time(nanos: f64, is_known: bool) -> String {
    if is_known { format!("{:.6}", nanos / MILLISECOND) } else { String::new() }
}

fn escaped(field: &str) -> String {
    if field.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", field.replace('"', "\"\""))
    } else {
        field.to_owned()
    }
}
