//! A response as listeners see it.

use http::StatusCode;
use weir_core::rule::FixedResponse;
use weir_telemetry::ResponseSource;

use super::edits::{Edits, HeaderText};
use super::fields::{Known, Span};
use super::head::Head;
use super::response_body::{Content, ResponseBody};
use crate::record::Record;

/// The `Server` of responses that weir makes.
const SERVER_NAME: HeaderText = HeaderText::from_static("weir");

/// The status of an exchange that goes on as a tunnel.
pub(crate) const SWITCHING_PROTOCOLS: u16 = 101;

/// A response on its way to a client.
#[derive(Debug)]
pub struct Response(Box<Parts>);

/// What a response is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) status: u16,
    /// Of a target's response.
    pub(crate) head: Option<Head>,
    /// Where its own reason is in that, if it gave one.
    pub(crate) reason: Option<Span>,
    pub(crate) edits: Edits,
    /// Bytes of the body, where that is known; also of one that may not follow.
    pub(crate) length: Option<u64>,
    pub(crate) body: ResponseBody,
    /// Whether the client's connection ends with it.
    pub(crate) closes: bool,
    source: ResponseSource,
}

impl Response {
    /// The response of a fixed-response action.
    pub fn fixed(fixed: &FixedResponse) -> Self {
        let body = fixed.content_type.map_or("", |_| fixed.body.as_str());
        let mut response = Self::generated(fixed.status, body.as_bytes().to_vec());
        if let Some(content_type) = fixed.content_type {
            response.0.edits.set(Known::Other, "Content-Type", HeaderText::from_static(content_type));
        }
        response
    }

    /// The response of a redirect action.
    pub fn redirect(status: u16, location: &str) -> Self {
        let mut response = Self::error(status);
        // A location with a byte that fields may not have was not made by a valid rule from a valid request.
        match HeaderText::new(location) {
            Some(location) => response.0.edits.set(Known::Other, "Location", location),
            None => return Self::error(400),
        }
        response
    }

    /// A response with the page that load balancers of this family send with a status.
    pub fn error(status: u16) -> Self {
        let reason = reason_phrase(status);
        let page = format!(
            "<html>\r\n<head><title>{status} {reason}</title></head>\r\n<body>\r\n\
             <center><h1>{status} {reason}</h1></center>\r\n</body>\r\n</html>\r\n"
        );
        let mut response = Self::generated(status, page.into_bytes());
        response.0.edits.set(Known::Other, "Content-Type", HeaderText::from_static("text/html"));
        response
    }

    /// A response that clients of gRPC understand: the call's own status is 14, unavailable, and there is no page.
    ///
    /// Source: an Application Load Balancer, observed.
    pub fn unavailable(status: u16) -> Self {
        let mut response = Self::generated(status, Vec::new());
        for (name, value) in
            [("content-type", "application/grpc"), ("grpc-status", "14"), ("grpc-message", "unavailable")]
        {
            response.0.edits.set(Known::Other, name, HeaderText::from_static(value));
        }
        response
    }

    fn generated(status: u16, body: Vec<u8>) -> Self {
        let mut edits = Edits::default();
        edits.set(Known::Server, "Server", SERVER_NAME);
        Self(Box::new(Parts {
            status,
            head: None,
            reason: None,
            edits,
            length: Some(body.len() as u64),
            body: ResponseBody::new(Content::Generated { bytes: body, sent: 0 }),
            closes: false,
            source: ResponseSource::Weir,
        }))
    }

    /// A target's response; the lease ends with its body. `length` may be that of a body that must not follow.
    pub(crate) fn from_target(
        status: u16,
        head: Head,
        reason: Option<Span>,
        length: Option<u64>,
        content: Content,
    ) -> Self {
        Self(Box::new(Parts {
            status,
            head: Some(head),
            reason,
            edits: Edits::default(),
            length,
            body: ResponseBody::new(content),
            closes: false,
            source: ResponseSource::Target,
        }))
    }

    /// What it is made of.
    pub(crate) fn parts(&self) -> &Parts {
        &self.0
    }

    /// What it is made of, to be changed.
    pub(crate) fn parts_mut(&mut self) -> &mut Parts {
        &mut self.0
    }

    /// What it is made of.
    pub(crate) fn into_parts(self) -> Parts {
        *self.0
    }

    /// The status.
    pub fn status(&self) -> u16 {
        self.0.status
    }

    /// Who made it.
    pub fn source(&self) -> ResponseSource {
        self.0.source
    }

    /// The first value of a field that the target has sent, by its name in lower case.
    pub(crate) fn field(&self, name: &str) -> Option<&[u8]> {
        self.0.head.as_ref()?.fields().named(name).next()
    }

    /// The line by which the target sets a cookie of this name, if it does. Source: RFC 6265 section 5.2.
    pub(crate) fn cookie(&self, name: &str) -> Option<&[u8]> {
        let mut lines = self.0.head.iter().flat_map(|head| head.fields().named("set-cookie"));
        lines.find(|line| {
            let named = line.split(|byte| matches!(byte, b'=' | b';')).next();
            named.is_some_and(|named| named.trim_ascii() == name.as_bytes())
        })
    }

    /// Has the client keep a cookie, beside those that a target sets. One with bytes that a field may not have is left out.
    pub fn set_cookie(&mut self, cookie: &str) {
        if let Some(cookie) = HeaderText::new(cookie) {
            self.0.edits.add("Set-Cookie", cookie);
        }
    }

    /// Asks that nobody keep it.
    pub fn forbid_caching(&mut self) {
        self.0.edits.set(Known::Other, "Cache-Control", HeaderText::from_static("no-store"));
    }

    /// Asks that the connection be closed after this response.
    pub fn close_connection(&mut self) {
        self.0.closes = true;
    }

    /// Hands over the request's record: it is written when the body has ended.
    #[must_use]
    pub fn finish_with(mut self, record: Record) -> Self {
        self.0.body.finish_with(record);
        self
    }
}

/// Whether a body follows a response's head. Source: RFC 9112 section 6.3.
pub(crate) fn may_have_body(status: u16, is_head: bool) -> bool {
    const NO_CONTENT: u16 = 204;
    const NOT_MODIFIED: u16 = 304;
    !is_head && status >= 200 && !matches!(status, NO_CONTENT | NOT_MODIFIED)
}

/// The reason phrase, as load balancers of this family write it (nginx's).
pub(crate) fn reason_phrase(status: u16) -> &'static str {
    match status {
        101 => "Switching Protocols",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        400 => "Bad Request",
        401 => "Authorization Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Not Allowed",
        408 => "Request Time-out",
        413 => "Request Entity Too Large",
        414 => "Request-URI Too Large",
        463 => "Too Many Forwarded Addresses",
        464 => "Incompatible Protocol",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Temporarily Unavailable",
        504 => "Gateway Time-out",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        561 => "Unauthorized",
        562 => "JWKS Request Failed",
        // What a fixed response may have besides.
        _ => {
            StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason()).unwrap_or("Error")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Conformance: A6.56
    #[test]
    fn the_page_of_a_503_has_the_observed_length() {
        let length = |status| Response::error(status).0.length;
        assert_eq!(length(503), Some(162));
        assert_eq!(length(502), Some(122));
    }
}
