//! What groups of flows do that groups of HTTP do not.

use std::time::Duration;

/// How the flows to a group's targets begin, stay and end. Means nothing for HTTP, where requests begin and end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FlowSettings {
    /// Whether flows that outlive the deregistration delay are closed.
    pub connection_termination: bool,
    /// What becomes of the flows of a target that turns unhealthy.
    pub of_unhealthy: OfUnhealthy,
    /// Whether all flows of a client's address go to one target.
    pub sticks_by_source: bool,
    /// Whether targets see the addresses of clients; health checks come from weir's own.
    pub preserves_client_ip: bool,
    /// The header of the PROXY protocol that connections to targets begin with, if they do.
    pub proxy_protocol: Option<ProxyVersion>,
}

/// A version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyVersion {
    /// A line of text. Health checks do not begin with it.
    V1,
    /// Binary, with a checksum. Health checks begin with one that names nobody.
    V2,
}

/// What becomes of the flows of a target that turns unhealthy. As long as its group fails open they go on in any case.
///
/// Source: Network Load Balancer, `target_health_state.unhealthy.connection_termination.enabled` and
/// `target_health_state.unhealthy.draining_interval_seconds`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OfUnhealthy {
    /// They go on for so long, and end then: 1 s to 360000 s.
    EndAfter(Duration),
    /// They go on.
    #[default]
    GoOn,
    /// They end.
    End,
}
