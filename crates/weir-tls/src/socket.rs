//! A socket of a connection with a client or a target.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use weir_net::relay::RelaySide;
use weir_net::stream::Stream;

use crate::{ClientStream, TargetStream};

/// A connection's socket, with or without TLS.
#[derive(Debug)]
pub enum Socket {
    /// Without.
    Plain(Stream),
    /// With a client.
    Client(Box<ClientStream<Stream>>),
    /// With a target.
    Target(Box<TargetStream<Stream>>),
}

impl Socket {
    /// The TCP connection beneath.
    pub fn tcp(&mut self) -> &mut Stream {
        match self {
            Self::Plain(stream) => stream,
            Self::Client(stream) => stream.get_mut().0,
            Self::Target(stream) => stream.get_mut().0,
        }
    }

    /// Whether it speaks TLS.
    pub fn is_encrypted(&self) -> bool {
        !matches!(self, Self::Plain(_))
    }

    /// Whether nothing has come, not even the end, as far as the worker's event loop has heard: the kernel is asked only
    /// if that has heard something.
    pub fn is_silent(&mut self) -> bool {
        match self {
            Self::Plain(stream) => {
                stream.try_read(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
            }
            // What comes may be TLS's own affair.
            Self::Client(stream) => is_silent(stream),
            Self::Target(stream) => is_silent(stream),
        }
    }
}

impl RelaySide for Socket {
    fn as_tcp(&mut self) -> Option<&mut Stream> {
        match self {
            Self::Plain(stream) => Some(stream),
            Self::Client(_) | Self::Target(_) => None,
        }
    }

    fn poll_end(&mut self, is_cut_short: bool, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Self::Client(stream) if is_cut_short => Pin::new(stream.get_mut().0).poll_shutdown(cx),
            Self::Target(stream) if is_cut_short => Pin::new(stream.get_mut().0).poll_shutdown(cx),
            socket => Pin::new(socket).poll_shutdown(cx),
        }
    }

    fn reset_at_end(&mut self) {
        // Nothing is left to say when it cannot be arranged: the socket is closed either way.
        let _ = self.tcp().set_zero_linger();
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Client(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Target(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Client(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Target(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Client(stream) => Pin::new(stream).poll_flush(cx),
            Self::Target(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Client(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Target(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

fn is_silent(stream: &mut (impl AsyncRead + Unpin)) -> bool {
    let mut cx = Context::from_waker(std::task::Waker::noop());
    Pin::new(stream).poll_read(&mut cx, &mut ReadBuf::new(&mut [0])).is_pending()
}
