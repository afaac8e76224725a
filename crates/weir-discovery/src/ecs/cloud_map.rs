//! The instances of a service in AWS Cloud Map, in which ECS registers tasks.
//!
//! ECS takes a task's instance out *before* it stops the task, so one that is gone drains, as if it were told to stop.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;
use weir_core::address::TargetAddr;
use weir_core::task::{Provenance, SourceKind, Task, TaskId, TaskPort, TaskState, Transports};

use super::api::Api;
use super::{Answer, Asker};
use crate::elements::Mistake;
use crate::labels;

/// Most instances of one answer, which is AWS's limit.
const INSTANCES_MAX: u16 = 1_000;

/// How long an instance that is gone is said to be stopping: the longest deregistration delay.
const STOPPING_FOR: Duration = Duration::from_secs(3_600);

/// A service that is asked for.
#[derive(Debug)]
pub(super) struct CloudMap {
    api: Api,
    namespace: String,
    service: String,
    departures: Departures,
}

impl CloudMap {
    pub(super) fn new(api: Api, namespace: String, service: String) -> Self {
        Self { api, namespace, service, departures: Departures::default() }
    }
}

impl Asker for CloudMap {
    async fn ask(&mut self) -> Result<Answer, String> {
        // Whatever health Cloud Map thinks that they have: weir probes them itself.
        let request = json!({
            "NamespaceName": self.namespace,
            "ServiceName": self.service,
            "MaxResults": INSTANCES_MAX,
            "HealthStatus": "ALL",
        });
        let discovered: Discovered =
            self.api.call("DiscoverInstances", request).await.map_err(|error| error.to_string())?;
        Ok(read(&discovered, &self.service))
    }

    fn add_departed(&mut self, tasks: Vec<Task>, now: Instant) -> Vec<Task> {
        self.departures.add(tasks, now)
    }
}

/// The answer to `DiscoverInstances`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Discovered {
    instances: Vec<Instance>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Instance {
    instance_id: String,
    attributes: BTreeMap<String, String>,
}

/// What an answer says, sorted by instance.
pub(super) fn read(discovered: &Discovered, service: &str) -> Answer {
    let mut tasks = BTreeMap::new();
    let mut mistakes = BTreeSet::new();
    for instance in &discovered.instances {
        match instance.task(service) {
            Ok(task) => {
                tasks.insert(&instance.instance_id, task);
            }
            Err(problem) => {
                mistakes.insert(Mistake { owner: format!("instance {}", instance.instance_id), problem });
            }
        }
    }
    Answer { tasks: tasks.into_values().collect(), mistakes }
}

impl Instance {
    fn task(&self, service: &str) -> Result<Task, String> {
        let attribute = |name: &str| self.attributes.get(name).filter(|value| !value.is_empty());
        let address = attribute("AWS_INSTANCE_IPV4").or_else(|| attribute("AWS_INSTANCE_IPV6"));
        let address = address.ok_or("has no AWS_INSTANCE_IPV4; weir needs an address")?;
        let ip: IpAddr =
            address.parse().map_err(|_| format!("has {address:?}, which is not an IP address"))?;
        let port = attribute("AWS_INSTANCE_PORT").ok_or(
            "has no AWS_INSTANCE_PORT; name the containerName and containerPort in the service's registry",
        )?;
        let number: u16 = port.parse().map_err(|_| format!("has {port:?}, which is not a port"))?;
        let addr = SocketAddr::new(ip, number);
        let read = labels::read(&self.attributes).map_err(|error| error.to_string())?;
        let service = attribute("ECS_SERVICE_NAME").map_or(service, String::as_str);
        Ok(Task {
            id: Some(TaskId { id: self.instance_id.as_str().into(), generation: addr.to_string().into() }),
            name: self.instance_id.clone(),
            service: Some(read.service.unwrap_or_else(|| service.to_owned())),
            project: read.project.or_else(|| attribute("ECS_CLUSTER_NAME").cloned()),
            ports: vec![TaskPort {
                container_port: number,
                transports: Transports::BOTH,
                addr: TargetAddr(addr),
            }],
            labels: read.task,
            state: TaskState::Running,
            provenance: Arc::new(Provenance {
                source: SourceKind::Ecs.as_str(),
                origin: format!("instance {} of {service}", self.instance_id),
            }),
            cause: "registered in Cloud Map".to_owned(),
        })
    }
}

/// Instances that were there, and those that have left.
#[derive(Debug, Default)]
pub(super) struct Departures {
    there: BTreeMap<TaskId, Task>,
    gone: BTreeMap<TaskId, (Instant, Task)>,
}

impl Departures {
    /// The tasks that are there, and after them those that have left a while ago, as stopping.
    pub(super) fn add(&mut self, tasks: Vec<Task>, now: Instant) -> Vec<Task> {
        let identified = |task: &Task| Some((task.id.clone()?, task.clone()));
        let there = tasks.iter().filter_map(identified).collect();
        for (id, mut task) in std::mem::replace(&mut self.there, there) {
            task.state = TaskState::Stopping;
            "no longer in Cloud Map".clone_into(&mut task.cause);
            self.gone.insert(id, (now, task));
        }
        let Self { there, gone } = self;
        gone.retain(|id, (since, _)| !there.contains_key(id) && now.duration_since(*since) < STOPPING_FOR);
        tasks.into_iter().chain(gone.values().map(|(_, task)| task.clone())).collect()
    }
}
