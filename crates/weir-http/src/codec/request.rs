//! A request as listeners see it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use http_body::Body as _;
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, HOST, HeaderValue, TRANSFER_ENCODING, UPGRADE, USER_AGENT};
use hyper::upgrade::OnUpgrade;
use hyper::{Method, Version};
use weir_core::address::{ClientAddr, ListenAddr};
use weir_core::head::{Head, HeaderLines, split_host_port};

use super::headers::{HeaderText, Headers, has_token, strip_framing, strip_hop_by_hop};
use super::phase::ConnectionState;
use super::request_body::{BodyWatch, RequestBody};
use crate::error::RequestError;

/// A request from a client, with its body still to be read.
#[derive(Debug)]
pub struct Request {
    method: Method,
    uri: hyper::Uri,
    version: Version,
    headers: Headers,
    body: RequestBody,
    upgrade: Option<Upgrade>,
    pub(crate) origin: Rc<Origin>,
    pub(crate) connection: Arc<ConnectionState>,
}

/// Where requests of one connection come from, with what targets are told of it, written once.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(crate) client: ClientAddr,
    pub(crate) listener: ListenAddr,
    pub(crate) client_text: HeaderText,
    pub(crate) port_text: HeaderText,
    /// The last authority that a request of this connection asked for, and the `Host` that targets were told.
    pub(crate) host_told: RefCell<Option<(String, HeaderText)>>,
}

impl Origin {
    pub(super) fn new(client: ClientAddr, listener: ListenAddr) -> Rc<Self> {
        let text = client.ip().to_canonical().to_string();
        let client_text = HeaderText::new(text).expect("an address is visible characters");
        let port_text = HeaderText(listener.port().into());
        Rc::new(Self { client, listener, client_text, port_text, host_told: RefCell::default() })
    }
}

/// A request to leave HTTP for another protocol, WebSocket most often.
#[derive(Debug)]
pub(super) struct Upgrade {
    pub(super) protocol: HeaderValue,
    pub(super) client: OnUpgrade,
}

impl Request {
    pub(super) fn from_hyper(
        mut request: hyper::Request<Incoming>,
        origin: Rc<Origin>,
        connection: Arc<ConnectionState>,
    ) -> Self {
        let protocol = asked_upgrade(&request);
        let upgrade = protocol.map(|protocol| Upgrade { protocol, client: hyper::upgrade::on(&mut request) });
        let (parts, body) = request.into_parts();
        Self {
            body: RequestBody::of_client(body, parts.method.is_idempotent()),
            method: parts.method,
            uri: parts.uri,
            version: parts.version,
            headers: Headers(parts.headers),
            upgrade,
            origin,
            connection,
        }
    }

    /// Whether the request can be forwarded at all.
    ///
    /// # Errors
    /// The [`RequestError`] that it is to be refused with: its method, its host or its framing.
    pub fn check(&self) -> Result<(), RequestError> {
        if self.method == Method::CONNECT || self.method == Method::TRACE {
            return Err(RequestError::MethodNotAllowed);
        }
        let mut hosts = self.headers.0.get_all(HOST).iter();
        match (hosts.next(), hosts.next()) {
            (Some(host), None) if is_host(host.as_bytes()) => {}
            // HTTP/1.0 knows no Host; the listener's own address takes its place.
            (None, _) if self.version < Version::HTTP_11 || self.uri.authority().is_some() => {}
            _ => return Err(RequestError::HostInvalid),
        }
        let mut codings = self.headers.0.get_all(TRANSFER_ENCODING).iter();
        match (codings.next(), codings.next()) {
            (None, _) => Ok(()),
            (Some(_), _) if self.version < Version::HTTP_11 => Err(RequestError::TransferCodingAmbiguous),
            (Some(_), Some(_)) => Err(RequestError::TransferCodingAmbiguous),
            (Some(coding), None) if coding.as_bytes().eq_ignore_ascii_case(b"chunked") => Ok(()),
            (Some(_), None) => Err(RequestError::TransferCodingUnknown),
        }
    }

    /// What decisions see of it.
    pub fn head(&self) -> Head<'_> {
        let (host, _) = split_host_port(self.authority());
        Head {
            scheme: "http",
            method: self.method.as_str(),
            host,
            port: self.origin.listener.port(),
            path: self.uri.path(),
            query: self.uri.query(),
            headers: &self.headers,
        }
    }

    /// The host and port that the client asked for: an absolute URI's, else the `Host` header's.
    pub(crate) fn authority(&self) -> &str {
        match self.uri.authority() {
            Some(authority) => authority.as_str(),
            None => self.headers.0.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or(""),
        }
    }

    /// The client's address.
    pub fn client(&self) -> ClientAddr {
        self.origin.client
    }

    /// The listener's address, with the port that the client connected to.
    pub fn listener(&self) -> ListenAddr {
        self.origin.listener
    }

    /// A header's first value.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.first_value(name)
    }

    /// The `User-Agent`, for the access log.
    pub(crate) fn user_agent(&self) -> Option<&str> {
        self.headers.0.get(USER_AGENT).and_then(|agent| agent.to_str().ok())
    }

    /// The version, as the access log writes it.
    pub(crate) fn version(&self) -> &'static str {
        if self.version < Version::HTTP_11 { "HTTP/1.0" } else { "HTTP/1.1" }
    }

    /// Whether another attempt on another target is safe after this one was written: the method is idempotent
    /// (RFC 9110 section 9.2.2). Of its body, only what is remembered can be sent again.
    pub(super) fn is_repeatable(&self) -> bool {
        self.upgrade.is_none() && self.method.is_idempotent()
    }

    /// Whether the beginning of its body is still known, so that it can be sent.
    pub(super) fn is_whole(&self) -> bool {
        self.body.again().is_some()
    }

    /// Something to look at its body with.
    pub(super) fn watch_body(&self) -> BodyWatch {
        self.body.watch()
    }

    /// Whether the method may be sent on a connection that the target may be closing at this moment.
    pub(crate) fn is_idempotent(&self) -> bool {
        self.method.is_idempotent()
    }

    /// Counts the bytes of its body as they pass; `None` without a body.
    pub(crate) fn received_bytes(&self) -> Option<Rc<Cell<u64>>> {
        self.body.received_bytes()
    }

    /// The header lines, to be told to the target.
    pub(crate) fn headers(&self) -> &Headers {
        &self.headers
    }

    /// The header lines, to be changed toward the target.
    pub(crate) fn headers_mut(&mut self) -> &mut Headers {
        &mut self.headers
    }

    /// Makes it a request for the target: hop-by-hop headers and framing taken away, framing re-created.
    ///
    /// `keep` asks for a copy of the head, from which the request can be made again.
    pub(super) fn toward_target(mut self, keep: bool) -> Outgoing {
        strip_hop_by_hop(&mut self.headers.0);
        strip_framing(&mut self.headers.0);
        if let Some(upgrade) = &self.upgrade {
            self.headers.0.insert(UPGRADE, upgrade.protocol.clone());
            self.headers.0.insert(hyper::header::CONNECTION, HeaderValue::from_static("upgrade"));
        }
        if self.body.is_empty() {
            // A method that usually has a body says that it has none.
            if self.method == Method::POST || self.method == Method::PUT || self.method == Method::PATCH {
                self.headers.0.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
            }
        } else {
            match self.body.size_hint().exact() {
                Some(bytes) => self.headers.0.insert(CONTENT_LENGTH, HeaderValue::from(bytes)),
                None => self.headers.0.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked")),
            };
        }
        let uri = origin_form(self.uri);
        let again = keep.then(|| self.body.again()).flatten().map(|body| Self {
            method: self.method.clone(),
            uri: uri.clone(),
            version: self.version,
            headers: Headers(self.headers.0.clone()),
            body,
            upgrade: None,
            origin: self.origin.clone(),
            connection: self.connection.clone(),
        });
        let mut request = hyper::Request::new(self.body);
        *request.method_mut() = self.method;
        *request.uri_mut() = uri;
        *request.headers_mut() = self.headers.0;
        Outgoing {
            request,
            again,
            upgrade: self.upgrade,
            rest: Rest { version: self.version, origin: self.origin, connection: self.connection },
        }
    }
}

/// A request on its way to a target.
pub(super) struct Outgoing {
    pub(super) request: hyper::Request<RequestBody>,
    pub(super) again: Option<Request>,
    pub(super) upgrade: Option<Upgrade>,
    pub(super) rest: Rest,
}

/// What is needed, besides the message, to make a request again that was never written.
pub(super) struct Rest {
    version: Version,
    origin: Rc<Origin>,
    pub(super) connection: Arc<ConnectionState>,
}

impl Rest {
    /// The request again, from the message that was never written.
    pub(super) fn unwritten(self, request: hyper::Request<RequestBody>, upgrade: Option<Upgrade>) -> Request {
        let (parts, body) = request.into_parts();
        Request {
            method: parts.method,
            uri: parts.uri,
            version: self.version,
            headers: Headers(parts.headers),
            body,
            upgrade,
            origin: self.origin,
            connection: self.connection,
        }
    }
}

/// The protocol that a request asks to switch to. `h2c` is never honoured: it would smuggle requests past the rules.
fn asked_upgrade(request: &hyper::Request<Incoming>) -> Option<HeaderValue> {
    let protocol = request.headers().get(UPGRADE)?;
    let asked = request.version() == Version::HTTP_11
        && has_token(request.headers(), hyper::header::CONNECTION, "upgrade")
        && !protocol.as_bytes().to_ascii_lowercase().windows(3).any(|w| w == b"h2c");
    asked.then(|| protocol.clone())
}

/// What a request line toward a target has: path and query.
fn origin_form(uri: hyper::Uri) -> hyper::Uri {
    if uri.authority().is_none() {
        return uri;
    }
    let mut parts = hyper::http::uri::Parts::default();
    parts.path_and_query = uri.into_parts().path_and_query;
    hyper::Uri::from_parts(parts).expect("path and query alone are a URI")
}

/// Whether a `Host` value is one host with an optional port.
fn is_host(value: &[u8]) -> bool {
    !value.is_empty() && value.iter().all(|b| b.is_ascii_alphanumeric() || b"-._~[]:%!$&'()*+;=".contains(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_one_host_with_an_optional_port() {
        for good in ["a.example", "a.example:8080", "[::1]:80", "127.0.0.1", "my_service"] {
            assert!(is_host(good.as_bytes()), "{good}");
        }
        for bad in ["", "a,b", "u@h", "h/x", "a b", "h?x", "h#x"] {
            assert!(!is_host(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn a_request_line_toward_a_target_has_only_path_and_query() {
        assert_eq!(origin_form("http://a.example:80/x?y=1".parse().unwrap()).to_string(), "/x?y=1");
        assert_eq!(origin_form("/x".parse().unwrap()).to_string(), "/x");
    }
}
