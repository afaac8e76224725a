//! A response as listeners see it.

use bytes::Bytes;
use hyper::StatusCode;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION, SERVER, UPGRADE};
use weir_core::lease::Lease;
use weir_core::rule::FixedResponse;
use weir_telemetry::ResponseSource;

use super::client::TargetConnection;
use super::headers::strip_hop_by_hop;
use super::response_body::ResponseBody;
use crate::record::Record;

/// The `Server` of responses that weir makes.
const SERVER_NAME: HeaderValue = HeaderValue::from_static("weir");

/// A response on its way to a client.
#[derive(Debug)]
pub struct Response {
    inner: hyper::Response<ResponseBody>,
    source: ResponseSource,
}

impl Response {
    /// The response of a fixed-response action.
    pub fn fixed(fixed: &FixedResponse) -> Self {
        let body = fixed.content_type.map_or("", |_| fixed.body.as_str());
        let mut response = Self::generated(fixed.status, Bytes::copy_from_slice(body.as_bytes()));
        if let Some(content_type) = fixed.content_type {
            response.inner.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        }
        response
    }

    /// The response of a redirect action.
    pub fn redirect(status: u16, location: &str) -> Self {
        let mut response = Self::error(status);
        // A location with a byte that headers may not have was not made by a valid rule from a valid request.
        match HeaderValue::from_str(location) {
            Ok(location) => response.inner.headers_mut().insert(LOCATION, location),
            Err(_) => return Self::error(400),
        };
        response
    }

    /// A response with the page that load balancers of this family send with a status.
    pub fn error(status: u16) -> Self {
        let reason = reason_phrase(status);
        let page = format!(
            "<html>\r\n<head><title>{status} {reason}</title></head>\r\n<body>\r\n\
             <center><h1>{status} {reason}</h1></center>\r\n</body>\r\n</html>\r\n"
        );
        let mut response = Self::generated(status, Bytes::from(page));
        response.inner.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/html"));
        response
    }

    fn generated(status: u16, body: Bytes) -> Self {
        let length = body.len();
        let mut inner = hyper::Response::new(ResponseBody::generated(body));
        *inner.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        inner.headers_mut().insert(SERVER, SERVER_NAME);
        inner.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
        Self { inner, source: ResponseSource::Weir }
    }

    /// A target's response; the lease ends with its body.
    pub(super) fn from_target(
        response: hyper::Response<Incoming>,
        connection: TargetConnection,
        lease: Lease,
    ) -> Self {
        let mut inner = response.map(|incoming| ResponseBody::from_target(incoming, connection, lease));
        strip_hop_by_hop(inner.headers_mut());
        *inner.version_mut() = hyper::Version::HTTP_11;
        Self { inner, source: ResponseSource::Target }
    }

    /// A target's agreement to switch protocols, on its way to the client.
    pub(super) fn switching(response: hyper::Response<Incoming>) -> Self {
        let upgrade = response.headers().get(UPGRADE).cloned();
        let mut inner = response.map(|_| ResponseBody::generated(Bytes::new()));
        strip_hop_by_hop(inner.headers_mut());
        if let Some(protocol) = upgrade {
            inner.headers_mut().insert(UPGRADE, protocol);
            inner.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
        }
        Self { inner, source: ResponseSource::Target }
    }

    /// The status.
    pub fn status(&self) -> u16 {
        self.inner.status().as_u16()
    }

    /// Who made it.
    pub fn source(&self) -> ResponseSource {
        self.source
    }

    /// Asks that the connection be closed after this response.
    pub fn close_connection(&mut self) {
        if self.inner.status() != StatusCode::SWITCHING_PROTOCOLS {
            self.inner.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
    }

    /// Hands over the request's record: it is written when the body has ended.
    #[must_use]
    pub fn finish_with(mut self, record: Record) -> Self {
        self.inner.body_mut().finish_with(record);
        self
    }

    pub(super) fn into_hyper(self) -> hyper::Response<ResponseBody> {
        self.inner
    }
}

/// The reason phrase, as load balancers of this family write it (nginx's).
fn reason_phrase(status: u16) -> &'static str {
    match status {
        301 => "Moved Permanently",
        302 => "Found",
        400 => "Bad Request",
        405 => "Not Allowed",
        408 => "Request Time-out",
        463 => "Too Many Forwarded Addresses",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Temporarily Unavailable",
        504 => "Gateway Time-out",
        507 => "Insufficient Storage",
        _ => "Error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_of_a_503_has_the_observed_length() {
        use http_body::Body as _;
        let length = |status| Response::error(status).inner.body().size_hint().exact();
        assert_eq!(length(503), Some(162));
        assert_eq!(length(502), Some(122));
    }
}
