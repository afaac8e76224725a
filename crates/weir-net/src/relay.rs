//! The relay: bytes both ways between two sockets until both have ended.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;

use crate::activity::Activity;
use crate::buffers::{Buffer, Buffers};
use crate::clock::Clock;

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

    /// Makes its end a reset, as far as that can be arranged.
    fn reset_at_end(&mut self);
}

impl RelaySide for TcpStream {
    fn halves(&mut self) -> (impl AsyncRead + Unpin, impl AsyncWrite + Unpin) {
        self.split()
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
    /// The clock that idleness is measured with.
    pub clock: Clock,
    /// The longest silence in both directions together.
    pub idle_timeout: Duration,
}

impl<C: RelaySide, T: RelaySide> Relay<'_, C, T> {
    /// Copies both ways until both sides have ended, a side failed, it was idle for too long, or `cut` completes.
    ///
    /// The end of one direction is passed on as a half-close while the other goes on. A failure is passed on as a
    /// reset, so that neither peer takes a cut stream for a whole one.
    pub async fn run(self, cut: impl Future<Output = ()>) -> RelaySummary {
        let Self { mut client, mut target, buffers, clock, idle_timeout } = self;
        let activity = Activity::new(clock);
        let (from_client_bytes, from_target_bytes) = (Cell::new(0), Cell::new(0));
        let end = {
            let (client_read, client_write) = client.halves();
            let (target_read, target_write) = target.halves();
            let upward = Direction { bytes: &from_client_bytes, activity: &activity, buffers };
            let downward = Direction { bytes: &from_target_bytes, activity: &activity, buffers };
            let both = async {
                let up = async { upward.copy(client_read, target_write).await.map_err(Side::as_seen_upward) };
                let down =
                    async { downward.copy(target_read, client_write).await.map_err(Side::as_seen_downward) };
                tokio::try_join!(up, down)
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
        RelaySummary {
            from_client_bytes: from_client_bytes.get(),
            from_target_bytes: from_target_bytes.get(),
            end,
        }
    }
}

/// Which side of a direction failed.
#[derive(Clone, Copy, Debug)]
enum Side {
    Reader,
    Writer,
}

impl Side {
    fn as_seen_upward(self) -> RelayEnd {
        match self {
            Self::Reader => RelayEnd::ClientFailed,
            Self::Writer => RelayEnd::TargetFailed,
        }
    }

    fn as_seen_downward(self) -> RelayEnd {
        match self {
            Self::Reader => RelayEnd::TargetFailed,
            Self::Writer => RelayEnd::ClientFailed,
        }
    }
}

struct Direction<'a> {
    bytes: &'a Cell<u64>,
    activity: &'a Activity,
    buffers: &'a Buffers,
}

impl Direction<'_> {
    async fn copy(
        &self,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
    ) -> Result<(), Side> {
        loop {
            let (buffer, count) = self.read(&mut from).await.map_err(|_| Side::Reader)?;
            if count == 0 {
                break;
            }
            self.activity.touch();
            to.write_all(&buffer[..count]).await.map_err(|_| Side::Writer)?;
            // Bytes that were encrypted may still wait for the kernel.
            to.flush().await.map_err(|_| Side::Writer)?;
            self.bytes.set(self.bytes.get() + count as u64);
        }
        match to.shutdown().await {
            // The peer has closed both ways already: it needs no telling.
            Err(error) if error.kind() != io::ErrorKind::NotConnected => Err(Side::Writer),
            _ => Ok(()),
        }
    }

    /// Reads into a buffer that is borrowed only once there is something to read: an idle flow owns none.
    async fn read(&self, from: &mut (impl AsyncRead + Unpin)) -> io::Result<(Buffer<'_>, usize)> {
        poll_fn(|cx| {
            let mut buffer = self.buffers.borrow();
            let mut space = ReadBuf::new(&mut buffer);
            ready!(Pin::new(&mut *from).poll_read(cx, &mut space))?;
            let count = space.filled().len();
            Poll::Ready(Ok((buffer, count)))
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;
    use tokio::net::TcpListener;

    use super::*;

    async fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let far = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (far, listener.accept().await.unwrap().0)
    }

    /// A relay with a far end on each side.
    async fn start(idle_timeout: Duration) -> (TcpStream, TcpStream, impl Future<Output = RelaySummary>) {
        let ((client_far, client), (target_far, target)) = (pair().await, pair().await);
        let relay = async move {
            let buffers = Buffers::default();
            let clock = Clock::start();
            Relay { client, target, buffers: &buffers, clock, idle_timeout }.run(std::future::pending()).await
        };
        (client_far, target_far, relay)
    }

    #[tokio::test]
    async fn a_half_close_passes_while_the_other_direction_goes_on() {
        let (mut client, mut target, relay) = start(Duration::from_secs(60)).await;
        let talk = async {
            client.write_all(b"question").await.unwrap();
            client.shutdown().await.unwrap();
            let mut question = String::new();
            target.read_to_string(&mut question).await.unwrap();
            target.write_all(b"long answer").await.unwrap();
            drop(target);
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            (question, answer)
        };
        let (summary, (question, answer)) = tokio::join!(relay, talk);
        assert_eq!((question.as_str(), answer.as_str()), ("question", "long answer"));
        let expected = RelaySummary { from_client_bytes: 8, from_target_bytes: 11, end: RelayEnd::Closed };
        assert_eq!(summary, expected);
    }

    #[tokio::test]
    async fn megabytes_pass_unchanged_in_both_directions() {
        let (client, target, relay) = start(Duration::from_secs(60)).await;
        let bytes: Vec<u8> = (0..3_000_000_u32).map(|n| n as u8).collect();
        let exchange = |stream: TcpStream| {
            let bytes = bytes.clone();
            async move {
                let (mut read, mut write) = stream.into_split();
                let send = async {
                    write.write_all(&bytes).await.unwrap();
                    drop(write);
                };
                let mut got = Vec::new();
                let receive = read.read_to_end(&mut got);
                let ((), received) = tokio::join!(send, receive);
                received.unwrap();
                assert!(got == bytes);
            }
        };
        let (summary, (), ()) = tokio::join!(relay, exchange(client), exchange(target));
        assert_eq!((summary.from_client_bytes, summary.from_target_bytes), (3_000_000, 3_000_000));
    }

    #[tokio::test]
    async fn a_reset_passes_as_a_reset() {
        let (client, mut target, relay) = start(Duration::from_secs(60)).await;
        client.set_zero_linger().unwrap();
        drop(client);
        let summary = relay.await;
        assert_eq!(summary.end, RelayEnd::ClientFailed);
        let error = target.read(&mut [0; 8]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }

    // Conformance: B4.1
    #[tokio::test(start_paused = true)]
    async fn a_silent_flow_ends_after_its_idle_timeout() {
        let (_client, _target, relay) = start(Duration::from_secs(350)).await;
        let began = tokio::time::Instant::now();
        assert_eq!(relay.await.end, RelayEnd::Idle);
        assert_eq!(began.elapsed().as_secs(), 350);
    }
}
