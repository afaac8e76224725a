//! Which targets a group should have: its selectors against what the sources see.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::address::TargetAddr;
use crate::definition::{TargetGroup, TargetSelector, TaskSelector};
use crate::target::{TargetId, Weight};
use crate::task::{Provenance, SourceKind, Task, TaskState};

/// A target that a group should have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) id: TargetId,
    pub(super) addr: TargetAddr,
    pub(super) weight: Weight,
    pub(super) state: TaskState,
    pub(super) health_check_path: Option<Arc<str>>,
    pub(super) provenance: Arc<Provenance>,
    pub(super) cause: String,
}

/// Every target that `group` should have, in the order of its selectors; of two with one identity the first.
pub(super) fn wanted(group: &TargetGroup, tasks: &BTreeMap<SourceKind, Vec<Task>>) -> Vec<Wanted> {
    let mut wanted: Vec<Wanted> = Vec::new();
    let mut add = |new: Wanted| {
        if wanted.iter().all(|w| w.id != new.id) {
            wanted.push(new);
        }
    };
    for selector in &group.targets {
        match selector {
            TargetSelector::Address { addr, weight } => add(fixed(group, *addr, *weight)),
            TargetSelector::Lookup { lookup, weight } => {
                let service = lookup.to_string();
                tasks
                    .get(&SourceKind::Dns)
                    .into_iter()
                    .flatten()
                    .filter(|task| task.service.as_ref() == Some(&service))
                    .filter_map(|task| of_task(task, None, *weight))
                    .for_each(&mut add);
            }
            TargetSelector::Tasks(selector) => tasks
                .get(&selector.source)
                .into_iter()
                .flatten()
                .filter(|task| selects(selector, task))
                .filter_map(|task| of_task(task, selector.container_port, selector.weight))
                .for_each(&mut add),
        }
    }
    // Tasks that name this group in a label of their own.
    tasks
        .values()
        .flatten()
        .filter(|task| task.labels.enable && task.labels.target_group.as_ref() == Some(&group.name))
        .filter_map(|task| of_task(task, None, Weight::ONE))
        .for_each(add);
    wanted
}

fn selects(selector: &TaskSelector, task: &Task) -> bool {
    let fits = |wanted: &Option<String>, has: &Option<String>| wanted.is_none() || wanted == has;
    task.labels.enable && fits(&selector.service, &task.service) && fits(&selector.project, &task.project)
}

/// The target that a task becomes; `None` while the port is not published.
fn of_task(task: &Task, container_port: Option<u16>, weight: Weight) -> Option<Wanted> {
    let port = task.port(container_port)?;
    let id = match &task.id {
        Some(id) => TargetId::Task { task: id.clone(), container_port: port.container_port },
        None => TargetId::Address(port.addr),
    };
    Some(Wanted {
        id,
        addr: port.addr,
        weight: task.labels.weight.unwrap_or(weight),
        state: task.state,
        health_check_path: task.labels.health_check_path.as_deref().map(Arc::from),
        provenance: task.provenance.clone(),
        cause: format!("{} {}", task.provenance.origin, task.cause),
    })
}

fn fixed(group: &TargetGroup, addr: TargetAddr, weight: Weight) -> Wanted {
    Wanted {
        id: TargetId::Address(addr),
        addr,
        weight,
        state: TaskState::Running,
        health_check_path: None,
        provenance: Arc::new(Provenance {
            source: "configuration",
            origin: format!("target group {}", group.name),
        }),
        cause: "configured".into(),
    }
}
