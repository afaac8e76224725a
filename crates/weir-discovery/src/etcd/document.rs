//! The configuration that several weirs share: the value of one key, whole, whenever it changes.

use tokio::sync::mpsc::Sender;
use weir_core::url::HttpUrl;

use super::messages::{Event, EventKind, Pair};
use super::{Follower, Watcher};
use crate::reporter::{Gone, clipped, while_wanted};
use crate::{Report, Shared};

/// Follows the value of `key` until nobody takes reports any more.
///
/// `endpoints` are members of one cluster; while one answers, the others are not asked.
pub async fn watch_configuration(endpoints: Vec<HttpUrl>, key: String, reports: Sender<Report>) {
    let document = Document {
        key: key.clone().into_bytes(),
        value: None,
        told: None,
        failing: None,
        reports: reports.clone(),
    };
    let watcher = Watcher::new(key.into_bytes(), document);
    while_wanted(&reports, watcher.run(&endpoints)).await;
}

/// No revision of a store that wrote anything.
const MISSING: i64 = 0;

struct Document {
    key: Vec<u8>,
    /// The key as it is in the store; `None` when it is not there.
    value: Option<Pair>,
    /// What was told last: the revision and the value, which another store may have at the same revision. `None` of it
    /// where there was nothing.
    told: Option<(i64, Option<Vec<u8>>)>,
    failing: Option<String>,
    reports: Sender<Report>,
}

impl Document {
    async fn send(&self, shared: Shared) -> Result<(), Gone> {
        self.reports.send(Report::Shared(shared)).await.map_err(|_| Gone)
    }
}

impl Follower for Document {
    fn replace(&mut self, pairs: Vec<Pair>) {
        // Longer keys begin like this one.
        self.value = pairs.into_iter().find(|pair| pair.key.0 == self.key);
    }

    fn apply(&mut self, event: Event) {
        if event.kv.key.0 == self.key {
            self.value = (event.kind == EventKind::Put).then_some(event.kv);
        }
    }

    fn key_count(&self) -> usize {
        usize::from(self.value.is_some())
    }

    async fn tell(&mut self) -> Result<(), Gone> {
        let revision = self.value.as_ref().map_or(MISSING, |pair| pair.mod_revision.0);
        let now = (revision, self.value.as_ref().map(|pair| pair.value.0.clone()));
        if self.told.replace(now.clone()) == Some(now) {
            return Ok(());
        }
        let shared = match &self.value {
            Some(pair) => Shared::Written {
                // Bytes that are no text become characters that no key or value has.
                text: String::from_utf8_lossy(&pair.value.0).into_owned(),
                revision: pair.mod_revision.0,
            },
            None => Shared::Missing,
        };
        self.send(shared).await
    }

    async fn fail(&mut self, problem: String) -> Result<(), Gone> {
        let problem = clipped(&problem);
        if self.failing.replace(problem.clone()).as_ref() == Some(&problem) {
            return Ok(());
        }
        self.send(Shared::Failed(problem)).await
    }

    async fn recover(&mut self) -> Result<(), Gone> {
        match self.failing.take() {
            Some(_) => self.send(Shared::Recovered).await,
            None => Ok(()),
        }
    }
}
