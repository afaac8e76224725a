//! Discovery: watchers that follow running tasks, wherever they run on dynamic host ports.
//!
//! Each watcher reports whole sets of tasks, never deltas, into one channel. A source that fails keeps its last good
//! set, which [`memory`] keeps across weir's own restart; a task or file with a mistake is left out alone, and named.
//!
//! What this crate lacks, on purpose: the writer, health, decisions.

pub mod dns;
pub mod docker;
pub mod ecs;
mod elements;
pub mod etcd;
pub mod file;
pub mod http;
pub mod labels;
pub mod memory;
mod published;
mod reporter;
pub mod swarm;

use std::collections::BTreeSet;

use weir_core::task::{SourceKind, TaskSet};

pub use elements::Mistake;

/// What a watcher reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// The source cannot be asked; its last good set stays. Once per distinct problem.
    Failed(WatchFailure),
    /// All tasks that the source sees now, of which it has told one by one which have gone.
    Confirmed(TaskSet),
    /// All tasks and files that are left out now, each for a mistake of its own. Whenever they change.
    LeftOut {
        /// The source that they belong to.
        source: SourceKind,
        /// What is wrong with each.
        mistakes: BTreeSet<Mistake>,
    },
    /// What is known of the configuration that several weirs share.
    Shared(Shared),
    /// The source works again after it had failed.
    Recovered(SourceKind),
    /// All tasks that the source sees now.
    Tasks(TaskSet),
}

/// What is known of the configuration that several weirs share.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shared {
    /// It cannot be asked for; what it said last stays. Once per distinct problem.
    Failed(String),
    /// Nobody has written it, or it was deleted.
    Missing,
    /// It can be asked for again.
    Recovered,
    /// It was written.
    Written {
        /// All of it.
        text: String,
        /// When: a revision of the store.
        revision: i64,
    },
}

/// Why a source could not be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchFailure {
    /// The source.
    pub source: SourceKind,
    /// What is wrong, with the remedy.
    pub problem: String,
}
