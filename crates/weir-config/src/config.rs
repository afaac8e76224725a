//! What a configuration means.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;

use weir_core::definition::Definitions;

/// A valid configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The admin port. Fixed at start.
    pub admin: Admin,
    /// Worker threads; `None` is one per core. Fixed at start.
    pub workers: Option<NonZeroUsize>,
    /// What weir must not exceed. Fixed at start.
    pub limits: Limits,
    /// Sources that are followed. Fixed at start.
    pub discovery: Discovery,
    /// Load balancers and target groups. Replaced by a reload.
    pub definitions: Definitions,
}

/// The admin port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Admin {
    /// Where it listens; on loopback, since it asks for no password.
    pub bind: SocketAddr,
}

/// What weir must not exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Client connections at a time, over all listeners.
    pub connections: usize,
}

/// Sources that are followed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discovery {
    /// A Docker engine.
    pub docker: Option<DockerSource>,
    /// A file or folder of targets.
    pub file: Option<FileSource>,
}

/// A Docker engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerSource {
    /// `unix:///…` or `tcp://host:port`; `None` asks `DOCKER_HOST`, the current docker context, the usual sockets.
    pub endpoint: Option<String>,
}

/// A file or folder of targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSource {
    /// The file or folder.
    pub path: PathBuf,
}
