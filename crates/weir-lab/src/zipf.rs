//! Keys of unequal popularity.

use crate::random::Stream;

/// Zipf's law: the n-th key is as popular as n to the power of minus the exponent.
#[derive(Clone, Debug)]
pub struct Zipf {
    /// The part of draws that are of a key up to and including each.
    sums: Vec<f64>,
}

impl Zipf {
    /// So many keys, at least 1; with exponent 0 all are alike.
    pub fn new(count: u32, exponent: f64) -> Self {
        let mut sum = 0.0;
        let mut sums: Vec<f64> = (1..=count)
            .map(|rank| {
                sum += libm::pow(f64::from(rank), -exponent);
                sum
            })
            .collect();
        for part in &mut sums {
            *part /= sum;
        }
        Self { sums }
    }

    /// The number of a key, from 0.
    pub fn draw(&self, stream: &mut Stream) -> u64 {
        let unit = stream.unit();
        self.sums.partition_point(|sum| *sum < unit).min(self.sums.len() - 1) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Purpose;

    #[test]
    fn the_second_key_is_half_as_popular_as_the_first() {
        let zipf = Zipf::new(1_000, 1.0);
        let mut stream = Stream::new(1, Purpose::Keys, 0);
        let mut counts = [0_u32; 1_000];
        (0..400_000).for_each(|_| counts[zipf.draw(&mut stream) as usize] += 1);
        let ratio = f64::from(counts[0]) / f64::from(counts[1]);
        assert!((ratio - 2.0).abs() < 0.05, "{ratio}");
        assert!(counts[999] > 0);
    }
}
