//! Ending in order: the process stops taking work, finishes what it has, and leaves by a deadline.

use std::cell::Cell;
use std::rc::Rc;

use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, spawn_local};

/// Says to every task of a worker that the process is ending.
#[derive(Clone, Debug)]
pub struct Drain(watch::Receiver<bool>);

impl Drain {
    /// The side that says so, and a first listener.
    pub fn new() -> (watch::Sender<bool>, Self) {
        let (sender, receiver) = watch::channel(false);
        (sender, Self(receiver))
    }

    /// Whether the process is ending.
    pub fn has_begun(&self) -> bool {
        // Nothing but the beginning is ever said: that something was is one look at a number.
        self.0.has_changed().unwrap_or_else(|_| *self.0.borrow())
    }

    /// Completes when the process begins to end.
    pub async fn begun(&self) {
        let mut receiver = self.0.clone();
        // A sender that is gone means the process is ending too.
        let _ = receiver.wait_for(|begun| *begun).await;
    }
}

/// Counts the tasks of one worker that must end before it may.
#[derive(Clone, Debug, Default)]
pub struct Tasks(Rc<Counted>);

#[derive(Debug, Default)]
struct Counted {
    running: Cell<usize>,
    ended: Notify,
}

/// A task of its own that ends with whoever has begun it.
#[derive(Debug)]
pub struct Aside(JoinHandle<()>);

impl Aside {
    /// Begins it on this worker.
    pub fn begin(task: impl Future<Output = ()> + 'static) -> Self {
        Self(spawn_local(task))
    }

    /// Completes when it has ended.
    pub async fn ended(&mut self) {
        // One that has panicked has ended, too.
        let _ = (&mut self.0).await;
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A task that is running; dropped when it ends.
#[derive(Debug)]
pub struct Running(Rc<Counted>);

impl Tasks {
    /// Counts one task in.
    pub fn begin(&self) -> Running {
        self.0.running.set(self.0.running.get() + 1);
        Running(self.0.clone())
    }

    /// How many are running.
    pub fn running(&self) -> usize {
        self.0.running.get()
    }

    /// Completes when none is running.
    pub async fn all_ended(&self) {
        while self.0.running.get() > 0 {
            self.0.ended.notified().await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.running.set(self.0.running.get() - 1);
        if self.0.running.get() == 0 {
            self.0.ended.notify_one();
        }
    }
}
