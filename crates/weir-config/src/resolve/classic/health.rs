//! Health checks of classic load balancers.

use std::time::Duration;

use weir_core::definition::ProtocolVersion;
use weir_core::health::{HealthCheck, Probe, StatusMatcher, Thresholds};

use crate::keys;
use crate::read::Reader;
use crate::resolve::health_check;
use crate::tree::Node;

const USER_AGENT: &str = "ELB-HealthChecker/1.0";

/// Reads a classic load balancer's `health_check`.
pub(super) fn read(node: &Node, reader: &mut Reader<'_>) -> Option<HealthCheck> {
    let fields = reader.fields(node, &keys::CLASSIC_HEALTH_CHECK)?;
    let target = fields.require(reader, "target", "\"HTTP:8081/healthz\"");
    let target = target.and_then(|node| health_check_target(node, reader));
    let (interval, timeout) = health_check::timing(fields, Duration::from_secs(60), reader);
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

/// Reads `HTTP:8081/healthz`, `HTTPS:8443/healthz`, `SSL:8443` or `TCP:8081`.
fn health_check_target(node: &Node, reader: &mut Reader<'_>) -> Option<(Probe, u16)> {
    const REMEDY: Option<&str> =
        Some("write it like \"HTTP:8081/healthz\", \"HTTPS:8443/healthz\", \"SSL:8443\" or \"TCP:8081\"");
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
        ("HTTP" | "HTTPS", Some(port), Some(path)) if health_check::is_path(path) => {
            let probe = Probe::Http {
                is_tls: protocol == "HTTPS",
                version: ProtocolVersion::Http1,
                path: path.to_owned(),
                matcher: StatusMatcher::ok(),
                user_agent: USER_AGENT,
            };
            Some((probe, port))
        }
        ("TCP", Some(port), None) => Some((Probe::Tcp, port)),
        ("SSL", Some(port), None) => Some((Probe::Tls, port)),
        _ => {
            reader.problem(node, &wrong, REMEDY);
            None
        }
    }
}
