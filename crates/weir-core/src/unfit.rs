//! Tasks that a group of datagrams selects and cannot use as they are, and why: for people, since nothing fails by it.

use std::collections::BTreeMap;

use crate::definition::{Definitions, ListenerKind, TargetGroup, TargetSelector};
use crate::label_rules::Tasks;
use crate::name::GroupName;
use crate::quic::ServerId;
use crate::task::{SourceKind, Task, TaskState, Transports};

/// A task that does not fit a group that selects it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unfit {
    /// The source that sees it.
    pub source: SourceKind,
    /// The task, for people.
    pub owner: String,
    /// What is wrong.
    pub error: UnfitError,
}

/// Why a task does not fit a group.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum UnfitError {
    /// It publishes no port for what the group speaks.
    #[error("the target group `{group}` needs a port for {needed}, and it publishes none that fits; {}", remedy(*.needed))]
    PortUnpublished {
        /// The group.
        group: GroupName,
        /// What the group's targets take.
        needed: Transports,
    },
    /// Connection ids of QUIC cannot name it.
    #[error(
        "as a server that connection ids name in the target group `{0}`: it has no id; give it one in `weir.quic_server_id`"
    )]
    ServerIdMissing(GroupName),
    /// Connection ids of QUIC name another target by its id.
    #[error(
        "as a server that connection ids name in the target group `{group}`: {id} is the id of {by}; give it another in `weir.quic_server_id`"
    )]
    ServerIdTaken {
        /// The group.
        group: GroupName,
        /// The id.
        id: ServerId,
        /// Who was there before.
        by: String,
    },
}

impl UnfitError {
    /// The group that is not fitted: a task is told of one thing in each.
    fn group(&self) -> &GroupName {
        match self {
            Self::PortUnpublished { group, .. }
            | Self::ServerIdMissing(group)
            | Self::ServerIdTaken { group, .. } => group,
        }
    }
}

/// What to do about a port that is not there.
fn remedy(needed: Transports) -> &'static str {
    if needed == Transports::BOTH {
        "publish one for both at one host port, like `-p 53:53/tcp -p 53:53/udp`"
    } else {
        "publish one, like `-p 127.0.0.1::53/udp`, or name a published one in `weir.port`"
    }
}

/// Every such task, in the order of groups and selectors. Groups that take no datagrams are not looked at.
pub fn unfit(definitions: &Definitions, tasks: &Tasks) -> Vec<Unfit> {
    let groups = definitions.target_groups.iter().filter(|group| group.protocol.has_udp());
    let mut unfit: Vec<Unfit> = groups.flat_map(|group| of_groups(&[group], tasks)).collect();
    // Ids are unique in all groups together that a listener forwards to.
    for groups in together(definitions) {
        for found in of_groups(&groups, tasks) {
            let is_same = |known: &Unfit| {
                (known.source, &known.owner, known.error.group())
                    == (found.source, &found.owner, found.error.group())
            };
            if !unfit.iter().any(is_same) {
                unfit.push(found);
            }
        }
    }
    unfit
}

/// The groups of each listener of QUIC.
fn together(definitions: &Definitions) -> impl Iterator<Item = Vec<&TargetGroup>> {
    let listeners = definitions.load_balancers.iter().flat_map(|load_balancer| &load_balancer.listeners);
    let networks = listeners.filter_map(|listener| match &listener.kind {
        ListenerKind::Network(network) if network.protocol.has_quic() => Some(network),
        _ => None,
    });
    let group = |name: &GroupName| definitions.target_groups.iter().find(|group| group.name == *name);
    networks.map(move |network| network.forward.groups.iter().filter_map(|(name, _)| group(name)).collect())
}

/// The tasks that do not fit one of these groups, which have their servers' ids in common.
fn of_groups(groups: &[&TargetGroup], tasks: &Tasks) -> Vec<Unfit> {
    let mut servers: BTreeMap<ServerId, String> = BTreeMap::new();
    for selector in groups.iter().flat_map(|group| &group.targets) {
        if let TargetSelector::Address { addr, server_id: Some(id), .. } = selector {
            servers.entry(*id).or_insert_with(|| addr.to_string());
        }
    }
    groups.iter().flat_map(|group| of_group(group, tasks, &mut servers)).collect()
}

/// The tasks that do not fit one group. Those whose ids are their own join `servers`.
fn of_group(group: &TargetGroup, tasks: &Tasks, servers: &mut BTreeMap<ServerId, String>) -> Vec<Unfit> {
    let needed = group.protocol.transports();
    let mut unfit = Vec::new();
    for (source, task) in selected(group, tasks) {
        let why = if task.task.port(task.container_port, needed).is_none() {
            Some(UnfitError::PortUnpublished { group: group.name.clone(), needed })
        } else if !group.protocol.has_quic() {
            None
        } else if let Some(id) = task.task.labels.server_id {
            match servers.get(&id) {
                // It may be a target of several groups.
                Some(by) if *by == task.task.provenance.origin => None,
                Some(by) => Some(UnfitError::ServerIdTaken { group: group.name.clone(), id, by: by.clone() }),
                None => {
                    servers.insert(id, task.task.provenance.origin.clone());
                    None
                }
            }
        } else {
            Some(UnfitError::ServerIdMissing(group.name.clone()))
        };
        let owner = || task.task.provenance.origin.clone();
        unfit.extend(why.map(|error| Unfit { source, owner: owner(), error }));
    }
    unfit
}

/// A task, and the port that its selector asks for.
struct Selected<'t> {
    task: &'t Task,
    container_port: Option<u16>,
}

/// The tasks that a group selects or that name it, each once. Those that are leaving make room for others: they are no news.
fn selected<'t>(group: &TargetGroup, tasks: &'t Tasks) -> Vec<(SourceKind, Selected<'t>)> {
    let all = tasks.iter().flat_map(|(source, tasks)| tasks.iter().map(|task| (*source, &**task)));
    let staying = all.filter(|(_, task)| task.state != TaskState::Stopping);
    let chosen = staying.filter_map(|(source, task)| {
        let port = group.targets.iter().find_map(|selector| match selector {
            TargetSelector::Tasks(selector) if selector.source == source && selector.selects(task) => {
                Some(selector.container_port)
            }
            _ => None,
        });
        let container_port = port.or_else(|| task.names(&group.name).then_some(None))?;
        Some((source, Selected { task, container_port }))
    });
    chosen.collect()
}

#[cfg(test)]
mod tests;
