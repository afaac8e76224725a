//! Comparison: targets that fail far more often than their peers are found, and weighed down where that is wanted.

use super::{Change, GroupState, State, Transition, registration};
use crate::anomaly::{ATTEMPTS_MIN, Attempts, Opinion, TARGETS_MIN, judge};

impl State {
    /// Compares the healthy targets of every group by what came of their requests since they were compared last.
    pub(super) fn compare(&mut self, transitions: &mut Vec<Transition>) {
        for group in self.groups.values_mut().filter(|group| group.settings.protocol.is_http()) {
            group.compare(transitions);
        }
    }
}

impl GroupState {
    fn compare(&mut self, transitions: &mut Vec<Transition>) {
        let is_compared: Vec<bool> =
            self.records.iter().map(|record| record.member.health.is_healthy()).collect();
        let is_enough = is_compared.iter().filter(|is| **is).count() >= TARGETS_MIN;
        let mut attempts = Vec::new();
        let mut before = Vec::new();
        for (record, is_compared) in self.records.iter().zip(&is_compared) {
            if *is_compared && is_enough {
                let (now, then) = (record.member.target.tally.attempts(), record.judged);
                attempts.push(Attempts { all: now.all - then.all, errors: now.errors - then.errors });
                before.push(record.member.opinion);
            }
        }
        let mut judged = judge(&attempts, &before).into_iter().zip(attempts);
        for (record, is_compared) in self.records.iter_mut().zip(&is_compared) {
            // Whoever cannot be compared is nothing special.
            let judged = if *is_compared && is_enough { judged.next() } else { None };
            let (opinion, attempts) = judged.unwrap_or_default();
            if attempts.all >= ATTEMPTS_MIN {
                record.judged = record.member.target.tally.attempts();
            }
            let member = &mut record.member;
            let before = std::mem::replace(&mut member.opinion, opinion);
            if before.is_anomalous != opinion.is_anomalous {
                let change = Change::Anomaly { is_anomalous: opinion.is_anomalous };
                transitions.push(registration::transition(member, change, &cause(opinion, attempts)));
            }
            self.is_touched |= before != opinion;
        }
    }
}

fn cause(opinion: Opinion, attempts: Attempts) -> String {
    let Attempts { all, errors } = attempts;
    if opinion.is_anomalous {
        format!("{errors} of its last {all} requests failed, far more than of its peers")
    } else {
        "it fails no more often than its peers, or cannot be compared with them".to_owned()
    }
}
