//! The handle: what the admin port and the signals may see and ask.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{mpsc, oneshot};
use weir_core::chaos::Chaos;
use weir_core::name::GroupName;
use weir_core::snapshot::Snapshot;
use weir_core::table::Reader;
use weir_net::clock::Clock;
use weir_telemetry::Telemetry;

use crate::sources::Sources;
use crate::timeline::Timeline;

/// Something that the reconciler is asked to do.
#[derive(Debug)]
pub enum Command {
    /// Make a group misbehave, or cease to.
    Chaos(GroupName, Chaos, oneshot::Sender<Result<(), String>>),
    /// Read the configuration again.
    Reload(oneshot::Sender<Result<Reloaded, String>>),
}

/// What a reload came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// Generation of the snapshot that is current now.
    pub generation: u64,
    /// Listeners that were opened, by address.
    pub opened: Vec<String>,
    /// Listeners that were closed, by address.
    pub closed: Vec<String>,
    /// What to know besides: settings that wait for the next start, warnings of the configuration.
    pub warnings: Vec<String>,
}

/// What the admin port and the signals may see and ask. Clones are handles to the same.
#[derive(Clone, Debug)]
pub struct Handle {
    /// Reads the current snapshot.
    pub reader: Reader,
    /// Everything that is counted.
    pub telemetry: Telemetry,
    /// What is known of each source of tasks.
    pub sources: Sources,
    /// What groups do wrong on demand.
    pub chaos: Mischiefs,
    /// What happened lately.
    pub timeline: Timeline,
    /// The process's clock.
    pub clock: Clock,
    /// What listeners speak TLS with, and what weir signs with.
    pub tls: weir_tls::Listeners,
    /// Whether weir is ready for traffic.
    pub readiness: Readiness,
    pub(crate) commands: mpsc::Sender<Command>,
}

/// Whether weir is ready for traffic: every listener is bound, and every source has been heard once.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    is_ready: AtomicBool,
    is_ending: AtomicBool,
}

impl Readiness {
    /// Whether it is ready, and not ending.
    pub fn is_ready(&self) -> bool {
        self.0.is_ready.load(Relaxed) && !self.0.is_ending.load(Relaxed)
    }

    /// The process has begun to end.
    pub fn end(&self) {
        self.0.is_ending.store(true, Relaxed);
    }

    pub(crate) fn become_ready(&self) {
        self.0.is_ready.store(true, Relaxed);
    }
}

/// What groups do wrong on demand; those that do nothing wrong are not there. A clone is another handle to the same.
#[derive(Clone, Debug, Default)]
pub struct Mischiefs(Arc<Mutex<BTreeMap<GroupName, Chaos>>>);

impl Mischiefs {
    pub(crate) fn note(&self, group: GroupName, chaos: Chaos) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if chaos.is_off() {
            all.remove(&group);
        } else {
            all.insert(group, chaos);
        }
    }

    /// Forgets groups that are no longer defined.
    pub(crate) fn keep(&self, mut is_defined: impl FnMut(&GroupName) -> bool) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|group, _| is_defined(group));
    }

    /// What each group does wrong.
    pub fn all(&self) -> BTreeMap<GroupName, Chaos> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Handle {
    /// The current snapshot.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.reader.clone().load()
    }

    /// Makes a group misbehave, in place of what it did wrong before.
    ///
    /// # Errors
    /// There is no such group.
    pub async fn misbehave(&self, group: GroupName, chaos: Chaos) -> Result<(), String> {
        let (reply, answer) = oneshot::channel();
        let ending = || "weir is ending".to_owned();
        self.commands.send(Command::Chaos(group, chaos, reply)).await.map_err(|_| ending())?;
        answer.await.map_err(|_| ending())?
    }

    /// Reads the configuration again and waits for what came of it.
    ///
    /// # Errors
    /// Why it was refused, for people; everything stays as it was.
    pub async fn reload(&self) -> Result<Reloaded, String> {
        let (reply, answer) = oneshot::channel();
        let ending = || "weir is ending".to_owned();
        self.commands.send(Command::Reload(reply)).await.map_err(|_| ending())?;
        answer.await.map_err(|_| ending())?
    }
}
