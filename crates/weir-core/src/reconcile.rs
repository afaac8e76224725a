//! Reconciliation: one event in, the next snapshot and what changed out.
//!
//! [`reconcile`] is the only place where targets are registered, change health, drain and leave. It is a synchronous
//! function of state, event and time; the control thread logs what it returns and publishes the snapshot. Nothing
//! else writes.

mod arrivals;
mod comparison;
mod ejections;
mod endings;
mod event;
mod listeners;
mod mischief;
mod registration;
mod seen;
mod trials;
mod wanted;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ahash::AHashMap;

pub use self::event::{Change, Event, Observed, Transition};
pub use self::trials::Stopped;

use self::arrivals::Arrivals;
use self::ejections::{EJECTED, Ejections};
use self::mischief::{FLAPPED, Mischief};
use self::seen::Seen;
use self::trials::Running;
use crate::address::ListenAddr;
use crate::anomaly::Attempts;
use crate::definition::{Definitions, Service, TargetGroup};
use crate::health::{Health, HealthCount, InitialReason, UnhealthyReason, Verdict};
use crate::name::{GroupName, LoadBalancerName};
use crate::seal::CookieKeys;
use crate::snapshot::{Group, GroupIndex, Listener, ListenerIndex, Member, Snapshot};
use crate::target::TargetSerial;
use crate::task::TaskSet;
use crate::time::Timestamp;

/// What an event came to.
#[derive(Debug, Default)]
pub struct Reconciled {
    /// The next snapshot, when any reader could see a difference.
    pub snapshot: Option<Snapshot>,
    /// What changed about targets, in order.
    pub transitions: Vec<Transition>,
    /// Comparisons that have ended, one arm being clearly worse.
    pub stopped: Vec<Stopped>,
}

/// Everything the reconciler knows. Owned by the control thread, and by tests.
#[derive(Debug, Default)]
pub struct State {
    definitions: Arc<Definitions>,
    seen: Seen,
    groups: BTreeMap<GroupName, GroupState>,
    /// The group of every target.
    homes: AHashMap<TargetSerial, GroupName>,
    /// When draining targets are removed. One that has left already, or came back, is passed over.
    leaving: BTreeSet<(Timestamp, TargetSerial)>,
    arrivals: Arrivals,
    /// Groups that misbehave on demand.
    mischievous: BTreeSet<GroupName>,
    group_indices: BTreeMap<GroupName, GroupIndex>,
    listener_indices: BTreeMap<(LoadBalancerName, ListenAddr, Service, &'static str), ListenerIndex>,
    listeners: Vec<Option<Arc<Listener>>>,
    cookie_keys: Option<Arc<CookieKeys>>,
    targets_ever: u64,
    trials_ever: u32,
    generation: u64,
    /// By group index, as last published.
    published: Vec<Option<Arc<Group>>>,
}

/// One group and what is registered in it.
#[derive(Debug)]
struct GroupState {
    index: GroupIndex,
    settings: Arc<TargetGroup>,
    /// Whether the definitions still have it; if not, it goes when its last target has drained.
    is_defined: bool,
    is_used: bool,
    records: Vec<Record>,
    mischief: Mischief,
    /// The comparison of two algorithms.
    trial: Option<Running>,
    /// Whether anything about it may have changed since it was built.
    is_touched: bool,
}

/// One target and what the reconciler remembers of it. Its counts live in the target itself.
#[derive(Clone, Debug)]
struct Record {
    member: Member,
    count: HealthCount,
    /// What had come of its requests when it was compared last.
    judged: Attempts,
    ejections: Ejections,
    /// Whether nobody was healthy when it was registered: those that are there first do not ramp up, in whatever order they
    /// turn healthy.
    is_among_first: bool,
    /// Since when it has been unhealthy, where that ends its flows after a while.
    failed_since: Option<Timestamp>,
    /// When a draining target is removed.
    leaves_at: Option<Timestamp>,
    /// When a target that should leave, and is kept by chaos, does.
    overdue_at: Option<Timestamp>,
}

impl State {
    /// A state with nothing in it.
    pub fn new() -> Self {
        Self::default()
    }

    /// When [`Event::Due`] is next worth sending: the end of the nearest deregistration delay, of a time for which an unhealthy
    /// target keeps its flows, or some mischief.
    pub fn next_due(&self) -> Option<Timestamp> {
        let leaving = self.leaving.first().map(|(at, _)| *at);
        leaving.into_iter().chain(self.next_ending()).chain(self.next_mischief()).min()
    }

    /// What the operator last asked for.
    pub fn definitions(&self) -> &Arc<Definitions> {
        &self.definitions
    }
}

/// Takes in one event: the next snapshot and the transitions that led to it.
pub fn reconcile(state: &mut State, event: Event, now: Timestamp) -> Reconciled {
    let (mut transitions, mut stopped) = (Vec::new(), Vec::new());
    let mut changed = false;
    match event {
        Event::Chaos { group, chaos } => state.misbehave(&group, chaos, now, &mut transitions),
        Event::Compare => state.compare(&mut transitions),
        Event::CookieKeys(keys) => changed = state.cookie_keys.replace(keys.clone()) != Some(keys),
        Event::Definitions(definitions) => {
            changed = state.define(definitions);
            state.register("configuration", now, &mut transitions);
        }
        Event::Look => state.look(now, &mut transitions),
        Event::Due => state.be_mischievous(now, &mut transitions),
        Event::Tasks(set) => {
            let source = set.source;
            state.see(set);
            state.register(source.as_str(), now, &mut transitions);
        }
        Event::Trials(observed) => stopped = state.weigh(&observed, now),
        Event::Verdicts(verdicts) => {
            for (serial, verdict) in verdicts {
                state.judge(serial, verdict, now, &mut transitions);
            }
        }
    }
    state.remove_due(now, &mut transitions);
    state.end_kept_flows(now);
    let snapshot = state.rebuild(changed, now);
    Reconciled { snapshot, transitions, stopped }
}

impl State {
    /// Takes in new definitions; whether a listener changed.
    fn define(&mut self, definitions: Arc<Definitions>) -> bool {
        for group in self.groups.values_mut() {
            group.is_defined = false;
            group.is_used = false;
            group.is_touched = true;
        }
        for settings in &definitions.target_groups {
            let next = GroupIndex(self.group_indices.len() as u32);
            let index = *self.group_indices.entry(settings.name.clone()).or_insert(next);
            let group = self.groups.entry(settings.name.clone()).or_insert_with(|| GroupState {
                index,
                settings: Arc::new(settings.clone()),
                is_defined: true,
                is_used: false,
                records: Vec::new(),
                mischief: Mischief::default(),
                trial: None,
                is_touched: true,
            });
            group.is_defined = true;
            if *group.settings != *settings {
                group.settings = Arc::new(settings.clone());
            }
        }
        self.forgive();
        self.begin_trials();
        let changed = self.define_listeners(&definitions);
        self.definitions = definitions;
        changed
    }

    /// Takes in what a source sees; touches the groups that a difference to what it saw before concerns.
    fn see(&mut self, set: TaskSet) {
        let source = set.source;
        let changed = self.seen.take_in(set);
        for group in self.groups.values_mut() {
            group.is_touched |= changed.iter().any(|task| wanted::concerns(&group.settings, source, task));
        }
    }

    /// Takes in a verdict about a target.
    fn judge(
        &mut self,
        serial: TargetSerial,
        verdict: Verdict,
        now: Timestamp,
        transitions: &mut Vec<Transition>,
    ) {
        let Some(group) = self.homes.get(&serial).and_then(|home| self.groups.get_mut(home)) else { return };
        let Some(record) = group.records.iter().find(|record| record.member.target.serial == serial) else {
            return;
        };
        if let Some(verdict) = group.mischief.bend(record, verdict, now) {
            self.take_effect(serial, verdict, now, transitions);
        }
    }

    /// Records a verdict about a target.
    fn take_effect(
        &mut self,
        serial: TargetSerial,
        verdict: Verdict,
        now: Timestamp,
        transitions: &mut Vec<Transition>,
    ) {
        let Some(group) = self.homes.get(&serial).and_then(|home| self.groups.get_mut(home)) else { return };
        let Some(at) = group.records.iter().position(|record| record.member.target.serial == serial) else {
            return;
        };
        let health = group.records[at].member.health;
        // A paused task is known to be frozen, whatever a probe that was under way says.
        if health.is_said_by_engine() || health == FLAPPED || health == EJECTED {
            return;
        }
        let thresholds = group.settings.health_check.thresholds;
        let Some(next) = group.records[at].count.record(health, verdict, thresholds) else { return };
        // AWS: a target ramps up only beside one that already carries its full share.
        let has_full_speed = group.has_target_at_full_speed(now);
        let record = &mut group.records[at];
        let is_first_time = std::mem::take(&mut record.is_among_first);
        let ramps_up = next.is_healthy() && !is_first_time && has_full_speed;
        if ramps_up {
            record.member.target.tally.begin_slow_start(now);
        } else {
            record.member.target.tally.end_slow_start();
        }
        let cause = match verdict {
            Ok(()) => "health check passed".to_owned(),
            Err(_) => format!("health check: {}", next.description().unwrap_or_default()),
        };
        registration::turn(record, next, &cause, now, transitions);
        group.is_touched = true;
    }

    /// Removes draining targets whose delay has ended.
    fn remove_due(&mut self, now: Timestamp, transitions: &mut Vec<Transition>) {
        while let Some((at, serial)) = self.leaving.first().copied().filter(|(at, _)| *at <= now) {
            self.leaving.remove(&(at, serial));
            let Some(group) = self.homes.get(&serial).and_then(|home| self.groups.get_mut(home)) else {
                continue;
            };
            let is_due = |record: &Record| {
                record.member.target.serial == serial && record.leaves_at.is_some_and(|leaves| leaves <= now)
            };
            if let Some(at) = group.records.iter().position(is_due) {
                let record = group.records.remove(at);
                let cause = "deregistration delay ended";
                transitions.push(registration::transition(&record.member, Change::Removed, cause));
                group.is_touched = true;
                registration::part(&record.member.target, &group.settings);
                self.homes.remove(&serial);
            }
        }
    }

    /// Builds the next snapshot if anything that a reader sees has changed, in a group or elsewhere. Groups that nothing touched are shared
    /// with the one before.
    fn rebuild(&mut self, mut changed: bool, now: Timestamp) -> Option<Snapshot> {
        self.published.resize(self.group_indices.len(), None);
        for group in self.groups.values_mut().filter(|group| group.is_touched) {
            group.is_touched = false;
            group.keep_flows(now);
            let published = &mut self.published[group.index.0 as usize];
            let is_same = published.as_ref().is_some_and(|built| {
                built.is_used == group.is_used
                    && Arc::ptr_eq(&built.settings, &group.settings)
                    && built.trial() == group.trial.as_ref().map(Running::trial)
                    && built.members.iter().eq(group.records.iter().map(|record| &record.member))
            });
            if !is_same {
                changed = true;
                let members = group.records.iter().map(|record| record.member.clone()).collect();
                let before = published.as_deref();
                let settings = group.settings.clone();
                let trial = group.trial.as_ref().map(Running::trial).cloned();
                let built = Group::build(group.index, settings, members, group.is_used, before);
                let built = built.comparing(trial, before);
                endings::tell(&built);
                *published = Some(Arc::new(built));
            }
        }
        // A group that is no longer defined goes with its last target.
        self.groups.retain(|_, group| {
            let stays = group.is_defined || !group.records.is_empty();
            if !stays {
                self.published[group.index.0 as usize] = None;
                changed = true;
            }
            stays
        });
        if !changed {
            return None;
        }
        self.generation += 1;
        let snapshot = Snapshot::new(self.generation, self.listeners.clone(), self.published.clone());
        Some(snapshot.with_cookie_keys(self.cookie_keys.clone()))
    }
}

impl GroupState {
    /// Whether slow start is on and some target already carries its full share.
    fn has_target_at_full_speed(&self, now: Timestamp) -> bool {
        let window = self.settings.slow_start;
        !window.is_zero()
            && self.records.iter().any(|record| {
                let age = record.member.target.tally.slow_start_age(now);
                record.member.health.is_healthy() && age.is_none_or(|age| age >= window)
            })
    }
}

#[cfg(test)]
mod soak;
#[cfg(test)]
mod tests;
