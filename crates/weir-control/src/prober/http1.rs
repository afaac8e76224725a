//! Probes by HTTP/1.1.

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use weir_core::health::UnhealthyReason;

use super::ask::Question;

/// Bytes of a response head that a probe reads.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Header lines of a response that a probe reads.
const HEADER_LINES_MAX: usize = 128;

/// Sends a request on `S`, a connection of its own with or without TLS, and reads the status.
pub(super) async fn get<S>(mut stream: S, question: &Question<'_>) -> Result<u16, UnhealthyReason>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let failed = |_| UnhealthyReason::FailedHealthChecks;
    stream.write_all(request(question).as_bytes()).await.map_err(failed)?;
    let mut head = Vec::with_capacity(1024);
    loop {
        if stream.read_buf(&mut head).await.map_err(failed)? == 0 || head.len() > HEAD_BYTES_MAX {
            return Err(UnhealthyReason::FailedHealthChecks);
        }
        let mut lines = [httparse::EMPTY_HEADER; HEADER_LINES_MAX];
        let mut response = httparse::Response::new(&mut lines);
        match response.parse(&head) {
            Ok(httparse::Status::Complete(_)) => {
                return response.code.ok_or(UnhealthyReason::FailedHealthChecks);
            }
            Ok(httparse::Status::Partial) => {}
            Err(_) => return Err(UnhealthyReason::FailedHealthChecks),
        }
    }
}

fn request(Question { host, path, user_agent, .. }: &Question<'_>) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nUser-Agent: {user_agent}\r\nAccept-Encoding: gzip, compressed\r\n\r\n"
    )
}
