//! Watching files: says when one is not what it was.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecursiveMode, Watcher as _};
use tokio::sync::{mpsc, watch};
use tokio::task::spawn_blocking;
use tokio::time::{sleep, timeout};
use weir_tls::Files;

/// Time that changes have to settle: the two files of a pair are written one after the other.
const SETTLE: Duration = Duration::from_millis(50);

/// Time between two looks without any word of a change: some file systems give none.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// Says into `changes` whenever the files, as they were used last, have changed, until nobody listens.
pub(super) async fn watch(mut used: watch::Receiver<Arc<Files>>, changes: mpsc::Sender<()>) {
    let mut folders = Folders::default();
    loop {
        let files = used.borrow_and_update().clone();
        let is_new = folders.follow(&files);
        if folders.watched.is_empty() {
            // Nothing to watch until there is something new to use.
            if used.changed().await.is_err() {
                return;
            }
            continue;
        }
        // What has changed before a folder was watched is found by a look at once.
        if !is_new {
            tokio::select! {
                next = used.changed() => match next {
                    Ok(()) => continue,
                    Err(_) => return,
                },
                () = folders.stir() => {}
            }
        }
        let looking = spawn_blocking(move || files.have_changed());
        // A look that panicked has seen nothing.
        if looking.await.unwrap_or(false) {
            if changes.send(()).await.is_err() {
                return;
            }
            // What is found now is used, or known to be of no use; before that there is nothing new to say.
            if used.changed().await.is_err() {
                return;
            }
        }
    }
}

/// The folders that files are in: files may be replaced by renames and by swapped links, which a watch on a file would
/// miss.
#[derive(Default)]
struct Folders {
    watched: BTreeSet<PathBuf>,
    /// The watcher, and what it says. `None` where there is none: then only the clock is left.
    watcher: Option<(notify::RecommendedWatcher, mpsc::UnboundedReceiver<()>)>,
}

impl Folders {
    /// Watches the folders of these files, and no others; whether there is one that was not watched before.
    fn follow(&mut self, files: &Files) -> bool {
        let folders: BTreeSet<PathBuf> = files.paths().map(folder).collect();
        if folders == self.watched {
            return false;
        }
        self.watcher = match watcher(&folders) {
            Ok(watcher) => Some(watcher),
            Err(error) => {
                tracing::warn!("certificates cannot be watched ({error}); they are read every few seconds");
                None
            }
        };
        self.watched = folders;
        true
    }

    /// Waits until something has happened in a folder and settled, or it is time to look anyway.
    async fn stir(&mut self) {
        match &mut self.watcher {
            None => sleep(POLL_INTERVAL).await,
            Some((_, events)) => {
                if timeout(POLL_INTERVAL, events.recv()).await.is_ok() {
                    sleep(SETTLE).await;
                    while events.try_recv().is_ok() {}
                }
            }
        }
    }
}

fn watcher(
    folders: &BTreeSet<PathBuf>,
) -> notify::Result<(notify::RecommendedWatcher, mpsc::UnboundedReceiver<()>)> {
    let (sender, events) = mpsc::unbounded_channel();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| !event.kind.is_access()) {
            // Nobody listens any more when the process ends.
            let _ = sender.send(());
        }
    })?;
    for folder in folders {
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
    }
    Ok((watcher, events))
}

fn folder(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}
