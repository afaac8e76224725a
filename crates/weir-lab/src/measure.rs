//! What is measured of a run: means in batches, and every latency in a histogram.

use hdrhistogram::Histogram;

use crate::simulator::{Ended, Observer, Outcome};
use crate::statistics::Estimate;

/// Batches that a run is divided into. Source: `spec/algorithms.md`, section 3.
const BATCHES: usize = 20;

/// The part of a run that is not measured, since it began with nothing: 1 of so many.
const WARM_UP_OF: u64 = 5;

/// Significant digits of histograms.
pub const DIGITS: u8 = 3;

/// A histogram of nanoseconds that grows as it has to.
pub fn histogram() -> Histogram<u64> {
    Histogram::new(DIGITS).expect("three digits are allowed")
}

/// Means of a run of so many requests, without the first fifth.
#[derive(Clone, Debug)]
pub struct Batches {
    warm_up: u64,
    requests: u64,
    sums: [f64; BATCHES],
    counts: [u64; BATCHES],
    /// Requests that were measured and were not answered.
    pub failed: u64,
    /// Requests that were answered after they had to wait.
    pub waited: u64,
    /// How often requests that were measured were sent.
    attempts: u64,
    /// When the first and the last of them ended.
    ended: (u64, u64),
    /// Nanoseconds from coming to the answer; `None` where nobody asks.
    pub latencies: Option<Histogram<u64>>,
}

impl Batches {
    /// Nothing yet, of so many requests.
    pub fn of(requests: u64) -> Self {
        let warm_up = requests / WARM_UP_OF;
        let (sums, counts) = ([0.0; BATCHES], [0; BATCHES]);
        Self {
            warm_up,
            requests,
            sums,
            counts,
            failed: 0,
            waited: 0,
            attempts: 0,
            ended: (u64::MAX, 0),
            latencies: None,
        }
    }

    /// The same with a histogram.
    #[must_use]
    pub fn with_histogram(self) -> Self {
        Self { latencies: Some(histogram()), ..self }
    }

    /// Requests that were measured.
    pub fn measured(&self) -> u64 {
        self.requests - self.warm_up
    }

    /// The mean latency, in nanoseconds.
    pub fn mean(&self) -> Estimate {
        let means: Vec<f64> = self
            .sums
            .iter()
            .zip(self.counts)
            .filter(|(_, count)| *count > 0)
            .map(|(sum, count)| sum / count as f64)
            .collect();
        Estimate::of(&means)
    }

    /// The part of requests that were measured and not answered.
    pub fn failed_part(&self) -> f64 {
        self.failed as f64 / self.measured() as f64
    }

    /// The part of answers that had to wait.
    pub fn waited_part(&self) -> f64 {
        self.waited as f64 / (self.measured() - self.failed) as f64
    }

    /// How often each request was sent.
    pub fn attempts_each(&self) -> f64 {
        self.attempts as f64 / self.measured() as f64
    }

    /// Requests that ended in a nanosecond.
    pub fn throughput(&self) -> f64 {
        self.measured() as f64 / (self.ended.1 - self.ended.0) as f64
    }

    /// The latency that this part of answers stays below, in nanoseconds.
    pub fn quantile(&self, part: f64) -> f64 {
        self.latencies.as_ref().map_or(f64::NAN, |latencies| latencies.value_at_quantile(part) as f64)
    }
}

impl Observer for Batches {
    fn ended(&mut self, ended: &Ended) {
        let Some(number) = ended.number.checked_sub(self.warm_up) else { return };
        self.attempts += u64::from(ended.attempts);
        self.ended = (self.ended.0.min(ended.ended), self.ended.1.max(ended.ended));
        if ended.outcome != Outcome::Answered {
            self.failed += 1;
            return;
        }
        let latency = ended.ended - ended.came;
        let batch = (number * BATCHES as u64 / self.measured()) as usize;
        if let (Some(sum), Some(count)) = (self.sums.get_mut(batch), self.counts.get_mut(batch)) {
            *sum += latency as f64;
            *count += 1;
        }
        self.waited += u64::from(ended.waited > 0);
        if let Some(latencies) = &mut self.latencies {
            // It grows as it has to.
            let _ = latencies.record(latency);
        }
    }
}
