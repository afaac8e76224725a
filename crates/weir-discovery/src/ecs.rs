//! Amazon ECS: follows the tasks of a cluster through the ECS API, those of one container instance through its agent's
//! introspection endpoint, or those that are registered in AWS Cloud Map.
//!
//! A container of a task that runs and shall run becomes a target at a host port that is known; one that is told to
//! stop drains, at the first sign of it. A source that fails keeps the last good set, and so does an agent that is not
//! connected: its containers run on. An answer that takes away everything is believed when it is given again.
//!
//! What this source lacks, on purpose: events, which may be lost and repeated; and the ECS API's idea of health.

mod api;
mod cloud_map;
mod cluster;
mod credentials;
mod documents;
mod introspection;
mod model;
mod ports;
mod signature;
mod task;

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, sleep, timeout};
use weir_core::ecs::{EcsFrom, EcsSource};
use weir_core::task::{SourceKind, Task};

pub use self::credentials::{Credentials, CredentialsError};

use self::api::{Api, Service};
use self::cloud_map::CloudMap;
use self::cluster::Cluster;
use self::introspection::Agent;
use crate::Report;
use crate::elements::Mistake;
use crate::reporter::{Backoff, Gone, Reporter, while_wanted};

/// Longest time for one whole answer, which may take many calls.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

/// How often an answer that takes away everything is given before it is believed.
const EMPTY_ANSWERS: u32 = 2;

/// Longest pause before such an answer is asked for again.
const EMPTY_PAUSE: Duration = Duration::from_secs(1);

/// Follows tasks until nobody takes reports any more.
///
/// `credentials` sign the requests to AWS; a source that [needs](EcsFrom::needs_credentials) none ignores them.
pub async fn watch(source: EcsSource, credentials: Option<Credentials>, reports: Sender<Report>) {
    let following = follow(source, credentials, Reporter::new(SourceKind::Ecs, reports.clone()));
    while_wanted(&reports, following).await;
}

async fn follow(source: EcsSource, credentials: Option<Credentials>, mut reporter: Reporter) -> Gone {
    let interval = source.interval;
    let api = |service, aws| {
        let credentials = credentials.clone().ok_or("has no credentials to sign requests with")?;
        Api::new(service, aws, credentials)
    };
    let impossible = match source.from {
        EcsFrom::Introspection { agent, address } => {
            return Follower::new(Agent::new(&agent, address), interval, reporter).run().await;
        }
        EcsFrom::Api { aws, cluster, services, instance_addresses } => {
            match (api(Service::Ecs, &aws), api(Service::Ec2, &aws)) {
                (Ok(ecs), Ok(ec2)) => {
                    let cluster = Cluster::new(ecs, ec2, cluster, services, instance_addresses);
                    return Follower::new(cluster, interval, reporter).run().await;
                }
                (Err(problem), _) | (_, Err(problem)) => problem,
            }
        }
        EcsFrom::CloudMap { aws, namespace, service } => match api(Service::CloudMap, &aws) {
            Ok(api) => {
                let cloud_map = CloudMap::new(api, namespace, service);
                return Follower::new(cloud_map, interval, reporter).run().await;
            }
            Err(problem) => problem,
        },
    };
    // Nothing will change about it; whoever takes reports learns why nothing else comes.
    match reporter.fail(impossible).await {
        Ok(()) => std::future::pending().await,
        Err(Gone) => Gone,
    }
}

/// What an answer says.
#[derive(Debug, Default)]
struct Answer {
    tasks: Vec<Task>,
    mistakes: BTreeSet<Mistake>,
}

/// Somebody who is asked again and again: a cluster, an agent or Cloud Map.
trait Asker {
    /// All there is now.
    ///
    /// # Errors
    /// What is wrong, with the remedy. Nothing is known then; half an answer is none.
    async fn ask(&mut self) -> Result<Answer, String>;

    /// The tasks with those that have left in order and have work to finish.
    fn add_departed(&mut self, tasks: Vec<Task>, _now: Instant) -> Vec<Task> {
        tasks
    }
}

/// Follows an [`Asker`]: one of the three.
struct Follower<A> {
    asker: A,
    interval: Duration,
    reporter: Reporter,
    doubt: Doubt,
}

impl<A: Asker> Follower<A> {
    fn new(asker: A, interval: Duration, reporter: Reporter) -> Self {
        Self { asker, interval, reporter, doubt: Doubt::default() }
    }

    async fn run(mut self) -> Gone {
        let mut backoff = Backoff::default();
        loop {
            let asked = timeout(ANSWER_TIMEOUT, self.asker.ask()).await;
            let late = |_| Err(format!("did not answer within {} s", ANSWER_TIMEOUT.as_secs()));
            let (told, pause) = match asked.unwrap_or_else(late) {
                Ok(answer) if self.doubt.is_cast_on(&answer) => {
                    (self.reporter.recover().await, self.interval.min(EMPTY_PAUSE))
                }
                Ok(answer) => {
                    backoff.reset();
                    (self.tell(answer).await, self.interval)
                }
                Err(problem) => (self.reporter.fail(problem).await, backoff.next()),
            };
            if told.is_err() {
                return Gone;
            }
            sleep(pause).await;
        }
    }

    async fn tell(&mut self, answer: Answer) -> Result<(), Gone> {
        self.reporter.recover().await?;
        self.reporter.quarantine(answer.mistakes).await?;
        let tasks = self.asker.add_departed(answer.tasks, Instant::now());
        self.reporter.tell(tasks).await
    }
}

/// Doubt about answers that take away everything: more likely a fault than a service that was scaled to nothing.
#[derive(Debug, Default)]
struct Doubt {
    had_tasks: bool,
    empty_answers: u32,
}

impl Doubt {
    /// Whether an answer takes away everything, and has not been given often enough to be believed.
    fn is_cast_on(&mut self, answer: &Answer) -> bool {
        if !answer.tasks.is_empty() {
            *self = Self { had_tasks: true, empty_answers: 0 };
            return false;
        }
        self.empty_answers += 1;
        self.had_tasks &= self.empty_answers < EMPTY_ANSWERS;
        self.had_tasks
    }
}

#[cfg(test)]
mod tests;
