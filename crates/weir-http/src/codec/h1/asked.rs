//! What a client asked that matters for how it is answered.

use super::super::fields::{Known, Span};
use super::super::head::{Head, has_token};
use super::super::request::Version;
use super::super::response::{self, may_have_body};
use super::request_head::RequestHead;
use super::write::Delimiter;

/// What a client asked that matters for how it is answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) is_head: bool,
    pub(super) version: Version,
    pub(super) keeps_alive: bool,
    pub(super) accepts_trailers: bool,
}

/// How the body of a response is delimited.
pub(super) fn delimiter(asked: Asked, response: &response::Parts) -> Delimiter {
    match response.status {
        status if !may_have_body(status, asked.is_head) => Delimiter::Nothing,
        _ if response.length.is_some() => Delimiter::Length,
        _ if asked.version == Version::Http11 => Delimiter::Chunks,
        _ => Delimiter::Close,
    }
}

impl Asked {
    pub(super) fn of(head: &Head, line: &RequestHead) -> Self {
        let (mut says_close, mut says_keep_alive) = (false, false);
        for value in head.fields().values(Known::Connection) {
            says_close |= has_token(value, "close");
            says_keep_alive |= has_token(value, "keep-alive");
        }
        Self {
            is_head: head.bytes(line.method) == b"HEAD",
            version: line.version,
            keeps_alive: !says_close && (line.version == Version::Http11 || says_keep_alive),
            accepts_trailers: head.has_token(Known::Te, "trailers"),
        }
    }
}

/// What a client waits for before it sends its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expectation {
    Nothing,
    Continue,
    /// Something that nobody knows.
    Unknown,
}

impl Expectation {
    pub(super) fn of(head: &Head, line: &RequestHead) -> Self {
        let mut values = head.fields().values(Known::Expect);
        match (values.next(), values.next()) {
            (None, _) => Self::Nothing,
            // HTTP/1.0 knows none. Source: RFC 9110 section 10.1.1.
            _ if line.version == Version::Http10 => Self::Nothing,
            (Some(value), None) if value.eq_ignore_ascii_case(b"100-continue") => Self::Continue,
            _ => Self::Unknown,
        }
    }
}

/// The protocol that a request asks to switch to. `h2c` is never honoured: it would smuggle requests past the rules.
pub(super) fn asked_upgrade(head: &Head, version: Version) -> Option<Span> {
    let mut protocols = head.fields().list.iter().filter(|field| field.known == Known::Upgrade);
    let (protocol, None) = (protocols.next()?.value, protocols.next()) else { return None };
    let is_h2c = head.bytes(protocol).to_ascii_lowercase().windows(3).any(|w| w == b"h2c");
    let asked = version == Version::Http11 && head.has_token(Known::Connection, "upgrade") && !is_h2c;
    asked.then_some(protocol)
}
