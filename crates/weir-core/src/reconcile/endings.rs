//! Endings: which targets' flows are to end, because they are unhealthy.

use super::{EJECTED, GroupState, State};
use crate::definition::OfUnhealthy;
use crate::health::Health;
use crate::snapshot::{Group, Member};
use crate::time::Timestamp;

impl State {
    /// Looks again at groups with unhealthy targets that have kept their flows for long enough.
    pub(super) fn end_kept_flows(&mut self, now: Timestamp) {
        let is_over = |at: &Option<Timestamp>| at.is_some_and(|at| at <= now);
        for group in self.groups.values_mut().filter(|group| group.ends_flows_later()) {
            group.is_touched |= group.records.iter().any(|record| is_over(&record.member.keeps_flows_until));
        }
    }

    /// When the next unhealthy target has kept its flows for long enough.
    pub(super) fn next_ending(&self) -> Option<Timestamp> {
        let groups = self.groups.values().filter(|group| group.ends_flows_later());
        let records = groups.flat_map(|group| &group.records);
        records.filter_map(|record| record.member.keeps_flows_until).min()
    }
}

impl GroupState {
    /// Whether its unhealthy targets keep their flows for a while. Few groups are written so; of the others no target is looked
    /// at.
    fn ends_flows_later(&self) -> bool {
        matches!(self.settings.flows.of_unhealthy, OfUnhealthy::EndAfter(_))
    }

    /// Notes until when each unhealthy target keeps its flows: from when it turned unhealthy, for whatever reasons since.
    pub(super) fn keep_flows(&mut self, now: Timestamp) {
        let OfUnhealthy::EndAfter(interval) = self.settings.flows.of_unhealthy else {
            return self.records.iter_mut().for_each(|record| record.member.keeps_flows_until = None);
        };
        for record in &mut self.records {
            let until = if has_failed(record.member.health) {
                Some(record.failed_since.get_or_insert(now).after(interval))
            } else {
                record.failed_since = None;
                None
            };
            record.member.keeps_flows_until = until.filter(|until| now < *until);
        }
    }
}

/// Tells every target of a group whether its flows are to end.
pub(super) fn tell(group: &Group) {
    for member in &group.members {
        member.target.end_flows(are_to_end(group, member));
    }
}

fn are_to_end(group: &Group, member: &Member) -> bool {
    let is_meant = match group.settings.flows.of_unhealthy {
        OfUnhealthy::End => true,
        OfUnhealthy::EndAfter(_) => member.keeps_flows_until.is_none(),
        OfUnhealthy::GoOn => false,
    };
    is_meant && has_failed(member.health) && !group.fails_open()
}

/// Whether a target is thought not to serve any more. One that is ejected takes no new flows, while the others may go well.
fn has_failed(health: Health) -> bool {
    matches!(health, Health::Unhealthy(_)) && health != EJECTED
}
