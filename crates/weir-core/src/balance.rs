//! Balancing: which target of a group takes the next request or flow.
//!
//! A [`Picker`] is immutable and lives in the snapshot. What one worker needs (cursor, random stream) is passed in as
//! `&mut WorkerState`; what all workers share (in flight, slow-start age) is the [`crate::tally::Tally`] of each
//! target. Time is an argument. So data plane, `explain` and simulator drive the very same code.
//!
//! What this module lacks: clock, I/O, locks, ambient randomness, allocation per pick.

mod bounds;
mod hash;
mod least_outstanding;
mod prequal;
mod round_robin;
mod two_choices;
mod weighted_random;

use std::sync::Arc;
use std::time::Duration;

pub use bounds::shares;
pub use hash::{Disruption, Maglev, Ring, Shape, Table};
pub use prequal::{Asked, probe_uses};
pub use two_choices::Draws;

use self::bounds::Bounds;
use crate::address::ClientAddr;
use crate::comparison::Arm;
use crate::definition::{Algorithm, Hashing, TargetGroup};
use crate::head::Head;
use crate::load_report::LoadReport;
use crate::snapshot::{GroupIndex, Member};
use crate::sticky::Fingerprint;
use crate::target::{Target, TargetSerial};
use crate::time::Timestamp;

/// Share of a target's turns that it gets at the very start of slow start. Ours: AWS does not document its own.
const SLOW_START_SHARE_MIN: f64 = 0.1;

/// What one worker keeps between picks. Never shared between threads.
#[derive(Clone, Debug)]
pub struct WorkerState {
    /// The worker's random stream.
    pub random: fastrand::Rng,
    /// One per group, indexed by [`GroupIndex`]; grows as groups appear.
    cursors: Vec<Option<usize>>,
    /// What is known of targets that are probed, in the same way.
    pools: Vec<Option<prequal::Pool>>,
}

impl WorkerState {
    /// A worker whose random stream starts at `seed`: the same seed and requests give the same picks.
    pub fn seeded(seed: u64) -> Self {
        Self { random: fastrand::Rng::with_seed(seed), cursors: Vec::new(), pools: Vec::new() }
    }

    /// The cursor of a group, and the random stream beside it.
    ///
    /// A group's first cursor is drawn at random, so that several workers do not all begin with the same target.
    pub(crate) fn of_group(&mut self, group: GroupIndex) -> (&mut usize, &mut fastrand::Rng) {
        let at = group.0 as usize;
        if self.cursors.len() <= at {
            self.cursors.resize(at + 1, None);
        }
        let Self { random, cursors, .. } = self;
        let cursor = cursors[at].get_or_insert_with(|| random.usize(0..1 << 16));
        (cursor, random)
    }
}

impl WorkerState {
    /// What is known of the probed targets of a group, and the random stream beside it.
    fn pool(&mut self, group: GroupIndex) -> (&mut prequal::Pool, &mut fastrand::Rng) {
        let at = group.0 as usize;
        if self.pools.len() <= at {
            self.pools.resize_with(at + 1, || None);
        }
        (self.pools[at].get_or_insert_with(prequal::Pool::new), &mut self.random)
    }
}

/// What a pick may depend on besides the group and the worker.
#[derive(Clone, Copy, Debug)]
pub struct PickContext<'a> {
    /// The hash of what must stay together: the flow key, or what a group hashes of requests. Only hashing reads it.
    pub key: u64,
    /// The moment of the pick, for slow start.
    pub now: Timestamp,
    /// Targets that have just failed this very request: picked only when there is no other.
    pub avoid: &'a [TargetSerial],
    /// The target that the client sticks to: picked before any other, if it may be.
    pub pinned: Option<Fingerprint>,
    /// The arm that the request is in, where the group compares algorithms.
    pub arm: Option<Arm>,
}

/// Picks among the eligible members of one group. Immutable; built with the group.
#[derive(Clone, Debug)]
pub struct Picker {
    /// What it picks by.
    pub algorithm: Algorithm,
    /// Members that may be picked, as positions among the group's members, ascending.
    eligible: Vec<u32>,
    slow_start: Duration,
    /// Requests or flows that a target may have at a time.
    most: u32,
    law: Law,
    hashing: Option<Hashing>,
    /// How much more than its share a target may have, where keys are hashed.
    bounds: Option<Bounds>,
}

#[derive(Clone, Debug)]
enum Law {
    Hash(hash::Hash),
    LeastOutstandingRequests,
    PeakEwma,
    PowerOfTwoChoices(Draws),
    Prequal(prequal::Rates),
    Rendezvous(hash::Rendezvous),
    RoundRobin(round_robin::RoundRobin),
    WeightedRandom(weighted_random::WeightedRandom),
}

impl Picker {
    /// The table that somebody is to build, beside the thread that publishes: flows are placed by the one before meanwhile.
    pub fn unbuilt(&self) -> Option<&Arc<Table>> {
        match &self.law {
            Law::Hash(hash) => hash.unbuilt(),
            _ => None,
        }
    }

    /// What the last change of the registered members did to flows, where they are placed by their hash.
    pub fn disruption(&self) -> Option<Disruption> {
        match &self.law {
            Law::Hash(hash) => hash.disruption(),
            _ => None,
        }
    }

    /// Builds the picker by `algorithm`, the group's own or the one that it is compared with, for `eligible`, positions among
    /// `members`.
    ///
    /// `before` is the picker that this one replaces: a table is rebuilt only when the registered members
    /// changed, not when their health did.
    pub fn build(
        settings: &TargetGroup,
        algorithm: Algorithm,
        members: &[Member],
        eligible: Vec<u32>,
        before: Option<&Self>,
    ) -> Self {
        let hash = |shape| {
            let before = before.and_then(|picker| match &picker.law {
                Law::Hash(hash) => Some(hash),
                _ => None,
            });
            Law::Hash(hash::Hash::build(shape, members, &eligible, before))
        };
        let law = match algorithm {
            Algorithm::FlowHash | Algorithm::Maglev => hash(Shape::Maglev),
            Algorithm::RingHash => hash(Shape::Ring),
            Algorithm::Rendezvous => Law::Rendezvous(hash::Rendezvous::build(members, &eligible)),
            Algorithm::LeastOutstandingRequests => Law::LeastOutstandingRequests,
            Algorithm::PeakEwma => Law::PeakEwma,
            Algorithm::PowerOfTwoChoices(draws) => Law::PowerOfTwoChoices(draws),
            Algorithm::Prequal => Law::Prequal(prequal::Rates::of(settings.load_probe.as_ref())),
            Algorithm::RoundRobin => Law::RoundRobin(round_robin::RoundRobin::build(members, &eligible)),
            Algorithm::WeightedRandom => Law::WeightedRandom(weighted_random::WeightedRandom::build(
                members,
                &eligible,
                settings.mitigates_anomalies,
            )),
        };
        // The other algorithm of the group may be the one that hashes.
        let hashing = settings.hashing.clone().filter(|_| algorithm.hashes());
        let factor = hashing.as_ref().and_then(|hashing| hashing.balance_factor);
        let bounds = factor.map(|factor| Bounds::build(factor, members, &eligible));
        let (slow_start, most) = (settings.slow_start, settings.concurrency.per_target);
        Self { algorithm, eligible, slow_start, most, law, hashing, bounds }
    }

    /// What a request is picked by, where it is hashed. Of those that have nothing of what is asked for each goes where it may.
    pub fn key(&self, head: &Head<'_>, client: ClientAddr, worker: &mut WorkerState) -> u64 {
        let Some(hashing) = &self.hashing else { return 0 };
        hashing.key(head, client).unwrap_or_else(|| worker.random.u64(..))
    }

    /// What it hashes of requests, if it does.
    pub fn hashing(&self) -> Option<&Hashing> {
        self.hashing.as_ref()
    }

    /// Whether a member has less under way than the bound on what is hashed to it, if there is one.
    pub fn is_within_bounds(&self, members: &[Member], position: usize) -> bool {
        let bounds = self.bounds.as_ref();
        bounds.is_none_or(|bounds| bounds.has_room(members, position as u32, bounds.capacity(members)))
    }

    /// Positions of the members that may be picked.
    pub fn eligible(&self) -> &[u32] {
        &self.eligible
    }

    /// Whether a target may have one more request or flow.
    pub(crate) fn has_room(&self, target: &Target) -> bool {
        self.most == u32::MAX || target.tally.in_flight() < self.most
    }

    /// Picks one of `members`, the very slice that the picker was built for; `None` when none is eligible, or has room.
    pub fn pick(
        &self,
        members: &[Member],
        group: GroupIndex,
        worker: &mut WorkerState,
        context: &PickContext<'_>,
    ) -> Option<usize> {
        let first = self.eligible.first()?;
        if self.eligible.len() == 1 {
            return Some(*first as usize).filter(|at| self.has_room(&members[*at].target));
        }
        let accept = |at: u32, random: &mut fastrand::Rng| {
            let target = &members[at as usize].target;
            !context.avoid.contains(&target.serial)
                && self.has_room(target)
                && (self.slow_start.is_zero()
                    || target
                        .tally
                        .slow_start_age(context.now)
                        .is_none_or(|age| takes_its_turn(age, self.slow_start, random)))
        };
        let bounds = self.bounds.as_ref().map(|bounds| (bounds, bounds.capacity(members)));
        let within_bounds =
            |at: u32| bounds.is_none_or(|(bounds, capacity)| bounds.has_room(members, at, capacity));
        let probed = if let Law::Prequal(rates) = self.law {
            let (pool, random) = worker.pool(group);
            // What was probed may have left since, or fallen ill.
            let is_eligible = |at: u32| self.eligible.binary_search(&at).is_ok();
            let picked = pool.pick(members, rates, context.now, |at| is_eligible(at) && accept(at, random));
            if !rates.asks {
                pool.look(members, &self.eligible, rates, random, context.now);
            }
            picked
        } else {
            None
        };
        let (cursor, random) = worker.of_group(group);
        let at = match &self.law {
            Law::Prequal(rates) => probed.or_else(|| {
                // Those who do not say what they have under way are still seen from here.
                let load = |at: u32| if rates.asks { outstanding(&members[at as usize]) } else { 0.0 };
                two_choices::pick(&self.eligible, Draws::Distinct, random, load, accept)
            }),
            Law::Hash(hash) => hash.pick(context.key, |at| within_bounds(at) && accept(at, random)),
            Law::Rendezvous(rendezvous) => {
                rendezvous.pick(context.key, |at| within_bounds(at) && accept(at, random))
            }
            Law::LeastOutstandingRequests => least_outstanding::pick(members, &self.eligible, random, accept),
            Law::PeakEwma => {
                let load = |at: u32| expected(&members[at as usize], context.now);
                two_choices::pick(&self.eligible, Draws::Distinct, random, load, accept)
            }
            Law::PowerOfTwoChoices(draws) => {
                let load = |at: u32| outstanding(&members[at as usize]);
                two_choices::pick(&self.eligible, *draws, random, load, accept)
            }
            Law::RoundRobin(round_robin) => round_robin.pick(cursor, |at| accept(at, random)),
            Law::WeightedRandom(weighted) => weighted.pick(random, accept),
        };
        // Everyone refused its turn (all in slow start, say): anyone is better than nobody, the avoided last.
        let at = at.or_else(|| {
            let is_avoided = |at: &&u32| context.avoid.contains(&members[**at as usize].target.serial);
            let has_room = |at: &&u32| self.has_room(&members[**at as usize].target);
            let mut others = self.eligible.iter().filter(has_room);
            others.clone().find(|at| !is_avoided(at)).or_else(|| others.next()).copied()
        });
        at.map(|at| at as usize)
    }
}

impl Picker {
    /// Draws targets that are to be asked for their load with a request, where they are asked: none more often than once.
    pub fn draw_probes(
        &self,
        members: &[Member],
        group: GroupIndex,
        worker: &mut WorkerState,
        drawn: &mut Vec<Asked>,
    ) {
        if let Law::Prequal(rates) = self.law
            && rates.asks
        {
            let (pool, random) = worker.pool(group);
            pool.draw(members, &self.eligible, rates, random, drawn);
        }
    }

    /// Keeps what a target of the group has said of its load.
    pub fn hear(
        &self,
        group: GroupIndex,
        worker: &mut WorkerState,
        asked: &Asked,
        report: LoadReport,
        now: Timestamp,
    ) {
        if let Law::Prequal(rates) = self.law {
            let (pool, random) = worker.pool(group);
            pool.hear(asked, report, (self.eligible.len(), rates), random, now);
        }
    }
}

/// What a member's load is as `algorithm` sees it: requests relative to its weight, or milliseconds until one more would be
/// answered. `None` where load does not count.
pub fn load(algorithm: Algorithm, member: &Member, now: Timestamp) -> Option<f64> {
    match algorithm {
        Algorithm::LeastOutstandingRequests | Algorithm::PowerOfTwoChoices(_) => Some(outstanding(member)),
        Algorithm::PeakEwma => Some(expected(member, now) / 1e6),
        Algorithm::FlowHash
        | Algorithm::Maglev
        | Algorithm::Prequal
        | Algorithm::Rendezvous
        | Algorithm::RingHash
        | Algorithm::RoundRobin
        | Algorithm::WeightedRandom => None,
    }
}

/// What one more request would take at a member as `algorithm` estimates it by what weir counts. `None` where that does not count, and
/// where nothing is known.
pub fn estimate(algorithm: Algorithm, member: &Member, now: Timestamp) -> Option<Duration> {
    let target = &member.target;
    let estimate =
        (algorithm == Algorithm::Prequal).then(|| target.latency.estimate(target.tally.in_flight() + 1, now));
    estimate.filter(|estimate| !estimate.is_zero())
}

/// Requests that a member would have with one more, relative to its weight.
fn outstanding(member: &Member) -> f64 {
    f64::from(member.target.tally.in_flight() + 1) / f64::from(member.weight.get())
}

/// Nanoseconds until one more request would be answered, relative to the member's weight.
fn expected(member: &Member, now: Timestamp) -> f64 {
    member.target.latency.load(member.target.tally.in_flight(), now) / f64::from(member.weight.get())
}

/// Whether a target that has been in slow start for `age` of `window` takes this turn: its share of turns grows
/// linearly to one.
fn takes_its_turn(age: Duration, window: Duration, random: &mut fastrand::Rng) -> bool {
    let share = share_of_turns(age, window);
    share >= 1.0 || random.f64() < share
}

/// The share of its turns that a target takes which has been in slow start for `age` of `window`.
pub fn share_of_turns(age: Duration, window: Duration) -> f64 {
    (age.as_secs_f64() / window.as_secs_f64()).clamp(SLOW_START_SHARE_MIN, 1.0)
}

#[cfg(test)]
mod tests;
