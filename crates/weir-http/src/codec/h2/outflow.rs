//! A body on its way out on a stream.

use std::task::{Context, Poll};

use bytes::Bytes;
use h2::{Reason, SendStream};

use super::super::h1::body::{BodyError, Piece};
use super::super::request_body::RequestBody;
use super::super::response_body::ResponseBody;
use super::head::trailer_map;

/// Bytes of a body that are handed over at a time.
const PIECE_BYTES_MAX: usize = 16 * 1024;

/// A body that can be sent.
pub(super) trait Body {
    /// Gives the next bytes to `take`, which says how many it has taken.
    fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        take: &mut dyn FnMut(&[u8]) -> usize,
    ) -> Poll<Result<Piece, BodyError>>;

    /// Whether all of it has been given, and no trailers are left to be.
    fn has_ended(&self) -> bool;

    /// Gives the trailers to `then`, once it has ended: whole lines.
    fn with_trailers(&self, then: &mut dyn FnMut(&[u8]));
}

/// How far a body has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// All of it has been handed over.
    Whole,
    /// It broke off; the stream has been reset, so that nobody takes what came for all there is.
    CutShort,
    /// The peer takes no more.
    Refused,
}

/// The stream, and what waits for its peer to have room.
#[derive(Debug)]
pub(super) struct Outflow {
    pub(super) stream: SendStream<Bytes>,
    piece: Bytes,
    is_last: bool,
    /// What the peer is told of a body that breaks off.
    cut_short: Reason,
}

impl Outflow {
    pub(super) fn new(stream: SendStream<Bytes>, cut_short: Reason) -> Self {
        Self { stream, piece: Bytes::new(), is_last: false, cut_short }
    }

    /// Whether something waits for the peer to have room.
    pub(super) fn is_blocked(&self) -> bool {
        !self.piece.is_empty()
    }

    /// Sends what can be sent now.
    pub(super) fn poll(&mut self, body: &mut impl Body, cx: &mut Context<'_>) -> Poll<Flow> {
        loop {
            if self.piece.is_empty() {
                let taken = body.poll_piece(cx, &mut |bytes| {
                    self.piece = Bytes::copy_from_slice(&bytes[..bytes.len().min(PIECE_BYTES_MAX)]);
                    self.piece.len()
                });
                match taken {
                    Poll::Ready(Ok(Piece::Data)) => self.is_last = body.has_ended(),
                    Poll::Ready(Ok(Piece::End)) => return Poll::Ready(self.end(body)),
                    Poll::Ready(Err(_)) => {
                        self.stream.send_reset(self.cut_short);
                        return Poll::Ready(Flow::CutShort);
                    }
                    Poll::Pending => return Poll::Pending,
                }
            }
            self.stream.reserve_capacity(self.piece.len());
            let room = match self.stream.capacity() {
                0 => match self.stream.poll_capacity(cx) {
                    Poll::Ready(Some(Ok(room))) => room,
                    Poll::Ready(_) => return Poll::Ready(Flow::Refused),
                    Poll::Pending => return Poll::Pending,
                },
                room => room,
            };
            let now = self.piece.split_to(room.min(self.piece.len()));
            let ends = self.is_last && self.piece.is_empty();
            if self.stream.send_data(now, ends).is_err() {
                return Poll::Ready(Flow::Refused);
            }
            if ends {
                return Poll::Ready(Flow::Whole);
            }
        }
    }

    fn end(&mut self, body: &impl Body) -> Flow {
        let mut trailers = None;
        body.with_trailers(&mut |lines| trailers = trailer_map(lines));
        let sent = match trailers {
            Some(trailers) => self.stream.send_trailers(trailers),
            None => self.stream.send_data(Bytes::new(), true),
        };
        if sent.is_ok() { Flow::Whole } else { Flow::Refused }
    }
}

impl Body for RequestBody {
    fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        take: &mut dyn FnMut(&[u8]) -> usize,
    ) -> Poll<Result<Piece, BodyError>> {
        Self::poll_piece(self, cx, take)
    }

    fn has_ended(&self) -> bool {
        Self::has_ended(self)
    }

    fn with_trailers(&self, then: &mut dyn FnMut(&[u8])) {
        Self::with_trailers(self, then);
    }
}

impl Body for ResponseBody {
    fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        take: &mut dyn FnMut(&[u8]) -> usize,
    ) -> Poll<Result<Piece, BodyError>> {
        Self::poll_piece(self, cx, take)
    }

    fn has_ended(&self) -> bool {
        Self::has_ended(self)
    }

    fn with_trailers(&self, then: &mut dyn FnMut(&[u8])) {
        then(self.trailers());
    }
}
