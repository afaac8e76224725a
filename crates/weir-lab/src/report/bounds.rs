//! What theory says of a scenario, where it says anything.

use weir_core::definition::Algorithm;

use crate::arrivals::Process;
use crate::scenario::{Demand, Discipline, Policy, Scenario};
use crate::theory;
use crate::work::Work;

/// Servers that theory knows: equal ones, first come first served, with exponential work that comes at random.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Known {
    servers: u32,
    slots: u32,
    /// Nanoseconds that a request takes without waiting, and on its way.
    mean: f64,
    way: f64,
    /// Whether somebody picks at random, or in turn, as theory knows it.
    at_random: bool,
    in_turn: bool,
}

/// A law of how long answers take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Law {
    /// One queue before all servers: nobody beats its mean.
    OneQueue,
    /// Anywhere at random: M/M/1 at each.
    AtRandom,
    /// In turn: `E_n/M/1` at each.
    InTurn,
}

impl Law {
    /// What the legend says.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::OneQueue => "M/M/c: one queue for all, the bound",
            Self::AtRandom => "M/M/1: at random",
            Self::InTurn => "E_n/M/1: in turn",
        }
    }
}

impl Known {
    /// Of a scenario; `None` where theory is silent.
    pub(super) fn of(scenario: &Scenario) -> Option<Self> {
        let [kind] = &scenario.servers[..] else { return None };
        let (Discipline::Fcfs { slots, queue }, Work::Exponential(mean)) = (kind.discipline, &scenario.work)
        else {
            return None;
        };
        let is_poisson = matches!(&scenario.demand, Demand::Open { process: Process::Poisson, rate } if rate.steps.len() == 1);
        let is_plain = kind.cache.is_none() && kind.swings.is_none() && scenario.events.is_empty();
        let nobody_gives_up = scenario.client.timeout.is_none() && scenario.client.hedge.is_none();
        let picks = |algorithm| scenario.policies.contains(&Policy::Weir(algorithm));
        let has_room = queue >= 10_000;
        (is_poisson && is_plain && nobody_gives_up && has_room).then_some(Self {
            servers: kind.count,
            slots,
            mean: mean / kind.speed,
            way: 2.0 * scenario.network as f64,
            at_random: slots == 1 && picks(Algorithm::WeightedRandom),
            // Several that take turns do not take turns together.
            in_turn: slots == 1 && scenario.dispatchers.count == 1 && picks(Algorithm::RoundRobin),
        })
    }

    /// The laws that hold for somebody who takes part, and the bound for all.
    pub(super) fn laws(self) -> impl Iterator<Item = Law> {
        let laws = [(Law::OneQueue, true), (Law::AtRandom, self.at_random), (Law::InTurn, self.in_turn)];
        laws.into_iter().filter(|(_, holds)| *holds).map(|(law, _)| law)
    }

    /// The mean at a load below 1, in nanoseconds.
    pub(super) fn mean(self, law: Law, load: f64) -> f64 {
        self.way + self.mean * self.times(law, load)
    }

    fn times(self, law: Law, load: f64) -> f64 {
        match law {
            Law::OneQueue => theory::mmc(self.servers * self.slots, load),
            Law::AtRandom => theory::mm1(load),
            Law::InTurn => theory::round_robin(i32::try_from(self.servers).unwrap_or(i32::MAX), load),
        }
    }

    /// What a part of requests stays below at a load below 1, in nanoseconds.
    pub(super) fn quantile(self, law: Law, load: f64, part: f64) -> f64 {
        let times = match law {
            // Response times of these are exponential.
            Law::AtRandom | Law::InTurn => -(1.0 - part).ln() * self.times(law, load),
            Law::OneQueue => self.one_queue(load, part),
        };
        self.way + self.mean * times
    }

    /// Whoever waits does so for an exponential time, and is then served: halved until it is found.
    fn one_queue(self, load: f64, part: f64) -> f64 {
        let servers = self.servers * self.slots;
        let waits = theory::erlang_c(servers, load);
        let rate = f64::from(servers) * (1.0 - load);
        let above = |time: f64| {
            let served = (-time).exp();
            // Both at the same rate are a limit of the formula.
            let rate = if (rate - 1.0).abs() < 1e-6 { rate + 1e-5 } else { rate };
            (1.0 - waits) * served + waits * (rate * served - (-rate * time).exp()) / (rate - 1.0)
        };
        let (mut low, mut high) = (0.0, 1.0);
        while above(high) > 1.0 - part && high < 1e9 {
            high *= 2.0;
        }
        for _ in 0..60 {
            let middle = f64::midpoint(low, high);
            if above(middle) > 1.0 - part { low = middle } else { high = middle }
        }
        high
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_queue_before_one_server_is_m_m_1() {
        let known = Known { servers: 1, slots: 1, mean: 1e7, way: 0.0, at_random: true, in_turn: true };
        for part in [0.5, 0.99, 0.999] {
            let (one, random) =
                (known.quantile(Law::OneQueue, 0.7, part), known.quantile(Law::AtRandom, 0.7, part));
            assert!((one / random - 1.0).abs() < 1e-6, "{one} {random}");
        }
        let many = Known { servers: 10, ..known };
        assert!(many.quantile(Law::OneQueue, 0.9, 0.99) < many.quantile(Law::InTurn, 0.9, 0.99));
    }
}
