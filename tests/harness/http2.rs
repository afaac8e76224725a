//! A client that speaks HTTP/2, on the crate h2.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, Connection, ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, Request};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;
use weir_tls::{Alpn, TargetSide};

use crate::runtime;
use crate::tls::dialled;

/// How long a peer that takes nothing is waited for before that is believed.
pub const STALL: Duration = Duration::from_millis(500);

/// One connection, with as many requests on it as a test likes.
#[derive(Debug)]
pub struct Http2Client {
    sender: SendRequest<Bytes>,
    connection: JoinHandle<Result<(), h2::Error>>,
}

/// A whole answer.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its fields.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Vec<u8>,
    /// What came after the body.
    pub trailers: HeaderMap,
}

impl Answer {
    /// A field's first value; empty when there is none.
    pub fn header(&self, name: &str) -> &str {
        value(&self.headers, name)
    }

    /// A trailer's first value; empty when there is none.
    pub fn trailer(&self, name: &str) -> &str {
        value(&self.trailers, name)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

fn value<'a>(map: &'a HeaderMap, name: &str) -> &'a str {
    map.get(name).map_or("", |value| value.to_str().unwrap_or("?"))
}

impl Http2Client {
    /// Begins with HTTP/2 at once, without TLS.
    ///
    /// # Panics
    /// When the listener does not speak it.
    pub async fn connect(addr: SocketAddr) -> Self {
        Self::over(dialled(addr).await, &Builder::new()).await
    }

    /// Begins with HTTP/2 as `settings` have it, without TLS.
    ///
    /// # Panics
    /// When the listener does not speak it.
    pub async fn connect_as(settings: &Builder, addr: SocketAddr) -> Self {
        Self::over(dialled(addr).await, settings).await
    }

    /// Agrees on HTTP/2 in a handshake of TLS.
    ///
    /// # Panics
    /// When the listener does not.
    pub async fn connect_secure(addr: SocketAddr, name: &str) -> Self {
        let alpn = [Alpn::Http1, Alpn::Http2];
        let shaken = TargetSide::new().connect(dialled(addr).await, Some(name), &alpn).await;
        let (stream, agreed) = shaken.unwrap_or_else(|error| panic!("TLS with {addr}: {error}"));
        assert_eq!(agreed, Some(Alpn::Http2), "the listener prefers HTTP/2");
        Self::over(stream, &Builder::new()).await
    }

    async fn over(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, settings: &Builder) -> Self {
        let shaken: Result<(_, Connection<_, Bytes>), _> = settings.handshake(stream).await;
        let (sender, connection) = shaken.unwrap_or_else(|error| panic!("HTTP/2: {error}"));
        Self { sender, connection: runtime().spawn(connection) }
    }

    /// Begins a request; `ends` when nothing follows its head.
    ///
    /// # Panics
    /// When the connection takes none.
    pub async fn begin(&mut self, request: Request<()>, ends: bool) -> (ResponseFuture, SendStream<Bytes>) {
        self.try_begin(request, ends).await.unwrap_or_else(|error| panic!("no stream: {error}"))
    }

    /// Begins a request, or says why the connection takes none.
    ///
    /// # Errors
    /// Of the connection.
    pub async fn try_begin(
        &mut self,
        request: Request<()>,
        ends: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        self.sender = self.sender.clone().ready().await?;
        self.sender.send_request(request, ends)
    }

    /// Sends a whole request and reads its answer.
    ///
    /// # Panics
    /// When there is none.
    pub async fn ask(&mut self, request: Request<()>, body: &[u8]) -> Answer {
        let (response, mut stream) = self.begin(request, body.is_empty()).await;
        if !body.is_empty() {
            // An answer to the head alone may have ended the stream already.
            let _ = stream.send_data(Bytes::copy_from_slice(body), true);
        }
        answer(response).await.unwrap_or_else(|error| panic!("no answer: {error}"))
    }

    /// Asks for a path.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn get(&mut self, path: &str) -> Answer {
        self.ask(request("GET", path), b"").await
    }

    /// Begins a tunnel for a protocol. Source: RFC 8441.
    ///
    /// # Panics
    /// When the connection takes none.
    pub async fn begin_tunnel(&mut self, protocol: &str, path: &str) -> (ResponseFuture, SendStream<Bytes>) {
        let mut request = request_with("CONNECT", path, &[("sec-websocket-version", "13")]);
        request.extensions_mut().insert(h2::ext::Protocol::from(protocol));
        self.begin(request, false).await
    }

    /// Whether a stream may become a tunnel here, once the listener's settings have come.
    pub fn has_tunnels(&self) -> bool {
        self.sender.is_extended_connect_protocol_enabled()
    }

    /// Streams that the listener allows at a time.
    pub fn streams_max(&self) -> usize {
        self.sender.current_max_send_streams()
    }

    /// Waits until the listener has ended the connection; how it did.
    ///
    /// # Errors
    /// What ended it out of order.
    ///
    /// # Panics
    /// When the task that drives it was ended.
    pub async fn ended(self) -> Result<(), h2::Error> {
        // It lives as long as somebody may still send on it; but a GOAWAY ends it once its streams have ended.
        let Self { sender, connection } = self;
        let ended = connection.await;
        drop(sender);
        ended.expect("the connection's task is not ended by anybody")
    }
}

/// A request for a path of `a.example`.
///
/// # Panics
/// When method or path cannot be written.
pub fn request(method: &str, path: &str) -> Request<()> {
    let builder = Request::builder().method(method).uri(format!("http://a.example{path}"));
    builder.body(()).expect("a method and a path make a request")
}

/// The same with fields.
///
/// # Panics
/// When one cannot be written.
pub fn request_with(method: &str, path: &str, fields: &[(&str, &str)]) -> Request<()> {
    let mut request = request(method, path);
    for (name, value) in fields {
        let name = http::HeaderName::from_bytes(name.as_bytes()).expect("a name is a token");
        request.headers_mut().append(name, value.parse().expect("a value has no controls"));
    }
    request
}

/// Waits for a response's head and reads all that follows.
///
/// # Errors
/// What broke it off.
pub async fn answer(response: ResponseFuture) -> Result<Answer, h2::Error> {
    let (head, mut stream) = response.await?.into_parts();
    let (body, trailers) = whole(&mut stream).await?;
    Ok(Answer { status: head.status.as_u16(), headers: head.headers, body, trailers })
}

/// Reads a body and its trailers.
///
/// # Errors
/// What broke it off.
pub async fn whole(stream: &mut RecvStream) -> Result<(Vec<u8>, HeaderMap), h2::Error> {
    let mut body = Vec::new();
    while let Some(data) = piece(stream).await {
        body.extend_from_slice(&data?);
    }
    Ok((body, stream.trailers().await?.unwrap_or_default()))
}

/// The next piece of a body, and room for as much more.
pub async fn piece(stream: &mut RecvStream) -> Option<Result<Bytes, h2::Error>> {
    let data = stream.data().await?;
    if let Ok(data) = &data {
        // A peer that has gone needs no room.
        let _ = stream.flow_control().release_capacity(data.len());
    }
    Some(data)
}

/// Sends all of `bytes` as the peer makes room; `false` when it takes no more.
pub async fn send(stream: &mut SendStream<Bytes>, bytes: &[u8], ends: bool) -> bool {
    let mut rest = Bytes::copy_from_slice(bytes);
    while !rest.is_empty() {
        stream.reserve_capacity(rest.len());
        let room = std::future::poll_fn(|cx| stream.poll_capacity(cx)).await;
        let Some(Ok(room)) = room else { return false };
        let now = rest.split_to(room.min(rest.len()));
        if stream.send_data(now, ends && rest.is_empty()).is_err() {
            return false;
        }
    }
    true
}
