//! Flow hash: the same flow to the same target, over a Maglev table.
//!
//! The table is built from the *registered* members, so that a health flap moves only the flows of the target that
//! flaps; slots of members that are not eligible are skipped by probing again. The hash gives the same answer on every
//! machine, so several weirs that see the same members choose the same target. A member's name in the table is its
//! address, which every weir sees alike, whichever source told it of the task and in whatever order.
//!
//! Source: Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, section 3.4; the
//! weighting is Katran's accumulator.

use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::flow_key::FLOW_SEED;
use crate::snapshot::Member;

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

/// A Maglev table over the registered members, and which of them may be picked now.
#[derive(Clone, Debug)]
pub(super) struct FlowHash {
    table: Arc<Maglev>,
    /// By rank: the member's stable name and weight, what the table was built from.
    built_from: Arc<Vec<(String, u16)>>,
    /// By rank: the member's position if it is eligible.
    position: Vec<Option<u32>>,
}

impl FlowHash {
    pub(super) fn build(members: &[Member], eligible: &[u32], before: Option<&Self>) -> Self {
        let mut registered: Vec<(u32, &Member)> =
            (0..).zip(members).filter(|(_, member)| member.health.is_registered()).collect();
        // Of several at one address, which differ in nothing that a client could see, the identity gives the order.
        registered.sort_by_key(|(_, member)| (member.target.addr, member.weight, &member.target.id));
        let position =
            registered.iter().map(|(at, _)| eligible.binary_search(at).ok().map(|_| *at)).collect();
        let names: Vec<(String, u16)> = registered
            .into_iter()
            .map(|(_, member)| (member.target.addr.to_string(), member.weight.get()))
            .collect();
        match before.filter(|before| *before.built_from == names) {
            Some(before) => {
                Self { table: before.table.clone(), built_from: before.built_from.clone(), position }
            }
            None => Self {
                table: Arc::new(Maglev::build(names.iter().map(|(name, weight)| (name.as_str(), *weight)))),
                built_from: Arc::new(names),
                position,
            },
        }
    }

    pub(super) fn pick(&self, key: u64, mut accept: impl FnMut(u32) -> bool) -> Option<u32> {
        let mut probe = key;
        for _ in 0..PROBES_MAX {
            if let Some(at) = self.position[self.table.rank(probe)].filter(|at| accept(*at)) {
                return Some(at);
            }
            probe = mix(probe);
        }
        let start = self.table.rank(key);
        let ranks = (start..self.position.len()).chain(0..start);
        ranks.filter_map(|rank| self.position[rank]).find(|at| accept(*at))
    }
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
