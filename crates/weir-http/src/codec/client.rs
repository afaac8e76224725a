//! The target side: one connection, one request at a time.

use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::UPGRADE;
use hyper_util::rt::TokioIo;
use weir_core::address::TargetAddr;
use weir_core::lease::Lease;
use weir_net::departures::Departure;
use weir_net::dial::{DialError, dial};
use weir_net::worker::Worker;

use super::io::TargetIo;
use super::phase::Phase;
use super::request::{Outgoing, Request, Upgrade};
use super::request_body::{Progress, RequestBody};
use super::response::Response;
use super::tunnel;
use crate::error::RequestError;
use crate::targets::Pool;

/// Bytes of a target's response head and of one read of its body.
///
/// Source: Application Load Balancer: all response headers together at most 32 K; the rest is room for reading.
const READ_BYTES_MAX: usize = 64 * 1024;

/// A connection to a target that can take a request.
#[derive(Debug)]
pub(crate) struct TargetConnection {
    pub(super) sender: SendRequest<RequestBody>,
    pool: Pool,
    departure: Departure,
    /// Whether it has answered before: a request that fails on it may have met the target's idle timeout.
    pub(crate) is_reused: bool,
}

impl TargetConnection {
    /// Dials `addr`. The connection ends when its target departs.
    pub(crate) async fn open(addr: TargetAddr, departure: Departure, pool: Pool) -> Result<Self, DialError> {
        let stream = dial(addr).await?;
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(READ_BYTES_MAX)
            .handshake(TokioIo::new(TargetIo(stream)))
            .await
            .map_err(|error| DialError::Failed(std::io::Error::other(error)))?;
        let left = departure.clone();
        tokio::task::spawn_local(async move {
            tokio::select! {
                biased;
                // How it ended is known to whoever had a request on it.
                _ = connection.with_upgrades() => {}
                () = left.happened() => {}
            }
        });
        Ok(Self { sender, pool, departure, is_reused: false })
    }

    /// Whether it can take a request now.
    pub(crate) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    /// Whether the target has closed it.
    pub(crate) fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Gives it back to the pool it came from, for the next request.
    pub(crate) fn release(mut self) {
        self.is_reused = true;
        let pool = self.pool.clone();
        pool.put(self);
    }
}

/// The socket of an upgraded connection.
pub(super) type TargetSocket = TokioIo<TargetIo>;

/// A request that a target did not answer.
pub(crate) struct Unanswered {
    /// What failed.
    pub(crate) error: RequestError,
    /// The request, when it may be sent again.
    pub(crate) request: Option<Request>,
}

impl TargetConnection {
    /// Sends a request and waits for the head of its response, whose body then holds connection and lease.
    ///
    /// # Errors
    /// [`Unanswered`], with the request in it if not a byte of it was written, or if repeating it is safe.
    pub(crate) async fn send(
        mut self,
        request: Request,
        lease: Lease,
        worker: &Worker,
    ) -> Result<Response, Unanswered> {
        let (keep, body) = (request.is_repeatable(), request.watch_body());
        let Outgoing { request, again, upgrade, rest } = request.toward_target(keep);
        let state = rest.connection.clone();
        state.enter(Phase::AwaitingTarget);
        let answer = {
            let mut sending = pin!(self.sender.try_send_request(request));
            poll_fn(|cx| match sending.as_mut().poll(cx) {
                Poll::Ready(answer) => Poll::Ready(Some(answer)),
                // The guard of the client's connection runs in the same task: it needs no waker.
                Poll::Pending if state.has_expired() => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            })
            .await
        };
        state.enter(Phase::Answering);
        match answer {
            None => {
                let is_whole = body.progress() == Progress::Whole;
                let error = if is_whole { RequestError::TargetTimedOut } else { RequestError::BodyTimedOut };
                Err(Unanswered { error, request: None })
            }
            Some(Ok(response)) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                switch(response, upgrade, lease, worker, state.idle_timeout())
                    .ok_or(Unanswered { error: RequestError::TargetMalformed, request: None })
            }
            Some(Ok(response)) => Ok(Response::from_target(response, self, lease)),
            Some(Err(mut failed)) => {
                let error = if body.progress() == Progress::BrokenOff {
                    RequestError::BodyBrokenOff
                } else if self.departure.has_happened() {
                    RequestError::DeregisteredMidRequest
                } else if failed.error().is_parse() {
                    RequestError::TargetMalformed
                } else {
                    RequestError::TargetClosedEarly
                };
                let request = match failed.take_message() {
                    Some(unwritten) => Some(rest.unwritten(unwritten, upgrade)),
                    None if matches!(error, RequestError::TargetMalformed) => None,
                    None => again.filter(Request::is_whole),
                };
                Err(Unanswered { error, request })
            }
        }
    }
}

/// Lets an upgrade happen that the client asked for and the target agreed to; `None` for one that nobody asked for.
fn switch(
    mut response: hyper::Response<Incoming>,
    upgrade: Option<Upgrade>,
    lease: Lease,
    worker: &Worker,
    idle_timeout: Duration,
) -> Option<Response> {
    let upgrade = upgrade?;
    let agreed = response.headers().get(UPGRADE)?;
    if !agreed.as_bytes().eq_ignore_ascii_case(upgrade.protocol.as_bytes()) {
        return None;
    }
    let target = hyper::upgrade::on(&mut response);
    tokio::task::spawn_local(tunnel::run(upgrade.client, target, lease, worker.clone(), idle_timeout));
    Some(Response::switching(response))
}
