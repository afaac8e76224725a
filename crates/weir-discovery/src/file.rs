//! The file source: follows a file, or the files of a folder, in the shape of Prometheus's `file_sd`.
//!
//! A file that cannot be read keeps its last good entries; an entry with a mistake is left out alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use notify::{RecursiveMode, Watcher as _};
use tokio::sync::mpsc::{Sender, UnboundedReceiver, unbounded_channel};
use tokio::time::{sleep, timeout};
use weir_core::task::{SourceKind, Task};

use crate::Report;
use crate::elements::{self, Document, Elements, Mistake};
use crate::reporter::{Gone, Reporter, while_wanted};

/// Time that changes have to settle before the files are read.
const SETTLE: Duration = Duration::from_millis(10);

/// Time between two readings without any word of a change: some file systems give none.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// Largest file, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Follows `path` until nobody takes reports any more.
pub async fn watch(path: PathBuf, reports: Sender<Report>) {
    while_wanted(&reports, follow(path, reports.clone())).await;
}

async fn follow(path: PathBuf, reports: Sender<Report>) -> Gone {
    let mut files = Files { path, good: BTreeMap::new() };
    // Without word of changes the files are still read every few seconds.
    let (_watcher, mut changes) = watch_folder(&files.folder());
    let mut reporter = Reporter::new(SourceKind::File, reports);
    loop {
        if report(&mut files, &mut reporter).await.is_err() {
            return Gone;
        }
        if timeout(POLL_INTERVAL, changes.recv()).await == Ok(None) {
            // No watcher: only the clock is left.
            sleep(POLL_INTERVAL).await;
        }
        sleep(SETTLE).await;
        while changes.try_recv().is_ok() {}
    }
}

/// Reads all files again, and reports what is new.
async fn report(files: &mut Files, reporter: &mut Reporter) -> Result<(), Gone> {
    let mistakes = match files.read() {
        Ok(mistakes) => mistakes,
        Err(problem) => return reporter.fail(problem).await,
    };
    reporter.recover().await?;
    reporter.quarantine(mistakes).await?;
    reporter.tell(files.tasks()).await
}

/// Watches a folder: files in it may be replaced by renames and by swapped links, which a watch on a file would miss.
fn watch_folder(folder: &Path) -> (Option<notify::RecommendedWatcher>, UnboundedReceiver<()>) {
    let (sender, changes) = unbounded_channel();
    let tell = move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| !event.kind.is_access()) {
            // Nobody listens any more when the process ends.
            let _ = sender.send(());
        }
    };
    let watcher = notify::recommended_watcher(tell).and_then(|mut watcher| {
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
        Ok(watcher)
    });
    if let Err(error) = &watcher {
        tracing::warn!("{}: cannot be watched ({error}); it is read every few seconds", folder.display());
    }
    (watcher.ok(), changes)
}

struct Files {
    path: PathBuf,
    /// The last good reading of each file.
    good: BTreeMap<PathBuf, Vec<Task>>,
}

impl Files {
    fn folder(&self) -> PathBuf {
        match self.path.parent() {
            _ if self.path.is_dir() => self.path.clone(),
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        }
    }

    /// Reads all files again; their mistakes.
    ///
    /// # Errors
    /// The file or folder that cannot be looked at.
    fn read(&mut self) -> Result<BTreeSet<Mistake>, String> {
        let paths = self.list()?;
        let mut mistakes = BTreeSet::new();
        self.good.retain(|path, _| paths.contains(path));
        for path in paths {
            match read_file(&path) {
                Ok(elements) => {
                    mistakes.extend(elements.mistakes);
                    self.good.insert(path, elements.tasks);
                }
                Err(problem) => drop(mistakes.insert(Mistake { owner: path.display().to_string(), problem })),
            }
        }
        Ok(mistakes)
    }

    fn list(&self) -> Result<BTreeSet<PathBuf>, String> {
        if !self.path.is_dir() {
            let exists = fs::metadata(&self.path).map(|_| BTreeSet::from([self.path.clone()]));
            return exists.map_err(|error| format!("{}: {error}", self.path.display()));
        }
        let entries =
            fs::read_dir(&self.path).map_err(|error| format!("{}: {error}", self.path.display()))?;
        let is_target_file =
            |path: &PathBuf| path.extension().is_some_and(|e| e == "json" || e == "yaml" || e == "yml");
        Ok(entries.flatten().map(|entry| entry.path()).filter(is_target_file).collect())
    }

    fn tasks(&self) -> Vec<Task> {
        self.good.values().flatten().cloned().collect()
    }
}

fn read_file(path: &Path) -> Result<Elements, String> {
    let metadata = fs::metadata(path).map_err(|error| error.to_string())?;
    if !metadata.is_file() {
        // To open a pipe would wait for whoever writes to it.
        return Err("is not a regular file".to_owned());
    }
    let size = metadata.len();
    if size > FILE_BYTES_MAX {
        return Err(format!("has {size} bytes; at most {FILE_BYTES_MAX} are read"));
    }
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    parse(&text, path)
}

fn parse(text: &str, path: &Path) -> Result<Elements, String> {
    // JSON first: it is strict. YAML takes what is left.
    let elements = match path.extension() {
        Some(extension) if extension == "json" => elements::from_json(text.as_bytes())?,
        _ => elements::from_yaml(text)?,
    };
    let document = Document {
        source: SourceKind::File,
        owner: &path.display().to_string(),
        origin: &path.file_name().unwrap_or_default().to_string_lossy(),
        cause: "written",
        identity: None,
    };
    document.read(&elements)
}

#[cfg(test)]
mod tests;
