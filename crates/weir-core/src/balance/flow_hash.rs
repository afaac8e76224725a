//! Flow hash: the same flow to the same target, over a Maglev table.
//!
//! The table is built from the *registered* members, so that a health flap moves only the flows of the target that
//! flaps; slots of members that are not eligible are skipped by probing again. The hash gives the same answer on every
//! machine, so several weirs that see the same members choose the same target. A member's name in the table is its
//! address, which every weir sees alike, whichever source told it of the task and in whatever order.
//!
//! Source: Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, section 3.4; the
//! weighting is Katran's accumulator.

use std::sync::{Arc, OnceLock, Weak};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::address::TargetAddr;
use crate::flow_key::FLOW_SEED;
use crate::snapshot::Member;
use crate::target::Weight;

/// Slots of tables, all prime. The smallest with [`SLOTS_PER_MEMBER`] is taken: few sizes far apart, because a group
/// that outgrows one has nearly all its slots moved.
const SLOTS: [usize; 4] = [8_191, 65_537, 524_287, 2_097_143];

/// Fewest slots per member: a tenth of them that leaves moves about 1 % of the flows of the others.
const SLOTS_PER_MEMBER: usize = 500;

/// Flows that are led by two tables to see how many of them a change moves. Enough for a tenth of a per cent.
const SAMPLE: u64 = 16_384;

/// How many times a slot of an ineligible member is replaced by another before the next eligible one is taken.
const PROBES_MAX: u64 = 32;

/// A Maglev lookup table: every slot names a member by its rank.
#[derive(Debug, PartialEq, Eq)]
pub struct Maglev {
    slots: Vec<u16>,
}

impl Maglev {
    /// Builds a table over members given by stable name and weight, in that order.
    ///
    /// Members should be sorted by name, so that every machine builds the same table. The table takes 16 KiB for up to
    /// 16 members, 128 KiB for up to 131, 1 MiB for up to 1,048 and 4 MiB beyond.
    pub fn build<'a>(members: impl ExactSizeIterator<Item = (&'a str, u16)>) -> Self {
        let wanted = members.len() * SLOTS_PER_MEMBER;
        let slots = SLOTS.into_iter().find(|slots| *slots >= wanted).unwrap_or(SLOTS[SLOTS.len() - 1]);
        Self::sized(slots, members)
    }

    fn sized<'a>(slots: usize, members: impl Iterator<Item = (&'a str, u16)>) -> Self {
        let steps: Vec<Steps> = members
            .map(|(name, weight)| {
                let offset = xxh3_64_with_seed(name.as_bytes(), FLOW_SEED) % slots as u64;
                let skip = xxh3_64_with_seed(name.as_bytes(), FLOW_SEED ^ u64::MAX) % (slots as u64 - 1) + 1;
                Steps { next: offset as usize, skip: skip as usize, weight }
            })
            .collect();
        Self { slots: populate(slots, steps) }
    }

    /// The rank of the member that takes `key`.
    pub fn rank(&self, key: u64) -> usize {
        usize::from(self.slots[(key % self.slots.len() as u64) as usize])
    }
}

/// One member's walk through the table.
struct Steps {
    next: usize,
    skip: usize,
    weight: u16,
}

fn populate(slot_count: usize, mut steps: Vec<Steps>) -> Vec<u16> {
    let mut slots = vec![0; slot_count];
    // Most of the work is looking for a free slot: a bit for each stays in the nearest cache.
    let mut taken = vec![0_u64; slot_count.div_ceil(64)];
    let Some(weight_max) = steps.iter().map(|s| s.weight).max() else { return slots };
    let mut credit = vec![0_u32; steps.len()];
    let mut filled = 0;
    loop {
        for (rank, step) in steps.iter_mut().enumerate() {
            credit[rank] += u32::from(step.weight);
            if credit[rank] < u32::from(weight_max) {
                continue;
            }
            credit[rank] -= u32::from(weight_max);
            while taken[step.next / 64] >> (step.next % 64) & 1 == 1 {
                // Both are less than the count: no division is needed to come around.
                step.next += step.skip;
                step.next -= if step.next >= slot_count { slot_count } else { 0 };
            }
            taken[step.next / 64] |= 1 << (step.next % 64);
            slots[step.next] = rank as u16;
            filled += 1;
            if filled == slot_count {
                return slots;
            }
        }
    }
}

/// Most members whose table is built at once: a larger one takes a millisecond or more.
const BUILT_AT_ONCE: usize = 16;

/// A table that somebody else may build, once: until then it is empty.
#[derive(Debug)]
pub struct Table {
    /// By rank, in order.
    members: Vec<(TargetAddr, Weight)>,
    built: OnceLock<(Maglev, Disruption)>,
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
    /// Builds it, unless it is built.
    pub fn build(&self) {
        self.built.get_or_init(|| {
            let names: Vec<(String, u16)> =
                self.members.iter().map(|(addr, weight)| (addr.to_string(), weight.get())).collect();
            let table = Maglev::build(names.iter().map(|(name, weight)| (name.as_str(), *weight)));
            let disruption = self.disruption(&table);
            (table, disruption)
        });
    }

    fn has(&self, addr: TargetAddr) -> bool {
        self.members.binary_search_by_key(&addr, |(addr, _)| *addr).is_ok()
    }

    /// What flows are placed by; `None` before it is built.
    fn maglev(&self) -> Option<&Maglev> {
        self.built.get().map(|(table, _)| table)
    }

    /// What becoming `table` does to the flows of the table before: a sample of them is led by both.
    fn disruption(&self, table: &Maglev) -> Disruption {
        let before = self.before.upgrade();
        let Some((before, led)) = before.as_ref().and_then(|before| Some((before, before.maglev()?))) else {
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

/// A Maglev table over the registered members, and which of them may be picked now.
#[derive(Clone, Debug)]
pub(super) struct FlowHash {
    table: Arc<Table>,
    /// By rank: the member's position if it is eligible.
    position: Vec<Option<u32>>,
    /// The table before, with the positions that its members have now, for as long as the table is not built.
    meanwhile: Option<(Vec<Option<u32>>, Arc<Table>)>,
}

impl FlowHash {
    pub(super) fn build(members: &[Member], eligible: &[u32], before: Option<&Self>) -> Self {
        let mut registered: Vec<(u32, &Member)> =
            (0..).zip(members).filter(|(_, member)| member.health.is_registered()).collect();
        // Of several at one address, which differ in nothing that a client could see, the identity gives the order.
        registered.sort_by_key(|(_, member)| (member.target.addr, member.weight, &member.target.id));
        let position: Vec<Option<u32>> =
            registered.iter().map(|(at, _)| eligible.binary_search(at).ok().map(|_| *at)).collect();
        let members: Vec<(TargetAddr, Weight)> =
            registered.into_iter().map(|(_, member)| (member.target.addr, member.weight)).collect();
        let table = match before.filter(|before| before.table.members == members) {
            Some(before) => before.table.clone(),
            None => {
                let before = before.map(|before| Arc::downgrade(&before.last_built())).unwrap_or_default();
                Arc::new(Table { members, built: OnceLock::new(), before })
            }
        };
        let waits = table.built.get().is_none() && table.members.len() > BUILT_AT_ONCE;
        let last = before.filter(|_| waits).map(Self::last_built);
        let meanwhile = last.map(|last| (place(&last.members, &table.members, &position), last));
        // A table of those that have mostly gone would lead to few, or to nobody.
        let meanwhile = meanwhile.filter(|(places, _)| places.iter().flatten().count() * 2 >= eligible.len());
        if meanwhile.is_none() {
            table.build();
        }
        Self { table, position, meanwhile }
    }

    /// The table that flows are placed by now.
    fn last_built(&self) -> Arc<Table> {
        match &self.meanwhile {
            Some((_, last)) if self.table.built.get().is_none() => last.clone(),
            _ => self.table.clone(),
        }
    }

    /// The table, while it waits for somebody to build it.
    pub(super) fn unbuilt(&self) -> Option<&Arc<Table>> {
        Some(&self.table).filter(|table| table.built.get().is_none())
    }

    /// What the last change of members did to flows, once its table is built.
    pub(super) fn disruption(&self) -> Option<Disruption> {
        self.table.built.get().map(|(_, disruption)| *disruption)
    }

    pub(super) fn pick(&self, key: u64, accept: impl FnMut(u32) -> bool) -> Option<u32> {
        match (self.table.built.get(), &self.meanwhile) {
            (Some((table, _)), _) => pick(table, &self.position, key, accept),
            (None, Some((position, last))) => pick(last.maglev()?, position, key, accept),
            (None, None) => None,
        }
    }
}

/// By rank in a table over `before`: where its members are among those of `after`, whose places are `position`.
fn place(
    before: &[(TargetAddr, Weight)],
    after: &[(TargetAddr, Weight)],
    position: &[Option<u32>],
) -> Vec<Option<u32>> {
    let mut there = after.iter().zip(position).peekable();
    let place = |(addr, _): &(TargetAddr, Weight)| {
        // Both are in order: one walk through both finds all.
        while there.next_if(|((other, _), _)| other < addr).is_some() {}
        there.next_if(|((other, _), _)| other == addr).and_then(|(_, position)| *position)
    };
    before.iter().map(place).collect()
}

fn pick(
    table: &Maglev,
    position: &[Option<u32>],
    key: u64,
    mut accept: impl FnMut(u32) -> bool,
) -> Option<u32> {
    let mut probe = key;
    for _ in 0..PROBES_MAX {
        if let Some(at) = position[table.rank(probe)].filter(|at| accept(*at)) {
            return Some(at);
        }
        probe = mix(probe);
    }
    let start = table.rank(key);
    let ranks = (start..position.len()).chain(0..start);
    ranks.filter_map(|rank| position[rank]).find(|at| accept(*at))
}

/// Another key for the same flow: the finaliser of `SplitMix64`, the same on every machine.
fn mix(key: u64) -> u64 {
    let mut z = key.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests;
