//! Round robin, smoothly weighted.
//!
//! The order of one whole round is worked out when the group is built, so that a pick is one step of a cursor.
//!
//! Source: nginx's smooth weighted round robin: raise every current weight by its own, take the largest, lower it by
//! the sum.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::snapshot::Member;

/// Longest round, in turns: beyond it weights are scaled down. Arbitrary: 256 KiB.
const TURNS_MAX: u32 = 65_536;

/// One whole round.
#[derive(Clone, Debug)]
pub(super) struct RoundRobin {
    /// Member positions, one per turn.
    turns: Vec<u32>,
}

impl RoundRobin {
    pub(super) fn build(members: &[Member], eligible: &[u32]) -> Self {
        let weights: Vec<u32> =
            eligible.iter().map(|at| u32::from(members[*at as usize].weight.get())).collect();
        let turns = smooth(&reduce(&weights)).into_iter().map(|rank| eligible[rank]).collect();
        Self { turns }
    }

    /// The next turn that `accept` takes; `None` when a whole round refused.
    pub(super) fn pick(&self, cursor: &mut usize, mut accept: impl FnMut(u32) -> bool) -> Option<u32> {
        for _ in 0..self.turns.len() {
            let at = self.turns[*cursor % self.turns.len()];
            *cursor = cursor.wrapping_add(1);
            if accept(at) {
                return Some(at);
            }
        }
        None
    }
}

/// Divides weights by what they have in common, then scales them down until a round fits [`TURNS_MAX`].
fn reduce(weights: &[u32]) -> Vec<u32> {
    let common = weights.iter().copied().fold(0, greatest_common_divisor).max(1);
    let mut weights: Vec<u32> = weights.iter().map(|w| w / common).collect();
    while weights.iter().sum::<u32>() > TURNS_MAX {
        for weight in &mut weights {
            *weight = (*weight / 2).max(1);
        }
    }
    weights
}

fn greatest_common_divisor(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

/// The members of one weight. Their current weights differ only by how often each was taken, so the next of them is
/// always the one whose turn it is, and a round costs its turns times the *different* weights.
struct Class {
    weight: i64,
    ranks: Vec<usize>,
    /// Whose turn it is.
    next: usize,
    /// The current weight of that one.
    current: i64,
}

fn smooth(weights: &[u32]) -> Vec<usize> {
    let total: i64 = weights.iter().map(|w| i64::from(*w)).sum();
    let mut classes: BTreeMap<u32, Class> = BTreeMap::new();
    for (rank, weight) in weights.iter().enumerate() {
        let new = || Class { weight: i64::from(*weight), ranks: Vec::new(), next: 0, current: 0 };
        classes.entry(*weight).or_insert_with(new).ranks.push(rank);
    }
    let mut classes: Vec<Class> = classes.into_values().collect();
    let mut turns = Vec::with_capacity(total as usize);
    for _ in 0..total {
        for class in &mut classes {
            class.current += class.weight;
        }
        // Of equal ones the first member is taken.
        let best = classes.iter_mut().max_by_key(|class| (class.current, Reverse(class.ranks[class.next])));
        let best = best.expect("a total above zero has members");
        turns.push(best.ranks[best.next]);
        best.next += 1;
        if best.next == best.ranks.len() {
            best.next = 0;
            // All of them have been taken once more.
            best.current -= total;
        }
    }
    turns
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The published law, member by member.
    fn published(weights: &[u32]) -> Vec<usize> {
        let total: i64 = weights.iter().map(|w| i64::from(*w)).sum();
        let mut current = vec![0_i64; weights.len()];
        let mut turns = Vec::new();
        for _ in 0..total {
            let mut best = 0;
            for (rank, weight) in weights.iter().enumerate() {
                current[rank] += i64::from(*weight);
                if current[rank] > current[best] {
                    best = rank;
                }
            }
            current[best] -= total;
            turns.push(best);
        }
        turns
    }

    proptest! {
        #[test]
        fn a_round_is_the_published_one(weights in proptest::collection::vec(1_u32..8, 1..12)) {
            prop_assert_eq!(smooth(&weights), published(&weights));
        }
    }

    #[test]
    fn weights_five_one_one_give_the_published_order() {
        assert_eq!(smooth(&[5, 1, 1]), [0, 0, 1, 0, 2, 0, 0]);
    }

    #[test]
    fn equal_weights_make_a_round_of_one_turn_each() {
        assert_eq!(smooth(&reduce(&[1000, 1000, 1000])), [0, 1, 2]);
    }

    #[test]
    fn a_round_never_exceeds_its_limit() {
        let weights = vec![999; 999].into_iter().chain([1000]).collect::<Vec<_>>();
        assert!(reduce(&weights).iter().sum::<u32>() <= TURNS_MAX);
    }
}
