//! The tasks of a cluster, by the ECS API.
//!
//! Every answer lists the tasks that shall run, and describes those and all that were known: a task that is told to
//! stop is no longer listed but still described, and one that is only missing from a list stays. What changes never
//! (task definitions) or hardly (addresses of container instances) is asked once.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use serde_json::{Value, json};

use super::api::{Api, ApiError, element};
use super::documents::{
    DefinitionDocument, DescribedDefinition, DescribedInstances, DescribedTasks, ListedTasks, TaskDocument,
};
use super::task::last;
use super::{Answer, Asker, model};
use crate::elements::Mistake;

/// Most ARNs of one call, which is AWS's limit.
const BATCH: usize = 100;

/// Most tasks that are followed.
pub(super) const TASKS_MAX: usize = 10_000;

/// Most pages of one list. A page may have fewer ARNs than were asked for.
const PAGES_MAX: usize = 200;

/// The attribute of a container instance that names its address.
pub(super) const ADDRESS_ATTRIBUTE: &str = "weir.address";

/// A cluster that is asked.
#[derive(Debug)]
pub(super) struct Cluster {
    api: Api,
    ec2: Api,
    /// Its name or ARN.
    name: String,
    services: Vec<String>,
    /// By EC2 instance id, container instance id or ARN.
    configured: BTreeMap<String, IpAddr>,
    known: model::Known,
}

impl Cluster {
    pub(super) fn new(
        api: Api,
        ec2: Api,
        name: String,
        services: Vec<String>,
        configured: BTreeMap<String, IpAddr>,
    ) -> Self {
        Self { api, ec2, name, services, configured, known: model::Known::default() }
    }

    /// The ARNs of all tasks that shall run; a service that is gone is a mistake of its own.
    async fn list(&self, mistakes: &mut BTreeSet<Mistake>) -> Result<BTreeSet<String>, String> {
        let mut arns = BTreeSet::new();
        if self.services.is_empty() {
            self.list_of(None, &mut arns).await.map_err(|error| error.to_string())?;
        }
        for service in &self.services {
            match self.list_of(Some(service), &mut arns).await {
                Err(error) if error.is("ServiceNotFoundException") => {
                    mistakes
                        .insert(Mistake { owner: format!("service {service}"), problem: error.to_string() });
                }
                listed => listed.map_err(|error| error.to_string())?,
            }
        }
        if arns.len() > TASKS_MAX {
            return Err(format!("lists more than {TASKS_MAX} tasks; name the `services` to follow"));
        }
        Ok(arns)
    }

    async fn list_of(&self, service: Option<&str>, arns: &mut BTreeSet<String>) -> Result<(), ApiError> {
        let mut request = json!({ "cluster": self.name, "desiredStatus": "RUNNING", "maxResults": BATCH });
        if let Some(service) = service {
            request["serviceName"] = json!(service);
        }
        for _ in 0..PAGES_MAX {
            let page: ListedTasks = self.api.call("ListTasks", request.clone()).await?;
            arns.extend(page.task_arns);
            match page.next_token.filter(|token| !token.is_empty()) {
                Some(token) => request["nextToken"] = json!(token),
                None => return Ok(()),
            }
        }
        // Half a list is none.
        Err(ApiError::Endless { action: "ListTasks", pages: PAGES_MAX })
    }

    async fn describe_tasks(
        &mut self,
        arns: &[String],
        mistakes: &mut BTreeSet<Mistake>,
    ) -> Result<(), String> {
        // Taken in only when all batches have been answered: half an answer is none.
        let mut described = DescribedTasks::default();
        for batch in arns.chunks(BATCH) {
            let request = json!({ "cluster": self.name, "tasks": batch, "include": ["TAGS"] });
            let answer: DescribedTasks =
                self.api.call("DescribeTasks", request).await.map_err(|error| error.to_string())?;
            described.tasks.extend(answer.tasks);
            described.failures.extend(answer.failures);
        }
        mistakes.extend(self.known.take_in(described));
        Ok(())
    }

    async fn describe_definitions(&mut self) -> Result<(), String> {
        for arn in self.known.unknown_definitions() {
            let request = json!({ "taskDefinition": arn });
            let described: Result<DescribedDefinition, _> =
                self.api.call("DescribeTaskDefinition", request).await;
            let definition = match described {
                Ok(described) => described.task_definition,
                // A revision that was deleted: its tasks have the ports that they say themselves.
                Err(error) if error.is("ClientException") => DefinitionDocument::default(),
                Err(error) => return Err(error.to_string()),
            };
            self.known.definitions.insert(arn, definition);
        }
        Ok(())
    }

    async fn describe_instances(&mut self) -> Result<(), String> {
        let unknown = self.known.unknown_instances();
        for batch in unknown.chunks(BATCH) {
            let request = json!({ "cluster": self.name, "containerInstances": batch });
            let answer: DescribedInstances = self
                .api
                .call("DescribeContainerInstances", request)
                .await
                .map_err(|error| error.to_string())?;
            for instance in answer.container_instances {
                let arn = instance.container_instance_arn.as_str();
                let ids = [instance.ec2_instance_id.as_deref(), Some(last(arn)), Some(arn)];
                let configured = ids.into_iter().flatten().find_map(|id| self.configured.get(id).copied());
                let attribute = || {
                    let named = instance.attributes.iter().find(|pair| pair.name == ADDRESS_ATTRIBUTE)?;
                    named.value.parse().ok()
                };
                let address = configured.or_else(attribute);
                let id = instance.ec2_instance_id.as_deref().unwrap_or(last(arn)).to_owned();
                self.known.instances.insert(arn.to_owned(), model::Instance { id, address });
            }
        }
        self.ask_ec2().await;
        Ok(())
    }

    /// Asks EC2 for the addresses of instances that nothing else names. Whoever names them all needs no permission for
    /// that, so a refusal is only told with the instances that it leaves out.
    async fn ask_ec2(&mut self) {
        self.known.ec2_problem = None;
        let is_unknown = |instance: &&model::Instance| instance.address.is_none() && is_ec2(&instance.id);
        let ids: BTreeSet<String> =
            self.known.instances.values().filter(is_unknown).map(|instance| instance.id.clone()).collect();
        let ids: Vec<String> = ids.into_iter().collect();
        for batch in ids.chunks(BATCH) {
            let values: Vec<String> =
                batch.iter().enumerate().map(|(at, id)| format!("&Filter.1.Value.{}={id}", at + 1)).collect();
            let filter = format!("Filter.1.Name=instance-id{}", values.concat());
            match self.ec2.call_form("DescribeInstances", &filter).await {
                Ok(xml) => {
                    let addresses = ec2_addresses(&xml);
                    for instance in self.known.instances.values_mut().filter(|i| i.address.is_none()) {
                        instance.address = addresses.get(instance.id.as_str()).copied();
                    }
                }
                Err(error) => self.known.ec2_problem = Some(error.to_string()),
            }
        }
    }
}

impl Asker for Cluster {
    async fn ask(&mut self) -> Result<Answer, String> {
        let mut mistakes = BTreeSet::new();
        let mut arns = self.list(&mut mistakes).await?;
        arns.extend(self.known.arns());
        let arns: Vec<String> = arns.into_iter().collect();
        self.describe_tasks(&arns, &mut mistakes).await?;
        self.describe_definitions().await?;
        self.describe_instances().await?;
        let tasks = self.known.tasks(last(&self.name), &mut mistakes);
        Ok(Answer { tasks, mistakes })
    }
}

/// Whether this is the id of an EC2 instance; those of ECS Anywhere begin with `mi-`.
fn is_ec2(id: &str) -> bool {
    id.strip_prefix("i-").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_alphanumeric()))
}

/// The primary private addresses in an answer to `DescribeInstances`, by instance id.
///
/// An instance's id is followed by its own address before those of its network interfaces.
pub(super) fn ec2_addresses(xml: &str) -> BTreeMap<&str, IpAddr> {
    let instances = xml.split("<instanceId>").skip(1);
    let address =
        |instance: &'_ str| -> Option<IpAddr> { element(instance, "privateIpAddress")?.parse().ok() };
    instances.filter_map(|instance| Some((instance.split('<').next()?, address(instance)?))).collect()
}

/// One task of an answer.
///
/// # Errors
/// What is wrong with it, and whose mistake it is.
pub(super) fn read_task(task: Value) -> Result<TaskDocument, Mistake> {
    let owner = task.get("taskArn").and_then(Value::as_str).unwrap_or("a task without an ARN").to_owned();
    let mistake = |problem: String| Mistake { owner: owner.clone(), problem };
    let document: TaskDocument = serde_json::from_value(task)
        .map_err(|error| mistake(format!("is described in another shape: {error}")))?;
    if document.task_arn.is_empty() {
        return Err(mistake("has no ARN".to_owned()));
    }
    Ok(document)
}
