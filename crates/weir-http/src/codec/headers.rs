//! Header lines as hyper holds them, and what must not be passed on.

use hyper::HeaderMap;
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HeaderName, HeaderValue, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
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

/// Headers that concern one connection, besides those that `Connection` names. Source: RFC 9110 section 7.6.1.
static HOP_BY_HOP: [HeaderName; 8] = [
    CONNECTION,
    HeaderName::from_static("http2-settings"),
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

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
    if headers.keys().any(|name| HOP_BY_HOP.contains(name)) {
        for name in &HOP_BY_HOP {
            headers.remove(name);
        }
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
