//! Publishing: what a source says of its tasks is written below the prefix, for weirs elsewhere.
//!
//! A task's key has no lease: whoever publishes may die, and its tasks serve on. Keys are deleted when the source
//! says that a task stops or has gone. Several weirs that follow the same may publish it: a key is written only where
//! its value differs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::sync::mpsc::{Receiver, Sender};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};
use weir_core::task::{SourceKind, TaskSet, TaskState};
use weir_core::url::HttpUrl;

use super::{RANGE_BYTES_MAX, check_status, folder, messages};
use crate::Report;
use crate::elements::Element;
use crate::reporter::Backoff;
use weir_fetch as client;

/// Time after which all keys are read again: somebody else may have changed them.
const RECHECK_INTERVAL: Duration = Duration::from_secs(30);

/// How long a key must be left behind before it is deleted: another publisher may have learned of its task a moment
/// earlier.
const LEFT_BEHIND_AFTER: Duration = Duration::from_secs(5);

/// Most keys of a source that are read: what is beyond is neither compared nor deleted.
const KEYS_MAX: usize = 20_000;

/// Keys with their values.
type Pairs = BTreeMap<Vec<u8>, Vec<u8>>;

/// What the source said last.
#[derive(Clone, Debug, Default)]
struct Said {
    set: Option<TaskSet>,
    /// It cannot be asked: what it said may be old, and somebody else may know better.
    is_failing: bool,
}

/// Passes on the reports of `source`, and writes its tasks to `<prefix><source>/<id>` until nobody takes reports any more.
pub async fn publish(
    endpoints: Vec<HttpUrl>,
    prefix: String,
    source: SourceKind,
    mut said: Receiver<Report>,
    reports: Sender<Report>,
) {
    let latest = watch::Sender::new(Said::default());
    let publisher = Publisher::new(endpoints, folder(&prefix, source));
    let passing_on = async {
        while let Some(report) = said.recv().await {
            match &report {
                Report::Failed(_) => latest.send_modify(|said| said.is_failing = true),
                Report::LeftOut { .. } | Report::Shared(_) => {}
                Report::Recovered(_) => latest.send_modify(|said| said.is_failing = false),
                Report::Confirmed(set) | Report::Tasks(set) => {
                    latest.send_modify(|said| said.set = Some(set.clone()));
                }
            }
            if reports.send(report).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = passing_on => {}
        () = reports.closed() => {}
        () = publisher.run(latest.subscribe()) => {}
    }
}

struct Publisher {
    endpoints: Vec<HttpUrl>,
    /// What the source's keys begin with.
    folder: Vec<u8>,
    /// What is known to be in the store; `None` when that must be read.
    stored: Option<Pairs>,
    /// The keys of tasks that the source has or had.
    own: BTreeSet<Vec<u8>>,
    /// Keys of nobody's that were there when all were read last.
    left_behind: BTreeSet<Vec<u8>>,
    read_again_at: Instant,
    is_failing: bool,
}

impl Publisher {
    fn new(endpoints: Vec<HttpUrl>, folder: String) -> Self {
        Self {
            endpoints,
            folder: folder.into_bytes(),
            stored: None,
            own: BTreeSet::new(),
            left_behind: BTreeSet::new(),
            read_again_at: Instant::now(),
            is_failing: false,
        }
    }

    /// Ends when nothing more will be said.
    async fn run(mut self, mut latest: watch::Receiver<Said>) {
        let mut backoff = Backoff::default();
        for at in (0..self.endpoints.len()).cycle() {
            let endpoint = self.endpoints[at].clone();
            loop {
                // Nothing is written, and nothing deleted, before the source has said what there is.
                let is_known = |said: &Said| said.set.is_some() && !said.is_failing;
                let Ok(said) = latest.wait_for(is_known).await.map(|said| said.clone()) else { return };
                latest.mark_unchanged();
                let wanted = said.set.as_ref().map(|set| self.wanted(set)).unwrap_or_default();
                if let Err(problem) = self.write(&endpoint, wanted).await {
                    self.fail(&format!("{}: {problem}", endpoint.authority()));
                    break;
                }
                backoff.reset();
                if std::mem::take(&mut self.is_failing) {
                    tracing::info!("etcd: publishing to {} goes on", String::from_utf8_lossy(&self.folder));
                }
                // Either way the next step finds out what is to be done.
                let _ = timeout_at(self.read_again_at, latest.changed()).await;
            }
            sleep(backoff.next()).await;
        }
    }

    /// What the store should have.
    fn wanted(&self, set: &TaskSet) -> Pairs {
        let mut pairs = Pairs::new();
        for task in &set.tasks {
            // A reader cannot be told of a task that it must wait for it, or drain it: it has the task or not.
            if matches!(task.state, TaskState::Starting | TaskState::Stopping) {
                continue;
            }
            let name = task.id.as_ref().map_or(task.name.as_str(), |id| &id.id);
            let key = [&self.folder, name.as_bytes()].concat();
            match serde_json::to_vec(&Element::of(task)) {
                Ok(value) => drop(pairs.insert(key, value)),
                Err(error) => tracing::warn!("{name} cannot be published: {error}"),
            }
        }
        pairs
    }

    /// Makes the store have it.
    async fn write(&mut self, endpoint: &HttpUrl, wanted: Pairs) -> Result<(), String> {
        self.own.extend(wanted.keys().cloned());
        // After a failure it is not known what has been written.
        let known = self.stored.take().filter(|_| Instant::now() < self.read_again_at);
        let is_read = known.is_none();
        let stored = match known {
            Some(stored) => stored,
            None => self.read(endpoint).await?,
        };
        for (key, value) in &wanted {
            if stored.get(key) != Some(value) {
                ask(endpoint, "/v3/kv/txn", messages::put_if_differing(key, value)).await?;
            }
        }
        let mut left_behind = BTreeSet::new();
        for key in stored.into_keys().filter(|key| !wanted.contains_key(key)) {
            if self.own.contains(&key) || self.left_behind.contains(&key) {
                ask(endpoint, "/v3/kv/deleterange", messages::delete_request(&key)).await?;
            } else {
                left_behind.insert(key);
            }
        }
        if is_read {
            let pause = if left_behind.is_empty() { RECHECK_INTERVAL } else { LEFT_BEHIND_AFTER };
            self.read_again_at = Instant::now() + pause;
            self.left_behind = left_behind;
        }
        self.own = wanted.keys().cloned().collect();
        self.stored = Some(wanted);
        Ok(())
    }

    async fn read(&self, endpoint: &HttpUrl) -> Result<Pairs, String> {
        let request = messages::range_request(&self.folder, KEYS_MAX);
        let range = messages::range(&ask(endpoint, "/v3/kv/range", request).await?)?;
        Ok(range.pairs.into_iter().map(|pair| (pair.key.0, pair.value.0)).collect())
    }

    /// Says once what is wrong. The source is followed all the same.
    fn fail(&mut self, problem: &str) {
        if !std::mem::replace(&mut self.is_failing, true) {
            let folder = String::from_utf8_lossy(&self.folder);
            tracing::warn!("etcd: tasks cannot be published to {folder}: {problem}; weir goes on trying");
        }
    }
}

async fn ask(endpoint: &HttpUrl, path: &str, request: String) -> Result<Vec<u8>, String> {
    let said = |error: client::ClientError| error.to_string();
    let answer = client::post_json(&endpoint.with_path(path), request).await.map_err(said)?;
    check_status(&answer)?;
    answer.whole(RANGE_BYTES_MAX).await.map_err(said)
}
