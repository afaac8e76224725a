//! Idleness of a connection: one timer for its whole life, re-armed only when it fires.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use weir_core::time::Timestamp;

use crate::clock::Clock;

/// When a connection last moved a byte.
///
/// A touch is a store; nobody re-arms a timer per read or per request.
#[derive(Debug)]
pub struct Activity {
    clock: Clock,
    last: AtomicU64,
}

impl Activity {
    /// Activity that begins now.
    pub fn new(clock: Clock) -> Self {
        Self { clock, last: AtomicU64::new(clock.now().as_nanos()) }
    }

    /// Says that something happened now.
    pub fn touch(&self) {
        self.touch_at(self.clock.now());
    }

    /// Says that something happened at `now`, for who has looked at the clock already.
    pub fn touch_at(&self, now: Timestamp) {
        self.last.store(now.as_nanos(), Relaxed);
    }

    /// Completes once nothing has happened for `limit`.
    pub async fn idle_for(&self, limit: Duration) {
        loop {
            let last = self.last.load(Relaxed);
            tokio::time::sleep_until(self.clock.instant(Timestamp::from_nanos(last).after(limit))).await;
            if self.last.load(Relaxed) == last {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_touch_puts_idleness_off() {
        let clock = Clock::start();
        let activity = Activity::new(clock);
        let limit = Duration::from_secs(60);
        let touch_later = async {
            tokio::time::sleep(Duration::from_secs(50)).await;
            activity.touch();
        };
        tokio::join!(activity.idle_for(limit), touch_later);
        let waited = clock.now().since(Timestamp::default());
        assert!((110..=111).contains(&waited.as_secs()), "{waited:?}");
    }
}
