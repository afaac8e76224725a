//! What groups of flows have and groups of HTTP have not.

use std::time::Duration;

use weir_core::definition::{Algorithm, FlowSettings, OfUnhealthy, ProxyVersion, TargetProtocol};
use weir_core::ejection::Ejection;

use crate::keys;
use crate::read::{Fields, Reader};

/// Longest time that an unhealthy target keeps its flows, in seconds. Source: Network Load Balancer, target group attributes.
const DRAINING_INTERVAL_MAX: Duration = Duration::from_secs(360_000);

/// How flows to the targets of a group that speaks `protocol` begin, stay and end.
pub(super) fn read(
    fields: Fields<'_>,
    protocol: TargetProtocol,
    algorithm: Algorithm,
    reader: &mut Reader<'_>,
) -> FlowSettings {
    let connection_termination = fields.get("connection_termination").and_then(|node| reader.boolean(node));
    FlowSettings {
        // AWS: new groups of UDP drop the flows of a target that has left, or they would be lost for as long as they last.
        connection_termination: connection_termination.unwrap_or(protocol.has_udp()),
        of_unhealthy: of_unhealthy(fields, protocol, reader),
        preserves_client_ip: preserves_client_ip(fields, protocol, reader),
        sticks_by_source: !protocol.is_http() && sticks_by_source(fields, protocol, algorithm, reader),
        proxy_protocol: proxy_protocol(fields, protocol, reader),
    }
}

/// When targets are ejected to which connections fail, unless it is written: AWS's passive health checks, whose thresholds
/// nobody knows. They watch no UDP, and no group whose clients stick.
pub(super) fn passive_checks(protocol: TargetProtocol, flows: &FlowSettings) -> Option<Ejection> {
    let is_watched = matches!(protocol, TargetProtocol::Tcp | TargetProtocol::Tls);
    (is_watched && !flows.sticks_by_source).then(Ejection::default)
}

fn of_unhealthy(fields: Fields<'_>, protocol: TargetProtocol, reader: &mut Reader<'_>) -> OfUnhealthy {
    let (end, interval) =
        (fields.get("unhealthy_connection_termination"), fields.get("unhealthy_draining_interval"));
    if protocol.is_http() {
        for node in [end, interval].into_iter().flatten() {
            let cause = "requests that are under way at a target that turns unhealthy always finish";
            reader.problem(node, cause, Some("take it out, or write `protocol: tcp`"));
        }
        return OfUnhealthy::GoOn;
    }
    let ends = end.and_then(|node| reader.boolean(node));
    if let (Some(node), Some(true), true) = (end, ends, protocol.has_udp()) {
        let cause = format!("flows of {} are not ended when a target turns unhealthy", protocol.as_str());
        reader.problem(node, &cause, Some("take it out"));
    }
    let ends = ends.unwrap_or(!protocol.has_udp());
    let kept = interval.and_then(|node| reader.duration(node, Duration::ZERO..=DRAINING_INTERVAL_MAX));
    let kept = kept.unwrap_or_default();
    match (ends, interval) {
        (true, Some(node)) if !kept.is_zero() => {
            let cause = "flows that are ended at once are not kept for an interval";
            reader.problem(node, cause, Some("write `unhealthy_connection_termination: false` beside it"));
            OfUnhealthy::End
        }
        (true, _) => OfUnhealthy::End,
        (false, _) if kept.is_zero() => OfUnhealthy::GoOn,
        (false, _) => OfUnhealthy::EndAfter(kept),
    }
}

/// Whether all flows of a client's address go to one target.
fn sticks_by_source(
    fields: Fields<'_>,
    protocol: TargetProtocol,
    algorithm: Algorithm,
    reader: &mut Reader<'_>,
) -> bool {
    let Some(node) = fields.get("stickiness") else { return false };
    let Some(fields) = reader.fields(node, &keys::STICKINESS) else { return false };
    if protocol == TargetProtocol::Tls {
        let cause = "clients do not stick to targets that speak tls";
        reader.problem(node, cause, Some("take it out"));
    }
    if algorithm != Algorithm::FlowHash {
        let cause = format!("clients stick by flow_hash, not by {}", algorithm.as_str());
        reader.problem(node, &cause, Some("take `load_balancing_algorithm` out"));
    }
    let cookies = "clients stick to HTTP targets by cookies, and to others by their address";
    for name in ["cookie_name", "duration"] {
        if let Some(node) = fields.get(name) {
            reader.problem(node, cookies, Some("take it out"));
        }
    }
    match fields.require(reader, "type", "source_ip") {
        Some(kind) if matches!(reader.text(kind), Some("lb_cookie" | "app_cookie")) => {
            reader.problem(kind, cookies, Some("write `type: source_ip`"));
            false
        }
        Some(kind) => reader.choice(kind, &[("source_ip", ())]).is_some(),
        None => false,
    }
}

/// Whether targets see the addresses of clients. differs: AWS has this on for targets that are instances, and always for UDP.
fn preserves_client_ip(fields: Fields<'_>, protocol: TargetProtocol, reader: &mut Reader<'_>) -> bool {
    let Some(node) = fields.get("preserve_client_ip") else { return false };
    let preserves = reader.boolean(node).unwrap_or(false);
    if preserves && protocol.is_http() {
        let cause = "a connection that carries requests of many clients comes from weir";
        reader.problem(node, cause, Some("take it out: HTTP has X-Forwarded-For"));
    }
    preserves
}

/// Whether connections to targets begin with a header of the PROXY protocol.
fn proxy_protocol(
    fields: Fields<'_>,
    protocol: TargetProtocol,
    reader: &mut Reader<'_>,
) -> Option<ProxyVersion> {
    let node = fields.get("proxy_protocol_v2")?;
    if protocol.is_http() || matches!(protocol, TargetProtocol::Quic | TargetProtocol::Udp) {
        let cause = format!("targets that speak {} are not told by the PROXY protocol", protocol.as_str());
        reader.problem(node, &cause, Some("take it out: HTTP has X-Forwarded-For"));
    }
    reader.boolean(node)?.then_some(ProxyVersion::V2)
}
