//! Weighted round robin by what servers say of themselves: the rate of their answers over the part of their capacity that it took.
//!
//! Source: Wydrowski et al., "Load is not what you should balance: Introducing Prequal", NSDI 2024, section 2; gRPC's
//! `client_side_weighted_round_robin`, whose weights are `rate / utilisation` as well.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::super::dispatch::End;
use super::Laboratory;
use crate::random::{Purpose, Stream};
use crate::scenario::Scenario;

/// How often weights are taken anew, in nanoseconds. Source: gRPC's `weight_update_period`, 1 s.
const UPDATED_EVERY: u64 = 1_000_000_000;

/// What the last window counts, beside all before it.
const ALPHA: f64 = 0.3;

#[derive(Debug)]
pub(super) struct WeightedRoundRobin {
    /// By dispatcher: who is next.
    turns: Vec<BinaryHeap<Turn>>,
    reports: Vec<Report>,
    next_update: u64,
}

/// What a server says of itself.
#[derive(Clone, Copy, Debug, Default)]
struct Report {
    /// Answers, and nanoseconds that they took of it, since weights were taken.
    answers: f64,
    busy: f64,
    weight: f64,
}

/// Earliest deadline first.
#[derive(Clone, Copy, Debug)]
struct Turn {
    deadline: f64,
    server: u32,
}

impl WeightedRoundRobin {
    pub(super) fn new(dispatchers: usize, scenario: &Scenario, seed: u64) -> Self {
        let servers = scenario.servers_at_start().count() as u32;
        let mut random = Stream::new(seed, Purpose::Policy, 0);
        let mut turns = || (0..servers).map(|server| Turn { deadline: random.unit(), server }).collect();
        let turns = (0..dispatchers).map(|_| turns()).collect();
        let reports = vec![Report { weight: 1.0, ..Report::default() }; servers as usize];
        Self { turns, reports, next_update: UPDATED_EVERY }
    }

    /// A server for which the same answers are more work weighs less. That it has to wait for a processor is no work.
    fn update(&mut self) {
        for report in &mut self.reports {
            if report.busy > 0.0 {
                let weight = report.answers / report.busy * 1e9;
                let is_first = report.weight.total_cmp(&1.0).is_eq();
                report.weight =
                    if is_first { weight } else { (1.0 - ALPHA) * report.weight + ALPHA * weight };
            }
            (report.answers, report.busy) = (0.0, 0.0);
        }
    }
}

impl Laboratory for WeightedRoundRobin {
    fn pick(&mut self, dispatcher: u32, now: u64, _: &[u32]) -> u32 {
        if now >= self.next_update {
            self.update();
            self.next_update = now + UPDATED_EVERY;
        }
        let turns = &mut self.turns[dispatcher as usize];
        let Turn { deadline, server } = turns.pop().expect("there are servers");
        let weight = self.reports[server as usize].weight;
        turns.push(Turn { deadline: deadline + 1.0 / weight, server });
        server
    }

    fn ended(&mut self, end: &End) {
        let report = &mut self.reports[end.server as usize];
        report.answers += 1.0;
        report.busy += end.work as f64;
    }
}

impl Ord for Turn {
    /// The heap gives the largest first, which is the earliest here.
    fn cmp(&self, other: &Self) -> Ordering {
        other.deadline.total_cmp(&self.deadline).then(other.server.cmp(&self.server))
    }
}

impl PartialOrd for Turn {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Turn {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Turn {}
