//! A load that ends before its time.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use rustix::event::{EventfdFlags, eventfd};

/// Ends loads, and whatever else looks at it, from any thread; once and for all.
#[derive(Clone, Debug)]
pub struct Stop(Arc<Bell>);

#[derive(Debug)]
struct Bell {
    /// Is never read, and so wakes everybody who ever watches it.
    rung: OwnedFd,
    is_stopped: AtomicBool,
}

impl Stop {
    /// Nothing is stopped yet.
    ///
    /// # Errors
    /// There is no descriptor left.
    pub fn new() -> io::Result<Self> {
        let rung = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self(Arc::new(Bell { rung, is_stopped: AtomicBool::new(false) })))
    }

    /// Whatever runs sends nothing more, and ends soon.
    pub fn stop(&self) {
        self.0.is_stopped.store(true, Relaxed);
        // A counter that is full has been rung.
        let _ = rustix::io::write(&self.0.rung, &1_u64.to_ne_bytes());
    }

    /// Whether it has been stopped.
    pub fn is_stopped(&self) -> bool {
        self.0.is_stopped.load(Relaxed)
    }
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.rung.as_fd()
    }
}
