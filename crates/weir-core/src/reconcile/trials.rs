//! Trials: the comparisons of groups begin with their settings, and end when one arm is clearly worse.

use std::sync::Arc;

use super::event::Observed;
use super::{GroupState, State};
use crate::comparison::statistics::{Counts, Figure, Verdict, weigh};
use crate::comparison::{Comparison, LOOKS_IN_A_ROW, Side, Stop, Trial};
use crate::definition::{Algorithm, Hashing, TargetGroup};
use crate::name::GroupName;
use crate::time::Timestamp;

/// A comparison that has ended, to be logged and shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// The group.
    pub group: GroupName,
    /// What takes nothing any more.
    pub worse: Algorithm,
    /// What takes everything.
    pub better: Algorithm,
    /// Why.
    pub cause: Arc<str>,
}

/// A trial, and what the looks at it came to.
#[derive(Debug)]
pub(super) struct Running {
    of: Compared,
    trial: Arc<Trial>,
    /// The arm that the last looks found clearly worse, and how many of them in a row.
    worse: Option<(Side, u32)>,
}

/// What a trial compares: another one begins when this has changed.
#[derive(Debug, PartialEq, Eq)]
struct Compared {
    own: Algorithm,
    comparison: Comparison,
    hashing: Option<Hashing>,
}

impl Compared {
    fn of(settings: &TargetGroup) -> Option<Self> {
        let comparison = settings.comparison?;
        Some(Self { own: settings.algorithm, comparison, hashing: settings.hashing.clone() })
    }
}

impl Running {
    pub(super) fn trial(&self) -> &Arc<Trial> {
        &self.trial
    }
}

impl State {
    /// Begins the trials of groups whose comparison is new or has changed; the others go on, or stay stopped.
    pub(super) fn begin_trials(&mut self) {
        for group in self.groups.values_mut() {
            let wanted = Compared::of(&group.settings);
            if wanted.as_ref() != group.trial.as_ref().map(|running| &running.of) {
                group.trial = wanted.map(|of| {
                    self.trials_ever += 1;
                    Running {
                        of,
                        trial: Arc::new(Trial { number: self.trials_ever, stop: None }),
                        worse: None,
                    }
                });
            }
        }
    }

    /// Looks at what the arms of comparisons have to show, and stops those that are clearly worse where that is wanted.
    pub(super) fn weigh(&mut self, observed: &[Observed], now: Timestamp) -> Vec<Stopped> {
        let mut stopped = Vec::new();
        for observed in observed {
            if let Some(group) = self.groups.get_mut(&observed.group) {
                stopped.extend(group.weigh(observed, now));
            }
        }
        stopped
    }
}

impl GroupState {
    fn weigh(&mut self, Observed { trial, a, b, .. }: &Observed, now: Timestamp) -> Option<Stopped> {
        let running = self.trial.as_mut().filter(|running| running.trial.number == *trial)?;
        if running.trial.stop.is_some() {
            return None;
        }
        let Verdict::Worse(worse, figure) = weigh(a, b).verdict else {
            running.worse = None;
            return None;
        };
        let before = running.worse.filter(|(before, _)| *before == worse).map_or(0, |(_, looks)| looks);
        running.worse = Some((worse, before + 1));
        if before + 1 < LOOKS_IN_A_ROW || !running.of.comparison.stops_when_worse {
            return None;
        }
        let cause: Arc<str> = cause(worse, figure, a, b).into();
        let stop = Stop { worse, at: now, cause: cause.clone() };
        running.trial = Arc::new(Trial { number: *trial, stop: Some(stop) });
        self.is_touched = true;
        let (own, other) = (running.of.own, running.of.comparison.algorithm);
        let (worse, better) = if worse == Side::A { (own, other) } else { (other, own) };
        Some(Stopped { group: self.settings.name.clone(), worse, better, cause })
    }
}

/// Why an arm is clearly worse, for people.
fn cause(worse: Side, figure: Figure, a: &Counts, b: &Counts) -> String {
    let (own, other) = if worse == Side::A { (a, b) } else { (b, a) };
    let found = match figure {
        Figure::Failures => {
            let percent = |of: &Counts| of.failure_ratio().unwrap_or_default() * 100.0;
            format!("{:.2} % of its requests fail, against {:.2} %", percent(own), percent(other))
        }
        Figure::Latency => {
            let millis = |of: &Counts| of.mean().unwrap_or_default() * 1e3;
            format!("its requests take {:.3} ms, against {:.3} ms", millis(own), millis(other))
        }
    };
    format!("{found}, of {} and {}", own.all().requests, other.all().requests)
}
