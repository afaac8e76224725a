//! Items 24 to 27: who gets how much of what is hashed, and what a change moves.

use weir_core::balance::{Maglev, Ring};
use weir_core::definition::{Algorithm, HashOn, Hashing};

use super::queues::{FCFS, MEAN, SEED};
use super::{Depth, Expected, Got, Item, Row, Source};
use crate::random::{Purpose, Stream};
use crate::scenario::{Policy, Scenario, ServerKind};
use crate::simulator::Picks;
use crate::work::Work;

/// Slots of the tables that the paper measures.
const SMALL: usize = 65_537;
const LARGE: usize = 655_373;

pub(super) fn add(depth: Depth, items: &mut Vec<Item>) {
    items.push(Item::new(24, "shares of hashes", 5.0, move || shares(depth)));
    items.push(Item::new(25, "what a change moves", 0.6, disruption));
    items.push(Item::new(26, "shares of a ring", 0.1, rings));
    items.push(Item::new(27, "bounded load", 0.2, bounded));
}

fn names(count: usize, set: usize) -> Vec<String> {
    (0..count).map(|number| format!("{set}.{number}")).collect()
}

fn maglev(slots: usize, names: &[String]) -> Maglev {
    Maglev::sized(slots, names.iter().map(|name| (name.as_str(), 1)))
}

/// How many of `ranks` each of so many members has.
fn counts(members: usize, ranks: impl Iterator<Item = usize>) -> Vec<u32> {
    let mut counts = vec![0; members];
    ranks.for_each(|rank| counts[rank] += 1);
    counts
}

/// The most that one has, in parts of the mean.
fn peak(counts: &[u32]) -> f64 {
    let sum: u32 = counts.iter().sum();
    f64::from(counts.iter().copied().max().unwrap_or(0)) * counts.len() as f64 / f64::from(sum)
}

fn published(item: u8, what: String, expected: Expected, got: f64, count: usize) -> Row {
    let source = Source::Published("Maglev, figures 11 and 12");
    Row { item, what, expected, got: Got::Value(got), count: count as u64, source }
}

fn shares(depth: Depth) -> Vec<Row> {
    let names = names(1_000, 0);
    let mut rows = Vec::new();
    for (slots, expected) in [(SMALL, 1.0071), (LARGE, 1.000_96)] {
        let shares = counts(1_000, maglev(slots, &names).slots().iter().map(|rank| usize::from(*rank)));
        let (least, most) =
            (shares.iter().min().copied().unwrap_or(0), shares.iter().max().copied().unwrap_or(0));
        rows.push(published(
            24,
            format!("Maglev, 1000 of {slots} slots: most less least"),
            Expected::Between(0.0, 1.0),
            f64::from(most - least),
            slots,
        ));
        rows.push(published(
            24,
            format!("Maglev, 1000 of {slots} slots: most in parts of the mean"),
            Expected::Within(expected, 0.0001),
            peak(&shares),
            slots,
        ));
    }
    let mut scenario = Scenario::plain(ServerKind::plain(1_000, FCFS), Work::Exponential(MEAN), 0.5);
    scenario.group.hashing = Some(Hashing { on: HashOn::Flow, balance_factor: None });
    let sizes: &[(usize, f64, f64)] = if depth == Depth::Whole {
        &[(SMALL, 1.32, 1.52), (LARGE, 1.11, 1.15)]
    } else {
        &[(SMALL, 1.32, 1.52)]
    };
    for (keys, low, high) in sizes {
        let mut picks = Picks::new(&scenario, Policy::Weir(Algorithm::Rendezvous), SEED);
        let ranks = (0..*keys as u64).filter_map(|key| picks.pick(key)).map(|(server, _)| server as usize);
        rows.push(published(
            24,
            format!("rendezvous, 1000 with {keys} keys: most in parts of the mean"),
            Expected::Between(*low, *high),
            peak(&counts(1_000, ranks)),
            *keys,
        ));
    }
    rows
}

fn disruption() -> Vec<Row> {
    /// Members, how many leave, slots, parts in a hundred that change, and of these without need.
    const CASES: [(usize, usize, usize, f64, f64); 7] = [
        (10, 1, SMALL, 10.25, 0.25),
        (100, 1, SMALL, 1.56, 0.56),
        (100, 10, SMALL, 11.0, 1.0),
        (1_000, 1, SMALL, 0.68, 0.58),
        (1_000, 10, SMALL, 3.33, 2.33),
        (1_000, 50, SMALL, 8.25, 3.25),
        (1_000, 50, LARGE, 5.92, 0.92),
    ];
    /// Sets of names: one alone varies.
    const SETS: usize = 8;
    let mut rows = Vec::new();
    for (members, leaving, slots, changed, needless) in CASES {
        let (mut moved, mut without_need) = (0, 0);
        for set in 0..SETS {
            let all = names(members, set);
            let (before, after) = (maglev(slots, &all), maglev(slots, &all[leaving..]));
            for (was, is) in before.slots().iter().zip(after.slots()) {
                let (was, is) = (usize::from(*was), usize::from(*is) + leaving);
                moved += usize::from(was != is);
                without_need += usize::from(was != is && was >= leaving);
            }
        }
        let part = |count: usize| count as f64 * 100.0 / (slots * SETS) as f64;
        let what = |of: &str| format!("Maglev of {slots}, {leaving} of {members} leave: {of} %");
        let row = |of: &str, expected: f64, got| Row {
            source: Source::Simulated,
            ..published(25, what(of), Expected::Near(expected, 0.15), got, slots * SETS)
        };
        rows.push(row("moved", changed, part(moved)));
        // Of ten members sets of names differ by more than that.
        if members > 10 {
            rows.push(row("moved without need", needless, part(without_need)));
        }
    }
    let mut scenario = Scenario::plain(ServerKind::plain(100, FCFS), Work::Exponential(MEAN), 0.5);
    scenario.group.hashing = Some(Hashing { on: HashOn::Flow, balance_factor: None });
    for algorithm in [Algorithm::RingHash, Algorithm::Rendezvous] {
        let mut picks = Picks::new(&scenario, Policy::Weir(algorithm), SEED);
        let place = |picks: &mut Picks| -> Vec<u32> {
            (0..100_000).filter_map(|key| picks.pick(key)).map(|(server, _)| server).collect()
        };
        let before = place(&mut picks);
        picks.remove(&(0..10).collect::<Vec<_>>());
        let after = place(&mut picks);
        let needless = before.iter().zip(&after).filter(|(was, is)| **was >= 10 && was != is).count();
        let what = format!("{}, 10 of 100 leave: keys moved without need", algorithm.as_str());
        rows.push(Row {
            source: Source::Definition,
            ..published(25, what, Expected::Within(0.0, 0.0), needless as f64, before.len())
        });
    }
    rows
}

fn rings() -> Vec<Row> {
    const RINGS: usize = 300;
    const KEYS: u64 = 20_000;
    let mut rows = Vec::new();
    for (points, deviation, most) in [(100, 0.095, 1.17), (160, 0.075, 1.12)] {
        let (mut squares, mut peaks) = (0.0, 0.0);
        for set in 0..RINGS {
            let names = names(10, set);
            let ring = Ring::with_points(points, names.iter().map(|name| (name.as_str(), 1)));
            let shares = ring.shares(10);
            squares += shares.iter().map(|share| (share * 10.0 - 1.0).powi(2)).sum::<f64>() / 10.0;
            peaks += shares.iter().copied().fold(0.0, f64::max) * 10.0;
        }
        let what = |of: &str| format!("ring of 10 with {points} points each: {of}");
        let row = |of: &str, expected: f64, got| Row {
            source: Source::Theory,
            ..published(26, what(of), Expected::Near(expected, 0.05), got, RINGS)
        };
        rows.push(row("deviation of shares", deviation, (squares / RINGS as f64).sqrt()));
        rows.push(row("largest share in parts of the mean", most, peaks / RINGS as f64));
    }
    // Keys find their points.
    let names = names(10, 0);
    let ring = Ring::with_points(160, names.iter().map(|name| (name.as_str(), 1)));
    let mut draws = Stream::new(SEED, Purpose::Keys, 0);
    let found = counts(10, (0..KEYS).map(|_| ring.rank(draws.bits())));
    let off = found
        .iter()
        .zip(ring.shares(10))
        .map(|(found, share)| (f64::from(*found) / KEYS as f64 - share).abs())
        .fold(0.0, f64::max);
    rows.push(Row {
        source: Source::Definition,
        ..published(
            26,
            "keys that are found, less the share, at most".to_owned(),
            Expected::Between(0.0, 0.01),
            off,
            KEYS as usize,
        )
    });
    rows
}

/// Nobody has more than its bound when it is picked, whatever is asked for.
fn bounded() -> Vec<Row> {
    const PICKS: u64 = 200_000;
    const SERVERS: u32 = 10;
    let mut rows = Vec::new();
    for algorithm in [Algorithm::RingHash, Algorithm::Maglev, Algorithm::Rendezvous] {
        for factor in [110_u16, 125, 200] {
            let mut scenario =
                Scenario::plain(ServerKind::plain(SERVERS, FCFS), Work::Exponential(MEAN), 0.5);
            scenario.group.hashing = Some(Hashing { on: HashOn::Flow, balance_factor: Some(factor) });
            let mut picks = Picks::new(&scenario, Policy::Weir(algorithm), SEED);
            let mut draws = Stream::new(SEED, Purpose::Keys, 1);
            let (mut held, mut loads, mut beyond) = (Vec::new(), [0_u64; SERVERS as usize], 0);
            for _ in 0..PICKS {
                // Most ask for one of three keys.
                let key = if draws.below(4) > 0 { draws.below(3) as u64 } else { draws.bits() };
                let Some((server, lease)) = picks.pick(key) else { continue };
                loads[server as usize] += 1;
                held.push((server, lease));
                let bound = (held.len() as u64 * u64::from(factor)).div_ceil(100).div_ceil(SERVERS.into());
                beyond += u64::from(loads[server as usize] > bound);
                if held.len() > draws.below(60) {
                    let (server, _) = held.swap_remove(draws.below(held.len()));
                    loads[server as usize] -= 1;
                }
            }
            let what = format!("{} with a factor of {factor}: picks beyond the bound", algorithm.as_str());
            let expected = Expected::Within(0.0, 0.0);
            rows.push(Row {
                item: 27,
                what,
                expected,
                got: Got::Value(beyond as f64),
                count: PICKS,
                source: Source::Definition,
            });
        }
    }
    rows
}
