//! A response on its way to the client.

use std::task::{Context, Poll};

use super::super::buffer::Buffer;
use super::super::response_body::ResponseBody;
use super::body::Piece;
use super::client_side::ClientSide;
use super::write::{Delimiter, append_data, append_last_chunk, room_for_data};

/// How the sending of a response went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Whole,
    CutShort,
    ClientGone,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyState {
    Flowing,
    Ended,
    CutShort,
}

/// A response on its way out: one output for its head and its body, sent when nothing more comes at once.
pub(super) struct Sending<'a> {
    pub(super) client: &'a ClientSide,
    pub(super) body: &'a mut ResponseBody,
    /// What has been put together and not been written; none while nothing is.
    pub(super) output: Option<Buffer>,
    pub(super) delimiter: Delimiter,
    pub(super) has_trailers: bool,
    pub(super) state: BodyState,
}

impl Sending<'_> {
    /// Sends what can be sent now.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Sent> {
        loop {
            self.fill(cx);
            if let Some(output) = &mut self.output {
                match self.client.poll_write(output, cx) {
                    Poll::Ready(Ok(())) => self.output = None,
                    Poll::Ready(Err(_)) => return Poll::Ready(Sent::ClientGone),
                    Poll::Pending => {
                        // A client may want to send all of its body before it reads.
                        self.body.poll_upload(cx);
                        return Poll::Pending;
                    }
                }
                if self.state == BodyState::Flowing {
                    continue;
                }
            }
            match self.client.poll_flush(cx) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(Sent::ClientGone),
                Poll::Pending => return Poll::Pending,
            }
            return match self.state {
                BodyState::Flowing => Poll::Pending,
                BodyState::Ended => Poll::Ready(Sent::Whole),
                BodyState::CutShort => Poll::Ready(Sent::CutShort),
            };
        }
    }

    /// Takes of the body what has come and fits.
    fn fill(&mut self, cx: &mut Context<'_>) {
        let is_chunked = self.delimiter == Delimiter::Chunks;
        while self.state == BodyState::Flowing {
            let output = self.output.get_or_insert_with(Buffer::borrow);
            let Some(room) = room_for_data(output) else { return };
            let piece = self.body.poll_piece(cx, &mut |bytes| append_data(output, bytes, room, is_chunked));
            match piece {
                Poll::Ready(Ok(Piece::Data)) => {}
                Poll::Ready(Ok(Piece::End)) => {
                    self.state = BodyState::Ended;
                    if is_chunked {
                        let trailers = if self.has_trailers { self.body.trailers() } else { &[] };
                        append_last_chunk(output, trailers);
                    }
                }
                Poll::Ready(Err(_)) => self.state = BodyState::CutShort,
                Poll::Pending => {
                    if output.is_empty() {
                        self.output = None;
                    }
                    return;
                }
            }
        }
    }
}
