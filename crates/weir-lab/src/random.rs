//! Randomness that is counted: the n-th number of a stream is a function of the seed, the stream and n.
//!
//! Each purpose has streams of its own, so that an algorithm that draws more leaves arrivals and service times as they were:
//! common random numbers. Logarithms come from `libm`, which gives the same bits on every machine.

use std::sync::LazyLock;

/// What random numbers are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// When requests come.
    Arrivals,
    /// How much work they bring.
    Service,
    /// What they are about: keys, clients.
    Keys,
    /// Who fails, pauses or is slow.
    Faults,
    /// What algorithms draw.
    Policy,
    /// How long the network takes.
    Network,
}

/// A stream of random numbers.
///
/// Source: Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", 2014: `SplitMix64`, whose n-th number is a
/// mixture of its start and n.
#[derive(Clone, Debug)]
pub struct Stream {
    state: u64,
}

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl Stream {
    /// The stream of that number, for that purpose.
    pub fn new(seed: u64, purpose: Purpose, number: u64) -> Self {
        let state = mix(mix(mix(seed.wrapping_add(STEP)) ^ purpose as u64).wrapping_add(STEP) ^ number);
        Self { state }
    }

    /// The next number: any of 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.state = self.state.wrapping_add(STEP);
        mix(self.state)
    }

    /// The next number, of (0, 1].
    pub fn unit(&mut self) -> f64 {
        ((self.bits() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// The next number, below `end`, which is not zero.
    pub fn below(&mut self, end: usize) -> usize {
        // What 64 bits are short of being divisible shifts the mean by less than 2^-32.
        ((u128::from(self.bits()) * end as u128) >> 64) as usize
    }

    /// Exponential, of mean 1.
    pub fn exponential(&mut self) -> f64 {
        let ziggurat: &Ziggurat = &ZIGGURAT;
        let bits = self.bits();
        let layer = (bits & 0xff) as usize;
        let x = (bits >> 11) as f64 / (1_u64 << 53) as f64 * ziggurat.widths[layer];
        // Nearly always: wholly below the curve.
        if x < ziggurat.widths[layer + 1] { x } else { self.exponential_at_edge(layer, x) }
    }

    /// The same where the curve passes through a layer, or goes on in the tail.
    #[cold]
    fn exponential_at_edge(&mut self, layer: usize, x: f64) -> f64 {
        if layer == 0 {
            return TAIL - libm::log(self.unit());
        }
        let (below, above) = (ZIGGURAT.heights[layer], ZIGGURAT.heights[layer + 1]);
        if below + (above - below) * self.unit() < libm::exp(-x) { x } else { self.exponential() }
    }

    /// Normal, of mean 0 and deviation 1.
    pub fn normal(&mut self) -> f64 {
        // A square root is exact on every machine, unlike a logarithm.
        let radius = (2.0 * self.exponential()).sqrt();
        radius * libm::cos(std::f64::consts::TAU * self.unit())
    }
}

/// The density of the exponential distribution in layers of equal area, so that most draws need no logarithm.
///
/// Source: Marsaglia and Tsang, "The Ziggurat Method for Generating Random Variables", 2000.
struct Ziggurat {
    /// Where each layer meets the curve; the lowest one, which has the tail, is as wide as its area needs.
    widths: [f64; LAYERS + 1],
    /// The density there.
    heights: [f64; LAYERS + 1],
}

const LAYERS: usize = 256;

/// Where the tail begins, and the area of a layer, for so many layers. Source: the same.
const TAIL: f64 = 7.697_117_470_131_05;
const AREA: f64 = 0.003_949_659_822_581_557;

static ZIGGURAT: LazyLock<Ziggurat> = LazyLock::new(|| {
    let mut widths = [0.0; LAYERS + 1];
    (widths[0], widths[1]) = (AREA * libm::exp(TAIL), TAIL);
    for layer in 2..LAYERS {
        let below = widths[layer - 1];
        widths[layer] = -libm::log(AREA / below + libm::exp(-below));
    }
    Ziggurat { widths, heights: widths.map(|width| libm::exp(-width)) }
});

fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_the_same_on_every_machine_and_apart() {
        let first = |seed, purpose, number| Stream::new(seed, purpose, number).bits();
        assert_eq!(first(1, Purpose::Arrivals, 0), first(1, Purpose::Arrivals, 0));
        let others =
            [first(2, Purpose::Arrivals, 0), first(1, Purpose::Service, 0), first(1, Purpose::Arrivals, 1)];
        assert!(others.iter().all(|other| *other != first(1, Purpose::Arrivals, 0)));
        let mut stream = Stream::new(1, Purpose::Arrivals, 0);
        let bits: Vec<u64> = (0..2).map(|_| stream.exponential().to_bits()).collect();
        assert_eq!(bits, EXPONENTIALS);
    }

    #[test]
    fn moments_are_those_of_the_distributions() {
        let mut stream = Stream::new(7, Purpose::Service, 0);
        let count = 200_000;
        let mean = |draw: &mut dyn FnMut() -> f64| (0..count).map(|_| draw()).sum::<f64>() / f64::from(count);
        assert!((mean(&mut || stream.exponential()) - 1.0).abs() < 0.01);
        for at in [0.01, 0.5, 2.0, 5.0, 7.5, 9.0_f64] {
            let beyond = mean(&mut || f64::from(u8::from(stream.exponential() > at)));
            let (expected, spread) = ((-at).exp(), ((-at).exp() / 200_000.0).sqrt());
            assert!((beyond - expected).abs() < 4.0 * spread, "beyond {at}: {beyond}");
        }
        assert!(mean(&mut || stream.normal()).abs() < 0.01);
        assert!((mean(&mut || stream.normal().powi(2)) - 1.0).abs() < 0.02);
        assert!((mean(&mut || stream.below(10) as f64) - 4.5).abs() < 0.03);
    }

    const EXPONENTIALS: [u64; 2] = [4_612_172_027_610_412_511, 4_607_613_954_333_182_165];
}
