//! What may happen, and what it changes about targets.

use std::sync::Arc;

use crate::address::TargetAddr;
use crate::chaos::Chaos;
use crate::comparison::statistics::Counts;
use crate::definition::Definitions;
use crate::health::{Health, Verdict};
use crate::name::GroupName;
use crate::seal::CookieKeys;
use crate::target::TargetSerial;
use crate::task::{Provenance, TaskSet};

/// Something that may change the snapshot.
#[derive(Clone, Debug)]
pub enum Event {
    /// A group misbehaves from now on, or ceases to. One that there is not is passed over.
    Chaos {
        /// The group.
        group: GroupName,
        /// What it does wrong, in place of what it did before.
        chaos: Chaos,
    },
    /// A window has passed after which targets are compared; see [`crate::anomaly`].
    Compare,
    /// Cookies are sealed with these keys from now on.
    CookieKeys(Arc<CookieKeys>),
    /// What the operator asks for, whole: at start and with every reload.
    Definitions(Arc<Definitions>),
    /// Time has passed: ends what was due. See [`State::next_due`](super::State::next_due).
    Due,
    /// It is time to look for targets whose requests fail one after the other; see [`crate::ejection`].
    Look,
    /// What one source sees, whole.
    Tasks(TaskSet),
    /// What the arms of comparisons have to show so far; see [`crate::comparison`].
    Trials(Vec<Observed>),
    /// The results of probes, in order, each with the target that was probed.
    Verdicts(Vec<(TargetSerial, Verdict)>),
}

/// What both arms of one trial have to show since it began.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The group that compares.
    pub group: GroupName,
    /// The number of the trial: what is said of one that is over is passed over.
    pub trial: u32,
    /// Of arm A.
    pub a: Counts,
    /// Of arm B.
    pub b: Counts,
}

/// One change of one target, to be logged, counted and shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The target's group.
    pub group: GroupName,
    /// The target's id as `weir status` prints it.
    pub target: String,
    /// Where it takes traffic.
    pub addr: TargetAddr,
    /// What happened.
    pub change: Change,
    /// What made it happen: a container's event, a probe's verdict, a reload.
    pub cause: String,
    /// Where the target comes from.
    pub provenance: Arc<Provenance>,
}

/// What happened to a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Its health changed.
    Health {
        /// Before.
        from: Health,
        /// After.
        to: Health,
    },
    /// It fails far more often than its peers, or does so no more.
    Anomaly {
        /// Whether it does.
        is_anomalous: bool,
    },
    /// It joined its group.
    Registered,
    /// It left its group.
    Removed,
}
