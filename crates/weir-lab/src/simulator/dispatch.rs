//! Who picks: the dispatchers of one weir or of several, or an algorithm of the laboratory; with what they count.

mod asking;

use std::collections::VecDeque;

use weir_core::balance::PickContext;
use weir_core::definition::Algorithm;
use weir_core::lease::Lease;
use weir_core::limits::RetryBudget;
use weir_core::snapshot::Unavailable;
use weir_core::target::TargetSerial;
use weir_core::time::Timestamp;

use super::control::{Chore, Weir, number};
use super::laboratory::{self, Laboratory};
use crate::scenario::{Policy, Scenario, ServerKind};

/// Most targets that one request remembers as failed.
const FAILED_MAX: usize = 4;

/// Targets that have failed a request.
#[derive(Clone, Debug, Default)]
pub(super) struct Failed {
    serials: [TargetSerial; FAILED_MAX],
    count: usize,
}

impl Failed {
    pub(super) fn note(&mut self, serial: Option<TargetSerial>) {
        if let (Some(serial), true) = (serial, self.count < FAILED_MAX) {
            self.serials[self.count] = serial;
            self.count += 1;
        }
    }

    fn as_slice(&self) -> &[TargetSerial] {
        &self.serials[..self.count]
    }
}

/// Who wants a server, and for what.
#[derive(Debug)]
pub(super) struct Wanted<'r> {
    pub(super) dispatcher: u32,
    pub(super) key: u64,
    pub(super) failed: &'r Failed,
}

/// A server that was picked.
#[derive(Debug)]
pub(super) struct Picked {
    pub(super) server: u32,
    pub(super) held: Held,
}

/// What counts as in use at the dispatcher until it is dropped.
#[derive(Debug)]
pub(super) enum Held {
    /// A lease of weir, and how many it was one of.
    Lease(Lease, u32),
    /// Nothing: it counts otherwise, or not at all.
    Nothing,
}

impl Held {
    pub(super) fn target(&self) -> Option<TargetSerial> {
        match self {
            Self::Lease(lease, _) => Some(lease.target().serial),
            Self::Nothing => None,
        }
    }
}

/// Why nobody was picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nobody {
    /// Whoever may be picked has as much to do as it may have.
    HasRoom,
    /// Nobody may be picked.
    IsThere,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    Answered,
    ServerError,
    Refused,
}

/// An attempt that has ended.
#[derive(Debug)]
pub(super) struct End {
    pub(super) server: u32,
    pub(super) took: u64,
    pub(super) waited: u64,
    /// The work that it was, in nanoseconds at speed 1.
    pub(super) work: u64,
    /// Jobs that its server has now.
    pub(super) jobs: u32,
    pub(super) ending: Ending,
    /// Whose it was, if its client has not given up.
    pub(super) dispatcher: Option<u32>,
    /// Whose retry it was, whether or not its client still waits.
    pub(super) retry_of: Option<u32>,
    pub(super) held: Held,
    pub(super) now: u64,
}

/// Why a request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sending {
    First,
    Retry,
    FromQueue,
}

/// A request that waits until somebody has room.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) request: u32,
    pub(super) serial: u32,
    pub(super) work: u64,
}

/// All dispatchers of a run.
#[derive(Debug)]
pub(super) struct Dispatch {
    picking: Picking,
    counts: Vec<Counts>,
    queue: VecDeque<Waiting>,
    queue_most: usize,
    budget: RetryBudget,
    /// Whether what targets take is noted.
    notes_latency: bool,
    /// Whether keys decide who is picked.
    hashes: bool,
    group: weir_core::definition::TargetGroup,
    probes: bool,
    /// Where servers are asked for their load: by dispatcher and server, whether an answer is awaited.
    awaited: Option<Vec<Vec<bool>>>,
}

/// What one dispatcher has under way.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    requests: u32,
    retries: u32,
}

#[derive(Debug)]
enum Picking {
    /// One weir, whose workers share what they count.
    Shared(Weir),
    /// Several weirs of one worker.
    Apart(Vec<Weir>),
    /// One weir that sees what was in flight when it looked last: leases that stand for it.
    Stale(Weir, Vec<Vec<Lease>>),
    Laboratory(Box<dyn Laboratory>),
}

impl Dispatch {
    pub(super) fn new(scenario: &Scenario, policy: Policy, seed: u64) -> Self {
        let dispatchers = scenario.dispatchers;
        let picking = match policy {
            Policy::Weir(algorithm) if dispatchers.refresh.is_some() => {
                Picking::Stale(Weir::new(scenario, algorithm, dispatchers.count, seed, 0), Vec::new())
            }
            Policy::Weir(algorithm) if dispatchers.count_apart => {
                let weir = |number| Weir::new(scenario, algorithm, 1, seed, u64::from(number));
                Picking::Apart((0..dispatchers.count).map(weir).collect())
            }
            Policy::Weir(algorithm) => {
                Picking::Shared(Weir::new(scenario, algorithm, dispatchers.count, seed, 0))
            }
            Policy::Laboratory(policy) => Picking::Laboratory(laboratory::new(policy, scenario, seed)),
        };
        let notes_latency = matches!(policy, Policy::Weir(Algorithm::PeakEwma | Algorithm::Prequal));
        let is_eventful = |(_, event): &(u64, crate::scenario::Event)| {
            matches!(event, crate::scenario::Event::Crash { .. } | crate::scenario::Event::Recover { .. })
        };
        let asks = policy == Policy::Weir(Algorithm::Prequal) && scenario.group.load_probe.is_some();
        Self {
            picking,
            counts: vec![Counts::default(); dispatchers.count as usize],
            queue: VecDeque::new(),
            queue_most: dispatchers.surge_queue as usize,
            budget: scenario.group.retries,
            notes_latency,
            hashes: policy.needs_keys(),
            group: scenario.group.clone(),
            probes: scenario.events.iter().any(is_eventful),
            awaited: asks.then(|| vec![Vec::new(); dispatchers.count as usize]),
        }
    }

    /// What control does by the clock, and when first.
    pub(super) fn first_chores(&self) -> Vec<(u64, Chore)> {
        if matches!(self.picking, Picking::Laboratory(_)) {
            return Vec::new();
        }
        let chores = [Chore::Compare, Chore::Look, Chore::Probe];
        let chores = chores.into_iter().filter(|chore| *chore != Chore::Probe || self.probes);
        chores.filter_map(|chore| Some((self.after(chore)?, chore))).collect()
    }

    fn after(&self, chore: Chore) -> Option<u64> {
        Weir::interval(&self.group, chore).map(|interval| interval.as_nanos() as u64)
    }

    /// Does a chore: when it is to be done again.
    pub(super) fn do_chore(&mut self, chore: Chore, now: u64, is_up: &dyn Fn(u32) -> bool) -> Option<u64> {
        self.weirs().for_each(|weir| weir.do_chore(chore, now, is_up));
        match chore {
            Chore::Due => None,
            chore => Some(now + self.after(chore)?),
        }
    }

    fn weirs(&mut self) -> impl Iterator<Item = &mut Weir> {
        let weirs = match &mut self.picking {
            Picking::Shared(weir) | Picking::Stale(weir, _) => std::slice::from_mut(weir),
            Picking::Apart(weirs) => weirs.as_mut_slice(),
            Picking::Laboratory(_) => &mut [],
        };
        weirs.iter_mut()
    }

    /// A server comes into the group.
    pub(super) fn start(&mut self, server: u32, kind: &ServerKind, now: u64) {
        self.weirs().for_each(|weir| weir.add(std::iter::once((server, kind)), now));
    }

    /// Servers are deregistered: when what follows is due.
    pub(super) fn stop(&mut self, servers: &[u32], now: u64) -> Vec<(u64, Chore)> {
        self.weirs().for_each(|weir| weir.remove(servers, now));
        self.weirs().filter_map(|weir| Some((weir.next_due()?, Chore::Due))).collect()
    }

    /// Picks a server.
    pub(super) fn pick(
        &mut self,
        wanted: &Wanted<'_>,
        now: u64,
        in_flight: &[u32],
    ) -> Result<Picked, Nobody> {
        let dispatcher = wanted.dispatcher as usize;
        let context = PickContext {
            key: if self.hashes { hash(wanted.key) } else { 0 },
            now: Timestamp::from_nanos(now),
            avoid: wanted.failed.as_slice(),
            pinned: None,
            arm: None,
        };
        let lease = match &mut self.picking {
            Picking::Shared(weir) => weir.pick(dispatcher, &context),
            Picking::Apart(weirs) => weirs[dispatcher].pick(0, &context),
            Picking::Stale(weir, _) => {
                let target = weir.pick(dispatcher, &context).map(Lease::withdraw).map_err(Nobody::from)?;
                return Ok(Picked { server: number(target.addr), held: Held::Nothing });
            }
            Picking::Laboratory(laboratory) => {
                let server = laboratory.pick(wanted.dispatcher, now, in_flight);
                return Ok(Picked { server, held: Held::Nothing });
            }
        };
        let lease = lease.map_err(Nobody::from)?;
        let (server, met) = (number(lease.target().addr), lease.target().tally.in_flight());
        Ok(Picked { server, held: Held::Lease(lease, met) })
    }

    /// What dispatchers know is looked at again.
    pub(super) fn refresh(&mut self, in_flight: &[u32]) {
        match &mut self.picking {
            Picking::Stale(weir, known) => {
                known.resize_with(in_flight.len(), Vec::new);
                for (server, target) in weir.targets() {
                    let (known, is) = (&mut known[server as usize], in_flight[server as usize] as usize);
                    known.resize_with(is, || Lease::new(target.clone()));
                }
            }
            Picking::Laboratory(laboratory) => laboratory.refresh(in_flight),
            Picking::Shared(_) | Picking::Apart(_) => {}
        }
    }

    /// An attempt has ended: what is held for it counts until `end` is dropped.
    pub(super) fn ended(&mut self, end: &End) {
        if let Some(dispatcher) = end.retry_of {
            self.retry_ends(dispatcher);
        }
        match (&mut self.picking, &end.held) {
            (Picking::Laboratory(laboratory), _) => laboratory.ended(end),
            (_, Held::Lease(lease, met)) => {
                let target = lease.target();
                match end.ending {
                    Ending::Answered => target.tally.note_success(),
                    Ending::ServerError => target.tally.count_server_error(),
                    Ending::Refused => target.tally.count_failed(),
                }
                if self.notes_latency {
                    let took = std::time::Duration::from_nanos(end.took);
                    let has_failed = end.ending != Ending::Answered;
                    target.latency.note(took, *met, has_failed, Timestamp::from_nanos(end.now));
                }
            }
            _ => {}
        }
    }

    pub(super) fn begins(&mut self, dispatcher: u32) {
        self.counts[dispatcher as usize].requests += 1;
    }

    pub(super) fn ends(&mut self, dispatcher: u32) {
        self.counts[dispatcher as usize].requests -= 1;
    }

    /// Whether one more of a dispatcher's requests may be a retry.
    pub(super) fn may_retry(&self, dispatcher: u32) -> bool {
        let counts = self.counts[dispatcher as usize];
        self.budget.allows(counts.requests, counts.retries)
    }

    pub(super) fn retries(&mut self, dispatcher: u32) {
        self.counts[dispatcher as usize].retries += 1;
    }

    pub(super) fn retry_ends(&mut self, dispatcher: u32) {
        self.counts[dispatcher as usize].retries -= 1;
    }

    /// Has a request wait until somebody has room; whether there is a place for it.
    pub(super) fn queue(&mut self, waiting: Waiting, sending: Sending) -> bool {
        if sending == Sending::FromQueue {
            self.queue.push_front(waiting);
            return true;
        }
        let has_place = self.queue.len() < self.queue_most;
        if has_place {
            self.queue.push_back(waiting);
        }
        has_place
    }

    /// Who has waited longest.
    pub(super) fn next_in_queue(&mut self) -> Option<Waiting> {
        self.queue.pop_front()
    }
}

impl From<Unavailable> for Nobody {
    fn from(why: Unavailable) -> Self {
        match why {
            Unavailable::Busy => Self::HasRoom,
            Unavailable::NoTarget | Unavailable::Hold(_) => Self::IsThere,
        }
    }
}

/// What a key is hashed to: weir hashes the bytes of a header, the laboratory has only their number.
fn hash(key: u64) -> u64 {
    crate::random::Stream::new(key, crate::random::Purpose::Keys, 0).bits()
}
