//! Time as a value: decisions are told the time, they never read a clock.

use std::time::Duration;

/// A moment on the monotonic clock, in nanoseconds since an origin that the caller chooses.
///
/// The data plane counts from process start, a simulator from zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

/// One moment by both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// By the monotonic clock.
    pub now: Timestamp,
    /// By the wall clock, in seconds since 1970: for what ends by the calendar.
    pub wall_seconds: u64,
}

impl Timestamp {
    /// The moment `nanos` nanoseconds after the origin.
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the origin.
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// How long before this moment `earlier` was; zero when it was later.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    /// The moment `delay` after this one; saturates after 584 years.
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX)))
    }
}
