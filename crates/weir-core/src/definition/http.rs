//! How HTTP is read, and what of it is passed on.

use std::time::Duration;

/// How HTTP listeners read what clients send, and what of it they tell targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is an attribute of AWS's that is on or off")]
pub struct HttpSettings {
    /// What happens to requests that others may read differently.
    pub desync_mitigation_mode: DesyncMitigationMode,
    /// Whether fields are left out whose names have other characters than letters, digits and hyphens.
    pub drop_invalid_header_fields: bool,
    /// How long a client's connection may go on: 60 s to 604800 s. The next response then ends it.
    pub client_keep_alive: Duration,
    /// Whether clients over TLS may speak HTTP/2.
    pub http2: bool,
    /// Whether clients without TLS may begin with HTTP/2, because they know that they may.
    pub http2_by_prior_knowledge: bool,
    /// What becomes of `X-Forwarded-For`.
    pub forwarded_for: ForwardedForMode,
    /// Whether a client's address is appended to `X-Forwarded-For` with its port.
    pub forwards_client_port: bool,
    /// Whether targets are told the `Host` as the client wrote it.
    pub preserves_host: bool,
    /// Whether targets are told the version and the cipher suite of TLS.
    pub tells_tls: bool,
}

impl Default for HttpSettings {
    fn default() -> Self {
        Self {
            desync_mitigation_mode: DesyncMitigationMode::default(),
            drop_invalid_header_fields: false,
            client_keep_alive: Duration::from_secs(3600),
            http2: true,
            http2_by_prior_knowledge: false,
            forwarded_for: ForwardedForMode::default(),
            forwards_client_port: false,
            preserves_host: false,
            tells_tls: false,
        }
    }
}

/// What becomes of `X-Forwarded-For`. Source: Application Load Balancer, `routing.http.xff_header_processing.mode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ForwardedForMode {
    /// The client's address is appended to what came.
    #[default]
    Append,
    /// Targets get what came.
    Preserve,
    /// Targets get none.
    Remove,
}

/// What happens to HTTP/1 requests that others may read differently. Source: Application Load Balancer, "Desync
/// mitigation mode".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DesyncMitigationMode {
    /// Requests that nobody can be sure of are refused; after ambiguous ones connections are closed.
    #[default]
    Defensive,
    /// They are only logged, except what cannot be forwarded at all.
    Monitor,
    /// Whatever is not compliant is refused.
    Strictest,
}
