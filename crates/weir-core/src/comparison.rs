//! Comparison: two algorithms share the requests of one group, and what comes of them says which is the better one.
//!
//! Ours. What is wanted, what an arm is and what ends a trial are here; [`statistics`] weighs the counts, and `reconcile` acts
//! on that. What this module lacks: clock, I/O, counting.

pub mod statistics;

use std::sync::Arc;
use std::time::Duration;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::address::ClientAddr;
use crate::definition::Algorithm;
use crate::flow_key::sixteen;
use crate::time::Timestamp;

/// How often control looks at what came of the requests of both arms.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Looks, one after the other, that must find the same arm clearly worse before it is stopped. Requests of one moment have much in
/// common, which the intervals do not know: a single stall of a target must not decide.
pub const LOOKS_IN_A_ROW: u32 = 3;

/// How a group's own algorithm, arm A, is compared with another one, arm B.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// What arm B picks by; never what the group picks by.
    pub algorithm: Algorithm,
    /// The part of its clients' connections that arm B has: 1 to 99.
    pub percentage: u8,
    /// Whether an arm that is clearly worse takes nothing any more.
    pub stops_when_worse: bool,
}

/// One of the two that are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The group's own algorithm.
    A,
    /// The one that it is compared with.
    B,
}

impl Side {
    /// The name in the admin API and in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::B => "B",
        }
    }

    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// An arm of one trial: what its requests are picked by, and counted for.
///
/// It goes with a request from the decision to its end, so that a request that is tried again stays in its arm, also when a reload
/// ends the trial meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arm {
    /// The number of the trial: this process never gives one twice.
    pub trial: u32,
    /// What it picks by.
    pub algorithm: Algorithm,
    /// Which of the arm's buckets the request's connection counts in; less than [`BUCKETS`]. See [`statistics`].
    pub bucket: u8,
}

impl Arm {
    /// Whether it is the same arm of the same trial, whatever the bucket.
    pub fn is_same(self, other: Self) -> bool {
        (self.trial, self.algorithm) == (other.trial, other.algorithm)
    }
}

/// Buckets that the connections of an arm are counted in. Ours: enough for a variance that is known to a tenth.
pub const BUCKETS: usize = 64;

/// A comparison under way, or stopped: what has to be known of it besides the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// This process never gives one twice.
    pub number: u32,
    /// Set once one arm takes everything.
    pub stop: Option<Stop>,
}

/// The end of a trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// The arm that takes nothing any more.
    pub worse: Side,
    /// When that was found.
    pub at: Timestamp,
    /// Why, for people.
    pub cause: Arc<str>,
}

/// The arm of a client, by its address and port, and its bucket there: a connection stays in its arm for as long as the trial goes on.
///
/// The group's `seed` has several groups split apart: who is in arm B of one is no more likely in arm B of another. The same on
/// every machine. Source of the hash: XXH3, over 16 bytes of address (IPv4 mapped) and the port, big-endian.
pub fn place(client: ClientAddr, seed: u64, percentage: u8) -> (Side, u8) {
    let mut bytes = [0; 18];
    bytes[..16].copy_from_slice(&sixteen(client.ip()));
    bytes[16..].copy_from_slice(&client.port().to_be_bytes());
    let hash = xxh3_64_with_seed(&bytes, seed);
    // By the lower half and by the upper one: neither says anything of the other.
    let is_b = (hash & 0xffff_ffff) % 100 < u64::from(percentage);
    (if is_b { Side::B } else { Side::A }, ((hash >> 32) % BUCKETS as u64) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENTS: usize = 20_000;

    fn clients() -> impl Iterator<Item = ClientAddr> {
        (0..CLIENTS).map(|n| ClientAddr(([10, 0, 0, 1], 40_000 + n as u16).into()))
    }

    fn count(is_counted: impl Fn(ClientAddr) -> bool) -> f64 {
        clients().filter(|client| is_counted(*client)).count() as f64 / CLIENTS as f64
    }

    fn side(client: ClientAddr, seed: u64, percentage: u8) -> Side {
        place(client, seed, percentage).0
    }

    #[test]
    fn the_buckets_of_an_arm_have_as_many_connections_each() {
        let mut counts = [0; BUCKETS];
        for client in clients().filter(|client| side(*client, 7, 50) == Side::B) {
            counts[usize::from(place(client, 7, 50).1)] += 1;
        }
        // 156 in the mean, and five standard deviations.
        assert!(counts.iter().all(|count| (94..219).contains(count)), "{counts:?}");
    }

    #[test]
    fn arm_b_has_the_part_of_the_connections_that_it_is_to_have() {
        for percentage in [1, 10, 50, 99] {
            let share = count(|client| side(client, 7, percentage) == Side::B);
            assert!((share - f64::from(percentage) / 100.0).abs() < 0.01, "{percentage}: {share}");
        }
    }

    #[test]
    fn a_client_stays_in_its_arm_and_groups_split_apart() {
        assert!(clients().all(|client| side(client, 1, 30) == side(client, 1, 30)));
        let both = count(|client| side(client, 1, 50) == Side::B && side(client, 2, 50) == Side::B);
        assert!((both - 0.25).abs() < 0.015, "{both}: as independent draws");
    }

    #[test]
    fn the_arms_of_known_clients_are_the_same_for_good() {
        let sides = |ip: &str| -> String {
            let addr = |port| ClientAddr(format!("{ip}:{port}").parse().unwrap());
            (1..=24).map(|port| side(addr(port), 0x7765_6972, 50).as_str()).collect()
        };
        assert_eq!(sides("10.0.0.1"), "BBBBAABABAABABABBABBBBAA");
        assert_eq!(sides("10.0.0.1"), sides("[::ffff:10.0.0.1]"));
        assert_ne!(sides("10.0.0.1"), sides("10.0.0.2"));
    }
}
