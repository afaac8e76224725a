//! The reference: hyper's server on a connection in memory.

use std::cell::RefCell;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper::service::service_fn;

/// A request as hyper gives it to a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) method: String,
    pub(super) target: String,
    /// Of HTTP/1.x, the x.
    pub(super) minor: u8,
    /// Names in lower case.
    pub(super) fields: Vec<(String, Vec<u8>)>,
    pub(super) body: Vec<u8>,
    pub(super) trailers: Vec<(String, Vec<u8>)>,
    /// Whether the body has ended well.
    pub(super) is_complete: bool,
    /// Whether it has ended because it was malformed.
    pub(super) is_malformed: bool,
}

/// What hyper makes of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    pub(super) seen: Vec<Seen>,
    /// Whether it gave up on a head that it could not read.
    pub(super) is_refused: bool,
}

/// Bytes that come in two pieces and then end; what is written goes nowhere.
struct Connection<'a> {
    pieces: [&'a [u8]; 2],
}

impl Read for Connection<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(piece) = self.pieces.iter_mut().find(|piece| !piece.is_empty()) {
            let length = piece.len().min(buffer.remaining());
            buffer.put_slice(&piece[..length]);
            *piece = &piece[length..];
        }
        Poll::Ready(Ok(()))
    }
}

impl Write for Connection<'_> {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// The body of every response.
struct Nothing;

impl Body for Nothing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        true
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(0)
    }
}

/// Lets hyper read a connection whose bytes come in two pieces.
pub(super) fn read(bytes: &[u8], split: usize) -> Reference {
    let seen: Rc<RefCell<Vec<Seen>>> = Rc::default();
    let service = service_fn(|request: hyper::Request<Incoming>| {
        let seen = Rc::clone(&seen);
        async move {
            let at = seen.borrow().len();
            let (parts, body) = request.into_parts();
            seen.borrow_mut().push(Seen {
                method: parts.method.to_string(),
                target: parts.uri.to_string(),
                minor: u8::from(parts.version == hyper::Version::HTTP_11),
                fields: lines(&parts.headers),
                ..Seen::default()
            });
            drain(body, &seen, at).await;
            // Nothing else than 200 would be told of by hyper's own rules.
            Ok::<_, Infallible>(hyper::Response::new(Nothing))
        }
    });
    let (first, second) = bytes.split_at(split);
    let connection = hyper::server::conn::http1::Builder::new()
        .header_read_timeout(None)
        .half_close(true)
        .auto_date_header(false)
        .serve_connection(Connection { pieces: [first, second] }, service);
    let mut context = Context::from_waker(Waker::noop());
    let mut connection = pin!(connection);
    let outcome = loop {
        // Nothing in it waits for anybody.
        if let Poll::Ready(outcome) = connection.as_mut().poll(&mut context) {
            break outcome;
        }
    };
    let is_refused = outcome.is_err_and(|error| error.is_parse());
    let seen = seen.borrow().clone();
    Reference { seen, is_refused }
}

async fn drain(mut body: Incoming, seen: &RefCell<Vec<Seen>>, at: usize) {
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        let mut seen = seen.borrow_mut();
        match frame.map(Frame::into_data) {
            Ok(Ok(data)) => seen[at].body.extend_from_slice(&data),
            Ok(Err(frame)) => {
                if let Ok(trailers) = frame.into_trailers() {
                    seen[at].trailers = lines(&trailers);
                }
            }
            Err(error) => {
                seen[at].is_malformed = !error.is_incomplete_message() && !is_end_of_file(&error);
                return;
            }
        }
    }
    seen.borrow_mut()[at].is_complete = true;
}

/// Whether a body was cut short rather than malformed.
fn is_end_of_file(error: &hyper::Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    source.is_some_and(|source| source.kind() == io::ErrorKind::UnexpectedEof)
}

fn lines(map: &hyper::HeaderMap) -> Vec<(String, Vec<u8>)> {
    map.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect()
}
