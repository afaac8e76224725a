//! Items 12, 20 and 23: what has to come out to the digit.

use weir_core::balance::{Draws, Maglev, probe_uses, shares};
use weir_core::definition::Algorithm;
use weir_core::target::Weight;

use super::queues::{FCFS, MEAN, SEED};
use super::{Expected, Got, Item, Row, Source};
use crate::scenario::{Policy, Scenario, ServerKind};
use crate::simulator::{Ended, Observer, Picks, Simulator};
use crate::work::{BoundedPareto, Work};

/// Balls and bins: as many as a target group may have.
const BINS: u32 = 1_000;

pub(super) fn add(items: &mut Vec<Item>) {
    items.push(Item::new(12, "balls and bins", 0.1, balls));
    items.push(Item::new(20, "the same on every machine", 0.2, determinism));
    items.push(Item::new(23, "exact vectors", 0.1, vectors));
}

fn fleet(weights: impl Iterator<Item = u16>) -> Scenario {
    let mut scenario = Scenario::plain(ServerKind::plain(1, FCFS), Work::Exponential(MEAN), 0.5);
    let kind = |weight| ServerKind {
        weight: Weight::new(weight).expect("weights of the check are weights"),
        ..ServerKind::plain(1, FCFS)
    };
    scenario.servers = weights.map(kind).collect();
    scenario
}

/// As many balls as bins, five times: how many the fullest bin has.
fn balls() -> Vec<Row> {
    let mut scenario = fleet([1].into_iter());
    scenario.servers = vec![ServerKind::plain(BINS, FCFS)];
    let fullest = |algorithm, seed| {
        let mut picks = Picks::new(&scenario, Policy::Weir(algorithm), seed);
        let mut bins = vec![0_u32; BINS as usize];
        let mut held = Vec::with_capacity(BINS as usize);
        for (bin, lease) in (0..BINS).filter_map(|ball| picks.pick(ball.into())) {
            bins[bin as usize] += 1;
            held.push(lease);
        }
        bins.into_iter().max().unwrap_or(0)
    };
    let row = |what: &str, algorithm, low: u32, high: u32| {
        let got: Vec<u32> = (SEED..SEED + 5).map(|seed| fullest(algorithm, seed)).collect();
        let is_so = got.iter().all(|fullest| (low..=high).contains(fullest));
        Row {
            item: 12,
            what: format!("{BINS} balls in as many bins, {what}: the fullest"),
            expected: Expected::That(format!("{low} to {high}")),
            got: Got::Words(format!("{got:?}"), is_so),
            count: u64::from(BINS) * 5,
            source: Source::Simulated,
        }
    };
    let two = Algorithm::PowerOfTwoChoices(Draws::Distinct);
    vec![row("random", Algorithm::WeightedRandom, 4, 8), row("two choices", two, 3, 3)]
}

/// A number that depends on everything that happened, and on its order.
#[derive(Debug, Default)]
struct Digest(u64);

impl Observer for Digest {
    fn ended(&mut self, ended: &Ended) {
        for part in
            [ended.number, ended.came, ended.ended, ended.server.map_or(u64::MAX, u64::from), ended.waited]
        {
            self.0 = (self.0.rotate_left(5) ^ part).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }
}

/// What came of it on the machine where it was written, x86-64 with Linux.
const DIGESTS: [(Algorithm, u64); 6] = [
    (Algorithm::RoundRobin, 0x5c7e_d864_ee86_7fa3),
    (Algorithm::LeastOutstandingRequests, 0x8568_45a4_1c31_311f),
    (Algorithm::WeightedRandom, 0xf4c7_ea9d_2188_8cc0),
    (Algorithm::PowerOfTwoChoices(Draws::Distinct), 0x68fa_e14d_341c_4650),
    (Algorithm::PeakEwma, 0x82e0_ce8d_30b7_326a),
    (Algorithm::Prequal, 0x280c_7bc0_1600_218b),
];

fn determinism() -> Vec<Row> {
    const REQUESTS: u64 = 100_000;
    let scenario = Scenario::plain(
        ServerKind::plain(10, FCFS),
        Work::BoundedPareto(BoundedPareto::new(1e7, 1.5, 1e3)),
        0.8,
    );
    let row = |(algorithm, expected): (Algorithm, u64)| {
        let Digest(digest) = Simulator::new(&scenario, Policy::Weir(algorithm), SEED, Digest::default())
            .at_most(REQUESTS)
            .run();
        Row {
            item: 20,
            what: format!("digest of a run, {}", algorithm.as_str()),
            expected: Expected::That(format!("{expected:016x}")),
            got: Got::Words(format!("{digest:016x}"), digest == expected),
            count: REQUESTS,
            source: Source::Definition,
        }
    };
    DIGESTS.map(row).into()
}

fn vectors() -> Vec<Row> {
    let exact = |what: &str, expected: String, got: String, source| {
        let is_so = expected == got;
        Row {
            item: 23,
            what: what.to_owned(),
            expected: Expected::That(expected),
            got: Got::Words(got, is_so),
            count: 1,
            source,
        }
    };
    let mut picks = Picks::new(&fleet([5, 1, 1].into_iter()), Policy::Weir(Algorithm::RoundRobin), SEED);
    let turns: String =
        (0..7).filter_map(|_| picks.pick(0)).map(|(server, _)| char::from(b'a' + server as u8)).collect();
    // A worker begins its round anywhere.
    let round = "aabacaa";
    let is_round = format!("{round}{round}").contains(&turns);
    let maglev = |steps: &[(usize, usize, u16)]| format!("{:?}", Maglev::of_steps(7, steps).slots());
    let nsdi = Source::Published("Maglev, table 1");
    let uses: Vec<String> = [(3.0, 1.0), (1.0, 0.25), (0.5, 0.25)]
        .map(|(probes, removed)| format!("{:.3}", probe_uses(0.16, probes, removed)))
        .into();
    vec![
        Row {
            item: 23,
            what: "smooth weighted round robin, weights 5, 1, 1".to_owned(),
            expected: Expected::That(format!("a turn of {round}")),
            got: Got::Words(turns, is_round),
            count: 7,
            source: Source::Published("nginx"),
        },
        exact(
            "Maglev of 3 members in 7 slots",
            "[1, 0, 1, 0, 2, 2, 0]".to_owned(),
            maglev(&[(3, 4, 1), (0, 2, 1), (3, 1, 1)]),
            nsdi,
        ),
        exact(
            "the same without the second",
            "[0, 0, 0, 0, 1, 1, 1]".to_owned(),
            maglev(&[(3, 4, 1), (3, 1, 1)]),
            nsdi,
        ),
        exact(
            "uses of a Prequal probe, pool 16 of 100",
            "1.316 3.390 11.765".to_owned(),
            uses.join(" "),
            Source::Published("Prequal"),
        ),
        exact(
            "bounded load: 10 requests, f = 150, 4 hosts",
            "[3, 4, 4, 4]".to_owned(),
            format!("{:?}", shares(150, &[1; 4], 10)),
            Source::Published("HAProxy"),
        ),
    ]
}
