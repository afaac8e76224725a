//! Whether percentiles mean anything: not where the queue grows for as long as anybody looks.

use crate::compare::{Case, Series};
use crate::run::Slice;
use crate::scenario::{Demand, Event};

use super::words::{number, percent};

/// The part of requests that must be answered for percentiles to mean anything, unless somebody else is to blame than load.
const ANSWERED: f64 = 0.99;

/// Of so few answers no percentile means anything, whoever is to blame.
const HALF: f64 = 0.5;

/// What is to be said of a series before any of its figures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Stability {
    /// Its figures mean something.
    Stable,
    /// Nothing was run.
    NotRun,
    /// Nobody was answered, or nobody came.
    NothingAnswered,
    /// In flight in the middle of the run and at its end.
    Growing(f64, f64),
    /// The part that was answered.
    Overloaded(f64),
}

impl Stability {
    /// Of a series of a case.
    pub(super) fn of(case: &Case, series: &Series) -> Self {
        let sum =
            |of: fn(&crate::run::Counts) -> u64| series.runs.iter().map(|run| of(&run.counts)).sum::<u64>();
        let (all, answered) = (sum(|counts| counts.all), sum(|counts| counts.answered));
        if series.runs.is_empty() {
            return Self::NotRun;
        }
        if answered == 0 {
            return Self::NothingAnswered;
        }
        if let Some((middle, end)) = growth(case, series) {
            return Self::Growing(middle, end);
        }
        let part = answered as f64 / all as f64;
        // A server that is full says so, too. Where servers fail on purpose errors are theirs.
        let fails = case.scenario.events.iter().any(|(_, event)| matches!(event, Event::Errors { .. }));
        let errors = if fails { 0 } else { sum(|counts| counts.errors) };
        let by_load = sum(|counts| counts.refused + counts.timed_out) + errors;
        // Whoever crashes refuses without being overloaded.
        let crashes = case.scenario.events.iter().any(|(_, event)| matches!(event, Event::Crash { .. }));
        if part < HALF || (part < ANSWERED && by_load * 2 > all - answered && !crashes) {
            return Self::Overloaded(part);
        }
        Self::Stable
    }

    /// Whether its figures mean something.
    pub(super) fn is_stable(self) -> bool {
        self == Self::Stable
    }

    /// In words; nothing where all is well.
    pub(super) fn words(self) -> String {
        match self {
            Self::Stable => String::new(),
            Self::NotRun => "not run".to_owned(),
            Self::NothingAnswered => "nothing was answered".to_owned(),
            Self::Growing(middle, end) => {
                format!("unstable: in flight grows from {} to {}", number(middle), number(end))
            }
            Self::Overloaded(part) => {
                format!("unstable: {} answered, others refused or given up", percent(part))
            }
        }
    }
}

/// What is in flight in the middle and at the end, over all seeds, if it grows without end.
fn growth(case: &Case, series: &Series) -> Option<(f64, f64)> {
    let shortest = series.runs.iter().map(|run| run.slices.len()).min().filter(|slices| *slices >= 20)?;
    let in_flight = |from: usize, to: usize| {
        let sum = |slice: &Slice| slice.in_flight.iter().sum::<f64>();
        let parts = series.runs.iter().flat_map(|run| &run.slices[from..to]).map(sum);
        parts.sum::<f64>() / ((to - from) * series.runs.len()) as f64
    };
    let servers = series.runs.iter().map(|run| run.answers.len()).max().unwrap_or(0);
    let tenth = shortest / 10;
    let middle = in_flight(4 * tenth, 6 * tenth);
    let (before, end) =
        (in_flight(shortest - 2 * tenth, shortest - tenth), in_flight(shortest - tenth, shortest));
    // What a step of the rate or a slow server does is over some time: there it must still be on its way.
    let is_steady = case.scenario.events.is_empty()
        && !matches!(&case.scenario.demand, Demand::Open { rate, .. } if rate.steps.len() > 1);
    let is_on_its_way = end > before * if is_steady { 1.0 } else { 1.04 } && before > 1.2 * middle;
    // Well above the middle, and by more than one at each server.
    let grows = end > 1.4 * middle && end - middle > servers as f64 && is_on_its_way;
    grows.then_some((middle, end))
}
