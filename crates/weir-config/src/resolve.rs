//! From the document as written to what it means.
//!
//! Every function reads as much as it can and reports what it cannot, so that all mistakes are found in one pass.
//! What a mistake makes unknowable is `None`; a configuration is only made when there was none.

mod action;
mod authentication;
mod classic;
mod comparison;
mod discovery;
mod ecs;
mod ejection;
mod flows;
mod group_health;
mod hashing;
mod header_rules;
mod health_check;
mod limits;
mod load_balancer;
mod load_probe;
mod network;
mod proxies;
mod rule;
mod stickiness;
mod swarm;
mod target;
mod target_group;
mod tls;
mod zone;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use weir_core::address::ListenAddr;
use weir_core::definition::{Definitions, TargetGroup, TargetProtocol};
use weir_core::name::GroupName;
use weir_core::sticky::StickinessKind;

use crate::config::{Admin, Config, Discovery, Limits, SharedSource};
use crate::keys;
use crate::read::{Fields, Reader, items, nearest};
use crate::tree::Node;

/// Where the admin port listens unless it is said otherwise.
const ADMIN_BIND: ([u8; 4], u16) = ([127, 0, 0, 1], 9900);

/// Client connections at a time unless it is said otherwise.
const CONNECTIONS_MAX: usize = 100_000;

/// How long a weir that another one has replaced finishes what it has, unless it is said otherwise.
const RESTART_DRAIN: Duration = Duration::from_secs(60 * 60);

/// The longest time for that.
const RESTART_DRAIN_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Most worker threads.
const WORKERS_MAX: usize = 1024;

/// What is known of the target groups while listeners are read.
#[derive(Debug, Default)]
struct Groups<'n> {
    /// What each name speaks, and where it is written.
    named: BTreeMap<GroupName, Named<'n>>,
    resolved: Vec<TargetGroup>,
}

#[derive(Debug)]
struct Named<'n> {
    node: &'n Node,
    /// `None` when the group has a mistake in its protocol.
    protocol: Option<TargetProtocol>,
    /// By which cookie clients stick to its targets, if they do.
    stickiness: Option<StickinessKind>,
    /// Whether it gives targets of all zones, where that is written.
    crosses_zones: Option<bool>,
    is_used: bool,
}

impl Groups<'_> {
    /// The group that a listener or rule names, which must speak one of `protocols`.
    fn named(
        &mut self,
        node: &Node,
        protocols: &[TargetProtocol],
        reader: &mut Reader<'_>,
    ) -> Option<GroupName> {
        let text = reader.text(node)?;
        let found = GroupName::parse(text).ok().and_then(|name| Some((self.named.get_mut(&name)?, name)));
        let Some((group, name)) = found else {
            let names: Vec<&str> = self.named.keys().map(GroupName::as_str).collect();
            let remedy = match nearest(text, names.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None if names.is_empty() => "add it to `target_groups`".to_owned(),
                None => format!("the target groups are {}", names.join(", ")),
            };
            reader.problem(node, &format!("there is no target group {text:?}"), Some(&remedy));
            return None;
        };
        group.is_used = true;
        if group.protocol.is_some_and(|its| !protocols.contains(&its)) {
            let word = protocols.first().map_or("http", |protocol| protocol.as_str());
            let remedy = format!("give the group `protocol: {word}`, or forward to another one");
            let wanted = word.to_ascii_uppercase();
            reader.problem(node, &format!("target group {text:?} does not speak {wanted}"), Some(&remedy));
            return None;
        }
        Some(name)
    }
}

/// Reads a whole document.
pub(crate) fn resolve(root: &Node, reader: &mut Reader<'_>) -> Option<Config> {
    let fields = reader.fields(root, &keys::ROOT)?;
    let admin = admin(fields, reader);
    let workers = fields.get("workers").and_then(|node| reader.number(node, 1..=WORKERS_MAX));
    let limits = limits(fields, reader);
    let discovery = discovery::read(fields, reader);
    let remember =
        fields.get("remember").and_then(|node| reader.text(node)).map(|path| reader.folder().join(path));
    let shared = fields.get("shared").and_then(|node| shared(fields, node, reader));
    let zone = fields.get("zone").and_then(|node| reader.text(node)).map(ToOwned::to_owned);
    let definitions = match fields.get("shared") {
        Some(_) => Definitions::default(),
        None => definitions(root, fields, admin, (&discovery, zone.as_deref()), reader),
    };
    Some(Config {
        admin: Admin { bind: admin },
        workers: workers.and_then(NonZeroUsize::new),
        zone,
        limits,
        discovery,
        remember,
        shared,
        definitions,
    })
}

/// Reads what several weirs share, for the one with this configuration.
pub(crate) fn resolve_shared(root: &Node, local: &Config, reader: &mut Reader<'_>) -> Option<Config> {
    let fields = reader.fields(root, &keys::SHARED)?;
    let definitions =
        definitions(root, fields, local.admin.bind, (&local.discovery, local.zone.as_deref()), reader);
    Some(Config { definitions, ..local.clone() })
}

/// Reads what a group is told beside its name, algorithm and targets; see [`crate::document::group_settings`].
pub(crate) fn group_settings(node: &Node, name: &str, reader: &mut Reader<'_>) -> Option<TargetGroup> {
    target_group::settings_of_compared(node, name, reader)
}

/// Reads load balancers and target groups.
fn definitions(
    root: &Node,
    fields: Fields<'_>,
    admin: SocketAddr,
    (discovery, zone): (&Discovery, Option<&str>),
    reader: &mut Reader<'_>,
) -> Definitions {
    let mut groups = Groups::default();
    for node in list(fields, "target_groups") {
        target_group::read(node, discovery, &mut groups, reader);
    }
    let mut places: BTreeMap<ListenAddr, &Node> = BTreeMap::new();
    let mut load_balancers = Vec::new();
    for node in list(fields, "load_balancers") {
        load_balancers.extend(load_balancer::read(node, &mut groups, &mut places, reader));
    }
    if let Some(zone) = zone {
        zone::restrict(zone, &load_balancers, &mut groups, reader);
    }
    check_places(fields, admin, &places, reader);
    check_names(fields, reader);
    for group in groups.named.values().filter(|group| !group.is_used) {
        let remedy = "forward to it from a listener, or take it out";
        reader.warning(
            group.node,
            "no listener uses this target group, so its targets are not checked",
            Some(remedy),
        );
    }
    if load_balancers.is_empty() {
        let remedy = "see config/example.yaml for one of each kind";
        reader.warning(root, "there is no load balancer, so nothing is served", Some(remedy));
    }
    let secrets = tls::secrets(fields, reader);
    Definitions {
        load_balancers: load_balancers.into_iter().map(|(load_balancer, _)| load_balancer).collect(),
        target_groups: groups.resolved,
        cookie_secrets: secrets.cookies,
        tls_tickets: secrets.tls_tickets,
    }
}

/// Where the shared configuration is; what it has may not be written here, too.
fn shared(fields: Fields<'_>, node: &Node, reader: &mut Reader<'_>) -> Option<SharedSource> {
    for name in ["load_balancers", "secrets", "target_groups"] {
        if let Some(written) = fields.get(name) {
            let remedy = "write it there, or take `shared` out";
            reader.problem(written, &format!("`{name}` is read from the shared configuration"), Some(remedy));
        }
    }
    let fields = reader.fields(node, &keys::SHARED_SOURCE)?;
    let etcd = "{ endpoints: [http://127.0.0.1:2379], key: /weir/configuration }";
    let etcd = fields.require(reader, "etcd", etcd)?;
    let fields = reader.fields(etcd, &keys::SHARED_ETCD)?;
    let endpoints = discovery::endpoints(fields, reader);
    let key = fields.require(reader, "key", "/weir/configuration").and_then(|node| reader.text(node))?;
    Some(SharedSource { endpoints, key: key.to_owned() })
}

/// The entries of a list under `name`.
fn list<'n>(fields: Fields<'n>, name: &str) -> &'n [Node] {
    fields.get(name).map_or(&[], |node| items(node))
}

fn admin(fields: Fields<'_>, reader: &mut Reader<'_>) -> SocketAddr {
    let mut read = || {
        let fields = reader.fields(fields.get("admin")?, &keys::ADMIN)?;
        let node = fields.get("bind")?;
        let bind: SocketAddr = reader.parsed(node, "an address with a port", "127.0.0.1:9900")?;
        if !bind.ip().is_loopback() {
            let cause = "the admin port asks for no password, so it may only listen on loopback";
            reader.problem(node, cause, Some("write 127.0.0.1:9900"));
        }
        Some(bind)
    };
    read().unwrap_or(SocketAddr::from(ADMIN_BIND))
}

fn limits(fields: Fields<'_>, reader: &mut Reader<'_>) -> Limits {
    let mut limits = Limits { connections: CONNECTIONS_MAX, restart_drain: RESTART_DRAIN };
    let Some(fields) = fields.get("limits").and_then(|node| reader.fields(node, &keys::LIMITS)) else {
        return limits;
    };
    if let Some(connections) = fields.get("connections").and_then(|node| reader.number(node, 1..=10_000_000))
    {
        limits.connections = connections;
    }
    let drain = fields.get("restart_drain");
    if let Some(drain) =
        drain.and_then(|node| reader.duration(node, Duration::from_secs(1)..=RESTART_DRAIN_MAX))
    {
        limits.restart_drain = drain;
    }
    limits
}

/// No two listeners may take the same connections.
fn check_places(
    fields: Fields<'_>,
    admin: SocketAddr,
    places: &BTreeMap<ListenAddr, &Node>,
    reader: &mut Reader<'_>,
) {
    for (place, node) in places {
        if place.overlaps(ListenAddr(admin)) {
            let line = fields
                .get("admin")
                .map_or_else(String::new, |node| format!(" (line {})", node.position.line));
            reader.problem(
                node,
                &format!("the admin port listens at {admin} already{line}"),
                Some("choose another port"),
            );
        }
        for (other, first) in places.iter().take_while(|(_, first)| !std::ptr::eq(**first, *node)) {
            if place.overlaps(*other) {
                let (first, second) =
                    if first.position.line < node.position.line { (first, node) } else { (node, first) };
                let line = first.position.line;
                let (cause, remedy) = if place == other {
                    (
                        format!("another listener has this address already, on line {line}"),
                        "choose another port",
                    )
                } else {
                    let cause = format!("{other} and {place} overlap; the other listener is on line {line}");
                    (cause, "choose another port, or write an address in place of every one")
                };
                reader.problem(second, &cause, Some(remedy));
            }
        }
    }
}

/// Load balancers need names of their own: logs and metrics tell them apart by it.
fn check_names(fields: Fields<'_>, reader: &mut Reader<'_>) {
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for node in list(fields, "load_balancers") {
        let crate::tree::Value::Mapping(entries) = &node.value else { continue };
        let Some((_, name)) = entries.iter().find(|(key, _)| key.name == "name") else { continue };
        let crate::tree::Value::Scalar(text) = &name.value else { continue };
        if let Some(line) = seen.insert(text.clone(), name.position.line) {
            reader.problem(name, &format!("another load balancer has this name, on line {line}"), None);
        }
    }
}
