//! The body of an HTTP/1 message, taken out of its framing.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use super::super::buffer::{Buffer, poll_fill};
use super::chunks::{Chunks, Step};
use super::request_head::Framing;
use weir_tls::Socket;

/// What is still to come of a body.
#[derive(Debug)]
pub(crate) enum Decoder {
    /// Nothing. The trailers that came with the end, as lines.
    Done(Vec<u8>),
    /// As many bytes, at least one.
    Length(u64),
    /// Chunks, and bytes of data that have come and follow next.
    Chunked(Chunks, usize),
    /// Everything until the connection ends.
    UntilClose,
}

/// A piece of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Some bytes were taken.
    Data,
    /// It has come to its end.
    End,
}

/// Why a body ends before its end.
#[derive(Debug)]
pub(crate) enum BodyError {
    /// The connection ended first.
    CutShort,
    /// The connection failed.
    Failed,
    /// Its framing is wrong.
    Malformed,
    /// The target left while it sent.
    TargetLeft,
}

impl Decoder {
    /// A body that has ended, or is none.
    pub(crate) const NONE: Self = Self::Done(Vec::new());

    /// A request's body.
    pub(crate) fn of_request(framing: Framing) -> Self {
        match framing {
            Framing::None => Self::NONE,
            Framing::Length(bytes) => Self::Length(bytes),
            Framing::Chunked => Self::Chunked(Chunks::default(), 0),
        }
    }

    /// Whether nothing more is to come.
    pub(crate) fn is_done(&self) -> bool {
        matches!(self, Self::Done(_))
    }

    /// The trailers that may be passed on, once it is done: whole lines.
    pub(crate) fn trailers(&self) -> &[u8] {
        match self {
            Self::Done(trailers) => trailers,
            _ => &[],
        }
    }

    /// Bytes still to come, where that is known.
    pub(crate) fn left(&self) -> Option<u64> {
        match self {
            Self::Done(_) => Some(0),
            Self::Length(left) => Some(*left),
            Self::Chunked(..) | Self::UntilClose => None,
        }
    }

    /// Gives the next bytes of the body to `take`, which says how many it has taken; reads from `socket` when there
    /// are none in `input`.
    ///
    /// # Errors
    /// [`BodyError`].
    pub(crate) fn poll_piece(
        &mut self,
        input: &mut Option<Buffer>,
        socket: Pin<&mut Socket>,
        cx: &mut Context<'_>,
        take: &mut dyn FnMut(&[u8]) -> usize,
    ) -> Poll<Result<Piece, BodyError>> {
        let mut socket = socket;
        loop {
            match self.take_buffered(input, take) {
                Ok(Some(piece)) => return Poll::Ready(Ok(piece)),
                Ok(None) => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
            match ready!(poll_fill(input, socket.as_mut(), cx)) {
                Ok(0) if matches!(self, Self::UntilClose) => {
                    *self = Self::NONE;
                    return Poll::Ready(Ok(Piece::End));
                }
                Ok(0) => return Poll::Ready(Err(BodyError::CutShort)),
                Ok(_) => {}
                Err(_) => return Poll::Ready(Err(BodyError::Failed)),
            }
        }
    }

    /// The next piece, if it has come.
    fn take_buffered(
        &mut self,
        input: &mut Option<Buffer>,
        take: &mut dyn FnMut(&[u8]) -> usize,
    ) -> Result<Option<Piece>, BodyError> {
        if self.is_done() {
            return Ok(Some(Piece::End));
        }
        let Some(buffer) = input else { return Ok(None) };
        let here = match self {
            Self::Done(_) => 0,
            Self::Length(left) => usize::try_from(*left).unwrap_or(usize::MAX).min(buffer.len()),
            Self::UntilClose => buffer.len(),
            Self::Chunked(_, data @ 1..) => *data,
            Self::Chunked(chunks, data) => {
                let (framing, step) = chunks.decode(buffer.data()).map_err(|_| BodyError::Malformed)?;
                buffer.consume(framing);
                *data = match step {
                    Step::Data(here) => here,
                    Step::More => 0,
                    Step::End => {
                        *self = Self::Done(chunks.trailers().to_vec());
                        release(input);
                        return Ok(Some(Piece::End));
                    }
                };
                *data
            }
        };
        if here == 0 {
            release(input);
            return Ok(None);
        }
        let taken = take(&buffer.data()[..here]);
        buffer.consume(taken);
        match self {
            Self::Length(left) => {
                *left -= taken as u64;
                if *left == 0 {
                    *self = Self::NONE;
                }
            }
            Self::Chunked(_, data) => *data -= taken,
            Self::Done(_) | Self::UntilClose => {}
        }
        release(input);
        Ok(Some(Piece::Data))
    }
}

/// Gives an empty buffer back.
fn release(input: &mut Option<Buffer>) {
    if input.as_ref().is_some_and(Buffer::is_empty) {
        *input = None;
    }
}
