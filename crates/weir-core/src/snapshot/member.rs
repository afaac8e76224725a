//! A target in its group, and how many there are.

use std::sync::Arc;

use crate::anomaly::Opinion;
use crate::health::Health;
use crate::quic::ServerId;
use crate::target::{Target, Weight};
use crate::task::Provenance;
use crate::time::Timestamp;

/// A target in its group, with what may change while it lives.
#[derive(Clone, Debug)]
pub struct Member {
    /// The target, with its counts.
    pub target: Arc<Target>,
    /// Its share.
    pub weight: Weight,
    /// Its health.
    pub health: Health,
    /// Since when it has had this health.
    pub since: Timestamp,
    /// What gave it this health: an event, a probe's verdict.
    pub cause: Arc<str>,
    /// The zone that it is in, where that is known.
    pub zone: Option<Arc<str>>,
    /// The id by which connection ids of QUIC name it, if they do.
    pub server_id: Option<ServerId>,
    /// The path of its HTTP probes, where its label asks for one of its own.
    pub health_check_path: Option<Arc<str>>,
    /// Until when it keeps its flows though it is unhealthy, if it does for a while.
    pub keeps_flows_until: Option<Timestamp>,
    /// How it compares with the others of its group.
    pub opinion: Opinion,
    /// Where weir learned of it, by the name that it has now: a container may be renamed.
    pub provenance: Arc<Provenance>,
}

impl Member {
    /// Whether it serves that zone: it is in it, or in none.
    pub(super) fn is_of(&self, zone: &str) -> bool {
        self.zone.as_deref().is_none_or(|own| own == zone)
    }

    /// The name of its state in AWS's API: that of its health, or `unhealthy.draining`.
    pub fn state(&self) -> &'static str {
        match self.keeps_flows_until {
            Some(_) => "unhealthy.draining",
            None => self.health.state(),
        }
    }
}

impl PartialEq for Member {
    /// Equal when no reader could tell them apart: the counts are the identity's, not the member's.
    fn eq(&self, other: &Self) -> bool {
        self.target.serial == other.target.serial
            && self.weight == other.weight
            && self.health == other.health
            && self.cause == other.cause
            && self.zone == other.zone
            && self.server_id == other.server_id
            && self.health_check_path == other.health_check_path
            && self.keeps_flows_until == other.keeps_flows_until
            && self.opinion == other.opinion
            && self.provenance == other.provenance
    }
}

/// How many members a group has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts {
    /// That are healthy.
    pub healthy: usize,
    /// That are not draining.
    pub registered: usize,
}
