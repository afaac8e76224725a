//! C3: the server whose cubed queue and service time promise the least.
//!
//! Source: Suresh et al., "C3: Cutting Tail Latency in Cloud Data Stores via Adaptive Replica Selection", NSDI 2015, section 3.1,
//! without its rate control. Servers tell with each answer how long their queue is and how long serving took.

use super::super::dispatch::End;
use super::Laboratory;
use crate::random::{Purpose, Stream};

/// Weight of the newest sample. Source: the authors' `ScoreTracker` for Cassandra.
const ALPHA: f64 = 0.9;

#[derive(Debug)]
pub(super) struct C3 {
    /// By dispatcher, then by server.
    known: Vec<Vec<Known>>,
    random: Stream,
}

/// What a dispatcher knows of a server, as averages.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    outstanding: u32,
    response: f64,
    service: f64,
    queue: f64,
}

impl C3 {
    pub(super) fn new(dispatchers: usize, servers: usize, seed: u64) -> Self {
        let known = vec![vec![Known::default(); servers]; dispatchers];
        Self { known, random: Stream::new(seed, Purpose::Policy, 0) }
    }
}

impl Known {
    /// `R - 1/mu + q^3/mu`, where `q` guesses the queue from one's own requests, as if all dispatchers had as many.
    fn score(&self, dispatchers: f64) -> f64 {
        let queue = 1.0 + f64::from(self.outstanding) * dispatchers + self.queue;
        self.response - self.service + queue.powi(3) * self.service
    }
}

impl Laboratory for C3 {
    fn pick(&mut self, dispatcher: u32, _: u64, _: &[u32]) -> u32 {
        let dispatchers = self.known.len() as f64;
        let known = &mut self.known[dispatcher as usize];
        let (mut best, mut score, mut ties) = (0, f64::INFINITY, 0);
        for (server, known) in known.iter().enumerate() {
            let own = known.score(dispatchers);
            if own < score {
                (best, score, ties) = (server, own, 1);
            } else if own.total_cmp(&score).is_eq() {
                ties += 1;
                if self.random.below(ties) == 0 {
                    best = server;
                }
            }
        }
        known[best].outstanding += 1;
        best as u32
    }

    fn ended(&mut self, end: &End) {
        let Some(dispatcher) = end.dispatcher else { return };
        let known = &mut self.known[dispatcher as usize][end.server as usize];
        known.outstanding = known.outstanding.saturating_sub(1);
        let average = |before: &mut f64, now: f64| {
            *before = if *before == 0.0 { now } else { (1.0 - ALPHA) * *before + ALPHA * now };
        };
        average(&mut known.response, end.took as f64);
        average(&mut known.service, (end.took - end.waited) as f64);
        average(&mut known.queue, f64::from(end.jobs));
    }
}
