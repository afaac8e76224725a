//! Where a client's connection stands: shared by what reads and writes it, its guard, and the request under way.

use std::cell::Cell;
use std::time::Duration;

/// What a connection is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Between two requests: nothing of the next head has come.
    BetweenRequests,
    /// Part of a head has come.
    ReadingHead,
    /// A request is being answered.
    Answering,
    /// A request waits for the first target of its group.
    Held,
    /// A request is with its target, and nothing has come back.
    AwaitingTarget,
}

/// The state of one connection.
#[derive(Debug)]
pub(crate) struct ConnectionState {
    idle_timeout: Duration,
    phase: Cell<Phase>,
    /// Whether a byte has moved since the guard looked last: a flag, so that no byte costs a look at the clock.
    has_moved: Cell<bool>,
    /// Set by the guard: the request that awaits its target has waited too long.
    has_expired: Cell<bool>,
    /// Bytes that have come of the body of the request under way.
    received_bytes: Cell<u64>,
}

impl ConnectionState {
    pub(crate) fn new(idle_timeout: Duration) -> Self {
        Self {
            idle_timeout,
            phase: Cell::new(Phase::BetweenRequests),
            has_moved: Cell::new(false),
            has_expired: Cell::new(false),
            received_bytes: Cell::new(0),
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase.get()
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.set(phase);
        self.has_moved.set(true);
        if phase == Phase::AwaitingTarget {
            self.has_expired.set(false);
        }
    }

    /// A head has come to its end: a request begins.
    pub(crate) fn begin_request(&self) {
        self.received_bytes.set(0);
        self.enter(Phase::Answering);
    }

    /// A byte went to the client. It may belong to a response whose request has ended already.
    pub(crate) fn sent(&self) {
        self.has_moved.set(true);
    }

    /// A byte came from the client: between two requests, the first of a head.
    pub(crate) fn received(&self) {
        self.has_moved.set(true);
        if self.phase.get() == Phase::BetweenRequests {
            self.phase.set(Phase::ReadingHead);
        }
    }

    /// Bytes of a request's body have come.
    pub(crate) fn received_body(&self, count: usize) {
        self.has_moved.set(true);
        self.received_bytes.set(self.received_bytes.get() + count as u64);
    }

    /// Bytes that have come of the body of the request under way.
    pub(crate) fn received_bytes(&self) -> u64 {
        self.received_bytes.get()
    }

    /// Whether something has happened since this was asked last. Bytes of a head do not count: a head must be complete
    /// in time, however steadily it drips in.
    pub(crate) fn take_moved(&self) -> bool {
        self.has_moved.replace(false) && self.phase() != Phase::ReadingHead
    }

    /// The longest silence of the connection.
    pub(crate) fn idle_timeout(&self) -> Duration {
        self.idle_timeout
    }

    /// Says that the request that awaits its target has waited too long.
    pub(crate) fn expire(&self) {
        self.has_expired.set(true);
    }

    pub(crate) fn has_expired(&self) -> bool {
        self.has_expired.get()
    }
}
