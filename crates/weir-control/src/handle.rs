//! The handle: what the admin port and the signals may see and ask.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tokio::sync::{mpsc, oneshot};
use weir_core::snapshot::Snapshot;
use weir_core::table::Reader;
use weir_net::clock::Clock;
use weir_telemetry::Telemetry;

use crate::sources::Sources;
use crate::timeline::Timeline;

/// Something that the reconciler is asked to do.
#[derive(Debug)]
pub enum Command {
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
    /// What happened lately.
    pub timeline: Timeline,
    /// The process's clock.
    pub clock: Clock,
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

impl Handle {
    /// The current snapshot.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.reader.clone().load()
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
