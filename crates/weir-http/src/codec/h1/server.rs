//! The client side: reads requests from one connection and writes their responses.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use weir_core::definition::HttpSettings;
use weir_net::relay::RelaySide as _;
use weir_net::worker::Worker;

use super::super::buffer::Buffer;
use super::super::edits::Edits;
use super::super::head::{Head, borrow_list, give_back, may_end_head};
use super::super::phase::{ConnectionState, Phase};
use super::super::request::{Origin, Parts, Request, Version};
use super::super::request_body::{RequestBody, Source};
use super::super::request_target::Target;
use super::super::response::{Response, SWITCHING_PROTOCOLS};
use super::super::{Answer, Connection};
use super::asked::{Asked, Expectation, asked_upgrade, delimiter};
use super::body::{BodyError, Decoder, Piece};
use super::client_side::ClientSide;
use super::desync::{Oddities, Verdict, verdict};
use super::request_head::{self, Framing, HEAD_BYTES_MAX, HeadError, RequestHead};
use super::sending::{BodyState, Sending, Sent};
use super::tunnel::Tunnel;
use super::write::{Delimiter, append_response_head};
use crate::error::RequestError;
use weir_tls::Socket;

/// Bytes of a request's body that nobody wants, and that are read for the sake of the next request.
const DRAINED_BYTES_MAX: u64 = 64 * 1024;

/// How long idle connections stay open after the process has begun to end, for requests that are already on the way.
const DRAIN_LEAD: Duration = Duration::from_millis(500);

/// How long, and for how many bytes, a client that was refused may go on sending, so that it reads why.
const LINGER: Duration = Duration::from_secs(2);
const LINGER_BYTES_MAX: usize = 1024 * 1024;

/// How a connection ends.
pub(super) enum Ended {
    /// Nothing more is to be said.
    Closed,
    /// The client broke off or the target did: what has been sent must not be taken for all.
    Cut,
    /// A request's head did not come to its end in time.
    HeadTooSlow,
    /// The last response has been written, and the client may still be sending.
    Lingering,
    /// It goes on as a tunnel.
    Switched(Box<Tunnel>),
}

/// Serves one client connection until it ends.
///
/// A silent connection is closed after its idle timeout, and one whose head does not come to an end gets 408; a
/// request that its target does not answer in that time gets 504. One timer serves all three: it is re-armed only
/// when it fires.
pub(crate) async fn serve<A: Answer>(
    socket: Socket,
    origin: Rc<Origin>,
    connection: Connection,
    worker: &Worker,
    answer: &A,
) {
    let state = Rc::new(ConnectionState::new(connection.idle_timeout));
    let client = Rc::new(ClientSide::new(socket, state));
    let session = || Session {
        client: client.clone(),
        origin: origin.clone(),
        settings: connection.settings,
        worker,
        answer,
    };
    let ended = guarded(session(), &client.state, connection.settings.client_keep_alive, worker).await;
    match ended {
        Ended::Closed => part(&client).await,
        Ended::Cut => client.socket.borrow_mut().reset_at_end(),
        Ended::HeadTooSlow => {
            let session = session();
            // The client is slow or gone; it gets its answer if it can take it at once.
            let _ = tokio::time::timeout(LINGER, session.refuse(RequestError::HeadTimedOut)).await;
            linger(&client).await;
        }
        Ended::Lingering => linger(&client).await,
        Ended::Switched(tunnel) => {
            // Whatever shared the client's side was part of the exchange, which has ended.
            if let Ok(client) = Rc::try_unwrap(client) {
                let idle_timeout = client.state.idle_timeout();
                let (socket, first) = client.into_parts();
                tunnel.run(socket, first, idle_timeout, worker).await;
            }
        }
    }
}

/// Runs a session under the eyes of its guard.
async fn guarded<A: Answer>(
    session: Session<'_, A>,
    state: &ConnectionState,
    keep_alive: Duration,
    worker: &Worker,
) -> Ended {
    let opened = worker.clock.now();
    let look = ConnectionState::look_interval(state.idle_timeout());
    let mut session = pin!(session.run());
    let mut guard = pin!(tokio::time::sleep(look));
    let mut drained = pin!(drain_after_lead(worker));
    let (mut awaits_drain, mut is_draining, mut is_set) = (false, false, false);
    poll_fn(|cx| {
        loop {
            if let Poll::Ready(ended) = session.as_mut().poll(cx) {
                return Poll::Ready(ended);
            }
            // Polled once to be woken by it, and then only when it has something to say.
            if !is_draining && (!awaits_drain || worker.drain.has_begun()) {
                is_draining = drained.as_mut().poll(cx).is_ready();
                awaits_drain = true;
            }
            if is_draining && state.phase() == Phase::BetweenRequests {
                return Poll::Ready(Ended::Closed);
            }
            // A timer that is set wakes this task: until then a look at it is enough.
            if is_set && !guard.is_elapsed() {
                return Poll::Pending;
            }
            is_set = guard.as_mut().poll(cx).is_pending();
            if is_set {
                return Poll::Pending;
            }
            guard.as_mut().reset(tokio::time::Instant::now() + look);
            if worker.clock.now().since(opened) >= keep_alive {
                state.grow_old();
            }
            if !state.is_silent() {
                continue;
            }
            match state.phase() {
                // The request answers 504 when it is polled next.
                Phase::AwaitingTarget if !state.has_expired() => state.expire(),
                Phase::ReadingHead => return Poll::Ready(Ended::HeadTooSlow),
                Phase::BetweenRequests => return Poll::Ready(Ended::Closed),
                Phase::Answering | Phase::AwaitingTarget | Phase::Held => return Poll::Ready(Ended::Cut),
            }
        }
    })
    .await
}

async fn drain_after_lead(worker: &Worker) {
    worker.drain.begun().await;
    tokio::time::sleep(DRAIN_LEAD).await;
}

/// One connection's requests, one after the other.
struct Session<'a, A> {
    client: Rc<ClientSide>,
    origin: Rc<Origin>,
    settings: HttpSettings,
    worker: &'a Worker,
    answer: &'a A,
}

impl<A: Answer> Session<'_, A> {
    async fn run(self) -> Ended {
        loop {
            let mut looked_at = 0;
            let ended = match poll_fn(|cx| self.poll_head(&mut looked_at, cx)).await {
                Ok(None) => Some(Ended::Closed),
                // In a box of its own: a connection between requests holds no memory for one.
                Ok(Some((head, line))) => Box::pin(self.exchange(head, line)).await,
                Err(error) => Some(Box::pin(self.refuse(RequestError::HeadInvalid(error))).await),
            };
            match ended {
                None => self.client.state.enter(Phase::BetweenRequests),
                Some(ended) => return ended,
            }
        }
    }

    /// The next head; `None` when the client has ended the connection. Of what has come, `looked_at` bytes were no whole
    /// head.
    fn poll_head(
        &self,
        looked_at: &mut usize,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<(Head, RequestHead)>, HeadError>> {
        loop {
            let slot = &mut *self.client.input.borrow_mut();
            if let Some(input) = slot
                && (*looked_at == 0 || may_end_head(&input.data()[*looked_at..]) || input.is_full())
            {
                let mut fields = borrow_list();
                match request_head::parse(input.data_mut(), &mut fields) {
                    Ok(Some(line)) => {
                        return Poll::Ready(Ok(Some((Head::take(slot, line.end, fields), line))));
                    }
                    Ok(None) if input.make_room(HEAD_BYTES_MAX) => give_back(fields),
                    Ok(None) => return Poll::Ready(Err(HeadError::HeadTooLarge)),
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
            *looked_at = slot.as_ref().map_or(0, Buffer::len);
            match ready!(self.client.poll_read(slot, cx)) {
                Ok(1..) => {}
                // A client that leaves a head unfinished may still read what is thought of that.
                Ok(0) if let Some(cut) = slot => {
                    let oddities = Oddities::of_cut(cut.data());
                    return Poll::Ready(Err(HeadError::Malformed(oddities)));
                }
                Ok(0) | Err(_) => return Poll::Ready(Ok(None)),
            }
        }
    }

    /// One exchange, from its head to the end of its response; `None` when another may follow.
    async fn exchange(&self, head: Head, line: RequestHead) -> Option<Ended> {
        let client = &self.client;
        client.state.begin_request();
        let verdict = verdict(self.settings.desync_mitigation_mode, line.oddities.class());
        if verdict == Verdict::Refuse {
            return Some(self.refuse(RequestError::Desync(line.oddities)).await);
        }
        let (mut asked, expectation) = (Asked::of(&head, &line), Expectation::of(&head, &line));
        client.begin_body(Decoder::of_request(line.framing), expectation == Expectation::Continue);
        if expectation == Expectation::Unknown {
            return Some(self.refuse(RequestError::ExpectationUnknown).await);
        }
        let is_trusted = verdict == Verdict::Pass;
        asked.keeps_alive &= is_trusted;
        let request = self.request(head, line, is_trusted);
        let answered = {
            let mut answering = pin!(self.answer.answer(request));
            poll_fn(|cx| match answering.as_mut().poll(cx) {
                Poll::Ready(response) => Poll::Ready(Some(response)),
                Poll::Pending if client.state.should_look_for_client() => client.poll_gone(cx).map(|()| None),
                Poll::Pending => Poll::Pending,
            })
            .await
        };
        match answered {
            Some(response) => self.respond(asked, response).await,
            None => Some(Ended::Closed),
        }
    }

    fn request(&self, mut head: Head, line: RequestHead, is_trusted: bool) -> Request {
        let body = match line.framing {
            Framing::None => RequestBody::empty(),
            framing => RequestBody::new(Source::Http1(self.client.clone()), framing),
        };
        let target = Target::parse(head.whole(), line.target);
        let has_invalid_names = head.find_invalid_names(self.settings.drop_invalid_header_fields);
        Request::new(Parts {
            method: line.method,
            raw_target: line.target,
            normal_path: target.normal_path(head.whole()),
            rewritten_url: None,
            target,
            version: line.version,
            oddities: line.oddities,
            has_invalid_names,
            is_trusted,
            upgrade: asked_upgrade(&head, line.version),
            head,
            body,
            edits: Edits::default(),
            origin: self.origin.clone(),
            connection: self.client.state.clone(),
        })
    }

    /// Answers what is no request.
    async fn refuse(&self, error: RequestError) -> Ended {
        self.client.state.begin_request();
        let mut refused = self.answer.refuse(&self.origin, error);
        refused.close_connection();
        let asked =
            Asked { is_head: false, version: Version::Http11, keeps_alive: false, accepts_trailers: false };
        match self.respond(asked, refused).await {
            Some(Ended::Cut) => Ended::Cut,
            // What follows is no body of it: it is read and thrown away.
            _ => Ended::Lingering,
        }
    }

    /// Writes a response; `None` when another request may follow.
    async fn respond(&self, asked: Asked, mut response: Response) -> Option<Ended> {
        let client = &self.client;
        self.origin.dress(&mut response);
        // The client's own body must come to its end, or the next request cannot be found.
        let is_drainable = client.body.borrow().left().is_some_and(|left| left <= DRAINED_BYTES_MAX);
        if self.worker.drain.has_begun()
            || client.state.is_old()
            || !asked.keeps_alive
            || !is_drainable
            || client.owes_continue()
        {
            response.close_connection();
        }
        let delimiter = delimiter(asked, response.parts());
        let closes = response.parts().closes || delimiter == Delimiter::Close;
        let connection = match (closes, asked.version) {
            (true, _) => Some(&b"close"[..]),
            (false, Version::Http10) => Some(&b"keep-alive"[..]),
            (false, Version::Http11 | Version::Http2) => None,
        };
        let mut output = Buffer::borrow();
        let clock = self.worker.clock;
        // The response has just been looked at.
        let wall_seconds = || clock.wall_seconds(clock.recent());
        append_response_head(&mut output, response.parts(), delimiter, connection, wall_seconds);
        let sent = {
            let mut sending = Sending {
                client,
                body: &mut response.parts_mut().body,
                output: Some(output),
                delimiter,
                has_trailers: asked.accepts_trailers,
                state: if delimiter == Delimiter::Nothing { BodyState::Ended } else { BodyState::Flowing },
            };
            poll_fn(|cx| sending.poll(cx)).await
        };
        match sent {
            Sent::Whole if response.status() == SWITCHING_PROTOCOLS => {
                return Some(match Tunnel::of(response.into_parts()) {
                    Some(tunnel) => Ended::Switched(Box::new(tunnel)),
                    None => Ended::Cut,
                });
            }
            Sent::Whole => {}
            // A length or a chunk that is missing says so by itself.
            Sent::CutShort if delimiter != Delimiter::Close => return Some(Ended::Closed),
            Sent::CutShort | Sent::ClientGone => return Some(Ended::Cut),
        }
        drop(response);
        if closes {
            let is_whole = client.body.borrow().is_done();
            return Some(if is_whole { Ended::Closed } else { Ended::Lingering });
        }
        let drained = poll_fn(|cx| self.poll_drain(cx)).await;
        drained.is_err().then_some(Ended::Closed)
    }

    /// Reads what is left of a request's body.
    fn poll_drain(&self, cx: &mut Context<'_>) -> Poll<Result<(), BodyError>> {
        while ready!(self.client.poll_body(cx, &mut <[u8]>::len))? == Piece::Data {}
        Poll::Ready(Ok(()))
    }
}

/// Says over TLS that the end is no accident; without TLS the kernel says it.
async fn part(client: &ClientSide) {
    if client.socket.borrow().is_encrypted() {
        let _ = tokio::time::timeout(LINGER, poll_fn(|cx| client.poll_shutdown(cx))).await;
    }
}

/// Says that nothing more will come, and reads on for a while: a close with bytes unread would be a reset, and the
/// client might never read what it was answered.
async fn linger(client: &ClientSide) {
    let mut left = LINGER_BYTES_MAX;
    let reading = poll_fn(|cx| {
        if client.poll_shutdown(cx)?.is_pending() {
            return Poll::Pending;
        }
        loop {
            match ready!(client.poll_read(&mut None, cx))? {
                0 => return Poll::Ready(Ok::<_, std::io::Error>(())),
                count => left = left.saturating_sub(count),
            }
            if left == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    });
    let _ = tokio::time::timeout(LINGER, reading).await;
}
