//! Targets and what makes one the same target as before.

use std::fmt;
use std::num::NonZeroU16;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use crate::address::TargetAddr;
use crate::latency::Latency;
use crate::load_report::Reported;
use crate::name::GroupName;
use crate::sticky::Fingerprint;
use crate::tally::Tally;
use crate::task::TaskId;

/// What makes a target the same target as before, within its group.
///
/// A target that runs in a container or task is that container in that start generation, whatever its address: a
/// stranger on a recycled port is another target, and nothing is inherited. A target that is only known by address is
/// its address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TargetId {
    /// Known by address alone: written in the configuration or read from a file.
    Address(TargetAddr),
    /// A container port of a task.
    Task {
        /// The task, with its start generation.
        task: TaskId,
        /// The port inside the container, in host byte order.
        container_port: u16,
    },
}

impl fmt::Display for TargetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(addr) => addr.fmt(f),
            Self::Task { task, container_port } => write!(f, "{}:{container_port}", task.short()),
        }
    }
}

/// A number that one process gives to one target identity in one group, and never to another.
///
/// Pools, connections and worker state use it as their key: cheap to hash, and safe from recycled addresses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetSerial(pub u64);

/// One address that can take traffic, with the counts that belong to its identity.
///
/// Never changes while the target lives, but for its end; what may change (weight, health, provenance) stands beside it
/// in the snapshot.
#[derive(Debug)]
pub struct Target {
    /// The shared counts. First, so that the reference count and the counts share cache lines.
    pub tally: Tally,
    /// How long it takes, where its group picks by that.
    pub latency: Latency,
    /// What it says of its load, where it is asked.
    pub reported: Reported,
    /// This process's number for the target.
    pub serial: TargetSerial,
    /// Where it takes traffic.
    pub addr: TargetAddr,
    /// Who it is, within its group.
    pub id: TargetId,
    /// What cookies name it by.
    pub fingerprint: Fingerprint,
    /// The group it is registered in.
    pub group: GroupName,
    /// Set once, when it has left its group for good.
    has_left: AtomicBool,
    /// Whether its flows are to end.
    ends_flows: AtomicBool,
}

impl Target {
    /// A target that has just been registered.
    pub fn new(serial: TargetSerial, addr: TargetAddr, id: TargetId, group: GroupName) -> Self {
        let fingerprint = Fingerprint::of_target(&id);
        Self {
            tally: Tally::default(),
            latency: Latency::default(),
            reported: Reported::default(),
            serial,
            addr,
            id,
            fingerprint,
            group,
            has_left: false.into(),
            ends_flows: false.into(),
        }
    }

    /// Whether it has left its group for good, or is about to: no later snapshot has it.
    pub fn has_left(&self) -> bool {
        self.has_left.load(Relaxed)
    }

    /// It leaves for good. Reconciliation alone says so.
    pub fn leave(&self) {
        self.has_left.store(true, Relaxed);
    }

    /// Whether its flows are to end, because it has left or is unhealthy, and its group would have it so.
    pub fn ends_flows(&self) -> bool {
        self.ends_flows.load(Relaxed)
    }

    /// Says whether its flows are to end. Reconciliation alone does.
    pub fn end_flows(&self, are_to_end: bool) {
        self.ends_flows.store(are_to_end, Relaxed);
    }
}

/// A target's share of its group relative to the others: 1 to 1000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Weight(NonZeroU16);

impl Weight {
    /// The weight of a target that names none.
    pub const ONE: Self = Self(NonZeroU16::MIN);
    /// The largest weight. Ours: AWS has no target weights.
    pub const MAX: u16 = 1000;

    /// Checks the range 1 to 1000.
    pub fn new(weight: u16) -> Option<Self> {
        NonZeroU16::new(weight).filter(|w| w.get() <= Self::MAX).map(Self)
    }

    /// The weight as a number.
    pub fn get(self) -> u16 {
        self.0.get()
    }
}
