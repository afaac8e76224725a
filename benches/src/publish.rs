//! What a change costs the control thread: one task of many is replaced, up to the next snapshot.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use weir_core::address::TargetAddr;
use weir_core::definition::{
    Algorithm, Definitions, ProtocolVersion, TargetGroup, TargetProtocol, TargetSelector, TaskSelector,
};
use weir_core::health::{HealthCheck, Probe, Thresholds};
use weir_core::name::GroupName;
use weir_core::reconcile::{Event, State, reconcile};
use weir_core::target::Weight;
use weir_core::task::{
    Provenance, SourceKind, Task, TaskId, TaskLabels, TaskPort, TaskSet, TaskState, Transports,
};
use weir_core::time::Timestamp;

use crate::load::now;
use crate::say;

/// Changes that are measured.
const CHANGES: usize = 1_000;

/// Groups, and targets in each.
const SHAPES: [(usize, usize); 3] = [(1, 10), (1, 1_000), (1_000, 10)];

/// Measures every algorithm at every shape.
pub(crate) fn measure() -> anyhow::Result<()> {
    say("one target replaced: µs of the control thread, reconcile alone");
    say(&format!("{:28}{:>8}{:>10}{:>10}{:>10}", "", "groups", "targets", "median", "p99"));
    for algorithm in [
        Algorithm::RoundRobin,
        Algorithm::LeastOutstandingRequests,
        Algorithm::WeightedRandom,
        Algorithm::FlowHash,
    ] {
        for (groups, targets) in SHAPES {
            let times = replace_one_by_one(algorithm, groups, targets)?;
            let micros = |part: usize| times[times.len() * part / 100].as_nanos() as f64 / 1e3;
            say(&format!(
                "{:28}{groups:>8}{targets:>10}{:>10.1}{:>10.1}",
                algorithm.as_str(),
                micros(50),
                micros(99)
            ));
        }
    }
    Ok(())
}

/// How long each change took, sorted.
fn replace_one_by_one(algorithm: Algorithm, groups: usize, targets: usize) -> anyhow::Result<Vec<Duration>> {
    let mut state = State::new();
    let target_groups = (0..groups).map(|number| group(number, algorithm)).collect::<Result<_, _>>()?;
    let definitions = Definitions { target_groups, ..Definitions::default() };
    let moment = Timestamp::from_nanos(1);
    reconcile(&mut state, Event::Definitions(Arc::new(definitions)), moment);
    let mut tasks: Vec<Arc<Task>> =
        (0..groups * targets).map(|number| Arc::new(task(number / targets, number))).collect();
    reconcile(&mut state, Event::Tasks(TaskSet { source: SourceKind::Docker, tasks: tasks.clone() }), moment);
    let mut times = Vec::with_capacity(CHANGES);
    for change in 0..CHANGES {
        // A prime step visits groups in no particular order.
        let at = (change * 7_919) % tasks.len();
        tasks[at] = Arc::new(task(at / targets, groups * targets + change));
        let set = TaskSet { source: SourceKind::Docker, tasks: tasks.clone() };
        let began = now();
        let reconciled = reconcile(&mut state, Event::Tasks(set), moment);
        times.push(now() - began);
        let snapshot = reconciled.snapshot.context("a change that nobody sees")?;
        // Another thread's work.
        snapshot.groups().flat_map(|group| group.unbuilt()).for_each(|table| table.build());
    }
    times.sort_unstable();
    Ok(times)
}

fn service(group: usize) -> String {
    format!("service-{group}")
}

fn group(number: usize, algorithm: Algorithm) -> anyhow::Result<TargetGroup> {
    let selector = TaskSelector {
        source: SourceKind::Docker,
        service: Some(service(number)),
        project: None,
        container_port: None,
        weight: Weight::ONE,
    };
    Ok(TargetGroup {
        name: GroupName::parse(&format!("group-{number}"))?,
        protocol: TargetProtocol::Http,
        protocol_version: ProtocolVersion::Http1,
        algorithm,
        comparison: None,
        hashing: None,
        load_probe: None,
        deregistration_delay: Duration::from_secs(300),
        flows: weir_core::definition::FlowSettings::default(),
        target_tls: weir_core::tls::TargetTls::default(),
        zone: None,
        hold: Duration::from_secs(10),
        slow_start: Duration::ZERO,
        stickiness: None,
        thresholds: weir_core::thresholds::Thresholds::default(),
        mitigates_anomalies: false,
        concurrency: weir_core::limits::ConcurrencyLimits::default(),
        retries: weir_core::limits::RetryBudget::default(),
        ejection: None,
        health_check: HealthCheck {
            probe: Probe::Tcp,
            port: None,
            interval: Duration::from_secs(30),
            timeout: Duration::from_secs(5),
            thresholds: Thresholds { healthy: 5, unhealthy: 2 },
        },
        targets: vec![TargetSelector::Tasks(selector)],
    })
}

fn task(group: usize, number: usize) -> Task {
    let [_, high, middle, low] = (number as u32).to_be_bytes();
    Task {
        id: Some(TaskId { id: format!("{number:064x}").into(), generation: "2026-11-25T00:00:00Z".into() }),
        name: format!("shop-{number}"),
        service: Some(service(group)),
        project: Some("shop".to_owned()),
        ports: vec![TaskPort {
            container_port: 8080,
            transports: Transports::TCP,
            addr: TargetAddr(([127, high, middle, low], 8080).into()),
        }],
        labels: TaskLabels::default(),
        state: TaskState::Running,
        provenance: Arc::new(Provenance { source: "docker", origin: format!("container shop-{number}") }),
        cause: "start".to_owned(),
    }
}
