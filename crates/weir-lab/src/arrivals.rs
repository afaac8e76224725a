//! When requests come: an open schedule, made before anybody answers.

use std::sync::Arc;

use crate::random::{Purpose, Stream};

/// How arrivals follow one another.
#[derive(Clone, Debug, PartialEq)]
pub enum Process {
    /// At equal distances.
    Constant,
    /// Each whenever it likes.
    Poisson,
    /// Poisson with a rate that is now high, now low; see [`Mmpp`].
    Mmpp(Mmpp),
    /// At these moments, in nanoseconds from the start, in order.
    Trace(Arc<[u64]>),
}

/// A Poisson process that is modulated by a chain of two states. The mean over both is the rate that is asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mmpp {
    /// How many times as many requests come in the high state as in the low one: more than 1.
    pub ratio: f64,
    /// How long the high state lasts in the mean, in seconds.
    pub high: f64,
    /// How long the low state lasts in the mean, in seconds.
    pub low: f64,
}

/// Requests per second, from moments on.
#[derive(Clone, Debug, PartialEq)]
pub struct Rate {
    /// Nanoseconds from the start, the first zero, in order; and the rate from there on: finite, not negative.
    pub steps: Vec<(u64, f64)>,
}

impl Rate {
    /// The same all the time.
    pub fn constant(per_second: f64) -> Self {
        Self { steps: vec![(0, per_second)] }
    }

    /// The rate at a moment.
    pub fn at(&self, nanos: u64) -> f64 {
        let after = self.steps.partition_point(|(from, _)| *from <= nanos);
        self.steps.get(after.wrapping_sub(1)).map_or(0.0, |(_, rate)| *rate)
    }
}

/// The moments at which requests come, in nanoseconds from the start; without end but for a trace, or a rate that is zero for
/// good.
#[derive(Clone, Debug)]
pub struct Arrivals {
    process: Process,
    rate: Rate,
    /// The step of the rate that is in force.
    step: usize,
    /// Requests per nanosecond, and until when they are so many.
    per_nano: f64,
    until: f64,
    /// Now, in nanoseconds: not rounded, so that no rate is off.
    now: f64,
    draws: Stream,
    modulation: Option<Modulation>,
    /// The next one of a trace.
    next: usize,
}

#[derive(Clone, Debug)]
struct Modulation {
    draws: Stream,
    is_high: bool,
    until: f64,
}

const SECOND: f64 = 1e9;

impl Arrivals {
    /// The arrivals of that seed.
    pub fn new(process: Process, rate: Rate, seed: u64) -> Self {
        let modulation = match &process {
            Process::Mmpp(_) => Some(Modulation {
                draws: Stream::new(seed, Purpose::Arrivals, 1),
                is_high: false,
                until: 0.0,
            }),
            _ => None,
        };
        let draws = Stream::new(seed, Purpose::Arrivals, 0);
        let mut arrivals =
            Self { process, rate, step: 0, per_nano: 0.0, until: 0.0, now: 0.0, draws, modulation, next: 0 };
        arrivals.change_rate();
        arrivals
    }

    /// It is time for another rate.
    fn change_rate(&mut self) {
        let end = |step: usize, rate: &Rate| rate.steps.get(step + 1).map(|(from, _)| *from as f64);
        while end(self.step, &self.rate).is_some_and(|end| end <= self.now) {
            self.step += 1;
        }
        let (factor, until) = self.modulated();
        self.per_nano = self.rate.steps[self.step].1 * factor / SECOND;
        self.until = end(self.step, &self.rate).map_or(until, |end| end.min(until));
    }

    /// What the rate is multiplied with now, and until when: the modulation of an MMPP.
    fn modulated(&mut self) -> (f64, f64) {
        let (Process::Mmpp(mmpp), Some(modulation)) = (&self.process, &mut self.modulation) else {
            return (1.0, f64::INFINITY);
        };
        while modulation.until <= self.now {
            modulation.is_high = !modulation.is_high;
            let mean = if modulation.is_high { mmpp.high } else { mmpp.low };
            modulation.until += modulation.draws.exponential() * mean * SECOND;
        }
        let low = (mmpp.high + mmpp.low) / (mmpp.ratio * mmpp.high + mmpp.low);
        (if modulation.is_high { low * mmpp.ratio } else { low }, modulation.until)
    }
}

impl Iterator for Arrivals {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        if let Process::Trace(moments) = &self.process {
            let moment = moments.get(self.next).copied();
            self.next += 1;
            return moment;
        }
        // Requests that the rate has to add up to until the next one comes.
        let mut due = match self.process {
            Process::Constant => 1.0,
            _ => self.draws.exponential(),
        };
        loop {
            let reach = self.now + due / self.per_nano;
            if reach <= self.until {
                self.now = reach;
                return reach.is_finite().then_some((reach + 0.5) as u64);
            }
            due -= (self.until - self.now) * self.per_nano;
            self.now = self.until;
            self.change_rate();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count_until(process: Process, rate: Rate, seconds: f64) -> usize {
        Arrivals::new(process, rate, 3).take_while(|at| (*at as f64) < seconds * SECOND).count()
    }

    #[test]
    fn as_many_come_as_the_rate_says_and_follow_its_steps() {
        let constant = Arrivals::new(Process::Constant, Rate::constant(1000.0), 1);
        assert_eq!(constant.take(3).collect::<Vec<_>>(), [1_000_000, 2_000_000, 3_000_000]);
        let steps = Rate { steps: vec![(0, 1000.0), (10_000_000_000, 3000.0), (20_000_000_000, 0.0)] };
        assert_eq!(
            (steps.at(0), steps.at(9_999_999_999), steps.at(10_000_000_000)),
            (1000.0, 1000.0, 3000.0)
        );
        let constant = Arrivals::new(Process::Constant, steps.clone(), 1).count();
        assert!(constant.abs_diff(40_000) <= 1, "{constant}");
        let poisson = Arrivals::new(Process::Poisson, steps, 1).count() as f64;
        assert!((poisson / 40_000.0 - 1.0).abs() < 0.02);
    }

    #[test]
    fn a_modulated_rate_has_the_mean_that_is_asked_for_and_comes_in_bursts() {
        let mmpp = Process::Mmpp(Mmpp { ratio: 10.0, high: 0.1, low: 0.4 });
        let seconds = 200.0;
        let count = count_until(mmpp.clone(), Rate::constant(1000.0), seconds) as f64;
        assert!((count / seconds / 1000.0 - 1.0).abs() < 0.1, "{count}");
        // In windows of 100 ms counts vary far more than those of a Poisson process would.
        let mut windows = vec![0.0_f64; 2000];
        for at in Arrivals::new(mmpp, Rate::constant(1000.0), 3).take_while(|at| *at < 200_000_000_000) {
            windows[(at / 100_000_000) as usize] += 1.0;
        }
        let mean = windows.iter().sum::<f64>() / 2000.0;
        let variance = windows.iter().map(|n| (n - mean).powi(2)).sum::<f64>() / 2000.0;
        assert!(variance > 10.0 * mean, "{variance} {mean}");
    }

    #[test]
    fn a_trace_comes_as_it_was_and_ends() {
        let trace = Arrivals::new(Process::Trace([5, 7, 7].into()), Rate::constant(0.0), 1);
        assert_eq!(trace.collect::<Vec<_>>(), [5, 7, 7]);
    }
}
