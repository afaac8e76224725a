//! Flow hash: the same flow to the same target, over a Maglev table.
//!
//! The table is built from the *registered* members, so that a health flap moves only the flows of the target that
//! flaps; slots of members that are not eligible are skipped by probing again. The hash gives the same answer on every
//! machine, so several weirs that see the same members choose the same target. A member's name in the table is its
//! address, which every weir sees alike, whichever source told it of the task and in whatever order.
//!
//! Source: Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, section 3.4; the
//! weighting is Katran's accumulator.

use std::sync::{Arc, OnceLock};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::address::TargetAddr;
use crate::flow_key::FLOW_SEED;
use crate::snapshot::Member;
use crate::target::Weight;

/// Slots of tables, all prime. The smallest with [`SLOTS_PER_MEMBER`] is taken: few sizes far apart, because a group
/// that outgrows one has nearly all its slots moved.
const SLOTS: [usize; 4] = [1_021, 8_191, 65_537, 524_287];

/// Fewest slots per member: shares are then equal within 2 %.
const SLOTS_PER_MEMBER: usize = 50;

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
    /// Members should be sorted by name, so that every machine builds the same table. The table takes 2 KiB for up to
    /// 20 members, 128 KiB for 1,000.
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
const BUILT_AT_ONCE: usize = 160;

/// A table that somebody else may build, once: until then it is empty.
#[derive(Debug)]
pub struct Table {
    /// By rank, in order.
    members: Vec<(TargetAddr, Weight)>,
    built: OnceLock<Maglev>,
}

impl Table {
    /// Builds it, unless it is built.
    pub fn build(&self) {
        self.built.get_or_init(|| {
            let names: Vec<(String, u16)> =
                self.members.iter().map(|(addr, weight)| (addr.to_string(), weight.get())).collect();
            Maglev::build(names.iter().map(|(name, weight)| (name.as_str(), *weight)))
        });
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
            None => Arc::new(Table { members, built: OnceLock::new() }),
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

    pub(super) fn pick(&self, key: u64, accept: impl FnMut(u32) -> bool) -> Option<u32> {
        match (self.table.built.get(), &self.meanwhile) {
            (Some(table), _) => pick(table, &self.position, key, accept),
            (None, Some((position, last))) => pick(last.built.get()?, position, key, accept),
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
mod tests {
    use super::*;

    /// The size of table that the paper measures.
    const PUBLISHED: usize = 65_537;

    fn members(count: u16, without: u16) -> Vec<Member> {
        let ports = (1..=count).filter(|port| *port != without);
        crate::snapshot::testing::members(&ports.map(|port| (port, 1)).collect::<Vec<_>>())
    }

    fn of(members: &[Member], before: Option<&FlowHash>) -> FlowHash {
        let eligible: Vec<u32> = (0..members.len() as u32).collect();
        FlowHash::build(members, &eligible, before)
    }

    /// The ports of the members that a thousand flows get.
    fn picked(hash: &FlowHash, members: &[Member]) -> Vec<Option<u16>> {
        let port = |at: u32| members[at as usize].target.addr.port();
        (0..1_000).map(|key| hash.pick(mix(key), |_| true).map(port)).collect()
    }

    #[test]
    fn a_large_table_waits_for_its_builder_and_flows_stay_where_they_were_meanwhile() {
        let (all, fewer) = (members(1_000, 0), members(1_000, 500));
        let before = of(&all, None);
        assert!(before.unbuilt().is_none(), "the first one is built at once");
        let after = of(&fewer, Some(&before));
        let moved = |now: &[Option<u16>]| {
            let were = picked(&before, &all);
            were.iter().zip(now).filter(|(were, now)| were != now && **were != Some(500)).count()
        };
        let meanwhile = picked(&after, &fewer);
        assert!(meanwhile.iter().all(|port| port.is_some_and(|port| port != 500)));
        assert_eq!(moved(&meanwhile), 0, "only flows of the one that has gone are led elsewhere");
        after.unbuilt().unwrap().build();
        assert!(after.unbuilt().is_none());
        assert_eq!(
            picked(&after, &fewer),
            picked(&of(&fewer, None), &fewer),
            "then it is that of every machine"
        );
        assert!(of(&fewer, Some(&after)).unbuilt().is_none(), "and not built again");
    }

    #[test]
    fn a_table_of_others_is_not_waited_with() {
        let (few, all) = (members(10, 0), members(1_000, 0));
        assert!(of(&all, Some(&of(&few, None))).unbuilt().is_none());
        assert!(of(&few, Some(&of(&all, None))).unbuilt().is_none());
        assert!(of(&all, Some(&of(&[], None))).unbuilt().is_none());
    }

    #[test]
    fn a_table_is_sized_to_its_group() {
        for (members, slots) in [(1, 1_021), (20, 1_021), (21, 8_191), (1_000, 65_537), (20_000, 524_287)] {
            let names: Vec<String> = (0..members).map(|n| format!("t{n}")).collect();
            assert_eq!(Maglev::build(names.iter().map(|name| (name.as_str(), 1))).slots.len(), slots);
        }
    }

    fn steps(list: &[(usize, usize, u16)]) -> Vec<Steps> {
        list.iter().map(|&(next, skip, weight)| Steps { next, skip, weight }).collect()
    }

    #[test]
    fn the_paper_s_example_fills_as_published() {
        assert_eq!(populate(7, steps(&[(3, 4, 1), (0, 2, 1), (3, 1, 1)])), [1, 0, 1, 0, 2, 2, 0]);
        assert_eq!(populate(7, steps(&[(3, 4, 1), (3, 1, 1)])), [0, 0, 0, 0, 1, 1, 1]);
    }

    #[test]
    fn weights_one_to_two_share_the_slots_one_to_two() {
        let table = Maglev::sized(PUBLISHED, [("a", 1), ("b", 2)].into_iter());
        let ones = table.slots.iter().filter(|rank| **rank == 0).count();
        assert!((21_845..=21_847).contains(&ones), "{ones}");
    }

    #[test]
    fn equal_members_differ_by_at_most_one_slot() {
        let names: Vec<String> = (0..100).map(|n| format!("10.0.0.{n}:80")).collect();
        let table = Maglev::build(names.iter().map(|name| (name.as_str(), 1)));
        let mut counts = vec![0; 100];
        table.slots.iter().for_each(|rank| counts[usize::from(*rank)] += 1);
        assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1);
    }

    #[test]
    fn losing_one_of_ten_members_moves_little_besides_its_own_slots() {
        let names: Vec<String> = (0..10).map(|n| format!("10.0.0.{n}:80")).collect();
        let all = Maglev::sized(PUBLISHED, names.iter().map(|name| (name.as_str(), 1)));
        let fewer = Maglev::sized(PUBLISHED, names[..9].iter().map(|name| (name.as_str(), 1)));
        let is_needless = |slot: &usize| all.slots[*slot] != 9 && all.slots[*slot] != fewer.slots[*slot];
        let needless = (0..PUBLISHED).filter(is_needless).count();
        // Published disruption of this size of table: a quarter of a per cent.
        assert!(needless < PUBLISHED / 200, "{needless}");
    }
}
