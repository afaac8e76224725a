//! What came of a run, simulated or live, in all that a report shows.

use hdrhistogram::Histogram;

use crate::load::is_late;
use crate::measure::histogram;
use crate::scenario::Scenario;
use crate::simulator::{Ended, Observer, Outcome, View};

/// Slices of time in which a run is shown.
pub const SLICES: usize = 60;

/// What came of one run.
#[derive(Clone, Debug)]
pub struct Run {
    /// Its seed.
    pub seed: u64,
    /// Requests that came after the warm-up, and how they ended.
    pub counts: Counts,
    /// Nanoseconds from coming to the end of those that were answered well, and of those who gave up: leaving out how long they had
    /// waited would flatter whoever let them wait. What was refused or failed is not in it: that would look fast.
    pub latencies: Histogram<u64>,
    /// Nanoseconds for which those that were answered waited at their server before they were served; empty for live runs.
    pub waits: Histogram<u64>,
    /// By number of the server: answers.
    pub answers: Vec<u64>,
    /// What happened over time, the warm-up included.
    pub slices: Vec<Slice>,
    /// Of a live run: how late it was itself; nothing of a simulated one, which cannot be.
    pub live: Option<Live>,
}

/// How requests ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// All.
    pub all: u64,
    /// Answered well.
    pub answered: u64,
    /// Answered well within the objective, where there is one.
    pub in_time: u64,
    /// Answered with an error.
    pub errors: u64,
    /// Not taken by anybody.
    pub refused: u64,
    /// Given up.
    pub timed_out: u64,
    /// How often all of them were sent.
    pub attempts: u64,
}

/// A part of the time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Slice {
    /// When it begins, in nanoseconds.
    pub from: u64,
    /// Requests that came in it.
    pub came: u64,
    /// Of these, those that were not answered well.
    pub failed: u64,
    /// Of these, those that are in [`Run::latencies`].
    pub timed: u64,
    /// Sum of their latencies, in nanoseconds.
    pub latencies: u64,
    /// The longest of them.
    pub longest: u64,
    /// By server: requests that came in it and were answered there.
    pub answers: Vec<u64>,
    /// By server: what was in flight, on average over the looks that were taken.
    pub in_flight: Vec<f64>,
}

/// What is said of a live run beside what came of it.
#[derive(Clone, Debug)]
pub struct Live {
    /// Nanoseconds from when a request was due to when it was sent, as far as the generator was late.
    pub lag: Histogram<u64>,
    /// Nanoseconds from sending to the answer: what a generator shows that forgets who had to wait.
    pub from_sent: Histogram<u64>,
    /// Requests per second that were asked for, and that were answered.
    pub rates: (f64, f64),
    /// Whether anything was answered, and this machine had sockets for all.
    pub is_sound: bool,
}

impl Run {
    /// The latency that this part of requests stays below, in nanoseconds.
    pub fn quantile(&self, part: f64) -> f64 {
        self.latencies.value_at_quantile(part) as f64
    }

    /// Whether it counts: live, its generator was in time for the p99 that is shown; simulated, it always was.
    pub fn is_valid(&self) -> bool {
        let p99 = self.latencies.value_at_quantile(0.99);
        self.live.as_ref().is_none_or(|live| live.is_sound && !is_late(&live.lag, p99))
    }

    /// The part of requests that were answered well.
    pub fn answered_part(&self) -> f64 {
        self.counts.answered as f64 / self.counts.all.max(1) as f64
    }

    /// The most that a server answered, in parts of the mean.
    pub fn imbalance(&self) -> f64 {
        let (most, sum) = (self.answers.iter().max(), self.answers.iter().sum::<u64>());
        most.map_or(1.0, |most| *most as f64 * self.answers.len() as f64 / sum.max(1) as f64)
    }
}

/// Watches a run of a scenario.
#[derive(Debug)]
pub struct Recorder {
    run: Run,
    warm_up: u64,
    objective: Option<u64>,
    slice: u64,
    /// Slices in a nanosecond: a division for each request would be a twentieth of the simulation.
    slices_each: f64,
    looks: Vec<u32>,
}

/// Looks at what is in flight in each slice.
const LOOKS_PER_SLICE: u64 = 8;

impl Recorder {
    /// Nothing has happened yet.
    pub fn new(scenario: &Scenario, seed: u64) -> Self {
        let slice = (scenario.duration / SLICES as u64).max(1);
        let slices =
            (0..SLICES as u64).map(|number| Slice { from: number * slice, ..Slice::default() }).collect();
        let run = Run {
            seed,
            counts: Counts::default(),
            latencies: histogram(),
            waits: histogram(),
            answers: Vec::new(),
            slices,
            live: None,
        };
        let (warm_up, objective, slices_each) = (scenario.warm_up, scenario.objective, 1.0 / slice as f64);
        Self { run, warm_up, objective, slice, slices_each, looks: vec![0; SLICES] }
    }

    /// What came of it.
    pub fn finish(mut self) -> Run {
        let servers = self
            .run
            .answers
            .len()
            .max(self.run.slices.iter().map(|slice| slice.in_flight.len()).max().unwrap_or(0));
        self.run.answers.resize(servers, 0);
        for (slice, looks) in self.run.slices.iter_mut().zip(self.looks) {
            slice.answers.resize(servers, 0);
            slice.in_flight.resize(servers, 0.0);
            slice.in_flight.iter_mut().for_each(|in_flight| *in_flight /= f64::from(looks.max(1)));
        }
        self.run
    }

    fn slice_of(&self, at: u64) -> usize {
        ((at as f64 * self.slices_each) as usize).min(SLICES - 1)
    }
}

fn add(counts: &mut Vec<u64>, server: u32) {
    let at = server as usize;
    if counts.len() <= at {
        counts.resize(at + 1, 0);
    }
    counts[at] += 1;
}

impl Observer for Recorder {
    fn ended(&mut self, ended: &Ended) {
        let latency = ended.ended - ended.came;
        let is_answered = ended.outcome == Outcome::Answered;
        let at = self.slice_of(ended.came);
        let slice = &mut self.run.slices[at];
        slice.came += 1;
        slice.failed += u64::from(!is_answered);
        if matches!(ended.outcome, Outcome::Answered | Outcome::TimedOut) {
            slice.latencies += latency;
            slice.longest = slice.longest.max(latency);
            slice.timed += 1;
        }
        if let Some(server) = ended.server.filter(|_| is_answered) {
            add(&mut slice.answers, server);
        }
        if ended.came < self.warm_up {
            return;
        }
        let counts = &mut self.run.counts;
        counts.all += 1;
        counts.attempts += u64::from(ended.attempts);
        match ended.outcome {
            Outcome::Answered => counts.answered += 1,
            Outcome::ServerError => counts.errors += 1,
            Outcome::Refused => counts.refused += 1,
            Outcome::TimedOut => counts.timed_out += 1,
        }
        counts.in_time +=
            u64::from(is_answered && self.objective.is_some_and(|objective| latency <= objective));
        // Both grow as they have to.
        if matches!(ended.outcome, Outcome::Answered | Outcome::TimedOut) {
            let _ = self.run.latencies.record(latency);
        }
        if let Some(server) = ended.server.filter(|_| is_answered) {
            let _ = self.run.waits.record(ended.waited);
            add(&mut self.run.answers, server);
        }
    }

    fn look_every(&self) -> Option<u64> {
        Some((self.slice / LOOKS_PER_SLICE).max(1))
    }

    fn look(&mut self, now: u64, view: View<'_>) {
        if now >= self.slice * SLICES as u64 {
            return;
        }
        let at = self.slice_of(now);
        self.looks[at] += 1;
        let in_flight = &mut self.run.slices[at].in_flight;
        in_flight.resize(view.in_flight.len().max(in_flight.len()), 0.0);
        for (sum, now) in in_flight.iter_mut().zip(view.in_flight) {
            *sum += f64::from(*now);
        }
    }
}
