//! Publishing: what a source says of its tasks is written below the prefix, for weirs elsewhere.
//!
//! A task's key has no lease: whoever publishes may die, and its tasks serve on. Keys are deleted when the source
//! says that a task stops or has gone. Several weirs that follow the same may publish it: a key is written only where
//! its value differs.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::sync::mpsc::{Receiver, Sender};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use weir_core::task::{SourceKind, TaskSet, TaskState};
use weir_core::url::HttpUrl;

use super::{RANGE_BYTES_MAX, check_status, messages};
use crate::Report;
use crate::client;
use crate::elements::Element;
use crate::reporter::{Backoff, clipped};

/// Time after which all keys are read again: somebody else may have changed them.
const RECHECK_INTERVAL: Duration = Duration::from_secs(30);

/// Most keys of a source that are read: what is beyond is neither compared nor deleted.
const KEYS_MAX: usize = 20_000;

/// Keys with their values.
type Pairs = BTreeMap<Vec<u8>, Vec<u8>>;

/// Passes on the reports of `source`, and writes its tasks to `<prefix><source>/<id>` until nobody takes reports any more.
pub async fn publish(
    endpoints: Vec<HttpUrl>,
    prefix: String,
    source: SourceKind,
    mut said: Receiver<Report>,
    reports: Sender<Report>,
) {
    let latest = watch::Sender::new(None);
    let publisher = Publisher {
        endpoints,
        folder: format!("{prefix}{}/", source.as_str()).into_bytes(),
        stored: None,
        problem: None,
    };
    let passing_on = async {
        while let Some(report) = said.recv().await {
            if let Report::Tasks(set) = &report {
                latest.send_replace(Some(set.clone()));
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
    /// What went wrong last, and was said.
    problem: Option<String>,
}

impl Publisher {
    /// Never ends by itself.
    async fn run(mut self, mut latest: watch::Receiver<Option<TaskSet>>) {
        let mut backoff = Backoff::default();
        for at in (0..self.endpoints.len()).cycle() {
            loop {
                // Nothing is written, and nothing deleted, before the source has said what there is.
                let wanted = match latest.wait_for(Option::is_some).await {
                    Ok(set) => set.as_ref().map(|set| self.wanted(set)).unwrap_or_default(),
                    Err(_) => return,
                };
                latest.mark_unchanged();
                let endpoint = self.endpoints[at].clone();
                if let Err(problem) = self.write(&endpoint, wanted).await {
                    self.fail(format!("{}: {problem}", endpoint.authority()));
                    break;
                }
                backoff.reset();
                if self.problem.take().is_some() {
                    tracing::info!("etcd: publishing to {} goes on", String::from_utf8_lossy(&self.folder));
                }
                if timeout(RECHECK_INTERVAL, latest.changed()).await.is_err() {
                    self.stored = None;
                }
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
        let mut stored = match self.stored.take() {
            Some(stored) => stored,
            None => self.read(endpoint).await?,
        };
        for (key, value) in &wanted {
            if stored.get(key) != Some(value) {
                ask(endpoint, "/v3/kv/txn", messages::put_if_differing(key, value)).await?;
            }
        }
        let gone: BTreeSet<Vec<u8>> =
            stored.keys().filter(|key| !wanted.contains_key(*key)).cloned().collect();
        for key in gone {
            ask(endpoint, "/v3/kv/deleterange", messages::delete_request(&key)).await?;
            stored.remove(&key);
        }
        self.stored = Some(wanted);
        Ok(())
    }

    async fn read(&self, endpoint: &HttpUrl) -> Result<Pairs, String> {
        let request = messages::range_request(&self.folder, KEYS_MAX);
        let range = messages::range(&ask(endpoint, "/v3/kv/range", request).await?)?;
        Ok(range.pairs.into_iter().map(|pair| (pair.key.0, pair.value.0)).collect())
    }

    /// Says once what is wrong. The source is followed all the same.
    fn fail(&mut self, problem: String) {
        let problem = clipped(problem);
        if self.problem.as_ref() != Some(&problem) {
            let folder = String::from_utf8_lossy(&self.folder);
            tracing::warn!("etcd: tasks cannot be published to {folder}: {problem}; weir goes on trying");
        }
        self.problem = Some(problem);
    }
}

async fn ask(endpoint: &HttpUrl, path: &str, request: String) -> Result<Vec<u8>, String> {
    let said = |error: client::ClientError| error.to_string();
    let answer = client::post_json(&endpoint.with_path(path), request).await.map_err(said)?;
    check_status(&answer)?;
    answer.whole(RANGE_BYTES_MAX).await.map_err(said)
}
