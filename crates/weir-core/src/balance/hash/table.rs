//! Tables that lead keys to members, built once, and by somebody else where that takes long.

use std::sync::{OnceLock, Weak};

use super::{Maglev, Ring, mix};
use crate::address::TargetAddr;
use crate::target::Weight;

/// Flows that are led by two tables to see how many of them a change moves. Enough for a tenth of a per cent.
const SAMPLE: u64 = 16_384;

/// What a table is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Slots that are shared out: even, but a change of members moves a little more than it must.
    Maglev,
    /// Points on a ring: a change moves no more than it must, but shares are uneven.
    Ring,
}

/// What leads keys.
#[derive(Debug)]
pub(super) enum Lookup {
    Maglev(Maglev),
    Ring(Ring),
}

impl Lookup {
    fn build(shape: Shape, names: &[(String, u16)]) -> Self {
        let names = names.iter().map(|(name, weight)| (name.as_str(), *weight));
        match shape {
            Shape::Maglev => Self::Maglev(Maglev::build(names)),
            Shape::Ring => Self::Ring(Ring::build(names)),
        }
    }

    /// The first rank for `key`, of so many, that `take` makes something of.
    pub(super) fn find<T>(&self, key: u64, ranks: usize, take: impl FnMut(usize) -> Option<T>) -> Option<T> {
        match self {
            Self::Maglev(maglev) => maglev.find(key, ranks, take),
            Self::Ring(ring) => ring.find(key, take),
        }
    }

    /// The rank of the member that takes `key`; there is one.
    fn rank(&self, key: u64) -> usize {
        match self {
            Self::Maglev(maglev) => maglev.rank(key),
            Self::Ring(ring) => ring.rank(key),
        }
    }
}

/// A table that somebody else may build, once: until then it is empty.
#[derive(Debug)]
pub struct Table {
    shape: Shape,
    /// By rank, in order.
    pub(super) members: Vec<(TargetAddr, Weight)>,
    built: OnceLock<(Lookup, Disruption)>,
    /// The table before, for as long as somebody needs it.
    before: Weak<Self>,
}

/// What a change of the registered members of a group did to its flows, had each of them come anew.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Disruption {
    /// The part of all flows that has another target: 0 to 1.
    pub moved: f64,
    /// The part of all flows that has another target though its own is still there, and the other was there before: 0 to 1.
    pub needless: f64,
}

impl Table {
    /// A table that is not built yet, in place of `before`.
    pub(super) fn new(shape: Shape, members: Vec<(TargetAddr, Weight)>, before: Weak<Self>) -> Self {
        Self { shape, members, built: OnceLock::new(), before }
    }

    /// Builds it, unless it is built.
    pub fn build(&self) {
        self.built.get_or_init(|| {
            let names: Vec<(String, u16)> =
                self.members.iter().map(|(addr, weight)| (addr.to_string(), weight.get())).collect();
            let table = Lookup::build(self.shape, &names);
            let disruption = self.measure(&table);
            (table, disruption)
        });
    }

    fn has(&self, addr: TargetAddr) -> bool {
        self.members.binary_search_by_key(&addr, |(addr, _)| *addr).is_ok()
    }

    /// What keys are led by; `None` before it is built.
    pub(super) fn lookup(&self) -> Option<&Lookup> {
        self.built.get().map(|(table, _)| table)
    }

    /// What becoming this table did to flows; `None` before it is built.
    pub(super) fn disruption(&self) -> Option<Disruption> {
        self.built.get().map(|(_, disruption)| *disruption)
    }

    /// Whether it leads over the same members in the same way.
    pub(super) fn is_same(&self, shape: Shape, members: &[(TargetAddr, Weight)]) -> bool {
        self.shape == shape && self.members == members
    }

    /// What becoming `table` does to the flows of the table before: a sample of them is led by both.
    fn measure(&self, table: &Lookup) -> Disruption {
        let before = self.before.upgrade();
        let Some((before, led)) = before.as_ref().and_then(|before| Some((before, before.lookup()?))) else {
            return Disruption::default();
        };
        if before.members.is_empty() || self.members.is_empty() {
            return Disruption::default();
        }
        let (mut moved, mut needless) = (0_u32, 0_u32);
        for key in (0..SAMPLE).map(mix) {
            let (was, is) = (before.members[led.rank(key)].0, self.members[table.rank(key)].0);
            if was != is {
                moved += 1;
                needless += u32::from(self.has(was) && before.has(is));
            }
        }
        let part = |count: u32| f64::from(count) / SAMPLE as f64;
        Disruption { moved: part(moved), needless: part(needless) }
    }
}
