//! A request's body on its way to a target, remembered while it is small enough to be sent again.

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use super::h1::body::{BodyError, Piece};
use super::h1::client_side::ClientSide;
use super::h1::request_head::Framing;
use super::h2::body::RecvBody;
use super::phase::ConnectionState;

/// Largest body that is remembered for another attempt, in bytes.
const REMEMBERED_BYTES_MAX: usize = 64 * 1024;

/// A request's body, to be read from its beginning.
#[derive(Debug)]
pub(crate) struct RequestBody {
    source: Source,
    framing: Framing,
    remembered: Remembered,
    /// Remembered bytes that have been given again.
    replayed: usize,
    progress: Progress,
}

/// Where a body comes from.
#[derive(Debug)]
pub(crate) enum Source {
    /// There is none.
    None,
    /// An HTTP/1.1 connection.
    Http1(Rc<ClientSide>),
    /// An HTTP/2 stream.
    Http2(Box<RecvBody>, Rc<ConnectionState>),
}

/// How far the client has come with a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// There is more to come.
    Flowing,
    /// The client closed or sent nonsense before the end.
    BrokenOff,
    /// All of it has come.
    Whole,
}

/// What another attempt would begin with.
#[derive(Debug)]
enum Remembered {
    /// All of the body so far.
    Bytes(Vec<u8>),
    /// It must not be sent again, or is too large, or the client broke off.
    Nothing,
}

impl RequestBody {
    /// No body.
    pub(crate) fn empty() -> Self {
        Self::new(Source::None, Framing::None)
    }

    /// The client's body, remembered as it passes until that is too much, however long it is to be: a target may say of any
    /// method, and after any part of it, that it has not looked at it.
    pub(crate) fn new(source: Source, framing: Framing) -> Self {
        let remembered = Remembered::Bytes(Vec::new());
        let progress = if framing == Framing::None { Progress::Whole } else { Progress::Flowing };
        Self { source, framing, remembered, replayed: 0, progress }
    }

    /// How it is delimited toward a target.
    pub(crate) fn framing(&self) -> Framing {
        self.framing
    }

    /// How far the client has come.
    pub(crate) fn progress(&self) -> Progress {
        self.progress
    }

    /// Gives the trailers that may be passed on to `then`, once the body has ended: whole lines.
    pub(crate) fn with_trailers(&self, then: impl FnOnce(&[u8])) {
        match &self.source {
            Source::None => then(&[]),
            Source::Http1(client) => client.with_trailers(then),
            Source::Http2(body, _) => then(body.trailers()),
        }
    }

    /// Whether all of it has been given, and no trailers are left to be.
    pub(crate) fn has_ended(&self) -> bool {
        let is_replayed = match &self.remembered {
            Remembered::Bytes(bytes) => self.replayed == bytes.len(),
            Remembered::Nothing => true,
        };
        is_replayed
            && match &self.source {
                Source::None => true,
                Source::Http1(client) => client.body_has_ended(),
                Source::Http2(body, _) => body.is_done() && body.trailers().is_empty(),
            }
    }

    /// Begins again, for another attempt; whether that is possible.
    pub(crate) fn rewind(&mut self) -> bool {
        self.replayed = 0;
        matches!(self.remembered, Remembered::Bytes(_)) || self.framing == Framing::None
    }

    /// Gives the next bytes to `take`, which says how many it has taken.
    ///
    /// # Errors
    /// [`BodyError`], of the client.
    pub(crate) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        take: &mut dyn FnMut(&[u8]) -> usize,
    ) -> Poll<Result<Piece, BodyError>> {
        if let Remembered::Bytes(bytes) = &self.remembered
            && self.replayed < bytes.len()
        {
            self.replayed += take(&bytes[self.replayed..]);
            return Poll::Ready(Ok(Piece::Data));
        }
        let Self { source, remembered, replayed, .. } = self;
        let mut remember = |bytes: &[u8]| {
            let taken = take(bytes);
            if let Remembered::Bytes(kept) = remembered {
                if kept.len() + taken > REMEMBERED_BYTES_MAX {
                    *remembered = Remembered::Nothing;
                } else {
                    kept.extend_from_slice(&bytes[..taken]);
                    *replayed = kept.len();
                }
            }
            taken
        };
        let piece = match source {
            Source::None => Ok(Piece::End),
            Source::Http1(client) => ready!(client.poll_body(cx, &mut remember)),
            Source::Http2(body, state) => ready!(body.poll_piece(cx, &mut |bytes| {
                let taken = remember(bytes);
                state.received_body(taken);
                taken
            })),
        };
        match &piece {
            // Whoever has all of it need not ask for its end.
            Ok(Piece::Data) if self.has_ended() => self.progress = Progress::Whole,
            Ok(Piece::Data) => {}
            Ok(Piece::End) => self.progress = Progress::Whole,
            // A client that broke off has nothing that another target should see.
            Err(_) => {
                self.remembered = Remembered::Nothing;
                self.progress = Progress::BrokenOff;
            }
        }
        Poll::Ready(piece)
    }
}
