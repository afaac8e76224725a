//! Rules that tasks ask for by their labels, added to the definitions that somebody wrote.
//!
//! What the file says wins over a label, the older label over the newer: a task whose labels fit nowhere is left out
//! of what labels make, and disturbs nobody. A synchronous function of definitions and tasks.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use crate::automatic;
use crate::definition::{Definitions, ListenerKind};
use crate::name::GroupName;
use crate::rule::{Action, Forward, LabelRule, Priority, Rule};
use crate::task::{Provenance, SourceKind, Task, TaskState, Transports};

/// What each source sees.
pub type Tasks = BTreeMap<SourceKind, Vec<Arc<Task>>>;

/// What is to be reconciled.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labelled {
    /// The definitions as written, with the rules and groups that labels ask for.
    pub definitions: Arc<Definitions>,
    /// The tasks, each with the target group that its labels put it into, and no other.
    pub tasks: Tasks,
    /// Tasks whose labels are left out, in the order of their seniority.
    pub quarantined: Vec<Quarantined>,
}

/// A task whose labels are left out. What the configuration itself selects it for, it still serves.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Quarantined {
    /// The source that sees it.
    pub source: SourceKind,
    /// The task, for people.
    pub owner: String,
    /// What is wrong.
    pub error: LabelRuleError,
}

/// Why a rule cannot be made of a task's labels.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum LabelRuleError {
    /// The configured group of that name takes other tasks.
    #[error(
        "the target group `{0}` is configured and does not select it; add it to the group's `targets`, or label it `weir.target_group={0}`"
    )]
    GroupExcludes(GroupName),
    /// The configured group of that name does not speak HTTP.
    #[error(
        "the target group `{0}` does not speak HTTP, which an application listener needs; name another with `weir.target_group`"
    )]
    GroupProtocol(GroupName),
    /// Labels of another service have made a group of that name.
    #[error("the target group `{group}` is made by labels of {by}; name another with `weir.target_group`")]
    GroupTaken {
        /// The group.
        group: GroupName,
        /// Who was there before.
        by: String,
    },
    /// Its service cannot name a target group.
    #[error("its service cannot name a target group; name one with `weir.target_group`")]
    GroupUnnamed,
    /// The load balancer has several application listeners.
    #[error(
        "the load balancer `{asked}` has several application listeners; name one of {known} in `weir.listener`"
    )]
    ListenerAmbiguous {
        /// As written.
        asked: String,
        /// Its listeners.
        known: String,
    },
    /// There is no application listener of that name.
    #[error("there is no application listener `{asked}`; name one of {known} in `weir.listener`")]
    ListenerUnknown {
        /// As written.
        asked: String,
        /// Every application listener.
        known: String,
    },
    /// It publishes no port that weir could send requests to.
    #[error("it publishes no TCP port that fits; publish one, or name a published one in `weir.port`")]
    PortUnpublished,
    /// Another rule of the listener has that priority.
    #[error(
        "a rule of {by} has priority {priority} at {listener}, with other conditions or another target group; choose another `weir.priority`"
    )]
    PriorityTaken {
        /// The priority.
        priority: Priority,
        /// The listener.
        listener: String,
        /// Whose rule it is.
        by: String,
    },
}

/// Adds to what is `written` the rules and groups that labels of `tasks` ask for.
///
/// `departed` are tasks that were there a moment ago: what they asked for stays where nobody else wants the place, so
/// that a request that arrives while a service's only task is replaced waits for the next one.
pub fn add(written: &Arc<Definitions>, mut tasks: Tasks, departed: &[(SourceKind, Arc<Task>)]) -> Labelled {
    let asks = |task: &Task| task.labels.enable && task.labels.rule.is_some();
    if departed.is_empty() && !tasks.values().flatten().any(|task| asks(task)) {
        return Labelled { definitions: written.clone(), tasks, quarantined: Vec::new() };
    }
    let mut additions = Additions { definitions: (**written).clone(), groups: BTreeMap::new(), written };
    let mut quarantined = Vec::new();
    let mut claims: Vec<(SourceKind, &mut Task)> = tasks
        .iter_mut()
        .flat_map(|(source, tasks)| tasks.iter_mut().map(|task| (*source, task)))
        .filter(|(_, task)| asks(task))
        .map(|(source, task)| (source, Arc::make_mut(task)))
        .collect();
    claims.sort_by_key(|(_, task)| seniority(task));
    for (source, task) in claims {
        match additions.admit(source, task) {
            Ok(group) => task.labels.target_group = group,
            Err(error) => {
                task.labels.target_group = None;
                // One that is leaving has made room for its successor, which is no mistake.
                if task.state != TaskState::Stopping {
                    quarantined.push(Quarantined { source, owner: task.provenance.origin.clone(), error });
                }
            }
        }
    }
    for (source, task) in departed {
        // Whoever is there has the right of way.
        let _ = additions.admit(*source, task);
    }
    Labelled { definitions: Arc::new(additions.definitions), tasks, quarantined }
}

/// Who comes first where two cannot both have what they ask for: the older one, but who is leaving last of all.
fn seniority(task: &Task) -> impl Ord + use<> {
    // Times are written with as many digits as they need; without the `Z` they sort as text.
    let started = task.id.as_ref().map(|id| id.generation.trim_end_matches('Z').to_owned());
    let id = task.id.as_ref().map(|id| id.id.clone());
    (task.state == TaskState::Stopping, started, id, task.name.clone())
}

/// Who a group that labels have made belongs to: a service, or whoever names it in `weir.target_group`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Owner {
    Label,
    Service { source: SourceKind, service: String, project: Option<String> },
}

struct Additions<'d> {
    written: &'d Definitions,
    definitions: Definitions,
    /// The groups that labels have made, with whose they are.
    groups: BTreeMap<GroupName, (Owner, String)>,
}

impl Additions<'_> {
    /// Adds what one task asks for; the group that its labels put it into, if any.
    fn admit(&mut self, source: SourceKind, task: &Task) -> Result<Option<GroupName>, LabelRuleError> {
        let rule = task.labels.rule.as_ref().expect("only tasks with a rule are asked");
        if task.port(None, Transports::TCP).is_none() {
            return Err(LabelRuleError::PortUnpublished);
        }
        let (load_balancer, listener) = self.listener(rule)?;
        let (group, owner) = group_of(source, task)?;
        let origin = origin(task);
        self.check_group(&group, &owner, source, task)?;
        let name = format!(
            "{}:{}",
            rule.load_balancer,
            self.definitions.load_balancers[load_balancer].listeners[listener].bind.port()
        );
        let provenance = Arc::new(Provenance { source: source.as_str(), origin: origin.clone() });
        let wanted = Rule {
            priority: rule.priority,
            conditions: rule.conditions.clone(),
            action: Action::Forward(Forward::to(group.clone())),
            transforms: None,
            provenance: Some(provenance),
        };
        let kind = &mut self.definitions.load_balancers[load_balancer].listeners[listener].kind;
        let ListenerKind::Application { rules, .. } = kind else {
            unreachable!("only application listeners are found")
        };
        match rules.binary_search_by_key(&rule.priority, |rule| rule.priority) {
            Ok(at) if rules[at].is_same_label_rule(&wanted) => {}
            Ok(at) => {
                let by = rules[at].provenance.as_ref();
                let by = by.map_or_else(|| "the configuration".to_owned(), |by| by.origin.clone());
                return Err(LabelRuleError::PriorityTaken { priority: rule.priority, listener: name, by });
            }
            Err(at) => rules.insert(at, wanted),
        }
        let is_written = self.written.target_groups.iter().any(|written| written.name == group);
        if is_written {
            return Ok(task.labels.target_group.clone());
        }
        if let Entry::Vacant(entry) = self.groups.entry(group.clone()) {
            entry.insert((owner, origin));
            // Its targets are the tasks that are put into it one by one.
            self.definitions.target_groups.push(automatic::target_group(group.clone(), Vec::new()));
        }
        Ok(Some(group))
    }

    /// Where the listener is that a rule names.
    fn listener(&self, rule: &LabelRule) -> Result<(usize, usize), LabelRuleError> {
        let mut known = Vec::new();
        let mut found = Vec::new();
        for (at, load_balancer) in self.definitions.load_balancers.iter().enumerate() {
            for (nth, listener) in load_balancer.listeners.iter().enumerate() {
                if !matches!(listener.kind, ListenerKind::Application { .. }) {
                    continue;
                }
                let port = listener.bind.port();
                let name = format!("{}:{port}", load_balancer.name);
                if load_balancer.name == rule.load_balancer && rule.port.is_none_or(|asked| asked == port) {
                    found.push((at, nth, name.clone()));
                }
                known.push(name);
            }
        }
        let asked = rule.listener();
        match found.as_slice() {
            [(load_balancer, listener, _)] => Ok((*load_balancer, *listener)),
            [] if known.is_empty() => {
                Err(LabelRuleError::ListenerUnknown { asked, known: "none".to_owned() })
            }
            [] => Err(LabelRuleError::ListenerUnknown { asked, known: known.join(", ") }),
            several => {
                let known: Vec<&str> = several.iter().map(|(_, _, name)| name.as_str()).collect();
                Err(LabelRuleError::ListenerAmbiguous { asked, known: known.join(", ") })
            }
        }
    }

    /// Whether a task may use a group: one that is written and takes it, or one that labels make for it.
    fn check_group(
        &self,
        name: &GroupName,
        owner: &Owner,
        source: SourceKind,
        task: &Task,
    ) -> Result<(), LabelRuleError> {
        if let Some(written) = self.written.target_groups.iter().find(|written| written.name == *name) {
            if !written.protocol.is_http() {
                return Err(LabelRuleError::GroupProtocol(name.clone()));
            }
            return match owner {
                Owner::Service { .. } if !written.selects(source, task) => {
                    Err(LabelRuleError::GroupExcludes(name.clone()))
                }
                _ => Ok(()),
            };
        }
        match self.groups.get(name) {
            Some((by, origin)) if by != owner => {
                Err(LabelRuleError::GroupTaken { group: name.clone(), by: origin.clone() })
            }
            _ => Ok(()),
        }
    }
}

/// The group that a task's rule forwards to: the one that its label names, else that of its service.
fn group_of(source: SourceKind, task: &Task) -> Result<(GroupName, Owner), LabelRuleError> {
    if let Some(group) = &task.labels.target_group {
        return Ok((group.clone(), Owner::Label));
    }
    let service = task.service.clone().ok_or(LabelRuleError::GroupUnnamed)?;
    let group = GroupName::parse(&service).map_err(|_| LabelRuleError::GroupUnnamed)?;
    Ok((group, Owner::Service { source, service, project: task.project.clone() }))
}

/// Whose labels a rule is made of. A service, not a task, so that the rule is the same while its tasks are replaced.
fn origin(task: &Task) -> String {
    match (&task.service, &task.project) {
        (Some(service), Some(project)) => format!("labels of service {service} in project {project}"),
        (Some(service), None) => format!("labels of service {service}"),
        (None, _) => format!("labels of {}", task.provenance.origin),
    }
}

#[cfg(test)]
mod tests;
