//! Target-side connections of one worker, kept for the next request and gone with their target.

mod opening;

use std::cell::RefCell;
use std::future::poll_fn;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use ahash::AHashMap;
use tokio::sync::Notify;
use tokio::task::spawn_local;
use weir_core::address::TargetAddr;
use weir_core::definition::{ProtocolVersion, TargetProtocol};
use weir_core::dispatcher::Speech;
use weir_core::target::{Target, TargetSerial};
use weir_core::time::Timestamp;
use weir_net::clock::Clock;
use weir_net::departures::Departures;
use weir_net::dial::dial;
use weir_net::reactor::Reactor;
use weir_tls::{Alpn, Socket, TargetSide};

use self::opening::{Opener, Opening};
use crate::codec::h1::target::TargetConnection;
use crate::codec::h2::target::{STREAMS_MAX, SharedConnection, Stream};
use crate::codec::phase::{ConnectionState, Phase};
use crate::codec::request::Request;
use crate::error::RequestError;

/// Idle connections that one worker keeps to one target.
const IDLE_MAX: usize = 512;

/// Connections that one request may wait for in vain, because others took all streams or they were closed at once.
const OPENINGS_MAX: usize = 8;

/// How long a connection is kept without work: shorter than most servers' own limit would be safer, longer saves more
/// dials; a request that meets a closing connection is repeated on another.
const IDLE_TIMEOUT: Duration = Duration::from_secs(50);

/// A request that must not be repeated is only sent on a connection that was used this recently: many servers close
/// idle connections after a few seconds, and the race with such a close would lose it.
const FRESH: Duration = Duration::from_secs(1);

/// One worker's connections to all targets, by identity: a stranger on a recycled port gets none of them.
#[derive(Clone, Debug)]
pub(crate) struct Targets {
    reactor: Reactor,
    clock: Clock,
    departures: Departures,
    tls: TargetSide,
    idle: Rc<RefCell<AHashMap<TargetSerial, Vec<Idle>>>>,
    shared: Rc<RefCell<AHashMap<TargetSerial, Vec<Shared>>>>,
    /// Connections that will be shared once they are there.
    opening: Rc<RefCell<AHashMap<TargetSerial, Vec<Weak<Opening>>>>>,
    /// Rings when a stream of any of them has ended.
    freed: Rc<Notify>,
}

/// What a request is sent on.
pub(crate) enum Link {
    Http1(Box<TargetConnection>),
    Http2(Stream),
}

#[derive(Debug)]
struct Idle {
    connection: Box<TargetConnection>,
    since: Timestamp,
}

/// A connection that requests share.
#[derive(Debug)]
struct Shared {
    connection: Rc<SharedConnection>,
    /// When it last got a request.
    used: Timestamp,
}

/// Where a connection goes back to.
#[derive(Clone, Debug)]
pub(crate) struct Pool {
    targets: Targets,
    serial: TargetSerial,
}

impl Targets {
    pub(crate) fn new(reactor: Reactor, clock: Clock, departures: Departures) -> Self {
        Self {
            reactor,
            clock,
            departures,
            tls: TargetSide::new(),
            idle: Rc::default(),
            shared: Rc::default(),
            opening: Rc::default(),
            freed: Rc::default(),
        }
    }

    /// A way to `target` for a request: the connection used last, if one is ready, else a new one. What is rare has a box
    /// of its own here, so that the common case has a small future.
    ///
    /// # Errors
    /// [`RequestError::DialFailed`], [`RequestError::TargetHandshakeFailed`], [`RequestError::TargetMalformed`].
    pub(crate) async fn connect(
        &self,
        target: &Arc<Target>,
        speech: &Speech,
        request: &Request,
    ) -> Result<Link, RequestError> {
        let kept = match speech.version {
            ProtocolVersion::Http1 => self.take(target.serial, request.is_idempotent()).map(Link::Http1),
            ProtocolVersion::Http2 | ProtocolVersion::Grpc => self.stream(target.serial).map(Link::Http2),
        };
        match kept {
            Some(link) => Ok(link),
            None => Box::pin(self.connect_anew(target, speech, request)).await,
        }
    }

    /// A way to `target` on a new connection; for HTTP/2 that may be one that another request has opened meanwhile.
    ///
    /// # Errors
    /// As for [`connect`](Self::connect).
    pub(crate) async fn connect_anew(
        &self,
        target: &Arc<Target>,
        speech: &Speech,
        request: &Request,
    ) -> Result<Link, RequestError> {
        let state = &request.parts().connection;
        match speech.version {
            ProtocolVersion::Http1 => {
                let socket = self.dial(target.addr, speech, request.host());
                let socket = patiently(state, socket).await?;
                let pool = Pool { targets: self.clone(), serial: target.serial };
                Ok(Link::Http1(TargetConnection::new(socket, self.departures.of(target), pool)))
            }
            ProtocolVersion::Http2 | ProtocolVersion::Grpc => {
                patiently(state, self.share(target, speech, request)).await.map(Link::Http2)
            }
        }
    }

    /// A stream on the first connection that has room for one: whichever request ends or connection opens first.
    async fn share(
        &self,
        target: &Arc<Target>,
        speech: &Speech,
        request: &Request,
    ) -> Result<Stream, RequestError> {
        let mut openings = 0;
        while openings < OPENINGS_MAX {
            // Made before the look, so that nothing is missed.
            let freed = self.freed.notified();
            if let Some(stream) = self.stream(target.serial) {
                return Ok(stream);
            }
            let opening = self.opening(target, speech, request);
            tokio::select! {
                ended = opening.ended() => {
                    ended?;
                    openings += 1;
                }
                () = freed => {}
            }
        }
        Err(RequestError::TargetClosedEarly)
    }

    /// A connection that is being opened and will have room for one more request; one that is begun, if there is none.
    fn opening(&self, target: &Arc<Target>, speech: &Speech, request: &Request) -> Rc<Opening> {
        let shared = self.shared.borrow();
        let known = shared.get(&target.serial).into_iter().flatten();
        let most = known.map(|shared| shared.connection.most()).max().unwrap_or(STREAMS_MAX);
        let mut opening = self.opening.borrow_mut();
        let under_way = opening.entry(target.serial).or_default();
        under_way.retain(|opening| opening.strong_count() > 0);
        if let Some(joined) = under_way.iter().find_map(|opening| Opening::join(opening, most)) {
            return joined;
        }
        let (opener, begun) = Opener::begin();
        under_way.push(Rc::downgrade(&begun));
        // By itself: whoever began it may go away, or get a stream elsewhere.
        let speech = speech.clone();
        spawn_local(self.clone().open(target.clone(), speech, request.host().to_owned(), opener));
        begun
    }

    /// Opens a connection that requests share.
    async fn open(self, target: Arc<Target>, speech: Speech, host: String, opener: Opener) {
        let dialled = async {
            let socket = self.dial(target.addr, &speech, &host).await?;
            SharedConnection::begin(socket, self.departures.of(&target), self.freed.clone()).await
        };
        match dialled.await {
            // Nobody would ever get a stream.
            Ok(connection) if connection.most() == 0 => opener.fail(&RequestError::TargetClosedEarly),
            Ok(connection) => {
                let shared = Shared { connection, used: self.clock.now() };
                self.shared.borrow_mut().entry(target.serial).or_default().push(shared);
            }
            Err(error) => opener.fail(&error),
        }
    }

    /// A stream on a connection that has room for one.
    fn stream(&self, serial: TargetSerial) -> Option<Stream> {
        let mut shared = self.shared.borrow_mut();
        let connections = shared.get_mut(&serial)?;
        connections.retain(|shared| !shared.connection.is_closed());
        connections.iter_mut().find_map(|shared| {
            let stream = shared.connection.stream()?;
            shared.used = self.clock.now();
            Some(stream)
        })
    }

    fn take(&self, serial: TargetSerial, is_idempotent: bool) -> Option<Box<TargetConnection>> {
        let mut idle = self.idle.borrow_mut();
        let stack = idle.get_mut(&serial)?;
        // From the one used last.
        while let Some(last) = stack.last() {
            if !is_idempotent && self.clock.now().since(last.since) > FRESH {
                return None;
            }
            let mut connection = stack.pop()?.connection;
            if connection.is_usable() {
                return Some(connection);
            }
        }
        None
    }

    /// Closes connections that have been idle for too long, and all to targets that have left.
    pub(crate) fn tidy(&self) {
        let now = self.clock.now();
        self.idle.borrow_mut().retain(|_, stack| {
            stack.retain_mut(|idle| now.since(idle.since) < IDLE_TIMEOUT && idle.connection.is_usable());
            !stack.is_empty()
        });
        self.shared.borrow_mut().retain(|_, connections| {
            connections.retain(|Shared { connection, used }| {
                let is_worn = connection.is_idle() && now.since(*used) >= IDLE_TIMEOUT;
                !connection.is_closed() && !is_worn
            });
            !connections.is_empty()
        });
        self.opening
            .borrow_mut()
            .retain(|_, openings| openings.iter().any(|opening| opening.strong_count() > 0));
    }

    /// Closes idle connections to targets that have left.
    pub(crate) fn close_departed(&self) {
        self.idle
            .borrow_mut()
            .retain(|_, stack| !stack.first().is_some_and(|idle| idle.connection.has_left()));
    }

    /// Dials, and shakes hands where the group's targets speak TLS, asking for `host`.
    async fn dial(&self, addr: TargetAddr, speech: &Speech, host: &str) -> Result<Socket, RequestError> {
        let stream = dial(addr, &self.reactor).await.map_err(RequestError::DialFailed)?;
        if speech.protocol != TargetProtocol::Https {
            return Ok(Socket::Plain(stream));
        }
        let alpn: &[Alpn] = match speech.version {
            ProtocolVersion::Http1 => &[Alpn::Http1],
            ProtocolVersion::Http2 | ProtocolVersion::Grpc => &[Alpn::Http2],
        };
        let host = speech.tls.asks_for_host.then_some(host);
        let shaken = self.tls.connect_to_holder(stream, host, alpn, speech.tls.public_keys.as_deref()).await;
        let (stream, _) = shaken.map_err(RequestError::TargetHandshakeFailed)?;
        Ok(Socket::Target(Box::new(stream)))
    }
}

/// Waits for a connection as long as for an answer.
async fn patiently<T>(
    state: &ConnectionState,
    wait: impl Future<Output = Result<T, RequestError>>,
) -> Result<T, RequestError> {
    state.enter(Phase::AwaitingTarget);
    let mut wait = pin!(wait);
    let waited = poll_fn(|cx| match state.poll_expired(cx) {
        Poll::Ready(()) => Poll::Ready(Err(RequestError::TargetTimedOut)),
        Poll::Pending => wait.as_mut().poll(cx),
    });
    let waited = waited.await;
    state.enter(Phase::Answering);
    waited
}

impl Pool {
    pub(crate) fn put(&self, connection: Box<TargetConnection>) {
        let mut idle = self.targets.idle.borrow_mut();
        let stack = idle.entry(self.serial).or_default();
        if stack.len() < IDLE_MAX {
            // Too early at worst, and then it counts as idle for longer than it was.
            stack.push(Idle { connection, since: self.targets.clock.recent() });
        }
    }
}
