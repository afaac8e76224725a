//! The etcd source: follows the keys below a prefix, through etcd v3's JSON gateway.
//!
//! The value of a key is one element in `file_sd`'s shape, or a list of them. All keys are read once, at one revision
//! of the store, and what happens after that revision is watched. A watch that ends, falls behind a compaction or is
//! silent for long is followed by another reading, so that nothing is missed. A value that cannot be read leaves out
//! its key and nothing else; a cluster that is lost keeps the last good set.

mod document;
mod messages;
mod model;
mod publish;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::time::Duration;

use tokio::sync::mpsc::Sender;
use tokio::time::{sleep, timeout};
use weir_core::task::SourceKind;
use weir_core::url::HttpUrl;

use crate::Report;
use crate::reporter::{Backoff, Gone, Reporter, while_wanted};
use weir_fetch::{self as client, Answer, ClientError};

pub use self::document::watch_configuration;
pub use self::publish::publish;

use self::messages::{Event, Lines, Pair, Watched};
use self::model::Model;

/// Largest answer to the reading of all keys, in bytes.
const RANGE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Largest message of a watch, in bytes: etcd itself takes requests of at most 1.5 MiB.
const MESSAGE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Most keys below the prefix.
const KEYS_MAX: usize = 10_000;

/// Longest silence of a watch before all keys are read again: a member that vanished says nothing either.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Follows the keys that begin with `prefix` until nobody takes reports any more, but not those of the sources that weir
/// has `published` there itself.
///
/// `endpoints` are members of one cluster; while one answers, the others are not asked.
pub async fn watch(
    endpoints: Vec<HttpUrl>,
    prefix: String,
    published: BTreeSet<SourceKind>,
    reports: Sender<Report>,
) {
    let own = published.into_iter().map(|source| folder(&prefix, source).into_bytes()).collect();
    let targets =
        Targets { model: Model::without(own), reporter: Reporter::new(SourceKind::Etcd, reports.clone()) };
    let watcher = Watcher::new(prefix.into_bytes(), targets);
    while_wanted(&reports, watcher.run(&endpoints)).await;
}

/// Why following a member has ended.
enum Ended {
    /// Nobody takes reports any more.
    Gone,
    /// The member has failed.
    Lost(String),
    /// All keys are to be read again.
    Renew,
}

impl From<Gone> for Ended {
    fn from(Gone: Gone) -> Self {
        Self::Gone
    }
}

impl From<ClientError> for Ended {
    fn from(error: ClientError) -> Self {
        Self::Lost(error.to_string())
    }
}

impl From<String> for Ended {
    fn from(problem: String) -> Self {
        Self::Lost(problem)
    }
}

/// Who is told of keys.
trait Follower {
    /// All keys that there are.
    fn replace(&mut self, pairs: Vec<Pair>);

    /// What happened to one of them.
    fn apply(&mut self, event: Event);

    fn key_count(&self) -> usize;

    /// Says what there is now, if that is news.
    async fn tell(&mut self) -> Result<(), Gone>;

    /// Says that no member answers.
    async fn fail(&mut self, problem: String) -> Result<(), Gone>;

    /// Says that one does again.
    async fn recover(&mut self) -> Result<(), Gone>;
}

/// Follows targets.
struct Targets {
    model: Model,
    reporter: Reporter,
}

impl Follower for Targets {
    fn replace(&mut self, pairs: Vec<Pair>) {
        self.model.replace(pairs);
    }

    fn apply(&mut self, event: Event) {
        self.model.apply(event);
    }

    fn key_count(&self) -> usize {
        self.model.key_count()
    }

    async fn tell(&mut self) -> Result<(), Gone> {
        self.reporter.quarantine(self.model.mistakes()).await?;
        if self.model.is_confirmed() {
            self.reporter.confirm(self.model.tasks()).await
        } else {
            self.reporter.tell(self.model.tasks()).await
        }
    }

    async fn fail(&mut self, problem: String) -> Result<(), Gone> {
        self.reporter.fail(problem).await
    }

    async fn recover(&mut self) -> Result<(), Gone> {
        self.reporter.recover().await
    }
}

/// Follows the keys that begin with `prefix`.
struct Watcher<F> {
    prefix: Vec<u8>,
    follower: F,
    backoff: Backoff,
    /// What is wrong with each member that has failed since one answered.
    problems: BTreeMap<usize, String>,
}

impl<F: Follower> Watcher<F> {
    fn new(prefix: Vec<u8>, follower: F) -> Self {
        Self { prefix, follower, backoff: Backoff::default(), problems: BTreeMap::new() }
    }

    async fn run(mut self, endpoints: &[HttpUrl]) -> Gone {
        for at in (0..endpoints.len()).cycle() {
            loop {
                match self.follow(&endpoints[at]).await {
                    Ok(never) => match never {},
                    Err(Ended::Gone) => return Gone,
                    Err(Ended::Renew) => sleep(self.backoff.next()).await,
                    Err(Ended::Lost(problem)) => {
                        self.problems.insert(at, format!("{}: {problem}", endpoints[at].authority()));
                        break;
                    }
                }
            }
            // One member may be down: the cluster is lost when none answers.
            if self.problems.len() == endpoints.len() {
                let problems: Vec<&str> = self.problems.values().map(String::as_str).collect();
                if self.follower.fail(problems.join("; ")).await.is_err() {
                    return Gone;
                }
            }
            sleep(self.backoff.next()).await;
        }
        // Without members there is nothing to follow.
        Gone
    }

    /// Reads all keys, then follows what happens to them.
    async fn follow(&mut self, endpoint: &HttpUrl) -> Result<Infallible, Ended> {
        let revision = self.read(endpoint).await?;
        self.follower.tell().await?;

        let request = messages::watch_request(&self.prefix, revision + 1);
        let mut watch = client::post_json(&endpoint.with_path("/v3/watch"), request).await?;
        check_status(&watch)?;
        let mut lines = Lines::new(MESSAGE_BYTES_MAX);
        loop {
            let Ok(piece) = timeout(SILENCE_MAX, watch.piece()).await else { return Err(Ended::Renew) };
            let piece = piece?.ok_or_else(|| "ended the watch".to_owned())?;
            lines.push(&piece)?;
            while let Some(line) = lines.next() {
                match messages::watched(&line)? {
                    Watched::Ended => return Err(Ended::Renew),
                    Watched::Events(events) => {
                        // Its first message says that the watch stands: until then the member has not shown itself.
                        self.backoff.reset();
                        self.problems.clear();
                        self.follower.recover().await?;
                        for event in events {
                            self.follower.apply(event);
                        }
                    }
                }
            }
            check_count(self.follower.key_count())?;
            self.follower.tell().await?;
        }
    }

    /// Reads all keys at one revision of the store, which is returned.
    async fn read(&mut self, endpoint: &HttpUrl) -> Result<i64, Ended> {
        let request = messages::range_request(&self.prefix, KEYS_MAX + 1);
        let answer = client::post_json(&endpoint.with_path("/v3/kv/range"), request).await?;
        check_status(&answer)?;
        let range = messages::range(&answer.whole(RANGE_BYTES_MAX).await?)?;
        check_count(range.pairs.len())?;
        self.follower.replace(range.pairs);
        Ok(range.revision)
    }
}

/// What the keys of the tasks of a source begin with, where this machine publishes them. What a machine's own engine or
/// files say is that machine's own.
fn folder(prefix: &str, source: SourceKind) -> String {
    let folder = format!("{prefix}{}/", source.as_str());
    match source {
        SourceKind::Docker | SourceKind::File => {
            let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
            format!("{folder}{}/", host.trim())
        }
        SourceKind::Dns | SourceKind::Ecs | SourceKind::Etcd | SourceKind::Http | SourceKind::Swarm => folder,
    }
}

fn check_status(answer: &Answer) -> Result<(), String> {
    const OK: u16 = 200;
    match answer.status {
        OK => Ok(()),
        404 => Err("has no JSON gateway at /v3; etcd 3.4 or later is needed".to_owned()),
        401 | 403 => Err("wants a user, which weir does not send".to_owned()),
        status => Err(format!("answered with status {status} where 200 was expected")),
    }
}

fn check_count(count: usize) -> Result<(), String> {
    if count > KEYS_MAX {
        return Err(format!("has more than {KEYS_MAX} keys below the prefix; no more are read"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
