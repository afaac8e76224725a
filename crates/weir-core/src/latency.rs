//! How long a target takes, as all workers have seen it: a peak-sensitive moving average.
//!
//! Source: Finagle, `PeakEwma`: a sample above the average replaces it at once, lower ones draw it down slowly. Reading
//! decays it too, so that a target that nobody dares to ask is asked again.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::time::Timestamp;

/// In this time what is known is worth 1/e of it. Source: Finagle and Linkerd, 10 s.
const DECAY: Duration = Duration::from_secs(10);

/// What a target counts for that has requests and has never answered: more than any that has, 28 h. Source: Finagle's penalty.
const UNKNOWN: f64 = 1e14;

/// The least that a request counts for that has failed. Ours: who fails fast must not look fast.
const FAILURE: Duration = Duration::from_secs(1);

/// The average of one target, shared by all workers.
///
/// Two numbers, each on its own: of two workers that note at the same moment one may be lost, and a cost may be read with the
/// moment of the one before. Both shift an average of ten seconds by less than a request.
#[derive(Debug, Default)]
pub struct Latency {
    /// Nanoseconds, as the bits of an `f64`.
    cost: AtomicU64,
    /// Nanoseconds of the moment that it is of.
    at: AtomicU64,
}

impl Latency {
    /// Notes what a request took that has ended `now`. One that has failed counts for 1 s at least.
    pub fn note(&self, took: Duration, has_failed: bool, now: Timestamp) {
        let took = if has_failed { took.max(FAILURE) } else { took }.as_nanos() as f64;
        let (cost, worth) = self.read(now);
        let cost = if took > cost { took } else { cost * worth + took * (1.0 - worth) };
        self.cost.store(cost.to_bits(), Relaxed);
        self.at.store(now.as_nanos(), Relaxed);
    }

    /// The average in nanoseconds, as it is worth `now`: 0 when nothing is known.
    pub fn cost(&self, now: Timestamp) -> f64 {
        let (cost, worth) = self.read(now);
        cost * worth
    }

    /// What a target with so many requests in flight would cost one more, in nanoseconds.
    pub fn load(&self, in_flight: u32, now: Timestamp) -> f64 {
        let (cost, in_flight) = (self.cost(now), f64::from(in_flight));
        if cost == 0.0 && in_flight > 0.0 { UNKNOWN + in_flight } else { cost * (in_flight + 1.0) }
    }

    /// The average as it was noted, and the part of it that is left.
    fn read(&self, now: Timestamp) -> (f64, f64) {
        let age = now.since(Timestamp::from_nanos(self.at.load(Relaxed)));
        let worth = (-age.as_secs_f64() / DECAY.as_secs_f64()).exp();
        (f64::from_bits(self.cost.load(Relaxed)), worth)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);
    const START: Timestamp = Timestamp::from_nanos(1_000_000_000);

    fn is_near(cost: f64, millis: f64) -> bool {
        (cost / 1e6 - millis).abs() < 0.001
    }

    #[test]
    fn a_peak_counts_at_once_and_lower_samples_draw_it_down() {
        let latency = Latency::default();
        latency.note(10 * MS, false, START);
        latency.note(100 * MS, false, START);
        assert!(is_near(latency.cost(START), 100.0));
        let later = START.after(DECAY);
        latency.note(10 * MS, false, later);
        // 100/e + 10(1 - 1/e)
        assert!(is_near(latency.cost(later), 43.109));
    }

    #[test]
    fn what_is_not_asked_again_is_forgotten() {
        let latency = Latency::default();
        latency.note(100 * MS, false, START);
        assert!(is_near(latency.cost(START.after(2 * DECAY)), 13.534));
    }

    #[test]
    fn who_fails_fast_is_slow() {
        let latency = Latency::default();
        latency.note(MS, true, START);
        assert!(is_near(latency.cost(START), 1_000.0));
    }

    #[test]
    fn a_load_is_the_average_for_each_in_flight_and_one_more() {
        let latency = Latency::default();
        assert!(latency.load(0, START) == 0.0 && latency.load(2, START) > latency.load(1, START));
        assert!(latency.load(1, START) > 1e13, "nobody knows what it takes");
        latency.note(20 * MS, false, START);
        assert!(is_near(latency.load(3, START), 80.0));
    }
}
