//! Bodies in both directions.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use weir_core::lease::Lease;

use super::client::TargetConnection;
use crate::record::Record;

/// A request's body on its way to a target.
#[derive(Debug)]
pub(super) struct RequestBody {
    incoming: Option<Incoming>,
    /// Bytes passed on so far, for the access log.
    received_bytes: Option<Rc<Cell<u64>>>,
}

impl RequestBody {
    /// No body.
    pub(super) fn empty() -> Self {
        Self { incoming: None, received_bytes: None }
    }

    /// The client's body, counted as it passes.
    pub(super) fn streamed(incoming: Incoming, received_bytes: Rc<Cell<u64>>) -> Self {
        Self { incoming: Some(incoming), received_bytes: Some(received_bytes) }
    }

    /// The client's body and its count again, from a request that was never written.
    pub(super) fn into_parts(self) -> (Option<Incoming>, Option<Rc<Cell<u64>>>) {
        (self.incoming, self.received_bytes)
    }
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(incoming) = &mut self.incoming else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(incoming).poll_frame(cx));
        if let (Some(Ok(frame)), Some(count)) = (&frame, &self.received_bytes) {
            count.set(count.get() + frame.data_ref().map_or(0, |data| data.len() as u64));
        }
        // Trailers of a request are not passed on: none of them may frame, route or authorise.
        Poll::Ready(frame.filter(|frame| frame.as_ref().map_or(true, Frame::is_data)))
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map_or(SizeHint::with_exact(0), Body::size_hint)
    }
}

/// A response's body on its way to the client.
#[derive(Debug)]
pub(crate) struct ResponseBody {
    content: Content,
    /// Written to the log when the body ends or is dropped.
    record: Option<Record>,
}

#[derive(Debug)]
enum Content {
    Generated(Option<Bytes>),
    FromTarget {
        incoming: Incoming,
        /// Goes back to its pool when the body has ended in order.
        connection: Option<TargetConnection>,
        /// The target counts as in use until the body ends.
        _lease: Lease,
    },
}

impl ResponseBody {
    /// A body that weir made.
    pub(super) fn generated(bytes: Bytes) -> Self {
        Self { content: Content::Generated(Some(bytes).filter(|bytes| !bytes.is_empty())), record: None }
    }

    /// A body that a target sends.
    pub(super) fn from_target(incoming: Incoming, connection: TargetConnection, lease: Lease) -> Self {
        let mut connection = Some(connection);
        if incoming.is_end_stream() {
            release(&mut connection);
        }
        Self { content: Content::FromTarget { incoming, connection, _lease: lease }, record: None }
    }

    /// Hands over the request's record, to be finished with the body.
    pub(crate) fn finish_with(&mut self, record: Record) {
        self.record = Some(record);
    }

    fn count(&mut self, bytes: usize) {
        if let Some(record) = &mut self.record {
            record.sent(bytes);
        }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = match &mut self.content {
            Content::Generated(bytes) => bytes.take().map(|bytes| Ok(Frame::data(bytes))),
            Content::FromTarget { incoming, connection, .. } => {
                let frame = ready!(Pin::new(&mut *incoming).poll_frame(cx));
                if frame.is_none() || incoming.is_end_stream() {
                    release(connection);
                }
                frame
            }
        };
        match &frame {
            Some(Ok(frame)) => self.count(frame.data_ref().map_or(0, Bytes::len)),
            Some(Err(_)) => {
                if let Some(record) = &mut self.record {
                    record.cut_short();
                }
            }
            None => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Generated(bytes) => bytes.is_none(),
            Content::FromTarget { incoming, .. } => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Generated(bytes) => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Content::FromTarget { incoming, .. } => incoming.size_hint(),
        }
    }
}

fn release(connection: &mut Option<TargetConnection>) {
    if let Some(connection) = connection.take() {
        connection.release();
    }
}
