//! Items 28 to 30: what others have measured.

use weir_core::balance::Draws;
use weir_core::definition::Algorithm;
use weir_core::load_report::LoadProbe;

use super::queues::SEED;
use super::{Depth, Expected, Got, Item, Row, Source};
use crate::arrivals::{Process, Rate};
use crate::load::stall::{Scale, stall_test};
use crate::measure::histogram;
use crate::scenario::{
    Client, Demand, Discipline, Event, LaboratoryPolicy, Policy, Scenario, ServerKind, Swings,
};
use crate::simulator::{Ended, Observer, Outcome, simulate};
use crate::work::Work;

const SECOND: u64 = 1_000_000_000;

const LEAST: Policy = Policy::Weir(Algorithm::LeastOutstandingRequests);
const PREQUAL: Policy = Policy::Weir(Algorithm::Prequal);
const C3: Policy = Policy::Laboratory(LaboratoryPolicy::C3);
const WEIGHTED: Policy = Policy::Laboratory(LaboratoryPolicy::WeightedRoundRobin);
const YARP: Policy = Policy::Laboratory(LaboratoryPolicy::Yarp);

pub(super) fn add(depth: Depth, items: &mut Vec<Item>) {
    items.push(Item::new(28, "Linkerd 2016", 0.3, linkerd));
    items.push(Item::new(30, "Prequal, figure 7", 6.0, prequal));
    items.push(Item::new(30, "Prequal, figure 6", 4.5, ramp));
    if depth == Depth::Whole {
        items.push(Item::new(30, "Prequal, figure 8", 3.5, probe_rates));
        items.push(Item::new(29, "wrk2's stall", 20.0, stall));
    }
}

/// How many were answered in time, and how long all took; whoever was not answered took until the end.
#[derive(Debug)]
struct Watch {
    from: u64,
    objective: u64,
    all: u64,
    in_time: u64,
    failed: u64,
    latencies: hdrhistogram::Histogram<u64>,
}

impl Watch {
    fn new(from: u64, objective: u64) -> Self {
        Self { from, objective, all: 0, in_time: 0, failed: 0, latencies: histogram() }
    }

    fn millis(&self, part: f64) -> f64 {
        self.latencies.value_at_quantile(part) as f64 / 1e6
    }
}

impl Observer for Watch {
    fn ended(&mut self, ended: &Ended) {
        if ended.came < self.from {
            return;
        }
        let latency = ended.ended - ended.came;
        let is_answered = ended.outcome == Outcome::Answered;
        self.all += 1;
        self.in_time += u64::from(is_answered && latency <= self.objective);
        self.failed += u64::from(!is_answered);
        // It grows as it has to.
        let _ = self.latencies.record(latency);
    }
}

/// Eleven servers of 167 ms; one takes 2 s for half of the time.
///
/// Source: "Beyond Round Robin: Load Balancing for Latency", Linkerd's blog, 2016.
fn linkerd() -> Vec<Row> {
    const SEEDS: u64 = 5;
    let work = Work::Uniform { least: 162e6, most: 172e6 };
    let mut scenario = Scenario::plain(ServerKind::plain(11, Discipline::Infinite), work, 1.0);
    scenario.demand = Demand::Open { process: Process::Poisson, rate: Rate::constant(1_000.0) };
    scenario.duration = 60 * SECOND;
    let slow = |factor| Event::Speed { servers: vec![0], factor };
    scenario.events = vec![(15 * SECOND, slow(0.167 / 2.0)), (45 * SECOND, slow(1.0))];
    let row = |(name, policy, expected): (&str, Policy, f64)| {
        let (mut in_time, mut all) = (0, 0);
        for seed in SEED..SEED + SEEDS {
            let watch = simulate(&scenario, policy, seed, Watch::new(0, SECOND));
            in_time += watch.in_time;
            all += watch.all;
        }
        Row {
            item: 28,
            what: format!("one of 11 servers slow, {name}: % within 1 s"),
            expected: Expected::Within(expected, 0.1),
            got: Got::Value(in_time as f64 * 100.0 / all as f64),
            count: all,
            source: Source::Simulated,
        }
    };
    vec![
        row(("round robin (Linkerd about 95)", Policy::Weir(Algorithm::RoundRobin), 95.455)),
        row(("least outstanding (Linkerd about 99)", LEAST, 99.56)),
        row(("two choices", Policy::Weir(Algorithm::PowerOfTwoChoices(Draws::Distinct)), 99.50)),
        row(("peak EWMA (Linkerd about 99.9)", Policy::Weir(Algorithm::PeakEwma), 99.93)),
    ]
}

/// A server that stands still once, loaded in real time.
fn stall() -> Vec<Row> {
    let scale = Scale::WRK2;
    let row = |what: &str, expected, got| Row {
        item: 29,
        what: format!("a freeze of 1.413 s in 39,500 requests: {what}"),
        expected,
        got,
        count: scale.requests as u64,
        source: Source::Published("wrk2's README, example 2"),
    };
    match stall_test(scale) {
        Ok(outcome) => {
            let seconds =
                |histogram: &hdrhistogram::Histogram<u64>| histogram.value_at_quantile(0.99) as f64 / 1e9;
            let (due, sent) = (seconds(&outcome.latency), seconds(&outcome.service));
            vec![
                row("p99 from due, s", Expected::Between(1.20, 1.32), Got::Value(due)),
                row("p99 from sent, s", Expected::Between(0.0, 0.2), Got::Value(sent)),
            ]
        }
        Err(error) => {
            let expected = Expected::That("1.20 to 1.32 s".to_owned());
            vec![row("p99 from due", expected, Got::Words(error.to_string(), false))]
        }
    }
}

/// The testbed of the paper, as far as it tells: 100 clients, 100 servers, work that is normal with a deviation as large as its mean,
/// cut off at zero, and neighbours. What is ours: 80 ms; 32 cores of which a server has 8 for sure; neighbours at 35 % of the servers
/// who mostly take all the others, and one of the eight.
fn testbed(load: f64) -> Scenario {
    const ALLOCATED: f64 = 8.0;
    let work = Work::Normal { mean: 80e6, deviation: 80e6 };
    let quiet = ServerKind::plain(65, Discipline::ProcessorSharing { cores: 32 });
    let noisy = Swings { factor: 7.0 / 32.0, every: 5 * SECOND, lasts: 20 * SECOND, varies: true };
    let noisy = ServerKind { count: 35, swings: Some(noisy), ..quiet.clone() };
    let rate = load * 100.0 * ALLOCATED * 1e9 / work.mean();
    let mut scenario = Scenario::plain(quiet.clone(), work, 1.0);
    scenario.servers = vec![quiet, noisy];
    scenario.demand = Demand::Open { process: Process::Poisson, rate: Rate::constant(rate) };
    scenario.duration = 60 * SECOND;
    scenario.client = Client { timeout: Some(5 * SECOND), ..Client::default() };
    scenario.dispatchers.count = 100;
    scenario
}

fn watch(load: f64, policy: Policy) -> Watch {
    watch_asking(load, policy, 300)
}

/// With so many probes to a hundred requests, where servers are asked.
fn watch_asking(load: f64, policy: Policy, per_hundred: u16) -> Watch {
    let mut scenario = testbed(load);
    // Of the servers' answers alone dispatchers know what others have under way.
    scenario.dispatchers.count_apart = matches!(policy, LEAST | PREQUAL);
    scenario.group.load_probe = Some(LoadProbe { path: "/load".into(), per_hundred });
    simulate(&scenario, policy, SEED, Watch::new(20 * SECOND, 5 * SECOND))
}

fn prequal() -> Vec<Row> {
    let policies = [
        ("Prequal", PREQUAL),
        ("C3", C3),
        ("weighted round robin", WEIGHTED),
        ("YARP's two choices", YARP),
        ("least loaded", LEAST),
    ];
    let p99 = |load| policies.map(|(_, policy)| watch(load, policy).millis(0.99));
    let (at_70, at_90) = (p99(0.7), p99(0.9));
    let order = |load: f64, values: [f64; 5]| {
        let got = policies.iter().zip(values).map(|((name, _), value)| format!("{name} {value:.0}"));
        let got = got.collect::<Vec<_>>().join(", ");
        let [prequal, c3, others @ ..] = values;
        let is_so = (prequal / c3 - 1.0).abs() < 0.1 && others.iter().all(|other| *other > prequal.max(c3));
        shape(&format!("p99 in ms at {load}"), "Prequal and C3 alike, then the others", &got, is_so)
    };
    let (change, published) = (at_90[0] / at_70[0] - 1.0, 286.0 / 281.0 - 1.0);
    let collapses = at_90[2] > 5.0 * at_70[2] && at_90[3..].iter().all(|other| *other < at_90[2]);
    vec![
        order(0.7, at_70),
        order(0.9, at_90),
        shape(
            "Prequal from 0.7 to 0.9",
            "changes by less than 5 %",
            &format!("{:.1} % (published {:.1} %)", change * 100.0, published * 100.0),
            change.abs() < 0.05,
        ),
        shape(
            "weighted round robin from 0.7 to 0.9",
            "collapses to the timeout, behind all",
            &format!("{:.0} to {:.0} ms (published 314 to 5000)", at_70[2], at_90[2]),
            collapses,
        ),
    ]
}

fn ramp() -> Vec<Row> {
    let mut rows = Vec::new();
    let (beyond, far) = (watch(1.03, WEIGHTED), watch(1.74, WEIGHTED));
    let failed = |watch: &Watch| watch.failed as f64 * 100.0 / watch.all as f64;
    rows.push(shape(
        "weighted round robin at 1.03",
        "p99.9 is the timeout of 5 s",
        &format!("{:.0} ms", beyond.millis(0.999)),
        beyond.millis(0.999) >= 4_990.0,
    ));
    rows.push(shape(
        "weighted round robin at 1.74",
        "more than 25 % fail",
        &format!("{:.1} %", failed(&far)),
        failed(&far) > 25.0,
    ));
    let prequal = watch(1.74, PREQUAL);
    rows.push(shape(
        "Prequal at 1.74",
        "none fails",
        &format!("{} of {}", prequal.failed, prequal.all),
        prequal.failed == 0,
    ));
    rows
}

/// How often servers are asked: fewer probes than requests are worse, more are hardly better.
fn probe_rates() -> Vec<Row> {
    const RATES: [u16; 4] = [25, 50, 100, 300];
    let p99 = RATES.map(|rate| watch_asking(0.9, PREQUAL, rate).millis(0.99));
    let got = RATES.iter().zip(p99).map(|(rate, p99)| format!("{} {p99:.0}", f64::from(*rate) / 100.0));
    let [quarter, half, one, three] = p99;
    let has_knee = quarter > half && half > one && one > three && quarter - one > 3.0 * (one - three);
    vec![shape(
        "p99 in ms at 0.9, by probes with each request",
        "falls until 1, and hardly beyond",
        &got.collect::<Vec<_>>().join(", "),
        has_knee,
    )]
}

fn shape(what: &str, expected: &str, got: &str, is_so: bool) -> Row {
    Row {
        item: 30,
        what: what.to_owned(),
        expected: Expected::That(expected.to_owned()),
        got: Got::Words(got.to_owned(), is_so),
        count: 0,
        source: Source::Published("Prequal, figures 6 to 8"),
    }
}
