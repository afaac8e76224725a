//! What gRPC adds to HTTP/2: messages with their lengths, and a status behind them.
//!
//! Source: gRPC over HTTP2, in the documents of gRPC.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use h2::RecvStream;
use http::{HeaderMap, Request};

use crate::http2::{Answer, request_with, whole};
use crate::http2_target::fields;

/// Bytes before a message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// A call of a method of `demo.Echo`.
pub fn call(method: &str) -> Request<()> {
    let fields = [("content-type", "application/grpc"), ("te", "trailers")];
    request_with("POST", &format!("/demo.Echo/{method}"), &fields)
}

/// A message, not compressed.
pub fn message(bytes: &[u8]) -> Bytes {
    let mut framed = BytesMut::with_capacity(PREFIX_BYTES + bytes.len());
    framed.put_u8(0);
    framed.put_u32(bytes.len() as u32);
    framed.put_slice(bytes);
    framed.freeze()
}

/// The messages of a body; `None` when it breaks off, or within one.
pub async fn messages(stream: &mut RecvStream) -> Option<Vec<String>> {
    let (body, _) = whole(stream).await.ok()?;
    split(&body)
}

/// The messages of an answer.
///
/// # Panics
/// When it ends within one.
pub fn said(answer: &Answer) -> Vec<String> {
    split(&answer.body).expect("an answer ends with a message")
}

/// The trailers that end a call.
pub fn trailers(status: u8, text: &str) -> HeaderMap {
    fields(&[("grpc-status", &status.to_string()), ("grpc-message", text)])
}

fn split(mut body: &[u8]) -> Option<Vec<String>> {
    let mut messages = Vec::new();
    while !body.is_empty() {
        if body.len() < PREFIX_BYTES || body.get_u8() != 0 {
            return None;
        }
        let length = body.get_u32() as usize;
        messages.push(String::from_utf8_lossy(body.get(..length)?).into_owned());
        body.advance(length);
    }
    Some(messages)
}
