//! How much work requests bring, in nanoseconds at a server of speed 1.

use std::sync::Arc;

use crate::random::{Purpose, Stream};

/// A distribution of work; means in nanoseconds.
#[derive(Clone, Debug, PartialEq)]
pub enum Work {
    /// All alike.
    Constant(f64),
    /// Of that mean.
    Exponential(f64),
    /// Of that mean and deviation; what would be less than nothing is nothing, so that the mean is higher than that.
    Normal {
        /// Before it is cut off.
        mean: f64,
        /// Before it is cut off.
        deviation: f64,
    },
    /// Anything between the two, alike.
    Uniform {
        /// At least.
        least: f64,
        /// At most.
        most: f64,
    },
    /// Heavy tails that end somewhere.
    BoundedPareto(BoundedPareto),
    /// Few that bring most of it; both exponential.
    Elephants {
        /// The mean of all.
        mean: f64,
        /// The part of requests that are elephants.
        share: f64,
        /// The part of all work that they bring.
        of_work: f64,
    },
    /// What it was, in order, again and again.
    Trace(Arc<[u64]>),
}

/// A Pareto distribution that ends somewhere.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BoundedPareto {
    mean: f64,
    least: f64,
    /// The part of a whole Pareto distribution that lies before the end.
    whole: f64,
    exponent: f64,
}

impl BoundedPareto {
    /// Of that mean; the lower `alpha`, which is not 1, the heavier; the most is `spread` times the least.
    pub fn new(mean: f64, alpha: f64, spread: f64) -> Self {
        let whole = 1.0 - libm::pow(spread, -alpha);
        let of_least_one = alpha / (alpha - 1.0) * (1.0 - libm::pow(spread, 1.0 - alpha)) / whole;
        Self { mean, least: mean / of_least_one, whole, exponent: -1.0 / alpha }
    }

    fn draw(&self, stream: &mut Stream) -> f64 {
        self.least * libm::pow(1.0 - stream.unit() * self.whole, self.exponent)
    }
}

impl Work {
    /// The mean, in nanoseconds.
    pub fn mean(&self) -> f64 {
        match self {
            Self::Constant(mean) | Self::Exponential(mean) | Self::Elephants { mean, .. } => *mean,
            Self::BoundedPareto(pareto) => pareto.mean,
            Self::Normal { mean, deviation } => {
                // The mean of what is left of a normal distribution above zero, and nothing below.
                let z = mean / deviation;
                let density = (-z * z / 2.0).exp() / std::f64::consts::TAU.sqrt();
                mean * (1.0 - libm::erfc(z / std::f64::consts::SQRT_2) / 2.0) + deviation * density
            }
            Self::Uniform { least, most } => f64::midpoint(*least, *most),
            Self::Trace(works) => works.iter().sum::<u64>() as f64 / works.len() as f64,
        }
    }

    /// Draws the work of a request; `number` is its number, from 0.
    pub fn draw(&self, stream: &mut Stream, number: u64) -> u64 {
        let work = match self {
            Self::Constant(mean) => *mean,
            Self::Exponential(mean) => mean * stream.exponential(),
            Self::Normal { mean, deviation } => (mean + deviation * stream.normal()).max(0.0),
            Self::Uniform { least, most } => least + (most - least) * stream.unit(),
            Self::BoundedPareto(pareto) => pareto.draw(stream),
            Self::Elephants { mean, share, of_work } => {
                let (share, of_work) =
                    if stream.unit() <= *share { (share, *of_work) } else { (&(1.0 - share), 1.0 - of_work) };
                mean * of_work / share * stream.exponential()
            }
            Self::Trace(works) => return works[(number % works.len() as u64) as usize],
        };
        nanos(work)
    }
}

/// To the nearest nanosecond; none is negative.
fn nanos(work: f64) -> u64 {
    (work + 0.5) as u64
}

/// The works of a run's requests, one after another.
#[derive(Clone, Debug)]
pub struct Works<'w> {
    work: &'w Work,
    draws: Stream,
    number: u64,
}

impl<'w> Works<'w> {
    /// The works of that seed.
    pub fn new(work: &'w Work, seed: u64) -> Self {
        Self { work, draws: Stream::new(seed, Purpose::Service, 0), number: 0 }
    }
}

impl Iterator for Works<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let work = self.work.draw(&mut self.draws, self.number);
        self.number += 1;
        Some(work)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_drawn_has_the_mean_that_is_told() {
        let works = [
            Work::Constant(1e6),
            Work::Exponential(1e6),
            Work::Normal { mean: 1e6, deviation: 1e6 },
            Work::Uniform { least: 1e6, most: 3e6 },
            Work::BoundedPareto(BoundedPareto::new(1e6, 1.5, 1e3)),
            Work::Elephants { mean: 1e6, share: 0.01, of_work: 0.8 },
            Work::Trace([1, 2, 6].into()),
        ];
        for work in works {
            let mut stream = Stream::new(11, Purpose::Service, 0);
            let count = 600_000;
            let sum: f64 = (0..count).map(|number| work.draw(&mut stream, number) as f64).sum();
            let mean = sum / count as f64;
            assert!((mean / work.mean() - 1.0).abs() < 0.03, "{work:?}: {mean}");
        }
    }

    #[test]
    fn a_bounded_pareto_distribution_ends_where_it_should() {
        // `spec/algorithms.md`, item 6: mean 1, alpha 1.5, spread 1000: from 0.34421 to 344.21.
        let work = Work::BoundedPareto(BoundedPareto::new(1e9, 1.5, 1e3));
        let mut stream = Stream::new(3, Purpose::Service, 0);
        let drawn: Vec<u64> = (0..1_000_000).map(|number| work.draw(&mut stream, number)).collect();
        let (least, most) = (*drawn.iter().min().unwrap(), *drawn.iter().max().unwrap());
        assert!((344_200_000..345_000_000).contains(&least), "{least}");
        assert!((200_000_000_000..344_220_000_000).contains(&most), "{most}");
    }
}
