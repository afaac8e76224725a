//! The target side: connections that many requests share, each on a stream of its own.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::Ping;
use h2::client::{Builder, Connection, ResponseFuture, SendRequest};
use http::{HeaderValue, header};
use tokio::sync::Notify;
use tokio::task::spawn_local;
use tokio::time::timeout;
use weir_core::lease::Lease;
use weir_net::departures::Departure;
use weir_net::dial::{DIAL_TIMEOUT, DialError};

use super::super::edits::HeaderText;
use super::super::fields::Known;
use super::super::h1::body::{BodyError, Piece};
use super::super::h1::request_head::Framing;
use super::super::h1::response_head;
use super::super::h1::target::Unanswered;
use super::super::phase::{ConnectionState, Phase};
use super::super::request::{Parts, Request};
use super::super::request_body::{Progress, RequestBody};
use super::super::request_target::Target;
use super::super::response::{Response, may_have_body};
use super::super::response_body::Content;
use super::body::RecvBody;
use super::head::{Lines, field_map};
use super::outflow::{Flow, Outflow};
use crate::error::RequestError;
use weir_tls::Socket;

/// Streams that weir opens on one connection before it opens another connection.
pub(crate) const STREAMS_MAX: usize = 100;

/// A connection to a target, shared by all requests of its worker.
#[derive(Debug)]
pub(crate) struct SharedConnection {
    sender: RefCell<SendRequest<Bytes>>,
    scheme: &'static str,
    streams: Cell<usize>,
    is_closed: Cell<bool>,
    departure: Departure,
    /// Rings when one of its streams has ended.
    freed: Rc<Notify>,
}

impl SharedConnection {
    /// Begins to speak on a connection that has been established. It ends when its target departs.
    ///
    /// Waits for the target's first word: it says how many streams there may be. More would wait for each other, maybe
    /// for ever.
    ///
    /// # Errors
    /// [`RequestError::TargetMalformed`] when the target does not answer as one does that speaks HTTP/2,
    /// [`RequestError::TargetClosedEarly`] when it closes, [`RequestError::DialFailed`] when nothing comes within
    /// [`DIAL_TIMEOUT`].
    pub(crate) async fn begin(
        socket: Socket,
        departure: Departure,
        freed: Rc<Notify>,
    ) -> Result<Rc<Self>, RequestError> {
        let mut builder = Builder::new();
        builder
            .enable_push(false)
            .initial_window_size(super::STREAM_WINDOW_BYTES)
            .initial_connection_window_size(super::TARGET_WINDOW_BYTES)
            .max_header_list_size(response_head::HEAD_BYTES_MAX as u32)
            .max_send_buffer_size(super::SEND_BUFFER_BYTES);
        let scheme = if matches!(socket, Socket::Plain(_)) { "http" } else { "https" };
        let (sender, mut connection) =
            builder.handshake::<_, Bytes>(socket).await.map_err(|_| RequestError::TargetMalformed)?;
        timeout(DIAL_TIMEOUT, first_word(&mut connection))
            .await
            .map_err(|_| RequestError::DialFailed(DialError::TimedOut))??;
        let shared = Rc::new(Self {
            sender: RefCell::new(sender),
            scheme,
            streams: Cell::new(0),
            is_closed: Cell::new(false),
            departure: departure.clone(),
            freed,
        });
        let driven = Rc::downgrade(&shared);
        spawn_local(async move {
            tokio::select! {
                biased;
                // How it ended is known to whoever had a request on it.
                _ = connection => {}
                () = departure.happened() => {}
            }
            if let Some(shared) = driven.upgrade() {
                shared.is_closed.set(true);
            }
        });
        Ok(shared)
    }

    /// Whether the target has closed it.
    pub(crate) fn is_closed(&self) -> bool {
        self.is_closed.get()
    }

    /// Whether no request is on it.
    pub(crate) fn is_idle(&self) -> bool {
        self.streams.get() == 0
    }

    /// How many streams it may have.
    pub(crate) fn most(&self) -> usize {
        self.sender.borrow().current_max_send_streams().min(STREAMS_MAX)
    }

    /// A stream for one request; `None` when it has as many as it may.
    pub(crate) fn stream(self: &Rc<Self>) -> Option<Stream> {
        let has_room = !self.is_closed.get() && self.streams.get() < self.most();
        has_room.then(|| {
            self.streams.set(self.streams.get() + 1);
            Stream(self.clone())
        })
    }
}

/// Drives a connection until its target has said how many streams there may be.
async fn first_word(connection: &mut Connection<Socket, Bytes>) -> Result<(), RequestError> {
    let Some(mut pings) = connection.ping_pong() else { return Ok(()) };
    tokio::select! {
        biased;
        // Whoever answers has read what was sent before, and its settings come before all that it sends.
        Ok(_) = pings.ping(Ping::opaque()) => Ok(()),
        end = connection => match end {
            Err(error) if !error.is_io() => Err(RequestError::TargetMalformed),
            _ => Err(RequestError::TargetClosedEarly),
        },
    }
}

/// A place among the streams of a connection; given back when dropped.
#[derive(Debug)]
pub(crate) struct Stream(Rc<SharedConnection>);

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.streams.set(self.0.streams.get() - 1);
        self.0.freed.notify_waiters();
    }
}

impl Stream {
    /// Sends a request and waits for the head of its response, whose body then holds stream and lease.
    ///
    /// # Errors
    /// [`Unanswered`], with the request in it if it was never sent, or if repeating it is safe.
    pub(crate) async fn send(self, mut request: Request, lease: Lease) -> Result<Response, Unanswered> {
        let state = request.parts().connection.clone();
        let body = std::mem::replace(&mut request.parts_mut().body, RequestBody::empty());
        let message = message(request.parts(), body.framing(), self.0.scheme);
        let is_empty = body.framing() == Framing::None;
        state.enter(Phase::AwaitingTarget);
        let mut sender = self.0.sender.borrow().clone();
        let sent = match poll_fn(|cx| sender.poll_ready(cx)).await {
            Ok(()) => sender.send_request(message, is_empty),
            Err(error) => Err(error),
        };
        let Ok((mut response, stream)) = sent else {
            return Err(self.unanswered(Failure::Unsent, body, request, lease));
        };
        let mut upload =
            Upload { body, outflow: (!is_empty).then(|| Outflow::new(stream, h2::Reason::CANCEL)) };
        let answer = poll_fn(|cx| poll_answer(&mut response, &mut upload, &state, cx)).await;
        state.enter(Phase::Answering);
        match answer {
            Ok(answer) => Ok(self.answered(answer, upload, lease, &request)),
            Err(Failure::Expired) if upload.is_blocked() => {
                Err(Unanswered::finally(RequestError::TargetTimedOut))
            }
            Err(failure) => Err(self.unanswered(failure, upload.body, request, lease)),
        }
    }

    fn answered(
        self,
        answer: http::Response<h2::RecvStream>,
        upload: Upload,
        lease: Lease,
        request: &Request,
    ) -> Response {
        let (head, recv) = answer.into_parts();
        let status = head.status.as_u16();
        let length =
            head.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        let mut lines = Lines::new();
        lines.fields(&head.headers, |_| true);
        let parts = request.parts();
        let is_head = parts.head.bytes(parts.method) == b"HEAD";
        let length = if !may_have_body(status, is_head) || !recv.is_end_stream() { length } else { Some(0) };
        let body = TargetBody {
            body: RecvBody::new(recv),
            upload,
            _stream: self,
            lease: Some(lease),
            state: parts.connection.clone(),
        };
        Response::from_target(status, lines.into_head(), None, length, Content::Http2(Box::new(body)))
    }

    fn unanswered(
        &self,
        failure: Failure,
        mut body: RequestBody,
        mut request: Request,
        lease: Lease,
    ) -> Unanswered {
        let is_leaving = matches!(failure, Failure::GoneAway | Failure::Unsent);
        if is_leaving {
            self.0.is_closed.set(true);
        }
        let error = match failure {
            Failure::BrokenOff => RequestError::BodyBrokenOff,
            Failure::Expired if body.progress() == Progress::Whole => RequestError::TargetTimedOut,
            Failure::Expired => RequestError::BodyTimedOut,
            _ if self.0.departure.has_happened() => RequestError::DeregisteredMidRequest,
            Failure::Malformed | Failure::Nonsense => RequestError::TargetMalformed,
            Failure::GoneAway | Failure::Lost | Failure::Refused | Failure::Unsent => {
                RequestError::TargetClosedEarly
            }
        };
        let may_repeat = match failure {
            Failure::BrokenOff | Failure::Expired | Failure::Malformed => false,
            Failure::Lost => request.is_repeatable(),
            // Whose answer that was is only known where nobody else had a request on the connection.
            Failure::Nonsense => self.0.streams.get() > 1 && request.is_repeatable(),
            // The target says that it has not looked at it. Source: RFC 9113 section 8.7.
            Failure::GoneAway | Failure::Refused | Failure::Unsent => true,
        };
        let again = may_repeat && body.rewind();
        request.parts_mut().body = body;
        // Another connection will do: this one has only come to its end.
        let is_stale = again && is_leaving && !self.0.departure.has_happened();
        Unanswered { error, request: again.then_some(request), stale: is_stale.then_some(lease) }
    }
}

fn poll_answer(
    response: &mut ResponseFuture,
    upload: &mut Upload,
    state: &ConnectionState,
    cx: &mut Context<'_>,
) -> Poll<Result<http::Response<h2::RecvStream>, Failure>> {
    if state.poll_expired(cx).is_ready() {
        return Poll::Ready(Err(Failure::Expired));
    }
    if upload.poll(cx) == Poll::Ready(Flow::CutShort) {
        return Poll::Ready(Err(Failure::BrokenOff));
    }
    Poll::Ready(ready!(Pin::new(response).poll(cx)).map_err(|error| match error.reason() {
        // Of those that were under way, only what the target has not looked at fails with it.
        _ if error.is_go_away() && error.is_remote() => Failure::GoneAway,
        // Of its own accord this side resets only streams with answers that are none, and ends only connections on which
        // something came that is no HTTP/2.
        _ if error.is_reset() && error.is_library() => Failure::Malformed,
        _ if error.is_go_away() && error.is_library() => Failure::Nonsense,
        Some(h2::Reason::REFUSED_STREAM) => Failure::Refused,
        _ => Failure::Lost,
    }))
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    BrokenOff,
    Expired,
    /// The target takes no more on this connection.
    GoneAway,
    Lost,
    Malformed,
    /// Somebody's answer was none, and ended the connection.
    Nonsense,
    Refused,
    Unsent,
}

/// A request's body on its way to the target.
#[derive(Debug)]
struct Upload {
    body: RequestBody,
    /// `None` once it has ended.
    outflow: Option<Outflow>,
}

impl Upload {
    /// Whether something waits for the target to take it.
    fn is_blocked(&self) -> bool {
        self.outflow.as_ref().is_some_and(Outflow::is_blocked)
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Flow> {
        let Some(outflow) = &mut self.outflow else { return Poll::Ready(Flow::Whole) };
        let flow = ready!(outflow.poll(&mut self.body, cx));
        self.outflow = None;
        Poll::Ready(flow)
    }
}

/// The rest of an exchange: the response's body, and what is left of the request.
#[derive(Debug)]
pub(crate) struct TargetBody {
    body: RecvBody,
    upload: Upload,
    _stream: Stream,
    /// The target counts as in use until the body ends.
    lease: Option<Lease>,
    state: Rc<ConnectionState>,
}

impl TargetBody {
    /// Gives the next bytes to `take`, and goes on with the request meanwhile.
    ///
    /// # Errors
    /// [`BodyError`], of the target.
    pub(crate) fn poll_piece(
        &mut self,
        cx: &mut Context<'_>,
        take: &mut dyn FnMut(&[u8]) -> usize,
    ) -> Poll<Result<Piece, BodyError>> {
        self.poll_upload(cx);
        let piece = ready!(self.body.poll_piece(cx, take));
        self.state.sent();
        if self.body.is_done() {
            self.lease = None;
        }
        Poll::Ready(piece)
    }

    /// Goes on with the request, while the client takes none of the answer.
    pub(crate) fn poll_upload(&mut self, cx: &mut Context<'_>) {
        // A client that breaks off what nobody waits for any more still gets its answer.
        let _ = self.upload.poll(cx);
    }

    /// Whether all of it has been given, and no trailers are left to be.
    pub(crate) fn has_ended(&self) -> bool {
        self.body.is_done() && self.body.trailers().is_empty()
    }

    /// The trailers that may be passed on, once it has ended: whole lines.
    pub(crate) fn trailers(&self) -> &[u8] {
        self.body.trailers()
    }
}

/// A request as HTTP/2 writes it.
fn message(request: &Parts, framing: Framing, scheme: &'static str) -> http::Request<()> {
    let head = &request.head;
    let mut message = http::Request::new(());
    *message.method_mut() = http::Method::from_bytes(head.bytes(request.method)).unwrap_or_default();
    let host = request.edits.get(Known::Host).map(HeaderText::as_bytes);
    let authority = host.or_else(|| head.first(Known::Host)).unwrap_or(b"");
    let path = match (&request.rewritten_url, request.target) {
        (Some(url), _) => url.as_bytes(),
        (None, Target::Asterisk | Target::Invalid) => b"*",
        (None, Target::Resource { .. }) => head.bytes(request.raw_target),
    };
    let uri = http::Uri::builder().scheme(scheme).authority(authority).path_and_query(path).build();
    // A target that cannot be asked for by this name is asked for by none.
    *message.uri_mut() = uri.unwrap_or_default();
    let mut map = field_map(Some(head), &request.edits);
    map.remove(header::HOST);
    if head.has_token(Known::Te, "trailers") {
        map.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    if let Framing::Length(bytes) = framing {
        map.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes));
    }
    *message.headers_mut() = map;
    message
}
