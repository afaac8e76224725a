//! Probes by HTTP/2, and by gRPC. The only file here, but for tests, that names h2.

use bytes::Bytes;
use h2::client::{SendRequest, handshake};
use http::{HeaderMap, Method, Request, Version};
use tokio::io::{AsyncRead, AsyncWrite};
use weir_core::health::UnhealthyReason;

use super::ask::Question;

/// Bytes of a gRPC answer that a probe reads.
const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// A message without content: not compressed, of no length.
const EMPTY_MESSAGE: [u8; 5] = [0; 5];

/// The status of `path`, asked on `S`, a connection of its own with or without TLS.
pub(super) async fn get<S>(stream: S, question: &Question<'_>) -> Result<u16, UnhealthyReason>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    on(stream, async |mut sender| {
        let request = request(Method::GET, question)?.body(())?;
        let (response, _) = sender.send_request(request, true)?;
        Ok(response.await?.status().as_u16())
    })
    .await
}

/// The status that a call of `path` by gRPC comes to, on `S`, a connection of its own with or without TLS.
pub(super) async fn call<S>(stream: S, question: &Question<'_>) -> Result<u16, UnhealthyReason>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    on(stream, async |mut sender| {
        let request = request(Method::POST, question)?;
        let request = request.header("content-type", "application/grpc").header("te", "trailers").body(())?;
        let (response, mut message) = sender.send_request(request, false)?;
        message.send_data(Bytes::from_static(&EMPTY_MESSAGE), true)?;
        let response = response.await?;
        if response.status() != http::StatusCode::OK {
            return Ok(response.status().as_u16());
        }
        if let Some(status) = grpc_status(response.headers()) {
            return Ok(status);
        }
        let mut body = response.into_body();
        let mut answer_bytes = 0;
        while let Some(data) = body.data().await {
            answer_bytes += data?.len();
            if answer_bytes > ANSWER_BYTES_MAX {
                return Err(Failure::NotAnAnswer);
            }
        }
        body.trailers().await?.as_ref().and_then(grpc_status).ok_or(Failure::NotAnAnswer)
    })
    .await
}

/// Why there is no status.
#[derive(Debug)]
enum Failure {
    NotAnAnswer,
    NotARequest,
    Broken,
}

impl From<h2::Error> for Failure {
    fn from(_: h2::Error) -> Self {
        Self::Broken
    }
}

impl From<http::Error> for Failure {
    fn from(_: http::Error) -> Self {
        Self::NotARequest
    }
}

/// Has a question asked and answered on `S` while the connection is driven.
async fn on<S>(
    stream: S,
    asking: impl AsyncFnOnce(SendRequest<Bytes>) -> Result<u16, Failure>,
) -> Result<u16, UnhealthyReason>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let failed = |_| UnhealthyReason::FailedHealthChecks;
    let (sender, connection) = handshake(stream).await.map_err(failed)?;
    let asked = async {
        let sender = sender.ready().await?;
        asking(sender).await
    };
    tokio::pin!(asked);
    let answer = tokio::select! {
        biased;
        answer = &mut asked => answer,
        // The answer may have come with the end.
        _ = connection => asked.await,
    };
    answer.map_err(|_: Failure| UnhealthyReason::FailedHealthChecks)
}

fn request(
    method: Method,
    Question { scheme, host, path, user_agent }: &Question<'_>,
) -> Result<http::request::Builder, Failure> {
    let uri: http::Uri = format!("{scheme}://{host}{path}").parse().map_err(|_| Failure::NotARequest)?;
    let request = Request::builder().method(method).uri(uri).version(Version::HTTP_2);
    Ok(request.header("user-agent", *user_agent))
}

fn grpc_status(headers: &HeaderMap) -> Option<u16> {
    headers.get("grpc-status")?.to_str().ok()?.parse().ok()
}
