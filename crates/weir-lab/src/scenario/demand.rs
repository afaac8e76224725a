//! Who asks: arrivals or users, and how much.

use std::time::Duration;

use weir_config::document::{Fields, Node, Reader, items};
use weir_core::definition::TargetGroup;

use super::read::span;
use super::{Demand, Discipline, ServerKind, keys, trace};
use crate::arrivals::{Mmpp, Process, Rate};
use crate::work::Work;

/// What part of the capacity may be asked for, and how often at all.
const LOAD: std::ops::RangeInclusive<f64> = 0.001..=100.0;
const RATE: std::ops::RangeInclusive<f64> = 0.001..=1_000_000.0;

/// Most loads of a sweep, and steps of a rate.
const LOADS_MAX: usize = 100;
const STEPS_MAX: usize = 10_000;

/// Most users, and what they think at least: those who do not think at all would ask without end at a server that is gone.
const USERS_MAX: u32 = 1_000_000;
const THINKING_MIN: Duration = Duration::from_micros(100);
const THINKING_MAX: Duration = Duration::from_secs(60 * 60);

/// How much busier an MMPP may be in its high state.
const RATIO: std::ops::RangeInclusive<f64> = 1.001..=1_000_000.0;

const MILLISECOND: Duration = Duration::from_millis(1);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What the servers can do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Capacity {
    /// Requests per second that keep all servers busy: infinite where one never is, `None` where there is a mistake in them.
    per_second: Option<f64>,
    /// Whether a queue grows for as long as more comes than goes.
    is_patient: bool,
}

impl Capacity {
    /// What these servers can do of that work.
    pub(super) fn of(
        servers: Option<&[ServerKind]>,
        work: Option<&Work>,
        group: Option<&TargetGroup>,
    ) -> Self {
        let kinds = servers.unwrap_or_default();
        let is_limited = group.is_none_or(|group| group.concurrency.per_target != u32::MAX);
        let is_patient = |kind: &ServerKind| match kind.discipline {
            Discipline::Fcfs { queue, .. } => queue == u32::MAX,
            Discipline::ProcessorSharing { .. } => true,
            Discipline::Infinite => false,
        };
        let per_second =
            servers.zip(work).map(|(servers, work)| super::capacity(servers) * 1e9 / work.mean());
        Self { per_second, is_patient: !is_limited && kinds.iter().any(is_patient) }
    }

    /// The rate at which that part of it is asked for.
    fn rate_at(self, load: f64, node: &Node, reader: &mut Reader<'_>) -> Option<f64> {
        let rate = load * self.per_second?;
        if rate.is_infinite() {
            let cause = "servers that are never busy have no capacity that this could be a part of";
            reader.problem(node, cause, Some("write a rate: `arrivals: { process: poisson, rate: 700/s }`"));
            return None;
        }
        if rate > *RATE.end() {
            let cause = format!("that is {rate:.0} requests per second, which is more than {}", RATE.end());
            reader.problem(node, &cause, Some("write less, fewer servers, or more work"));
            return None;
        }
        Some(rate)
    }

    /// Says so where more comes all the time than goes.
    fn warn(self, rate: f64, node: &Node, reader: &mut Reader<'_>) {
        let Some(load) = self.per_second.map(|per_second| rate / per_second) else { return };
        // What is written as 1 may be a little less when it has been a rate.
        if self.is_patient && load > 1.0 - 1e-9 {
            let cause = format!(
                "unstable: {load:.2} times what the servers can do is asked for all the time, and nothing limits who waits"
            );
            let remedy = "write a load below 1, or a `queue` for the servers; as it is, the longer it runs the worse it gets";
            reader.warning(node, &cause, Some(remedy));
        }
    }
}

/// Reads `arrivals` or `users`.
pub(super) fn read(
    fields: Fields<'_>,
    capacity: Capacity,
    duration: Option<u64>,
    reader: &mut Reader<'_>,
) -> Option<Demand> {
    match (fields.get("arrivals"), fields.get("users")) {
        (Some(arrivals), Some(users)) => {
            let cause =
                format!("requests come by `arrivals` (line {}) or from `users`", arrivals.position.line);
            reader.problem(users, &cause, Some("take one of them out"));
            None
        }
        (None, None) => {
            let remedy =
                "write `arrivals: { process: poisson, load: 0.7 }`, or `users: { count: 10, thinking: 9s }`";
            reader.problem(
                fields.node(),
                "nobody asks: there are neither `arrivals` nor `users`",
                Some(remedy),
            );
            None
        }
        (Some(node), None) => arrivals(node, fields, capacity, duration, reader),
        (None, Some(node)) => {
            let fields = reader.fields(node, &keys::USERS)?;
            let count = fields.require(reader, "count", "10");
            let count = count.and_then(|node| reader.number(node, 1..=USERS_MAX));
            let thinking = fields.require(reader, "thinking", "9s");
            let thinking = thinking.and_then(|node| span(node, THINKING_MIN..=THINKING_MAX, reader));
            Some(Demand::Closed { users: count?, thinking: thinking? })
        }
    }
}

/// Reads `loads`, a sweep.
pub(super) fn loads(fields: Fields<'_>, capacity: Capacity, reader: &mut Reader<'_>) -> Vec<f64> {
    let Some(list) = fields.get("loads") else { return Vec::new() };
    if fields.get("users").is_some() {
        let cause = "users ask as often as they are answered, so that there is no load to set";
        reader.problem(list, cause, Some("take it out, or write `arrivals` instead of `users`"));
        return Vec::new();
    }
    if items(list).is_empty() || items(list).len() > LOADS_MAX {
        reader.problem(list, &format!("a sweep has 1 to {LOADS_MAX} loads"), Some("write `[0.5, 0.7, 0.9]`"));
    }
    for key in ["file", "steps"] {
        if let Some(node) = fields.get("arrivals").and_then(|arrivals| arrivals.get(key)) {
            let cause =
                format!("with `loads` (line {}) the load is the same all the time", list.position.line);
            reader.problem(node, &cause, Some("take one of them out"));
        }
    }
    let read = |node| {
        let load = reader.decimal(node, LOAD)?;
        let rate = capacity.rate_at(load, node, reader)?;
        capacity.warn(rate, node, reader);
        Some(load)
    };
    items(list).iter().filter_map(read).collect()
}

/// The processes as they are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Constant,
    Mmpp,
    Poisson,
    Trace,
}

fn arrivals(
    node: &Node,
    root: Fields<'_>,
    capacity: Capacity,
    duration: Option<u64>,
    reader: &mut Reader<'_>,
) -> Option<Demand> {
    const KINDS: [(&str, Kind); 4] = [
        ("constant", Kind::Constant),
        ("mmpp", Kind::Mmpp),
        ("poisson", Kind::Poisson),
        ("trace", Kind::Trace),
    ];
    let fields = reader.fields(node, &keys::ARRIVALS)?;
    let kind = match fields.get("process") {
        Some(node) => reader.choice(node, &KINDS)?,
        None => Kind::Poisson,
    };
    for (key, wants) in
        [("file", Kind::Trace), ("high", Kind::Mmpp), ("low", Kind::Mmpp), ("ratio", Kind::Mmpp)]
    {
        if let Some(node) = fields.get(key).filter(|_| kind != wants) {
            let word = if wants == Kind::Mmpp { "mmpp" } else { "trace" };
            let remedy = format!("take it out, or write `process: {word}`");
            reader.problem(node, &format!("`{key}` goes with {word}"), Some(&remedy));
        }
    }
    if kind == Kind::Trace {
        return traced(fields, capacity, duration, reader);
    }
    let process = match kind {
        Kind::Constant => Some(Process::Constant),
        Kind::Mmpp => mmpp(fields, reader).map(Process::Mmpp),
        Kind::Poisson | Kind::Trace => Some(Process::Poisson),
    };
    let rate = rate(fields, root, capacity, duration, reader);
    Some(Demand::Open { process: process?, rate: rate? })
}

fn mmpp(fields: Fields<'_>, reader: &mut Reader<'_>) -> Option<Mmpp> {
    let ratio = fields.require(reader, "ratio", "10").and_then(|node| reader.decimal(node, RATIO));
    let mut state = |name: &str, example: &str| {
        let node = fields.require(reader, name, example)?;
        reader.fine_duration(node, MILLISECOND..=DAY).map(|state| state.as_secs_f64())
    };
    let (high, low) = (state("high", "1s"), state("low", "4s"));
    Some(Mmpp { ratio: ratio?, high: high?, low: low? })
}

/// How often requests come: one of three ways to say it, or as the sweep does.
fn rate(
    fields: Fields<'_>,
    root: Fields<'_>,
    capacity: Capacity,
    duration: Option<u64>,
    reader: &mut Reader<'_>,
) -> Option<Rate> {
    let ways: Vec<&Node> = ["load", "rate", "steps"].iter().filter_map(|key| fields.get(key)).collect();
    let sweep = root.get("loads").and_then(|list| items(list).first());
    let constant = match (ways.as_slice(), sweep) {
        ([_], _) => match (fields.get("load"), fields.get("rate"), fields.get("steps")) {
            (.., Some(list)) => return steps(list, capacity, duration, reader),
            (Some(node), ..) => at_load(node, *LOAD.start(), capacity, reader).map(|rate| (node, rate)),
            (_, Some(node), _) => per_second(node, *RATE.start(), reader).map(|rate| (node, rate)),
            _ => None,
        },
        // What is wrong with it is told where it is read.
        ([], Some(first)) => {
            let load = reader.decimal(first, LOAD)?;
            return capacity.rate_at(load, first, reader).map(Rate::constant);
        }
        _ => {
            let cause = "arrivals have one of `load`, `rate` and `steps`";
            let place = ways.last().copied().unwrap_or(fields.node());
            reader.problem(place, cause, Some("write one of them: `load: 0.7`"));
            None
        }
    };
    let (node, rate) = constant?;
    // A sweep replaces it, and is warned of itself.
    if sweep.is_none() {
        capacity.warn(rate, node, reader);
    }
    Some(Rate::constant(rate))
}

fn at_load(node: &Node, least: f64, capacity: Capacity, reader: &mut Reader<'_>) -> Option<f64> {
    let load = reader.decimal(node, least..=*LOAD.end())?;
    capacity.rate_at(load, node, reader)
}

/// A rate like `700/s`.
fn per_second(node: &Node, least: f64, reader: &mut Reader<'_>) -> Option<f64> {
    let text = reader.text(node)?;
    let number = text.strip_suffix("/s").and_then(|number| number.trim().parse::<f64>().ok());
    let Some(number) = number else {
        let remedy = if text.parse::<f64>().is_ok() {
            format!("name the unit: `{text}/s`")
        } else {
            "write requests per second: 700/s".to_owned()
        };
        reader.problem(node, &format!("{text:?} is not a rate"), Some(&remedy));
        return None;
    };
    if !(least..=*RATE.end()).contains(&number) {
        let remedy = format!("write a rate from {least}/s to {}/s", RATE.end());
        reader.problem(node, &format!("{text:?} is out of range"), Some(&remedy));
        return None;
    }
    Some(number)
}

fn steps(list: &Node, capacity: Capacity, duration: Option<u64>, reader: &mut Reader<'_>) -> Option<Rate> {
    let written = items(list);
    if written.is_empty() || written.len() > STEPS_MAX {
        let cause = format!("a rate has 1 to {STEPS_MAX} steps");
        reader.problem(list, &cause, Some("write `[{ at: 0s, load: 0.4 }, { at: 20s, load: 1.3 }]`"));
        return None;
    }
    let mut steps: Vec<(u64, f64)> = Vec::new();
    for node in written {
        let Some((at, rate)) = step(node, capacity, duration, reader) else { continue };
        let place = node.get("at").unwrap_or(node);
        if std::ptr::eq(node, &raw const written[0]) && at > 0 {
            reader.problem(place, "nobody knows the load before the first step", Some("write `at: 0s`"));
        }
        if steps.last().is_some_and(|(before, _)| *before >= at) {
            reader.problem(place, "a step comes after the one before it", Some("put them in order"));
        }
        steps.push((at, rate));
    }
    if steps.len() < written.len() {
        return None;
    }
    let least = steps.iter().map(|(_, rate)| *rate).fold(f64::INFINITY, f64::min);
    if steps.iter().all(|(_, rate)| *rate == 0.0) {
        reader.problem(list, "nobody ever asks", Some("write more than 0 in one of the steps"));
        return None;
    }
    capacity.warn(least, list, reader);
    Some(Rate { steps })
}

/// One step: from when on, and how often. Steps may pause.
fn step(
    node: &Node,
    capacity: Capacity,
    duration: Option<u64>,
    reader: &mut Reader<'_>,
) -> Option<(u64, f64)> {
    let fields = reader.fields(node, &keys::STEP)?;
    let at = fields.require(reader, "at", "20s").and_then(|node| {
        let at = span(node, Duration::ZERO..=DAY, reader)?;
        if duration.is_some_and(|duration| at >= duration) {
            reader.problem(node, "the scenario is over by then", Some("write less than its `duration`"));
        }
        Some(at)
    });
    let rate = match (fields.get("load"), fields.get("rate")) {
        (Some(load), None) => at_load(load, 0.0, capacity, reader),
        (None, Some(rate)) => per_second(rate, 0.0, reader),
        _ => {
            reader.problem(
                node,
                "a step has either `load` or `rate`",
                Some("write one of them: `load: 0.7`"),
            );
            None
        }
    };
    Some((at?, rate?))
}

fn traced(
    fields: Fields<'_>,
    capacity: Capacity,
    duration: Option<u64>,
    reader: &mut Reader<'_>,
) -> Option<Demand> {
    for key in ["load", "rate", "steps"] {
        if let Some(node) = fields.get(key) {
            reader.problem(
                node,
                &format!("a trace has no {key}: requests come when they came"),
                Some("take it out"),
            );
        }
    }
    let node = fields.require(reader, "file", "arrivals.csv")?;
    let moments = trace::read(node, true, reader)?;
    let duration = duration?;
    let count = moments.partition_point(|at| *at < duration);
    if count == 0 {
        reader.problem(
            node,
            "the scenario is over before the first of it comes",
            Some("write a longer `duration`"),
        );
        return None;
    }
    let rate = count as f64 * 1e9 / duration as f64;
    capacity.warn(rate, node, reader);
    Some(Demand::Open { process: Process::Trace(moments), rate: Rate::constant(rate) })
}
