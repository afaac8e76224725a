//! What is known of a cluster: its tasks as they were described last, and what they refer to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use weir_core::task::{Task, TaskPort, TaskState};

use super::cluster::{ADDRESS_ATTRIBUTE, read_task};
use super::documents::{
    ContainerDefinition, ContainerDocument, DefinitionDocument, DescribedTasks, TaskDocument,
    attached_address,
};
use super::ports::{Binding, ports};
use super::task::{Container, last, state};
use crate::elements::Mistake;

/// What is known of a cluster.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Tasks that are or will be running or stopping, by ARN.
    tasks: BTreeMap<String, TaskDocument>,
    /// Task definitions, by ARN.
    pub(super) definitions: BTreeMap<String, DefinitionDocument>,
    /// Container instances, by ARN.
    pub(super) instances: BTreeMap<String, Instance>,
    /// Why EC2 did not say the addresses of instances, if it was asked.
    pub(super) ec2_problem: Option<String>,
}

/// A container instance.
#[derive(Clone, Debug)]
pub(super) struct Instance {
    /// What people call it: the EC2 instance id, else its own.
    pub(super) id: String,
    /// `None` while nothing names it.
    pub(super) address: Option<IpAddr>,
}

impl Known {
    /// The ARNs of the tasks that are known.
    pub(super) fn arns(&self) -> impl Iterator<Item = String> {
        self.tasks.keys().cloned()
    }

    /// Takes in an answer: of two descriptions of a task the one of the higher version counts, whichever came first.
    /// A task that is neither described nor missing stays as it was.
    pub(super) fn take_in(&mut self, described: DescribedTasks) -> BTreeSet<Mistake> {
        let mut mistakes = BTreeSet::new();
        for failure in described.failures {
            self.tasks.remove(&failure.arn);
        }
        for task in described.tasks {
            match read_task(task) {
                Ok(task) => {
                    let known = self.tasks.get(&task.task_arn);
                    if known.is_none_or(|known| known.version <= task.version) {
                        self.tasks.insert(task.task_arn.clone(), task);
                    }
                }
                Err(mistake) => {
                    self.tasks.remove(&mistake.owner);
                    mistakes.insert(mistake);
                }
            }
        }
        // Stopped tasks linger in answers for an hour; nothing more is expected of them.
        self.tasks
            .retain(|_, task| !matches!(task.last_status.as_str(), "DEPROVISIONING" | "STOPPED" | "DELETED"));
        let Self { tasks, definitions, instances, .. } = self;
        let used: BTreeSet<&str> = tasks.values().map(|task| task.task_definition_arn.as_str()).collect();
        definitions.retain(|arn, _| used.contains(arn.as_str()));
        let used: BTreeSet<&str> =
            tasks.values().filter_map(|task| task.container_instance_arn.as_deref()).collect();
        instances.retain(|arn, _| used.contains(arn.as_str()));
        mistakes
    }

    /// Task definitions that tasks refer to and that are not known.
    pub(super) fn unknown_definitions(&self) -> BTreeSet<String> {
        let arns = self.tasks.values().map(|task| &task.task_definition_arn);
        arns.filter(|arn| !arn.is_empty() && !self.definitions.contains_key(*arn)).cloned().collect()
    }

    /// Container instances that tasks run on and whose address is not known.
    pub(super) fn unknown_instances(&self) -> Vec<String> {
        let arns = self.tasks.values().filter(|task| own_address(task).is_none());
        let arns: BTreeSet<&String> = arns.filter_map(|task| task.container_instance_arn.as_ref()).collect();
        let is_unknown =
            |arn: &&&String| self.instances.get(**arn).is_none_or(|instance| instance.address.is_none());
        arns.iter().filter(is_unknown).map(|arn| (*arn).clone()).collect()
    }

    /// What weir follows, sorted by ARN, and what is left out for a mistake.
    pub(super) fn tasks(&self, cluster: &str, mistakes: &mut BTreeSet<Mistake>) -> Vec<Task> {
        let mut tasks = Vec::new();
        for document in self.tasks.values() {
            let Some(state) = state(&document.last_status, &document.desired_status) else { continue };
            for container in &document.containers {
                match self.task(document, container, state, cluster) {
                    Ok(task) => tasks.extend(task),
                    Err(mistake) => {
                        mistakes.insert(mistake);
                    }
                }
            }
        }
        tasks
    }

    /// One container of a task; `None` when it has ended or has no port that is known.
    fn task(
        &self,
        document: &TaskDocument,
        container: &ContainerDocument,
        state: TaskState,
        cluster: &str,
    ) -> Result<Option<Task>, Mistake> {
        if container.last_status == "STOPPED" {
            return Ok(None);
        }
        let ports = self.ports(document, container)?;
        if ports.is_empty() {
            return Ok(None);
        }
        let owner = format!("task {}, container {}", last(&document.task_arn), container.name);
        let started_at = document.started_at.to_string();
        let definition = self.definition(document, container);
        let mut labels = definition.map(|d| d.docker_labels.clone()).unwrap_or_default();
        labels.extend(document.tags.iter().map(|tag| (tag.key.clone(), tag.value.clone())));
        let (state, cause) = match (state, container.health_status.as_str()) {
            (TaskState::Stopping, _) => {
                let reason = document.stopped_reason.as_deref().map(|reason| format!(": {reason}"));
                (state, format!("desired status {}{}", document.desired_status, reason.unwrap_or_default()))
            }
            (_, "UNHEALTHY") => (TaskState::Failing, "health status UNHEALTHY".to_owned()),
            _ => (state, "RUNNING".to_owned()),
        };
        let task = Container {
            arn: &document.task_arn,
            name: &container.name,
            start: container.runtime_id.as_deref().unwrap_or(&started_at),
            service: service(document),
            cluster: Some(if document.cluster_arn.is_empty() {
                cluster
            } else {
                last(&document.cluster_arn)
            }),
            state,
            cause,
            ports,
            labels,
        };
        task.task().map(Some).map_err(|error| Mistake { owner, problem: error.to_string() })
    }

    fn definition(
        &self,
        document: &TaskDocument,
        container: &ContainerDocument,
    ) -> Option<&ContainerDefinition> {
        let definition = self.definitions.get(&document.task_definition_arn)?;
        definition.container_definitions.iter().find(|definition| definition.name == container.name)
    }

    fn ports(
        &self,
        document: &TaskDocument,
        container: &ContainerDocument,
    ) -> Result<Vec<TaskPort>, Mistake> {
        let mistake = |problem| Mistake {
            owner: format!("task {}, container {}", last(&document.task_arn), container.name),
            problem,
        };
        let own = container.own_address().or_else(|| own_address(document));
        let bindings = self.bindings(document, container, own.is_some());
        if bindings.is_empty() {
            return Ok(Vec::new());
        }
        if let Some(address) = own {
            return ports(&bindings, address).map_err(mistake);
        }
        let Some(arn) = &document.container_instance_arn else { return Ok(Vec::new()) };
        match self.instances.get(arn) {
            Some(Instance { address: Some(address), .. }) => ports(&bindings, *address).map_err(mistake),
            instance => {
                let id = instance.map_or(last(arn), |instance| instance.id.as_str());
                let ec2 =
                    self.ec2_problem.as_ref().map(|problem| format!(" ({problem})")).unwrap_or_default();
                Err(Mistake {
                    owner: format!("container instance {id}"),
                    problem: format!(
                        "has no address that weir knows{ec2}; write `instance_addresses: {{ {id}: 10.0.0.1 }}`, or give \
                         it the attribute {ADDRESS_ATTRIBUTE}"
                    ),
                })
            }
        }
    }

    /// What a container's ports are bound to: what it says, else what its definition says where that is the same.
    fn bindings(
        &self,
        document: &TaskDocument,
        container: &ContainerDocument,
        has_own: bool,
    ) -> Vec<Binding> {
        if !container.network_bindings.is_empty() {
            return container.network_bindings.clone();
        }
        let definition = self.definitions.get(&document.task_definition_arn);
        let is_host = definition.is_some_and(|d| d.network_mode.as_deref() == Some("host"));
        // In bridge mode the port of the definition is not the one that was given.
        if !has_own && !is_host {
            return Vec::new();
        }
        let mappings = self.definition(document, container).map_or(&[][..], |d| &d.port_mappings);
        mappings.iter().map(Binding::at_container_port).collect()
    }
}

/// The address of a task's own network interface.
fn own_address(document: &TaskDocument) -> Option<IpAddr> {
    let of_container = document.containers.iter().find_map(ContainerDocument::own_address);
    of_container.or_else(|| attached_address(&document.attachments))
}

/// The service of a task; of a task that no service started, the family of its definition.
fn service(document: &TaskDocument) -> &str {
    let service = document.group.as_deref().and_then(|group| group.strip_prefix("service:"));
    service.unwrap_or_else(|| {
        let family = last(&document.task_definition_arn);
        family.split(':').next().unwrap_or(family)
    })
}
