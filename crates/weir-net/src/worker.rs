//! A worker: one thread with a runtime of its own, and what every connection on it shares.

use std::future::Future;
use std::io;
use std::thread::{self, JoinHandle};

use std::time::Duration;

use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::watch;

use crate::accept::ConnectionLimit;
use crate::buffers::Buffers;
use crate::clock::Clock;
use crate::departures::{Awaiting, Departures};
use crate::drain::{Drain, Tasks};
use crate::idle::IdleWatch;
use crate::pipes::Pipes;
use crate::reactor::Reactor;
use crate::waiting_room::WaitingRoom;

/// What every connection of one worker shares. Nothing of it leaves the thread.
#[derive(Clone, Debug)]
pub struct Worker {
    /// The process's clock.
    pub clock: Clock,
    /// Buffers for bytes under way.
    pub buffers: Buffers,
    /// Pipes for bytes under way in bulk.
    pub pipes: Pipes,
    /// What tells of its connections.
    pub reactor: Reactor,
    /// Who looks whether connections are idle.
    pub idle: IdleWatch,
    /// How connections learn that their target has left.
    pub departures: Departures,
    /// Changes with every published snapshot.
    pub publications: Publications,
    /// Whether the process is ending.
    pub drain: Drain,
    /// What must end before the worker may.
    pub tasks: Tasks,
    /// The process's limit on client connections.
    pub limit: ConnectionLimit,
    /// Where requests and flows wait for a target.
    pub waiting_room: WaitingRoom,
}

impl Worker {
    /// A worker without connections.
    pub fn new(
        reactor: Reactor,
        clock: Clock,
        publications: Publications,
        drain: Drain,
        limit: ConnectionLimit,
    ) -> Self {
        Self {
            reactor,
            clock,
            buffers: Buffers::default(),
            pipes: Pipes::default(),
            idle: IdleWatch::default(),
            departures: Departures::new(Awaiting::Departure),
            waiting_room: WaitingRoom::new(publications.clone()),
            publications,
            drain,
            tasks: Tasks::default(),
            limit,
        }
    }
}

/// Says when a snapshot has been published: its generation.
#[derive(Clone, Debug)]
pub struct Publications(watch::Receiver<u64>);

impl Publications {
    /// The side that says so, and a first listener.
    pub fn new() -> (watch::Sender<u64>, Self) {
        let (sender, receiver) = watch::channel(0);
        (sender, Self(receiver))
    }

    /// A listener that hears only of publications from now on.
    #[must_use]
    pub fn from_now(&self) -> Self {
        let mut receiver = self.0.clone();
        receiver.mark_unchanged();
        Self(receiver)
    }

    /// Completes with the next publication; never when nobody publishes any more.
    pub async fn next(&mut self) {
        if self.0.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Completes with the next publication or after `limit`; whether it was a publication.
    pub async fn next_within(&mut self, limit: Duration) -> bool {
        tokio::time::timeout(limit, self.next()).await.is_ok()
    }
}

/// Starts a thread called `name` that runs the future made by `main` on a runtime and a reactor of its own, until it completes.
///
/// The future is made in the thread, so it may be `!Send`: nothing of it ever leaves the thread.
///
/// # Errors
/// When the kernel has no thread or no epoll descriptor left.
pub fn spawn<F: Future<Output = ()>>(
    name: String,
    main: impl FnOnce(Reactor) -> F + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let (report, outcome) = std::sync::mpsc::sync_channel(1);
    let handle = thread::Builder::new().name(name).spawn(move || {
        let started = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
        let started = started.and_then(|runtime| {
            let reactor = runtime.block_on(async { Reactor::start() })?;
            Ok((runtime, reactor))
        });
        match started {
            Ok((runtime, reactor)) => {
                drop(report.send(Ok(())));
                runtime.block_on(main(reactor));
            }
            Err(error) => drop(report.send(Err(error))),
        }
    })?;
    outcome.recv().unwrap_or_else(|_| Err(io::Error::other("the worker ended before it began")))?;
    Ok(handle)
}
