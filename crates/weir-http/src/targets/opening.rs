//! A connection that is being opened: requests that will share it wait for it, rather than open one each.

use std::cell::Cell;
use std::io;
use std::rc::{Rc, Weak};

use tokio::sync::Notify;
use weir_net::dial::DialError;
use weir_tls::HandshakeError;

use crate::error::RequestError;

/// A connection that is being opened, and how that ended. Whoever waits for it holds it.
#[derive(Debug, Default)]
pub(super) struct Opening {
    has_ended: Cell<bool>,
    failure: Cell<Option<Failure>>,
    end: Notify,
}

/// Who opens it. However that ends, those who wait are woken.
#[derive(Debug)]
pub(super) struct Opener(Rc<Opening>);

impl Opener {
    /// Who opens a connection, and what the first request waits for.
    pub(super) fn begin() -> (Self, Rc<Opening>) {
        let opening = Rc::<Opening>::default();
        (Self(opening.clone()), opening)
    }

    /// It has failed, and so it has for those who wait.
    pub(super) fn fail(&self, error: &RequestError) {
        self.0.failure.set(Some(Failure::of(error)));
    }
}

impl Drop for Opener {
    fn drop(&mut self) {
        self.0.has_ended.set(true);
        self.0.end.notify_waiters();
    }
}

impl Opening {
    /// A place among those who wait; `None` when it is over, or as many wait as it will have streams.
    pub(super) fn join(opening: &Weak<Self>, most: usize) -> Option<Rc<Self>> {
        // One handle is the opener's.
        opening.upgrade().filter(|opening| !opening.has_ended.get() && Rc::strong_count(opening) <= most + 1)
    }

    /// Waits for its end.
    ///
    /// # Errors
    /// Why it failed.
    pub(super) async fn ended(&self) -> Result<(), RequestError> {
        self.end.notified().await;
        self.failure.get().map_or(Ok(()), |failure| Err(failure.into()))
    }
}

/// Why it failed, as far as that concerns those who waited for it.
#[derive(Clone, Copy, Debug)]
enum Failure {
    Closed,
    Dial(io::ErrorKind),
    DialSelfConnected,
    DialTimedOut,
    Handshake,
    HandshakeTimedOut,
    Malformed,
}

impl Failure {
    fn of(error: &RequestError) -> Self {
        match error {
            RequestError::DialFailed(DialError::Failed(error)) => Self::Dial(error.kind()),
            RequestError::DialFailed(DialError::SelfConnected) => Self::DialSelfConnected,
            RequestError::DialFailed(DialError::TimedOut) => Self::DialTimedOut,
            RequestError::TargetHandshakeFailed(HandshakeError::Deadline) => Self::HandshakeTimedOut,
            RequestError::TargetHandshakeFailed(_) => Self::Handshake,
            RequestError::TargetMalformed => Self::Malformed,
            _ => Self::Closed,
        }
    }
}

impl From<Failure> for RequestError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Closed => Self::TargetClosedEarly,
            Failure::Dial(kind) => Self::DialFailed(DialError::Failed(kind.into())),
            Failure::DialSelfConnected => Self::DialFailed(DialError::SelfConnected),
            Failure::DialTimedOut => Self::DialFailed(DialError::TimedOut),
            // What went wrong is in the opener's error.
            Failure::Handshake => Self::TargetHandshakeFailed(HandshakeError::Closed),
            Failure::HandshakeTimedOut => Self::TargetHandshakeFailed(HandshakeError::Deadline),
            Failure::Malformed => Self::TargetMalformed,
        }
    }
}
