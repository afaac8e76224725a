//! A stream of HTTP/2 as a client sees it that has made a tunnel of it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::{RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Both directions of a stream.
#[derive(Debug)]
pub struct Tunnel {
    from_peer: RecvStream,
    to_peer: SendStream<Bytes>,
    /// What has come and was not read.
    rest: Bytes,
}

impl Tunnel {
    /// A tunnel that the peer has agreed to.
    pub fn new(from_peer: RecvStream, to_peer: SendStream<Bytes>) -> Self {
        Self { from_peer, to_peer, rest: Bytes::new() }
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.rest.is_empty() {
            match ready!(self.from_peer.poll_data(cx)) {
                Some(data) => self.rest = data.map_err(io::Error::other)?,
                None => return Poll::Ready(Ok(())),
            }
            let count = self.rest.len();
            self.from_peer.flow_control().release_capacity(count).map_err(io::Error::other)?;
        }
        let count = self.rest.len().min(buf.remaining());
        buf.put_slice(&self.rest[..count]);
        self.rest.advance(count);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.to_peer.reserve_capacity(buf.len());
        let room = match ready!(self.to_peer.poll_capacity(cx)) {
            Some(room) => room.map_err(io::Error::other)?.min(buf.len()),
            None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        };
        let sent = self.to_peer.send_data(Bytes::copy_from_slice(&buf[..room]), false);
        Poll::Ready(sent.map(|()| room).map_err(io::Error::other))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.to_peer.send_data(Bytes::new(), true).map_err(io::Error::other))
    }
}
