//! A target that speaks HTTP/2, on the crate h2.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::net::{TcpListener, TcpStream};

use crate::runtime;

/// The status of a call of a method that a gRPC server does not have.
const UNIMPLEMENTED: &str = "12";

/// A target. Health checks are answered with 200, or with `UNIMPLEMENTED` when they are calls; everything else by its
/// behaviour.
#[derive(Clone, Debug)]
pub struct Http2Target {
    addr: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    connections: AtomicUsize,
    received: Mutex<Vec<Request<()>>>,
}

/// A request, and the stream for its response.
#[derive(Debug)]
pub struct Exchange {
    /// Its head.
    pub head: Request<()>,
    /// Its body.
    pub body: RecvStream,
    /// Where its response goes.
    pub respond: SendResponse<Bytes>,
}

impl Exchange {
    /// Sends the head of a response; the stream for its body.
    ///
    /// # Panics
    /// When `fields` cannot be written.
    pub fn begin(&mut self, status: u16, fields: &[(&str, &str)], ends: bool) -> Option<SendStream<Bytes>> {
        let mut response = Response::builder().status(status);
        for (name, value) in fields {
            response = response.header(*name, *value);
        }
        let response = response.body(()).expect("fields of a test can be written");
        // Whoever asked may have gone.
        self.respond.send_response(response, ends).ok()
    }

    /// Sends a whole response.
    pub fn answer(&mut self, status: u16, body: &str) {
        if let Some(mut stream) = self.begin(status, &[], body.is_empty())
            && !body.is_empty()
        {
            let _ = stream.send_data(Bytes::copy_from_slice(body.as_bytes()), true);
        }
    }
}

/// Fields of one name, for trailers.
///
/// # Panics
/// When they cannot be written.
pub fn fields(list: &[(&'static str, &str)]) -> HeaderMap {
    let fields = list.iter().map(|(name, value)| {
        (http::HeaderName::from_static(name), value.parse().expect("a value has no controls"))
    });
    fields.collect()
}

impl Http2Target {
    /// A target that answers every request with 200 and this text.
    pub fn answering(text: &'static str) -> Self {
        Self::behaving(async |mut exchange: Exchange| exchange.answer(200, text))
    }

    /// A target that does with every request as `behaviour` says.
    ///
    /// # Panics
    /// When loopback has no port left.
    pub fn behaving<F, D>(behaviour: F) -> Self
    where
        F: Fn(Exchange) -> D + Clone + Send + Sync + 'static,
        D: Future<Output = ()> + Send + 'static,
    {
        Self::with(Builder::new(), behaviour)
    }

    /// A target that speaks as `settings` have it.
    ///
    /// # Panics
    /// When loopback has no port left.
    pub fn with<F, D>(settings: Builder, behaviour: F) -> Self
    where
        F: Fn(Exchange) -> D + Clone + Send + Sync + 'static,
        D: Future<Output = ()> + Send + 'static,
    {
        let listener = runtime().block_on(TcpListener::bind("127.0.0.1:0"));
        let listener = listener.expect("loopback has a free port");
        let addr = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared::default());
        let serving = shared.clone();
        runtime().spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                serving.connections.fetch_add(1, Relaxed);
                runtime().spawn(serve(stream, settings.clone(), serving.clone(), behaviour.clone()));
            }
        });
        Self { addr, shared }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where it listens, as a configuration's target.
    pub fn yaml(&self) -> String {
        format!("{{ address: {}, port: {} }}", self.addr.ip(), self.addr.port())
    }

    /// Connections so far, health checks among them.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Relaxed)
    }

    /// Heads of requests so far, without health checks.
    pub fn received(&self) -> Vec<Request<()>> {
        self.shared.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn serve<F, D>(stream: TcpStream, settings: Builder, shared: Arc<Shared>, behaviour: F)
where
    F: Fn(Exchange) -> D,
    D: Future<Output = ()> + Send + 'static,
{
    let Ok(mut connection) = settings.handshake::<_, Bytes>(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let (parts, body) = request.into_parts();
        let mut exchange = Exchange { head: Request::from_parts(parts, ()), body, respond };
        let agent = exchange.head.headers().get("user-agent");
        if agent.is_some_and(|agent| agent.as_bytes().starts_with(b"ELB-HealthChecker")) {
            let _ = exchange.begin(200, &[("grpc-status", UNIMPLEMENTED)], true);
            continue;
        }
        shared.received.lock().unwrap_or_else(PoisonError::into_inner).push(exchange.head.clone());
        runtime().spawn(behaviour(exchange));
    }
}
