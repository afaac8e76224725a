//! HTTP/2, on the crate h2: every stream is a request of its own.

pub(crate) mod body;
mod head;
mod outflow;
mod patience;
pub(crate) mod preface;
pub(crate) mod server;
mod stream_io;
pub(crate) mod target;

/// Streams that a peer may have open at a time. Source: Application Load Balancer: "up to 128 requests in parallel".
const STREAMS_MAX: u32 = 128;

/// Bytes of one stream that may be under way, so that one upload that stalls holds little.
const STREAM_WINDOW_BYTES: u32 = 256 * 1024;

/// Bytes of all streams of a client's connection that may be under way: many windows, so that streams that stall do not
/// block the others, and as much as one client can make weir hold on one connection.
const CLIENT_WINDOW_BYTES: u32 = 4 * 1024 * 1024;

/// The same on a connection to a target, which requests of many clients share: the windows of all its streams, so that those
/// of clients that do not read never stop the others.
const TARGET_WINDOW_BYTES: u32 = target::STREAMS_MAX as u32 * STREAM_WINDOW_BYTES;

/// Bytes of all fields of a head. Source: Application Load Balancer quotas: all request headers together at most 64 K.
const HEAD_BYTES_MAX: u32 = 64 * 1024;

/// Bytes of one stream that wait to be written.
const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// Streams that a peer has opened and reset before they were looked at (CVE-2023-44487): a page that is left with many
/// requests under way resets as many.
const PENDING_RESETS_MAX: usize = 100;

/// Streams that a peer makes us reset (CVE-2025-8671).
const LOCAL_RESETS_MAX: usize = 100;
