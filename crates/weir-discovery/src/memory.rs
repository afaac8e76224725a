//! Memory: what sources and the shared configuration said last, kept in a folder for weir's next start.
//!
//! A file for each source, in the shape of the elements that the file source reads, and one for the configuration. What
//! cannot be asked for when weir starts is what it was, from here; what answers replaces it at once.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;
use weir_core::task::{SourceKind, TaskSet, TaskState};

use crate::elements::{Document, Element};

/// Shortest time between two writings: sets may change a thousand times a second, and disks may not.
const PAUSE: Duration = Duration::from_secs(1);

/// Largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The folder cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {cause}; make it a folder that weir may write, or take `remember` out", folder.display())]
pub struct MemoryError {
    folder: PathBuf,
    #[source]
    cause: io::Error,
}

/// What is to be kept.
#[derive(Debug)]
pub struct Memory {
    folder: PathBuf,
    /// What identifies each source: its settings.
    settings: BTreeMap<SourceKind, String>,
    /// The same of the shared configuration; empty where there is none.
    shared: String,
    latest: watch::Sender<Latest>,
}

/// What is to be on the disk.
#[derive(Clone, Debug, Default)]
struct Latest {
    sets: BTreeMap<SourceKind, TaskSet>,
    configuration: Option<Arc<str>>,
    is_last: bool,
}

/// The file of the shared configuration.
#[derive(Debug, serde::Deserialize, serde::Serialize)]
struct Configuration {
    settings: String,
    text: String,
}

/// The file of a source.
#[derive(Debug, serde::Deserialize, serde::Serialize)]
struct Remembered {
    /// The settings of the source: another engine or folder has other tasks.
    settings: String,
    elements: Vec<Element>,
}

impl Memory {
    /// Opens the folder, and makes it where it does not exist.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn open(
        folder: &Path,
        settings: BTreeMap<SourceKind, String>,
        shared: String,
    ) -> Result<Self, MemoryError> {
        let fail = |cause| MemoryError { folder: folder.to_owned(), cause };
        fs::create_dir_all(folder).map_err(fail)?;
        replace(&folder.join("writable"), b"weir writes here what discovery said last\n").map_err(fail)?;
        Ok(Self { folder: folder.to_owned(), settings, shared, latest: watch::Sender::default() })
    }

    /// What the source said last before weir ended; `None` when nothing of it is known.
    ///
    /// # Errors
    /// Why the file cannot be used.
    pub fn recall(&self, source: SourceKind) -> Result<Option<TaskSet>, String> {
        let path = file(&self.folder, source);
        let Some(remembered): Option<Remembered> = read(&path)? else { return Ok(None) };
        if self.settings.get(&source) != Some(&remembered.settings) {
            return Err(format!("{}: the source had other settings then", path.display()));
        }
        let owner = path.display().to_string();
        let document =
            Document { source, owner: &owner, origin: &owner, cause: "remembered", identity: None };
        let read = document.read_all(&remembered.elements);
        let tasks = read.tasks.into_iter().map(Into::into).collect();
        Ok(Some(TaskSet { source, tasks }))
    }

    /// The shared configuration as it was taken last before weir ended; `None` when nothing of it is known.
    ///
    /// # Errors
    /// Why the file cannot be used.
    pub fn recall_configuration(&self) -> Result<Option<String>, String> {
        let read: Option<Configuration> = read(&configuration_file(&self.folder))?;
        Ok(read.filter(|read| read.settings == self.shared).map(|read| read.text))
    }

    /// Keeps the shared configuration, in place of the one before.
    pub fn keep_configuration(&self, text: &str) {
        self.latest.send_modify(|latest| latest.configuration = Some(text.into()));
    }

    /// Keeps a set, in place of the one before of that source.
    pub fn keep(&self, set: &TaskSet) {
        self.latest.send_modify(|latest| drop(latest.sets.insert(set.source, set.clone())));
    }

    /// Writes what is to be kept, as it changes, until the [`Memory`] is dropped and all is written.
    pub fn writing(&self) -> impl Future<Output = ()> + 'static {
        let (folder, settings, shared) = (self.folder.clone(), self.settings.clone(), self.shared.clone());
        let mut latest = self.latest.subscribe();
        async move {
            let mut written = Latest::default();
            let mut problem = None;
            loop {
                let is_news = |latest: &Latest| {
                    latest.is_last
                        || latest.sets != written.sets
                        || latest.configuration != written.configuration
                };
                // The last value is there before the sender has gone.
                let Ok(news) = latest.wait_for(is_news).await.map(|latest| latest.clone()) else { return };
                let (folder, settings, shared) = (folder.clone(), settings.clone(), shared.clone());
                let (next, before) = (news.clone(), written.clone());
                let write = move || write(&folder, &settings, &shared, &next, &before);
                match tokio::task::spawn_blocking(write).await {
                    Ok(Ok(())) => written = news.clone(),
                    Ok(Err(error)) if problem.as_ref() != Some(&error) => {
                        tracing::warn!("{error}; weir's next start will not know of it");
                        problem = Some(error);
                    }
                    // Said already; it is tried again after the pause.
                    Ok(Err(_)) | Err(_) => {}
                }
                if news.is_last {
                    return;
                }
                let _ = timeout(PAUSE, latest.wait_for(|latest| latest.is_last)).await;
            }
        }
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.latest.send_modify(|latest| latest.is_last = true);
    }
}

fn file(folder: &Path, source: SourceKind) -> PathBuf {
    folder.join(format!("{}.json", source.as_str()))
}

fn configuration_file(folder: &Path) -> PathBuf {
    folder.join("shared.json")
}

/// What a file says; `None` when there is none.
fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<Option<T>, String> {
    let named = |problem: String| format!("{}: {problem}", path.display());
    let size = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(named(error.to_string())),
    };
    if size > FILE_BYTES_MAX {
        return Err(named(format!("has {size} bytes; at most {FILE_BYTES_MAX} are read")));
    }
    let text = fs::read(path).map_err(|error| named(error.to_string()))?;
    serde_json::from_slice(&text).map(Some).map_err(|error| named(error.to_string()))
}

/// Writes what differs from what was written before.
fn write(
    folder: &Path,
    settings: &BTreeMap<SourceKind, String>,
    shared: &str,
    next: &Latest,
    before: &Latest,
) -> Result<(), String> {
    for (source, set) in next.sets.iter().filter(|(source, set)| before.sets.get(source) != Some(set)) {
        // A task that has been told to stop will be gone by the next start.
        let stays = set.tasks.iter().filter(|task| task.state != TaskState::Stopping);
        let elements = stays.map(|task| Element::of(task)).collect();
        let settings = settings.get(source).cloned().unwrap_or_default();
        write_file(&file(folder, *source), &Remembered { settings, elements })?;
    }
    match &next.configuration {
        Some(text) if next.configuration != before.configuration => {
            let configuration = Configuration { settings: shared.to_owned(), text: text.to_string() };
            write_file(&configuration_file(folder), &configuration)
        }
        _ => Ok(()),
    }
}

fn write_file(path: &Path, value: &impl serde::Serialize) -> Result<(), String> {
    let named = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let text = serde_json::to_vec(value).map_err(|error| named(&error))?;
    replace(path, &text).map_err(|error| named(&error))
}

/// Writes a file whole or not at all, whatever ends weir or the machine meanwhile.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    // A name of its own: while one weir takes another's place, both write.
    let new = path.with_extension(format!("{}.new", std::process::id()));
    let mut file = File::create(&new)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests;
