//! The monotonic clock, as timestamps that every thread counts from the same origin.

use std::time::Duration;

use tokio::time::Instant;
use weir_core::time::Timestamp;

/// Reads the monotonic clock. A copy in another thread counts from the same origin.
///
/// Reads tokio's clock, so that a test with paused time is in charge of it.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock whose origin is now.
    pub fn start() -> Self {
        Self { origin: Instant::now() }
    }

    /// Now.
    pub fn now(self) -> Timestamp {
        Timestamp::from_nanos(u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// The same moment, as tokio's timers want it.
    pub fn instant(self, timestamp: Timestamp) -> Instant {
        self.origin + Duration::from_nanos(timestamp.as_nanos())
    }
}
