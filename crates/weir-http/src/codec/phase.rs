//! Where a client's connection stands, shared by its socket, its guard and the request under way.

use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::Relaxed};
use std::time::Duration;

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
    idle_timeout: Duration,
    phase: AtomicU8,
    /// Whether a byte has moved since the guard looked last: a flag, so that no byte costs a look at the clock.
    has_moved: AtomicBool,
    /// Set by the guard: the request that awaits its target has waited too long.
    has_expired: AtomicBool,
}

impl ConnectionState {
    pub(crate) fn new(idle_timeout: Duration) -> Self {
        Self {
            idle_timeout,
            phase: AtomicU8::new(Phase::BetweenRequests as u8),
            has_moved: AtomicBool::new(false),
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
        self.has_moved.store(true, Relaxed);
        if phase == Phase::AwaitingTarget {
            self.has_expired.store(false, Relaxed);
        }
    }

    /// A byte went to the client. It may belong to a response whose request has ended already.
    pub(crate) fn sent(&self) {
        self.has_moved.store(true, Relaxed);
    }

    /// A byte came from the client: between two requests, the first of a head.
    pub(crate) fn received(&self) {
        self.has_moved.store(true, Relaxed);
        if self.phase() == Phase::BetweenRequests {
            self.phase.store(Phase::ReadingHead as u8, Relaxed);
        }
    }

    /// Whether something has happened since this was asked last. Bytes of a head do not count: a head must be complete
    /// in time, however steadily it drips in.
    pub(crate) fn take_moved(&self) -> bool {
        self.has_moved.swap(false, Relaxed) && self.phase() != Phase::ReadingHead
    }

    /// The longest silence of the connection.
    pub(crate) fn idle_timeout(&self) -> Duration {
        self.idle_timeout
    }

    /// Says that the request that awaits its target has waited too long.
    pub(crate) fn expire(&self) {
        self.has_expired.store(true, Relaxed);
    }

    pub(crate) fn has_expired(&self) -> bool {
        self.has_expired.load(Relaxed)
    }
}
