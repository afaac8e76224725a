//! What comparisons of algorithms have come to, as plain values.

use serde::Serialize;
use weir_control::Handle;
use weir_core::comparison::statistics::{Difference, Interval, weigh};
use weir_core::comparison::{Side, Stop};
use weir_core::snapshot::Group;
use weir_telemetry::ArmTotals;

/// A group that compares two algorithms, or did until one of them was stopped.
#[derive(Clone, Debug, Serialize)]
pub struct ComparisonView {
    /// The group.
    pub target_group: String,
    /// Arm A, the group's own algorithm, and arm B.
    pub arms: [ArmView; 2],
    /// By how much the mean time of B is longer than that of A, in milliseconds; negative where it is shorter.
    pub latency_difference_ms: Option<DifferenceView>,
    /// By how much the part of its requests that fail is larger in B than in A.
    pub failure_ratio_difference: Option<DifferenceView>,
    /// `too_few` (requests, or connections), `undecided`, `a_is_better`, `b_is_better` or `mixed`.
    pub verdict: &'static str,
    /// Whether an arm that is clearly worse is stopped.
    pub stop_when_worse: bool,
    /// Set once an arm has been stopped. What is shown stays as it was then.
    pub stopped: Option<StoppedView>,
}

/// One arm.
#[derive(Clone, Debug, Serialize)]
pub struct ArmView {
    /// `A` or `B`.
    pub arm: &'static str,
    /// What it picks by.
    pub algorithm: &'static str,
    /// The percentage of the connections that it has now.
    pub percentage: u8,
    /// Its requests that have been answered since the comparison began.
    pub requests: u64,
    /// Those of them that failed.
    pub failures: u64,
    /// The part that failed.
    pub failure_ratio: Option<f64>,
    /// Mean time until the head of the answer of those that did not fail.
    pub mean_ms: Option<f64>,
    /// Its median, as a bucket's upper bound.
    pub p50_ms: Option<f64>,
    /// Its 99th percentile, in the same way.
    pub p99_ms: Option<f64>,
}

/// A difference: B less A.
#[derive(Clone, Debug, Serialize)]
pub struct DifferenceView {
    /// As it was counted.
    pub found: f64,
    /// The lower and the upper end of its 95 % confidence interval, for who looks once.
    pub interval: [f64; 2],
    /// The same, for who looks all the time: what is decided by.
    pub always_valid_interval: [f64; 2],
}

/// The end of a comparison.
#[derive(Clone, Debug, Serialize)]
pub struct StoppedView {
    /// The algorithm that takes nothing any more.
    pub algorithm: &'static str,
    /// How long ago.
    pub since_seconds: f64,
    /// Why.
    pub cause: String,
}

/// The comparison of a group, if it has one.
pub(crate) fn view(group: &Group, handle: &Handle) -> Option<ComparisonView> {
    const MILLIS: f64 = 1e3;
    let trial = group.trial()?;
    let totals = |side| Some(handle.telemetry.arm_totals(group.index, group.arm_of(side)?));
    let (a, b) = (totals(Side::A)?, totals(Side::B)?);
    let weighed = weigh(&a.counts, &b.counts);
    let stopped = |stop: &Stop| {
        Some(StoppedView {
            algorithm: group.arm_of(stop.worse)?.algorithm.as_str(),
            since_seconds: handle.clock.now().since(stop.at).as_secs_f64(),
            cause: stop.cause.to_string(),
        })
    };
    Some(ComparisonView {
        target_group: group.settings.name.to_string(),
        arms: [arm_view(group, Side::A, &a)?, arm_view(group, Side::B, &b)?],
        latency_difference_ms: weighed.latency.map(|difference| difference_view(difference, MILLIS)),
        failure_ratio_difference: weighed.failures.map(|difference| difference_view(difference, 1.0)),
        verdict: weighed.verdict.as_str(),
        stop_when_worse: group.settings.comparison?.stops_when_worse,
        stopped: trial.stop.as_ref().and_then(stopped),
    })
}

fn arm_view(group: &Group, side: Side, ArmTotals { counts, response_time }: &ArmTotals) -> Option<ArmView> {
    let quantile = |part| response_time.quantile(part).map(|time| time.as_secs_f64() * 1e3);
    Some(ArmView {
        arm: side.as_str(),
        algorithm: group.arm_of(side)?.algorithm.as_str(),
        percentage: group.percentage(side),
        requests: counts.all().requests,
        failures: counts.all().failures,
        failure_ratio: counts.failure_ratio(),
        mean_ms: counts.mean().map(|mean| mean * 1e3),
        p50_ms: quantile(0.5),
        p99_ms: quantile(0.99),
    })
}

fn difference_view(Difference { found, interval, always }: Difference, unit: f64) -> DifferenceView {
    let ends = |Interval { low, high }: Interval| [low * unit, high * unit];
    DifferenceView { found: found * unit, interval: ends(interval), always_valid_interval: ends(always) }
}
