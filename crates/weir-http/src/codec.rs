//! The codecs, and what they have in common: requests and responses as listeners see them.
//!
//! HTTP/1.1 is a codec of our own (`h1`); HTTP/2 stands on the crate h2, whose types appear in `h2` only. Framing is always
//! re-created: no `Transfer-Encoding`, `Content-Length` spelling, chunk line or hop-by-hop field is copied from one
//! side to the other.

use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpStream;
use weir_core::address::{ClientAddr, ListenAddr};
use weir_net::worker::Worker;

use crate::error::RequestError;
use request::{Origin, Request};
use response::Response;
use socket::Socket;

mod buffer;
mod date;
pub(crate) mod edits;
pub(crate) mod fields;
pub(crate) mod h1;
mod h2;
mod head;
pub(crate) mod phase;
pub(crate) mod request;
mod request_body;
pub(crate) mod response;
mod response_body;
mod socket;

/// Answers requests. Two types implement it: the application listener and the classic listener.
pub trait Answer {
    /// Answers one request. Never fails: every error has a status.
    fn answer(&self, request: Request) -> impl Future<Output = Response>;

    /// Answers what came in place of a request.
    fn refuse(&self, origin: &Origin, error: RequestError) -> Response;
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
pub async fn serve<A: Answer>(stream: TcpStream, connection: Connection, worker: &Worker, answer: Rc<A>) {
    h1::server::serve(Socket::Plain(stream), "http", connection, worker, &*answer).await;
}
