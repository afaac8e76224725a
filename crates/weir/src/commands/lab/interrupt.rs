//! SIGINT and SIGTERM while something is measured: it stops, and what came of it so far is told.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use tokio::signal::unix::{SignalKind, signal};
use weir_lab::load::Stop;

/// What shells add to the number of a signal that ended a program.
const SIGNALLED: u8 = 128;

/// Hears the two signals from its making on; no other of them ends the process any more.
pub(super) struct Interrupt {
    stop: Stop,
    signal: Arc<AtomicU8>,
}

impl Interrupt {
    pub(super) fn hear() -> anyhow::Result<Self> {
        let (stop, heard) = (Stop::new()?, Arc::new(AtomicU8::new(0)));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (mut interrupt, mut terminate) = {
            let _context = runtime.enter();
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
        };
        let (stopped, noted) = (stop.clone(), heard.clone());
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            let number = runtime.block_on(async {
                tokio::select! {
                    _ = interrupt.recv() => SignalKind::interrupt(),
                    _ = terminate.recv() => SignalKind::terminate(),
                }
            });
            noted.store(number.as_raw_value().try_into().unwrap_or_default(), Relaxed);
            stopped.stop();
        })?;
        Ok(Self { stop, signal: heard })
    }

    /// What stops when a signal comes.
    pub(super) fn stop(&self) -> &Stop {
        &self.stop
    }

    /// What a program exits with that a signal has interrupted; `None` when none came.
    pub(super) fn exit(&self) -> Option<ExitCode> {
        let signal = Some(self.signal.load(Relaxed)).filter(|signal| *signal > 0)?;
        Some(ExitCode::from(SIGNALLED + signal))
    }
}
