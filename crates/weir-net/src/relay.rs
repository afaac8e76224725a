//! The relay: bytes both ways between two sockets until both have ended.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::buffers::Buffers;
use crate::idle::IdleWatch;
use crate::pipes::Pipes;
use crate::stream::Stream;

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
pub trait RelaySide: AsyncRead + AsyncWrite + Unpin {
    /// The socket, where its bytes are just those that are relayed, without encryption or frames: between two of them
    /// bytes need not leave the kernel.
    fn as_tcp(&mut self) -> Option<&mut Stream> {
        None
    }

    /// Says that nothing more comes. Where what came `is_cut_short`, since its sender ended TLS without a farewell, no farewell is said
    /// either: a peer that can tell shall not take a part for the whole.
    ///
    /// # Errors
    /// The socket's.
    fn poll_end(&mut self, is_cut_short: bool, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let _ = is_cut_short;
        Pin::new(self).poll_shutdown(cx)
    }

    /// Makes its end a reset, as far as that can be arranged.
    fn reset_at_end(&mut self);
}

impl<S: RelaySide> RelaySide for &mut S {
    fn as_tcp(&mut self) -> Option<&mut Stream> {
        (**self).as_tcp()
    }

    fn poll_end(&mut self, is_cut_short: bool, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        (**self).poll_end(is_cut_short, cx)
    }

    fn reset_at_end(&mut self) {
        (**self).reset_at_end();
    }
}

impl RelaySide for Stream {
    fn as_tcp(&mut self) -> Option<&mut Stream> {
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
    /// Who looks whether it is idle.
    pub idle: &'a IdleWatch,
    /// The longest silence in both directions together.
    pub idle_timeout: Duration,
}

impl<C: RelaySide, T: RelaySide> Relay<'_, C, T> {
    /// Passes bytes both ways until both sides have ended, a side failed, it was idle for too long, or `cut` completes.
    ///
    /// The end of one direction is passed on as a half-close while the other goes on. A failure is passed on as a
    /// reset, so that neither peer takes a cut stream for a whole one.
    pub async fn run(mut self, mut cut: impl Future<Output = ()> + Unpin) -> RelaySummary {
        let Self { client, target, buffers, pipes, idle, idle_timeout } = &mut self;
        let idleness = idle.over(*idle_timeout);
        let mut up = Direction::new(buffers, pipes, RelayEnd::ClientFailed, RelayEnd::TargetFailed);
        let mut down = Direction::new(buffers, pipes, RelayEnd::TargetFailed, RelayEnd::ClientFailed);
        let end = poll_fn(|cx| {
            let up_ended = up.poll(client, target, down.has_ended(), cx)?;
            let down_ended = down.poll(target, client, up.has_ended(), cx)?;
            if up_ended.is_ready() && down_ended.is_ready() {
                return Poll::Ready(Ok(RelayEnd::Closed));
            }
            if up.has_moved() | down.has_moved() {
                idleness.end();
            }
            if idleness.poll_over(cx).is_ready() {
                return Poll::Ready(Ok(RelayEnd::Idle));
            }
            Pin::new(&mut cut).poll(cx).map(|()| Ok(RelayEnd::Cut))
        })
        .await
        .unwrap_or_else(|failed| failed);
        if end != RelayEnd::Closed {
            self.client.reset_at_end();
            self.target.reset_at_end();
        }
        RelaySummary { from_client_bytes: up.passed_bytes(), from_target_bytes: down.passed_bytes(), end }
    }
}

#[cfg(test)]
mod tests;
