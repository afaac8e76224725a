//! The client side: reads requests from one connection and writes their responses.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use weir_core::address::{ClientAddr, ListenAddr};
use weir_net::worker::Worker;

use super::io::WatchedSocket;
use super::phase::{ConnectionState, Phase};
use super::request::{Origin, Request};
use super::response::Response;

/// Bytes of a request's head. Of header lines hyper takes 100 by default; to say so would make it allocate for each
/// request.
///
/// Source: Application Load Balancer quotas: all request headers together at most 64 K.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Bytes of one read of a request's body.
const READ_BYTES_MAX: usize = 64 * 1024;

/// How often a connection's guard looks whether bytes have moved, within one idle timeout: a timeout ends at most one
/// look late.
const LOOKS_PER_TIMEOUT: u32 = 8;

/// How long idle connections stay open after the process has begun to end, for requests that are already on the way.
const DRAIN_LEAD: Duration = Duration::from_millis(500);

/// Answers requests. Two types implement it: the application listener and the classic listener.
pub trait Answer {
    /// Answers one request. Never fails: every error has a status.
    fn answer(&self, request: Request) -> impl Future<Output = Response>;
}

/// What is known of a client's connection.
#[derive(Clone, Copy, Debug)]
pub struct Connection {
    /// Its other end.
    pub client: ClientAddr,
    /// Its listener, with the port that the client connected to.
    pub listener: ListenAddr,
    /// Closes it after this much silence; also the longest time that a request's head may take.
    pub idle_timeout: Duration,
}

/// Serves one client connection until it ends.
///
/// A silent connection is closed after its idle timeout, and one whose head does not come to an end gets 408; a
/// request that its target does not answer in that time gets 504. One timer serves all three: it is re-armed only
/// when it fires.
pub async fn serve<A: Answer + 'static>(
    stream: TcpStream,
    connection: Connection,
    worker: &Worker,
    answer: Rc<A>,
) {
    let state = Arc::new(ConnectionState::new(connection.idle_timeout));
    let watched = WatchedSocket { stream, state: state.clone() };
    let in_service = state.clone();
    let drain = worker.drain.clone();
    let origin = Origin::new(connection.client, connection.listener);
    let service = service_fn(move |request| {
        in_service.enter(Phase::Answering);
        let request = Request::from_hyper(request, origin.clone(), in_service.clone());
        let (answer, drain) = (answer.clone(), drain.clone());
        async move {
            let mut response = answer.answer(request).await;
            if drain.has_begun() {
                response.close_connection();
            }
            Ok::<_, Infallible>(response.into_hyper())
        }
    });
    let mut http = http1::Builder::new()
        .max_buf_size(READ_BYTES_MAX)
        .max_header_size(HEAD_BYTES_MAX)
        .half_close(false)
        .serve_connection(TokioIo::new(watched), service)
        .with_upgrades();
    let ended = {
        let look = connection.idle_timeout / LOOKS_PER_TIMEOUT;
        let mut guard = pin!(tokio::time::sleep(look));
        let mut drained = pin!(drain_after_lead(worker));
        let (mut silent_looks, mut is_draining) = (0, false);
        poll_fn(|cx| {
            loop {
                // How a connection ended is the client's affair: requests have their own records.
                if std::pin::Pin::new(&mut http).poll(cx).is_ready() {
                    return Poll::Ready(Ended::Closed);
                }
                if !is_draining && drained.as_mut().poll(cx).is_ready() {
                    is_draining = true;
                    std::pin::Pin::new(&mut http).graceful_shutdown();
                    continue;
                }
                if guard.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                guard.as_mut().reset(tokio::time::Instant::now() + look);
                silent_looks = if state.take_moved() { 0 } else { silent_looks + 1 };
                if silent_looks < LOOKS_PER_TIMEOUT {
                    continue;
                }
                match state.phase() {
                    Phase::AwaitingTarget if !state.has_expired() => {
                        // The request answers 504 when it is polled next, in this very loop.
                        state.expire();
                        silent_looks = 0;
                    }
                    Phase::ReadingHead => return Poll::Ready(Ended::HeadTooSlow),
                    _ => return Poll::Ready(Ended::Idle),
                }
            }
        })
        .await
    };
    if ended == Ended::HeadTooSlow {
        refuse_slow_head(http).await;
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Closed,
    HeadTooSlow,
    Idle,
}

async fn drain_after_lead(worker: &Worker) {
    worker.drain.begun().await;
    tokio::time::sleep(DRAIN_LEAD).await;
}

/// Tells a client that its request took too long to arrive.
async fn refuse_slow_head<S, B>(http: http1::UpgradeableConnection<TokioIo<WatchedSocket>, S>)
where
    S: hyper::service::HttpService<hyper::body::Incoming, ResBody = B>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    B: hyper::body::Body + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    const ANSWER: &[u8] =
        b"HTTP/1.1 408 Request Time-out\r\nserver: weir\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    if let Some(parts) = http.into_parts() {
        // The client is slow or gone; it gets its answer if it can take it at once.
        let mut stream = parts.io.into_inner().stream;
        let _ = tokio::time::timeout(Duration::from_secs(1), stream.write_all(ANSWER)).await;
    }
}
