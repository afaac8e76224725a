//! Maglev: a table of slots, of which every member has its share to within one.
//!
//! Source: Eisenbud et al., "Maglev: A Fast and Reliable Software Network Load Balancer", NSDI 2016, section 3.4; the
//! weighting is Katran's accumulator.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::mix;
use crate::flow_key::FLOW_SEED;

/// Slots of tables, all prime. The smallest with [`SLOTS_PER_MEMBER`] is taken: few sizes far apart, because a group
/// that outgrows one has nearly all its slots moved.
const SLOTS: [usize; 4] = [8_191, 65_537, 524_287, 2_097_143];

/// Fewest slots per member: a tenth of them that leaves moves about 1 % of the flows of the others.
const SLOTS_PER_MEMBER: usize = 500;

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

    /// The same with so many slots, a prime number.
    pub fn sized<'a>(slots: usize, members: impl Iterator<Item = (&'a str, u16)>) -> Self {
        let steps: Vec<_> = members
            .map(|(name, weight)| {
                let offset = xxh3_64_with_seed(name.as_bytes(), FLOW_SEED) % slots as u64;
                let skip = xxh3_64_with_seed(name.as_bytes(), FLOW_SEED ^ u64::MAX) % (slots as u64 - 1) + 1;
                (offset as usize, skip as usize, weight)
            })
            .collect();
        Self::of_steps(slots, &steps)
    }

    /// The table of so many slots of members with that offset, that skip and that weight.
    pub fn of_steps(slots: usize, steps: &[(usize, usize, u16)]) -> Self {
        let steps = steps.iter().map(|&(next, skip, weight)| Steps { next, skip, weight }).collect();
        Self { slots: populate(slots, steps) }
    }

    /// The rank of the member of every slot.
    pub fn slots(&self) -> &[u16] {
        &self.slots
    }

    /// The rank of the member that takes `key`.
    pub fn rank(&self, key: u64) -> usize {
        usize::from(self.slots[(key % self.slots.len() as u64) as usize])
    }

    /// The first rank for `key` that `take` makes something of: slots are probed again, then everybody is asked.
    pub(super) fn find<T>(
        &self,
        key: u64,
        ranks: usize,
        mut take: impl FnMut(usize) -> Option<T>,
    ) -> Option<T> {
        let mut probe = key;
        for _ in 0..PROBES_MAX {
            if let Some(taken) = take(self.rank(probe)) {
                return Some(taken);
            }
            probe = mix(probe);
        }
        let start = self.rank(key);
        (start..ranks).chain(0..start).find_map(take)
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The size of table that the paper measures.
    const PUBLISHED: usize = 65_537;

    #[test]
    fn a_table_is_sized_to_its_group() {
        for (members, slots) in [(1, 8_191), (16, 8_191), (17, 65_537), (1_000, 524_287), (20_000, 2_097_143)]
        {
            let names: Vec<String> = (0..members).map(|n| format!("t{n}")).collect();
            assert_eq!(Maglev::build(names.iter().map(|name| (name.as_str(), 1))).slots.len(), slots);
        }
    }

    #[test]
    fn the_paper_s_example_fills_as_published() {
        assert_eq!(Maglev::of_steps(7, &[(3, 4, 1), (0, 2, 1), (3, 1, 1)]).slots, [1, 0, 1, 0, 2, 2, 0]);
        assert_eq!(Maglev::of_steps(7, &[(3, 4, 1), (3, 1, 1)]).slots, [0, 0, 0, 0, 1, 1, 1]);
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

    /// The slots of a table of the published size over that many members, without the last so many of them.
    fn published(slots: usize, count: u32, lost: u32) -> Vec<u16> {
        let names: Vec<String> =
            (0..count - lost).map(|n| format!("10.0.{}.{}:80", n / 250, n % 250)).collect();
        Maglev::sized(slots, names.iter().map(|name| (name.as_str(), 1))).slots
    }

    #[test]
    fn losing_members_moves_as_much_of_a_table_as_is_published() {
        // `spec/algorithms.md`, item 25: members, lost, slots, per cent of the slots that change without need.
        for (count, lost, slots, expected) in [
            (10, 1, PUBLISHED, 0.25),
            (100, 1, PUBLISHED, 0.56),
            (100, 10, PUBLISHED, 1.0),
            (1_000, 1, PUBLISHED, 0.58),
            (1_000, 10, PUBLISHED, 2.33),
            (1_000, 50, PUBLISHED, 3.25),
            (1_000, 50, 655_373, 0.92),
        ] {
            let (all, fewer) = (published(slots, count, 0), published(slots, count, lost));
            let is_needless = |(was, is): (&u16, &u16)| was != is && u32::from(*was) < count - lost;
            let needless = all.iter().zip(&fewer).filter(|slot| is_needless(*slot)).count();
            let per_cent = 100.0 * needless as f64 / slots as f64;
            let tolerance = if count == 10 { 0.5 } else { 0.15 };
            assert!((per_cent / expected - 1.0).abs() < tolerance, "{count} lose {lost}: {per_cent} %");
        }
    }
}
