//! Tasks: what discovery sees running, before it becomes a target in any group.

use std::fmt;
use std::sync::Arc;

use crate::address::TargetAddr;
use crate::name::GroupName;
use crate::quic::ServerId;
use crate::rule::LabelRule;
use crate::target::Weight;

/// A container or task in one start generation. A restarted container keeps its id and gets another generation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId {
    /// The container or task id as its engine writes it.
    pub id: Arc<str>,
    /// What changes with every start: Docker's `State.StartedAt`, for example.
    pub generation: Arc<str>,
}

impl TaskId {
    /// The first twelve characters of the id, as engines print it; of an id that is a path, its last part's.
    pub fn short(&self) -> &str {
        let last = self.id.rsplit('/').next().unwrap_or(&self.id);
        last.get(..12).unwrap_or(last)
    }
}

/// Where a task or target was learned of, for people: every change can be traced to what caused it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Provenance {
    /// The source's name: `configuration`, or that of a [`SourceKind`].
    pub source: &'static str,
    /// What in that source it is: `container shop-api-1 (3f2a91c07b1d)`, `targets.d/db.json`.
    pub origin: String,
}

impl fmt::Display for Provenance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.source, self.origin)
    }
}

/// Which discovery source a task was seen by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SourceKind {
    /// Names in the domain name system.
    Dns,
    /// A Docker engine.
    Docker,
    /// Tasks of Amazon ECS.
    Ecs,
    /// The keys below a prefix of an etcd cluster.
    Etcd,
    /// A watched file or folder in Prometheus's `file_sd` shape.
    File,
    /// A URL that answers in Prometheus's `http_sd` shape.
    Http,
    /// The tasks of a Docker Swarm.
    Swarm,
}

impl SourceKind {
    /// Every source, by name.
    pub const ALL: [Self; 7] =
        [Self::Dns, Self::Docker, Self::Ecs, Self::Etcd, Self::File, Self::Http, Self::Swarm];

    /// The name used in configuration, logs and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Docker => "docker",
            Self::Ecs => "ecs",
            Self::Etcd => "etcd",
            Self::File => "file",
            Self::Http => "http",
            Self::Swarm => "swarm",
        }
    }

    /// What a task's disappearance from this source's complete set means.
    pub fn departure(self) -> Departure {
        match self {
            // The engine, agent or manager no longer has it: its sockets are gone already.
            Self::Docker | Self::Ecs | Self::Swarm => Departure::Vanished,
            // Somebody took the line, key or record out; the process may well be running and have work to finish.
            Self::Dns | Self::Etcd | Self::File | Self::Http => Departure::Deregistered,
        }
    }
}

/// What it means that a task is no longer in its source's complete set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// It left in order: it drains.
    Deregistered,
    /// It is gone: it is removed at once.
    Vanished,
}

/// What a task is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TaskState {
    /// Running, but its engine's own health check fails: it finishes what it has, and may come back.
    Failing,
    /// Frozen by its engine: it accepts connections and answers nothing.
    Paused,
    /// Running, and nothing says that it will end.
    Running,
    /// Running, and its engine's own health check has not passed yet.
    Starting,
    /// Running, but told to stop: it finishes what it has and gets nothing new.
    Stopping,
}

/// What a port takes, a group needs of one, or a listener listens for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Transports {
    /// Connections of TCP.
    pub tcp: bool,
    /// Datagrams of UDP.
    pub udp: bool,
}

/// One published port of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TaskPort {
    /// The port inside the container; for a source without containers, the target's own port.
    pub container_port: u16,
    /// What it takes; both where its source knows only an address.
    pub transports: Transports,
    /// Where that port is reached from here.
    pub addr: TargetAddr,
}

/// One running container, task or file entry, as a discovery source reports it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Its identity; `None` when the source knows only addresses.
    pub id: Option<TaskId>,
    /// Its name, for people: the container name, or the address.
    pub name: String,
    /// The Compose or Swarm service, `weir.service`, or the `service` label of a file entry.
    pub service: Option<String>,
    /// The Compose project or Swarm stack.
    pub project: Option<String>,
    /// Published ports, sorted by container port.
    pub ports: Vec<TaskPort>,
    /// What its `weir.*` labels ask for.
    pub labels: TaskLabels,
    /// What it is doing.
    pub state: TaskState,
    /// Where it was seen.
    pub provenance: Arc<Provenance>,
    /// The event that brought it into its present state: `start`, `kill SIGTERM`, `listed`.
    pub cause: String,
}

/// The `weir.*` labels of a task, checked by the source that read them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskLabels {
    /// `weir.enable`: whether weir may serve this task at all. Default true.
    pub enable: bool,
    /// `weir.target_group`: the group it joins without being selected by the configuration.
    pub target_group: Option<GroupName>,
    /// `weir.port`: which container port to use when several are published.
    pub port: Option<u16>,
    /// `weir.weight`: its weight in every group.
    pub weight: Option<Weight>,
    /// `weir.zone`: the zone that it is in.
    pub zone: Option<String>,
    /// `weir.quic_server_id`: the id by which connection ids of QUIC name it.
    pub server_id: Option<ServerId>,
    /// `weir.health_check.path`: the path of its HTTP probes, in place of the group's.
    pub health_check_path: Option<String>,
    /// `weir.listener` with `weir.priority`, `weir.host` and `weir.path`: the rule that leads to it.
    pub rule: Option<LabelRule>,
}

impl Default for TaskLabels {
    fn default() -> Self {
        Self {
            enable: true,
            target_group: None,
            port: None,
            weight: None,
            zone: None,
            server_id: None,
            health_check_path: None,
            rule: None,
        }
    }
}

impl Task {
    /// Whether a label of its own names `group`.
    pub fn names(&self, group: &GroupName) -> bool {
        self.labels.enable && self.labels.target_group.as_ref() == Some(group)
    }

    /// The port that serves traffic: the one asked for, else the label's, else the only or lowest one, of those that take
    /// everything that is `needed`.
    pub fn port(&self, wanted: Option<u16>, needed: Transports) -> Option<&TaskPort> {
        let mut fitting = self.ports.iter().filter(|port| port.transports.include(needed));
        match wanted.or(self.labels.port) {
            Some(port) => fitting.find(|p| p.container_port == port),
            None => fitting.next(),
        }
    }
}

impl Transports {
    /// None.
    pub const NONE: Self = Self { tcp: false, udp: false };
    /// TCP and UDP, at one port.
    pub const BOTH: Self = Self { tcp: true, udp: true };
    /// TCP alone.
    pub const TCP: Self = Self { tcp: true, udp: false };
    /// UDP alone.
    pub const UDP: Self = Self { tcp: false, udp: true };

    /// Those of these that are not among `others`.
    #[must_use]
    pub fn without(self, others: Self) -> Self {
        Self { tcp: self.tcp && !others.tcp, udp: self.udp && !others.udp }
    }

    /// Whether these are `needed` ones, and maybe more.
    pub fn include(self, needed: Self) -> bool {
        (self.tcp || !needed.tcp) && (self.udp || !needed.udp)
    }

    /// What takes one of two takes.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self { tcp: self.tcp || other.tcp, udp: self.udp || other.udp }
    }
}

/// `tcp`, `udp`, `tcp+udp`: also how weir writes down a port for itself.
impl fmt::Display for Transports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.tcp, self.udp) {
            (true, true) => "tcp+udp",
            (_, true) => "udp",
            (_, false) => "tcp",
        })
    }
}

/// The complete set of tasks that one source sees at one moment.
///
/// Always whole, never a delta: the reconciler compares it with the set before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskSet {
    /// The source that saw them.
    pub source: SourceKind,
    /// All of them, in an order of the source's own. A task that has not changed is the same `Arc` as in the set
    /// before, which makes the difference between two sets cheap to find.
    pub tasks: Vec<Arc<Task>>,
}

/// What is left of two sets of one source without their common beginning and end.
pub fn differing<'t>(before: &'t [Arc<Task>], after: &'t [Arc<Task>]) -> (&'t [Arc<Task>], &'t [Arc<Task>]) {
    let start = before.iter().zip(after).take_while(|(a, b)| Arc::ptr_eq(a, b)).count();
    let (before, after) = (&before[start..], &after[start..]);
    let end = before.iter().rev().zip(after.iter().rev()).take_while(|(a, b)| Arc::ptr_eq(a, b)).count();
    (&before[..before.len() - end], &after[..after.len() - end])
}
