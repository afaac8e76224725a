//! Where a client's connection stands, shared by its socket, its guard and the request under way.

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use weir_core::time::Timestamp;
use weir_net::clock::Clock;

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Between two requests: nothing of the next head has come.
    BetweenRequests = 0,
    /// Part of a head has come.
    ReadingHead = 1,
    /// A request is being answered.
    Answering = 2,
    /// A request is with its target, and nothing has come back.
    AwaitingTarget = 3,
}

/// The state of one connection. Atomics only because an upgraded socket must be `Send`; one thread uses it.
#[derive(Debug)]
pub(crate) struct ConnectionState {
    clock: Clock,
    idle_timeout: Duration,
    phase: AtomicU8,
    /// When the last byte moved on the client's side, in nanoseconds.
    last_byte: AtomicU64,
    /// When the present head began, in nanoseconds.
    head_began: AtomicU64,
    /// Set by the guard: the request that awaits its target has waited too long.
    has_expired: AtomicBool,
}

impl ConnectionState {
    pub(crate) fn new(clock: Clock, idle_timeout: Duration) -> Self {
        let now = clock.now().as_nanos();
        Self {
            clock,
            idle_timeout,
            phase: AtomicU8::new(Phase::BetweenRequests as u8),
            last_byte: AtomicU64::new(now),
            head_began: AtomicU64::new(now),
            has_expired: AtomicBool::new(false),
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Relaxed) {
            1 => Phase::ReadingHead,
            2 => Phase::Answering,
            3 => Phase::AwaitingTarget,
            _ => Phase::BetweenRequests,
        }
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
        if phase == Phase::AwaitingTarget {
            self.has_expired.store(false, Relaxed);
        }
    }

    /// A byte moved.
    pub(crate) fn touch(&self) {
        let now = self.clock.now().as_nanos();
        self.last_byte.store(now, Relaxed);
        if self.phase() == Phase::BetweenRequests {
            self.enter(Phase::ReadingHead);
            self.head_began.store(now, Relaxed);
        }
    }

    /// The longest silence of the connection.
    pub(crate) fn idle_timeout(&self) -> Duration {
        self.idle_timeout
    }

    /// When the connection will have been idle for too long; a head must be complete within the same time, however
    /// slowly its bytes drip in.
    pub(crate) fn due(&self) -> Timestamp {
        let since = match self.phase() {
            Phase::ReadingHead => self.head_began.load(Relaxed),
            _ => self.last_byte.load(Relaxed),
        };
        Timestamp::from_nanos(since).after(self.idle_timeout)
    }

    /// Says that the request that awaits its target has waited too long.
    pub(crate) fn expire(&self) {
        self.has_expired.store(true, Relaxed);
    }

    pub(crate) fn has_expired(&self) -> bool {
        self.has_expired.load(Relaxed)
    }
}
