//! Tasks that a group of datagrams selects and cannot use as they are, and why: for people, since nothing fails by it.

use std::collections::BTreeMap;

use crate::definition::{Definitions, TargetGroup, TargetSelector};
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
    groups.flat_map(|group| of_group(group, tasks)).collect()
}

fn of_group(group: &TargetGroup, tasks: &Tasks) -> Vec<Unfit> {
    let needed = group.protocol.transports();
    let mut servers: BTreeMap<ServerId, String> = BTreeMap::new();
    for selector in &group.targets {
        if let TargetSelector::Address { addr, server_id: Some(id), .. } = selector {
            servers.entry(*id).or_insert_with(|| addr.to_string());
        }
    }
    let mut unfit = Vec::new();
    for (source, task) in selected(group, tasks) {
        let why = if task.task.port(task.container_port, needed).is_none() {
            Some(UnfitError::PortUnpublished { group: group.name.clone(), needed })
        } else if !group.protocol.has_quic() {
            None
        } else if let Some(id) = task.task.labels.server_id {
            match servers.get(&id) {
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
