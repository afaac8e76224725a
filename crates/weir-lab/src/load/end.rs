//! How a thread's share of a load ends: by itself, or because it is stopped.

use super::Planned;
use super::connection::Talk;
use super::outcome::{Ending, Failure};
use super::stop::Stop;
use super::worker::Worker;

/// How long answers under way are waited for once the load has been stopped, in nanoseconds.
const STOP_WAIT: u64 = 1_000_000_000;

impl<I: Iterator<Item = Planned>> Worker<'_, I> {
    /// Sends nothing more once the load has been stopped.
    pub(super) fn heed_stop(&mut self, at: u64) {
        if self.stopped_until == u64::MAX && self.stop.as_ref().is_some_and(Stop::is_stopped) {
            self.stopped_until = at + STOP_WAIT;
            self.closed_until = at;
            self.next = None;
            self.give_up_queue(at);
            self.tally.outcome.is_interrupted = true;
        }
    }

    /// Whether there is nothing left to do, or nothing left to be waited for.
    pub(super) fn is_over(&self, now: u64) -> bool {
        let is_idle = self.queue.is_empty() && self.in_flight == 0;
        let end = (self.last_due + self.timeout).min(self.stopped_until);
        self.next.is_none() && now >= self.closed_until && (is_idle || now >= end)
    }

    fn give_up_queue(&mut self, at: u64) {
        for waiting in std::mem::take(&mut self.queue) {
            self.tally.ended_unsent(waiting.at, Ending::Unanswered, at);
        }
    }

    /// Notes what has no answer at the end.
    pub(super) fn give_up_rest(&mut self, at: u64) {
        self.give_up_queue(at);
        let tokens: Vec<u64> = self.pool.tokens().map(|(token, _)| token).collect();
        for token in tokens {
            let Some(mut connection) = self.pool.remove(token) else { continue };
            if let Some(flight) = connection.flight {
                self.tally.ended(flight, Ending::Unanswered, None, at);
            }
            if let Talk::Http2(http2) = &mut connection.talk {
                http2.end(Failure::Reset, &mut self.ended);
            }
        }
        for ended in self.ended.drain(..) {
            self.tally.ended(ended.flight, Ending::Unanswered, None, at);
        }
    }
}
