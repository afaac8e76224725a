//! What moves when targets leave that are picked by a hash: computed here, with the tables that weir ships.

use weir_core::balance::{Maglev, Ring};
use weir_core::definition::{Algorithm, HashOn, Hashing};

use super::axis::Axis;
use super::figure::Figure;
use super::ink::Inks;
use super::plot::{Dash, Line, Plot};
use crate::compare::Case;
use crate::random::{Purpose, Stream};
use crate::scenario::{Policy, Scenario, ServerKind};
use crate::simulator::{Discipline, Picks};
use crate::work::Work;

/// Keys that are looked up.
const KEYS: usize = 20_000;

/// Targets that are tried: more take long to build tables of, fewer say little.
const TARGETS: (usize, usize) = (10, 100);

/// What moves when some targets leave.
#[derive(Debug)]
pub(super) struct Moves {
    pub(super) policy: Policy,
    pub(super) targets: usize,
    /// Targets that leave; parts of all keys that move, and that move though their target stays.
    pub(super) leaving: Vec<(usize, f64, f64)>,
}

/// Of every policy of these cases that hashes; none, if there is none.
pub(super) fn of(cases: &[Case]) -> Vec<Moves> {
    let mut policies: Vec<(Policy, usize)> = Vec::new();
    for case in cases {
        let targets = case.scenario.servers_at_start().count().clamp(TARGETS.0, TARGETS.1);
        for series in case.simulated.iter().chain(&case.live) {
            let is_known = policies.iter().any(|(known, _)| *known == series.policy);
            if hashes(series.policy) && !is_known {
                policies.push((series.policy, targets));
            }
        }
    }
    let moves =
        |(policy, targets): (Policy, usize)| Moves { policy, targets, leaving: leaving(policy, targets) };
    policies.into_iter().map(moves).collect()
}

fn hashes(policy: Policy) -> bool {
    let Policy::Weir(algorithm) = policy else { return false };
    matches!(algorithm, Algorithm::FlowHash | Algorithm::Maglev | Algorithm::Rendezvous | Algorithm::RingHash)
}

fn leaving(policy: Policy, targets: usize) -> Vec<(usize, f64, f64)> {
    let mut draws = Stream::new(1, Purpose::Keys, 0);
    let keys: Vec<u64> = (0..KEYS).map(|_| draws.bits()).collect();
    let mut counts: Vec<usize> =
        [0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5].map(|part| (part * targets as f64) as usize).into();
    counts.retain(|count| *count > 0);
    counts.dedup();
    let places = places(policy, targets, &keys, &counts);
    let Some((before, after)) = places.split_first() else { return Vec::new() };
    let part = |count: usize| count as f64 / KEYS as f64;
    let moved = |(left, after): (&usize, &Vec<usize>)| {
        let moved = before.iter().zip(after).filter(|(was, is)| was != is);
        let needless = moved.clone().filter(|(was, _)| **was >= *left).count();
        (*left, part(moved.count()), part(needless))
    };
    counts.iter().zip(after).map(moved).collect()
}

/// Where keys are: with all targets, and then without so many of the first.
fn places(policy: Policy, targets: usize, keys: &[u64], counts: &[usize]) -> Vec<Vec<usize>> {
    let names: Vec<String> = (0..targets).map(|number| format!("10.0.0.{number}:8080")).collect();
    let members = |left: usize| names[left..].iter().map(|name| (name.as_str(), 1));
    let lefts = std::iter::once(0).chain(counts.iter().copied());
    match policy {
        Policy::Weir(Algorithm::RingHash) => lefts
            .map(|left| {
                let ring = Ring::build(members(left));
                keys.iter().map(|key| ring.rank(*key) + left).collect()
            })
            .collect(),
        Policy::Weir(Algorithm::Rendezvous) => {
            let discipline = Discipline::Fcfs { slots: 1, queue: u32::MAX };
            let server = ServerKind::plain(targets as u32, discipline);
            let mut scenario = Scenario::plain(server, Work::Constant(1e6), 0.5);
            scenario.group.hashing = Some(Hashing { on: HashOn::Flow, balance_factor: None });
            let mut picks = Picks::new(&scenario, policy, 1);
            lefts
                .map(|left| {
                    picks.remove(&(0..left as u32).collect::<Vec<_>>());
                    let server =
                        |key: &u64| picks.pick(*key).map_or(usize::MAX, |(server, _)| server as usize);
                    keys.iter().map(server).collect()
                })
                .collect()
        }
        // The flow hash looks up a table of Maglev's, too.
        _ => lefts
            .map(|left| {
                let maglev = Maglev::build(members(left));
                keys.iter().map(|key| maglev.rank(*key) + left).collect()
            })
            .collect(),
    }
}

/// As a figure; `None` where nobody hashes.
pub(super) fn figure(moves: &[Moves], inks: &Inks) -> Option<Figure> {
    const TITLE: &str = "Keys that move without need when targets leave";
    let line = |moves: &Moves| Line {
        name: moves.policy.name().to_owned(),
        ink: inks.ink(moves.policy),
        dash: Dash::Solid,
        points: moves
            .leaving
            .iter()
            .map(|(left, _, needless)| (*left as f64 * 100.0 / moves.targets as f64, needless * 100.0))
            .collect(),
        marks: None,
        bars: Vec::new(),
    };
    let targets = moves.first()?.targets;
    let lines: Vec<Line> = moves.iter().map(line).collect();
    let most = lines.iter().flat_map(|line| &line.points).map(|(_, value)| *value).fold(0.0, f64::max);
    let plot = Plot {
        title: TITLE.to_owned(),
        x: Axis::linear("targets that leave (%)", 0.0, 51.0),
        y: Axis::linear("keys that move though their target stays (%)", 0.0, most.max(1.0) * 1.08),
        lines,
        moments: Vec::new(),
        notes: Vec::new(),
    };
    let caption = format!(
        "Of {KEYS} keys and {targets} targets, by the tables that weir ships. Keys of targets that leave must move."
    );
    Some(Figure::drawn(TITLE, plot.svg(), caption))
}
