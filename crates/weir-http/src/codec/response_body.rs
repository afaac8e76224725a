//! A response's body on its way to the client.

use std::task::{Context, Poll, ready};

use super::h1::body::{BodyError, Piece};
use super::h1::target::TargetBody;
use super::h2;
use crate::record::Record;

/// A response's body on its way to the client.
#[derive(Debug)]
pub(crate) struct ResponseBody {
    content: Content,
    /// Written to the log when it is dropped.
    record: Option<Record>,
}

#[derive(Debug)]
pub(crate) enum Content {
    /// Made by weir: what of it is still to be sent.
    Generated { bytes: Vec<u8>, sent: usize },
    /// From a target that speaks HTTP/1.1.
    Http1(TargetBody),
    /// From a target that speaks HTTP/2.
    Http2(Box<h2::target::TargetBody>),
}

impl ResponseBody {
    pub(crate) fn new(content: Content) -> Self {
        Self { content, record: None }
    }

    /// What of it there is.
    pub(crate) fn into_content(self) -> Content {
        self.content
    }

    /// Hands over the request's record, to be finished with the body.
    pub(crate) fn finish_with(&mut self, record: Record) {
        self.record = Some(record);
    }

    /// Takes the record out, of an exchange that goes on as a tunnel.
    pub(crate) fn take_record(&mut self) -> Option<Record> {
        self.record.take()
    }

    /// Gives the next bytes to `take`, which says how many it has taken.
    ///
    /// # Errors
    /// [`BodyError`], of the target.
    pub(crate) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        take: &mut dyn FnMut(&[u8]) -> usize,
    ) -> Poll<Result<Piece, BodyError>> {
        let Self { content, record } = self;
        let mut count = |bytes: &[u8]| {
            let taken = take(bytes);
            if let Some(record) = record {
                record.sent(taken);
            }
            taken
        };
        let piece = match content {
            Content::Generated { bytes, sent } if *sent < bytes.len() => {
                *sent += count(&bytes[*sent..]);
                Ok(Piece::Data)
            }
            Content::Generated { .. } => Ok(Piece::End),
            Content::Http1(body) => ready!(body.poll_piece(cx, &mut count)),
            Content::Http2(body) => ready!(body.poll_piece(cx, &mut count)),
        };
        if piece.is_err()
            && let Some(record) = record
        {
            record.cut_short();
        }
        Poll::Ready(piece)
    }

    /// Whether all of it has been given.
    pub(crate) fn has_ended(&self) -> bool {
        match &self.content {
            Content::Generated { bytes, sent } => *sent == bytes.len(),
            Content::Http1(body) => body.has_ended(),
            Content::Http2(body) => body.has_ended(),
        }
    }

    /// Goes on with the request, while the client takes none of the answer.
    pub(crate) fn poll_upload(&mut self, cx: &mut Context<'_>) {
        match &mut self.content {
            Content::Generated { .. } => {}
            Content::Http1(body) => body.poll_upload(cx),
            Content::Http2(body) => body.poll_upload(cx),
        }
    }

    /// The trailers that may be passed on, once it has ended: whole lines.
    pub(crate) fn trailers(&self) -> &[u8] {
        match &self.content {
            Content::Generated { .. } => &[],
            Content::Http1(body) => body.trailers(),
            Content::Http2(body) => body.trailers(),
        }
    }
}
