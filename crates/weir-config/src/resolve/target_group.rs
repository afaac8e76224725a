//! Target groups.

use std::time::Duration;

use weir_core::balance::Draws;
use weir_core::comparison::Comparison;
use weir_core::definition::{Algorithm, ProtocolVersion, TargetGroup, TargetProtocol, TargetSelector};
use weir_core::name::GroupName;
use weir_core::tls::TargetTls;

use super::{
    Groups, Named, comparison, ejection, flows, group_health, hashing, health_check, limits, list,
    load_probe, stickiness, target,
};
use crate::config::Discovery;
use crate::keys;
use crate::read::{Fields, Reader};
use crate::tree::Node;

const SECOND: Duration = Duration::from_secs(1);

/// AWS's default.
const DEREGISTRATION_DELAY: Duration = Duration::from_secs(300);

/// Ours, for groups that follow tasks: long enough for a new container to start.
const HOLD_OF_DISCOVERED: Duration = Duration::from_secs(10);

/// What targets, and checks of them, may speak.
pub(super) const PROTOCOLS: [(&str, TargetProtocol); 8] = [
    ("http", TargetProtocol::Http),
    ("https", TargetProtocol::Https),
    ("tcp", TargetProtocol::Tcp),
    ("quic", TargetProtocol::Quic),
    ("tcp_quic", TargetProtocol::TcpQuic),
    ("tcp_udp", TargetProtocol::TcpUdp),
    ("tls", TargetProtocol::Tls),
    ("udp", TargetProtocol::Udp),
];

/// What is known of a group before the rest of it is read.
struct Known {
    name: Option<GroupName>,
    /// `None` when there is a mistake in it: the rest is read as HTTP for its mistakes.
    protocol: Option<TargetProtocol>,
    version: ProtocolVersion,
    /// `None` where several are compared, which need not all heed every setting.
    algorithm: Option<Algorithm>,
    comparison: Option<Comparison>,
    targets: Vec<TargetSelector>,
}

impl Known {
    fn spoken(&self) -> TargetProtocol {
        self.protocol.unwrap_or(TargetProtocol::Http)
    }

    /// The algorithm that decides whether a setting fits: of two that are compared the one of which that `is` so, if one of them.
    fn picked_by(&self, is: impl Fn(Algorithm) -> bool) -> Option<Algorithm> {
        let other = self.comparison.map(|comparison| comparison.algorithm);
        other.filter(|other| is(*other)).or(self.algorithm)
    }
}

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
    let spoken = protocol.unwrap_or(TargetProtocol::Http);
    let version = protocol_version(fields, spoken, reader);
    let algorithm = algorithm(fields, spoken, reader);
    let comparison = comparison::read(fields, spoken, algorithm, reader);
    let stickiness = fields.get("stickiness");
    let stickiness = stickiness
        .filter(|_| spoken.is_http())
        .and_then(|node| stickiness::of_group(node, algorithm, reader));
    if let Some(name) = &name {
        let kind = stickiness.as_ref().map(|stickiness| stickiness.kind.clone());
        let crosses_zones = fields.get("cross_zone").and_then(|node| reader.boolean(node));
        let named = Named { node, protocol, stickiness: kind, crosses_zones, is_used: false };
        groups.named.insert(name.clone(), named);
    }
    let targets: Vec<TargetSelector> =
        list(fields, "targets").iter().filter_map(|node| target::read(node, discovery, reader)).collect();
    check_addresses(fields, &targets, reader);
    check_server_ids(fields, spoken, &targets, reader);
    let known = Known { name, protocol, version, algorithm: Some(algorithm), comparison, targets };
    let group = settings(fields, known, reader);
    groups.resolved.extend(group.map(|group| TargetGroup { stickiness, ..group }));
}

/// Reads the settings of a group of HTTP that several algorithms pick from, and that is told nothing else.
pub(super) fn settings_of_compared(node: &Node, name: &str, reader: &mut Reader<'_>) -> Option<TargetGroup> {
    let fields = reader.fields(node, &keys::COMPARED)?;
    let known = Known {
        name: GroupName::parse(name).ok(),
        protocol: Some(TargetProtocol::Http),
        version: ProtocolVersion::default(),
        algorithm: None,
        comparison: None,
        targets: Vec::new(),
    };
    settings(fields, known, reader)
}

/// Reads the rest of a group; `None` when it has no name, or nobody knows what it speaks.
fn settings(fields: Fields<'_>, known: Known, reader: &mut Reader<'_>) -> Option<TargetGroup> {
    let spoken = known.spoken();
    let algorithm = known.algorithm;
    let flows = flows::read(fields, spoken, algorithm.unwrap_or(Algorithm::RoundRobin), reader);
    let hashing = hashing::read(fields, spoken, known.picked_by(Algorithm::hashes), reader);
    let is_prequal = |algorithm: Algorithm| algorithm == Algorithm::Prequal;
    let load_probe = load_probe::read(fields, spoken, known.picked_by(is_prequal), reader);
    let deregistration_delay = fields.get("deregistration_delay");
    let deregistration_delay =
        deregistration_delay.and_then(|node| reader.duration(node, Duration::ZERO..=3600 * SECOND));
    let is_other = |algorithm: Algorithm| algorithm != Algorithm::RoundRobin;
    let slow_start = slow_start(fields, known.picked_by(is_other), reader);
    let follows_tasks = known.targets.iter().any(|target| !matches!(target, TargetSelector::Address { .. }));
    let hold = match fields.get("hold") {
        Some(node) => reader.duration(node, Duration::ZERO..=60 * SECOND),
        None => Some(if follows_tasks { HOLD_OF_DISCOVERED } else { Duration::ZERO }),
    };
    let thresholds = fields.get("target_group_health").and_then(|node| group_health::read(node, reader));
    let is_random = |algorithm: Algorithm| algorithm == Algorithm::WeightedRandom;
    let mitigates_anomalies = mitigates_anomalies(fields, known.picked_by(is_random), reader);
    let concurrency = fields.get("concurrency_limits").and_then(|node| limits::concurrency(node, reader));
    let ejection = fields.get("outlier_ejection").and_then(|node| ejection::read(node, reader));
    let retries = fields.get("retry_budget").and_then(|node| limits::retry_budget(node, reader));
    let health_check = health_check::read(fields, spoken, known.version, reader);
    Some(TargetGroup {
        name: known.name?,
        protocol: known.protocol?,
        protocol_version: known.version,
        algorithm: algorithm.unwrap_or(Algorithm::RoundRobin),
        comparison: known.comparison,
        hashing,
        load_probe,
        deregistration_delay: deregistration_delay.unwrap_or(DEREGISTRATION_DELAY),
        hold: hold.unwrap_or_default(),
        slow_start,
        stickiness: None,
        thresholds: thresholds.unwrap_or_default(),
        mitigates_anomalies,
        concurrency: concurrency.unwrap_or_default(),
        retries: retries.unwrap_or_default(),
        ejection: ejection.or(flows::passive_checks(spoken, &flows)),
        health_check,
        targets: known.targets,
        flows,
        target_tls: TargetTls::default(),
        zone: None,
    })
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
    let default = if protocol.is_http() { Algorithm::RoundRobin } else { Algorithm::FlowHash };
    let node = fields.get("load_balancing_algorithm");
    node.and_then(|node| reader.choice(node, algorithms(protocol))).unwrap_or(default)
}

/// What groups whose targets speak that may pick by.
pub(super) fn algorithms(protocol: TargetProtocol) -> &'static [(&'static str, Algorithm)] {
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
    if protocol.is_http() { &ANY[..10] } else { &ANY }
}

fn slow_start(fields: Fields<'_>, algorithm: Option<Algorithm>, reader: &mut Reader<'_>) -> Duration {
    let Some(node) = fields.get("slow_start") else { return Duration::ZERO };
    let slow_start = reader.duration(node, Duration::ZERO..=900 * SECOND).unwrap_or_default();
    if !slow_start.is_zero() && slow_start < 30 * SECOND {
        reader.problem(node, "slow start is 0s (off) or 30s to 900s", Some("write 30s"));
    }
    if let Some(algorithm) = algorithm.filter(|algorithm| *algorithm != Algorithm::RoundRobin)
        && !slow_start.is_zero()
    {
        let cause = format!("slow start goes with round_robin, not with {}", algorithm.as_str());
        reader.problem(node, &cause, Some("take it out, or use round_robin"));
    }
    slow_start
}

/// Whether targets that fail far more often than their peers get less.
fn mitigates_anomalies(fields: Fields<'_>, algorithm: Option<Algorithm>, reader: &mut Reader<'_>) -> bool {
    let Some(node) = fields.get("load_balancing_anomaly_mitigation") else { return false };
    let is_on = reader.choice(node, &[("on", true), ("off", false)]).unwrap_or(false);
    if let Some(algorithm) = algorithm.filter(|algorithm| *algorithm != Algorithm::WeightedRandom)
        && is_on
    {
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
