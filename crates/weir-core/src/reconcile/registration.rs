//! Registration and deregistration: what a group has against what it should have.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::wanted::{Wanted, wanted};
use super::{
    Change, GroupState, Health, HealthCount, InitialReason, Record, State, Transition, UnhealthyReason,
};
use crate::snapshot::Member;
use crate::tally::Tally;
use crate::target::{Target, TargetId, TargetSerial};
use crate::task::{Departure, SourceKind, Task, TaskState};
use crate::time::Timestamp;

impl State {
    /// Brings every group to what it should have. `event` names what led here, for targets that leave.
    pub(super) fn register_all(&mut self, event: &str, now: Timestamp, transitions: &mut Vec<Transition>) {
        let Self { tasks, groups, targets_ever, .. } = self;
        for group in groups.values_mut() {
            let mut wanted = if group.is_defined { wanted(&group.settings, tasks) } else { Vec::new() };
            group.records.retain_mut(|record| {
                let at = wanted.iter().position(|w| w.id == record.member.target.id);
                match at.map(|at| wanted.remove(at)) {
                    Some(w) if w.addr == record.member.target.addr => {
                        keep(record, w, &group.settings, group.is_used, now, transitions);
                        true
                    }
                    Some(moved) => {
                        // The same identity at another address: its old sockets lead nowhere.
                        let cause = format!("{}: moved to {}", moved.cause, moved.addr);
                        transitions.push(transition(&record.member, Change::Removed, &cause));
                        wanted.push(moved);
                        false
                    }
                    None => leave(record, &group.settings, tasks, event, now, transitions),
                }
            });
            // A task that is already stopping when it is first seen is not worth registering.
            for w in wanted.into_iter().filter(|w| w.state != TaskState::Stopping) {
                *targets_ever += 1;
                let record = register(group, w, TargetSerial(*targets_ever), now);
                transitions.push(transition(&record.member, Change::Registered, &record.member.cause));
                group.records.push(record);
            }
        }
    }
}

fn register(group: &GroupState, wanted: Wanted, serial: TargetSerial, now: Timestamp) -> Record {
    let target = Arc::new(Target {
        tally: Tally::default(),
        serial,
        addr: wanted.addr,
        id: wanted.id,
        group: group.settings.name.clone(),
    });
    let member = Member {
        target,
        weight: wanted.weight,
        health: starting_health(group.is_used, wanted.state),
        since: now,
        cause: wanted.cause.into(),
        health_check_path: wanted.health_check_path,
        provenance: wanted.provenance,
    };
    Record { member, count: HealthCount::default(), leaves_at: None }
}

/// The health of a target that nothing is known of yet.
fn starting_health(is_used: bool, state: TaskState) -> Health {
    match (engine_health(state), is_used) {
        (Some(said), _) => said,
        (None, false) => Health::Unused,
        (None, true) => Health::Initial(InitialReason::InitialHealthChecking),
    }
}

/// The health that a target has because its engine says so, whatever probes say.
fn engine_health(state: TaskState) -> Option<Health> {
    match state {
        TaskState::Failing => Some(Health::Unhealthy(UnhealthyReason::EngineHealthCheck)),
        TaskState::Paused => Some(Health::Unhealthy(UnhealthyReason::Paused)),
        TaskState::Starting => Some(Health::Initial(InitialReason::EngineHealthChecking)),
        TaskState::Running | TaskState::Stopping => None,
    }
}

/// A target that its group has and should have.
fn keep(
    record: &mut Record,
    wanted: Wanted,
    settings: &crate::definition::TargetGroup,
    is_used: bool,
    now: Timestamp,
    transitions: &mut Vec<Transition>,
) {
    record.member.weight = wanted.weight;
    record.member.health_check_path = wanted.health_check_path;
    record.member.provenance = wanted.provenance;
    let health = record.member.health;
    if wanted.state == TaskState::Stopping {
        return drain(record, settings, &wanted.cause, now, transitions);
    }
    let starts_anew = match engine_health(wanted.state) {
        Some(said) => health != said,
        None => {
            health == Health::Draining || health.is_said_by_engine() || (health == Health::Unused) == is_used
        }
    };
    if starts_anew {
        record.leaves_at = None;
        record.count = HealthCount::default();
        record.member.target.tally.end_slow_start();
        turn(record, starting_health(is_used, wanted.state), &wanted.cause, now, transitions);
    }
}

/// A target that its group has and should no longer have; whether it stays for a while.
fn leave(
    record: &mut Record,
    settings: &crate::definition::TargetGroup,
    tasks: &BTreeMap<SourceKind, Vec<Task>>,
    event: &str,
    now: Timestamp,
    transitions: &mut Vec<Transition>,
) -> bool {
    if has_vanished(&record.member.target.id, record.member.provenance.source, tasks) {
        let cause = format!("{} is gone", record.member.provenance.origin);
        transitions.push(transition(&record.member, Change::Removed, &cause));
        return false;
    }
    let cause = format!("no longer in its group ({event})");
    drain(record, settings, &cause, now, transitions);
    true
}

/// Whether the task behind a target is gone from a source whose tasks do not leave in order.
fn has_vanished(id: &TargetId, source: &str, tasks: &BTreeMap<SourceKind, Vec<Task>>) -> bool {
    let TargetId::Task { task: id, .. } = id else { return false };
    tasks
        .iter()
        .filter(|(kind, _)| kind.as_str() == source && kind.departure() == Departure::Vanished)
        .any(|(_, tasks)| tasks.iter().all(|task| task.id.as_ref() != Some(id)))
}

fn drain(
    record: &mut Record,
    settings: &crate::definition::TargetGroup,
    cause: &str,
    now: Timestamp,
    transitions: &mut Vec<Transition>,
) {
    if record.member.health != Health::Draining {
        record.leaves_at = Some(now.after(settings.deregistration_delay));
        record.member.target.tally.end_slow_start();
        turn(record, Health::Draining, cause, now, transitions);
    }
}

/// Gives a target another health.
pub(super) fn turn(
    record: &mut Record,
    to: Health,
    cause: &str,
    now: Timestamp,
    transitions: &mut Vec<Transition>,
) {
    let from = std::mem::replace(&mut record.member.health, to);
    record.member.since = now;
    record.member.cause = cause.into();
    transitions.push(transition(&record.member, Change::Health { from, to }, cause));
}

pub(super) fn transition(member: &Member, change: Change, cause: &str) -> Transition {
    Transition {
        group: member.target.group.clone(),
        target: member.target.id.to_string(),
        addr: member.target.addr,
        change,
        cause: cause.to_owned(),
        provenance: member.provenance.clone(),
    }
}
