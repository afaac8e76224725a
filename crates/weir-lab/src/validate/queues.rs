//! Items 1 to 7: single queues, which leave an algorithm nothing to decide.

use weir_core::definition::Algorithm;
use weir_core::limits::ConcurrencyLimits;

use super::{Depth, Expected, Got, Item, Row, Source};
use crate::measure::Batches;
use crate::scenario::{Discipline, Policy, Scenario, ServerKind};
use crate::simulator::{Ended, Observer, Simulator, View};
use crate::theory;
use crate::work::{BoundedPareto, Work};

/// The mean service time: a second, so that latencies in seconds are in units of it.
pub(super) const MEAN: f64 = 1e9;

pub(super) const FCFS: Discipline = Discipline::Fcfs { slots: 1, queue: u32::MAX };

pub(super) const SEED: u64 = 2026;

const TURNS: Policy = Policy::Weir(Algorithm::RoundRobin);

const EXPONENTIAL: Work = Work::Exponential(MEAN);

/// Runs so many requests.
pub(super) fn run(scenario: &Scenario, policy: Policy, requests: u64) -> Batches {
    Simulator::new(scenario, policy, SEED, Batches::of(requests).with_histogram()).at_most(requests).run()
}

/// A line about so many requests.
pub(super) fn row(item: u8, what: String, expected: Expected, got: f64, count: u64) -> Row {
    Row { item, what, expected, got: Got::Value(got), count, source: Source::Theory }
}

/// The mean latency, in mean service times.
pub(super) fn mean(batches: &Batches) -> f64 {
    batches.mean().mean / MEAN
}

/// So many, or a quarter.
pub(super) fn scaled(depth: Depth, requests: u64) -> u64 {
    if depth == Depth::Quick { requests / 4 } else { requests }
}

/// Loads up to the highest that there is time for.
pub(super) fn loads(depth: Depth, loads: &[f64]) -> Vec<f64> {
    loads.iter().copied().filter(|load| depth == Depth::Whole || *load <= 0.8).collect()
}

pub(super) fn add(depth: Depth, items: &mut Vec<Item>) {
    for load in loads(depth, &[0.5, 0.7, 0.8, 0.9]) {
        let requests = if load > 0.8 { 16_000_000 } else { 4_000_000 };
        items.push(Item::new(1, "M/M/1", requests as f64 / 8e6, move || mm1(load, requests)));
    }
    items.push(Item::new(2, "Little's law", 2.0, move || little(scaled(depth, 8_000_000))));
    for load in loads(depth, &[0.5, 0.7, 0.8, 0.9, 0.95]) {
        let requests = match load {
            ..0.85 => scaled(depth, 12_000_000),
            ..0.92 => 24_000_000,
            _ => 48_000_000,
        };
        items.push(Item::new(3, "M/M/c", requests as f64 / 6e6, move || mmc(load, requests)));
    }
    items.push(Item::new(4, "Erlang B", 1.0, || erlang_b(4_000_000)));
    items.push(Item::new(5, "M/M/1/K", 2.3, || mm1k(6_000_000)));
    for load in [0.5, 0.7] {
        let requests = scaled(depth, if load > 0.6 { 32_000_000 } else { 16_000_000 });
        items.push(Item::new(6, "M/G/1", requests as f64 / 4.5e6, move || mg1(load, requests)));
    }
    items.push(Item::new(7, "processor sharing", 1.1, || sharing(2_000_000)));
}

fn mm1(load: f64, requests: u64) -> Vec<Row> {
    let batches = run(&Scenario::plain(ServerKind::plain(1, FCFS), EXPONENTIAL, load), TURNS, requests);
    // The spread grows with the fourth power of what is left free.
    let part = if load <= 0.5 { 0.01 } else { 0.02 };
    let expected = theory::mm1(load);
    let quantile = expected * 100.0_f64.ln();
    vec![
        row(1, format!("M/M/1 at {load}, mean"), Expected::Near(expected, part), mean(&batches), requests),
        row(
            1,
            format!("M/M/1 at {load}, p99"),
            Expected::Near(quantile, part),
            batches.quantile(0.99) / MEAN,
            requests,
        ),
    ]
}

/// Counts who is there, now and then, beside the latencies of those who came.
#[derive(Debug)]
struct Little {
    looks: u64,
    seen: u64,
    latencies: f64,
    last: u64,
}

impl Observer for Little {
    fn ended(&mut self, ended: &Ended) {
        self.latencies += (ended.ended - ended.came) as f64;
        self.last = ended.ended;
    }

    fn look_every(&self) -> Option<u64> {
        // No multiple of anything that happens.
        Some(317_000_003)
    }

    fn look(&mut self, _: u64, view: View<'_>) {
        self.looks += 1;
        self.seen += u64::from(view.in_flight[0]);
    }
}

fn little(requests: u64) -> Vec<Row> {
    let scenario = Scenario::plain(ServerKind::plain(1, FCFS), EXPONENTIAL, 0.7);
    let nothing = Little { looks: 0, seen: 0, latencies: 0.0, last: 0 };
    let seen = Simulator::new(&scenario, TURNS, SEED, nothing).at_most(requests).run();
    let rate_times_latency = seen.latencies / seen.last as f64;
    let there = seen.seen as f64 / seen.looks as f64;
    vec![row(
        2,
        "M/M/1 at 0.7: requests there, against rate times latency".to_owned(),
        Expected::Near(rate_times_latency, 0.001),
        there,
        requests,
    )]
}

fn mmc(load: f64, requests: u64) -> Vec<Row> {
    let ten = Discipline::Fcfs { slots: 10, queue: u32::MAX };
    let batches = run(&Scenario::plain(ServerKind::plain(1, ten), EXPONENTIAL, load), TURNS, requests);
    let waits = theory::erlang_c(10, load);
    vec![
        row(
            3,
            format!("M/M/10 at {load}, mean"),
            Expected::Near(theory::mmc(10, load), 0.01),
            mean(&batches),
            requests,
        ),
        row(
            3,
            format!("M/M/10 at {load}, part that waits"),
            Expected::Near(waits, 0.01),
            batches.waited_part(),
            requests,
        ),
    ]
}

fn erlang_b(requests: u64) -> Vec<Row> {
    // Ten targets that take one request at a time, and nobody waits: weir's own limit refuses.
    let mut scenario = Scenario::plain(ServerKind::plain(10, FCFS), EXPONENTIAL, 0.8);
    scenario.group.concurrency = ConcurrencyLimits { per_target: 1, ..ConcurrencyLimits::default() };
    let batches = run(&scenario, Policy::Weir(Algorithm::LeastOutstandingRequests), requests);
    let expected = Expected::Near(theory::erlang_b(10, 0.8), 0.01);
    vec![row(
        4,
        "10 targets of one at a time at 0.8: refused".to_owned(),
        expected,
        batches.failed_part(),
        requests,
    )]
}

fn mm1k(requests: u64) -> Vec<Row> {
    let refused = |(load, room): (f64, u32)| {
        let server = Discipline::Fcfs { slots: 1, queue: room - 1 };
        let batches = run(&Scenario::plain(ServerKind::plain(1, server), EXPONENTIAL, load), TURNS, requests);
        let expected = Expected::Near(theory::mm1k(load, room.cast_signed()), 0.02);
        row(5, format!("M/M/1/{room} at {load}: refused"), expected, batches.failed_part(), requests)
    };
    [(0.8, 5), (0.9, 10), (1.2, 5)].map(refused).into()
}

fn mg1(load: f64, requests: u64) -> Vec<Row> {
    let work = Work::BoundedPareto(BoundedPareto::new(MEAN, 1.5, 1e3));
    let scenario = Scenario::plain(ServerKind::plain(10, FCFS), work, load);
    let batches = run(&scenario, Policy::Weir(Algorithm::WeightedRandom), requests);
    let expected = theory::mg1(load, theory::bounded_pareto_variation(1.5, 1e3));
    vec![row(
        6,
        format!("M/G/1, bounded Pareto, random over 10, at {load}"),
        Expected::Near(expected, 0.05),
        mean(&batches),
        requests,
    )]
}

fn sharing(requests: u64) -> Vec<Row> {
    let works = [
        ("exponential", EXPONENTIAL),
        ("constant", Work::Constant(MEAN)),
        ("bounded Pareto", Work::BoundedPareto(BoundedPareto::new(MEAN, 1.5, 1e3))),
    ];
    let shared = |(name, work): (&str, Work)| {
        let server = ServerKind::plain(1, Discipline::ProcessorSharing { cores: 1 });
        let batches = run(&Scenario::plain(server, work, 0.5), TURNS, requests);
        row(
            7,
            format!("processor sharing at 0.5, {name}"),
            Expected::Near(theory::mm1(0.5), 0.03),
            mean(&batches),
            requests,
        )
    };
    works.map(shared).into()
}
