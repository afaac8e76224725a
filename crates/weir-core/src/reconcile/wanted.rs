//! Which targets a group should have: its selectors against what the sources see.

use std::sync::Arc;

use super::seen::Seen;
use crate::address::TargetAddr;
use crate::definition::{TargetGroup, TargetSelector};
use crate::name::GroupName;
use crate::quic::ServerId;
use crate::target::{TargetId, Weight};
use crate::task::{Provenance, SourceKind, Task, TaskState, Transports};

/// A target that a group should have.
#[derive(Clone, Debug)]
pub(super) struct Wanted<'s> {
    pub(super) id: TargetId,
    pub(super) addr: TargetAddr,
    pub(super) weight: Weight,
    pub(super) state: TaskState,
    pub(super) zone: Option<&'s str>,
    pub(super) server_id: Option<ServerId>,
    pub(super) health_check_path: Option<&'s str>,
    origin: Origin<'s>,
}

/// What asks for a target.
#[derive(Clone, Copy, Debug)]
enum Origin<'s> {
    Configuration(&'s GroupName),
    Task(&'s Task),
}

impl Wanted<'_> {
    /// Where the target comes from.
    pub(super) fn provenance(&self) -> Arc<Provenance> {
        match self.origin {
            Origin::Configuration(group) => {
                Arc::new(Provenance { source: "configuration", origin: format!("target group {group}") })
            }
            Origin::Task(task) => task.provenance.clone(),
        }
    }

    /// What brought it there, or into its present state.
    pub(super) fn cause(&self) -> String {
        match self.origin {
            Origin::Configuration(_) => "configured".to_owned(),
            Origin::Task(task) => format!("{} {}", task.provenance.origin, task.cause),
        }
    }
}

/// Every target that `group` should have, in the order of its selectors. Of two with one identity the first counts.
pub(super) fn wanted<'s>(group: &'s TargetGroup, seen: &'s Seen) -> Vec<Wanted<'s>> {
    let needed = group.protocol.transports();
    let mut wanted: Vec<Wanted<'s>> = Vec::new();
    for selector in &group.targets {
        match selector {
            TargetSelector::Address { addr, weight, zone, server_id } => {
                let place = fixed(group, *addr, *weight, zone.as_deref());
                wanted.push(Wanted { server_id: *server_id, ..place });
            }
            TargetSelector::Lookup { lookup, weight } => {
                let found = seen.of_service(SourceKind::Dns, lookup.to_string());
                wanted.extend(found.filter_map(|task| of_task(task, None, *weight, needed)));
            }
            TargetSelector::Tasks(selector) => wanted.extend(
                seen.selected(selector)
                    .filter_map(|task| of_task(task, selector.container_port, selector.weight, needed)),
            ),
        }
    }
    wanted.extend(seen.labelled(&group.name).filter_map(|task| of_task(task, None, Weight::ONE, needed)));
    wanted
}

/// Whether a task of `source` can become a target of `group`.
pub(super) fn concerns(group: &TargetGroup, source: SourceKind, task: &Task) -> bool {
    task.names(&group.name) || group.selects(source, task)
}

/// The target that a task becomes; `None` while no port that takes what is `needed` is published.
fn of_task(
    task: &Task,
    container_port: Option<u16>,
    weight: Weight,
    needed: Transports,
) -> Option<Wanted<'_>> {
    let port = task.port(container_port, needed)?;
    let id = match &task.id {
        Some(id) => TargetId::Task { task: id.clone(), container_port: port.container_port },
        None => TargetId::Address(port.addr),
    };
    Some(Wanted {
        id,
        addr: port.addr,
        weight: task.labels.weight.unwrap_or(weight),
        state: task.state,
        zone: task.labels.zone.as_deref(),
        server_id: task.labels.server_id,
        health_check_path: task.labels.health_check_path.as_deref(),
        origin: Origin::Task(task),
    })
}

fn fixed<'s>(group: &'s TargetGroup, addr: TargetAddr, weight: Weight, zone: Option<&'s str>) -> Wanted<'s> {
    Wanted {
        id: TargetId::Address(addr),
        addr,
        weight,
        state: TaskState::Running,
        zone,
        server_id: None,
        health_check_path: None,
        origin: Origin::Configuration(&group.name),
    }
}
