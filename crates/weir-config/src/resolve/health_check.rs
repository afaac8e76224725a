//! Health checks of target groups.

use std::time::Duration;

use weir_core::definition::{ProtocolVersion, TargetProtocol};
use weir_core::health::{HealthCheck, Probe, StatusMatcher, Thresholds};

use super::target_group::PROTOCOLS;
use crate::keys;
use crate::read::{Fields, Reader};
use crate::tree::Node;

const SECOND: Duration = Duration::from_secs(1);

/// AWS's ranges begin at 5 s and 2 s. differs: shorter ones are allowed, for labs and tests.
const INTERVAL_MIN: Duration = Duration::from_millis(100);
const TIMEOUT_MIN: Duration = Duration::from_millis(50);

/// Longest path of a health check, in bytes.
const PATH_BYTES_MAX: usize = 1024;

/// How many protocols of targets, from the first on, health checks may speak.
const CHECKS: usize = 3;

const USER_AGENT: &str = "ELB-HealthChecker/2.0";

/// Reads a group's `health_check`; without one it is as AWS's.
pub(super) fn read(
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
            Some("a path starts with `/`, has no spaces and no `#`, and at most 1024 characters"),
        );
    }
    text.to_owned()
}

/// Whether a text can stand in a request line.
pub(super) fn is_path(text: &str) -> bool {
    // What follows a `#` is never sent.
    let may_be_sent = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
    text.starts_with('/') && text.len() <= PATH_BYTES_MAX && text.bytes().all(may_be_sent)
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
