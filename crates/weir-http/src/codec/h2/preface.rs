//! Whether a client that speaks no TLS begins with HTTP/2, as one does that knows beforehand that it may.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use weir_net::stream::Stream;

/// What tells the beginning of HTTP/2 from every request of HTTP/1.1. Source: RFC 9113 section 3.4.
const PREFACE: &[u8] = b"PRI ";

/// How long a client that has sent less than that is left alone between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// What a client begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beginning {
    /// A request of HTTP/1.1, or the first bytes of one.
    Http1,
    Http2,
    /// Nothing: it is silent, or gone.
    Nothing,
}

/// Looks at the first bytes, which stay where they are; at most for `limit`.
pub(crate) async fn beginning(stream: &mut Stream, limit: Duration) -> Beginning {
    let deadline = Instant::now() + limit;
    let mut bytes = [0; PREFACE.len()];
    loop {
        match timeout_at(deadline, stream.peek(&mut bytes)).await {
            Ok(Ok(0) | Err(_)) | Err(_) => return Beginning::Nothing,
            Ok(Ok(_)) if bytes == PREFACE => return Beginning::Http2,
            Ok(Ok(count)) if PREFACE.starts_with(&bytes[..count]) && Instant::now() < deadline => {
                sleep(LOOK_INTERVAL).await;
            }
            Ok(Ok(_)) => return Beginning::Http1,
        }
    }
}
