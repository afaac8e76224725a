//! A stream as a tunnel sees it: bytes both ways. Source: RFC 8441.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use weir_net::relay::RelaySide;

use super::body::RecvBody;

/// Bytes that are handed over at a time.
const PIECE_BYTES_MAX: usize = 16 * 1024;

/// Both directions of a stream.
#[derive(Debug)]
pub(super) struct StreamIo {
    pub(super) from_peer: RecvBody,
    pub(super) to_peer: SendStream<Bytes>,
}

impl AsyncRead for StreamIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let taken = ready!(self.from_peer.poll_piece(cx, &mut |bytes| {
            let count = bytes.len().min(buf.remaining());
            buf.put_slice(&bytes[..count]);
            count
        }));
        // With the end of the body, nothing was put.
        Poll::Ready(taken.map(drop).map_err(|_| io::ErrorKind::ConnectionReset.into()))
    }
}

impl AsyncWrite for StreamIo {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let stream = &mut self.to_peer;
        stream.reserve_capacity(buf.len().min(PIECE_BYTES_MAX));
        let room = match stream.capacity() {
            0 => match ready!(stream.poll_capacity(cx)) {
                Some(Ok(room)) => room,
                _ => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            },
            room => room,
        };
        let count = room.min(buf.len());
        let sent = stream.send_data(Bytes::copy_from_slice(&buf[..count]), false);
        Poll::Ready(sent.map(|()| count).map_err(|_| io::ErrorKind::BrokenPipe.into()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The connection's task writes what it was given.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let sent = self.to_peer.send_data(Bytes::new(), true);
        Poll::Ready(sent.map_err(|_| io::ErrorKind::BrokenPipe.into()))
    }
}

impl RelaySide for StreamIo {
    fn reset_at_end(&mut self) {
        self.to_peer.send_reset(Reason::CANCEL);
    }
}
