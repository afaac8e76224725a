//! Network listeners.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use weir_core::address::TargetAddr;
use weir_core::definition::{
    AlpnPolicy, ListenerKind, NetworkListener, NetworkProtocol, TargetProtocol, TargetSelector,
};
use weir_core::name::GroupName;
use weir_core::quic::ServerId;
use weir_core::rule::Forward;

use super::load_balancer::speaks;
use super::{Groups, action, tls};
use crate::keys;
use crate::read::{Fields, Reader};
use crate::tree::{Node, Value};

const SECOND: Duration = Duration::from_secs(1);

/// What it speaks and where its flows go.
pub(super) fn read(
    fields: Fields<'_>,
    groups: &mut Groups<'_>,
    reader: &mut Reader<'_>,
) -> Option<ListenerKind<GroupName>> {
    let protocol = speaks(fields, &["tcp", "udp", "tcp_udp", "tls", "quic", "tcp_quic"], reader);
    let tls = tls::read(fields, protocol, "tls", reader).filter(|_| protocol == Some("tls"));
    let alpn_policy = fields.get("alpn_policy").and_then(|node| alpn_policy(node, reader));
    let (protocol, targets) = match protocol {
        Some("udp") => (NetworkProtocol::Udp, &[TargetProtocol::Udp, TargetProtocol::TcpUdp][..]),
        Some("tls") => (NetworkProtocol::Tls, &[TargetProtocol::Tcp, TargetProtocol::Tls][..]),
        Some("quic") => (NetworkProtocol::Quic, &[TargetProtocol::Quic, TargetProtocol::TcpQuic][..]),
        Some("tcp_quic") => (NetworkProtocol::TcpQuic, &[TargetProtocol::TcpQuic][..]),
        Some("tcp_udp") => (NetworkProtocol::TcpUdp, &[TargetProtocol::TcpUdp][..]),
        Some(_) => (NetworkProtocol::Tcp, &[TargetProtocol::Tcp, TargetProtocol::TcpUdp][..]),
        None => return None,
    };
    let mut listener = NetworkListener::new(protocol, forward(fields, targets, groups, reader)?);
    listener.tls = tls;
    listener.alpn_policy = alpn_policy.unwrap_or_default();
    if protocol.has_quic() {
        check_server_ids(fields, &listener, groups, reader);
    }
    if protocol == NetworkProtocol::Tls {
        check_stickiness(fields, &listener, groups, reader);
    }
    if let (Some(node), true) = (fields.get("proxy_protocol"), !protocol.has_tcp()) {
        let cause = "datagrams do not begin with a header of the PROXY protocol";
        reader.problem(node, cause, Some("take it out"));
    }
    if let Some(node) = fields.get("udp_idle_timeout") {
        if !protocol.has_udp() {
            let cause = format!("a {} listener has no datagrams", protocol.as_str());
            reader.problem(node, &cause, Some("write `protocol: udp` or `tcp_udp`"));
        }
        // differs: AWS's cannot be changed.
        listener.udp_idle_timeout = reader.duration(node, SECOND..=6000 * SECOND)?;
    }
    Some(ListenerKind::Network(listener))
}

/// One of AWS's policies, or a list of the protocols themselves.
fn alpn_policy(node: &Node, reader: &mut Reader<'_>) -> Option<AlpnPolicy> {
    let policies = [
        ("None", AlpnPolicy::None),
        ("HTTP1Only", AlpnPolicy::Http1Only),
        ("HTTP2Only", AlpnPolicy::Http2Only),
        ("HTTP2Optional", AlpnPolicy::Http2Optional),
        ("HTTP2Preferred", AlpnPolicy::Http2Preferred),
    ];
    // differs: AWS knows no others.
    let Value::Sequence(names) = &node.value else { return reader.choice(node, &policies) };
    if names.is_empty() || names.len() > AlpnPolicy::PROTOCOLS_MAX {
        let cause = format!("{} protocols are named", names.len());
        let remedy = format!("name 1 to {}", AlpnPolicy::PROTOCOLS_MAX);
        reader.problem(node, &cause, Some(&remedy));
        return None;
    }
    let mut protocols: Vec<Arc<str>> = Vec::new();
    for node in names {
        let name = protocol_name(node, reader)?;
        if protocols.iter().any(|known| **known == *name) {
            reader.problem(node, &format!("{name:?} is named twice"), Some("take one out"));
            return None;
        }
        protocols.push(name.into());
    }
    Some(AlpnPolicy::Protocols(protocols.into()))
}

/// What a client asks for by ALPN. Logs have it between quotes and spaces.
fn protocol_name<'n>(node: &'n Node, reader: &mut Reader<'_>) -> Option<&'n str> {
    let name = reader.text(node)?;
    let is_plain = name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\');
    if is_plain && name.len() <= AlpnPolicy::PROTOCOL_BYTES_MAX {
        return Some(name);
    }
    let remedy = format!(
        "write 1 to {} visible characters of ASCII, without quotes and backslashes: `postgresql`",
        AlpnPolicy::PROTOCOL_BYTES_MAX
    );
    reader.problem(node, &format!("{name:?} is not the name of a protocol"), Some(&remedy));
    None
}

/// What takes the flows.
fn forward(
    fields: Fields<'_>,
    targets: &[TargetProtocol],
    groups: &mut Groups<'_>,
    reader: &mut Reader<'_>,
) -> Option<Forward<GroupName>> {
    let node = fields.require(reader, "default_action", "{ forward: db }")?;
    let action = reader.fields(node, &keys::ACTION)?;
    for name in keys::ACTION.keys.iter().filter(|name| **name != "forward") {
        if let Some(node) = action.get(name) {
            reader.problem(node, "a network listener can only forward", Some("write `forward: GROUP`"));
        }
    }
    action::forward(action.require(reader, "forward", "db")?, targets, groups, reader)
}

/// Two targets that a listener forwards to have ids of their own, also in two groups. A target that is in both may have one.
fn check_server_ids(
    fields: Fields<'_>,
    listener: &NetworkListener<GroupName>,
    groups: &Groups<'_>,
    reader: &mut Reader<'_>,
) {
    let mut seen: BTreeMap<ServerId, (&GroupName, TargetAddr)> = BTreeMap::new();
    for (name, _) in &listener.forward.groups {
        let targets =
            groups.resolved.iter().filter(|group| group.name == *name).flat_map(|group| &group.targets);
        for target in targets {
            let TargetSelector::Address { addr, server_id: Some(id), .. } = target else { continue };
            let (other, first) = *seen.entry(*id).or_insert((name, *addr));
            // Two within a group are told of with the group.
            if first != *addr && other != name {
                let cause = format!(
                    "the target groups {:?} and {:?} have two targets with the `quic_server_id` {id}",
                    other.as_str(),
                    name.as_str()
                );
                reader.problem(fields.node(), &cause, Some("give each one of its own"));
            }
        }
    }
}

/// Clients that speak TLS stick neither to a group nor to a target.
fn check_stickiness(
    fields: Fields<'_>,
    listener: &NetworkListener<GroupName>,
    groups: &Groups<'_>,
    reader: &mut Reader<'_>,
) {
    let remedy = Some("take `stickiness` out, or write `protocol: tcp`");
    if listener.forward.stickiness.is_some() {
        reader.problem(fields.node(), "clients of a tls listener do not stay in their group", remedy);
    }
    for (name, _) in &listener.forward.groups {
        if groups.resolved.iter().any(|group| group.name == *name && group.flows.sticks_by_source) {
            let cause = format!(
                "clients of a tls listener do not stick to targets, as those of {:?} do",
                name.as_str()
            );
            reader.problem(fields.node(), &cause, remedy);
        }
    }
}
