//! The Swarm source: follows the tasks of a Docker Swarm, as one of its managers tells of them.
//!
//! A manager has no events of tasks: they are asked for again and again. What they refer to, services and nodes, changes
//! seldom, and is asked for every `REFRESH_INTERVAL` and when a task refers to what is not known. A manager that does
//! not answer keeps the last good set.

mod model;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;
use bollard::query_parameters::{
    InspectNetworkOptionsBuilder, ListNodesOptions, ListServicesOptions, ListTasksOptions,
};
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, sleep};
use weir_core::task::SourceKind;

use self::model::Model;
use crate::Report;
use crate::docker::{Endpoint, answered};
use crate::reporter::{Backoff, Gone, Reporter, while_wanted};

/// Time after which services and nodes are asked for again.
const REFRESH_INTERVAL: Duration = Duration::from_secs(1);

/// Most tasks that are followed.
const TASKS_MAX: usize = 10_000;

/// Follows the tasks until nobody takes reports any more.
///
/// `addresses` are where nodes are reached, by host name or id; the others say it themselves. `interval` is the time
/// between an answer and the next question.
pub async fn watch(
    endpoint: Endpoint,
    addresses: BTreeMap<String, IpAddr>,
    interval: Duration,
    reports: Sender<Report>,
) {
    let watcher = Watcher {
        model: Model::new(addresses, endpoint.host()),
        endpoint,
        interval,
        reporter: Reporter::new(SourceKind::Swarm, reports.clone()),
        backoff: Backoff::default(),
    };
    while_wanted(&reports, watcher.run()).await;
}

/// Why following a manager has ended.
enum Ended {
    Gone,
    Lost(String),
}

impl From<Gone> for Ended {
    fn from(Gone: Gone) -> Self {
        Self::Gone
    }
}

struct Watcher {
    model: Model,
    endpoint: Endpoint,
    interval: Duration,
    reporter: Reporter,
    backoff: Backoff,
}

impl Watcher {
    async fn run(mut self) -> Gone {
        loop {
            let problem = match self.follow().await {
                Ended::Gone => return Gone,
                Ended::Lost(problem) => problem,
            };
            if self.reporter.fail(problem).await.is_err() {
                return Gone;
            }
            sleep(self.backoff.next()).await;
        }
    }

    /// Asks until that fails.
    async fn follow(&mut self) -> Ended {
        let docker = match self.endpoint.connect() {
            Ok(docker) => docker,
            Err(error) => return self.lost(&error),
        };
        let mut refreshed_at = None;
        loop {
            match self.ask(&docker, &mut refreshed_at).await {
                Ok(Ok(())) => {}
                Ok(Err(ended)) => return ended,
                Err(error) => return self.lost(&error),
            }
            sleep(self.interval).await;
        }
    }

    async fn ask(
        &mut self,
        docker: &Docker,
        refreshed_at: &mut Option<Instant>,
    ) -> Result<Result<(), Ended>, Error> {
        let mut tasks = answered(docker.list_tasks(None::<ListTasksOptions>)).await?;
        // A Swarm keeps a history of those that have ended.
        tasks.retain(model::runs);
        if tasks.len() > TASKS_MAX {
            let count = tasks.len();
            return Ok(Err(Ended::Lost(format!("has {count} tasks; at most {TASKS_MAX} are followed"))));
        }
        let is_stale = refreshed_at.is_none_or(|at| at.elapsed() >= REFRESH_INTERVAL);
        if is_stale || !self.model.knows_what_they_refer_to(&tasks) {
            if refreshed_at.is_none() {
                self.introduce(docker).await?;
            }
            let services = answered(docker.list_services(None::<ListServicesOptions>)).await?;
            let nodes = answered(docker.list_nodes(None::<ListNodesOptions>)).await?;
            self.model.refresh(services, nodes, &tasks);
            *refreshed_at = Some(Instant::now());
        }
        self.backoff.reset();
        let (tasks, mistakes) = self.model.read(&tasks);
        let told = async {
            self.reporter.quarantine(mistakes).await?;
            // Before it is said that all is well: whoever publishes must not begin with what was.
            self.reporter.tell(tasks).await?;
            self.reporter.recover().await
        };
        Ok(told.await.map_err(Ended::from))
    }

    /// Which node is asked, and which network is that of the nodes themselves.
    async fn introduce(&mut self, docker: &Docker) -> Result<(), Error> {
        let own = answered(docker.info()).await?.swarm.and_then(|swarm| swarm.node_id);
        let options = InspectNetworkOptionsBuilder::new().scope("swarm").build();
        let host = match answered(docker.inspect_network("host", Some(options))).await {
            Ok(network) => network.id,
            Err(Error::DockerResponseServerError { status_code: 404, .. }) => None,
            Err(error) => return Err(error),
        };
        self.model.introduce(own, host);
        Ok(())
    }

    fn lost(&self, error: &Error) -> Ended {
        Ended::Lost(match error {
            Error::DockerResponseServerError { status_code: 503, message }
                if message.contains("not a swarm manager") =>
            {
                format!(
                    "the Docker engine at {} is not a manager of a Swarm, and only managers know its tasks: name a manager's \
                     `endpoint`, run weir on a manager, or read from etcd what a weir on a manager publishes there",
                    self.endpoint
                )
            }
            error => self.endpoint.explain(error),
        })
    }
}

#[cfg(test)]
mod tests;
