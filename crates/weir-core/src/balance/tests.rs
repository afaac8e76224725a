//! Promises of the algorithms.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::definition::HashOn;
use crate::health::{Health, UnhealthyReason};
use crate::lease::Lease;
use crate::snapshot::Group;
use crate::snapshot::testing::{group, members, settings};
use crate::target::{Target, TargetId};
use crate::task::TaskId;

const NOW: Timestamp = Timestamp::from_nanos(1_000_000_000_000);
const ANY: PickContext<'_> = PickContext { key: 0, now: NOW, avoid: &[], pinned: None, arm: None };

fn counts<'c>(
    group: &Group,
    picks: usize,
    context: impl Fn(usize) -> PickContext<'c>,
) -> HashMap<u16, usize> {
    let mut worker = WorkerState::seeded(42);
    let mut counts = HashMap::new();
    for n in 0..picks {
        let lease = group.lease(&mut worker, &context(n)).expect("a target is eligible");
        *counts.entry(lease.target().addr.port()).or_default() += 1;
    }
    counts
}

/// Requests of which none ends: how many each of the targets gets.
fn held(algorithm: Algorithm, weights: &[(u16, u16)], picks: usize) -> HashMap<u16, u32> {
    let group = group(algorithm, members(weights));
    let mut worker = WorkerState::seeded(7);
    let leases: Vec<_> = (0..picks).map(|_| group.lease(&mut worker, &ANY).unwrap()).collect();
    leases.iter().map(|lease| (lease.target().addr.port(), lease.target().tally.in_flight())).collect()
}

#[test]
fn two_different_choices_among_two_targets_are_the_least_outstanding() {
    let counts = held(Algorithm::PowerOfTwoChoices(Draws::Distinct), &[(1, 1), (2, 1)], 999);
    assert!(counts[&1].abs_diff(counts[&2]) == 1, "{counts:?}");
    let counts = held(Algorithm::PowerOfTwoChoices(Draws::Distinct), &[(1, 1), (2, 3)], 400);
    assert_eq!(counts, HashMap::from([(1, 100), (2, 300)]));
}

#[test]
fn choices_with_replacement_are_sometimes_none() {
    let group = group(Algorithm::PowerOfTwoChoices(Draws::WithReplacement), members(&[(1, 1), (2, 1)]));
    let mut worker = WorkerState::seeded(7);
    // A request for each target, so that one more makes the other one the better.
    let mut busy: Vec<_> = Vec::new();
    while group.members.iter().any(|member| member.target.tally.in_flight() == 0) {
        busy.push(group.lease(&mut worker, &ANY).unwrap());
    }
    busy.retain(|lease| lease.target().addr.port() == 1);
    let again =
        (0..4_000).filter(|_| group.lease(&mut worker, &ANY).unwrap().target().addr.port() == 1).count();
    assert!((900..1_100).contains(&again), "a quarter of the pairs is the busy one twice: {again}");
}

#[test]
fn two_choices_of_many_hold_the_fullest_near_the_mean() {
    let targets: Vec<(u16, u16)> = (1..=1_000).map(|port| (port, 1)).collect();
    // Source: spec item 12: 1,000 balls in 1,000 bins, two choices: 3.
    let fullest = |algorithm| held(algorithm, &targets, 1_000).into_values().max().unwrap();
    assert_eq!(fullest(Algorithm::PowerOfTwoChoices(Draws::Distinct)), 3);
    assert!(fullest(Algorithm::WeightedRandom) > 3);
}

#[test]
fn peak_ewma_takes_the_one_of_two_that_would_answer_sooner() {
    let group = group(Algorithm::PeakEwma, members(&[(1, 1), (2, 1)]));
    for member in &group.members {
        let took = if member.target.addr.port() == 1 { 10 } else { 35 };
        member.target.latency.note(Duration::from_millis(took), 1, false, NOW);
    }
    let mut worker = WorkerState::seeded(7);
    let leases: Vec<_> = (0..4).map(|_| group.lease(&mut worker, &ANY).unwrap()).collect();
    let ports: Vec<u16> = leases.iter().map(|lease| lease.target().addr.port()).collect();
    // 10, 20 and 30 ms against 35; then 40.
    assert_eq!(ports, [1, 1, 1, 2]);
}

#[test]
fn prequal_picks_nobody_who_has_fallen_ill_since_it_was_probed() {
    let mut all = members(&(1..=8).map(|port| (port, 1)).collect::<Vec<_>>());
    let before = group(Algorithm::Prequal, all.clone());
    let mut worker = WorkerState::seeded(7);
    for _ in 0..50 {
        before.lease(&mut worker, &ANY).unwrap();
    }
    for member in &mut all[1..] {
        member.health = Health::Unhealthy(UnhealthyReason::Timeout);
    }
    all[2].health = Health::Healthy;
    let after = group(Algorithm::Prequal, all);
    for _ in 0..50 {
        assert!([1, 3].contains(&after.lease(&mut worker, &ANY).unwrap().target().addr.port()));
    }
}

#[test]
fn prequal_leaves_a_slow_target_alone_and_still_probes_it() {
    let targets: Vec<(u16, u16)> = (1..=10).map(|port| (port, 1)).collect();
    let group = group(Algorithm::Prequal, members(&targets));
    let mut worker = WorkerState::seeded(7);
    let ask = |worker: &mut WorkerState, slow: u64| {
        let mut to_slow = 0;
        for n in 0..1_000_u64 {
            let now = NOW.after(Duration::from_millis(n));
            let lease = group.lease(worker, &PickContext { now, ..ANY }).unwrap();
            let is_slow = lease.target().addr.port() == 1;
            let took = Duration::from_millis(if is_slow { slow } else { 10 });
            lease.target().latency.note(took, 1, false, now);
            to_slow += u32::from(is_slow);
        }
        to_slow
    };
    assert!(ask(&mut worker, 100) < 30, "once it is known as slow it is picked by nobody");
    // Its old answers are forgotten only as new ones come: somebody has to ask it at times.
    assert!(ask(&mut worker, 10) < 300);
}

// Conformance: A3.3.5
#[test]
fn round_robin_gives_each_target_its_weight() {
    let counts = counts(&group(Algorithm::RoundRobin, members(&[(1, 1), (2, 2), (3, 1)])), 400, |_| ANY);
    assert_eq!(counts, HashMap::from([(1, 100), (2, 200), (3, 100)]));
}

#[test]
fn the_same_seed_gives_the_same_picks() {
    for algorithm in [Algorithm::RoundRobin, Algorithm::WeightedRandom, Algorithm::LeastOutstandingRequests] {
        let group = group(algorithm, members(&[(1, 1), (2, 3), (3, 2)]));
        let trace = || {
            let mut worker = WorkerState::seeded(9);
            (0..100)
                .map(|_| group.lease(&mut worker, &ANY).map(|lease| lease.target().addr.port()))
                .collect::<Vec<_>>()
        };
        assert_eq!(trace(), trace());
    }
}

// Conformance: A3.3.9
#[test]
fn weighted_random_draws_in_proportion() {
    let counts = counts(&group(Algorithm::WeightedRandom, members(&[(1, 1), (2, 3)])), 8_000, |_| ANY);
    assert!((1_850..2_150).contains(&counts[&1]), "{counts:?}");
}

// Conformance: A3.3.6
#[test]
fn least_outstanding_takes_the_idle_target_and_of_several_alike_any() {
    let group = group(Algorithm::LeastOutstandingRequests, members(&[(1, 1), (2, 1), (3, 1)]));
    let mut worker = WorkerState::seeded(1);
    let port = |lease: &Lease| usize::from(lease.target().addr.port());
    let mut held: Vec<_> = (0..3).map(|_| group.lease(&mut worker, &ANY).unwrap()).collect();
    let mut ports: Vec<usize> = held.iter().map(port).collect();
    ports.sort_unstable();
    assert_eq!(ports, [1, 2, 3]);
    let freed = port(&held.remove(1));
    assert_eq!(port(&group.lease(&mut worker, &ANY).unwrap()), freed, "nobody else is idle");
    drop(held);
    let mut firsts = [0; 4];
    (0..3_000).for_each(|_| firsts[port(&group.lease(&mut worker, &ANY).unwrap())] += 1);
    assert!(firsts[1..].iter().all(|count| (900..1_100).contains(count)), "{firsts:?}");
}

#[test]
fn least_outstanding_counts_weight_as_capacity() {
    let group = group(Algorithm::LeastOutstandingRequests, members(&[(1, 1), (2, 3)]));
    let mut worker = WorkerState::seeded(1);
    let held: Vec<_> = (0..8).map(|_| group.lease(&mut worker, &ANY).unwrap()).collect();
    let heavy = held.iter().filter(|lease| lease.target().addr.port() == 2).count();
    assert_eq!(heavy, 6);
}

// Conformance: A3.3.6
#[test]
fn a_lease_counts_while_it_lives() {
    let group = group(Algorithm::RoundRobin, members(&[(1, 1)]));
    let lease = group.lease(&mut WorkerState::seeded(1), &ANY).unwrap();
    let target = lease.target().clone();
    assert_eq!(target.tally.in_flight(), 1);
    drop(lease);
    assert_eq!((target.tally.in_flight(), target.tally.picked()), (0, 1));
}

#[test]
fn a_flow_keeps_its_target_when_another_turns_unhealthy() {
    for algorithm in [Algorithm::FlowHash, Algorithm::RingHash, Algorithm::Rendezvous] {
        let mut all = members(&[(1, 1), (2, 1), (3, 1), (4, 1)]);
        let before = group(algorithm, all.clone());
        all[2].health = Health::Unhealthy(UnhealthyReason::Timeout);
        let after = group(algorithm, all);
        let mut worker = WorkerState::seeded(1);
        let mut pick = |group: &Group, n: u64| {
            let context = PickContext { key: n.wrapping_mul(0x9e37_79b9_7f4a_7c15), ..ANY };
            group.lease(&mut worker, &context).unwrap().target().addr.port()
        };
        for n in 0..1_000 {
            let (was, is) = (pick(&before, n), pick(&after, n));
            assert!(was == is || was == 3, "{algorithm:?}: key {n} moved from {was} to {is}");
            assert_ne!(is, 3);
        }
    }
}

#[test]
fn a_key_that_everybody_has_loads_nobody_beyond_the_bound() {
    for algorithm in [Algorithm::Maglev, Algorithm::RingHash, Algorithm::Rendezvous] {
        let hashing = Hashing { on: HashOn::Path, balance_factor: Some(125) };
        let settings = TargetGroup { hashing: Some(hashing), ..settings("g", algorithm) };
        let weights: Vec<(u16, u16)> = (1..=10).map(|port| (port, 1)).collect();
        let group = Group::build(GroupIndex(0), Arc::new(settings), members(&weights), true, None);
        let mut worker = WorkerState::seeded(1);
        let mut leases = Vec::new();
        for count in 1..=100_u32 {
            leases.push(group.lease(&mut worker, &PickContext { key: 42, ..ANY }).unwrap());
            // `spec/algorithms.md`, item 27.
            let most = (count * 125).div_ceil(1_000).max(1);
            let fullest = group.members.iter().map(|member| member.target.tally.in_flight()).max();
            assert!(fullest.unwrap() <= most, "{algorithm:?}: {fullest:?} of {count}, at most {most}");
        }
        let first = leases[0].target().clone();
        drop(leases);
        let again = group.lease(&mut worker, &PickContext { key: 42, ..ANY }).unwrap();
        assert_eq!(again.target().serial, first.serial, "{algorithm:?}: it has its own target again");
    }
}

#[test]
fn an_avoided_target_is_picked_only_when_it_is_alone() {
    for algorithm in [
        Algorithm::RoundRobin,
        Algorithm::WeightedRandom,
        Algorithm::LeastOutstandingRequests,
        Algorithm::PowerOfTwoChoices(Draws::Distinct),
        Algorithm::PowerOfTwoChoices(Draws::WithReplacement),
        Algorithm::PeakEwma,
        Algorithm::Prequal,
        Algorithm::Maglev,
        Algorithm::Rendezvous,
        Algorithm::RingHash,
        Algorithm::FlowHash,
    ] {
        let two = members(&[(1, 1), (2, 1)]);
        let avoid = PickContext { avoid: &[two[0].target.serial], ..ANY };
        let counts = counts(&group(algorithm, two), 50, |n| PickContext { key: n as u64, ..avoid });
        assert_eq!(counts, HashMap::from([(2, 50)]), "{algorithm:?}");
        let one = members(&[(1, 1)]);
        let avoid = PickContext { avoid: &[one[0].target.serial], ..ANY };
        assert!(group(algorithm, one).lease(&mut WorkerState::seeded(1), &avoid).is_ok());
    }
}

// Conformance: A3.3.12
#[test]
fn slow_start_raises_a_target_s_share_linearly() {
    let all = members(&[(1, 1), (2, 1)]);
    all[1].target.tally.begin_slow_start(NOW);
    let mut slow = group(Algorithm::RoundRobin, all);
    slow.use_slow_start(Duration::from_secs(30));
    let share = |age: u64| {
        let now = NOW.after(Duration::from_secs(age));
        let counts = counts(&slow, 10_000, |_| PickContext { now, ..ANY });
        counts[&2] as f64 / counts[&1] as f64
    };
    assert!((0.08..0.12).contains(&share(0)), "{}", share(0));
    assert!((0.45..0.55).contains(&share(15)), "{}", share(15));
    assert!((0.99..1.01).contains(&share(30)), "{}", share(30));
}

/// The same targets as another weir knows them: in another order, by other numbers and other names.
fn seen_elsewhere(here: &[Member], order: &[usize]) -> Vec<Member> {
    let task = |addr: crate::address::TargetAddr| TargetId::Task {
        // Names that agree in all that people are shown of them.
        task: TaskId { id: "/weir/targets/web".into(), generation: addr.to_string().into() },
        container_port: 80,
    };
    let see = |(serial, at): (usize, &usize)| {
        let Member { target, .. } = &here[*at];
        let serial = TargetSerial(1_000 + serial as u64);
        let seen = Target::new(serial, target.addr, task(target.addr), target.group.clone());
        Member { target: Arc::new(seen), ..here[*at].clone() }
    };
    order.iter().enumerate().map(see).collect()
}

proptest! {
    /// What identifies a target across machines is its address.
    #[test]
    fn two_weirs_that_see_the_same_targets_place_every_flow_alike(
        weights in prop::collection::vec((1_u16..4, any::<bool>()), 1..24),
        order in any::<u64>(),
        keys in prop::collection::vec(any::<u64>(), 50),
    ) {
        let ports: Vec<(u16, u16)> = (1..).zip(&weights).map(|(port, (weight, _))| (port, *weight)).collect();
        let mut here = members(&ports);
        for (member, (_, is_healthy)) in here.iter_mut().zip(&weights) {
            if !is_healthy {
                member.health = Health::Unhealthy(UnhealthyReason::Timeout);
            }
        }
        let mut positions: Vec<usize> = (0..here.len()).collect();
        fastrand::Rng::with_seed(order).shuffle(&mut positions);
        let there = group(Algorithm::FlowHash, seen_elsewhere(&here, &positions));
        let here = group(Algorithm::FlowHash, here);
        for key in keys {
            let pick = |group: &Group, seed| {
                let lease = group.lease(&mut WorkerState::seeded(seed), &PickContext { key, ..ANY });
                lease.map(|lease| lease.target().addr).ok()
            };
            prop_assert_eq!(pick(&here, 1), pick(&there, 2));
        }
    }
}
