//! The codecs, and what they have in common: requests and responses as listeners see them.
//!
//! HTTP/1.1 is a codec of our own (`h1`); HTTP/2 stands on the crate h2, whose types appear in `h2` only. Framing is always
//! re-created: no `Transfer-Encoding`, `Content-Length` spelling, chunk line or hop-by-hop field is copied from one
//! side to the other.

use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use weir_core::address::{ClientAddr, ListenAddr};
use weir_core::definition::HttpSettings;
use weir_core::header_rules::HeaderRules;
use weir_net::stream::Stream;
use weir_net::worker::Worker;
use weir_tls::{Alpn, ClientStream, Handshake};

use crate::error::RequestError;
use crate::record::connection::ConnectionId;
use h2::preface::Beginning;
use request::{Origin, Request};
use response::Response;
use weir_tls::Socket;

mod buffer;
mod date;
pub(crate) mod edits;
pub(crate) mod fields;
pub(crate) mod h1;
pub(crate) mod h2;
mod head;
pub(crate) mod host;
pub(crate) mod phase;
pub(crate) mod request;
mod request_body;
mod request_target;
pub(crate) mod response;
mod response_body;

/// Answers requests. Two types implement it: the application listener and the classic listener.
pub trait Answer {
    /// Answers one request. Never fails: every error has a status.
    fn answer(&self, request: Request) -> impl Future<Output = Response>;

    /// Answers what came in place of a request.
    fn refuse(&self, origin: &Origin, error: RequestError) -> Response;
}

/// What is known of a client's connection.
#[derive(Clone, Debug)]
pub struct Connection {
    /// What it is called in logs.
    pub id: ConnectionId,
    /// Its other end.
    pub client: ClientAddr,
    /// Its listener, with the port that the client connected to.
    pub listener: ListenAddr,
    /// How its requests are read.
    pub settings: HttpSettings,
    /// What is changed of header fields.
    pub headers: Arc<HeaderRules>,
    /// Closes it after this much silence; also the longest time that a request's head may take.
    pub idle_timeout: Duration,
}

/// A client that has connected.
#[derive(Debug)]
pub enum Client {
    /// Without TLS.
    Plain(Stream),
    /// With TLS, and what was settled with it.
    Secure(Box<ClientStream<Stream>>, Handshake),
}

/// Serves one client connection until it ends.
pub async fn serve<A: Answer + 'static>(
    client: Client,
    connection: Connection,
    worker: &Worker,
    answer: Rc<A>,
) {
    let (mut socket, handshake) = match client {
        Client::Plain(stream) => (Socket::Plain(stream), None),
        Client::Secure(stream, handshake) => (Socket::Client(stream), Some(handshake)),
    };
    let is_http2 = match &handshake {
        Some(handshake) => handshake.alpn == Some(Alpn::Http2),
        None if connection.settings.http2_by_prior_knowledge => {
            match h2::preface::beginning(socket.tcp(), connection.idle_timeout).await {
                Beginning::Http2 => true,
                Beginning::Http1 => false,
                Beginning::Nothing => return,
            }
        }
        None => false,
    };
    let origin = Origin::new(&connection, handshake);
    if is_http2 {
        // In a box of its own: connections of HTTP/1.1 need less.
        Box::pin(h2::server::serve(socket, origin, connection, worker, answer)).await;
    } else {
        h1::server::serve(socket, origin, connection, worker, &*answer).await;
    }
}
