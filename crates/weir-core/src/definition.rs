//! What the operator asks for: load balancers and target groups, valid by construction of `weir-config`.
//!
//! A definition says what should be; a [`crate::snapshot::Snapshot`] says what is.

mod http;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

pub use self::http::{DesyncMitigationMode, ForwardedForMode, HttpSettings};

use crate::address::{ListenAddr, TargetAddr};
use crate::ejection::Ejection;
use crate::header_rules::HeaderRules;
use crate::health::HealthCheck;
use crate::limits::{ConcurrencyLimits, RetryBudget};
use crate::logs::Logs;
use crate::lookup::Lookup;
use crate::name::{GroupName, LoadBalancerName};
use crate::rule::{Action, Rule};
use crate::sticky::Stickiness;
use crate::target::Weight;
use crate::task::{SourceKind, Task};
use crate::thresholds::Thresholds;
use crate::tls::{NamedFile, Tls};

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

/// A local address with the protocol it speaks and what it does with what arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where it accepts connections.
    pub bind: ListenAddr,
    /// What it speaks, and where that goes.
    pub kind: ListenerKind<GroupName>,
}

/// The three kinds of listener. `G` names a target group, as in [`Rule`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenerKind<G> {
    /// Rules over HTTP requests.
    Application {
        /// What it speaks TLS with; `None` does not.
        tls: Option<Arc<Tls>>,
        /// Sorted by priority, lowest first, priorities unique.
        rules: Vec<Rule<G>>,
        /// What a request gets that no rule matches.
        default_action: Action<G>,
        /// What it changes of header fields, whatever the rule.
        headers: Arc<HeaderRules>,
    },
    /// HTTP requests to static instance ports, without rules.
    ClassicHttp {
        /// The instances at this listener's instance port.
        group: G,
    },
    /// TCP connections to static instance ports.
    ClassicTcp {
        /// The instances at this listener's instance port.
        group: G,
    },
    /// TCP flows by flow hash.
    NetworkTcp {
        /// The group that takes the flows.
        group: G,
    },
}

impl<G> ListenerKind<G> {
    /// The kind of its load balancer: `application`, `network` or `classic`.
    pub fn load_balancer_type(&self) -> &'static str {
        match self {
            Self::Application { .. } => "application",
            Self::ClassicHttp { .. } | Self::ClassicTcp { .. } => "classic",
            Self::NetworkTcp { .. } => "network",
        }
    }

    /// What it speaks TLS with, if it does.
    pub fn tls(&self) -> Option<&Arc<Tls>> {
        match self {
            Self::Application { tls, .. } => tls.as_ref(),
            Self::ClassicHttp { .. } | Self::ClassicTcp { .. } | Self::NetworkTcp { .. } => None,
        }
    }

    /// What clients speak: `http`, `https` or `tcp`.
    pub fn protocol(&self) -> &'static str {
        match self {
            Self::Application { tls: Some(_), .. } => "https",
            Self::Application { .. } | Self::ClassicHttp { .. } => "http",
            Self::ClassicTcp { .. } | Self::NetworkTcp { .. } => "tcp",
        }
    }

    /// Its rules; only application listeners have any.
    pub fn rules(&self) -> &[Rule<G>] {
        match self {
            Self::Application { rules, .. } => rules,
            Self::ClassicHttp { .. } | Self::ClassicTcp { .. } | Self::NetworkTcp { .. } => &[],
        }
    }

    /// The same kind with every group replaced by what `resolve` gives for it.
    pub fn map_groups<H>(&self, mut resolve: impl FnMut(&G) -> H) -> ListenerKind<H> {
        match self {
            Self::Application { tls, rules, default_action, headers } => ListenerKind::Application {
                headers: headers.clone(),
                tls: tls.clone(),
                rules: rules
                    .iter()
                    .map(|rule| Rule {
                        priority: rule.priority,
                        conditions: rule.conditions.clone(),
                        action: rule.action.map_groups(&mut resolve),
                        transforms: rule.transforms.clone(),
                        provenance: rule.provenance.clone(),
                    })
                    .collect(),
                default_action: default_action.map_groups(resolve),
            },
            Self::ClassicHttp { group } => ListenerKind::ClassicHttp { group: resolve(group) },
            Self::ClassicTcp { group } => ListenerKind::ClassicTcp { group: resolve(group) },
            Self::NetworkTcp { group } => ListenerKind::NetworkTcp { group: resolve(group) },
        }
    }

    /// Every group that this listener can send traffic to.
    pub fn groups(&self) -> Vec<&G> {
        match self {
            Self::Application { rules, default_action, .. } => {
                rules.iter().map(|rule| &rule.action).chain([default_action]).flat_map(forwarded_to).collect()
            }
            Self::ClassicHttp { group } | Self::ClassicTcp { group } | Self::NetworkTcp { group } => {
                vec![group]
            }
        }
    }
}

fn forwarded_to<G>(action: &Action<G>) -> Vec<&G> {
    match action {
        Action::Authenticate(asked) => forwarded_to(&asked.then),
        Action::Forward(forward) => forward.groups.iter().map(|(group, _)| group).collect(),
        Action::FixedResponse(_) | Action::Redirect(_) => Vec::new(),
    }
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
    /// Longest time a draining target keeps what it has: 0 s to 3600 s.
    pub deregistration_delay: Duration,
    /// Whether flows that outlive the deregistration delay are closed. HTTP requests always are.
    pub connection_termination: bool,
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
    /// TCP.
    Tcp,
}

impl TargetProtocol {
    /// Whether it is HTTP, over TLS or not.
    pub fn is_http(self) -> bool {
        match self {
            Self::Http | Self::Https => true,
            Self::Tcp => false,
        }
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
            Self::RoundRobin => "round_robin",
            Self::WeightedRandom => "weighted_random",
        }
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
