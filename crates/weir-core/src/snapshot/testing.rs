//! Groups and members for tests of this crate.

use super::*;
use crate::address::TargetAddr;
use crate::anomaly::Opinion;
use crate::definition::{Algorithm, TargetProtocol};
use crate::health::{HealthCheck, Probe, Thresholds};
use crate::name::GroupName;
use crate::target::{Target, TargetId, Weight};
use crate::task::Provenance;
use crate::time::Timestamp;

/// Healthy members, one per `(port, weight)`.
pub(crate) fn members(ports_and_weights: &[(u16, u16)]) -> Vec<Member> {
    ports_and_weights
        .iter()
        .map(|&(port, weight)| {
            let addr = TargetAddr(([127, 0, 0, 1], port).into());
            Member {
                target: Arc::new(Target::new(
                    TargetSerial(u64::from(port)),
                    addr,
                    TargetId::Address(addr),
                    GroupName::parse("g").unwrap(),
                )),
                weight: Weight::new(weight).unwrap(),
                health: Health::Healthy,
                since: Timestamp::default(),
                cause: "test".into(),
                zone: None,
                server_id: None,
                health_check_path: None,
                keeps_flows_until: None,
                opinion: Opinion::default(),
                provenance: Arc::new(Provenance { source: "test", origin: String::new() }),
            }
        })
        .collect()
}

/// A group of the given members with plain settings.
pub(crate) fn group(algorithm: Algorithm, members: Vec<Member>) -> Group {
    Group::build(GroupIndex(0), Arc::new(settings("g", algorithm)), members, true, None)
}

pub(crate) fn settings(name: &str, algorithm: Algorithm) -> TargetGroup {
    TargetGroup {
        name: GroupName::parse(name).unwrap(),
        protocol: TargetProtocol::Http,
        protocol_version: crate::definition::ProtocolVersion::Http1,
        algorithm,
        comparison: None,
        hashing: None,
        load_probe: None,
        deregistration_delay: Duration::from_secs(30),
        flows: crate::definition::FlowSettings::default(),
        target_tls: crate::tls::TargetTls::default(),
        zone: None,
        hold: Duration::ZERO,
        slow_start: Duration::ZERO,
        stickiness: None,
        thresholds: crate::thresholds::Thresholds::default(),
        mitigates_anomalies: false,
        concurrency: crate::limits::ConcurrencyLimits::default(),
        retries: crate::limits::RetryBudget::default(),
        ejection: None,
        health_check: HealthCheck {
            probe: Probe::Tcp,
            port: None,
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(5),
            thresholds: Thresholds { healthy: 5, unhealthy: 2 },
        },
        targets: Vec::new(),
    }
}
