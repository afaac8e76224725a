//! From what a manager says of tasks, services and nodes to what weir follows.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use bollard::models::{
    EndpointPortConfig, EndpointPortConfigProtocolEnum as Protocol,
    EndpointPortConfigPublishModeEnum as PublishMode, Node, Service, Task as Document, TaskState as Doing,
};
use weir_core::task::{Provenance, SourceKind, Task, TaskId, TaskState, Transports};

use crate::docker::{STACK, in_stack};
use crate::elements::Mistake;
use crate::labels;
use crate::published::Published;

/// What is known of a Swarm besides its tasks.
#[derive(Debug)]
pub(super) struct Model {
    /// Addresses of nodes that the configuration names.
    addresses: BTreeMap<String, IpAddr>,
    /// Where the engine that is asked is reached.
    engine: IpAddr,
    /// The node of that engine.
    own: Option<String>,
    /// The network that is each node's own, as the Swarm calls it.
    host_network: Option<String>,
    services: BTreeMap<String, Service>,
    nodes: BTreeMap<String, Node>,
}

impl Model {
    pub(super) fn new(addresses: BTreeMap<String, IpAddr>, engine: IpAddr) -> Self {
        let (services, nodes) = (BTreeMap::new(), BTreeMap::new());
        Self { addresses, engine, own: None, host_network: None, services, nodes }
    }

    /// Takes in which node is asked, and the id of the nodes' own network.
    pub(super) fn introduce(&mut self, own: Option<String>, host_network: Option<String>) {
        (self.own, self.host_network) = (own, host_network);
    }

    /// Whether the services and nodes of all tasks are known.
    pub(super) fn knows_what_they_refer_to(&self, tasks: &[Document]) -> bool {
        tasks.iter().filter(|task| state(task).is_some()).all(|task| {
            task.service_id.as_ref().is_none_or(|id| self.services.contains_key(id))
                && task.node_id.as_ref().is_none_or(|id| self.nodes.contains_key(id))
        })
    }

    /// Takes in all services and nodes. One that has been removed is known for as long as a task refers to it.
    pub(super) fn refresh(&mut self, services: Vec<Service>, nodes: Vec<Node>, tasks: &[Document]) {
        let used: BTreeSet<&String> = tasks.iter().filter_map(|task| task.service_id.as_ref()).collect();
        self.services.retain(|id, _| used.contains(id));
        self.services.extend(services.into_iter().filter_map(|service| Some((service.id.clone()?, service))));
        let used: BTreeSet<&String> = tasks.iter().filter_map(|task| task.node_id.as_ref()).collect();
        self.nodes.retain(|id, _| used.contains(id));
        self.nodes.extend(nodes.into_iter().filter_map(|node| Some((node.id.clone()?, node))));
    }

    /// What weir follows, sorted by id, and what is left out for a mistake.
    pub(super) fn read(&self, documents: &[Document]) -> (Vec<Task>, BTreeSet<Mistake>) {
        let mut mistakes = BTreeSet::new();
        let mut tasks = Vec::new();
        for document in documents {
            match self.task(document) {
                Ok(task) => tasks.extend(task),
                Err(mistake) => drop(mistakes.insert(mistake)),
            }
        }
        tasks.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        (tasks, mistakes)
    }

    /// One task; `None` when it does not run, or nothing of it is reached from outside.
    fn task(&self, document: &Document) -> Result<Option<Task>, Mistake> {
        let (Some(id), Some(node), Some(service_id)) =
            (&document.id, &document.node_id, &document.service_id)
        else {
            return Ok(None);
        };
        let (Some((state, cause)), Some(service)) = (state(document), self.services.get(service_id)) else {
            return Ok(None);
        };
        let spec = service.spec.as_ref();
        let full_name = spec.and_then(|spec| spec.name.as_deref()).unwrap_or(service_id);
        let container = document.spec.as_ref().and_then(|spec| spec.container_spec.as_ref());
        let of_service = spec.and_then(|spec| spec.labels.as_ref());
        let labels = joined(of_service, container.and_then(|container| container.labels.as_ref()));
        let stack = labels.get(STACK);
        let owner = format!("service {full_name}");
        let mistake = |problem| Mistake { owner: owner.clone(), problem };
        let read = labels::read(&labels).map_err(|error| mistake(error.to_string()))?;
        if !read.task.enable {
            return Ok(None);
        }
        let numbers = self.ports(document, read.task.port);
        if numbers.is_empty() {
            return match ingress_ports(service).next() {
                Some(port) => Err(mistake(format!(
                    "publishes port {port} through the ingress network, where Swarm and not weir says which task gets a \
                     connection: publish it with mode=host, like `--publish mode=host,target={port}`"
                ))),
                None => Ok(None),
            };
        }
        let (node_name, address) = self.reached_at(node)?;
        let mut published = Published::default();
        for (container_port, transports, port) in numbers {
            published.add(container_port, transports, (address, port).into());
        }
        let short = id.get(..12).unwrap_or(id);
        let started = document.status.as_ref().and_then(|status| status.container_status.as_ref());
        let generation = started.and_then(|container| container.container_id.clone());
        // A task of a service on every node has no number.
        let number =
            document.slot.filter(|slot| *slot != 0).map_or(node_name.clone(), |slot| slot.to_string());
        Ok(Some(Task {
            id: Some(TaskId {
                id: id.as_str().into(),
                generation: generation.or_else(|| document.created_at.clone()).unwrap_or_default().into(),
            }),
            name: format!("{full_name}.{number}"),
            service: Some(
                read.service.unwrap_or_else(|| in_stack(full_name, stack.map(String::as_str)).to_owned()),
            ),
            project: read.project.or_else(|| stack.cloned()),
            ports: published.into_ports(),
            labels: read.task,
            state,
            provenance: Arc::new(Provenance {
                source: SourceKind::Swarm.as_str(),
                origin: format!("task {full_name}.{number} ({short}) on {node_name}"),
            }),
            cause,
        }))
    }

    /// The ports of a task in its container, what they take, and what they are on its node. Each is published once for IPv4 and
    /// once for IPv6.
    fn ports(&self, document: &Document, asked: Option<u16>) -> Vec<(u16, Transports, u16)> {
        let status = document.status.as_ref().and_then(|status| status.port_status.as_ref());
        let published = status.and_then(|status| status.ports.as_deref()).unwrap_or_default();
        let is_on_node = |port: &&EndpointPortConfig| port.publish_mode == Some(PublishMode::HOST);
        let read = |port: &EndpointPortConfig| {
            Some((number(port.target_port)?, transports(port)?, number(port.published_port)?))
        };
        let ports: Vec<_> = published.iter().filter(is_on_node).filter_map(read).collect();
        if ports.is_empty() && self.is_on_host(document) {
            // What takes the port that is named, the group says.
            return asked.map(|port| (port, Transports::BOTH, port)).into_iter().collect();
        }
        ports
    }

    /// Whether a task has its node's own network.
    fn is_on_host(&self, document: &Document) -> bool {
        let networks = document.spec.as_ref().and_then(|spec| spec.networks.as_deref()).unwrap_or_default();
        let host_network = self.host_network.as_ref();
        host_network.is_some_and(|host| networks.iter().any(|network| network.target.as_ref() == Some(host)))
    }

    /// A node's name, and where what it publishes is reached.
    fn reached_at(&self, id: &str) -> Result<(String, IpAddr), Mistake> {
        let node = self.nodes.get(id);
        let description = node.and_then(|node| node.description.as_ref());
        let name = description.and_then(|description| description.hostname.clone());
        let name = name.unwrap_or_else(|| id.to_owned());
        if let Some(address) = self.addresses.get(&name).or_else(|| self.addresses.get(id)) {
            return Ok((name, *address));
        }
        let said = node.and_then(|node| node.status.as_ref()?.addr.as_deref()?.parse::<IpAddr>().ok());
        let as_manager = || {
            let addr = node?.manager_status.as_ref()?.addr.as_deref()?;
            addr.parse::<SocketAddr>().ok().map(|addr| addr.ip())
        };
        // A manager may say of itself that it is everywhere, and a lone one that it is on loopback.
        let is_reached = |address: &IpAddr| !address.is_unspecified() && !address.is_loopback();
        let found = said.filter(is_reached).or_else(|| as_manager().filter(is_reached));
        let found = found.or_else(|| (self.own.as_deref() == Some(id)).then_some(self.engine));
        match found {
            Some(address) => Ok((name, address)),
            None => {
                let said = said.map_or("no address".to_owned(), |said| format!("the address {said}"));
                let problem = format!(
                    "has {said}, where its tasks are not reached from here; write `addresses: {{ {name}: 10.0.0.1 }}`"
                );
                Err(Mistake { owner: format!("node {name}"), problem })
            }
        }
    }
}

/// The labels of a service with those of its containers, which win.
fn joined(
    service: Option<&HashMap<String, String>>,
    container: Option<&HashMap<String, String>>,
) -> BTreeMap<String, String> {
    let all = service.into_iter().flatten().chain(container.into_iter().flatten());
    all.map(|(label, value)| (label.clone(), value.clone())).collect()
}

/// Whether a task runs, whatever it shall do.
pub(super) fn runs(document: &Document) -> bool {
    state(document).is_some()
}

/// What a task is doing and why; `None` for one that does not serve, or not yet.
///
/// Swarm says `running` only of a container that has passed its own health check, if it has one, and replaces one that
/// fails it. A node that is lost has tasks that run and shall not: others take their place.
fn state(document: &Document) -> Option<(TaskState, String)> {
    let status = document.status.as_ref()?;
    match (status.state?, document.desired_state?) {
        (Doing::RUNNING, Doing::RUNNING) => Some((TaskState::Running, "running".to_owned())),
        (Doing::RUNNING, desired @ (Doing::SHUTDOWN | Doing::REMOVE | Doing::COMPLETE)) => {
            Some((TaskState::Stopping, format!("desired state {desired}")))
        }
        _ => None,
    }
}

/// The ports that a service publishes through the ingress network.
fn ingress_ports(service: &Service) -> impl Iterator<Item = u16> {
    let published = service.endpoint.as_ref().and_then(|endpoint| endpoint.ports.as_deref());
    let is_ingress = |port: &&EndpointPortConfig| {
        transports(port).is_some() && port.publish_mode.is_none_or(|mode| mode != PublishMode::HOST)
    };
    published.unwrap_or_default().iter().filter(is_ingress).filter_map(|port| number(port.target_port))
}

fn transports(port: &EndpointPortConfig) -> Option<Transports> {
    match port.protocol.unwrap_or(Protocol::TCP) {
        Protocol::TCP | Protocol::EMPTY => Some(Transports::TCP),
        Protocol::UDP => Some(Transports::UDP),
        Protocol::SCTP => None,
    }
}

fn number(port: Option<i64>) -> Option<u16> {
    u16::try_from(port?).ok().filter(|port| *port != 0)
}
