//! Policies side by side: the same seeds, and so the same requests, for each.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::run::{Recorder, Run};
use crate::scenario::{Policy, Scenario};
use crate::simulator::simulate;
use crate::statistics::Estimate;

/// Everything that came of an experiment.
#[derive(Clone, Debug)]
pub struct Results {
    /// The experiment's name.
    pub name: String,
    /// What it shows.
    pub about: String,
    /// In the order of the file, each at each of its loads.
    pub cases: Vec<Case>,
}

/// A variant of a scenario at one load.
#[derive(Clone, Debug)]
pub struct Case {
    /// What was run.
    pub scenario: Scenario,
    /// The part of the capacity that was asked for at the start; `None` where that means nothing.
    pub load: Option<f64>,
    /// By policy, in the scenario's order.
    pub simulated: Vec<Series>,
    /// The same live, if it was run live; in the same order.
    pub live: Vec<Series>,
}

/// Runs of one policy, one for each seed.
#[derive(Clone, Debug)]
pub struct Series {
    /// Who picked.
    pub policy: Policy,
    /// By seed: those of all series of a case are the same.
    pub runs: Vec<Run>,
}

impl Series {
    /// What a figure of every run comes to.
    pub fn estimate(&self, figure: impl Fn(&Run) -> f64) -> Estimate {
        let figures: Vec<f64> = self.runs.iter().map(figure).collect();
        Estimate::of(&figures)
    }

    /// By how much a figure differs from that of `other`, seed by seed.
    pub fn difference(&self, other: &Self, figure: impl Fn(&Run) -> f64) -> Estimate {
        let pairs = self.runs.iter().zip(&other.runs);
        let differences: Vec<f64> = pairs.map(|(own, other)| figure(own) - figure(other)).collect();
        Estimate::of(&differences)
    }

    /// All latencies, of every seed.
    pub fn latencies(&self) -> hdrhistogram::Histogram<u64> {
        let mut all = crate::measure::histogram();
        for run in &self.runs {
            // It grows as it has to.
            let _ = all.add(&run.latencies);
        }
        all
    }
}

impl Case {
    /// The variants of an experiment, each at each of its loads, with nothing run.
    pub fn all(scenarios: &[Scenario]) -> Vec<Self> {
        let at_loads = |scenario: &Scenario| -> Vec<Scenario> {
            match scenario.loads[..] {
                [] => vec![scenario.clone()],
                _ => scenario.loads.iter().map(|load| scenario.at_load(*load)).collect(),
            }
        };
        let case = |scenario: Scenario| {
            let load = scenario.load(0).filter(|load| *load > 0.0);
            let series = |policy: &Policy| Series { policy: *policy, runs: Vec::new() };
            let simulated = scenario.policies.iter().map(series).collect();
            Self { load, simulated, live: Vec::new(), scenario }
        };
        scenarios.iter().flat_map(at_loads).map(case).collect()
    }

    /// Its seeds.
    pub fn seeds(&self) -> impl Iterator<Item = u64> + use<> {
        (0..u64::from(self.scenario.seeds)).map({
            let first = self.scenario.seed;
            move |number| first.wrapping_add(number)
        })
    }
}

/// Simulates every policy of every case with every seed, on so many threads; `done` hears of each run that has ended, with how many
/// there are.
pub fn simulate_all(cases: &mut [Case], threads: usize, done: &(dyn Fn(usize) + Sync)) {
    let mut jobs = Vec::new();
    for (at, case) in cases.iter().enumerate() {
        for (number, series) in case.simulated.iter().enumerate() {
            jobs.extend(case.seeds().map(|seed| (at, number, series.policy, seed)));
        }
    }
    let (next, runs) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                while let Some((case, series, policy, seed)) = jobs.get(next.fetch_add(1, Relaxed)).copied() {
                    let scenario = &cases[case].scenario;
                    let run = simulate(scenario, policy, seed, Recorder::new(scenario, seed)).finish();
                    runs.lock().expect("no run panics while it holds them").push((case, series, run));
                    done(jobs.len());
                }
            });
        }
    });
    let mut runs = runs.into_inner().expect("all threads have ended well");
    // Whoever was faster: a case's runs are in the order of their seeds.
    let first = |case: usize| cases[case].scenario.seed;
    runs.sort_by_key(|(case, series, run)| (*case, *series, run.seed.wrapping_sub(first(*case))));
    for (case, series, run) in runs {
        cases[case].simulated[series].runs.push(run);
    }
}

/// Pairs of policies that are surely apart in the simulation, by a figure of their runs, and whether they rank the same live.
pub fn rankings(case: &Case, figure: impl Fn(&Run) -> f64) -> Vec<(Policy, Policy, bool)> {
    let mut pairs = Vec::new();
    for (at, one) in case.simulated.iter().enumerate() {
        for (other_at, other) in case.simulated.iter().enumerate().skip(at + 1) {
            let (simulated, other_simulated) = (one.estimate(&figure), other.estimate(&figure));
            let (Some(live), Some(other_live)) = (case.live.get(at), case.live.get(other_at)) else {
                continue;
            };
            if simulated.is_apart_from(other_simulated) {
                let is_less = simulated.mean < other_simulated.mean;
                let is_less_live = live.estimate(&figure).mean < other_live.estimate(&figure).mean;
                pairs.push((one.policy, other.policy, is_less == is_less_live));
            }
        }
    }
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Discipline, ServerKind};
    use crate::work::Work;
    use weir_core::definition::Algorithm;

    fn scenario() -> Scenario {
        let server = ServerKind::plain(4, Discipline::Fcfs { slots: 1, queue: u32::MAX });
        let policies = [Algorithm::RoundRobin, Algorithm::LeastOutstandingRequests].map(Policy::Weir).into();
        let duration = 5_000_000_000;
        Scenario {
            duration,
            seeds: 3,
            loads: vec![0.5, 0.8],
            policies,
            ..Scenario::plain(server, Work::Exponential(1e7), 0.5)
        }
    }

    #[test]
    fn every_policy_meets_the_same_requests_however_many_threads_run() {
        let results = |threads| {
            let mut cases = Case::all(&[scenario()]);
            simulate_all(&mut cases, threads, &|_| {});
            cases
        };
        let (one, two) = (results(1), results(2));
        assert_eq!(one.len(), 2);
        for (one, two) in one.iter().zip(&two) {
            assert_eq!(one.simulated.len(), 2);
            for (one, two) in one.simulated.iter().zip(&two.simulated) {
                assert_eq!(one.runs.iter().map(|run| run.seed).collect::<Vec<_>>(), [1, 2, 3]);
                let means =
                    |series: &Series| series.runs.iter().map(|run| run.latencies.mean()).collect::<Vec<_>>();
                assert_eq!(means(one), means(two));
            }
            let [turns, least] = &one.simulated[..] else { panic!("two policies") };
            assert!(turns.runs.iter().zip(&least.runs).all(|(a, b)| a.counts.all == b.counts.all));
            let difference = least.difference(turns, Run::imbalance);
            assert!(difference.half_width.is_finite());
        }
    }

    #[test]
    fn seeds_go_on_from_zero_behind_the_last_one() {
        let mut cases = Case::all(&[Scenario { seed: u64::MAX, seeds: 2, loads: Vec::new(), ..scenario() }]);
        assert_eq!(cases[0].seeds().collect::<Vec<_>>(), [u64::MAX, 0]);
        simulate_all(&mut cases, 2, &|_| {});
        let seeds: Vec<u64> = cases[0].simulated[0].runs.iter().map(|run| run.seed).collect();
        assert_eq!(seeds, [u64::MAX, 0]);
    }
}
