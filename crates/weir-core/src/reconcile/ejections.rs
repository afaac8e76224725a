//! Ejections: targets whose requests fail one after the other leave for a while, and come back.

use super::{GroupState, Record, State, Transition, registration};
use crate::ejection::Ejection;
use crate::health::{Health, UnhealthyReason};
use crate::time::Timestamp;

/// The health of a target that is ejected.
pub(super) const EJECTED: Health = Health::Unhealthy(UnhealthyReason::Ejected);

/// What is remembered of a target's ejections.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ejections {
    /// How many there were, one after the other: a target that has been in for as long as it was out begins anew.
    count: u32,
    /// When the last one ends, or ended.
    ends_at: Option<Timestamp>,
}

impl State {
    /// Looks for targets that are to be ejected, and for those that have been out for long enough.
    pub(super) fn look(&mut self, now: Timestamp, transitions: &mut Vec<Transition>) {
        for group in self.groups.values_mut() {
            match group.settings.ejection {
                Some(ejection) => group.eject(ejection, now, transitions),
                // A reload has just ended it.
                None => group.readmit(None, now, transitions),
            }
        }
    }
}

impl GroupState {
    fn eject(&mut self, ejection: Ejection, now: Timestamp, transitions: &mut Vec<Transition>) {
        self.readmit(Some(now), now, transitions);
        let registered = self.records.iter().filter(|record| record.member.health.is_registered()).count();
        let mut ejected = self.records.iter().filter(|record| record.member.health == EJECTED).count();
        for record in self.records.iter_mut().filter(|record| record.member.health.is_healthy()) {
            let failures = record.member.target.tally.failures_in_a_row();
            if !ejection.ejects(failures, ejected, registered) {
                continue;
            }
            ejected += 1;
            let was_out = ejection.duration(record.ejections.count.saturating_sub(1));
            let is_relapse = record.ejections.ends_at.is_some_and(|end| now.since(end) < was_out);
            record.ejections.count = if is_relapse { record.ejections.count } else { 0 };
            let time = ejection.duration(record.ejections.count);
            record.ejections =
                Ejections { count: record.ejections.count + 1, ends_at: Some(now.after(time)) };
            let cause =
                format!("{failures} requests failed one after the other: out for {} s", time.as_secs_f64());
            registration::turn(record, EJECTED, &cause, now, transitions);
            self.is_touched = true;
        }
    }

    /// Lets targets back in whose ejection has ended by `until`; all of them where that is `None`.
    fn readmit(&mut self, until: Option<Timestamp>, now: Timestamp, transitions: &mut Vec<Transition>) {
        let is_over = |record: &Record| {
            let end = record.ejections.ends_at;
            record.member.health == EJECTED && until.is_none_or(|until| end.is_none_or(|end| end <= until))
        };
        if !self.records.iter().any(is_over) {
            return;
        }
        let ramps_up = self.has_target_at_full_speed(now);
        for record in self.records.iter_mut().filter(|record| is_over(record)) {
            let tally = &record.member.target.tally;
            tally.forgive_failures();
            if ramps_up {
                tally.begin_slow_start(now);
            }
            registration::turn(record, Health::Healthy, "its ejection has ended", now, transitions);
            self.is_touched = true;
        }
    }
}
