//! Classic load balancers: instances with static ports, written as target groups that nobody has to name.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use weir_core::address::TargetAddr;
use weir_core::definition::{
    Algorithm, FlowSettings, ListenerKind, ProtocolVersion, TargetGroup, TargetProtocol, TargetSelector,
};
use weir_core::health::{HealthCheck, Probe, StatusMatcher, Thresholds};
use weir_core::name::{GroupName, LoadBalancerName};
use weir_core::target::Weight;

use super::{Groups, Named, target_group};
use crate::keys;
use crate::read::{Fields, Reader, items};
use crate::tree::Node;

const SECOND: Duration = Duration::from_secs(1);

const USER_AGENT: &str = "ELB-HealthChecker/1.0";

/// The instances of a classic load balancer, and how they are checked and drained.
pub(super) struct Instances<'n> {
    node: &'n Node,
    addrs: Vec<IpAddr>,
    health_check: Option<HealthCheck>,
    deregistration_delay: Duration,
}

impl<'n> Instances<'n> {
    pub(super) fn read(fields: Fields<'n>, reader: &mut Reader<'_>) -> Self {
        let node = fields.require(reader, "instances", "[127.0.0.11, 127.0.0.12]");
        let mut addrs = Vec::new();
        for node in node.map_or(&[][..], |node| items(node)) {
            let Some(addr) = reader.parsed(node, "an IP address", "127.0.0.11") else { continue };
            if addrs.contains(&addr) {
                reader.problem(node, &format!("instance {addr} is written twice"), Some("write it once"));
            }
            addrs.push(addr);
        }
        let check = fields.require(reader, "health_check", "{ target: \"HTTP:8081/healthz\" }");
        Self {
            node: fields.node(),
            addrs,
            health_check: check.and_then(|node| health_check(node, reader)),
            deregistration_delay: draining(fields, reader),
        }
    }

    /// Reads one listener, and makes the target group of its instance port unless there is one.
    pub(super) fn listener(
        &self,
        fields: Fields<'n>,
        load_balancer: Option<&LoadBalancerName>,
        groups: &mut Groups<'n>,
        reader: &mut Reader<'_>,
    ) -> Option<ListenerKind<GroupName>> {
        let protocol = match fields.get("protocol") {
            Some(node) => protocol(node, reader),
            None => Some(TargetProtocol::Http),
        };
        let port_node = fields.require(reader, "instance_port", "8081")?;
        let port = reader.number(port_node, 1..=65_535_u16);
        let (protocol, port, load_balancer) = (protocol?, port?, load_balancer?);
        let (word, algorithm) = match protocol {
            TargetProtocol::Http | TargetProtocol::Https => ("http", Algorithm::LeastOutstandingRequests),
            TargetProtocol::Tcp | TargetProtocol::TcpUdp | TargetProtocol::Tls | TargetProtocol::Udp => {
                ("tcp", Algorithm::RoundRobin)
            }
        };
        let name = GroupName::parse(&format!("{load_balancer}-{word}-{port}"));
        let Ok(name) = name else {
            reader.problem(self.node, "the load balancer's name is too long", Some("choose a shorter one"));
            return None;
        };
        match groups.named.get(&name) {
            Some(taken) if !std::ptr::eq(taken.node, self.node) => {
                let cause = format!("a target group is called {name}, the name of this listener's own");
                reader.problem(taken.node, &cause, Some("rename the target group"));
                return None;
            }
            Some(_) => {}
            None => {
                groups.named.insert(
                    name.clone(),
                    Named {
                        node: self.node,
                        protocol: Some(protocol),
                        stickiness: None,
                        crosses_zones: None,
                        is_used: true,
                    },
                );
                groups.resolved.push(self.target_group(name.clone(), protocol, algorithm, port)?);
            }
        }
        Some(match protocol {
            TargetProtocol::Http | TargetProtocol::Https => ListenerKind::ClassicHttp { group: name },
            TargetProtocol::Tcp | TargetProtocol::TcpUdp | TargetProtocol::Tls | TargetProtocol::Udp => {
                ListenerKind::ClassicTcp { group: name }
            }
        })
    }

    fn target_group(
        &self,
        name: GroupName,
        protocol: TargetProtocol,
        algorithm: Algorithm,
        port: u16,
    ) -> Option<TargetGroup> {
        let target = |ip: &IpAddr| TargetSelector::Address {
            zone: None,
            addr: TargetAddr(SocketAddr::new(*ip, port)),
            weight: Weight::ONE,
        };
        Some(TargetGroup {
            name,
            protocol,
            protocol_version: ProtocolVersion::Http1,
            algorithm,
            deregistration_delay: self.deregistration_delay,
            flows: FlowSettings { connection_termination: true, ..FlowSettings::default() },
            zone: None,
            hold: Duration::ZERO,
            slow_start: Duration::ZERO,
            stickiness: None,
            // Never fails open.
            thresholds: weir_core::thresholds::Thresholds::CLASSIC,
            mitigates_anomalies: false,
            concurrency: weir_core::limits::ConcurrencyLimits::default(),
            retries: weir_core::limits::RetryBudget::default(),
            ejection: None,
            health_check: self.health_check.clone()?,
            targets: self.addrs.iter().map(target).collect(),
        })
    }
}

fn protocol(node: &Node, reader: &mut Reader<'_>) -> Option<TargetProtocol> {
    if let Some(text @ ("https" | "ssl")) = reader.text(node) {
        let cause = format!("{text} listeners are not supported yet by this version of weir");
        reader.problem(node, &cause, Some("write http or tcp"));
        return None;
    }
    reader.choice(node, &[("http", TargetProtocol::Http), ("tcp", TargetProtocol::Tcp)])
}

fn health_check(node: &Node, reader: &mut Reader<'_>) -> Option<HealthCheck> {
    let fields = reader.fields(node, &keys::CLASSIC_HEALTH_CHECK)?;
    let target = fields.require(reader, "target", "\"HTTP:8081/healthz\"");
    let target = target.and_then(|node| health_check_target(node, reader));
    let (interval, timeout) = target_group::timing(fields, Duration::from_secs(60), reader);
    let mut threshold = |name: &str, default| {
        fields.get(name).and_then(|node| reader.number(node, 1..=10_u8)).unwrap_or(default)
    };
    let thresholds = Thresholds {
        healthy: threshold("healthy_threshold", 10),
        unhealthy: threshold("unhealthy_threshold", 2),
    };
    let (probe, port) = target?;
    Some(HealthCheck { probe, port: Some(port), interval, timeout, thresholds })
}

/// Reads `HTTP:8081/healthz` or `TCP:8081`.
fn health_check_target(node: &Node, reader: &mut Reader<'_>) -> Option<(Probe, u16)> {
    const REMEDY: Option<&str> = Some("write it like \"HTTP:8081/healthz\" or \"TCP:8081\"");
    let text = reader.text(node)?;
    let wrong = format!("{text:?} is not a health check target");
    let Some((protocol, rest)) = text.split_once(':') else {
        reader.problem(node, &wrong, REMEDY);
        return None;
    };
    let (port, path) = match rest.find('/') {
        Some(slash) => (&rest[..slash], Some(&rest[slash..])),
        None => (rest, None),
    };
    let port = port.parse().ok().filter(|port: &u16| *port != 0);
    match (protocol, port, path) {
        ("HTTP", Some(port), Some(path)) if target_group::is_path(path) => {
            let probe = Probe::Http {
                is_tls: false,
                version: ProtocolVersion::Http1,
                path: path.to_owned(),
                matcher: StatusMatcher::ok(),
                user_agent: USER_AGENT,
            };
            Some((probe, port))
        }
        ("TCP", Some(port), None) => Some((Probe::Tcp, port)),
        ("HTTPS" | "SSL", ..) => {
            let cause = format!("{protocol} health checks are not supported yet by this version of weir");
            reader.problem(node, &cause, REMEDY);
            None
        }
        _ => {
            reader.problem(node, &wrong, REMEDY);
            None
        }
    }
}

/// How long an instance that leaves keeps what it has: zero unless draining is enabled.
fn draining(fields: Fields<'_>, reader: &mut Reader<'_>) -> Duration {
    let mut read = || {
        let fields = reader.fields(fields.get("connection_draining")?, &keys::CONNECTION_DRAINING)?;
        let is_enabled = fields.get("enabled").and_then(|node| reader.boolean(node)).unwrap_or(true);
        let timeout = fields.get("timeout").and_then(|node| reader.duration(node, SECOND..=3600 * SECOND));
        is_enabled.then_some(timeout.unwrap_or(300 * SECOND))
    };
    read().unwrap_or_default()
}
