//! How long a target takes, as all workers have seen it: a peak-sensitive moving average, and what it took lately with so much
//! under way.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::time::Timestamp;

/// In this time what is known is worth 1/e of it. Source: Finagle and Linkerd, 10 s.
const DECAY: Duration = Duration::from_secs(10);

/// What a target counts for that has requests and has never answered: more than any that has, 28 h. Source: Finagle's penalty.
const UNKNOWN: f64 = 1e14;

/// The least that a request counts for that has failed. Ours: who fails fast must not look fast.
const FAILURE: Duration = Duration::from_secs(1);

/// What one target took, shared by all workers.
#[derive(Debug, Default)]
pub struct Latency {
    average: Average,
    recent: Recent,
}

impl Latency {
    /// Notes what a request took that has ended `now` and met so many others under way, itself counted. One that has failed
    /// counts for 1 s at least.
    pub fn note(&self, took: Duration, in_flight: u32, has_failed: bool, now: Timestamp) {
        let took = if has_failed { took.max(FAILURE) } else { took };
        self.average.note(took, now);
        self.recent.note(took, in_flight, now);
    }

    /// What a target with so many requests in flight would cost one more, in nanoseconds, by the average.
    pub fn load(&self, in_flight: u32, now: Timestamp) -> f64 {
        self.average.load(in_flight, now)
    }

    /// What a request takes lately that is one of so many under way; zero when nothing is known.
    pub fn estimate(&self, in_flight: u32, now: Timestamp) -> Duration {
        self.recent.estimate(in_flight, now)
    }
}

/// A peak-sensitive moving average.
///
/// Source: Finagle, `PeakEwma`: a sample above the average replaces it at once, lower ones draw it down slowly. Reading
/// decays it too, so that a target that nobody dares to ask is asked again.
///
/// Two numbers, each on its own: of two workers that note at the same moment one may be lost, and a cost may be read with the
/// moment of the one before. Both shift an average of ten seconds by less than a request.
#[derive(Debug, Default)]
struct Average {
    /// Nanoseconds, as the bits of an `f64`.
    cost: AtomicU64,
    /// Nanoseconds of the moment that it is of.
    at: AtomicU64,
}

impl Average {
    fn note(&self, took: Duration, now: Timestamp) {
        let took = took.as_nanos() as f64;
        let (cost, worth) = self.read(now);
        let cost = if took > cost { took } else { cost * worth + took * (1.0 - worth) };
        self.cost.store(cost.to_bits(), Relaxed);
        self.at.store(now.as_nanos(), Relaxed);
    }

    /// The average in nanoseconds, as it is worth `now`: 0 when nothing is known.
    fn cost(&self, now: Timestamp) -> f64 {
        let (cost, worth) = self.read(now);
        cost * worth
    }

    fn load(&self, in_flight: u32, now: Timestamp) -> f64 {
        let (cost, in_flight) = (self.cost(now), f64::from(in_flight));
        if cost == 0.0 && in_flight > 0.0 { UNKNOWN + in_flight } else { cost * (in_flight + 1.0) }
    }

    /// The average as it was noted, and the part of it that is left.
    fn read(&self, now: Timestamp) -> (f64, f64) {
        let age = now.since(Timestamp::from_nanos(self.at.load(Relaxed)));
        // Not the system's, which differs between machines in the last bit: a simulation is the same on all of them.
        let worth = libm::exp(-age.as_secs_f64() / DECAY.as_secs_f64());
        (f64::from_bits(self.cost.load(Relaxed)), worth)
    }
}

/// Buckets by how much was under way, each of twice as much as the one before; the last has what is more.
const BUCKETS: usize = 10;

/// What was taken lately, by how much was under way then.
///
/// Source: Wydrowski et al., "Load is not what you should balance: Introducing Prequal", NSDI 2024, section 4.1. There targets keep
/// this, and it is the median of what came with nearly so much; here weir does for them, and it is a moving average.
#[derive(Debug, Default)]
struct Recent {
    /// Nanoseconds; zero is unknown.
    averages: [AtomicU64; BUCKETS],
    /// Nanoseconds of the moment of the last answer.
    noted: AtomicU64,
}

/// At this age what is known of a target that has not answered since is worth half. Ours: whoever was slow once is asked again.
const HALF_WORTH: Duration = Duration::from_secs(1);

/// What the newest sample counts: 1 of so many. With 4 who had a few quick requests looked fast: 6 % more at p99 of the laboratory's
/// item 30, and 4 % more in the mean of ten equal targets.
const NEWEST_OF: i64 = 16;

impl Recent {
    fn note(&self, took: Duration, in_flight: u32, now: Timestamp) {
        self.noted.store(now.as_nanos(), Relaxed);
        let average = &self.averages[bucket(in_flight)];
        let took = i64::try_from(took.as_nanos()).unwrap_or(i64::MAX).max(1);
        let before = average.load(Relaxed).cast_signed();
        let after = if before == 0 { took } else { before + (took - before) / NEWEST_OF };
        average.store(after.max(1).cast_unsigned(), Relaxed);
    }

    fn estimate(&self, in_flight: u32, now: Timestamp) -> Duration {
        let own = bucket(in_flight);
        let known = |at: &usize| self.averages[*at].load(Relaxed) > 0;
        // Whoever met more would have been faster now: without that a target that has become idle would look slow for as long as
        // nobody dares to ask it.
        let above = (own..BUCKETS).find(known);
        let nanos = match above {
            Some(at) => self.averages[at].load(Relaxed) >> (at - own),
            None => (0..own).rfind(known).map_or(0, |at| self.averages[at].load(Relaxed)),
        };
        let age = now.since(Timestamp::from_nanos(self.noted.load(Relaxed)));
        Duration::from_nanos(worth(nanos, age))
    }
}

/// What is left of a number at an age.
fn worth(nanos: u64, age: Duration) -> u64 {
    let half = HALF_WORTH.as_nanos() as f64;
    (nanos as f64 * half / (half + age.as_nanos() as f64)) as u64
}

fn bucket(in_flight: u32) -> usize {
    (in_flight.max(1).ilog2() as usize).min(BUCKETS - 1)
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
        let latency = Average::default();
        latency.note(10 * MS, START);
        latency.note(100 * MS, START);
        assert!(is_near(latency.cost(START), 100.0));
        let later = START.after(DECAY);
        latency.note(10 * MS, later);
        // 100/e + 10(1 - 1/e)
        assert!(is_near(latency.cost(later), 43.109));
    }

    #[test]
    fn what_is_not_asked_again_is_forgotten() {
        let latency = Average::default();
        latency.note(100 * MS, START);
        assert!(is_near(latency.cost(START.after(2 * DECAY)), 13.534));
    }

    #[test]
    fn who_fails_fast_is_slow() {
        let latency = Latency::default();
        latency.note(MS, 1, true, START);
        assert!(is_near(latency.load(0, START), 1_000.0));
        assert_eq!(latency.estimate(1, START), FAILURE);
    }

    #[test]
    fn a_load_is_the_average_for_each_in_flight_and_one_more() {
        let latency = Average::default();
        assert!(latency.load(0, START) == 0.0 && latency.load(2, START) > latency.load(1, START));
        assert!(latency.load(1, START) > 1e13, "nobody knows what it takes");
        latency.note(20 * MS, START);
        assert!(is_near(latency.load(3, START), 80.0));
    }

    #[test]
    fn an_estimate_is_of_those_that_met_about_as_many() {
        let recent = Recent::default();
        assert_eq!(recent.estimate(3, START), Duration::ZERO, "nobody knows");
        for _ in 0..8 {
            recent.note(10 * MS, 1, START);
            recent.note(100 * MS, 9, START);
        }
        assert_eq!([1, 8].map(|now| recent.estimate(now, START)), [10 * MS, 100 * MS]);
        assert_eq!(recent.estimate(99, START), 100 * MS, "nobody knows more");
        // What was is forgotten.
        (0..40).for_each(|_| recent.note(MS, 1, START));
        assert!(recent.estimate(1, START) < 2 * MS);
    }

    #[test]
    fn who_was_only_seen_busy_is_faster_when_idle() {
        let recent = Recent::default();
        recent.note(80 * MS, 8, START);
        let estimates = [8, 4, 2, 1].map(|now| recent.estimate(now, START));
        assert_eq!(estimates, [80 * MS, 40 * MS, 20 * MS, 10 * MS]);
    }

    #[test]
    fn who_was_slow_and_is_not_asked_looks_faster_with_time() {
        let recent = Recent::default();
        recent.note(80 * MS, 1, START);
        let after = |seconds| recent.estimate(1, START.after(Duration::from_secs(seconds)));
        assert_eq!([0, 1, 3].map(after), [80 * MS, 40 * MS, 20 * MS]);
    }
}
