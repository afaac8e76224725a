//! One of a target group's `targets`.

use std::net::SocketAddr;

use weir_core::address::TargetAddr;
use weir_core::definition::{TargetSelector, TaskSelector};
use weir_core::lookup::{DnsName, Lookup, Record};
use weir_core::target::Weight;
use weir_core::task::SourceKind;

use crate::config::Discovery;
use crate::keys;
use crate::read::{Fields, Reader};
use crate::tree::Node;

/// Reads one entry of `targets`.
pub(super) fn read(node: &Node, discovery: &Discovery, reader: &mut Reader<'_>) -> Option<TargetSelector> {
    let fields = reader.fields(node, &keys::ADDRESS_TARGET)?;
    for source in SourceKind::ALL {
        let Some(tasks) = fields.get(source.as_str()) else { continue };
        let (is_followed, remedy) = followed(source, discovery);
        if !is_followed {
            reader.problem(tasks, &format!("no {} source is followed", source.as_str()), Some(remedy));
        }
        return match source {
            SourceKind::Dns => lookup(tasks, reader),
            _ => task_selector(tasks, source, reader),
        };
    }
    let address = fields.require(reader, "address", "127.0.0.1");
    let ip = address.and_then(|node| reader.parsed(node, "an IP address", "127.0.0.1"));
    let port = fields.require(reader, "port", "8080").and_then(|node| reader.number(node, 1..=65_535_u16));
    let weight = weight(fields, reader);
    let zone = fields.get("zone").and_then(|node| reader.text(node)).map(ToOwned::to_owned);
    let server_id = fields.get("quic_server_id");
    let server_id = server_id.and_then(|node| reader.parsed(node, "a server id", "0x0123456789abcdef"));
    let addr = TargetAddr(SocketAddr::new(ip?, port?));
    Some(TargetSelector::Address { addr, weight, zone, server_id })
}

/// Whether a source is followed, and what to write where it is not.
pub(super) fn followed(source: SourceKind, discovery: &Discovery) -> (bool, &'static str) {
    match source {
        SourceKind::Dns => (discovery.dns.is_some(), "add `discovery: { dns: {} }`"),
        SourceKind::Docker => (discovery.docker.is_some(), "add `discovery: { docker: {} }`"),
        SourceKind::Ecs => {
            (discovery.ecs.is_some(), "add `discovery: { ecs: { cluster: default, region: eu-central-1 } }`")
        }
        SourceKind::Etcd => (
            discovery.etcd.is_some(),
            "add `discovery: { etcd: { endpoints: [http://127.0.0.1:2379], prefix: /weir/targets/ } }`",
        ),
        SourceKind::File => (discovery.file.is_some(), "add `discovery: { file: { path: ./targets.d } }`"),
        SourceKind::Http => (
            discovery.http.is_some(),
            "add `discovery: { http: { url: \"http://127.0.0.1:8000/targets\" } }`",
        ),
        SourceKind::Swarm => (discovery.swarm.is_some(), "add `discovery: { swarm: {} }`"),
    }
}

fn task_selector(node: &Node, source: SourceKind, reader: &mut Reader<'_>) -> Option<TargetSelector> {
    let fields = reader.fields(node, &keys::TASK_TARGET)?;
    let mut text = |name: &str| fields.get(name).and_then(|node| reader.text(node)).map(ToOwned::to_owned);
    let (service, project) = (text("service"), text("project"));
    if service.is_none() && project.is_none() {
        let remedy = "write `service: api`, and `project:` where several have one of that name";
        reader.problem(fields.node(), "which tasks? a service or a project must be named", Some(remedy));
    }
    let container_port = fields.get("container_port").and_then(|node| reader.number(node, 1..=65_535_u16));
    let weight = weight(fields, reader);
    Some(TargetSelector::Tasks(TaskSelector { source, service, project, container_port, weight }))
}

/// What the records of a name are, before their port is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    A,
    Aaaa,
    Srv,
}

fn lookup(node: &Node, reader: &mut Reader<'_>) -> Option<TargetSelector> {
    const KINDS: [(&str, Kind); 3] = [("a", Kind::A), ("aaaa", Kind::Aaaa), ("srv", Kind::Srv)];
    let fields = reader.fields(node, &keys::DNS_TARGET)?;
    let name = fields.require(reader, "name", "_http._tcp.api.example").and_then(|node| name(node, reader));
    let kind = match fields.get("type") {
        Some(node) => reader.choice(node, &KINDS),
        // SRV records name their ports; whoever writes one means addresses.
        None if fields.get("port").is_some() => Some(Kind::A),
        None => Some(Kind::Srv),
    };
    if kind == Some(Kind::Srv) {
        for (key, cause, remedy) in [
            ("port", "SRV records name the port themselves", "take it out, or write `type: a`"),
            ("weight", "SRV records name the weight themselves", "take it out"),
        ] {
            if let Some(node) = fields.get(key) {
                reader.problem(node, cause, Some(remedy));
            }
        }
    }
    let weight = weight(fields, reader);
    let mut port =
        || fields.require(reader, "port", "8080").and_then(|node| reader.number(node, 1..=65_535_u16));
    let record = match kind? {
        Kind::A => Record::A { port: port()? },
        Kind::Aaaa => Record::Aaaa { port: port()? },
        Kind::Srv => Record::Srv,
    };
    Some(TargetSelector::Lookup { lookup: Lookup { name: name?, record }, weight })
}

fn name(node: &Node, reader: &mut Reader<'_>) -> Option<DnsName> {
    let text = reader.text(node)?;
    let name = text.parse();
    if let Err(error) = &name {
        let cause = format!("{text:?} cannot be looked up: {error}");
        let remedy =
            "write a fully qualified name, such as _http._tcp.api.example; addresses go to `address`";
        reader.problem(node, &cause, Some(remedy));
    }
    name.ok()
}

fn weight(fields: Fields<'_>, reader: &mut Reader<'_>) -> Weight {
    let weight = fields.get("weight").and_then(|node| reader.number(node, 1..=Weight::MAX));
    weight.and_then(Weight::new).unwrap_or(Weight::ONE)
}
