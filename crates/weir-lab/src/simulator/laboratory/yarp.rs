//! Power of two choices by numbers in flight that all servers are asked for now and then.
//!
//! Source: Wydrowski et al., "Load is not what you should balance: Introducing Prequal", NSDI 2024, section 5.2: YARP's, where each
//! client asks each server every 500 ms.

use super::super::dispatch::End;
use super::Laboratory;
use crate::random::{Purpose, Stream};

/// How often servers are asked, in nanoseconds.
const POLLED_EVERY: u64 = 500_000_000;

#[derive(Debug)]
pub(super) struct Yarp {
    /// By dispatcher: what servers had in flight, and when they were asked; not all at the same moment.
    known: Vec<(u64, Vec<u32>)>,
    random: Stream,
}

impl Yarp {
    pub(super) fn new(dispatchers: usize, servers: usize, seed: u64) -> Self {
        let mut random = Stream::new(seed, Purpose::Policy, 0);
        let known = (0..dispatchers)
            .map(|_| (random.below(POLLED_EVERY as usize) as u64, vec![0; servers]))
            .collect();
        Self { known, random }
    }
}

impl Laboratory for Yarp {
    fn pick(&mut self, dispatcher: u32, now: u64, in_flight: &[u32]) -> u32 {
        let (next, known) = &mut self.known[dispatcher as usize];
        if now >= *next {
            known.copy_from_slice(in_flight);
            *next += (now - *next) / POLLED_EVERY * POLLED_EVERY + POLLED_EVERY;
        }
        let one = self.random.below(known.len());
        let other = self.random.below(known.len() - 1);
        let other = if other >= one { other + 1 } else { other };
        (if known[other] < known[one] { other } else { one }) as u32
    }

    fn ended(&mut self, _: &End) {}
}
