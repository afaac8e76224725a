//! Idleness of a flow of datagrams: one timer for its whole life, re-armed only when it fires.

use std::cell::Cell;
use std::time::Duration;

use tokio::time::sleep_until;
use weir_core::time::Timestamp;
use weir_net::clock::Clock;

/// When a datagram last passed. It lies with what every datagram looks at: of thousands of sparse flows nothing else is near.
#[derive(Debug)]
pub(super) struct Activity {
    clock: Clock,
    last: Cell<Timestamp>,
}

impl Activity {
    /// Activity that begins now.
    pub(super) fn new(clock: Clock) -> Self {
        Self { clock, last: Cell::new(clock.now()) }
    }

    /// Says that something passed at `now`.
    pub(super) fn touch(&self, now: Timestamp) {
        self.last.set(now);
    }

    /// Completes once nothing has passed for `limit`.
    pub(super) async fn idle_for(&self, limit: Duration) {
        loop {
            let last = self.last.get();
            sleep_until(self.clock.instant(last.after(limit))).await;
            if self.last.get() == last {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_touch_puts_idleness_off() {
        let clock = Clock::start();
        let activity = Activity::new(clock);
        let touch_later = async {
            sleep(Duration::from_secs(50)).await;
            activity.touch(clock.now());
        };
        tokio::join!(activity.idle_for(Duration::from_secs(60)), touch_later);
        let waited = clock.now().since(Timestamp::default());
        assert!((110..=111).contains(&waited.as_secs()), "{waited:?}");
    }
}
