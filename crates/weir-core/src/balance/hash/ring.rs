//! Ring hash: members have points on a ring, and a key goes to the next point.
//!
//! A change of members moves the keys of those that come or go, and no others. Shares are uneven: with 160 points each, ten
//! members differ from the mean by 7.5 % (standard deviation).
//!
//! Source: Karger et al., "Consistent Hashing and Random Trees", 1997; the number of points is ketama's and NGINX's.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::mix;
use crate::flow_key::FLOW_SEED;

/// Points of a member for each unit of its weight.
const POINTS_PER_WEIGHT: usize = 160;

/// Points of all members, which take 10 bytes each: beyond that all have fewer.
const POINTS_MAX: usize = 1 << 21;

/// Points in the order of their places, each with the rank of its member.
#[derive(Debug, PartialEq, Eq)]
pub struct Ring {
    places: Vec<u64>,
    ranks: Vec<u16>,
}

impl Ring {
    /// Builds a ring over members given by stable name and weight.
    pub fn build<'a>(members: impl ExactSizeIterator<Item = (&'a str, u16)> + Clone) -> Self {
        Self::with_points(POINTS_PER_WEIGHT, members)
    }

    /// The same with so many points for each unit of weight.
    pub fn with_points<'a>(
        points: usize,
        members: impl ExactSizeIterator<Item = (&'a str, u16)> + Clone,
    ) -> Self {
        let weights: usize = members.clone().map(|(_, weight)| usize::from(weight)).sum();
        let count = |weight: u16| {
            let wanted = usize::from(weight) * points;
            if weights * points <= POINTS_MAX {
                wanted
            } else {
                (usize::from(weight) * POINTS_MAX / weights).max(1)
            }
        };
        let mut points: Vec<(u64, u16)> = members
            .zip(0..)
            .flat_map(|((name, weight), rank)| {
                let name = xxh3_64_with_seed(name.as_bytes(), FLOW_SEED);
                (0..count(weight) as u64).map(move |number| (mix(name ^ mix(number)), rank))
            })
            .collect();
        points.sort_unstable();
        let (places, ranks) = points.into_iter().unzip();
        Self { places, ranks }
    }

    /// The rank of the member that takes `key`; there is one.
    pub fn rank(&self, key: u64) -> usize {
        usize::from(self.ranks[self.start(key)])
    }

    /// The first rank for `key` that `take` makes something of, along the ring.
    pub(super) fn find<T>(&self, key: u64, mut take: impl FnMut(usize) -> Option<T>) -> Option<T> {
        if self.ranks.is_empty() {
            return None;
        }
        let start = self.start(key);
        let along = self.ranks[start..].iter().chain(&self.ranks[..start]);
        along.map(|rank| usize::from(*rank)).find_map(&mut take)
    }

    /// The part of all keys that each of so many members takes, from the arcs before its points; there is a member.
    pub fn shares(&self, members: usize) -> Vec<f64> {
        let mut shares = vec![0.0; members];
        let mut before = self.places[self.places.len() - 1];
        for (place, rank) in self.places.iter().zip(&self.ranks) {
            shares[usize::from(*rank)] += place.wrapping_sub(before) as f64 / 2_f64.powi(64);
            before = *place;
        }
        shares
    }

    fn start(&self, key: u64) -> usize {
        self.places.partition_point(|place| *place < key) % self.places.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> Vec<String> {
        (0..count).map(|n| format!("10.0.0.{n}:80")).collect()
    }

    fn ring(names: &[String]) -> Ring {
        Ring::build(names.iter().map(|name| (name.as_str(), 1)))
    }

    #[test]
    fn shares_deviate_as_much_as_is_published() {
        // `spec/algorithms.md`, item 26: ten members of 160 points. Over 200 rings.
        let rings = (0..200).map(|n| {
            let names: Vec<String> = (0..10).map(|m| format!("10.{n}.0.{m}:80")).collect();
            ring(&names).shares(10)
        });
        let all: Vec<Vec<f64>> = rings.collect();
        let squares: f64 = all.iter().flatten().map(|share| (share * 10.0 - 1.0).powi(2)).sum();
        let deviation = (squares / 2_000.0).sqrt();
        assert!((deviation / 0.075 - 1.0).abs() < 0.05, "{deviation}");
        let fullest = |shares: &Vec<f64>| shares.iter().copied().fold(0.0, f64::max) * 10.0;
        let mean = all.iter().map(fullest).sum::<f64>() / 200.0;
        assert!((mean / 1.12 - 1.0).abs() < 0.05, "{mean}");
    }

    #[test]
    fn who_leaves_moves_only_its_own_keys() {
        let all = names(100);
        let fewer = all[..90].to_vec();
        let (before, after) = (ring(&all), ring(&fewer));
        for key in (0..100_000).map(mix) {
            let was = before.rank(key);
            assert!(was >= 90 || after.rank(key) == was);
        }
    }

    #[test]
    fn weights_are_shares_also_where_there_would_be_too_many_points() {
        for weights in [[1, 3], [1_000, 3_000]] {
            let heavy: Vec<(String, u16)> = names(20).into_iter().zip(weights.into_iter().cycle()).collect();
            let ring = Ring::build(heavy.iter().map(|(name, weight)| (name.as_str(), *weight)));
            assert!(ring.places.len() <= POINTS_MAX);
            let threes: f64 = ring.shares(20).into_iter().skip(1).step_by(2).sum();
            assert!((threes - 0.75).abs() < 0.02, "{threes}");
        }
    }
}
