//! Workers: one thread each, with a runtime of its own that nothing else runs on.

use std::future::Future;
use std::io;
use std::thread::{self, JoinHandle};

use tokio::runtime::{Builder, LocalOptions};

/// Starts a thread called `name` that runs the future made by `main` on a runtime of its own, until it completes.
///
/// The future is made in the thread, so it may be `!Send`: nothing of it ever leaves the thread.
///
/// # Errors
/// When the kernel has no thread or no epoll descriptor left.
pub fn spawn<F: Future<Output = ()>>(
    name: String,
    main: impl FnOnce() -> F + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let (report, outcome) = std::sync::mpsc::sync_channel(1);
    let handle = thread::Builder::new().name(name).spawn(move || {
        let runtime = match Builder::new_current_thread().enable_all().build_local(LocalOptions::default()) {
            Ok(runtime) => runtime,
            Err(error) => return drop(report.send(Err(error))),
        };
        drop(report.send(Ok(())));
        runtime.block_on(main());
    })?;
    outcome.recv().unwrap_or_else(|_| Err(io::Error::other("the worker ended before it began")))?;
    Ok(handle)
}
