//! What is asked for tasks of Amazon ECS.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::url::HttpUrl;

/// Where tasks of Amazon ECS are learned of, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EcsSource {
    /// Who is asked.
    pub from: EcsFrom,
    /// Time between an answer and the next question, 100 ms to 1 h.
    pub interval: Duration,
}

/// Who is asked for tasks of Amazon ECS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EcsFrom {
    /// The ECS API, for the tasks of a cluster.
    Api {
        /// Whose API.
        aws: Aws,
        /// The cluster's name or ARN.
        cluster: String,
        /// The services whose tasks are followed; empty follows every task of the cluster.
        services: Vec<String>,
        /// Addresses of container instances, by EC2 instance id, container instance id or ARN.
        instance_addresses: BTreeMap<String, IpAddr>,
    },
    /// AWS Cloud Map, for the instances of a service.
    CloudMap {
        /// Whose API.
        aws: Aws,
        /// The namespace's name.
        namespace: String,
        /// The service's name.
        service: String,
    },
    /// The ECS agent of one container instance, without credentials.
    Introspection {
        /// The agent: host and port.
        agent: HttpUrl,
        /// The container instance's address, for tasks in bridge and host mode.
        address: IpAddr,
    },
}

/// Whose API is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Aws {
    /// The region that requests are signed for, such as `eu-central-1`.
    pub region: String,
    /// Where the API answers; `None` asks AWS's own endpoint of the region.
    pub endpoint: Option<HttpUrl>,
}

impl EcsFrom {
    /// Whether requests are signed, so that credentials are needed.
    pub fn needs_credentials(&self) -> bool {
        !matches!(self, Self::Introspection { .. })
    }
}
