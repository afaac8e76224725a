//! A request as listeners see it.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use weir_core::address::{ClientAddr, ListenAddr};
use weir_core::definition::{HttpSettings, ProtocolVersion};
use weir_core::head::{Head as DecisionHead, split_host_port};
use weir_core::header_rules::HeaderRules;
use weir_tls::Handshake;

use super::Connection;
use super::edits::{Edits, HeaderText, Preset};
use super::fields::{Known, Span};
use super::h1::desync::Oddities;
use super::h1::request_head::{self, Framing};
use super::head::{Head, borrow_list};
use super::host::is_host;
use super::phase::ConnectionState;
use super::request_body::RequestBody;
use super::request_target::Target;
use super::response::Response;
use crate::error::RequestError;
use crate::forwarded;
use crate::record::connection::ConnectionId;

/// A request from a client, with its body still to be read.
#[derive(Debug)]
pub struct Request(Box<Parts>);

/// What a request is made of. Boxed, since it moves through many hands.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) head: Head,
    pub(crate) method: Span,
    /// The target of the request line, as it came.
    pub(crate) raw_target: Span,
    pub(crate) target: Target,
    /// The path that rules match, where it is not the one that came.
    pub(crate) normal_path: Option<Box<str>>,
    /// The path with the query that a target is asked for in place of the client's.
    pub(crate) rewritten_url: Option<Box<str>>,
    pub(crate) version: Version,
    /// What is odd about it; only of HTTP/1.
    pub(crate) oddities: Oddities,
    /// Whether names of fields had characters that not all software takes.
    pub(crate) has_invalid_names: bool,
    /// Whether the target's connection may be used again after it.
    pub(crate) is_trusted: bool,
    pub(crate) body: RequestBody,
    /// The protocol that the client asks to switch to.
    pub(crate) upgrade: Option<Span>,
    pub(crate) edits: Edits,
    pub(crate) origin: Rc<Origin>,
    pub(crate) connection: Rc<ConnectionState>,
}

/// The versions that requests come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    Http10,
    Http11,
    Http2,
}

/// Where requests of one connection come from, with what targets are told of it, written once.
#[derive(Debug)]
pub struct Origin {
    /// What its connection is called in logs.
    pub(crate) id: ConnectionId,
    pub(crate) client: ClientAddr,
    pub(crate) listener: ListenAddr,
    /// What was settled with the client, of a connection that speaks TLS.
    pub(crate) handshake: Option<Handshake>,
    /// How HTTP is read, and what of it targets are told.
    pub(crate) settings: HttpSettings,
    /// `X-Forwarded-For`, `-Proto` and `-Port` of requests to whose `X-Forwarded-For` nothing is appended.
    pub(crate) forwarded: Rc<Preset>,
    /// What targets are told of TLS and of the client's certificate, by the listener's names.
    pub(crate) secured: Option<Rc<Preset>>,
    /// What the listener sets on every response.
    pub(crate) responses: Option<Rc<Preset>>,
    /// The last authority that a request of this connection asked for, and the `Host` that targets were told.
    pub(crate) host_told: RefCell<Option<(Vec<u8>, HeaderText)>>,
}

impl Origin {
    pub(super) fn new(connection: &Connection, handshake: Option<Handshake>) -> Rc<Self> {
        let Connection { id, client, listener, settings, .. } = *connection;
        let scheme = if handshake.is_some() { "https" } else { "http" };
        let forwarded = forwarded::preset(client, listener, settings, scheme);
        let secured = forwarded::secured(handshake.as_ref(), settings, &connection.headers);
        let responses = responses(&connection.headers);
        let host_told = RefCell::default();
        Rc::new(Self { id, client, listener, handshake, settings, forwarded, secured, responses, host_told })
    }

    /// Where requests of weir's own come from: no client has sent them, and targets are told of none.
    pub(crate) fn own() -> Rc<Self> {
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        Rc::new(Self {
            id: ConnectionId::default(),
            client: ClientAddr(nowhere),
            listener: ListenAddr(nowhere),
            handshake: None,
            settings: HttpSettings::default(),
            forwarded: Rc::default(),
            secured: None,
            responses: None,
            host_told: RefCell::default(),
        })
    }

    /// Sets on a response what the listener sets on every one.
    pub(super) fn dress(&self, response: &mut Response) {
        if let Some(preset) = &self.responses {
            response.parts_mut().edits.preset_at_last(preset.clone());
        }
    }

    /// Whether a host is the one that the last request asked for, and so has been looked at.
    fn knows_host(&self, host: &[u8]) -> bool {
        let told = self.host_told.borrow();
        !host.is_empty() && told.as_ref().is_some_and(|(asked, _)| asked == host)
    }

    /// What the client's side speaks: `http` or `https`.
    pub(crate) fn scheme(&self) -> &'static str {
        if self.handshake.is_some() { "https" } else { "http" }
    }
}

/// What a listener sets on every response.
fn responses(rules: &HeaderRules) -> Option<Rc<Preset>> {
    let mut preset = Preset::default();
    for (name, value) in &rules.responses {
        preset.set(name, value);
    }
    if !rules.keeps_server {
        preset.remove("Server");
    }
    (!rules.leaves_responses()).then(|| Rc::new(preset))
}

impl Request {
    pub(crate) fn new(parts: Parts) -> Self {
        Self(Box::new(parts))
    }

    /// A `GET` of weir's own; `None` for a path that no request can have.
    pub(crate) fn own(path: &str, host: &str, origin: &Rc<Origin>, idle_timeout: Duration) -> Option<Self> {
        let mut bytes =
            format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: weir\r\n\r\n").into_bytes();
        let mut fields = borrow_list();
        let line = request_head::parse(&mut bytes, &mut fields).ok()??;
        let head = Head::new(&bytes, fields);
        Some(Self::new(Parts {
            method: line.method,
            raw_target: line.target,
            normal_path: None,
            rewritten_url: None,
            target: Target::parse(head.whole(), line.target),
            version: line.version,
            oddities: line.oddities,
            has_invalid_names: false,
            is_trusted: true,
            body: RequestBody::empty(),
            upgrade: None,
            head,
            edits: Edits::default(),
            origin: origin.clone(),
            connection: Rc::new(ConnectionState::new(idle_timeout)),
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

    /// Whether the request can be forwarded at all.
    ///
    /// # Errors
    /// The [`RequestError`] that it is to be refused with: its method, its target, its host, or what it says of its
    /// connection.
    pub fn check(&self) -> Result<(), RequestError> {
        let parts = &*self.0;
        match parts.head.bytes(parts.method) {
            b"CONNECT" | b"TRACE" => return Err(RequestError::MethodNotAllowed),
            b"OPTIONS" => {}
            _ if parts.target == Target::Asterisk => return Err(RequestError::TargetInvalid),
            _ => {}
        }
        let authority = match parts.target {
            Target::Invalid => return Err(RequestError::TargetInvalid),
            Target::Asterisk => None,
            Target::Resource { authority, .. } => authority,
        };
        if authority.is_some_and(|authority| !is_host(parts.head.bytes(authority))) {
            return Err(RequestError::HostInvalid);
        }
        let fields = parts.head.fields();
        let mut hosts = fields.values(Known::Host);
        match (hosts.next(), hosts.next()) {
            (Some(host), None) if parts.origin.knows_host(host) || is_host(host) => {}
            // HTTP/1.0 knows no Host; the listener's own address takes its place.
            (None, _) if parts.version == Version::Http10 => {}
            _ => return Err(RequestError::HostInvalid),
        }
        for value in fields.values(Known::Connection) {
            let mut names = value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            if names.any(|name| NEVER_OF_THE_CONNECTION.iter().any(|n| name.eq_ignore_ascii_case(n))) {
                return Err(RequestError::ConnectionFieldInvalid);
            }
        }
        Ok(())
    }

    /// What decisions see of it.
    pub fn head(&self) -> DecisionHead<'_> {
        let parts = &*self.0;
        let host = self.host();
        // One look at whether the whole line is text is cheaper than one at each part.
        let line = parts.head.text(Span { start: 0, end: parts.raw_target.end });
        let part = |span: Span| line.get(span.start as usize..span.end as usize).unwrap_or("");
        let (path, query) = match parts.target {
            Target::Asterisk => ("*", None),
            Target::Invalid => (part(parts.raw_target), None),
            Target::Resource { path, query, .. } => (path.map_or("/", part), query.map(part)),
        };
        DecisionHead {
            scheme: parts.origin.scheme(),
            method: part(parts.method),
            host,
            port: parts.origin.listener.port(),
            path,
            normal_path: parts.normal_path.as_deref().unwrap_or(path),
            query,
            headers: &parts.head,
        }
    }

    /// The host and port that the client asked for: an absolute URI's, else the `Host` field's.
    pub fn authority(&self) -> &str {
        // Checked to be made of letters, digits and a few signs.
        std::str::from_utf8(self.authority_bytes()).unwrap_or("")
    }

    /// The same, without its port.
    pub(crate) fn host(&self) -> &str {
        split_host_port(self.authority()).0
    }

    /// The same, as it came.
    pub(crate) fn authority_bytes(&self) -> &[u8] {
        let parts = &*self.0;
        match parts.target {
            Target::Resource { authority: Some(authority), .. } => parts.head.bytes(authority),
            _ => parts.head.first(Known::Host).unwrap_or(b""),
        }
    }

    /// How long its client's connection may be silent.
    pub fn idle_timeout(&self) -> Duration {
        self.parts().connection.idle_timeout()
    }

    /// The client's address.
    pub fn client(&self) -> ClientAddr {
        self.0.origin.client
    }

    /// The listener's address, with the port that the client connected to.
    pub fn listener(&self) -> ListenAddr {
        self.0.origin.listener
    }

    /// The `User-Agent`, for the access log.
    pub(crate) fn user_agent(&self) -> Option<&str> {
        std::str::from_utf8(self.0.head.first(Known::UserAgent)?).ok()
    }

    /// The version, as the access log writes it.
    pub(crate) fn version(&self) -> &'static str {
        match self.0.version {
            Version::Http10 => "HTTP/1.0",
            Version::Http11 => "HTTP/1.1",
            Version::Http2 => "HTTP/2.0",
        }
    }

    /// Whether another attempt on another target is safe after this one was written: the method is idempotent. Of its
    /// body, only what is remembered can be sent again.
    pub(crate) fn is_repeatable(&self) -> bool {
        self.0.upgrade.is_none() && self.is_idempotent()
    }

    /// Whether the method may be sent on a connection that the target may be closing at this moment.
    pub(crate) fn is_idempotent(&self) -> bool {
        is_idempotent(self.0.head.bytes(self.0.method))
    }

    /// What AWS's access logs call it.
    pub(crate) fn kind(&self) -> &'static str {
        let parts = &*self.0;
        let is_secure = parts.origin.handshake.is_some();
        match (parts.version, is_secure) {
            (_, true) if parts.upgrade.is_some() => "wss",
            (_, false) if parts.upgrade.is_some() => "ws",
            (Version::Http2, _) if self.is_grpc() => "grpcs",
            (Version::Http2, _) => "h2",
            (_, true) => "https",
            (_, false) => "http",
        }
    }

    /// Whether its client waits for `100 Continue` before it sends the body that is to come.
    pub(crate) fn wants_continue(&self) -> bool {
        self.0.head.first(Known::Expect).is_some() && self.0.body.framing() != Framing::None
    }

    pub(crate) fn is_http2(&self) -> bool {
        self.0.version == Version::Http2
    }

    pub(crate) fn is_grpc(&self) -> bool {
        self.0.head.fields().named("content-type").next().is_some_and(is_grpc_type)
    }

    /// Whether targets that speak `version` understand it.
    ///
    /// Source: Application Load Balancer, "Target groups", "Protocol version": its table of client and target.
    pub(crate) fn suits(&self, version: ProtocolVersion) -> bool {
        let parts = &*self.0;
        match (version, parts.version) {
            (ProtocolVersion::Http1, Version::Http2) => !self.is_grpc(),
            (ProtocolVersion::Http1, Version::Http10 | Version::Http11) => true,
            (_, Version::Http10 | Version::Http11) => false,
            // WebSocket goes to targets by the upgrade of HTTP/1.1 only.
            (ProtocolVersion::Http2 | ProtocolVersion::Grpc, Version::Http2) if parts.upgrade.is_some() => {
                false
            }
            (ProtocolVersion::Http2, Version::Http2) => true,
            (ProtocolVersion::Grpc, Version::Http2) => parts.head.bytes(parts.method) == b"POST",
        }
    }

    /// Sets a field toward the target, in place of all of its name.
    pub(crate) fn set(&mut self, known: Known, name: &'static str, value: HeaderText) {
        self.0.edits.set(known, name, value);
    }
}

/// Whether a content type is that of a gRPC call, with or without a format: gRPC-Web is another protocol.
fn is_grpc_type(kind: &[u8]) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    let begins = kind.len() >= GRPC.len() && kind[..GRPC.len()].eq_ignore_ascii_case(GRPC);
    begins && matches!(kind.get(GRPC.len()), None | Some(b'+' | b';' | b' '))
}

/// Whether a method may be sent twice. Source: RFC 9110 section 9.2.2.
fn is_idempotent(method: &[u8]) -> bool {
    matches!(method, b"GET" | b"HEAD" | b"PUT" | b"DELETE" | b"OPTIONS" | b"TRACE")
}

/// Fields that a client must not call a matter of its connection: they frame or route the message.
const NEVER_OF_THE_CONNECTION: [&[u8]; 3] = [b"content-length", b"host", b"transfer-encoding"];

#[cfg(test)]
mod tests {
    use super::is_grpc_type;

    #[test]
    fn grpc_is_told_from_what_only_begins_like_it() {
        for grpc in ["application/grpc", "Application/gRPC+proto", "application/grpc;x=y"] {
            assert!(is_grpc_type(grpc.as_bytes()), "{grpc}");
        }
        for other in ["application/grpc-web", "application/grpc-web+proto", "application/grpcx", "text/plain"]
        {
            assert!(!is_grpc_type(other.as_bytes()), "{other}");
        }
    }
}
