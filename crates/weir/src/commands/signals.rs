//! What is asked of a running weir by signals.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// SIGTERM, SIGINT: to end.
    End,
    /// SIGHUP: to read the configuration again.
    Reload,
    /// SIGUSR1: to begin access-log files anew, after a rotation.
    ReopenLogs,
    /// SIGUSR2: to have a new process take this one's place.
    Restart,
}

/// Hears signals from its making on. Until then they do what they do to any process: most end it.
#[derive(Debug)]
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    user1: Signal,
    user2: Signal,
}

impl Signals {
    /// Must be called on a runtime.
    ///
    /// # Errors
    /// The kernel's.
    pub(crate) fn hear() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
            user2: signal(SignalKind::user_defined2())?,
        })
    }

    /// Waits for the next one.
    pub(crate) async fn next(&mut self) -> Asked {
        tokio::select! {
            _ = self.terminate.recv() => Asked::End,
            _ = self.interrupt.recv() => Asked::End,
            _ = self.hang_up.recv() => Asked::Reload,
            _ = self.user1.recv() => Asked::ReopenLogs,
            _ = self.user2.recv() => Asked::Restart,
        }
    }

    /// Waits for one that asks to end; others are not heeded.
    pub(crate) async fn end(&mut self) {
        while self.next().await != Asked::End {}
    }
}
