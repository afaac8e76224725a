//! One probe of one target.

use std::io::ErrorKind;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, timeout, timeout_at};
use weir_core::address::TargetAddr;
use weir_core::definition::ProtocolVersion;
use weir_core::health::{Probe, UnhealthyReason, Verdict};
use weir_net::dial::{DialError, dial};
use weir_net::proxy_header;
use weir_net::stream::Stream;
use weir_tls::Alpn;

use super::log::Checked;
use super::{Plan, http1, http2};

/// How long a connection must stay open to pass a TCP probe: a published container port is accepted by the engine's
/// own proxy before the task listens, and closed at once.
const STAYS_OPEN: Duration = Duration::from_millis(50);

/// What a target is asked for.
#[derive(Debug)]
pub(super) struct Question<'p> {
    /// `http` or `https`.
    pub(super) scheme: &'static str,
    /// The target's address, with its port unless that is the scheme's own.
    pub(super) host: String,
    pub(super) path: &'p str,
    pub(super) user_agent: &'p str,
}

/// Asks a target once, in whatever way its plan says.
pub(super) async fn ask(plan: &Plan) -> Checked {
    let (begun, mut status) = (Instant::now(), None);
    let verdict = judge(plan, &mut status).await;
    Checked { verdict, status, latency: begun.elapsed() }
}

/// Asks, and notes the status that came.
async fn judge(plan: &Plan, seen: &mut Option<u16>) -> Verdict {
    let deadline = Instant::now() + plan.check.timeout;
    let mut stream = match timeout_at(deadline, dial(plan.addr, &plan.reactor)).await {
        Ok(Ok(stream)) => stream,
        Err(_) | Ok(Err(DialError::TimedOut)) => return Err(UnhealthyReason::ConnectTimeout),
        Ok(Err(DialError::Failed(error))) if error.kind() == ErrorKind::ConnectionRefused => {
            return Err(UnhealthyReason::ConnectionRefused);
        }
        Ok(Err(DialError::Failed(_) | DialError::SelfConnected)) => {
            return Err(UnhealthyReason::FailedHealthChecks);
        }
    };
    let asked = async {
        if plan.begins_with_header {
            let written = stream.write_all(&proxy_header::of_our_own()).await;
            written.map_err(|_| UnhealthyReason::FailedHealthChecks)?;
        }
        match &plan.check.probe {
            Probe::Tcp => stays_open(stream).await,
            Probe::Tls => match plan.tls.connect(stream, None, &[]).await {
                Ok(_) => Ok(()),
                Err(_) => Err(UnhealthyReason::FailedHealthChecks),
            },
            Probe::Http { is_tls, version, path, matcher, user_agent } => {
                let question = Question::of(plan.addr, *is_tls, path, user_agent);
                let status = if *is_tls {
                    let alpn = match version {
                        ProtocolVersion::Http1 => Alpn::Http1,
                        ProtocolVersion::Grpc | ProtocolVersion::Http2 => Alpn::Http2,
                    };
                    let secured = plan.tls.connect(stream, None, &[alpn]).await;
                    let (stream, _) = secured.map_err(|_| UnhealthyReason::FailedHealthChecks)?;
                    status_of(stream, *version, &question).await?
                } else {
                    status_of(stream, *version, &question).await?
                };
                *seen = Some(status);
                if matcher.matches(status) {
                    Ok(())
                } else {
                    Err(UnhealthyReason::ResponseCodeMismatch(status))
                }
            }
        }
    };
    timeout_at(deadline, asked).await.unwrap_or(Err(UnhealthyReason::Timeout))
}

/// Asks on `S`, a connection of its own with or without TLS: the status of HTTP, or of gRPC.
async fn status_of<S>(
    stream: S,
    version: ProtocolVersion,
    question: &Question<'_>,
) -> Result<u16, UnhealthyReason>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match version {
        ProtocolVersion::Grpc => http2::call(stream, question).await,
        ProtocolVersion::Http1 => http1::get(stream, question).await,
        ProtocolVersion::Http2 => http2::get(stream, question).await,
    }
}

async fn stays_open(mut stream: Stream) -> Verdict {
    match timeout(STAYS_OPEN, stream.read(&mut [0; 1])).await {
        // Silent or talkative, but there.
        Err(_) | Ok(Ok(1..)) => Ok(()),
        Ok(Ok(0) | Err(_)) => Err(UnhealthyReason::FailedHealthChecks),
    }
}

impl<'p> Question<'p> {
    pub(super) fn of(addr: TargetAddr, is_tls: bool, path: &'p str, user_agent: &'p str) -> Self {
        let (scheme, usual_port) = if is_tls { ("https", 443) } else { ("http", 80) };
        let host = if addr.port() == usual_port { addr.ip().to_string() } else { addr.to_string() };
        Self { scheme, host, path, user_agent }
    }
}
