//! The monotonic clock, as timestamps that every thread counts from the same origin.

use std::cell::Cell;
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use weir_core::time::Timestamp;

thread_local! {
    /// What this thread's clock was last.
    static RECENT: Cell<Timestamp> = const { Cell::new(Timestamp::from_nanos(0)) };
}

/// Reads the monotonic clock. A copy in another thread counts from the same origin.
///
/// Reads tokio's clock, so that a test with paused time is in charge of it.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
    /// Wall time at the origin, in seconds since 1970.
    wall_origin: u64,
}

impl Clock {
    /// A clock whose origin is now.
    #[allow(clippy::disallowed_methods, reason = "the one look at the wall clock")]
    pub fn start() -> Self {
        // A clock before 1970 is wrong anyway.
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { origin: Instant::now(), wall_origin: wall.as_secs() }
    }

    /// Wall time of a moment in seconds since 1970, without a look at the wall clock. A step of that clock after the
    /// start does not show in it.
    pub fn wall_seconds(self, timestamp: Timestamp) -> u64 {
        self.wall_origin + timestamp.as_nanos() / 1_000_000_000
    }

    /// Now.
    pub fn now(self) -> Timestamp {
        let now = Timestamp::from_nanos(u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX));
        RECENT.set(now);
        now
    }

    /// What this thread was told last, for whom a moment too early does no harm: a reading costs as much as a field.
    pub fn recent(self) -> Timestamp {
        RECENT.get()
    }

    /// The same moment, as tokio's timers want it.
    pub fn instant(self, timestamp: Timestamp) -> Instant {
        self.origin + Duration::from_nanos(timestamp.as_nanos())
    }
}
