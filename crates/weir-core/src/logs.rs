//! Where a load balancer writes what it has done.

use std::path::PathBuf;

/// The logs of a load balancer; `None` is not written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logs {
    /// One line for each request or flow.
    pub access: Option<Log>,
    /// One line for each connection of a client, however its handshake went. Application load balancers have it.
    pub connection: Option<Log>,
    /// One line for each health check. Application load balancers have it.
    pub health_check: Option<Log>,
}

/// Where and how a log is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// The file appended to; `None` writes to standard output.
    pub path: Option<PathBuf>,
    /// The shape of a line.
    pub format: LogFormat,
}

/// The shape of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// The load balancer's own: Application, Network or Classic, as AWS writes it.
    Elb,
    /// One JSON object.
    Json,
}
