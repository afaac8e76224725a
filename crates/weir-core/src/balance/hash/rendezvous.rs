//! Rendezvous hashing: every member draws a lot for the key, and the best lot takes it.
//!
//! Shares are even, a change of members moves the keys of those that come or go and no others, and nothing is built or kept; a
//! pick looks at everybody.
//!
//! Source: Thaler and Ravishankar, "Using Name-Based Mappings to Increase Hit Rates", 1998; weights as in Schindelhauer and
//! Schomaker, "Weighted Distributed Hash Tables", 2005.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::mix;
use crate::flow_key::FLOW_SEED;
use crate::snapshot::Member;

/// The eligible members.
#[derive(Clone, Debug)]
pub(in crate::balance) struct Rendezvous {
    /// Position, hash of the name, weight.
    members: Vec<(u32, u64, f64)>,
}

impl Rendezvous {
    pub(in crate::balance) fn build(members: &[Member], eligible: &[u32]) -> Self {
        let of = |at: &u32| {
            let member = &members[*at as usize];
            let name = xxh3_64_with_seed(member.target.addr.to_string().as_bytes(), FLOW_SEED);
            (*at, name, f64::from(member.weight.get()))
        };
        Self { members: eligible.iter().map(of).collect() }
    }

    pub(in crate::balance) fn pick(&self, key: u64, mut accept: impl FnMut(u32) -> bool) -> Option<u32> {
        let (mut best, mut least) = (None, f64::INFINITY);
        for (at, name, weight) in &self.members {
            // A lot between 0 and 1, never either of them.
            let lot = ((mix(name ^ key) >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
            let wait = -lot.ln() / weight;
            if wait < least && accept(*at) {
                (best, least) = (Some(*at), wait);
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::testing::members;

    fn of(weights: &[(u16, u16)]) -> (Vec<Member>, Rendezvous) {
        let members = members(weights);
        let eligible: Vec<u32> = (0..members.len() as u32).collect();
        let rendezvous = Rendezvous::build(&members, &eligible);
        (members, rendezvous)
    }

    #[test]
    fn weights_are_shares() {
        let (_, rendezvous) = of(&[(1, 1), (2, 3)]);
        let second = (0..40_000).map(mix).filter(|key| rendezvous.pick(*key, |_| true) == Some(1)).count();
        assert!((29_600..30_400).contains(&second), "{second}");
    }

    #[test]
    fn who_leaves_moves_only_its_own_keys() {
        let ports: Vec<(u16, u16)> = (1..=100).map(|port| (port, 1)).collect();
        let ((_, before), (_, after)) = (of(&ports), of(&ports[..99]));
        let mut moved = 0;
        for key in (0..100_000).map(mix) {
            let (was, is) = (before.pick(key, |_| true), after.pick(key, |_| true));
            assert!(was == is || was == Some(99));
            moved += u32::from(was != is);
        }
        assert!((900..1_100).contains(&moved), "{moved} of 100,000");
    }
}
