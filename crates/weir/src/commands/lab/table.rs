//! What came of an experiment, for a terminal or as JSON.

use serde_json::{Value, json};
use weir_lab::compare::{Case, Results, Series};
use weir_lab::report::instability;
use weir_lab::run::Run;
use weir_lab::statistics::Estimate;

use super::compare::agreement;

const MILLI: f64 = 1e6;

/// Everything, for people or as JSON.
pub(super) fn of(results: &Results, is_json: bool) -> String {
    if is_json {
        return Value::Array(results.cases.iter().map(case_in_json).collect()).to_string();
    }
    results.cases.iter().map(case).collect::<Vec<_>>().join("\n\n")
}

fn case(case: &Case) -> String {
    let load = case.load.map(|load| format!(", load {load:.3}")).unwrap_or_default();
    let seeds: Vec<u64> = case.seeds().collect();
    let seeds = match seeds[..] {
        [seed] => format!("seed {seed}"),
        _ => format!("{} seeds from {}", seeds.len(), seeds[0]),
    };
    let mut lines = vec![
        format!("{}{load}, {seeds}", case.scenario.name),
        format!(
            "{:<40} {:>18} {:>10} {:>20} {:>12} {:>10} {:>9}",
            "milliseconds", "mean", "p50", "p99", "p99.9", "answered", "sent each"
        ),
    ];
    lines.extend(case.simulated.iter().map(|series| row(case, series, "")));
    lines.extend(case.live.iter().map(|series| row(case, series, ", live")));
    if let Some((agreeing, pairs)) = agreement(case) {
        lines.push(match pairs {
            0 => "no two simulated p99 are surely apart: more seeds narrow their intervals".to_owned(),
            _ => {
                format!("{agreeing} of {pairs} pairs whose simulated p99 are surely apart rank the same live")
            }
        });
    }
    lines.join("\n")
}

fn row(case: &Case, series: &Series, suffix: &str) -> String {
    let name = format!("{}{suffix}", series.policy.name());
    let quantile = |part| series.estimate(|run| run.quantile(part) / MILLI);
    let answered = series.estimate(|run| run.answered_part() * 100.0).mean;
    let in_time = case.scenario.objective.map(|objective| {
        let part =
            series.estimate(|run| run.counts.in_time as f64 * 100.0 / run.counts.all.max(1) as f64).mean;
        format!(", {part:.3} % within {:.0} ms", objective as f64 / MILLI)
    });
    format!(
        "{name:<40} {:>18} {:>10.2} {:>20} {:>12.2} {:>8.3} % {:>9.3}{}{}",
        with_interval(series.estimate(|run| run.latencies.mean() / MILLI)),
        quantile(0.5).mean,
        with_interval(quantile(0.99)),
        quantile(0.999).mean,
        answered,
        series.estimate(|run| run.counts.attempts as f64 / run.counts.all.max(1) as f64).mean,
        in_time.unwrap_or_default(),
        remark(case, series),
    )
}

fn with_interval(estimate: Estimate) -> String {
    if estimate.half_width.is_finite() {
        format!("{:.2} ±{:.2}", estimate.mean, estimate.half_width)
    } else {
        format!("{:.2}", estimate.mean)
    }
}

/// What must be known before the figures are.
fn remark(case: &Case, series: &Series) -> String {
    match instability(case, series) {
        Some(why) => format!("  {why}"),
        None if is_valid(series) => String::new(),
        None => "  INVALID: the generator was late, or had no socket left".to_owned(),
    }
}

fn is_valid(series: &Series) -> bool {
    series.runs.iter().all(Run::is_valid)
}

fn case_in_json(case: &Case) -> Value {
    let series = |series: &Series| {
        let runs: Vec<Value> = series.runs.iter().map(run).collect();
        json!({ "algorithm": series.policy.name(), "unstable": instability(case, series), "runs": runs })
    };
    let all = |all: &[Series]| all.iter().map(series).collect::<Vec<_>>();
    json!({
        "scenario": case.scenario.name, "load": case.load,
        "simulated": all(&case.simulated), "live": all(&case.live),
    })
}

fn run(run: &Run) -> Value {
    let nanos = |part| run.latencies.value_at_quantile(part);
    json!({
        "seed": run.seed, "requests": run.counts.all, "answered": run.counts.answered, "in_time": run.counts.in_time,
        "errors": run.counts.errors, "refused": run.counts.refused, "timed_out": run.counts.timed_out,
        "attempts": run.counts.attempts, "mean_ns": run.latencies.mean(), "p50_ns": nanos(0.5), "p90_ns": nanos(0.9),
        "p99_ns": nanos(0.99), "p999_ns": nanos(0.999), "max_ns": run.latencies.max(), "answers": run.answers,
        "valid": run.live.as_ref().map(|_| run.is_valid()),
    })
}
