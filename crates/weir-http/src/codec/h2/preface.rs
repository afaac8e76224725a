//! Whether a client that speaks no TLS begins with HTTP/2, as one does that knows beforehand that it may.

use std::time::Duration;

use tokio::net::TcpStream;

/// What tells the beginning of HTTP/2 from every request of HTTP/1.1. Source: RFC 9113 section 3.4.
const PREFACE: &[u8] = b"PRI ";

/// How long a client that has sent less than that is left alone between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// Looks at the first bytes, which stay where they are. `false` also for a client that sends none within `deadline`.
pub(crate) async fn begins(stream: &TcpStream, deadline: Duration) -> bool {
    let looking = async {
        let mut bytes = [0; PREFACE.len()];
        loop {
            match stream.peek(&mut bytes).await {
                Ok(count @ 1..) if count < PREFACE.len() && bytes[..count] == PREFACE[..count] => {
                    tokio::time::sleep(LOOK_INTERVAL).await;
                }
                Ok(_) => return bytes == PREFACE,
                Err(_) => return false,
            }
        }
    };
    tokio::time::timeout(deadline, looking).await.unwrap_or(false)
}
