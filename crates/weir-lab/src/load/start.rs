//! The moment that all threads of a generator begin at.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::poll::now;

/// Where threads wait for one another.
#[derive(Debug)]
pub(super) struct Start {
    barrier: Barrier,
    at: AtomicU64,
}

impl Start {
    /// For so many threads.
    pub(super) fn new(threads: usize) -> Self {
        Self { barrier: Barrier::new(threads), at: AtomicU64::new(0) }
    }

    /// Waits for all others; the moment, which is the same for all.
    pub(super) fn wait(&self) -> u64 {
        if self.barrier.wait().is_leader() {
            self.at.store(now(), Relaxed);
        }
        self.barrier.wait();
        self.at.load(Relaxed)
    }
}
