//! All that tables and figures are made of. Times are nanoseconds; what is not known is `null`.

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::Header;
use super::disruption::Moves;
use super::tables::{self, Row, p99};
use crate::compare::{Case, Results, Series, rankings};
use crate::run::{Live, Run, Slice};
use crate::scenario::Policy;
use crate::statistics::Estimate;

/// Digits of the histograms here: figures are drawn on logarithmic axes, where a hundredth is not seen, and a third digit makes
/// seven times as much of them.
const DIGITS: u8 = 2;

pub(super) fn of(results: &Results, header: &Header, moves: &[Moves]) -> Value {
    let sweeps: Vec<Value> = tables::sweeps(&results.cases).iter().map(|sweep| of_sweep(sweep)).collect();
    json!({
        "name": results.name,
        "about": results.about,
        "version": header.version,
        "cpu": header.cpu,
        "cores": header.cores,
        "command": header.command,
        "when": header.when,
        "cases": results.cases.iter().map(of_case).collect::<Vec<_>>(),
        "what_broke_first": sweeps,
        "moves": moves.iter().map(of_moves).collect::<Vec<_>>(),
    })
}

fn of_case(case: &Case) -> Value {
    let all = |of: &[Series]| of.iter().map(of_series).collect::<Vec<_>>();
    let ranking = |(one, other, agrees): (Policy, Policy, bool)| {
        let (one, other) = (one.name(), other.name());
        json!({ "one": one, "other": other, "ranks_the_same_live": agrees })
    };
    json!({
        "name": case.scenario.name,
        "about": case.scenario.about,
        "load": case.load,
        "seeds": case.seeds().collect::<Vec<_>>(),
        "duration": case.scenario.duration,
        "warm_up": case.scenario.warm_up,
        "objective": case.scenario.objective,
        "summary": tables::rows(case).iter().map(of_row).collect::<Vec<_>>(),
        "differences": differences(&case.simulated),
        "live_differences": differences(&case.live),
        "rankings_by_p99": rankings(case, p99).into_iter().map(ranking).collect::<Vec<_>>(),
        "simulated": all(&case.simulated),
        "live": all(&case.live),
    })
}

fn of_row(row: &Row) -> Value {
    json!({
        "policy": row.policy,
        "is_live": row.is_live,
        "stability": row.stability.words(),
        "mean": of_estimate(row.mean),
        "p50": of_estimate(row.p50),
        "p90": of_estimate(row.p90),
        "p99": of_estimate(row.p99),
        "p99_9": of_estimate(row.p999),
        "rank": row.rank,
        "is_best": row.is_best,
        "answered_part": row.answered,
        "in_time_part": row.in_time,
        "attempts_per_request": row.attempts,
        "imbalance": of_estimate(row.imbalance),
    })
}

fn of_estimate(estimate: Estimate) -> Value {
    json!({ "mean": estimate.mean, "half_width": estimate.half_width })
}

/// Of all others from the first.
fn differences(all: &[Series]) -> Vec<Value> {
    let Some((first, others)) = all.split_first() else { return Vec::new() };
    let difference = |series: &Series| {
        json!({
            "policy": series.policy.name(),
            "less": first.policy.name(),
            "p99": of_estimate(series.difference(first, p99)),
            "mean": of_estimate(series.difference(first, |run| run.latencies.mean())),
        })
    };
    others.iter().map(difference).collect()
}

/// Histograms of all seeds together, since figures show them so; a run has its percentiles.
fn of_series(series: &Series) -> Value {
    let waits = series.runs.iter().map(|run| &run.waits);
    let live = || series.runs.iter().filter_map(|run| run.live.as_ref());
    json!({
        "policy": series.policy.name(),
        "latencies": pairs([&series.latencies()]),
        "waits": pairs(waits),
        "lag": pairs(live().map(|live| &live.lag)),
        "from_sent": pairs(live().map(|live| &live.from_sent)),
        "runs": series.runs.iter().map(of_run).collect::<Vec<_>>(),
    })
}

fn of_run(run: &Run) -> Value {
    let counts = run.counts;
    json!({
        "seed": run.seed,
        "all": counts.all,
        "answered": counts.answered,
        "in_time": counts.in_time,
        "errors": counts.errors,
        "refused": counts.refused,
        "timed_out": counts.timed_out,
        "attempts": counts.attempts,
        "imbalance": run.imbalance(),
        "latency": percentiles(&run.latencies),
        "wait": percentiles(&run.waits),
        "answers": run.answers,
        "slices": of_slices(&run.slices),
        "live": run.live.as_ref().map(|live| of_live(run, live)),
    })
}

/// A list for each figure of a slice, since names would be most of it.
fn of_slices(slices: &[Slice]) -> Value {
    // Thousandths are finer than anybody sees.
    let rounded = |count: &f64| (count * 1000.0).round() / 1000.0;
    let in_flight = |slice: &Slice| slice.in_flight.iter().map(rounded).collect::<Vec<_>>();
    let each = |figure: fn(&Slice) -> u64| slices.iter().map(figure).collect::<Vec<_>>();
    json!({
        "from": each(|slice| slice.from),
        "came": each(|slice| slice.came),
        "failed": each(|slice| slice.failed),
        "timed": each(|slice| slice.timed),
        "latencies": each(|slice| slice.latencies),
        "longest": each(|slice| slice.longest),
        "answers": slices.iter().map(|slice| &slice.answers).collect::<Vec<_>>(),
        "in_flight": slices.iter().map(in_flight).collect::<Vec<_>>(),
    })
}

fn of_live(run: &Run, live: &Live) -> Value {
    json!({
        "rate_wanted": live.rates.0,
        "rate_answered": live.rates.1,
        "is_valid": run.is_valid(),
        "lag": percentiles(&live.lag),
        "from_sent": percentiles(&live.from_sent),
    })
}

/// What is shown of a histogram, with all its digits; `null` where nothing is in it.
fn percentiles(histogram: &Histogram<u64>) -> Value {
    if histogram.is_empty() {
        return Value::Null;
    }
    let at = |part| histogram.value_at_quantile(part);
    json!({
        "mean": histogram.mean(),
        "p50": at(0.5),
        "p90": at(0.9),
        "p99": at(0.99),
        "p99_9": at(0.999),
        "p99_99": at(0.9999),
        "max": histogram.max(),
    })
}

/// Histograms as pairs of a value and how often it was.
fn pairs<'h>(histograms: impl IntoIterator<Item = &'h Histogram<u64>>) -> Vec<[u64; 2]> {
    let mut all = Histogram::<u64>::new(DIGITS).expect("two digits are allowed");
    for value in histograms.into_iter().flat_map(Histogram::iter_recorded) {
        // It grows as it has to.
        let _ = all.record_n(value.value_iterated_to(), value.count_at_value());
    }
    all.iter_recorded().map(|value| [value.value_iterated_to(), value.count_at_value()]).collect()
}

fn of_sweep(sweep: &[&Case]) -> Value {
    let row = |row: tables::Broke| {
        let (breaks, why) = row.breaks.unzip();
        json!({ "policy": row.policy, "holds": row.holds, "breaks": breaks, "why": why })
    };
    json!({
        "scenario": sweep[0].scenario.name,
        "objective": tables::objective(sweep),
        "policies": tables::broke(sweep).into_iter().map(row).collect::<Vec<_>>(),
    })
}

fn of_moves(moves: &Moves) -> Value {
    let row =
        |row: &(usize, f64, f64)| json!({ "leaving": row.0, "moved_part": row.1, "needless_part": row.2 });
    json!({
        "policy": moves.policy.name(),
        "targets": moves.targets,
        "leaving": moves.leaving.iter().map(row).collect::<Vec<_>>(),
    })
}
