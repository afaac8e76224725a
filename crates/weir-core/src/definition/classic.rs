//! What a classic listener speaks, and where that goes.

use std::sync::Arc;

use crate::tls::Tls;

/// What a classic listener does. `G` names a target group, as in [`crate::rule::Rule`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassicListener<G> {
    /// What clients speak.
    pub protocol: ClassicProtocol,
    /// What it speaks TLS with, where clients do.
    pub tls: Option<Arc<Tls>>,
    /// The instances at its instance port.
    pub group: G,
}

/// What clients of a classic listener speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClassicProtocol {
    /// HTTP.
    Http,
    /// HTTP over TLS.
    Https,
    /// TLS over TCP.
    Ssl,
    /// TCP.
    Tcp,
}

impl ClassicProtocol {
    /// The name in configuration and in AWS's API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Ssl => "ssl",
            Self::Tcp => "tcp",
        }
    }

    /// Whether it is HTTP, over TLS or not.
    pub fn is_http(self) -> bool {
        match self {
            Self::Http | Self::Https => true,
            Self::Ssl | Self::Tcp => false,
        }
    }
}
