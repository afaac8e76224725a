//! One HTTP request on a connection of its own. The only file here that names hyper.
//!
//! What this client lacks, on purpose: redirects, retries, a pool. Who asks does so every few seconds, at most.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::handshake;
use hyper::header::{ACCEPT, CONTENT_TYPE, HOST, HeaderValue, USER_AGENT};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use weir_core::url::HttpUrl;

use crate::tls;

/// Longest time until a server has accepted a connection and sent the head of its answer.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);

/// Longest time for a body that is read as a whole.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

/// How weir introduces itself.
const AGENT: &str = concat!("weir/", env!("CARGO_PKG_VERSION"));

/// Why a server gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection.
    #[error("cannot connect: {0}")]
    Connect(#[source] io::Error),
    /// The connection broke, or what came is not HTTP.
    #[error("{}", deepest(.0))]
    Exchange(#[from] hyper::Error),
    /// Nothing came in time.
    #[error("did not answer within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// No TLS with whoever answers.
    #[error("cannot speak TLS: {0}")]
    Tls(#[source] io::Error),
    /// The answer has more bytes than are read.
    #[error("answered with more than {0} bytes, which is more than is read")]
    TooLarge(usize),
}

/// What went wrong underneath: `connection refused` says more than `error sending request`.
fn deepest(error: &hyper::Error) -> String {
    std::error::Error::source(error).map_or_else(|| error.to_string(), ToString::to_string)
}

/// An answer whose body is still to be read.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    headers: hyper::HeaderMap,
    body: Incoming,
    _connection: Driven,
}

/// Drives a connection for as long as its answer is wanted.
#[derive(Debug)]
struct Driven(JoinHandle<()>);

impl Drop for Driven {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Asks for a URL with further headers.
pub async fn get(url: &HttpUrl, headers: &[(&'static str, &str)]) -> Result<Answer, ClientError> {
    ask(url, "GET", headers, Bytes::new()).await
}

/// Sends JSON to a URL.
pub async fn post_json(url: &HttpUrl, json: String) -> Result<Answer, ClientError> {
    post(url, &[(CONTENT_TYPE.as_str(), "application/json")], json).await
}

/// Sends a body with headers that say what it is.
pub async fn post(
    url: &HttpUrl,
    headers: &[(&'static str, &str)],
    body: String,
) -> Result<Answer, ClientError> {
    ask(url, "POST", headers, body.into()).await
}

async fn ask(
    url: &HttpUrl,
    method: &'static str,
    headers: &[(&'static str, &str)],
    body: Bytes,
) -> Result<Answer, ClientError> {
    let mut request = hyper::Request::builder()
        .method(method)
        .uri(url.path())
        .header(HOST, url.authority())
        .header(USER_AGENT, AGENT)
        .header(ACCEPT, "application/json");
    for (name, value) in headers {
        // A value that was received can be sent: both are the same set of bytes.
        if let Ok(value) = HeaderValue::from_str(value) {
            request = request.header(*name, value);
        }
    }
    let request = request.body(Full::new(body)).expect("a URL has been parsed, and headers are checked");
    let asked = async {
        let stream = TcpStream::connect((url.host(), url.port())).await.map_err(ClientError::Connect)?;
        if url.is_tls() {
            let stream = tls::connect(stream, url.host()).await.map_err(ClientError::Tls)?;
            exchange(stream, request).await
        } else {
            exchange(stream, request).await
        }
    };
    timeout(HEAD_TIMEOUT, asked).await.unwrap_or(Err(ClientError::TimedOut(HEAD_TIMEOUT)))
}

/// Sends a request over `S`, a connection with or without TLS.
async fn exchange<S>(stream: S, request: hyper::Request<Full<Bytes>>) -> Result<Answer, ClientError>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    let driven = Driven(tokio::spawn(async move {
        // How it ended is what the answer says.
        let _ = connection.await;
    }));
    let (head, body) = sender.send_request(request).await?.into_parts();
    Ok(Answer { status: head.status.as_u16(), headers: head.headers, body, _connection: driven })
}

impl Answer {
    /// A header's first value, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The next piece of the body as it arrives; `None` at its end.
    pub async fn piece(&mut self) -> Result<Option<Bytes>, ClientError> {
        while let Some(frame) = self.body.frame().await.transpose()? {
            // Anything else is trailers.
            if let Ok(bytes) = frame.into_data() {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    /// The whole body, of at most `bytes_max` bytes.
    pub async fn whole(mut self, bytes_max: usize) -> Result<Vec<u8>, ClientError> {
        let reading = async {
            let mut whole = Vec::new();
            while let Some(piece) = self.piece().await? {
                if whole.len() + piece.len() > bytes_max {
                    return Err(ClientError::TooLarge(bytes_max));
                }
                whole.extend_from_slice(&piece);
            }
            Ok(whole)
        };
        timeout(BODY_TIMEOUT, reading).await.unwrap_or(Err(ClientError::TimedOut(BODY_TIMEOUT)))
    }
}
