//! A log-linear histogram of durations with one writer.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Upper bounds of the buckets, in microseconds: 50 µs to 60 s, about three per factor of ten.
const BOUNDS_MICROS: [u64; 19] = [
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000, 30_000_000, 60_000_000,
];

/// Counts of durations by bucket. Written by one worker, read by the scraper.
#[derive(Debug, Default)]
pub struct Histogram {
    /// One per bound, and one for everything above.
    counts: [AtomicU64; BOUNDS_MICROS.len() + 1],
    sum_micros: AtomicU64,
}

impl Histogram {
    /// Counts one duration.
    pub fn observe(&self, duration: Duration) {
        let micros = duration.as_micros() as u64;
        let bucket = BOUNDS_MICROS.partition_point(|bound| *bound < micros);
        add(&self.counts[bucket], 1);
        add(&self.sum_micros, micros);
    }
}

/// Adds to a counter that only this thread writes: a load and a store, no locked instruction.
pub(crate) fn add(counter: &AtomicU64, count: u64) {
    counter.store(counter.load(Relaxed).wrapping_add(count), Relaxed);
}

/// The sum of several histograms.
#[derive(Clone, Debug, Default)]
pub struct Summed {
    counts: [u64; BOUNDS_MICROS.len() + 1],
    sum_micros: u64,
}

impl Summed {
    /// Adds what a histogram has counted so far.
    pub fn add(&mut self, histogram: &Histogram) {
        for (sum, count) in self.counts.iter_mut().zip(&histogram.counts) {
            *sum += count.load(Relaxed);
        }
        self.sum_micros += histogram.sum_micros.load(Relaxed);
    }

    /// How many durations were counted.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Their sum in seconds.
    pub fn sum_seconds(&self) -> f64 {
        self.sum_micros as f64 / 1e6
    }

    /// Upper bound in seconds and count of durations up to it, for each bucket but the last, ascending.
    pub fn cumulative(&self) -> impl Iterator<Item = (f64, u64)> {
        BOUNDS_MICROS.iter().zip(&self.counts).scan(0, |sum, (bound, count)| {
            *sum += count;
            Some((*bound as f64 / 1e6, *sum))
        })
    }

    /// The upper bound of the bucket that holds quantile `q` (0 to 1); `None` when nothing was counted.
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let wanted = (q * self.count() as f64).ceil() as u64;
        let (bound, _) = self.cumulative().find(|(_, count)| *count >= wanted.max(1))?;
        Some(Duration::from_secs_f64(bound))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_in_the_bucket_whose_bound_it_does_not_exceed() {
        let histogram = Histogram::default();
        for micros in [50, 51, 999, 70_000_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        let mut summed = Summed::default();
        summed.add(&histogram);
        let cumulative: Vec<u64> = summed.cumulative().map(|(_, count)| count).collect();
        assert_eq!(cumulative[..5], [1, 2, 2, 2, 3]);
        assert_eq!((summed.count(), cumulative[18]), (4, 3));
    }

    #[test]
    fn a_quantile_is_the_bound_of_its_bucket() {
        let histogram = Histogram::default();
        (0..99).for_each(|_| histogram.observe(Duration::from_micros(80)));
        histogram.observe(Duration::from_millis(20));
        let mut summed = Summed::default();
        summed.add(&histogram);
        assert_eq!(summed.quantile(0.5), Some(Duration::from_micros(100)));
        assert_eq!(summed.quantile(1.0), Some(Duration::from_millis(25)));
        assert_eq!(Summed::default().quantile(0.5), None);
    }
}
