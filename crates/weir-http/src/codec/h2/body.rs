//! The body of an HTTP/2 message.

use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h2::RecvStream;

use super::super::h1::body::{BodyError, Piece};
use super::head::{check_limits, trailer_lines};

/// A body that a peer sends. Room for more is given to the peer as bytes are taken.
#[derive(Debug)]
pub(crate) struct RecvBody {
    stream: RecvStream,
    /// What has come and has not been taken.
    current: Bytes,
    /// Whole lines.
    trailers: Vec<u8>,
    is_done: bool,
}

impl RecvBody {
    pub(super) fn new(stream: RecvStream) -> Self {
        let is_done = stream.is_end_stream();
        Self { stream, current: Bytes::new(), trailers: Vec::new(), is_done }
    }

    /// Whether nothing more is to come.
    pub(crate) fn is_done(&self) -> bool {
        self.is_done
    }

    /// The trailers that may be passed on, once it is done: whole lines.
    pub(crate) fn trailers(&self) -> &[u8] {
        &self.trailers
    }

    /// Gives the next bytes to `take`, which says how many it has taken.
    ///
    /// # Errors
    /// [`BodyError::CutShort`] when the peer resets the stream or goes away.
    pub(crate) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        take: &mut dyn FnMut(&[u8]) -> usize,
    ) -> Poll<Result<Piece, BodyError>> {
        while self.current.is_empty() && !self.is_done {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(bytes)) => self.current = bytes,
                Some(Err(_)) => return Poll::Ready(Err(BodyError::CutShort)),
                None => match ready!(self.stream.poll_trailers(cx)) {
                    Ok(Some(trailers)) if check_limits(&trailers).is_err() => {
                        return Poll::Ready(Err(BodyError::Malformed));
                    }
                    Ok(trailers) => {
                        self.trailers = trailers.map_or_else(Vec::new, |trailers| trailer_lines(&trailers));
                        self.is_done = true;
                    }
                    Err(_) => return Poll::Ready(Err(BodyError::CutShort)),
                },
            }
        }
        if self.current.is_empty() {
            return Poll::Ready(Ok(Piece::End));
        }
        let taken = take(&self.current);
        self.current.advance(taken);
        // A peer that has gone needs no more room.
        let _ = self.stream.flow_control().release_capacity(taken);
        self.is_done = self.current.is_empty() && self.stream.is_end_stream();
        Poll::Ready(Ok(Piece::Data))
    }
}
