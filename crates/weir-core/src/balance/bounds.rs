//! Bounded load: no target has much more than its share, however unevenly keys are hashed.
//!
//! Source: Mirrokni, Thorup and Zadimoghaddam, "Consistent Hashing with Bounded Loads", 2018; HAProxy, `hash-balance-factor`.

use crate::snapshot::Member;

/// The shares of the eligible members.
#[derive(Clone, Debug)]
pub(super) struct Bounds {
    /// Hundredths of the mean that a member may have: more than 100.
    factor: u64,
    /// For each eligible member: its position, and the sum of the weights up to and including it.
    sums: Vec<(u32, u64)>,
}

impl Bounds {
    pub(super) fn build(factor: u16, members: &[Member], eligible: &[u32]) -> Self {
        let mut sum = 0;
        let add = |at: &u32| {
            sum += u64::from(members[*at as usize].weight.get());
            (*at, sum)
        };
        Self { factor: factor.into(), sums: eligible.iter().map(add).collect() }
    }

    /// What all eligible members together may have with one more, each its part of it.
    pub(super) fn capacity(&self, members: &[Member]) -> u64 {
        let in_flight = |(at, _): &(u32, u64)| u64::from(members[*at as usize].target.tally.in_flight());
        let all = self.sums.iter().map(in_flight).sum::<u64>() + 1;
        capacity(self.factor, all)
    }

    /// Whether the eligible member at a position has less than its part of `capacity`.
    pub(super) fn has_room(&self, members: &[Member], at: u32, capacity: u64) -> bool {
        self.cap(at, capacity)
            .is_some_and(|cap| u64::from(members[at as usize].target.tally.in_flight()) < cap)
    }

    fn cap(&self, at: u32, capacity: u64) -> Option<u64> {
        let rank = self.sums.binary_search_by_key(&at, |(position, _)| *position).ok()?;
        let (_, total) = self.sums.last()?;
        let before = rank.checked_sub(1).map_or(0, |rank| self.sums[rank].1);
        Some(part(capacity, before, self.sums[rank].1, *total))
    }
}

/// What all may have that have so many requests together, in hundredths of the mean.
fn capacity(factor: u64, in_flight: u64) -> u64 {
    (in_flight * factor).div_ceil(100)
}

/// The part of it from one sum of weights to another. Parts add up to the whole, whatever the weights; nobody has less than one.
fn part(capacity: u64, from: u64, to: u64, total: u64) -> u64 {
    (capacity * to / total - capacity * from / total).max(1)
}

/// How many requests each member of these weights may have, of so many that all have together, by a factor in hundredths of the mean.
pub fn shares(factor: u16, weights: &[u16], in_flight: u64) -> Vec<u64> {
    let (capacity, total) =
        (capacity(factor.into(), in_flight), weights.iter().map(|weight| u64::from(*weight)).sum());
    let mut sum = 0;
    let share = |weight: &u16| {
        let before = sum;
        sum += u64::from(*weight);
        part(capacity, before, sum, total)
    };
    weights.iter().map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::testing::members;

    #[test]
    fn parts_are_as_published_and_follow_the_weights() {
        // `spec/algorithms.md`, item 23: HAProxy's caps for 10 requests, f = 150, 4 hosts.
        assert_eq!(shares(150, &[1; 4], 10), [3, 4, 4, 4]);
        assert_eq!(shares(125, &[1, 3], 16), [5, 15]);
        assert_eq!(shares(125, &[1, 3], 1), [1, 2], "nobody has less than one");
        let bounds = Bounds::build(125, &members(&[(1, 1), (2, 3)]), &[0, 1]);
        assert_eq!([0, 1].map(|at| bounds.cap(at, 20)), [Some(5), Some(15)]);
    }
}
