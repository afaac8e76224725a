//! The codec: HTTP/1.1 on both sides, by hyper. The only place where hyper's types appear.
//!
//! Framing is always re-created: no `Transfer-Encoding`, `Content-Length` spelling, chunk line or hop-by-hop header is
//! copied from one side to the other.

pub(crate) mod client;
#[allow(dead_code, reason = "the connections that use it are not here yet")]
pub(crate) mod fields;
pub(crate) mod h1;
pub(crate) mod headers;
mod io;
pub(crate) mod phase;
pub(crate) mod request;
mod request_body;
pub(crate) mod response;
mod response_body;
pub(crate) mod server;
mod tunnel;
