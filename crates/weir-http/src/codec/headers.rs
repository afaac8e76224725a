//! Header lines as hyper holds them, and what must not be passed on.

use hyper::HeaderMap;
use hyper::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HeaderName, HeaderValue};
use weir_core::head::HeaderLines;

/// The header lines of a request, as decisions see them.
#[derive(Debug, Default)]
pub(crate) struct Headers(pub(super) HeaderMap);

impl HeaderLines for Headers {
    fn any_value(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.0.get_all(name).iter().any(|value| test(value.as_bytes()))
    }

    fn first_value(&self, name: &str) -> Option<&[u8]> {
        self.0.get(name).map(HeaderValue::as_bytes)
    }
}

/// A header's name, lower case.
#[derive(Clone, Debug)]
pub(crate) struct Name(HeaderName);

impl Name {
    pub(crate) const HOST: Self = Self(hyper::header::HOST);

    /// A name known beforehand; must be lower case.
    pub(crate) const fn from_static(name: &'static str) -> Self {
        Self(HeaderName::from_static(name))
    }

    pub(crate) fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// A header's value, cheap to copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderText(pub(super) HeaderValue);

impl HeaderText {
    /// A value known beforehand.
    pub(crate) const fn from_static(text: &'static str) -> Self {
        Self(HeaderValue::from_static(text))
    }

    /// `text` as a value; `None` when it has bytes that a header line may not have.
    pub(crate) fn new(text: String) -> Option<Self> {
        HeaderValue::try_from(text).ok().map(Self)
    }

    /// The value as text; empty when it is not ASCII.
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or("")
    }
}

impl Headers {
    /// Sets a header in place of all lines of that name.
    pub(crate) fn set(&mut self, name: &Name, value: HeaderText) {
        self.0.insert(name.0.clone(), value.0);
    }

    /// Every value of a header that is text.
    pub(crate) fn texts(&self, name: &Name) -> impl Iterator<Item = &str> {
        self.0.get_all(&name.0).iter().filter_map(|value| value.to_str().ok())
    }
}

/// Whether a header concerns one connection; those that `Connection` names do, too. Source: RFC 9110 section 7.6.1.
fn is_hop_by_hop(name: &HeaderName) -> bool {
    // A match on text compares lengths first, which is all that most names need.
    matches!(
        name.as_str(),
        "connection"
            | "http2-settings"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Headers that a client must not be able to take away by naming them in `Connection`.
const NEVER_NOMINATED: [&str; 7] = [
    "authorization",
    "content-length",
    "cookie",
    "host",
    "x-forwarded-for",
    "x-forwarded-port",
    "x-forwarded-proto",
];

/// Takes away everything that concerns only the connection the message came on.
pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let nominated: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|name| name.trim().parse().ok())
            .filter(|name: &HeaderName| !NEVER_NOMINATED.contains(&name.as_str()))
            .collect();
        for name in nominated {
            headers.remove(name);
        }
    }
    // Most messages have none: looking at what is there is cheaper than asking for each.
    while let Some(name) = headers.keys().find(|name| is_hop_by_hop(name)).cloned() {
        headers.remove(name);
    }
}

/// Takes away framing, which is re-created, and `Expect`, which weir answers itself.
pub(super) fn strip_framing(headers: &mut HeaderMap) {
    headers.remove(CONTENT_LENGTH);
    headers.remove(EXPECT);
}

/// Whether a comma-separated header has `token`, without regard to case.
pub(super) fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    headers.get_all(name).iter().any(|value| {
        value.to_str().is_ok_and(|value| value.split(',').any(|t| t.trim().eq_ignore_ascii_case(token)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    fn check(lines: &[(&str, &str)]) -> Vec<String> {
        let mut headers = headers(lines);
        strip_hop_by_hop(&mut headers);
        let mut left: Vec<String> = headers.keys().map(ToString::to_string).collect();
        left.sort();
        left
    }

    #[test]
    fn what_concerns_one_connection_is_not_passed_on() {
        let left = check(&[
            ("connection", "close, x-hop"),
            ("x-hop", "1"),
            ("keep-alive", "5"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABk"),
            ("accept", "*/*"),
        ]);
        assert_eq!(left, ["accept"]);
    }

    #[test]
    fn connection_cannot_take_away_what_targets_rely_on() {
        let left = check(&[
            ("connection", "x-forwarded-for, host, cookie"),
            ("host", "h"),
            ("cookie", "a=b"),
            ("x-forwarded-for", "1.1.1.1"),
        ]);
        assert_eq!(left, ["cookie", "host", "x-forwarded-for"]);
    }
}
