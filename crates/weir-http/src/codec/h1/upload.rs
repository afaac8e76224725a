//! A request on its way to its target: the head, and the body as it comes.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use super::super::buffer::Buffer;
use super::super::request_body::RequestBody;
use super::body::Piece;
use super::request_head::Framing;
use super::write::{append_data, append_last_chunk, room_for_data};
use weir_tls::Socket;

/// What is still to be written of a request.
#[derive(Debug)]
pub(crate) struct Upload {
    body: RequestBody,
    /// What has been put together and not been written; none while nothing is.
    output: Option<Buffer>,
    state: State,
    /// Whether the target has taken a byte.
    pub(super) has_begun: bool,
    /// Whether what was written may still wait to be encrypted and sent.
    is_unflushed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// More of the body is to come.
    Filling,
    /// All of the body is in the output, or has been written.
    Filled,
    /// The target takes no more: it may still answer.
    Refused,
}

/// The client broke its body off.
#[derive(Debug)]
pub(super) struct BrokenOff;

impl Upload {
    /// An upload that begins with the head in `output`.
    pub(super) fn new(output: Buffer, body: RequestBody) -> Self {
        let state = if body.framing() == Framing::None { State::Filled } else { State::Filling };
        Self { body, output: Some(output), state, has_begun: false, is_unflushed: false }
    }

    /// Whether all of the request has been written.
    pub(super) fn is_complete(&self) -> bool {
        self.state == State::Filled && self.output.is_none() && !self.is_unflushed
    }

    /// Whether something waits for the target to take it.
    pub(super) fn is_blocked(&self) -> bool {
        self.output.is_some() || self.is_unflushed
    }

    /// Whether nothing is left to be done, in order or not.
    pub(super) fn has_ended(&self) -> bool {
        self.is_complete() || self.state == State::Refused
    }

    /// The body, for another attempt.
    pub(super) fn into_body(self) -> RequestBody {
        self.body
    }

    /// Writes as much as can be written now.
    ///
    /// # Errors
    /// [`BrokenOff`]. That the target takes no more is none: it may have answered already.
    pub(super) fn poll(&mut self, socket: &mut Socket, cx: &mut Context<'_>) -> Poll<Result<(), BrokenOff>> {
        while !self.has_ended() {
            let is_waiting = self.fill(cx)?;
            match self.write(socket, cx) {
                Poll::Ready(Ok(())) if is_waiting => return Poll::Pending,
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => self.state = State::Refused,
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Takes of the body what has come and fits; whether it waits for the client.
    fn fill(&mut self, cx: &mut Context<'_>) -> Result<bool, BrokenOff> {
        let is_chunked = self.body.framing() == Framing::Chunked;
        while self.state == State::Filling {
            let output = self.output.get_or_insert_with(Buffer::borrow);
            let Some(room) = room_for_data(output) else { return Ok(false) };
            let piece = self.body.poll_piece(cx, &mut |bytes| append_data(output, bytes, room, is_chunked));
            match piece {
                Poll::Ready(Ok(Piece::Data)) => {}
                Poll::Ready(Ok(Piece::End)) => {
                    self.state = State::Filled;
                    if is_chunked {
                        self.body.with_trailers(|trailers| append_last_chunk(output, trailers));
                    }
                }
                Poll::Ready(Err(_)) => return Err(BrokenOff),
                Poll::Pending => {
                    if output.is_empty() {
                        self.output = None;
                    }
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    fn write(&mut self, socket: &mut Socket, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(output) = &mut self.output {
            let before = output.len();
            let written = output.poll_write(Pin::new(socket), cx);
            if output.len() < before {
                (self.has_begun, self.is_unflushed) = (true, true);
            }
            ready!(written)?;
            self.output = None;
        }
        if self.is_unflushed {
            ready!(Pin::new(socket).poll_flush(cx))?;
            self.is_unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}
