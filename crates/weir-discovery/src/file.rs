//! The file source: follows a file, or the files of a folder, in the shape of Prometheus's `file_sd`.
//!
//! ```json
//! [{ "targets": ["127.0.0.1:9001"], "labels": { "service": "db", "id": "db-1", "weir.weight": "2" } }]
//! ```
//!
//! A file that cannot be read keeps its last good entries; an entry with a mistake is left out alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecursiveMode, Watcher as _};
use tokio::sync::mpsc::{Sender, UnboundedReceiver, unbounded_channel};
use tokio::time::{sleep, timeout};
use weir_core::address::TargetAddr;
use weir_core::task::{Provenance, SourceKind, Task, TaskId, TaskPort, TaskSet, TaskState};

use crate::{Report, WatchFailure, labels};

/// Time that changes have to settle before the files are read.
const SETTLE: Duration = Duration::from_millis(20);

/// Time between two readings without any word of a change: some file systems give none.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// Largest file, in bytes.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Most targets in one file.
const TARGETS_MAX: usize = 10_000;

/// Follows `path` until nobody takes reports any more.
pub async fn watch(path: PathBuf, reports: Sender<Report>) {
    let mut files = Files { path, good: BTreeMap::new(), reported: BTreeSet::new() };
    // Without word of changes the files are still read every few seconds.
    let (_watcher, mut changes) = watch_folder(&files.folder());
    let mut told = None;
    let mut failing = None;
    loop {
        for report in files.read(&mut failing) {
            if reports.send(report).await.is_err() {
                return;
            }
        }
        let set = files.set();
        if failing.is_none() && told.as_ref() != Some(&set) {
            told = Some(set.clone());
            if reports.send(Report::Tasks(set)).await.is_err() {
                return;
            }
        }
        tokio::select! {
            () = reports.closed() => return,
            word = timeout(POLL_INTERVAL, changes.recv()) => {
                if word == Ok(None) {
                    // No watcher: only the clock is left.
                    sleep(POLL_INTERVAL).await;
                }
            }
        }
        sleep(SETTLE).await;
        while changes.try_recv().is_ok() {}
    }
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
    good: BTreeMap<PathBuf, Vec<Arc<Task>>>,
    /// Mistakes that have been reported: the owner and what is wrong.
    reported: BTreeSet<(String, String)>,
}

impl Files {
    fn folder(&self) -> PathBuf {
        match self.path.parent() {
            _ if self.path.is_dir() => self.path.clone(),
            Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
            _ => PathBuf::from("."),
        }
    }

    /// Reads all files again; what is to be reported besides the set.
    fn read(&mut self, failing: &mut Option<String>) -> Vec<Report> {
        let mut reports = Vec::new();
        let paths = match self.list() {
            Ok(paths) => paths,
            Err(problem) => {
                if failing.as_ref() != Some(&problem) {
                    *failing = Some(problem.clone());
                    reports.push(Report::Failed(WatchFailure { source: SourceKind::File, problem }));
                }
                return reports;
            }
        };
        if failing.take().is_some() {
            reports.push(Report::Recovered(SourceKind::File));
        }
        let mut mistakes = BTreeSet::new();
        self.good.retain(|path, _| paths.contains(path));
        for path in paths {
            match read_file(&path) {
                Ok(entries) => {
                    mistakes.extend(entries.mistakes);
                    self.good.insert(path, entries.tasks);
                }
                Err(problem) => drop(mistakes.insert((path.display().to_string(), problem))),
            }
        }
        for (owner, problem) in mistakes.difference(&self.reported) {
            let (owner, problem) = (owner.clone(), problem.clone());
            reports.push(Report::Quarantined { source: SourceKind::File, owner, problem });
        }
        self.reported = mistakes;
        reports
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

    fn set(&self) -> TaskSet {
        TaskSet { source: SourceKind::File, tasks: self.good.values().flatten().cloned().collect() }
    }
}

/// One element of a file.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Element {
    targets: Vec<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Default)]
struct Entries {
    tasks: Vec<Arc<Task>>,
    mistakes: Vec<(String, String)>,
}

fn read_file(path: &Path) -> Result<Entries, String> {
    let size = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size > FILE_BYTES_MAX {
        return Err(format!("has {size} bytes; at most {FILE_BYTES_MAX} are read"));
    }
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    parse(&text, path)
}

fn parse(text: &str, path: &Path) -> Result<Entries, String> {
    // JSON first: it is strict. YAML takes what is left.
    let elements: Vec<Element> = match path.extension() {
        Some(extension) if extension == "json" => {
            serde_json::from_str(text).map_err(|error| error.to_string())?
        }
        _ => serde_saphyr::from_str(text).map_err(|error| error.to_string())?,
    };
    let count: usize = elements.iter().map(|element| element.targets.len()).sum();
    if count > TARGETS_MAX {
        return Err(format!("has {count} targets; at most {TARGETS_MAX} are read"));
    }
    let mut entries = Entries::default();
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    for (at, element) in elements.into_iter().enumerate() {
        let owner = format!("{}, entry {}", path.display(), at + 1);
        match tasks(&element, &file) {
            Ok(tasks) => entries.tasks.extend(tasks.into_iter().map(Arc::new)),
            Err(problem) => entries.mistakes.push((owner, problem)),
        }
    }
    Ok(entries)
}

/// The tasks of one element: one per address.
fn tasks(element: &Element, file: &str) -> Result<Vec<Task>, String> {
    let read = labels::read(&element.labels).map_err(|error| error.to_string())?;
    let label = |name: &str| element.labels.get(name).cloned();
    let (service, project) =
        (read.service.or_else(|| label("service")), read.project.or_else(|| label("project")));
    let id = label("id");
    if id.is_some() && element.targets.len() > 1 {
        return Err("has an `id` and several targets; an id belongs to one".to_owned());
    }
    let task = |target: &String| {
        let addr: SocketAddr = target.parse().map_err(|_| {
            format!("target {target:?} is not an IP address with a port, such as 127.0.0.1:8080")
        })?;
        Ok(Task {
            id: id.as_deref().map(|id| TaskId { id: id.into(), generation: target.as_str().into() }),
            name: id.clone().unwrap_or_else(|| target.clone()),
            service: service.clone(),
            project: project.clone(),
            ports: vec![TaskPort { container_port: addr.port(), addr: TargetAddr(addr) }],
            labels: read.task.clone(),
            state: TaskState::Running,
            provenance: Arc::new(Provenance { source: "file", origin: file.to_owned() }),
            cause: "written".to_owned(),
        })
    };
    element.targets.iter().map(task).collect()
}

#[cfg(test)]
mod tests;
