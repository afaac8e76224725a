//! The relay: bytes both ways between two sockets until both have ended.

use std::cell::Cell;
use std::future::Future;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use crate::activity::Activity;
use crate::buffers::Buffers;
use crate::clock::Clock;
use crate::pipes::Pipes;

mod direction;

use direction::Direction;

/// How a relay went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelaySummary {
    /// Bytes from client to target.
    pub from_client_bytes: u64,
    /// Bytes from target to client.
    pub from_target_bytes: u64,
    /// Why it ended.
    pub end: RelayEnd,
}

/// Why a relay ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayEnd {
    /// The client's socket failed: a reset, usually.
    ClientFailed,
    /// Both sides finished in order.
    Closed,
    /// It was ended from outside: the target is to have no flows any more.
    Cut,
    /// No byte moved for the idle timeout.
    Idle,
    /// The target's socket failed: a reset, usually.
    TargetFailed,
}

impl RelayEnd {
    /// The name in logs and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientFailed => "client_failed",
            Self::Closed => "closed",
            Self::Cut => "cut",
            Self::Idle => "idle",
            Self::TargetFailed => "target_failed",
        }
    }
}

/// A connection that can be relayed.
pub trait RelaySide {
    /// Its two directions.
    fn halves(&mut self) -> (impl AsyncRead + Unpin, impl AsyncWrite + Unpin);

    /// The socket, where its bytes are just those that are relayed, without encryption or frames: between two of them
    /// bytes need not leave the kernel.
    fn as_tcp(&mut self) -> Option<&mut TcpStream> {
        None
    }

    /// Makes its end a reset, as far as that can be arranged.
    fn reset_at_end(&mut self);
}

impl RelaySide for TcpStream {
    fn halves(&mut self) -> (impl AsyncRead + Unpin, impl AsyncWrite + Unpin) {
        self.split()
    }

    fn as_tcp(&mut self) -> Option<&mut TcpStream> {
        Some(self)
    }

    fn reset_at_end(&mut self) {
        // Nothing is left to say when it cannot be arranged: the socket is closed either way.
        let _ = self.set_zero_linger();
    }
}

/// What a relay is made of.
#[derive(Debug)]
pub struct Relay<'a, C, T> {
    /// The client's connection.
    pub client: C,
    /// The target's connection.
    pub target: T,
    /// Where buffers are borrowed while bytes are in them.
    pub buffers: &'a Buffers,
    /// Where pipes are borrowed while bytes are in them, for directions that have proved bulky.
    pub pipes: &'a Pipes,
    /// The clock that idleness is measured with.
    pub clock: Clock,
    /// The longest silence in both directions together.
    pub idle_timeout: Duration,
}

impl<C: RelaySide, T: RelaySide> Relay<'_, C, T> {
    /// Passes bytes both ways until both sides have ended, a side failed, it was idle for too long, or `cut` completes.
    ///
    /// The end of one direction is passed on as a half-close while the other goes on. A failure is passed on as a
    /// reset, so that neither peer takes a cut stream for a whole one.
    pub async fn run(self, cut: impl Future<Output = ()>) -> RelaySummary {
        let Self { mut client, mut target, buffers, pipes, clock, idle_timeout } = self;
        let (activity, ended) = (Activity::new(clock), Cell::new(0));
        let between = |reader_failed, writer_failed| Direction {
            activity: &activity,
            buffers,
            pipes,
            reader_failed,
            writer_failed,
            ended: &ended,
            passed: Cell::new(0),
        };
        let up = between(RelayEnd::ClientFailed, RelayEnd::TargetFailed);
        let down = between(RelayEnd::TargetFailed, RelayEnd::ClientFailed);
        let end = {
            let both = async {
                if let (Some(client), Some(target)) = (client.as_tcp(), target.as_tcp()) {
                    let ((from_client, to_client), (from_target, to_target)) =
                        (client.split(), target.split());
                    tokio::try_join!(
                        up.pass_all(from_client, to_target),
                        down.pass_all(from_target, to_client)
                    )
                } else {
                    let ((from_client, to_client), (from_target, to_target)) =
                        (client.halves(), target.halves());
                    tokio::try_join!(
                        up.copy_all(from_client, to_target),
                        down.copy_all(from_target, to_client)
                    )
                }
            };
            tokio::select! {
                biased;
                done = both => done.map_or_else(|end| end, |_| RelayEnd::Closed),
                () = activity.idle_for(idle_timeout) => RelayEnd::Idle,
                () = cut => RelayEnd::Cut,
            }
        };
        if end != RelayEnd::Closed {
            client.reset_at_end();
            target.reset_at_end();
        }
        RelaySummary { from_client_bytes: up.passed.get(), from_target_bytes: down.passed.get(), end }
    }
}

#[cfg(test)]
mod tests;
