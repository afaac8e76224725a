//! What the operator asks for: load balancers and target groups, valid by construction of `weir-config`.
//!
//! A definition says what should be; a [`crate::snapshot::Snapshot`] says what is.

mod classic;
mod flows;
mod hashing;
mod http;
mod listener;
mod network;
mod proxies;

use std::collections::BTreeSet;
use std::time::Duration;

pub use self::classic::{ClassicListener, ClassicProtocol};
pub use self::flows::{FlowSettings, OfUnhealthy, ProxyVersion};
pub use self::hashing::{HashOn, Hashing};
pub use self::http::{DesyncMitigationMode, ForwardedForMode, HttpSettings};
pub use self::listener::{Listener, ListenerKind, Service};
pub use self::network::{AlpnPolicy, NetworkListener, NetworkProtocol};
pub use self::proxies::Proxies;

use crate::address::TargetAddr;
use crate::balance::Draws;
use crate::comparison::Comparison;
use crate::ejection::Ejection;
use crate::health::HealthCheck;
use crate::limits::{ConcurrencyLimits, RetryBudget};
use crate::load_report::LoadProbe;
use crate::logs::Logs;
use crate::lookup::Lookup;
use crate::name::{GroupName, LoadBalancerName};
use crate::quic::ServerId;
use crate::sticky::Stickiness;
use crate::target::Weight;
use crate::task::{SourceKind, Task, Transports};
use crate::thresholds::Thresholds;
use crate::tls::{NamedFile, TargetTls};

/// All load balancers and target groups of one weir.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Definitions {
    /// In the order written. Names are unique.
    pub load_balancers: Vec<LoadBalancer>,
    /// In the order written. Names are unique.
    pub target_groups: Vec<TargetGroup>,
    /// Secrets, a line each, that cookies are sealed with: the first seals, all open. `None` draws one nobody else knows.
    pub cookie_secrets: Option<NamedFile>,
    /// Secrets that TLS tickets are sealed with, in the same way.
    pub tls_tickets: Option<NamedFile>,
}

impl Definitions {
    /// Everything that target groups ask the domain name system for.
    pub fn lookups(&self) -> BTreeSet<Lookup> {
        let targets = self.target_groups.iter().flat_map(|group| &group.targets);
        let lookup = |target: &TargetSelector| match target {
            TargetSelector::Lookup { lookup, .. } => Some(lookup.clone()),
            TargetSelector::Address { .. } | TargetSelector::Tasks(_) => None,
        };
        targets.filter_map(lookup).collect()
    }
}

/// A load balancer: its kind's settings and its listeners.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadBalancer {
    /// Unique among load balancers.
    pub name: LoadBalancerName,
    /// Closes a connection that is silent for this long: 1 s to 4000 s (application, classic), 60 s to 6000 s
    /// (network).
    pub idle_timeout: Duration,
    /// What it writes of what it has done.
    pub logs: Logs,
    /// How HTTP is read; the default for network ones.
    pub http: HttpSettings,
    /// At least one.
    pub listeners: Vec<Listener>,
}

/// Settings of a target group and what is registered in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetGroup {
    /// Unique among target groups.
    pub name: GroupName,
    /// What its targets speak.
    pub protocol: TargetProtocol,
    /// Which HTTP that is. Means nothing for TCP.
    pub protocol_version: ProtocolVersion,
    /// How it picks.
    pub algorithm: Algorithm,
    /// The other algorithm that it is compared with: of HTTP without stickiness only.
    pub comparison: Option<Comparison>,
    /// What it hashes, where [`Algorithm::hashes`].
    pub hashing: Option<Hashing>,
    /// How its targets are asked for their load, with [`Algorithm::Prequal`]; `None` goes by what weir counts.
    pub load_probe: Option<LoadProbe>,
    /// Longest time a draining target keeps what it has: 0 s to 3600 s.
    pub deregistration_delay: Duration,
    /// How targets are spoken to over TLS, where they are.
    pub target_tls: TargetTls,
    /// How flows to its targets begin, stay and end.
    pub flows: FlowSettings,
    /// Only targets of this zone, and those that are in none, take traffic; `None` takes those of all zones.
    pub zone: Option<String>,
    /// Ours: how long a request or flow waits for a target while the group has none, or only `initial` ones, before
    /// it is answered as AWS would. Zero is AWS.
    pub hold: Duration,
    /// How long a target that turned healthy takes to its full share: zero (off) or 30 s to 900 s.
    pub slow_start: Duration,
    /// How clients stick to a target, if they do.
    pub stickiness: Option<Stickiness>,
    /// How many healthy targets it must have.
    pub thresholds: Thresholds,
    /// Whether targets that fail far more often than their peers get less: with weighted random only.
    pub mitigates_anomalies: bool,
    /// How much of its work may be under way at a time.
    pub concurrency: ConcurrencyLimits,
    /// How many of its requests are tried again.
    pub retries: RetryBudget,
    /// When targets are ejected whose requests fail one after the other; `None` never.
    pub ejection: Option<Ejection>,
    /// How targets are probed.
    pub health_check: HealthCheck,
    /// What is registered.
    pub targets: Vec<TargetSelector>,
}

/// What targets of a group speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TargetProtocol {
    /// HTTP.
    Http,
    /// HTTP over TLS. Nobody asks whose certificate it is.
    Https,
    /// QUIC.
    Quic,
    /// TCP.
    Tcp,
    /// TCP and QUIC, on one port.
    TcpQuic,
    /// TCP and UDP, on one port.
    TcpUdp,
    /// TLS over TCP. Nobody asks whose certificate it is.
    Tls,
    /// UDP.
    Udp,
}

impl TargetProtocol {
    /// The name in configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Quic => "quic",
            Self::Tcp => "tcp",
            Self::TcpQuic => "tcp_quic",
            Self::TcpUdp => "tcp_udp",
            Self::Tls => "tls",
            Self::Udp => "udp",
        }
    }

    /// Whether it is HTTP, over TLS or not.
    pub fn is_http(self) -> bool {
        match self {
            Self::Http | Self::Https => true,
            Self::Quic | Self::Tcp | Self::TcpQuic | Self::TcpUdp | Self::Tls | Self::Udp => false,
        }
    }

    /// Whether datagrams come to them, of QUIC or any others.
    pub fn has_udp(self) -> bool {
        match self {
            Self::Quic | Self::TcpQuic | Self::TcpUdp | Self::Udp => true,
            Self::Http | Self::Https | Self::Tcp | Self::Tls => false,
        }
    }

    /// What ports of targets must take.
    pub fn transports(self) -> Transports {
        match self {
            Self::Http | Self::Https | Self::Tcp | Self::Tls => Transports::TCP,
            Self::Quic | Self::Udp => Transports::UDP,
            Self::TcpQuic | Self::TcpUdp => Transports::BOTH,
        }
    }

    /// Whether QUIC is spoken.
    pub fn has_quic(self) -> bool {
        matches!(self, Self::Quic | Self::TcpQuic)
    }
}

/// Which HTTP targets of a group speak.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProtocolVersion {
    /// gRPC, which is HTTP/2 with trailers that say how a call went.
    Grpc,
    /// HTTP/1.1.
    #[default]
    Http1,
    /// HTTP/2; without TLS by prior knowledge.
    Http2,
}

/// How a group picks a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// The same flow to the same target: Maglev over the flow key.
    FlowHash,
    /// The target with the fewest requests in flight relative to its weight.
    LeastOutstandingRequests,
    /// By a hash, over a Maglev table.
    Maglev,
    /// Of two drawn at random the one that promises to answer sooner: by what it took lately, times what it has in flight.
    PeakEwma,
    /// Of two drawn at random the one with fewer requests in flight relative to its weight.
    PowerOfTwoChoices(Draws),
    /// By a pool of probes: the fastest of those that have not too much under way.
    Prequal,
    /// By a hash, to the member that draws the best lot for it.
    Rendezvous,
    /// By a hash, along a ring of points.
    RingHash,
    /// In turn, by weight.
    RoundRobin,
    /// At random, by weight.
    WeightedRandom,
}

impl Algorithm {
    /// The name in configuration and in AWS's API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::FlowHash => "flow_hash",
            Self::LeastOutstandingRequests => "least_outstanding_requests",
            Self::Maglev => "maglev",
            Self::PeakEwma => "peak_ewma",
            Self::PowerOfTwoChoices(Draws::Distinct) => "power_of_two_choices",
            Self::PowerOfTwoChoices(Draws::WithReplacement) => "power_of_two_choices_with_replacement",
            Self::Prequal => "prequal",
            Self::Rendezvous => "rendezvous",
            Self::RingHash => "ring_hash",
            Self::RoundRobin => "round_robin",
            Self::WeightedRandom => "weighted_random",
        }
    }

    /// Whether it picks by what targets take.
    pub fn asks_for_latency(self) -> bool {
        matches!(self, Self::PeakEwma | Self::Prequal)
    }

    /// Whether a group says what it hashes; [`Algorithm::FlowHash`] always hashes flows.
    pub fn hashes(self) -> bool {
        matches!(self, Self::Maglev | Self::Rendezvous | Self::RingHash)
    }
}

/// One entry of a group's `targets`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetSelector {
    /// A target at a fixed address.
    Address {
        /// Where it takes traffic.
        addr: TargetAddr,
        /// Its share.
        weight: Weight,
        /// The zone that it is in, where that is said.
        zone: Option<String>,
        /// The id by which connection ids of QUIC name it, if they do.
        server_id: Option<ServerId>,
    },
    /// Every record that a look-up finds.
    Lookup {
        /// What is looked up.
        lookup: Lookup,
        /// Their weight, unless the records name their own.
        weight: Weight,
    },
    /// Every task of a source that matches.
    Tasks(TaskSelector),
}

/// Which tasks of a source become targets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskSelector {
    /// The source that sees them.
    pub source: SourceKind,
    /// Their service; `None` matches every service.
    pub service: Option<String>,
    /// Their project; `None` matches every project.
    pub project: Option<String>,
    /// The container port that takes traffic; `None` uses the label's, else the only or lowest published one.
    pub container_port: Option<u16>,
    /// Their weight, unless a label says otherwise.
    pub weight: Weight,
}

impl TargetGroup {
    /// What it picks by: its own algorithm, and the one that it is compared with.
    pub fn algorithms(&self) -> impl Iterator<Item = Algorithm> {
        [self.algorithm].into_iter().chain(self.comparison.map(|comparison| comparison.algorithm))
    }

    /// Whether a selector of the group selects `task`, a task of `source`.
    pub fn selects(&self, source: SourceKind, task: &Task) -> bool {
        self.targets.iter().any(|selector| match selector {
            TargetSelector::Address { .. } => false,
            TargetSelector::Lookup { lookup, .. } => {
                source == SourceKind::Dns && task.service.as_deref() == Some(lookup.to_string().as_str())
            }
            TargetSelector::Tasks(selector) => selector.source == source && selector.selects(task),
        })
    }
}

impl TaskSelector {
    /// Whether a task of the selector's source becomes a target, if it publishes the port.
    pub fn selects(&self, task: &Task) -> bool {
        let fits = |wanted: &Option<String>, has: &Option<String>| wanted.is_none() || wanted == has;
        task.labels.enable && fits(&self.service, &task.service) && fits(&self.project, &task.project)
    }
}
