//! The tasks of one container instance, by its ECS agent's introspection endpoint.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde::Deserialize;
use serde_json::Value;
use weir_core::task::Task;
use weir_core::url::HttpUrl;

use super::ports::{Binding, ports};
use super::task::{Container, last, state};
use super::{Answer, Asker, api};
use crate::elements::Mistake;
use weir_fetch as client;

/// Where an agent lists its tasks.
const TASKS: &str = "/v1/tasks";

/// Largest answer, in bytes: an instance has a few hundred tasks at most, and those that have stopped linger.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;

/// An agent that is asked.
#[derive(Debug)]
pub(super) struct Agent {
    url: HttpUrl,
    /// Of the container instance.
    address: IpAddr,
}

impl Agent {
    pub(super) fn new(agent: &HttpUrl, address: IpAddr) -> Self {
        Self { url: agent.with_path(TASKS), address }
    }
}

impl Asker for Agent {
    async fn ask(&mut self) -> Result<Answer, String> {
        const OK: u16 = 200;
        let answer = client::get(&self.url, &[]).await.map_err(|error| format!("{}: {error}", self.url))?;
        if answer.status != OK {
            return Err(format!(
                "{}: answered with status {} where 200 was expected",
                self.url, answer.status
            ));
        }
        let body = answer.whole(ANSWER_BYTES_MAX).await.map_err(|error| format!("{}: {error}", self.url))?;
        read(&body, self.address).map_err(|problem| format!("{}: {problem}", self.url))
    }
}

/// The agent's answer.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Tasks {
    /// Required: an answer without it is somebody else's. Read one by one.
    tasks: Vec<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct TaskDocument {
    arn: String,
    desired_status: String,
    known_status: String,
    family: String,
    containers: Vec<ContainerDocument>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct ContainerDocument {
    docker_id: String,
    name: String,
    ports: Vec<Binding>,
    networks: Vec<Network>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Network {
    #[serde(rename = "NetworkMode")]
    mode: String,
    #[serde(rename = "IPv4Addresses")]
    ipv4_addresses: Vec<String>,
    #[serde(rename = "IPv6Addresses")]
    ipv6_addresses: Vec<String>,
}

/// What an answer says.
///
/// # Errors
/// It is not an agent's.
pub(super) fn read(body: &[u8], address: IpAddr) -> Result<Answer, String> {
    let Tasks { tasks } = api::parse(body)
        .map_err(|error| format!("answered what is not an ECS agent's list of tasks: {error}"))?;
    let mut answer = Answer { tasks: Vec::new(), mistakes: BTreeSet::new() };
    // Sorted by ARN, so that the same tasks in another order are the same set.
    let mut documents = BTreeMap::new();
    for task in tasks {
        let owner = task.get("Arn").and_then(Value::as_str).map_or("a task without an ARN", last).to_owned();
        match serde_json::from_value::<TaskDocument>(task) {
            Ok(document) if !document.arn.is_empty() => {
                documents.entry(document.arn.clone()).or_insert(document);
            }
            Ok(_) => {
                answer.mistakes.insert(Mistake { owner, problem: "has no ARN".to_owned() });
            }
            Err(error) => {
                let problem = format!("is described in another shape: {error}");
                answer.mistakes.insert(Mistake { owner, problem });
            }
        }
    }
    for document in documents.values() {
        for container in &document.containers {
            match document.task(container, address) {
                Ok(task) => answer.tasks.extend(task),
                Err(problem) => {
                    let owner = format!("task {}, container {}", last(&document.arn), container.name);
                    answer.mistakes.insert(Mistake { owner, problem });
                }
            }
        }
    }
    Ok(answer)
}

impl TaskDocument {
    /// One container; `None` when it does not serve or has no port that is known.
    fn task(&self, container: &ContainerDocument, address: IpAddr) -> Result<Option<Task>, String> {
        let Some(state) = state(&self.known_status, &self.desired_status) else { return Ok(None) };
        let ports = ports(&container.ports, container.own_address().unwrap_or(address))?;
        if ports.is_empty() {
            return Ok(None);
        }
        let task = Container {
            arn: &self.arn,
            name: &container.name,
            start: &container.docker_id,
            // An agent knows no services.
            service: &self.family,
            cluster: cluster(&self.arn),
            state,
            cause: format!("known status {}, desired status {}", self.known_status, self.desired_status),
            ports,
            labels: BTreeMap::new(),
        };
        task.task().map(Some).map_err(|error| error.to_string())
    }
}

impl ContainerDocument {
    /// The address of its task's own network interface, IPv4 first.
    fn own_address(&self) -> Option<IpAddr> {
        let own = self.networks.iter().filter(|network| network.mode == "awsvpc");
        let addresses = own.flat_map(|network| network.ipv4_addresses.iter().chain(&network.ipv6_addresses));
        addresses.into_iter().find_map(|address| address.parse().ok())
    }
}

/// The cluster in a task's ARN; those of the old format have none.
fn cluster(arn: &str) -> Option<&str> {
    let mut parts = arn.rsplit('/');
    let (_task, cluster, resource) = (parts.next()?, parts.next()?, parts.next()?);
    resource.ends_with(":task").then_some(cluster)
}
