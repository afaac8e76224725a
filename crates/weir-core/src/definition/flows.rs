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
    /// Whether connections to targets, and those of health checks, begin with a header of the PROXY protocol.
    pub proxy_protocol: bool,
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
