//! What the ECS API answers, as far as weir reads it. All of it is optional: null is as good as absent.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::Deserialize;
use serde_json::Value;

use super::ports::Binding;

/// The answer to `ListTasks`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ListedTasks {
    pub(super) task_arns: Vec<String>,
    pub(super) next_token: Option<String>,
}

/// The answer to `DescribeTasks`. Tasks are read one by one, so that one with a mistake is left out alone.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct DescribedTasks {
    pub(super) tasks: Vec<Value>,
    pub(super) failures: Vec<Failure>,
}

/// What could not be described.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Failure {
    pub(super) arn: String,
}

/// A task.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct TaskDocument {
    pub(super) task_arn: String,
    pub(super) cluster_arn: String,
    pub(super) task_definition_arn: String,
    pub(super) container_instance_arn: Option<String>,
    pub(super) group: Option<String>,
    pub(super) last_status: String,
    pub(super) desired_status: String,
    pub(super) stopped_reason: Option<String>,
    /// Seconds since 1970, or a text.
    pub(super) started_at: Value,
    /// Grows with every change of the task.
    pub(super) version: i64,
    pub(super) containers: Vec<ContainerDocument>,
    pub(super) attachments: Vec<Attachment>,
    pub(super) tags: Vec<Tag>,
}

/// A container of a task.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ContainerDocument {
    pub(super) name: String,
    pub(super) runtime_id: Option<String>,
    pub(super) last_status: String,
    pub(super) health_status: String,
    pub(super) network_bindings: Vec<Binding>,
    pub(super) network_interfaces: Vec<Interface>,
}

/// A container's network interface.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Interface {
    pub(super) private_ipv4_address: Option<String>,
    pub(super) ipv6_address: Option<String>,
}

/// What is attached to a task.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Attachment {
    pub(super) details: Vec<Pair>,
}

/// An attribute, or a detail of an attachment.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Pair {
    pub(super) name: String,
    pub(super) value: String,
}

/// A tag.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Tag {
    pub(super) key: String,
    pub(super) value: String,
}

/// The answer to `DescribeContainerInstances`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct DescribedInstances {
    pub(super) container_instances: Vec<InstanceDocument>,
}

/// A container instance. Whether its agent is connected is not read: its tasks run on when it is not.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct InstanceDocument {
    pub(super) container_instance_arn: String,
    pub(super) ec2_instance_id: Option<String>,
    pub(super) attributes: Vec<Pair>,
}

/// The answer to `DescribeTaskDefinition`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct DescribedDefinition {
    pub(super) task_definition: DefinitionDocument,
}

/// A revision of a task definition: it never changes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct DefinitionDocument {
    pub(super) network_mode: Option<String>,
    pub(super) container_definitions: Vec<ContainerDefinition>,
}

/// A container in a task definition.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct ContainerDefinition {
    pub(super) name: String,
    pub(super) port_mappings: Vec<Binding>,
    pub(super) docker_labels: BTreeMap<String, String>,
}

impl ContainerDocument {
    /// The address of its own network interface, IPv4 first; `None` in bridge and host mode.
    pub(super) fn own_address(&self) -> Option<IpAddr> {
        let parsed = |of: fn(&Interface) -> &Option<String>| {
            self.network_interfaces.iter().find_map(|interface| of(interface).as_ref()?.parse().ok())
        };
        parsed(|i| &i.private_ipv4_address).or_else(|| parsed(|i| &i.ipv6_address))
    }
}

/// The private address among what is attached, IPv4 first.
pub(super) fn attached_address(attachments: &[Attachment]) -> Option<IpAddr> {
    let detail = |name: &str| {
        let mut details = attachments.iter().flat_map(|attachment| &attachment.details);
        details.find(|detail| detail.name == name)?.value.parse().ok()
    };
    detail("privateIPv4Address").or_else(|| detail("privateIPv6Address"))
}
