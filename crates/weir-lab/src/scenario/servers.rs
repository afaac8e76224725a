//! Who answers.

use std::time::Duration;

use weir_config::document::{Fields, Node, Reader, items};
use weir_core::target::Weight;

use super::read::span;
use super::{Cache, ColdStart, Discipline, ServerKind, Swings, keys};

/// Most servers of a scenario, with those that come later.
pub(super) const SERVERS_MAX: u32 = 10_000;

/// Most requests that one server serves at a time, or cores that it has.
const SLOTS_MAX: u32 = 10_000;

/// Most requests that wait at one server where that is limited.
const QUEUE_MAX: u32 = 1_000_000;

/// How fast a server may be, and how much slower or dearer something may make it.
const SPEED: std::ops::RangeInclusive<f64> = 0.001..=1_000.0;
const TIMES: std::ops::RangeInclusive<f64> = 1.0..=1_000.0;

/// Most keys that a server remembers.
const CACHE_MAX: u32 = 10_000_000;

const TIME_MIN: Duration = Duration::from_millis(1);
const TIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Reads `servers`.
pub(super) fn read(list: &Node, root: Fields<'_>, reader: &mut Reader<'_>) -> Option<Vec<ServerKind>> {
    let kinds: Vec<Option<ServerKind>> = items(list).iter().map(|node| kind(node, root, reader)).collect();
    if kinds.is_empty() {
        reader.problem(list, "nobody answers: the list is empty", Some("write `[{ count: 10 }]`"));
        return None;
    }
    let kinds: Vec<ServerKind> = kinds.into_iter().collect::<Option<_>>()?;
    let count: u64 = kinds.iter().map(|kind| u64::from(kind.count)).sum();
    if count > u64::from(SERVERS_MAX) {
        reader.problem(list, &format!("{count} servers are more than {SERVERS_MAX}"), Some("write fewer"));
        return None;
    }
    Some(kinds)
}

fn kind(node: &Node, root: Fields<'_>, reader: &mut Reader<'_>) -> Option<ServerKind> {
    let fields = reader.fields(node, &keys::SERVERS)?;
    let count = match fields.get("count") {
        Some(node) => reader.number(node, 1..=SERVERS_MAX),
        None => Some(1),
    };
    let discipline = discipline(fields, reader);
    let speed = match fields.get("speed") {
        Some(node) => reader.decimal(node, SPEED),
        None => Some(1.0),
    };
    let weight = fields.get("weight").and_then(|node| reader.number(node, 1..=Weight::MAX));
    let zone = fields.get("zone").and_then(|node| reader.text(node)).map(ToOwned::to_owned);
    let cache = fields.get("cache").and_then(|node| cache(node, root, reader));
    let swings = fields.get("swings").and_then(|node| swings(node, reader));
    let cold_start = fields.get("cold_start").and_then(|node| cold_start(node, reader));
    Some(ServerKind {
        count: count?,
        discipline: discipline?,
        speed: speed?,
        weight: weight.and_then(Weight::new).unwrap_or(Weight::ONE),
        zone,
        cache,
        swings,
        cold_start,
    })
}

/// The three disciplines as they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Served {
    Fcfs,
    ProcessorSharing,
    Infinite,
}

const DISCIPLINES: [(&str, Served); 3] =
    [("fcfs", Served::Fcfs), ("processor_sharing", Served::ProcessorSharing), ("infinite", Served::Infinite)];

fn discipline(fields: Fields<'_>, reader: &mut Reader<'_>) -> Option<Discipline> {
    let served = match fields.get("discipline") {
        Some(node) => reader.choice(node, &DISCIPLINES),
        None => Some(Served::Fcfs),
    };
    for (key, wants, remedy) in [
        ("slots", Served::Fcfs, "take it out, or write `discipline: fcfs`"),
        ("queue", Served::Fcfs, "take it out, or write `discipline: fcfs`"),
        ("cores", Served::ProcessorSharing, "take it out, or write `discipline: processor_sharing`"),
    ] {
        if let (Some(node), Some(served)) = (fields.get(key), served)
            && served != wants
        {
            let word = DISCIPLINES.iter().find(|(_, other)| *other == served).map_or("", |(word, _)| word);
            reader.problem(node, &format!("servers that are {word} have no {key}"), Some(remedy));
        }
    }
    let mut number = |name: &str, range, default| {
        fields.get(name).and_then(|node| reader.number(node, range)).unwrap_or(default)
    };
    let slots = number("slots", 1..=SLOTS_MAX, 1);
    let cores = number("cores", 1..=SLOTS_MAX, 1);
    let queue = number("queue", 0..=QUEUE_MAX, u32::MAX);
    Some(match served? {
        Served::Fcfs => Discipline::Fcfs { slots, queue },
        Served::ProcessorSharing => Discipline::ProcessorSharing { cores },
        Served::Infinite => Discipline::Infinite,
    })
}

fn cache(node: &Node, root: Fields<'_>, reader: &mut Reader<'_>) -> Option<Cache> {
    let fields = reader.fields(node, &keys::CACHE)?;
    if root.get("keys").is_none() {
        let cause = "there is nothing to remember: requests have no keys";
        reader.problem(node, cause, Some("write `keys: { count: 100000, exponent: 1 }`, or take it out"));
    }
    let keys = fields.require(reader, "keys", "1000").and_then(|node| reader.number(node, 1..=CACHE_MAX));
    let miss = fields.require(reader, "miss", "20").and_then(|node| reader.decimal(node, TIMES));
    Some(Cache { keys: keys?, miss: miss? })
}

fn swings(node: &Node, reader: &mut Reader<'_>) -> Option<Swings> {
    let fields = reader.fields(node, &keys::SWINGS)?;
    let factor = fields.require(reader, "factor", "0.5").and_then(|node| factor(node, 1.0, reader));
    let mut time = |name: &str, example| {
        fields.require(reader, name, example).and_then(|node| span(node, TIME_MIN..=TIME_MAX, reader))
    };
    let (every, lasts) = (time("every", "20s"), time("lasts", "300ms"));
    let varies = fields.get("varies").and_then(|node| reader.boolean(node)).unwrap_or(false);
    Some(Swings { factor: factor?, every: every?, lasts: lasts?, varies })
}

fn cold_start(node: &Node, reader: &mut Reader<'_>) -> Option<ColdStart> {
    let fields = reader.fields(node, &keys::COLD_START)?;
    let cost = fields.require(reader, "cost", "10").and_then(|node| reader.decimal(node, TIMES));
    let lasts = fields.require(reader, "lasts", "5s");
    let lasts = lasts.and_then(|node| span(node, Duration::ZERO..=TIME_MAX, reader));
    let fades = match fields.get("fades") {
        Some(node) => span(node, Duration::ZERO..=TIME_MAX, reader),
        None => Some(0),
    };
    Some(ColdStart { cost: cost?, lasts: lasts?, fades: fades? })
}

/// How many times as fast somebody is from now on: 0 stands still.
pub(super) fn factor(node: &Node, most: f64, reader: &mut Reader<'_>) -> Option<f64> {
    let factor = reader.decimal(node, 0.0..=most)?;
    if factor > 0.0 && factor < *SPEED.start() {
        reader.problem(
            node,
            "so slow a server does not end in any run",
            Some("write 0 to have it stand still"),
        );
        return None;
    }
    Some(factor)
}
