//! A server with what happens to it: swings, faults, a cold start, a cache.

use std::time::Duration;

use weir_core::latency::Latency;
use weir_core::load_report::LoadReport;
use weir_core::time::Timestamp;

use super::cache::Cache;
use super::server::{Discipline, Pace, Server};
use crate::random::{Purpose, Stream};
use crate::scenario::ServerKind;

/// Steps in which a cold start fades.
const COLD_STEPS: u32 = 30;

#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) kind: ServerKind,
    pub(crate) server: Server,
    /// What an event made of its speed.
    pub(crate) factor: f64,
    is_up: bool,
    /// The part of what comes that fails, and how long that takes.
    pub(crate) errors: (f64, u64),
    cache: Option<Cache>,
    swinging: Stream,
    is_swung: bool,
    /// Steps of the cold start that are left.
    cold_steps: u32,
    /// What it says that requests take, where it is asked: by weir's own estimate.
    latency: Latency,
}

impl Site {
    pub(crate) fn new(kind: &ServerKind, seed: u64, number: u32) -> Self {
        Self {
            kind: kind.clone(),
            server: Server::new(kind.discipline, kind.speed),
            factor: 1.0,
            is_up: true,
            errors: (0.0, 0),
            cache: kind.cache.map(|cache| Cache::new(cache.keys)),
            swinging: Stream::new(seed, Purpose::Faults, u64::from(number) + 1),
            is_swung: false,
            cold_steps: 0,
            latency: Latency::default(),
        }
    }

    /// Notes what a request took here that met so many, itself counted.
    pub(crate) fn note(&mut self, took: u64, met: u32, now: u64) {
        self.latency.note(Duration::from_nanos(took), met, false, Timestamp::from_nanos(now));
    }

    /// What it says of its load.
    pub(crate) fn report(&self, now: u64) -> LoadReport {
        let in_flight = self.server.jobs() as u32;
        let latency = self.latency.estimate(in_flight + 1, Timestamp::from_nanos(now));
        LoadReport { in_flight, latency: Some(latency) }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.is_up
    }

    pub(crate) fn set_up(&mut self, is_up: bool) {
        self.is_up = is_up;
    }

    /// The work that a request of that key is here.
    pub(crate) fn cost(&mut self, work: u64, key: u64) -> u64 {
        let (Some(cache), Some(settings)) = (&mut self.cache, self.kind.cache) else { return work };
        if cache.has(key) { work } else { (work as f64 * settings.miss) as u64 }
    }

    /// How long it takes to fail what has just come, if it does.
    pub(crate) fn fails(&self, faults: &mut Stream) -> Option<u64> {
        let (share, takes) = self.errors;
        (share > 0.0 && faults.unit() <= share).then_some(takes)
    }

    /// How fast it is now. Where cores are shared neighbours take some of them, and those that are left are as fast as before.
    pub(crate) fn pace(&self) -> Pace {
        let swung = self.kind.swings.filter(|_| self.is_swung).map_or(1.0, |swings| swings.factor);
        let cold = self.kind.cold_start.map_or(1.0, |cold| {
            let left = f64::from(self.cold_steps) / f64::from(COLD_STEPS);
            1.0 + (cold.cost - 1.0) * left
        });
        let (speed, factor) = (self.kind.speed / cold, self.factor * swung);
        match self.kind.discipline {
            Discipline::ProcessorSharing { .. } => Pace { speed, capacity: factor },
            Discipline::Fcfs { .. } | Discipline::Infinite => Pace { speed: speed * factor, capacity: 1.0 },
        }
    }

    /// How long until its speed swings next; `None` where it never does.
    pub(crate) fn until_swing(&mut self) -> Option<u64> {
        let swings = self.kind.swings?;
        let draw = |mean: u64, stream: &mut Stream| (stream.exponential() * mean as f64) as u64;
        Some(match self.is_swung {
            true if !swings.varies => swings.lasts,
            true => draw(swings.lasts, &mut self.swinging),
            false => draw(swings.every, &mut self.swinging),
        })
    }

    pub(crate) fn swing(&mut self) {
        self.is_swung = !self.is_swung;
    }

    /// Begins a cold start: how long until it fades by a step.
    pub(crate) fn start_cold(&mut self) -> Option<u64> {
        let cold = self.kind.cold_start?;
        self.cold_steps = COLD_STEPS;
        Some(cold.lasts)
    }

    /// The cold start fades by a step: how long until the next.
    pub(crate) fn warm(&mut self) -> Option<u64> {
        let cold = self.kind.cold_start?;
        self.cold_steps = self.cold_steps.saturating_sub(1);
        (self.cold_steps > 0).then_some(cold.fades / u64::from(COLD_STEPS))
    }
}
