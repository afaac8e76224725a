//! Registration and deregistration: what a group has against what it should have.

use std::collections::BTreeMap;

use ahash::AHashMap;

use super::wanted::{Wanted, wanted};
use super::{
    Change, GroupState, Health, HealthCount, InitialReason, Record, State, Transition, UnhealthyReason,
};
use crate::definition::TargetGroup;
use crate::snapshot::Member;
use crate::target::{Target, TargetId, TargetSerial};
use crate::task::{Departure, SourceKind, Task, TaskState};
use crate::time::Timestamp;

impl State {
    /// Brings every touched group to what it should have. `event` names what led here, for targets that leave.
    pub(super) fn register(&mut self, event: &str, now: Timestamp, transitions: &mut Vec<Transition>) {
        let Self { tasks, groups, targets_ever, homes, leaving, .. } = self;
        for (name, group) in groups.iter_mut().filter(|(_, group)| group.is_touched) {
            let wanted = if group.is_defined { wanted(&group.settings, tasks) } else { Vec::new() };
            let at: AHashMap<TargetId, usize> =
                wanted.iter().enumerate().map(|(at, wanted)| (wanted.id.clone(), at)).collect();
            let mut wanted: Vec<Option<Wanted<'_>>> = wanted.into_iter().map(Some).collect();
            group.records.retain_mut(|record| {
                let found = at.get(&record.member.target.id).copied();
                let stays =
                    match found.and_then(|at| wanted[at].take_if(|w| w.addr == record.member.target.addr)) {
                        Some(kept) => {
                            keep(record, &kept, &group.settings, group.is_used, now, transitions);
                            true
                        }
                        None => match found.and_then(|at| wanted[at].as_ref()) {
                            // The same identity at another address: its old sockets lead nowhere.
                            Some(moved) => {
                                let cause = format!("{}: moved to {}", moved.cause(), moved.addr);
                                transitions.push(transition(&record.member, Change::Removed, &cause));
                                false
                            }
                            None => leave(record, &group.settings, tasks, event, now, transitions),
                        },
                    };
                if stays {
                    leaving.extend(record.leaves_at.map(|at| (at, record.member.target.serial)));
                } else {
                    record.member.target.leave();
                    homes.remove(&record.member.target.serial);
                }
                stays
            });
            // A task that is already stopping when it is first seen is not worth registering.
            for new in wanted.into_iter().flatten().filter(|w| w.state != TaskState::Stopping) {
                *targets_ever += 1;
                let serial = TargetSerial(*targets_ever);
                let record = register(group, &new, serial, now);
                transitions.push(transition(&record.member, Change::Registered, &record.member.cause));
                homes.insert(serial, name.clone());
                group.records.push(record);
            }
        }
    }
}

fn register(group: &GroupState, wanted: &Wanted<'_>, serial: TargetSerial, now: Timestamp) -> Record {
    let (name, provenance) = (group.settings.name.clone(), wanted.provenance());
    let target = Target::new(serial, wanted.addr, wanted.id.clone(), name, provenance);
    let member = Member {
        target: target.into(),
        weight: wanted.weight,
        health: starting_health(group.is_used, wanted.state),
        since: now,
        cause: wanted.cause().into(),
        health_check_path: wanted.health_check_path.map(Into::into),
    };
    Record { member, count: HealthCount::default(), leaves_at: None }
}

/// The health of a target that nothing is known of yet.
fn starting_health(is_used: bool, state: TaskState) -> Health {
    match (is_used, state) {
        (_, TaskState::Paused) => Health::Unhealthy(UnhealthyReason::Paused),
        (false, _) => Health::Unused,
        (true, _) => Health::Initial(InitialReason::InitialHealthChecking),
    }
}

/// A target that its group has and should have.
fn keep(
    record: &mut Record,
    wanted: &Wanted<'_>,
    settings: &TargetGroup,
    is_used: bool,
    now: Timestamp,
    transitions: &mut Vec<Transition>,
) {
    record.member.weight = wanted.weight;
    if record.member.health_check_path.as_deref() != wanted.health_check_path {
        record.member.health_check_path = wanted.health_check_path.map(Into::into);
    }
    let health = record.member.health;
    let is_paused = health == Health::Unhealthy(UnhealthyReason::Paused);
    match wanted.state {
        TaskState::Stopping => {
            drain(record, settings, &wanted.cause(), now, transitions);
        }
        TaskState::Paused if health != Health::Draining && !is_paused => {
            record.count = HealthCount::default();
            turn(record, Health::Unhealthy(UnhealthyReason::Paused), &wanted.cause(), now, transitions);
        }
        TaskState::Paused => {}
        TaskState::Running => {
            let starts_anew =
                health == Health::Draining || is_paused || (health == Health::Unused) == is_used;
            if starts_anew {
                record.leaves_at = None;
                record.count = HealthCount::default();
                turn(record, starting_health(is_used, wanted.state), &wanted.cause(), now, transitions);
            }
        }
    }
}

/// A target that its group has and should no longer have; whether it stays for a while.
fn leave(
    record: &mut Record,
    settings: &TargetGroup,
    tasks: &BTreeMap<SourceKind, Vec<Task>>,
    event: &str,
    now: Timestamp,
    transitions: &mut Vec<Transition>,
) -> bool {
    if has_vanished(&record.member.target.id, record.member.target.provenance.source, tasks) {
        let cause = format!("{} is gone", record.member.target.provenance.origin);
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
    settings: &TargetGroup,
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
        provenance: member.target.provenance.clone(),
    }
}
