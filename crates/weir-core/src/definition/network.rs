//! What a network listener speaks, and where its flows go.

use std::sync::Arc;
use std::time::Duration;

use crate::rule::Forward;
use crate::tls::Tls;

/// What a network listener does. `G` names a target group, as in [`crate::rule::Rule`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkListener<G> {
    /// What clients speak.
    pub protocol: NetworkProtocol,
    /// What it speaks TLS with, where clients do.
    pub tls: Option<Arc<Tls>>,
    /// What clients and targets may agree to speak over TLS.
    pub alpn_policy: AlpnPolicy,
    /// The groups that take the flows.
    pub forward: Forward<G>,
    /// Ends a flow of UDP that is silent for this long: 1 s to 6000 s.
    pub udp_idle_timeout: Duration,
}

/// What clients of a network listener speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkProtocol {
    /// QUIC.
    Quic,
    /// TCP.
    Tcp,
    /// TCP and QUIC, on one port.
    TcpQuic,
    /// TCP and UDP, on one port.
    TcpUdp,
    /// TLS over TCP.
    Tls,
    /// UDP.
    Udp,
}

/// What clients and targets may agree to speak over TLS, by ALPN.
///
/// Source: Network Load Balancer, "ALPN policies". The listener's order decides. Who has nothing in common with it goes on
/// without. differs: AWS knows no names but those of HTTP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AlpnPolicy {
    /// HTTP/1.1, HTTP/1.0.
    Http1Only,
    /// HTTP/2.
    Http2Only,
    /// HTTP/1.1, HTTP/1.0, HTTP/2.
    Http2Optional,
    /// HTTP/2, HTTP/1.1, HTTP/1.0.
    Http2Preferred,
    /// Nothing is agreed on.
    #[default]
    None,
    /// What the user has named: 1 to [`Self::PROTOCOLS_MAX`], each once, of 1 to [`Self::PROTOCOL_BYTES_MAX`] bytes.
    Protocols(Arc<[Arc<str>]>),
}

impl AlpnPolicy {
    /// Most protocols that a user may name. Arbitrary: clients know one or two.
    pub const PROTOCOLS_MAX: usize = 16;

    /// Most bytes of a protocol's name. Source: RFC 7301, section 3.1.
    pub const PROTOCOL_BYTES_MAX: usize = 255;
}

impl<G> NetworkListener<G> {
    /// How long a flow of UDP may be silent, unless something else is written. Source: Network Load Balancer, "UDP idle timeout".
    pub const UDP_IDLE_TIMEOUT: Duration = Duration::from_secs(120);

    /// One that speaks `protocol`, with everything else as it is unless something is written.
    pub fn new(protocol: NetworkProtocol, forward: Forward<G>) -> Self {
        Self {
            protocol,
            tls: None,
            alpn_policy: AlpnPolicy::None,
            forward,
            udp_idle_timeout: Self::UDP_IDLE_TIMEOUT,
        }
    }

    /// The same with every group replaced by what `resolve` gives for it.
    pub fn map_groups<H>(&self, resolve: impl FnMut(&G) -> H) -> NetworkListener<H> {
        NetworkListener {
            protocol: self.protocol,
            tls: self.tls.clone(),
            alpn_policy: self.alpn_policy.clone(),
            forward: self.forward.map_groups(resolve),
            udp_idle_timeout: self.udp_idle_timeout,
        }
    }
}

impl NetworkProtocol {
    /// The name in configuration and in AWS's API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Quic => "quic",
            Self::Tcp => "tcp",
            Self::TcpQuic => "tcp_quic",
            Self::TcpUdp => "tcp_udp",
            Self::Tls => "tls",
            Self::Udp => "udp",
        }
    }

    /// Whether connections of TCP come with it.
    pub fn has_tcp(self) -> bool {
        match self {
            Self::Tcp | Self::TcpQuic | Self::TcpUdp | Self::Tls => true,
            Self::Quic | Self::Udp => false,
        }
    }

    /// Whether datagrams of UDP come with it.
    pub fn has_udp(self) -> bool {
        match self {
            Self::Quic | Self::TcpQuic | Self::Udp | Self::TcpUdp => true,
            Self::Tcp | Self::Tls => false,
        }
    }

    /// Whether its datagrams are those of QUIC.
    pub fn has_quic(self) -> bool {
        matches!(self, Self::Quic | Self::TcpQuic)
    }
}
