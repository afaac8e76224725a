//! Listeners: where they listen, what they speak, and where that goes.

use std::sync::Arc;

use super::classic::ClassicListener;
use super::network::NetworkListener;
use super::proxies::Proxies;
use crate::address::ListenAddr;
use crate::header_rules::HeaderRules;
use crate::name::GroupName;
use crate::rule::{Action, Rule};
use crate::tls::Tls;

/// A local address with the protocol it speaks and what it does with what arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Where it accepts connections.
    pub bind: ListenAddr,
    /// The proxies that say who their clients are.
    pub proxies: Option<Arc<Proxies>>,
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
    /// HTTP requests or TCP connections to static instance ports, without rules.
    Classic(ClassicListener<G>),
    /// Flows by flow hash.
    Network(NetworkListener<G>),
}

/// What serves a listener: listeners of one service can take each other's connections over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// Requests of HTTP, by rules.
    Requests,
    /// Requests of HTTP, as a Classic Load Balancer serves them.
    ClassicRequests,
    /// Flows of TCP and UDP, with TLS or without.
    Flows,
}

impl<G> ListenerKind<G> {
    /// The kind of its load balancer: `application`, `network` or `classic`.
    pub fn load_balancer_type(&self) -> &'static str {
        match self {
            Self::Application { .. } => "application",
            Self::Classic(_) => "classic",
            Self::Network(_) => "network",
        }
    }

    /// What serves it.
    pub fn service(&self) -> Service {
        match self {
            Self::Application { .. } => Service::Requests,
            Self::Classic(classic) if classic.protocol.is_http() => Service::ClassicRequests,
            Self::Classic(_) | Self::Network(_) => Service::Flows,
        }
    }

    /// What it speaks TLS with, if it does.
    pub fn tls(&self) -> Option<&Arc<Tls>> {
        match self {
            Self::Application { tls, .. } => tls.as_ref(),
            Self::Network(network) => network.tls.as_ref(),
            Self::Classic(classic) => classic.tls.as_ref(),
        }
    }

    /// What clients speak: `http`, `https`, `quic`, `ssl`, `tcp`, `tcp_quic`, `tcp_udp`, `tls` or `udp`.
    pub fn protocol(&self) -> &'static str {
        match self {
            Self::Application { tls: Some(_), .. } => "https",
            Self::Application { .. } => "http",
            Self::Classic(classic) => classic.protocol.as_str(),
            Self::Network(network) => network.protocol.as_str(),
        }
    }

    /// Whether connections of TCP come to it.
    pub fn has_tcp(&self) -> bool {
        match self {
            Self::Application { .. } | Self::Classic(_) => true,
            Self::Network(network) => network.protocol.has_tcp(),
        }
    }

    /// Whether datagrams of UDP come to it.
    pub fn has_udp(&self) -> bool {
        match self {
            Self::Application { .. } | Self::Classic(_) => false,
            Self::Network(network) => network.protocol.has_udp(),
        }
    }

    /// Its rules; only application listeners have any.
    pub fn rules(&self) -> &[Rule<G>] {
        match self {
            Self::Application { rules, .. } => rules,
            Self::Classic(_) | Self::Network(_) => &[],
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
            Self::Classic(classic) => ListenerKind::Classic(ClassicListener {
                protocol: classic.protocol,
                tls: classic.tls.clone(),
                group: resolve(&classic.group),
            }),
            Self::Network(network) => ListenerKind::Network(network.map_groups(resolve)),
        }
    }

    /// The weighted groups that take its flows; only network listeners have any.
    pub fn flow_groups(&self) -> &[(G, u16)] {
        match self {
            Self::Network(network) => &network.forward.groups,
            Self::Application { .. } | Self::Classic(_) => &[],
        }
    }

    /// Every group that this listener can send traffic to.
    pub fn groups(&self) -> Vec<&G> {
        match self {
            Self::Application { rules, default_action, .. } => {
                rules.iter().map(|rule| &rule.action).chain([default_action]).flat_map(forwarded_to).collect()
            }
            Self::Classic(classic) => vec![&classic.group],
            Self::Network(network) => network.forward.groups.iter().map(|(group, _)| group).collect(),
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
