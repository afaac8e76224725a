//! What tables say, before it is laid out: the page and the JSON show the same.

use super::figure::{Shown, shown};
use super::stability::Stability;
use crate::compare::{Case, Series};
use crate::run::{Counts, Run};
use crate::statistics::Estimate;

/// A policy in a case.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) policy: &'static str,
    pub(super) is_live: bool,
    pub(super) stability: Stability,
    /// Latencies in nanoseconds.
    pub(super) mean: Estimate,
    pub(super) p50: Estimate,
    pub(super) p90: Estimate,
    pub(super) p99: Estimate,
    pub(super) p999: Estimate,
    /// By the part that is answered and then by p99, 1 is the best: one more than there are who are surely better. `None` where that is not known.
    pub(super) rank: Option<usize>,
    /// Whether its p99 is the least of all.
    pub(super) is_best: bool,
    pub(super) answered: f64,
    /// The part that was answered within the objective, where there is one.
    pub(super) in_time: Option<f64>,
    pub(super) attempts: f64,
    pub(super) imbalance: Estimate,
}

/// The figure by which policies are ranked.
pub(super) fn p99(run: &Run) -> f64 {
    run.quantile(0.99)
}

/// All policies of a case, simulated and then live.
pub(super) fn rows(case: &Case) -> Vec<Row> {
    let shown = shown(case);
    shown.iter().map(|one| row(case, one, &shown)).collect()
}

fn row(case: &Case, one: &Shown<'_>, all: &[Shown<'_>]) -> Row {
    let series = one.series;
    let sum = |of: fn(&Counts) -> u64| series.runs.iter().map(|run| of(&run.counts)).sum::<u64>() as f64;
    let part = |count: f64| count / sum(|counts| counts.all);
    let own = series.estimate(p99);
    let rivals: Vec<&Shown<'_>> = all
        .iter()
        .filter(|other| other.is_live == one.is_live && other.stability.is_stable())
        .filter(|other| other.series.policy != series.policy)
        .collect();
    let is_ranked = one.stability.is_stable() && !rivals.is_empty();
    let better = rivals.iter().filter(|other| is_surely_better(other.series, series)).count();
    Row {
        policy: series.policy.name(),
        is_live: one.is_live,
        stability: one.stability,
        mean: series.estimate(|run| run.latencies.mean()),
        p50: series.estimate(|run| run.quantile(0.5)),
        p90: series.estimate(|run| run.quantile(0.9)),
        p99: own,
        p999: series.estimate(|run| run.quantile(0.999)),
        rank: (is_ranked && own.half_width.is_finite()).then_some(better + 1),
        is_best: is_ranked && answers_enough(series, &rivals) && is_least(own.mean, &rivals, series),
        answered: part(sum(|counts| counts.answered)),
        in_time: case.scenario.objective.map(|_| part(sum(|counts| counts.in_time))),
        attempts: part(sum(|counts| counts.attempts)),
        imbalance: series.estimate(Run::imbalance),
    }
}

/// The part of answers by which somebody must be ahead to be better, whatever the p99 of those who were answered.
const ANSWERED_AHEAD: f64 = 0.001;

/// Whether one answers surely more, or about as much and its p99 is surely less, seed by seed.
fn is_surely_better(one: &Series, than: &Series) -> bool {
    let more = one.difference(than, Run::answered_part);
    if more.mean.abs() > ANSWERED_AHEAD && (more.interval().0 > 0.0 || more.interval().1 < 0.0) {
        return more.mean > 0.0;
    }
    one.difference(than, p99).interval().1 < 0.0
}

/// Whether it has the least p99 of those who answer enough.
fn is_least(own: f64, rivals: &[&Shown<'_>], series: &Series) -> bool {
    let part = |series: &Series| series.estimate(Run::answered_part).mean;
    let counts = |other: &&&Shown<'_>| part(series) - part(other.series) <= ANSWERED_AHEAD;
    rivals.iter().filter(counts).all(|other| own <= other.series.estimate(p99).mean)
}

/// Whether nobody answers more by as much.
fn answers_enough(one: &Series, rivals: &[&Shown<'_>]) -> bool {
    let part = |series: &Series| series.estimate(Run::answered_part).mean;
    rivals.iter().all(|other| part(other.series) - part(one) <= ANSWERED_AHEAD)
}

/// Cases of the same scenario at several loads, in order.
pub(super) fn sweeps(cases: &[Case]) -> Vec<Vec<&Case>> {
    let mut sweeps: Vec<Vec<&Case>> = Vec::new();
    for case in cases.iter().filter(|case| case.load.is_some()) {
        match sweeps.iter_mut().find(|sweep| sweep[0].scenario.name == case.scenario.name) {
            Some(sweep) => sweep.push(case),
            None => sweeps.push(vec![case]),
        }
    }
    sweeps.retain(|sweep| sweep.len() > 1);
    for sweep in &mut sweeps {
        sweep.sort_by(|one, other| load(one).total_cmp(&load(other)));
    }
    sweeps
}

/// The load of a case that has one.
pub(super) fn load(case: &Case) -> f64 {
    case.load.unwrap_or(0.0)
}

/// When a policy breaks.
#[derive(Debug)]
pub(super) struct Broke {
    pub(super) policy: &'static str,
    /// The highest load at which, as at all below it, the p99 was within the objective.
    pub(super) holds: Option<f64>,
    /// The load after it, and what happened there; `None` if it never broke.
    pub(super) breaks: Option<(f64, String)>,
}

/// The objective of a sweep, in nanoseconds: ten times the mean work where there is none.
pub(super) fn objective(sweep: &[&Case]) -> f64 {
    let scenario = &sweep[0].scenario;
    scenario.objective.map_or_else(|| scenario.work.mean() * 10.0, |objective| objective as f64)
}

/// What broke first: the policy that holds least comes first.
pub(super) fn broke(sweep: &[&Case]) -> Vec<Broke> {
    let objective = objective(sweep);
    let mut rows: Vec<Broke> = Vec::new();
    for policy in sweep[0].simulated.iter().map(|series| series.policy) {
        let mut row = Broke { policy: policy.name(), holds: None, breaks: None };
        for case in sweep {
            let series = case.simulated.iter().find(|series| series.policy == policy);
            let Some(series) = series.filter(|series| !series.runs.is_empty()) else { continue };
            let (stability, p99) = (Stability::of(case, series), series.estimate(p99).mean);
            if stability.is_stable() && p99 <= objective {
                row.holds = case.load;
                continue;
            }
            let why = if stability.is_stable() {
                format!("p99 is {} ms", super::words::milliseconds(p99))
            } else {
                stability.words()
            };
            row.breaks = Some((load(case), why));
            break;
        }
        rows.push(row);
    }
    rows.sort_by(|one, other| one.holds.unwrap_or(0.0).total_cmp(&other.holds.unwrap_or(0.0)));
    rows
}

/// Scenarios that differ in one thing: what their names have before a colon is the same.
#[derive(Debug)]
pub(super) struct Family<'r> {
    pub(super) name: &'r str,
    /// The load, where there are several.
    pub(super) load: Option<f64>,
    /// What stands behind the colon, and the case, in order.
    pub(super) variants: Vec<(&'r str, &'r Case)>,
}

/// All families, each at each of its loads.
pub(super) fn families(cases: &[Case]) -> Vec<Family<'_>> {
    let mut families: Vec<Family<'_>> = Vec::new();
    let has_several_loads =
        |case: &Case| cases.iter().filter(|other| other.scenario.name == case.scenario.name).count() > 1;
    for case in cases {
        let Some((name, variant)) = case.scenario.name.split_once(": ") else { continue };
        let load = case.load.filter(|_| has_several_loads(case));
        let is_same = |family: &Family<'_>| {
            let distance = family.load.unwrap_or(0.0) - load.unwrap_or(0.0);
            family.name == name && distance.abs() < 1e-6
        };
        match families.iter_mut().find(|family| is_same(family)) {
            Some(family) => family.variants.push((variant, case)),
            None => families.push(Family { name, load, variants: vec![(variant, case)] }),
        }
    }
    families.retain(|family| family.variants.len() > 1);
    families
}
