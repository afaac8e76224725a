//! Registration and deregistration: what a group has against what it should have.

use ahash::AHashMap;

use super::ejections::Ejections;
use super::seen::Seen;
use super::wanted::{Wanted, wanted};
use super::{
    Change, GroupState, Health, HealthCount, InitialReason, Record, State, Transition, UnhealthyReason,
};
use crate::anomaly::{Attempts, Opinion};
use crate::definition::TargetGroup;
use crate::snapshot::Member;
use crate::target::{Target, TargetId, TargetSerial};
use crate::task::{Departure, SourceKind, TaskState};
use crate::time::Timestamp;

impl State {
    /// Brings every touched group to what it should have. `event` names what led here, for targets that leave.
    pub(super) fn register(&mut self, event: &str, now: Timestamp, transitions: &mut Vec<Transition>) {
        let Self { seen, groups, targets_ever, homes, leaving, arrivals, .. } = self;
        for (name, group) in groups.iter_mut().filter(|(_, group)| group.is_touched) {
            let wanted = if group.is_defined { wanted(&group.settings, seen) } else { Vec::new() };
            let mut wanted = ById::new(wanted);
            group.records.retain_mut(|record| {
                let stays = match wanted.take(&record.member.target.id) {
                    Some(kept) if kept.addr == record.member.target.addr => {
                        if !group.mischief.keeps(record, kept.state == TaskState::Stopping, now) {
                            keep(record, &kept, &group.settings, group.is_used, now, transitions);
                        }
                        true
                    }
                    Some(moved) => {
                        // The same identity at another address: its old sockets lead nowhere.
                        let cause = format!("{}: moved to {}", moved.cause(), moved.addr);
                        transitions.push(transition(&record.member, Change::Removed, &cause));
                        wanted.give_back(moved);
                        false
                    }
                    None if group.mischief.keeps(record, true, now) => true,
                    None => leave(record, &group.settings, seen, event, now, transitions),
                };
                if stays {
                    leaving.extend(record.leaves_at.map(|at| (at, record.member.target.serial)));
                } else {
                    part(&record.member.target, &group.settings);
                    homes.remove(&record.member.target.serial);
                }
                stays
            });
            // A task that is already stopping when it is first seen is not worth registering.
            for new in wanted.rest().filter(|w| w.state != TaskState::Stopping) {
                *targets_ever += 1;
                let serial = TargetSerial(*targets_ever);
                let count = arrivals.note(group.index, &new.id, now);
                let record = register(group, &new, serial, count, now);
                transitions.push(transition(&record.member, Change::Registered, &record.member.cause));
                homes.insert(serial, name.clone());
                group.records.push(record);
            }
        }
    }
}

/// Wanted targets, to be taken by identity.
struct ById<'s> {
    wanted: Vec<Option<Wanted<'s>>>,
    at: AHashMap<TargetId, usize>,
}

impl<'s> ById<'s> {
    /// Of two with one identity the first counts.
    fn new(wanted: Vec<Wanted<'s>>) -> Self {
        let mut by_id = Self { at: AHashMap::with_capacity(wanted.len()), wanted: Vec::new() };
        for new in wanted {
            by_id.at.entry(new.id.clone()).or_insert_with(|| {
                by_id.wanted.push(Some(new));
                by_id.wanted.len() - 1
            });
        }
        by_id
    }

    fn take(&mut self, id: &TargetId) -> Option<Wanted<'s>> {
        self.wanted[*self.at.get(id)?].take()
    }

    fn give_back(&mut self, wanted: Wanted<'s>) {
        let at = self.at[&wanted.id];
        self.wanted[at] = Some(wanted);
    }

    /// Those that nobody has taken, in order.
    fn rest(self) -> impl Iterator<Item = Wanted<'s>> {
        self.wanted.into_iter().flatten()
    }
}

fn register(
    group: &GroupState,
    wanted: &Wanted<'_>,
    serial: TargetSerial,
    count: HealthCount,
    now: Timestamp,
) -> Record {
    let target = Target::new(serial, wanted.addr, wanted.id.clone(), group.settings.name.clone());
    let cause = if count.is_doubtful() {
        let passes = group.settings.health_check.thresholds.healthy;
        format!("{}, again and again within a minute: it must pass {passes} probes in a row", wanted.cause())
    } else {
        wanted.cause()
    };
    let member = Member {
        target: target.into(),
        weight: wanted.weight,
        health: starting_health(group.is_used, wanted.state),
        since: now,
        cause: cause.into(),
        zone: wanted.zone.map(Into::into),
        server_id: wanted.server_id,
        health_check_path: wanted.health_check_path.map(Into::into),
        keeps_flows_until: None,
        opinion: Opinion::default(),
        provenance: wanted.provenance(),
    };
    Record {
        member,
        count,
        judged: Attempts::default(),
        ejections: Ejections::default(),
        is_among_first: group.records.iter().all(|record| !record.member.health.is_healthy()),
        failed_since: None,
        leaves_at: None,
        overdue_at: None,
    }
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
    if record.member.zone.as_deref() != wanted.zone {
        record.member.zone = wanted.zone.map(Into::into);
    }
    record.member.server_id = wanted.server_id;
    record.member.provenance = wanted.provenance();
    let health = record.member.health;
    if wanted.state == TaskState::Stopping {
        return drain(record, settings, &wanted.cause(), now, transitions);
    }
    let starts_anew = match engine_health(wanted.state) {
        Some(said) => health != said,
        None => {
            health == Health::Draining || health.is_said_by_engine() || (health == Health::Unused) == is_used
        }
    };
    if starts_anew {
        record.leaves_at = None;
        record.count = record.count.anew();
        record.member.target.tally.end_slow_start();
        turn(record, starting_health(is_used, wanted.state), &wanted.cause(), now, transitions);
    }
}

/// A target that its group has and should no longer have; whether it stays for a while.
fn leave(
    record: &mut Record,
    settings: &TargetGroup,
    seen: &Seen,
    event: &str,
    now: Timestamp,
    transitions: &mut Vec<Transition>,
) -> bool {
    if has_vanished(&record.member.target.id, record.member.provenance.source, seen) {
        let cause = format!("{} is gone", record.member.provenance.origin);
        transitions.push(transition(&record.member, Change::Removed, &cause));
        return false;
    }
    let cause = format!("no longer in its group ({event})");
    drain(record, settings, &cause, now, transitions);
    true
}

/// Whether the task behind a target is gone from a source whose tasks do not leave in order.
fn has_vanished(id: &TargetId, source: &str, seen: &Seen) -> bool {
    let TargetId::Task { task, .. } = id else { return false };
    let source = SourceKind::ALL.into_iter().find(|kind| kind.as_str() == source);
    source.is_some_and(|source| source.departure() == Departure::Vanished && !seen.has(source, task))
}

/// A target leaves for good; its flows do where its group would have it so.
pub(super) fn part(target: &Target, settings: &TargetGroup) {
    target.leave();
    target.end_flows(settings.flows.connection_termination);
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
        provenance: member.provenance.clone(),
    }
}
