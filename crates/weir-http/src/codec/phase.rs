//! Where a client's connection stands: shared by what reads and writes it, its guard, and the request under way.

use std::cell::{Cell, RefCell};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// How often a guard looks whether bytes have moved, within one idle timeout: a timeout ends at most one look late.
const LOOKS_PER_TIMEOUT: u32 = 8;

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

/// The state of one connection; of HTTP/2, of one stream.
#[derive(Debug)]
pub(crate) struct ConnectionState {
    idle_timeout: Duration,
    phase: Cell<Phase>,
    /// Whether a byte has moved since the guard looked last: a flag, so that no byte costs a look at the clock.
    has_moved: Cell<bool>,
    /// Looks of the guard in a row that saw nothing move.
    silent_looks: Cell<u32>,
    /// Set by the guard: what is under way has taken too long.
    has_expired: Cell<bool>,
    /// Whom to wake then.
    waker: RefCell<Option<Waker>>,
    /// Bytes that have come of the body of the request under way.
    received_bytes: Cell<u64>,
    /// Whether the guard has looked since this was asked last.
    has_looked: Cell<bool>,
    /// Whether the connection has gone on for as long as it may.
    is_old: Cell<bool>,
}

impl ConnectionState {
    pub(crate) fn new(idle_timeout: Duration) -> Self {
        Self {
            idle_timeout,
            phase: Cell::new(Phase::BetweenRequests),
            has_moved: Cell::new(false),
            silent_looks: Cell::new(0),
            has_expired: Cell::new(false),
            waker: RefCell::default(),
            received_bytes: Cell::new(0),
            has_looked: Cell::new(false),
            is_old: Cell::new(false),
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

    /// The connection has gone on for as long as it may: its next response ends it.
    pub(crate) fn grow_old(&self) {
        self.is_old.set(true);
    }

    pub(crate) fn is_old(&self) -> bool {
        self.is_old.get()
    }

    /// How long a guard waits between two looks.
    pub(crate) fn look_interval(idle_timeout: Duration) -> Duration {
        idle_timeout / LOOKS_PER_TIMEOUT
    }

    /// The guard's look: whether nothing has moved for a whole timeout. Bytes of a head do not count: a head must be
    /// complete in time, however steadily it drips in.
    pub(crate) fn is_silent(&self) -> bool {
        self.has_looked.set(true);
        let has_moved = self.has_moved.replace(false) && self.phase() != Phase::ReadingHead;
        self.silent_looks.set(if has_moved { 0 } else { self.silent_looks.get() + 1 });
        self.silent_looks.get() >= LOOKS_PER_TIMEOUT
    }

    /// Whether it is time to see whether the client has gone away: at once where it is held, and with every look of the
    /// guard elsewhere, since one that has ended its side may still want its answer.
    pub(crate) fn should_look_for_client(&self) -> bool {
        self.has_looked.replace(false) || self.phase() == Phase::Held
    }

    /// The longest silence of the connection.
    pub(crate) fn idle_timeout(&self) -> Duration {
        self.idle_timeout
    }

    /// Says that what is under way has taken too long.
    pub(crate) fn expire(&self) {
        self.has_expired.set(true);
        self.silent_looks.set(0);
        self.waker.take().inspect(Waker::wake_by_ref);
    }

    pub(crate) fn has_expired(&self) -> bool {
        self.has_expired.get()
    }

    /// Ready when what is under way has taken too long; the task of `cx` is woken then.
    pub(crate) fn poll_expired(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.has_expired.get() {
            return Poll::Ready(());
        }
        match &mut *self.waker.borrow_mut() {
            Some(waker) => waker.clone_from(cx.waker()),
            place => *place = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}
