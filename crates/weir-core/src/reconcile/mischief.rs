//! Mischief: what a group does wrong on demand, done.

use std::collections::VecDeque;

use super::registration::turn;
use super::{Health, Record, State, Transition};
use crate::chaos::Chaos;
use crate::health::{UnhealthyReason, Verdict};
use crate::name::GroupName;
use crate::target::TargetSerial;
use crate::time::Timestamp;

/// The health of a target that is made to flap.
pub(super) const FLAPPED: Health = Health::Unhealthy(UnhealthyReason::Chaos);

/// Most verdicts of a group that wait; those beyond take effect at once.
const VERDICTS_MAX: usize = 100_000;

/// What one group does wrong, and what it has yet to do.
#[derive(Debug, Default)]
pub(super) struct Mischief {
    chaos: Chaos,
    /// Verdicts that have not taken effect yet, the oldest first.
    verdicts: VecDeque<(Timestamp, TargetSerial, Verdict)>,
    /// When the flapping target recovers, or the next one begins.
    flaps_at: Option<Timestamp>,
    /// The target that flaps, or flapped last.
    flapped: TargetSerial,
}

impl Mischief {
    /// Whether a target that should leave stays as it is for now.
    pub(super) fn keeps(&self, record: &mut Record, is_leaving: bool, now: Timestamp) -> bool {
        if !is_leaving || record.member.health == Health::Draining || self.chaos.deregister_late.is_zero() {
            record.overdue_at = None;
            return false;
        }
        now < *record.overdue_at.get_or_insert(now.after(self.chaos.deregister_late))
    }

    /// The verdict as it takes effect now; `None` when it does so later.
    pub(super) fn bend(&mut self, record: &Record, verdict: Verdict, now: Timestamp) -> Option<Verdict> {
        let lost = self.chaos.lose_zone.as_deref();
        let is_lost = lost.is_some() && lost == record.member.zone.as_deref();
        let verdict = if is_lost { Err(UnhealthyReason::ConnectTimeout) } else { verdict };
        if self.chaos.delay_health.is_zero() || self.verdicts.len() >= VERDICTS_MAX {
            return Some(verdict);
        }
        let at = now.after(self.chaos.delay_health);
        self.verdicts.push_back((at, record.member.target.serial, verdict));
        None
    }
}

impl State {
    /// Makes a group do wrong from now on, or cease to.
    pub(super) fn misbehave(
        &mut self,
        name: &GroupName,
        chaos: Chaos,
        now: Timestamp,
        transitions: &mut Vec<Transition>,
    ) {
        let Some(group) = self.groups.get_mut(name) else { return };
        group.is_touched = true;
        let flapped = group.mischief.flapped;
        // Who goes on flapping keeps its turns.
        let flaps_at = chaos.flap.map(|_| group.mischief.flaps_at.unwrap_or(now));
        if flaps_at.is_none() {
            recover(&mut group.records, now, transitions);
        }
        if chaos.is_off() {
            self.mischievous.remove(name);
        } else {
            self.mischievous.insert(name.clone());
        }
        group.mischief = Mischief { chaos, verdicts: VecDeque::new(), flaps_at, flapped };
        self.register("chaos", now, transitions);
        self.be_mischievous(now, transitions);
    }

    /// Groups that are no longer defined do nothing wrong any more, nor when they come back.
    pub(super) fn forgive(&mut self) {
        for (name, group) in self.groups.iter_mut().filter(|(_, group)| !group.is_defined) {
            if self.mischievous.remove(name) {
                group.mischief = Mischief::default();
            }
        }
    }

    /// When [`State::be_mischievous`] is next worth calling.
    pub(super) fn next_mischief(&self) -> Option<Timestamp> {
        let groups = self.mischievous.iter().filter_map(|name| self.groups.get(name));
        let due = groups.flat_map(|group| {
            let overdue = group.records.iter().filter_map(|record| record.overdue_at);
            let verdict = group.mischief.verdicts.front().map(|(at, _, _)| *at);
            overdue.chain(verdict).chain(group.mischief.flaps_at)
        });
        due.min()
    }

    /// Does what is due.
    pub(super) fn be_mischievous(&mut self, now: Timestamp, transitions: &mut Vec<Transition>) {
        let mut verdicts = Vec::new();
        let mut is_anybody_overdue = false;
        for name in &self.mischievous {
            let Some(group) = self.groups.get_mut(name) else { continue };
            let mischief = &mut group.mischief;
            while let Some((_, serial, verdict)) = mischief.verdicts.pop_front_if(|(at, _, _)| *at <= now) {
                verdicts.push((serial, verdict));
            }
            if let (Some(period), true) = (mischief.chaos.flap, mischief.flaps_at.is_some_and(|at| at <= now))
            {
                mischief.flaps_at = Some(now.after(period));
                if !recover(&mut group.records, now, transitions) {
                    flap(&mut group.records, &mut mischief.flapped, now, transitions);
                }
                group.is_touched = true;
            }
            let is_overdue = |record: &Record| record.overdue_at.is_some_and(|at| at <= now);
            if group.records.iter().any(is_overdue) {
                group.is_touched = true;
                is_anybody_overdue = true;
            }
        }
        for (serial, verdict) in verdicts {
            self.take_effect(serial, verdict, now, transitions);
        }
        if is_anybody_overdue {
            self.register("chaos", now, transitions);
        }
    }
}

/// Takes the next healthy target after the one that flapped last for unhealthy.
fn flap(records: &mut [Record], last: &mut TargetSerial, now: Timestamp, transitions: &mut Vec<Transition>) {
    let healthy = records.iter_mut().filter(|record| record.member.health.is_healthy());
    let next = healthy.min_by_key(|record| {
        let serial = record.member.target.serial;
        (serial <= *last, serial)
    });
    if let Some(record) = next {
        *last = record.member.target.serial;
        turn(record, FLAPPED, "chaos: flaps", now, transitions);
    }
}

/// Gives flapping targets their health back; whether there were any.
fn recover(records: &mut [Record], now: Timestamp, transitions: &mut Vec<Transition>) -> bool {
    let mut any = false;
    for record in records.iter_mut().filter(|record| record.member.health == FLAPPED) {
        turn(record, Health::Healthy, "chaos: flaps no longer", now, transitions);
        any = true;
    }
    any
}
