//! Target groups.

use std::time::Duration;

use weir_core::balance::Draws;
use weir_core::definition::{Algorithm, ProtocolVersion, TargetGroup, TargetProtocol, TargetSelector};
use weir_core::health::{HealthCheck, Probe, StatusMatcher, Thresholds};
use weir_core::name::GroupName;
use weir_core::tls::TargetTls;

use super::{Groups, Named, ejection, flows, group_health, hashing, limits, list, stickiness, target};
use crate::config::Discovery;
use crate::keys;
use crate::read::{Fields, Reader};
use crate::tree::Node;

const SECOND: Duration = Duration::from_secs(1);

/// AWS's default.
const DEREGISTRATION_DELAY: Duration = Duration::from_secs(300);

/// Ours, for groups that follow tasks: long enough for a new container to start.
const HOLD_OF_DISCOVERED: Duration = Duration::from_secs(10);

/// AWS's ranges begin at 5 s and 2 s. differs: shorter ones are allowed, for labs and tests.
pub(super) const INTERVAL_MIN: Duration = Duration::from_millis(100);
pub(super) const TIMEOUT_MIN: Duration = Duration::from_millis(50);

/// Longest path of a health check, in bytes.
const PATH_BYTES_MAX: usize = 1024;

/// What targets, and checks of them, may speak.
const PROTOCOLS: [(&str, TargetProtocol); 8] = [
    ("http", TargetProtocol::Http),
    ("https", TargetProtocol::Https),
    ("tcp", TargetProtocol::Tcp),
    ("quic", TargetProtocol::Quic),
    ("tcp_quic", TargetProtocol::TcpQuic),
    ("tcp_udp", TargetProtocol::TcpUdp),
    ("tls", TargetProtocol::Tls),
    ("udp", TargetProtocol::Udp),
];

/// How many of them, from the first on, health checks may speak.
const CHECKS: usize = 3;

const USER_AGENT: &str = "ELB-HealthChecker/2.0";

/// Reads one target group into `groups`.
pub(super) fn read<'n>(
    node: &'n Node,
    discovery: &Discovery,
    groups: &mut Groups<'n>,
    reader: &mut Reader<'_>,
) {
    let Some(fields) = reader.fields(node, &keys::TARGET_GROUP) else { return };
    let name = name(fields, groups, reader);
    let protocol = match fields.get("protocol") {
        Some(node) => protocol(node, reader),
        None => Some(TargetProtocol::Http),
    };
    // Without knowing what it speaks, the rest is read as HTTP for its mistakes.
    let spoken = protocol.unwrap_or(TargetProtocol::Http);
    let protocol_version = protocol_version(fields, spoken, reader);
    let algorithm = algorithm(fields, spoken, reader);
    let stickiness = fields.get("stickiness");
    let stickiness = stickiness
        .filter(|_| spoken.is_http())
        .and_then(|node| stickiness::of_group(node, algorithm, reader));
    let flows = flows::read(fields, spoken, algorithm, reader);
    let hashing = hashing::read(fields, spoken, algorithm, reader);
    if let Some(name) = &name {
        let stickiness = stickiness.as_ref().map(|stickiness| stickiness.kind.clone());
        let crosses_zones = fields.get("cross_zone").and_then(|node| reader.boolean(node));
        let named = Named { node, protocol, stickiness, crosses_zones, is_used: false };
        groups.named.insert(name.clone(), named);
    }
    let mut duration = |name: &str, range, default| {
        fields.get(name).and_then(|node| reader.duration(node, range)).unwrap_or(default)
    };
    let deregistration_delay =
        duration("deregistration_delay", Duration::ZERO..=3600 * SECOND, DEREGISTRATION_DELAY);
    let slow_start = slow_start(fields, algorithm, reader);
    let targets: Vec<TargetSelector> =
        list(fields, "targets").iter().filter_map(|node| target::read(node, discovery, reader)).collect();
    check_addresses(fields, &targets, reader);
    check_server_ids(fields, spoken, &targets, reader);
    let follows_tasks = targets.iter().any(|target| !matches!(target, TargetSelector::Address { .. }));
    let hold = match fields.get("hold") {
        Some(node) => reader.duration(node, Duration::ZERO..=60 * SECOND),
        None => Some(if follows_tasks { HOLD_OF_DISCOVERED } else { Duration::ZERO }),
    };
    let thresholds = fields.get("target_group_health").and_then(|node| group_health::read(node, reader));
    let mitigates_anomalies = mitigates_anomalies(fields, algorithm, reader);
    let concurrency = fields.get("concurrency_limits").and_then(|node| limits::concurrency(node, reader));
    let ejection = fields.get("outlier_ejection").and_then(|node| ejection::read(node, reader));
    let retries = fields.get("retry_budget").and_then(|node| limits::retry_budget(node, reader));
    let health_check = health_check(fields, spoken, protocol_version, reader);
    if let (Some(name), Some(protocol)) = (name, protocol) {
        groups.resolved.push(TargetGroup {
            name,
            protocol,
            protocol_version,
            algorithm,
            hashing,
            deregistration_delay,
            hold: hold.unwrap_or_default(),
            slow_start,
            stickiness,
            thresholds: thresholds.unwrap_or_default(),
            mitigates_anomalies,
            concurrency: concurrency.unwrap_or_default(),
            retries: retries.unwrap_or_default(),
            ejection: ejection.or(flows::passive_checks(protocol, &flows)),
            health_check,
            targets,
            flows,
            target_tls: TargetTls::default(),
            zone: None,
        });
    }
}

fn name(fields: Fields<'_>, groups: &Groups<'_>, reader: &mut Reader<'_>) -> Option<GroupName> {
    let node = fields.require(reader, "name", "api")?;
    let text = reader.text(node)?;
    let name = match GroupName::parse(text) {
        Ok(name) => name,
        Err(error) => {
            reader.problem(node, &format!("the name {error}"), None);
            return None;
        }
    };
    if let Some(first) = groups.named.get(&name) {
        let cause = format!("another target group has this name, on line {}", first.node.position.line);
        reader.problem(node, &cause, Some("a target group has a name of its own"));
    }
    Some(name)
}

fn protocol(node: &Node, reader: &mut Reader<'_>) -> Option<TargetProtocol> {
    reader.choice(node, &PROTOCOLS)
}

fn protocol_version(
    fields: Fields<'_>,
    protocol: TargetProtocol,
    reader: &mut Reader<'_>,
) -> ProtocolVersion {
    const VERSIONS: [(&str, ProtocolVersion); 3] = [
        ("http1", ProtocolVersion::Http1),
        ("http2", ProtocolVersion::Http2),
        ("grpc", ProtocolVersion::Grpc),
    ];
    let Some(node) = fields.get("protocol_version") else { return ProtocolVersion::default() };
    if !protocol.is_http() {
        let cause = format!("targets that speak {} have no version of HTTP", protocol.as_str());
        reader.problem(node, &cause, Some("take it out"));
        return ProtocolVersion::default();
    }
    reader.choice(node, &VERSIONS).unwrap_or_default()
}

fn algorithm(fields: Fields<'_>, protocol: TargetProtocol, reader: &mut Reader<'_>) -> Algorithm {
    const ANY: [(&str, Algorithm); 11] = [
        ("round_robin", Algorithm::RoundRobin),
        ("least_outstanding_requests", Algorithm::LeastOutstandingRequests),
        ("weighted_random", Algorithm::WeightedRandom),
        ("power_of_two_choices", Algorithm::PowerOfTwoChoices(Draws::Distinct)),
        ("power_of_two_choices_with_replacement", Algorithm::PowerOfTwoChoices(Draws::WithReplacement)),
        ("peak_ewma", Algorithm::PeakEwma),
        ("prequal", Algorithm::Prequal),
        ("ring_hash", Algorithm::RingHash),
        ("maglev", Algorithm::Maglev),
        ("rendezvous", Algorithm::Rendezvous),
        ("flow_hash", Algorithm::FlowHash),
    ];
    let (choices, default) = match protocol {
        TargetProtocol::Http | TargetProtocol::Https => (&ANY[..10], Algorithm::RoundRobin),
        _ => (&ANY[..], Algorithm::FlowHash),
    };
    fields.get("load_balancing_algorithm").and_then(|node| reader.choice(node, choices)).unwrap_or(default)
}

fn slow_start(fields: Fields<'_>, algorithm: Algorithm, reader: &mut Reader<'_>) -> Duration {
    let Some(node) = fields.get("slow_start") else { return Duration::ZERO };
    let slow_start = reader.duration(node, Duration::ZERO..=900 * SECOND).unwrap_or_default();
    if !slow_start.is_zero() && slow_start < 30 * SECOND {
        reader.problem(node, "slow start is 0s (off) or 30s to 900s", Some("write 30s"));
    }
    if !slow_start.is_zero() && algorithm != Algorithm::RoundRobin {
        let cause = format!("slow start goes with round_robin, not with {}", algorithm.as_str());
        reader.problem(node, &cause, Some("take it out, or use round_robin"));
    }
    slow_start
}

/// Whether targets that fail far more often than their peers get less.
fn mitigates_anomalies(fields: Fields<'_>, algorithm: Algorithm, reader: &mut Reader<'_>) -> bool {
    let Some(node) = fields.get("load_balancing_anomaly_mitigation") else { return false };
    let is_on = reader.choice(node, &[("on", true), ("off", false)]).unwrap_or(false);
    if is_on && algorithm != Algorithm::WeightedRandom {
        let cause = format!("anomaly mitigation goes with weighted_random, not with {}", algorithm.as_str());
        reader.problem(node, &cause, Some("write `load_balancing_algorithm: weighted_random`"));
    }
    is_on
}

/// The same address twice would get twice the traffic without anybody having said so.
fn check_addresses(fields: Fields<'_>, targets: &[TargetSelector], reader: &mut Reader<'_>) {
    let Some(node) = fields.get("targets") else { return };
    let mut seen = std::collections::BTreeSet::new();
    for target in targets {
        if let TargetSelector::Address { addr, .. } = target
            && !seen.insert(*addr)
        {
            let remedy = "write it once, with a `weight` for a larger share";
            reader.problem(node, &format!("the target {addr} is written twice"), Some(remedy));
        }
    }
}

/// Targets of QUIC are told apart by ids of their own, and nobody else has any.
fn check_server_ids(
    fields: Fields<'_>,
    protocol: TargetProtocol,
    targets: &[TargetSelector],
    reader: &mut Reader<'_>,
) {
    let Some(node) = fields.get("targets") else { return };
    let mut seen = std::collections::BTreeSet::new();
    for target in targets {
        let TargetSelector::Address { addr, server_id, .. } = target else { continue };
        match (protocol.has_quic(), server_id) {
            (true, None) => {
                let cause = format!("the target {addr} has no `quic_server_id`");
                reader.problem(node, &cause, Some("write one that no other target has: 0x0123456789abcdef"));
            }
            (false, Some(_)) => {
                let cause = format!("targets that speak {} have no `quic_server_id`", protocol.as_str());
                reader.problem(node, &cause, Some("take it out, or write `protocol: quic`"));
            }
            (true, Some(id)) if !seen.insert(*id) => {
                let cause = format!("two targets have the `quic_server_id` {id}");
                reader.problem(node, &cause, Some("give each one of its own"));
            }
            _ => {}
        }
    }
}

fn health_check(
    fields: Fields<'_>,
    protocol: TargetProtocol,
    version: ProtocolVersion,
    reader: &mut Reader<'_>,
) -> HealthCheck {
    let empty = Node {
        position: crate::problem::Position::default(),
        path: String::new(),
        value: crate::tree::Value::Mapping(Vec::new()),
    };
    let node = fields.get("health_check").unwrap_or(&empty);
    let fields =
        reader.fields(node, &keys::HEALTH_CHECK).or_else(|| reader.fields(&empty, &keys::HEALTH_CHECK));
    let Some(fields) = fields else { unreachable!("an empty mapping is a mapping") };
    let checked =
        fields.get("protocol").and_then(|node| reader.choice(node, &PROTOCOLS[..CHECKS])).unwrap_or(protocol);
    let probe = match checked {
        TargetProtocol::Http | TargetProtocol::Https => Probe::Http {
            is_tls: checked == TargetProtocol::Https,
            version,
            path: path(fields, version, reader),
            matcher: matcher(fields, protocol, version, reader),
            user_agent: USER_AGENT,
        },
        _ => {
            for name in ["path", "matcher"] {
                if let Some(node) = fields.get(name) {
                    reader.problem(
                        node,
                        &format!("a TCP health check has no {name}"),
                        Some("add `protocol: http`"),
                    );
                }
            }
            Probe::Tcp
        }
    };
    let port = fields.get("port").filter(|node| !is_traffic_port(node));
    let port = port.and_then(|node| reader.number(node, 1..=65_535_u16));
    let (interval, timeout) = timing(fields, Duration::from_secs(120), reader);
    let mut threshold = |name: &str, default| {
        fields.get(name).and_then(|node| reader.number(node, 1..=10_u8)).unwrap_or(default)
    };
    let thresholds = Thresholds {
        healthy: threshold("healthy_threshold", 5),
        unhealthy: threshold("unhealthy_threshold", 2),
    };
    HealthCheck { probe, port, interval, timeout, thresholds }
}

fn is_traffic_port(node: &Node) -> bool {
    matches!(&node.value, crate::tree::Value::Scalar(text) if text == "traffic-port")
}

/// Interval and timeout of a health check; the timeout is the shorter.
pub(super) fn timing(
    fields: Fields<'_>,
    timeout_max: Duration,
    reader: &mut Reader<'_>,
) -> (Duration, Duration) {
    let interval = fields.get("interval").and_then(|node| reader.duration(node, INTERVAL_MIN..=300 * SECOND));
    let interval = interval.unwrap_or(30 * SECOND);
    let written = fields.get("timeout");
    let timeout = written.and_then(|node| reader.duration(node, TIMEOUT_MIN..=timeout_max));
    // The default is shorter than any interval that AWS allows; a shorter interval takes it along.
    let timeout = timeout.unwrap_or((5 * SECOND).min(interval / 2));
    if timeout >= interval {
        let remedy = "a probe must be over before the next begins";
        reader.problem(
            written.unwrap_or(fields.node()),
            "the timeout is not shorter than the interval",
            Some(remedy),
        );
    }
    (interval, timeout)
}

fn path(fields: Fields<'_>, version: ProtocolVersion, reader: &mut Reader<'_>) -> String {
    let default = match version {
        ProtocolVersion::Grpc => "/AWS.ALB/healthcheck",
        ProtocolVersion::Http1 | ProtocolVersion::Http2 => "/",
    };
    let Some(node) = fields.get("path") else { return default.to_owned() };
    let Some(text) = reader.text(node) else { return default.to_owned() };
    if !is_path(text) {
        let cause = format!("{text:?} is not a path");
        reader.problem(
            node,
            &cause,
            Some("a path starts with `/`, has no spaces, and at most 1024 characters"),
        );
    }
    text.to_owned()
}

/// Whether a text can stand in a request line.
pub(super) fn is_path(text: &str) -> bool {
    text.starts_with('/') && text.len() <= PATH_BYTES_MAX && text.bytes().all(|b| b.is_ascii_graphic())
}

fn matcher(
    fields: Fields<'_>,
    protocol: TargetProtocol,
    version: ProtocolVersion,
    reader: &mut Reader<'_>,
) -> StatusMatcher {
    let default = match (protocol, version) {
        (TargetProtocol::Http | TargetProtocol::Https, ProtocolVersion::Grpc) => {
            StatusMatcher::grpc_unimplemented()
        }
        (TargetProtocol::Http | TargetProtocol::Https, _) => StatusMatcher::ok(),
        // Network load balancers are content with redirects.
        _ => StatusMatcher::range(200, 399),
    };
    let Some(node) = fields.get("matcher") else { return default };
    let Some(text) = reader.text(node) else { return default };
    let (parsed, remedy) = match version {
        ProtocolVersion::Grpc => (StatusMatcher::parse_grpc(text), "write it like `12`, `0,12` or `0-99`"),
        ProtocolVersion::Http1 | ProtocolVersion::Http2 => {
            (StatusMatcher::parse(text), "write it like `200`, `200,202` or `200-299`")
        }
    };
    parsed.unwrap_or_else(|| {
        reader.problem(node, &format!("{text:?} names no statuses"), Some(remedy));
        default
    })
}
