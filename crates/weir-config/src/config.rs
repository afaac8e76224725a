//! What a configuration means.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use weir_core::definition::Definitions;
use weir_core::ecs::EcsSource;
use weir_core::task::SourceKind;
use weir_core::url::HttpUrl;

/// A valid configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The admin port. Fixed at start.
    pub admin: Admin,
    /// Worker threads; `None` is one per core. Fixed at start.
    pub workers: Option<NonZeroUsize>,
    /// The zone that this weir is in: load balancers that do not cross zones give targets of it alone. Fixed at start.
    pub zone: Option<String>,
    /// What weir must not exceed. Fixed at start.
    pub limits: Limits,
    /// Sources that are followed. Fixed at start.
    pub discovery: Discovery,
    /// The folder that keeps what discovery said last for the next start. Fixed at start.
    pub remember: Option<PathBuf>,
    /// Where load balancers and target groups are read that several weirs share. Fixed at start.
    pub shared: Option<SharedSource>,
    /// Load balancers and target groups: this file's, or the shared ones. Replaced by a reload.
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
    /// How long a weir that another one has replaced finishes what it has.
    pub restart_drain: Duration,
}

/// A key of an etcd cluster whose value is the configuration that several weirs share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedSource {
    /// The members of the cluster, at least one; asked one after another until one answers.
    pub endpoints: Vec<HttpUrl>,
    /// The key; not empty.
    pub key: String,
}

impl fmt::Display for SharedSource {
    /// As it is called in reports: `etcd /weir/configuration`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "etcd {}", self.key)
    }
}

/// Sources that are followed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discovery {
    /// How long a source must keep to a set that has lost more than half of its tasks before it is believed: 0 s to 1 h.
    pub confirm_removals: Duration,
    /// The domain name system.
    pub dns: Option<DnsSource>,
    /// A Docker engine.
    pub docker: Option<DockerSource>,
    /// Tasks of Amazon ECS.
    pub ecs: Option<EcsSource>,
    /// The keys below a prefix of an etcd cluster.
    pub etcd: Option<EtcdSource>,
    /// A file or folder of targets.
    pub file: Option<FileSource>,
    /// A URL that lists targets.
    pub http: Option<HttpSource>,
    /// A Docker Swarm.
    pub swarm: Option<SwarmSource>,
}

/// The domain name system. Which names are looked up is what target groups ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsSource {
    /// The server that is asked; `None` asks those of `/etc/resolv.conf`.
    pub server: Option<SocketAddr>,
}

/// A Docker engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DockerSource {
    /// `unix:///…` or `tcp://host:port`; `None` asks `DOCKER_HOST`, the current docker context, the usual sockets.
    pub endpoint: Option<String>,
}

/// The keys below a prefix of an etcd cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EtcdSource {
    /// The members of the cluster, at least one; asked one after another until one answers.
    pub endpoints: Vec<HttpUrl>,
    /// What the keys begin with; not empty.
    pub prefix: String,
    /// Sources that are followed and whose tasks are published below the prefix.
    pub publish: BTreeSet<SourceKind>,
}

/// A file or folder of targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSource {
    /// The file or folder.
    pub path: PathBuf,
}

/// A URL that lists targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpSource {
    /// The URL, asked with GET.
    pub url: HttpUrl,
    /// Time between an answer and the next question, 100 ms to 1 h.
    pub interval: Duration,
}

/// A Docker Swarm, of which a manager is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SwarmSource {
    /// Where the tasks of nodes are reached, by host name or id of the node; other nodes say it themselves.
    pub addresses: BTreeMap<String, IpAddr>,
    /// The manager's engine, `unix:///…` or `tcp://host:port`; `None` asks that of the Docker source's search.
    pub endpoint: Option<String>,
    /// Time between an answer and the next question, 100 ms to 1 h.
    pub interval: Duration,
}
