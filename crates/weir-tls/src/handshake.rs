//! What a handshake has settled.

use std::sync::Arc;

use rustls::server::ClientHello;
use rustls::{HandshakeKind, ServerConnection};
use weir_core::ssl_policy::TlsVersion;

use crate::certificate::ServerCertificate;
use crate::client_certificate::ClientCertificate;
use crate::provider::{suite_of, version_of};

/// A protocol that a client and a server agree on while they shake hands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Alpn {
    /// HTTP/1.0.
    Http10,
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// Another, by its identifier: `postgresql`.
    Other(Arc<str>),
}

impl Alpn {
    /// The one of this identifier.
    pub fn named(identifier: &str) -> Self {
        let known = [Self::Http10, Self::Http1, Self::Http2];
        let known = known.into_iter().find(|alpn| alpn.as_str() == identifier);
        known.unwrap_or_else(|| Self::Other(identifier.into()))
    }

    /// Its identifier: `h2`.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Http10 => "http/1.0",
            Self::Http1 => "http/1.1",
            Self::Http2 => "h2",
            Self::Other(identifier) => identifier,
        }
    }

    /// What was agreed on: one of those that weir has offered, which are texts.
    pub(crate) fn of(identifier: Option<&[u8]>) -> Option<Self> {
        std::str::from_utf8(identifier?).ok().map(Self::named)
    }
}

/// What a listener may agree to speak with its clients; by default nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AlpnOffer {
    /// In the order that decides.
    pub protocols: Arc<[Alpn]>,
    /// Whether a client that asks for others only is refused, or served without any.
    pub is_required: bool,
}

/// What a client and a listener have settled.
#[derive(Clone, Debug)]
pub struct Handshake {
    /// The version; [`TlsVersion::as_str`] is what AWS logs.
    pub version: TlsVersion,
    /// The suite, as OpenSSL and AWS's logs write it: `ECDHE-RSA-AES128-GCM-SHA256`.
    pub suite: &'static str,
    /// The group that keys were exchanged in: `X25519MLKEM768`. None when a TLS 1.2 session was resumed.
    pub key_exchange: Option<&'static str>,
    /// The protocol that both want; `None` when the client asked for none.
    pub alpn: Option<Alpn>,
    /// What the client would have liked to speak, best first, as AWS's log has it: `"h2","http/1.1"`, at most 256 bytes.
    pub alpn_preferences: Option<Box<str>>,
    /// The host that the client asked for, in lower case.
    pub server_name: Option<Box<str>>,
    /// The certificate that was chosen for it.
    pub certificate: Arc<ServerCertificate>,
    /// Whether an earlier session was resumed, so that no certificate was shown.
    pub is_resumed: bool,
    /// What the client showed, where it was asked.
    pub client_certificate: Option<Arc<ClientCertificate>>,
}

/// What a client would like to speak, best first.
pub(crate) fn alpn_preferences(hello: &ClientHello<'_>) -> Option<Box<str>> {
    const BYTES_MAX: usize = 256;
    let names = hello.alpn()?.map(|name| format!("\"{}\"", name.escape_ascii()));
    let mut list = names.collect::<Vec<_>>().join(",");
    list.truncate(BYTES_MAX);
    Some(list.into())
}

impl Handshake {
    pub(crate) fn of(
        connection: &ServerConnection,
        certificate: Arc<ServerCertificate>,
        client_certificate: Option<Arc<ClientCertificate>>,
        alpn_preferences: Option<Box<str>>,
    ) -> Self {
        let version = connection.protocol_version().expect("a handshake that ended has a version");
        let suite = connection.negotiated_cipher_suite().expect("a handshake that ended has a suite");
        Self {
            version: version_of(version),
            suite: suite_of(suite),
            key_exchange: connection.negotiated_key_exchange_group().and_then(|group| group.name().as_str()),
            alpn: Alpn::of(connection.alpn_protocol()),
            alpn_preferences,
            server_name: connection.server_name().map(|name| name.to_ascii_lowercase().into()),
            certificate,
            is_resumed: connection.handshake_kind() == Some(HandshakeKind::Resumed),
            client_certificate,
        }
    }
}
