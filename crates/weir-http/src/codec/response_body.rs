//! A response's body on its way to the client.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use weir_core::lease::Lease;

use super::client::TargetConnection;
use crate::record::Record;

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
