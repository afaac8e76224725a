//! Classic load balancers: instances with static ports, written as target groups that nobody has to name.

mod backend;
mod health;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use weir_core::address::TargetAddr;
use weir_core::definition::{
    Algorithm, ClassicListener, ClassicProtocol, FlowSettings, ListenerKind, ProtocolVersion, TargetGroup,
    TargetProtocol, TargetSelector,
};
use weir_core::health::HealthCheck;
use weir_core::limits::ConcurrencyLimits;
use weir_core::name::{GroupName, LoadBalancerName};
use weir_core::ssl_policy::{SslPolicy, TlsVersion};
use weir_core::sticky::Stickiness;
use weir_core::target::Weight;
use weir_core::tls::{TargetTls, Tls};

use self::backend::InstancePort;
use super::load_balancer::speaks;
use super::{Groups, Named, limits, stickiness, tls};
use crate::keys;
use crate::read::{Fields, Reader, items};
use crate::tree::{Node, Value};

const SECOND: Duration = Duration::from_secs(1);

/// The policy of listeners that write none. Source: Classic Load Balancer, "Predefined SSL security policies".
const SSL_POLICY: &str = "2016-08";

/// The instances of a classic load balancer, and how they are checked and drained.
pub(super) struct Instances<'n> {
    node: &'n Node,
    /// Each with the zone that it is in, where that is said.
    addrs: Vec<(IpAddr, Option<String>)>,
    ports: BTreeMap<u16, InstancePort<'n>>,
    health_check: Option<HealthCheck>,
    concurrency: ConcurrencyLimits,
    deregistration_delay: Duration,
}

impl<'n> Instances<'n> {
    pub(super) fn read(fields: Fields<'n>, reader: &mut Reader<'_>) -> Self {
        let node = fields.require(reader, "instances", "[127.0.0.11, 127.0.0.12]");
        let mut addrs = Vec::new();
        for node in node.map_or(&[][..], |node| items(node)) {
            let Some((addr, zone)) = instance(node, reader) else { continue };
            if addrs.iter().any(|(known, _)| *known == addr) {
                reader.problem(node, &format!("instance {addr} is written twice"), Some("write it once"));
            }
            addrs.push((addr, zone));
        }
        let limits = fields.get("concurrency_limits").and_then(|node| limits::concurrency(node, reader));
        let check = fields.require(reader, "health_check", "{ target: \"HTTP:8081/healthz\" }");
        Self {
            node: fields.node(),
            addrs,
            ports: backend::read(fields, reader),
            health_check: check.and_then(|node| health::read(node, reader)),
            deregistration_delay: draining(fields, reader),
            concurrency: limits.unwrap_or_default(),
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
        let spoken = speaks(fields, &["http", "https", "tcp", "ssl"], reader);
        let tls = secured(fields, spoken, reader);
        let protocol = match spoken {
            Some("https") => ClassicProtocol::Https,
            Some("ssl") => ClassicProtocol::Ssl,
            Some("tcp") => ClassicProtocol::Tcp,
            _ => ClassicProtocol::Http,
        };
        let back = instance_protocol(fields, protocol, reader);
        let port_node = fields.require(reader, "instance_port", "8081")?;
        let port = reader.number(port_node, 1..=65_535_u16);
        let (_, port, load_balancer) = (spoken?, port?, load_balancer?);
        let name = GroupName::parse(&format!("{load_balancer}-{}-{port}", back.as_str()));
        let Ok(name) = name else {
            reader.problem(self.node, "the load balancer's name is too long", Some("choose a shorter one"));
            return None;
        };
        self.check_shared_port(port_node, load_balancer, (port, back), groups, reader);
        let stickiness = stickiness(fields, protocol, reader);
        match groups.named.get(&name) {
            Some(taken) if !std::ptr::eq(taken.node, self.node) => {
                let cause = format!("a target group is called {name}, the name of this listener's own");
                reader.problem(taken.node, &cause, Some("rename the target group"));
                return None;
            }
            Some(_) => {
                let shared = groups.resolved.iter().find(|group| group.name == name);
                if shared.is_some_and(|group| group.stickiness != stickiness) {
                    let cause = format!("another listener of instance port {port} has other `stickiness`");
                    reader.problem(port_node, &cause, Some("write the same for both"));
                }
            }
            None => {
                groups.named.insert(
                    name.clone(),
                    Named {
                        node: self.node,
                        protocol: Some(targets_of(back)),
                        stickiness: None,
                        crosses_zones: None,
                        is_used: true,
                    },
                );
                let group = self.target_group(name.clone(), back, port, reader)?;
                groups.resolved.push(TargetGroup { stickiness, ..group });
            }
        }
        Some(ListenerKind::Classic(ClassicListener { protocol, tls, group: name }))
    }

    /// Warns of what is written about instance ports that no listener leads to.
    pub(super) fn check_ports(&self, groups: &Groups<'_>, reader: &mut Reader<'_>) {
        for (port, written) in &self.ports {
            let leads_there = |selector: &TargetSelector| matches!(selector, TargetSelector::Address { addr, .. } if addr.port() == *port);
            let own = groups.resolved.iter().filter(|group| {
                groups.named.get(&group.name).is_some_and(|named| std::ptr::eq(named.node, self.node))
            });
            if !own.flat_map(|group| &group.targets).any(leads_there) {
                let cause = format!("no listener leads to instance port {port}");
                reader.warning(written.node, &cause, Some("take it out"));
            }
        }
    }

    /// Listeners share an instance port only if both speak to it over TLS, or neither does.
    fn check_shared_port(
        &self,
        node: &Node,
        load_balancer: &LoadBalancerName,
        (port, back): (u16, ClassicProtocol),
        groups: &Groups<'_>,
        reader: &mut Reader<'_>,
    ) {
        let others: &[&str] = if is_secure(back) { &["http", "tcp"] } else { &["https", "ssl"] };
        let is_taken = |word: &&&str| {
            let name = GroupName::parse(&format!("{load_balancer}-{word}-{port}"));
            name.is_ok_and(|name| {
                groups.named.get(&name).is_some_and(|named| std::ptr::eq(named.node, self.node))
            })
        };
        if let Some(other) = others.iter().find(is_taken) {
            let cause = format!("another listener speaks {other} to instance port {port}");
            reader.problem(node, &cause, Some("speak to one port over TLS always, or never"));
        }
    }

    fn target_group(
        &self,
        name: GroupName,
        back: ClassicProtocol,
        port: u16,
        reader: &mut Reader<'_>,
    ) -> Option<TargetGroup> {
        let target = |(ip, zone): &(IpAddr, Option<String>)| TargetSelector::Address {
            zone: zone.clone(),
            server_id: None,
            addr: TargetAddr(SocketAddr::new(*ip, port)),
            weight: Weight::ONE,
        };
        let written = self.ports.get(&port);
        let (mut proxy_protocol, mut public_keys) = (None, None);
        if let Some(written) = written {
            (proxy_protocol, public_keys) = (written.proxy_protocol, written.public_keys.clone());
            if proxy_protocol.is_some() && back != ClassicProtocol::Tcp {
                let cause =
                    format!("instances that speak {} are not told by the PROXY protocol", back.as_str());
                reader.problem(written.node, &cause, Some("take `proxy_protocol` out"));
            }
            if public_keys.is_some() && !is_secure(back) {
                let cause = format!("instances that speak {} show no key", back.as_str());
                reader.problem(
                    written.node,
                    &cause,
                    Some("take `public_keys` out, or speak https or ssl to it"),
                );
            }
        }
        Some(TargetGroup {
            name,
            protocol: targets_of(back),
            protocol_version: ProtocolVersion::Http1,
            comparison: None,
            hashing: None,
            load_probe: None,
            algorithm: if back.is_http() {
                Algorithm::LeastOutstandingRequests
            } else {
                Algorithm::RoundRobin
            },
            deregistration_delay: self.deregistration_delay,
            target_tls: TargetTls { asks_for_host: false, public_keys },
            flows: FlowSettings { connection_termination: true, proxy_protocol, ..FlowSettings::default() },
            zone: None,
            hold: Duration::ZERO,
            slow_start: Duration::ZERO,
            stickiness: None,
            // Never fails open.
            thresholds: weir_core::thresholds::Thresholds::CLASSIC,
            mitigates_anomalies: false,
            concurrency: self.concurrency,
            retries: weir_core::limits::RetryBudget::default(),
            ejection: None,
            health_check: self.health_check.clone()?,
            targets: self.addrs.iter().map(target).collect(),
        })
    }
}

/// An instance: its address, or that with its zone.
fn instance(node: &Node, reader: &mut Reader<'_>) -> Option<(IpAddr, Option<String>)> {
    const EXAMPLE: &str = "127.0.0.11";
    if let Value::Scalar(_) = node.value {
        return Some((reader.parsed(node, "an IP address", EXAMPLE)?, None));
    }
    let fields = reader.fields(node, &keys::INSTANCE)?;
    let addr = fields.require(reader, "address", EXAMPLE)?;
    let zone = fields.get("zone").and_then(|node| reader.text(node)).map(ToOwned::to_owned);
    Some((reader.parsed(addr, "an IP address", EXAMPLE)?, zone))
}

/// What a listener speaks TLS with: one certificate, and a policy from before TLS 1.3.
fn secured(fields: Fields<'_>, spoken: Option<&str>, reader: &mut Reader<'_>) -> Option<Arc<Tls>> {
    let word = if spoken == Some("ssl") { "ssl" } else { "https" };
    let tls = tls::read(fields, spoken, word, reader).filter(|_| spoken == Some(word))?;
    if let (Some(node), 2..) = (fields.get("certificates"), tls.certificates.len()) {
        let cause = "a classic listener has one certificate";
        reader.problem(node, cause, Some("write one, or use an application load balancer"));
    }
    let mut tls = Arc::unwrap_or_clone(tls);
    match fields.get("ssl_policy") {
        None => tls.policy = SslPolicy::named(SSL_POLICY)?,
        Some(node) if tls.policy.allows(TlsVersion::V1_3) => {
            let cause = "classic listeners do not speak TLS 1.3";
            let remedy = format!("write ELBSecurityPolicy-{SSL_POLICY} or ELBSecurityPolicy-TLS-1-2-2017-01");
            reader.problem(node, cause, Some(&remedy));
        }
        Some(_) => {}
    }
    Some(Arc::new(tls))
}

/// How clients of a listener stick to instances, if they do.
fn stickiness(fields: Fields<'_>, protocol: ClassicProtocol, reader: &mut Reader<'_>) -> Option<Stickiness> {
    let node = fields.get("stickiness")?;
    if !protocol.is_http() {
        let cause = format!("clients that speak {} bring no cookies", protocol.as_str());
        reader.problem(node, &cause, Some("take it out"));
    }
    stickiness::of_classic(node, reader)
}

/// What the instances speak: something of the same layer, what clients speak unless it is written.
fn instance_protocol(fields: Fields<'_>, front: ClassicProtocol, reader: &mut Reader<'_>) -> ClassicProtocol {
    use ClassicProtocol::{Http, Https, Ssl, Tcp};
    let choices =
        if front.is_http() { [("http", Http), ("https", Https)] } else { [("tcp", Tcp), ("ssl", Ssl)] };
    let Some(node) = fields.get("instance_protocol") else { return front };
    if let Some(text @ ("http" | "https" | "tcp" | "ssl")) = reader.text(node)
        && choices.iter().all(|(word, _)| *word != text)
    {
        let cause = format!("a listener of {} does not speak {text} to instances", front.as_str());
        reader.problem(node, &cause, Some(&format!("write {} or {}", choices[0].0, choices[1].0)));
        return front;
    }
    reader.choice(node, &choices).unwrap_or(front)
}

fn is_secure(protocol: ClassicProtocol) -> bool {
    matches!(protocol, ClassicProtocol::Https | ClassicProtocol::Ssl)
}

fn targets_of(back: ClassicProtocol) -> TargetProtocol {
    match back {
        ClassicProtocol::Http => TargetProtocol::Http,
        ClassicProtocol::Https => TargetProtocol::Https,
        ClassicProtocol::Ssl => TargetProtocol::Tls,
        ClassicProtocol::Tcp => TargetProtocol::Tcp,
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
