//! The client side: accepts streams of one connection, and answers each in a task of its own.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use h2::ext::Protocol;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream};
use http::{HeaderValue, Method, header};
use tokio::task::spawn_local;
use weir_net::worker::Worker;

use super::super::edits::Edits;
use super::super::fields::Known;
use super::super::h1::desync::Oddities;
use super::super::h1::request_head::{Framing, HeadError, LINE_BYTES_MAX};
use super::super::h1::tunnel::Tunnel;
use super::super::phase::ConnectionState;
use super::super::request::{Origin, Parts, Request, Version};
use super::super::request_body::{RequestBody, Source};
use super::super::request_target::Target;
use super::super::response::{Response, SWITCHING_PROTOCOLS, may_have_body};
use super::super::{Answer, Connection, date};
use super::body::RecvBody;
use super::head::{Lines, check_limits, field_map};
use super::outflow::Outflow;
use super::patience::{Patience, Watched};
use super::stream_io::StreamIo;
use crate::error::RequestError;
use weir_tls::Socket;

/// Requests of one connection, after which it is to be replaced by another.
///
/// Source: Application Load Balancer: a GOAWAY after 10,000 requests.
const REQUESTS_MAX: u32 = 10_000;

/// The one protocol that a stream may become a tunnel of.
const WEBSOCKET: &str = "websocket";

/// How long a client may take until it has said how it wants to speak.
const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(10);

fn settings() -> Builder {
    let mut builder = Builder::new();
    builder
        .initial_window_size(super::STREAM_WINDOW_BYTES)
        .initial_connection_window_size(super::CLIENT_WINDOW_BYTES)
        .max_concurrent_streams(super::STREAMS_MAX)
        .max_header_list_size(super::HEAD_BYTES_MAX)
        .max_send_buffer_size(super::SEND_BUFFER_BYTES)
        .max_pending_accept_reset_streams(super::PENDING_RESETS_MAX)
        .max_local_error_reset_streams(Some(super::LOCAL_RESETS_MAX))
        .enable_connect_protocol();
    builder
}

/// Serves one client connection until it ends.
///
/// A stream on which nothing moves for the idle timeout is answered with 504 or reset, and a connection without streams
/// is closed after as long. One timer serves all: it is re-armed only when it fires.
pub(crate) async fn serve<A: Answer + 'static>(
    socket: Socket,
    origin: Rc<Origin>,
    connection: Connection,
    worker: &Worker,
    answer: Rc<A>,
) {
    let patience = Patience::new();
    let handshake = settings().handshake::<_, Bytes>(Watched::new(socket, patience.clone()));
    let Ok(Ok(mut http)) = tokio::time::timeout(HANDSHAKE_DEADLINE, handshake).await else { return };
    let look = ConnectionState::look_interval(connection.idle_timeout);
    let mut streams: Vec<Rc<ConnectionState>> = Vec::new();
    let own = ConnectionState::new(connection.idle_timeout);
    let mut guard = pin!(tokio::time::sleep(look));
    let mut drained = pin!(worker.drain.begun());
    let (opened, mut requests, mut is_ending, mut is_over) = (worker.clock.now(), 0, false, false);
    poll_fn(|cx| {
        loop {
            match http.poll_accept(cx) {
                Poll::Ready(Some(Ok((request, respond)))) => {
                    let state = Rc::new(ConnectionState::new(connection.idle_timeout));
                    streams.push(state.clone());
                    own.sent();
                    let (origin, worker, patience) = (origin.clone(), worker.clone(), patience.clone());
                    let stream = Stream { origin, state, worker, patience, respond };
                    // In a box: the runtime moves a task's future about before it comes to rest.
                    spawn_local(Box::pin(stream.run(request, answer.clone())));
                    requests += 1;
                    if requests == REQUESTS_MAX && !is_ending {
                        is_ending = true;
                        http.graceful_shutdown();
                    }
                    continue;
                }
                // How a connection ended is the client's affair: requests have their own records.
                Poll::Ready(Some(Err(_)) | None) => return Poll::Ready(()),
                Poll::Pending => {}
            }
            if patience.is_over() && !is_over {
                (is_over, is_ending) = (true, true);
                http.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                continue;
            }
            if !is_ending && drained.as_mut().poll(cx).is_ready() {
                is_ending = true;
                http.graceful_shutdown();
                continue;
            }
            if guard.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            guard.as_mut().reset(tokio::time::Instant::now() + look);
            patience.restore();
            let age = worker.clock.now().since(opened);
            if !is_ending && age >= connection.settings.client_keep_alive {
                is_ending = true;
                http.graceful_shutdown();
            }
            // What only this list knows has ended.
            streams.retain(|state| Rc::strong_count(state) > 1);
            for state in streams.iter().filter(|state| state.is_silent()) {
                state.expire();
            }
            if !streams.is_empty() {
                own.sent();
            }
            if own.is_silent() {
                if is_ending {
                    return Poll::Ready(());
                }
                is_ending = true;
                http.graceful_shutdown();
            }
        }
    })
    .await;
}

/// One stream: a request and its answer.
struct Stream {
    origin: Rc<Origin>,
    state: Rc<ConnectionState>,
    worker: Worker,
    patience: Rc<Patience>,
    respond: SendResponse<Bytes>,
}

impl Stream {
    async fn run<A: Answer>(mut self, request: http::Request<RecvStream>, answer: Rc<A>) {
        let _running = self.worker.tasks.begin();
        self.state.begin_request();
        let is_head = request.method() == Method::HEAD;
        let (request, tunnel) = match self.request(request) {
            Ok((request, tunnel)) => (Ok(request), tunnel),
            Err(error) => (Err(error), None),
        };
        let response = match request {
            Err(error) => Some(answer.refuse(&self.origin, error)),
            Ok(request) => {
                if request.wants_continue() {
                    // Whoever has gone meanwhile is found out below.
                    let mut interim = http::Response::new(());
                    *interim.status_mut() = http::StatusCode::CONTINUE;
                    let _ = self.respond.send_informational(interim);
                }
                let mut answering = pin!(answer.answer(request));
                poll_fn(|cx| match answering.as_mut().poll(cx) {
                    Poll::Ready(response) => Poll::Ready(Some(response)),
                    // A client that resets its stream has gone away.
                    Poll::Pending => self.respond.poll_reset(cx).map(|_| None),
                })
                .await
            }
        };
        match (response, tunnel) {
            (Some(response), Some(from_client)) if response.status() == SWITCHING_PROTOCOLS => {
                Box::pin(self.tunnel(response, from_client)).await;
            }
            (Some(response), _) => self.send(response, is_head).await,
            (None, _) => self.patience.was_reset(),
        }
    }

    /// Goes on as a tunnel, to which the target has agreed. Source: RFC 8441 section 5.
    async fn tunnel(mut self, mut response: Response, from_peer: RecvBody) {
        self.origin.dress(&mut response);
        let parts = response.into_parts();
        let mut head = http::Response::new(());
        let mut map = field_map(parts.head.as_ref(), &parts.edits);
        map.remove(header::SEC_WEBSOCKET_ACCEPT);
        *head.headers_mut() = map;
        let Some(tunnel) = Tunnel::of(parts) else { return };
        if let Ok(to_peer) = self.respond.send_response(head, false) {
            let client = StreamIo { from_peer, to_peer };
            tunnel.run(client, None, self.state.idle_timeout(), &self.worker).await;
        }
    }

    /// The request, in the form that all codecs share; and, of one that asks for a tunnel, what is to be sent through it.
    fn request(
        &self,
        request: http::Request<RecvStream>,
    ) -> Result<(Request, Option<RecvBody>), RequestError> {
        let (head, stream) = request.into_parts();
        let protocol = head.extensions.get::<Protocol>().map(Protocol::as_str);
        let is_websocket = head.method == Method::CONNECT && protocol == Some(WEBSOCKET);
        let authority = head.uri.authority().map(http::uri::Authority::as_str);
        let host = head.headers.get(header::HOST).map(HeaderValue::as_bytes);
        // What is routed on is what is sent, and there is one of it.
        if let (Some(authority), Some(host)) = (authority, host)
            && !authority.as_bytes().eq_ignore_ascii_case(host)
        {
            return Err(RequestError::HostInvalid);
        }
        check_limits(&head.headers).map_err(RequestError::HeadInvalid)?;
        let mut expected = head.headers.get_all(header::EXPECT).iter();
        if expected.any(|value| !value.as_bytes().eq_ignore_ascii_case(b"100-continue")) {
            return Err(RequestError::ExpectationUnknown);
        }
        if !matches!(head.uri.scheme_str(), None | Some("http" | "https")) {
            return Err(RequestError::TargetInvalid);
        }
        let path = head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        if path.len() > LINE_BYTES_MAX {
            return Err(RequestError::HeadInvalid(HeadError::RequestLineTooLong));
        }
        let mut lines = Lines::new();
        // Toward targets it is the upgrade of HTTP/1.1.
        let method = lines.part(if is_websocket { b"GET" } else { head.method.as_str().as_bytes() });
        lines.part(b" ");
        let raw_target = lines.part(path.as_bytes());
        lines.part(b"\r\n");
        if let (Some(authority), None) = (authority, host) {
            lines.field(Known::Host, b"Host", authority.as_bytes());
        }
        // The key toward the target is weir's own.
        lines.fields(&head.headers, |name| !is_websocket || name != b"sec-websocket-key");
        let upgrade = is_websocket.then(|| {
            lines.field(
                Known::Other,
                b"Sec-WebSocket-Key",
                STANDARD.encode(fastrand::u128(..).to_ne_bytes()).as_bytes(),
            );
            lines.field(Known::Upgrade, b"Upgrade", WEBSOCKET.as_bytes())
        });
        let framing = match head.headers.get(header::CONTENT_LENGTH) {
            _ if is_websocket || stream.is_end_stream() => Framing::None,
            Some(length) => content_length(length).map_or(Framing::Chunked, Framing::Length),
            None => Framing::Chunked,
        };
        let stream = RecvBody::new(stream);
        let (body, tunnel) = match framing {
            Framing::None => (RequestBody::empty(), Some(stream).filter(|_| is_websocket)),
            framing => {
                let source = Source::Http2(Box::new(stream), self.state.clone());
                (RequestBody::new(source, framing), None)
            }
        };
        let mut head = lines.into_head();
        let has_invalid_names = head.find_invalid_names(self.origin.settings.drop_invalid_header_fields);
        let target = Target::parse(head.whole(), raw_target);
        let request = Request::new(Parts {
            normal_path: target.normal_path(head.whole()),
            rewritten_url: None,
            target,
            method,
            raw_target,
            version: Version::Http2,
            oddities: Oddities::default(),
            has_invalid_names,
            is_trusted: true,
            upgrade,
            head,
            body,
            edits: Edits::default(),
            origin: self.origin.clone(),
            connection: self.state.clone(),
        });
        Ok((request, tunnel))
    }

    async fn send(mut self, mut response: Response, is_head: bool) {
        self.origin.dress(&mut response);
        let has_body = may_have_body(response.status(), is_head);
        let parts = response.parts_mut();
        let mut head = http::Response::new(());
        *head.status_mut() =
            http::StatusCode::from_u16(parts.status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
        let mut map = field_map(parts.head.as_ref(), &parts.edits);
        if let Some(bytes) = parts.length.filter(|_| parts.status != 204) {
            map.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes));
        }
        if parts.head.as_ref().is_none_or(|head| head.first(Known::Date).is_none()) {
            let clock = self.worker.clock;
            let value = date::with(clock.wall_seconds(clock.recent()), HeaderValue::from_str);
            map.insert(header::DATE, value.expect("a date is visible characters"));
        }
        *head.headers_mut() = map;
        let ends = !has_body || parts.body.has_ended();
        let Ok(stream) = self.respond.send_response(head, ends) else { return };
        self.state.sent();
        if !ends {
            let mut outflow = Outflow::new(stream, Reason::INTERNAL_ERROR);
            let body = &mut response.parts_mut().body;
            poll_fn(|cx| {
                if outflow.poll(body, cx).is_ready() {
                    return Poll::Ready(());
                }
                // A client may want to send all of its body before it reads.
                body.poll_upload(cx);
                if self.state.poll_expired(cx).is_ready() {
                    outflow.stream.send_reset(Reason::CANCEL);
                    return Poll::Ready(());
                }
                outflow.stream.poll_reset(cx).map(drop)
            })
            .await;
        }
    }
}

/// A `Content-Length` that is a number above zero.
fn content_length(value: &HeaderValue) -> Option<u64> {
    value.to_str().ok()?.parse().ok().filter(|bytes| *bytes > 0)
}
