//! The target side: one connection, one request at a time.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};
use weir_core::lease::Lease;
use weir_net::departures::Departure;

use super::super::buffer::{Buffer, poll_fill};
use super::super::fields::{Field, Known};
use super::super::head::{Head, borrow_list, give_back, may_end_head};
use super::super::phase::{ConnectionState, Phase};
use super::super::request::Request;
use super::super::request_body::{Progress, RequestBody};
use super::super::response::{Response, SWITCHING_PROTOCOLS};
use super::super::response_body::Content;
use super::body::{BodyError, Decoder, Piece};
use super::response_head::{self, ResponseHead};
use super::upload::Upload;
use super::write::append_request_head;
use crate::error::RequestError;
use crate::targets::Pool;
use weir_tls::Socket;

/// Interim responses that a target may send before its answer.
const INTERIM_MAX: u32 = 16;

/// A connection to a target that can take a request.
#[derive(Debug)]
pub(crate) struct TargetConnection {
    pub(super) socket: Socket,
    /// What has come and has not been read; none while nothing has.
    pub(super) input: Option<Buffer>,
    pool: Pool,
    departure: Departure,
    /// Whether it has answered before: a request that fails on it may have met the target's own idle timeout.
    is_reused: bool,
}

/// A request that a target did not answer.
pub(crate) struct Unanswered {
    /// What failed.
    pub(crate) error: RequestError,
    /// The request, when it may be sent again.
    pub(crate) request: Option<Request>,
    /// The lease, when nothing is wrong but that the target had closed a connection it had kept: another one will do.
    pub(crate) stale: Option<Lease>,
}

impl Unanswered {
    /// The request is not to be sent again.
    pub(crate) fn finally(error: RequestError) -> Self {
        Self { error, request: None, stale: None }
    }
}

impl TargetConnection {
    /// A connection that has just been established. What is under way on it ends when its target departs.
    pub(crate) fn new(socket: Socket, departure: Departure, pool: Pool) -> Box<Self> {
        Box::new(Self { socket, input: None, pool, departure, is_reused: false })
    }

    /// Whether its target has left.
    pub(crate) fn has_left(&self) -> bool {
        self.departure.has_happened()
    }

    /// Whether an idle connection can take a request: the target has neither closed it nor sent a byte unasked.
    pub(crate) fn is_usable(&mut self) -> bool {
        self.input.is_none() && self.socket.is_silent()
    }

    /// Sends a request and waits for the head of its response, whose body then holds connection and lease.
    ///
    /// # Errors
    /// [`Unanswered`], with the request in it if not a byte of it was written, or if repeating it is safe.
    pub(crate) async fn send(
        mut self: Box<Self>,
        mut request: Request,
        lease: Lease,
    ) -> Result<Response, Unanswered> {
        let state = request.parts().connection.clone();
        let mut output = Buffer::borrow();
        append_request_head(&mut output, request.parts());
        let body = std::mem::replace(&mut request.parts_mut().body, RequestBody::empty());
        let mut upload = Upload::new(output, body);
        let mut fields = borrow_list();
        state.enter(Phase::AwaitingTarget);
        let mut reading = Reading::default();
        let answer = poll_fn(|cx| self.poll_answer(&mut upload, &state, &mut fields, &mut reading, cx)).await;
        state.enter(Phase::Answering);
        match answer {
            Ok(line) => {
                let head = Head::take(&mut self.input, line.end, fields);
                if !suits(&request, &head, line.status) {
                    return Err(Unanswered::finally(RequestError::TargetMalformed));
                }
                let parts = request.parts();
                let is_head = parts.head.bytes(parts.method) == b"HEAD";
                let keeps_alive = line.keeps_alive && parts.is_trusted;
                let mut body = TargetBody {
                    connection: Some(self),
                    upload,
                    decoder: line.body(is_head),
                    keeps_alive,
                    lease: Some(lease),
                    state,
                };
                if body.decoder.is_done() && line.status != SWITCHING_PROTOCOLS {
                    body.finish();
                }
                let content = Content::Http1(body);
                Ok(Response::from_target(line.status, head, Some(line.reason), line.length(), content))
            }
            Err(failure) => {
                give_back(fields);
                Err(self.unanswered(failure, upload, request, lease))
            }
        }
    }

    fn poll_answer(
        &mut self,
        upload: &mut Upload,
        state: &ConnectionState,
        fields: &mut Vec<Field>,
        reading: &mut Reading,
        cx: &mut Context<'_>,
    ) -> Poll<Result<ResponseHead, Failure>> {
        if self.departure.poll_happened(cx).is_ready() {
            return Poll::Ready(Err(Failure::Left));
        }
        if state.poll_expired(cx).is_ready() {
            return Poll::Ready(Err(Failure::Expired));
        }
        if let Poll::Ready(Err(_)) = upload.poll(&mut self.socket, cx) {
            return Poll::Ready(Err(Failure::BrokenOff));
        }
        loop {
            match ready!(poll_fill(&mut self.input, Pin::new(&mut self.socket), cx)) {
                Ok(1..) => {}
                Ok(0) | Err(_) if self.input.is_some() || reading.interim > 0 => {
                    return Poll::Ready(Err(Failure::CutShort));
                }
                Ok(0) | Err(_) => return Poll::Ready(Err(Failure::Closed)),
            }
            while let Some(input) = &mut self.input {
                let looked_at = std::mem::replace(&mut reading.looked_at, input.len());
                if looked_at > 0 && !may_end_head(&input.data()[looked_at..]) && !input.is_full() {
                    break;
                }
                let head = match response_head::parse(input.data(), fields) {
                    Ok(Some(head)) => head,
                    Ok(None) if input.make_room(response_head::HEAD_BYTES_MAX) => break,
                    Ok(None) | Err(_) => return Poll::Ready(Err(Failure::Malformed)),
                };
                if !head.is_interim() {
                    return Poll::Ready(Ok(head));
                }
                (reading.looked_at, reading.interim) = (0, reading.interim + 1);
                if reading.interim > INTERIM_MAX {
                    return Poll::Ready(Err(Failure::Malformed));
                }
                input.consume(head.end);
                if input.is_empty() {
                    self.input = None;
                }
            }
        }
    }

    fn unanswered(&self, failure: Failure, upload: Upload, mut request: Request, lease: Lease) -> Unanswered {
        let (has_begun, is_blocked) = (upload.has_begun, upload.is_blocked());
        let mut body = upload.into_body();
        let error = match failure {
            Failure::BrokenOff => RequestError::BodyBrokenOff,
            Failure::Left => RequestError::DeregisteredMidRequest,
            // Either the answer was waited for, or the target took none of the request.
            Failure::Expired if is_blocked || body.progress() == Progress::Whole => {
                RequestError::TargetTimedOut
            }
            Failure::Expired => RequestError::BodyTimedOut,
            Failure::Malformed => RequestError::TargetMalformed,
            Failure::Closed if self.departure.has_happened() => RequestError::DeregisteredMidRequest,
            Failure::Closed | Failure::CutShort => RequestError::TargetClosedEarly,
        };
        let may_repeat = match failure {
            // With the first byte of an answer the target has said that it has looked at the request.
            Failure::BrokenOff | Failure::CutShort | Failure::Expired | Failure::Malformed => false,
            Failure::Left | Failure::Closed => !has_begun || request.is_repeatable(),
        };
        let again = may_repeat && body.rewind();
        request.parts_mut().body = body;
        let is_stale = again && self.is_reused && failure == Failure::Closed;
        Unanswered { error, request: again.then_some(request), stale: is_stale.then_some(lease) }
    }

    /// Gives it back to the pool it came from, for the next request.
    fn release(mut self: Box<Self>) {
        self.is_reused = true;
        self.departure.forget();
        if !self.has_left() {
            let pool = self.pool.clone();
            pool.put(self);
        }
    }
}

/// How far a response's head has come.
#[derive(Default)]
struct Reading {
    /// Bytes that were no whole head.
    looked_at: usize,
    /// Heads that only informed.
    interim: u32,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    BrokenOff,
    /// Before a byte of an answer.
    Closed,
    /// Within an answer's head.
    CutShort,
    Expired,
    Left,
    Malformed,
}

/// The rest of an exchange: the response's body, and what is left of the request.
#[derive(Debug)]
pub(crate) struct TargetBody {
    /// `None` once it has gone back to its pool.
    connection: Option<Box<TargetConnection>>,
    upload: Upload,
    decoder: Decoder,
    keeps_alive: bool,
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
        let Some(connection) = &mut self.connection else { return Poll::Ready(Ok(Piece::End)) };
        if connection.departure.poll_happened(cx).is_ready() {
            return Poll::Ready(Err(BodyError::TargetLeft));
        }
        // A client that breaks off what nobody waits for any more still gets its answer.
        let _ = self.upload.poll(&mut connection.socket, cx);
        let socket = Pin::new(&mut connection.socket);
        let piece = ready!(self.decoder.poll_piece(&mut connection.input, socket, cx, take))?;
        self.state.sent();
        if self.decoder.is_done() {
            self.finish();
        }
        Poll::Ready(Ok(piece))
    }

    /// Goes on with the request, while the client takes none of the answer.
    pub(crate) fn poll_upload(&mut self, cx: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection {
            let _ = self.upload.poll(&mut connection.socket, cx);
        }
    }

    /// Whether all of it has been given, and no trailers are left to be.
    pub(crate) fn has_ended(&self) -> bool {
        self.connection.is_none() && self.decoder.trailers().is_empty()
    }

    /// The trailers that may be passed on, once it has ended: whole lines.
    pub(crate) fn trailers(&self) -> &[u8] {
        self.decoder.trailers()
    }

    /// Gives the connection back if nothing is left on it, of the request or of another answer.
    fn finish(&mut self) {
        self.lease = None;
        if let Some(connection) = self.connection.take()
            && self.keeps_alive
            && self.upload.is_complete()
            && connection.input.is_none()
        {
            connection.release();
        }
    }

    /// What a tunnel is made of.
    pub(super) fn into_tunnel(mut self) -> Option<(Box<TargetConnection>, Lease)> {
        Some((self.connection.take()?, self.lease.take()?))
    }
}

/// Whether an answer is one that its request allows: a switch of protocols is the one that was asked for. To a client of
/// HTTP/2 any success is that, so there nothing else may be one. Source: RFC 8441 section 5.
fn suits(request: &Request, head: &Head, status: u16) -> bool {
    let is_stream = request.is_http2() && request.parts().upgrade.is_some();
    match status {
        SWITCHING_PROTOCOLS => agrees(request, head) && (!is_stream || knows_key(request, head)),
        200..=299 => !is_stream,
        _ => true,
    }
}

/// Whether a switch of protocols is the one that was asked for.
fn agrees(request: &Request, head: &Head) -> bool {
    let parts = request.parts();
    let asked = parts.upgrade.map(|protocol| parts.head.bytes(protocol));
    asked.is_some_and(|asked| {
        head.first(Known::Upgrade).is_some_and(|agreed| agreed.eq_ignore_ascii_case(asked))
    })
}

/// Whether a target has understood the key of a WebSocket that weir has made, and so nobody else can check.
/// Source: RFC 6455 section 4.1.
fn knows_key(request: &Request, head: &Head) -> bool {
    const SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    let fields = request.parts().head.fields();
    let Some(key) = fields.named("sec-websocket-key").next() else { return false };
    let expected = STANDARD.encode(Sha1::new().chain_update(key).chain_update(SUFFIX).finalize());
    head.fields().named("sec-websocket-accept").next() == Some(expected.as_bytes())
}
