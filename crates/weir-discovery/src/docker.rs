//! The Docker source: follows the containers of one engine.
//!
//! Events say what happens as it happens: a container's own stop signal (`kill`) comes before its process is gone,
//! and is the first sign that it is leaving. A list, at the start and every `RELIST_INTERVAL`, repairs what events
//! have missed. A failure of the engine keeps the last good set.

mod container;
mod endpoint;
mod model;

use std::collections::BTreeMap;
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;
use bollard::query_parameters::{
    EventsOptionsBuilder, InspectContainerOptions, ListContainersOptionsBuilder,
};
use futures_util::{Stream, StreamExt};
use tokio::sync::mpsc::Sender;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use weir_core::task::SourceKind;

pub(crate) use container::{STACK, in_stack};
pub use endpoint::{Endpoint, EndpointError, endpoint};

use self::model::{Effect, Event, Model};
use crate::Report;
use crate::reporter::{Gone, Reporter};

/// Time between two lists that repair what events have missed.
const RELIST_INTERVAL: Duration = Duration::from_secs(30);

/// Time to the second list after events have been subscribed to: it closes the gap before the first event.
const SECOND_LIST_AFTER: Duration = Duration::from_secs(1);

/// Longest time that the engine may take to answer a question.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The first pause before the engine is asked again after a failure; it doubles up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(100);

/// The longest such pause.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Follows the engine until nobody takes reports any more.
pub async fn watch(endpoint: Endpoint, reports: Sender<Report>) {
    let mut watcher = Watcher {
        model: Model::new(endpoint.host()),
        reporter: Reporter::new(SourceKind::Docker, reports.clone()),
        reports,
    };
    let mut pause = PAUSE;
    loop {
        let ended = match endpoint.connect() {
            Ok(docker) => watcher.follow(&docker, &mut pause).await,
            Err(error) => Err(error),
        };
        match ended {
            Ok(Gone) => return,
            Err(error) => {
                let told = watcher.reporter.fail(endpoint.explain(&error)).await;
                if told.is_err() || watcher.reports.is_closed() {
                    return;
                }
            }
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

struct Watcher {
    model: Model,
    reports: Sender<Report>,
    reporter: Reporter,
}

impl Watcher {
    /// Subscribes, lists, and follows events until the stream ends or fails.
    async fn follow(&mut self, docker: &Docker, pause: &mut Duration) -> Result<Gone, Error> {
        let filter = std::collections::HashMap::from([("type", vec!["container"])]);
        let options = EventsOptionsBuilder::new().filters(&filter).build();
        // An event of another type would end the stream: only containers' are asked for.
        let mut events = Box::pin(docker.events(Some(options)));
        let mut relist_at = Instant::now();
        let mut is_first_list = true;
        loop {
            let survived_at = self.model.next_survival();
            let survival = async {
                match survived_at {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let effect = tokio::select! {
                biased;
                () = self.reports.closed() => return Ok(Gone),
                event = events.next() => match read(event)? {
                    Some(event) => self.model.apply(&event, Instant::now()),
                    None => Effect::Nothing,
                },
                () = survival => {
                    self.model.note_survivals(Instant::now());
                    Effect::Changed
                }
                () = sleep_until(relist_at) => {
                    let Ok(()) = self.list(docker, &mut events).await? else { return Ok(Gone) };
                    *pause = PAUSE;
                    if self.reporter.recover().await.is_err() {
                        return Ok(Gone);
                    }
                    let again = if is_first_list { SECOND_LIST_AFTER } else { RELIST_INTERVAL };
                    is_first_list = false;
                    relist_at = Instant::now() + again;
                    Effect::Changed
                }
            };
            let told = match effect {
                Effect::Nothing => Ok(()),
                Effect::Changed => self.tell().await,
                Effect::Inspect { id, cause } => {
                    let found = inspect(docker, &id).await?;
                    self.model.put(id, found, &cause);
                    self.tell().await
                }
            };
            if told.is_err() {
                return Ok(Gone);
            }
        }
    }

    /// Takes in every running container. Events that arrive meanwhile are applied at once.
    async fn list(
        &mut self,
        docker: &Docker,
        events: &mut (impl Stream<Item = Result<bollard::models::EventMessage, Error>> + Unpin),
    ) -> Result<Result<(), Gone>, Error> {
        let listing = async {
            let options = ListContainersOptionsBuilder::new().all(false).build();
            let summaries = answered(docker.list_containers(Some(options))).await?;
            let mut found = Vec::with_capacity(summaries.len());
            for id in summaries.into_iter().filter_map(|summary| summary.id) {
                let inspected = inspect(docker, &id).await?;
                found.push((id, inspected));
            }
            Ok::<_, Error>(found)
        };
        tokio::pin!(listing);
        // The list may have been made before or after such an event: these containers are looked at once more.
        let mut changed_meanwhile = BTreeMap::new();
        let found = loop {
            tokio::select! {
                biased;
                event = events.next() => {
                    let Some(event) = read(event)? else { continue };
                    match self.model.apply(&event, Instant::now()) {
                        Effect::Nothing => continue,
                        Effect::Changed => drop(changed_meanwhile.insert(event.id, "listed".to_owned())),
                        Effect::Inspect { id, cause } => drop(changed_meanwhile.insert(id, cause)),
                    }
                    if self.tell().await.is_err() {
                        return Ok(Err(Gone));
                    }
                }
                found = &mut listing => break found?,
            }
        };
        self.model.replace(found);
        for (id, cause) in changed_meanwhile {
            let inspected = inspect(docker, &id).await?;
            self.model.put(id, inspected, &cause);
        }
        Ok(Ok(()))
    }

    async fn tell(&mut self) -> Result<(), Gone> {
        self.reporter.quarantine(self.model.mistakes()).await?;
        self.reporter.tell(self.model.tasks()).await
    }
}

/// What the stream of events says next; `None` when that is about nothing that matters here.
fn read(event: Option<Result<bollard::models::EventMessage, Error>>) -> Result<Option<Event>, Error> {
    match event {
        Some(message) => Ok(Event::read(&message?)),
        None => Err(Error::IOError { err: std::io::Error::other("the engine ended the stream of events") }),
    }
}

/// One container; `None` when it is gone by now.
async fn inspect(
    docker: &Docker,
    id: &str,
) -> Result<Option<bollard::models::ContainerInspectResponse>, Error> {
    match answered(docker.inspect_container(id, None::<InspectContainerOptions>)).await {
        Ok(found) => Ok(Some(found)),
        Err(Error::DockerResponseServerError { status_code: 404, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What the engine answers, in time.
pub(crate) async fn answered<T>(asked: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    timeout(ANSWER_TIMEOUT, asked).await.unwrap_or(Err(Error::RequestTimeoutError))
}
