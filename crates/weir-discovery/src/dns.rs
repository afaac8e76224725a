//! The DNS source: looks up what target groups ask for, again when the answer has lived its time.
//!
//! Each name is followed by itself. A name that does not exist is an empty answer; a server that fails, or none that
//! answers, keeps the name's last good targets. No answer is cached: its time to live says when to ask again.

mod resolver;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::sleep;
use weir_core::address::TargetAddr;
use weir_core::lookup::{Lookup, Record};
use weir_core::target::Weight;
use weir_core::task::{Provenance, SourceKind, Task, TaskLabels, TaskPort, TaskState, Transports};

use crate::Report;
use crate::elements::Mistake;
use crate::reporter::{Backoff, Gone, Reporter, while_wanted};

use self::resolver::{Addresses, Family, Resolver, Service};

/// Shortest time to the next look-up of a name, whatever its records say.
const REFRESH_MIN: Duration = Duration::from_secs(1);

/// Longest such time: whoever changes a record should not wait for a day that it was once given.
const REFRESH_MAX: Duration = Duration::from_secs(60);

/// Most targets of one name.
const TARGETS_MAX: usize = 1000;

/// Hosts of SRV records that are looked up at a time.
const HOSTS_AT_ONCE: usize = 16;

/// Names in one report of a failure; of the others only the count is told.
const FAILURES_SHOWN: usize = 3;

/// Answers that may wait to be taken in.
const ANSWERS_MAX: usize = 64;

/// Follows every name that `lookups` has until nobody takes reports any more.
///
/// `server` is asked, or the servers of `/etc/resolv.conf`, which is read anew each time.
pub async fn watch(
    server: Option<SocketAddr>,
    lookups: watch::Receiver<BTreeSet<Lookup>>,
    reports: mpsc::Sender<Report>,
) {
    let (answers, answered) = mpsc::channel(ANSWERS_MAX);
    let watcher = Watcher {
        server,
        followed: BTreeMap::new(),
        answers,
        reporter: Reporter::new(SourceKind::Dns, reports.clone()),
        is_begun: false,
    };
    while_wanted(&reports, watcher.run(lookups, answered)).await;
}

/// What a look-up has found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Answer {
    tasks: Vec<Task>,
    mistakes: Vec<Mistake>,
    /// How long it lives.
    ttl: Duration,
}

struct Watcher {
    server: Option<SocketAddr>,
    followed: BTreeMap<Lookup, Followed>,
    answers: mpsc::Sender<(Lookup, Result<Answer, String>)>,
    reporter: Reporter,
    /// Whether every name had been looked up once.
    is_begun: bool,
}

/// A name that is followed, by a task that ends with this.
#[derive(Debug)]
struct Followed {
    task: AbortHandle,
    /// The last good answer.
    good: Option<Answer>,
    /// What is wrong now.
    problem: Option<String>,
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Watcher {
    async fn run(
        mut self,
        mut lookups: watch::Receiver<BTreeSet<Lookup>>,
        mut answered: mpsc::Receiver<(Lookup, Result<Answer, String>)>,
    ) -> Gone {
        let mut can_change = true;
        loop {
            let wanted = lookups.borrow_and_update().clone();
            self.follow(wanted);
            if self.tell().await.is_err() {
                return Gone;
            }
            tokio::select! {
                changed = lookups.changed(), if can_change => can_change = changed.is_ok(),
                Some((lookup, answer)) = answered.recv() => self.take_in(&lookup, answer),
            }
        }
    }

    /// Follows exactly these. What is known of names that stay, stays.
    fn follow(&mut self, wanted: BTreeSet<Lookup>) {
        self.followed.retain(|lookup, _| wanted.contains(lookup));
        for lookup in wanted {
            let (server, answers) = (self.server, self.answers.clone());
            self.followed.entry(lookup).or_insert_with_key(|lookup| {
                let task = tokio::spawn(follow(server, lookup.clone(), answers)).abort_handle();
                Followed { task, good: None, problem: None }
            });
        }
    }

    fn take_in(&mut self, lookup: &Lookup, answer: Result<Answer, String>) {
        // A name may have been given up while its answer was under way.
        let Some(followed) = self.followed.get_mut(lookup) else { return };
        match answer {
            Ok(answer) => {
                followed.good = Some(answer);
                followed.problem = None;
            }
            Err(problem) => followed.problem = Some(problem),
        }
    }

    async fn tell(&mut self) -> Result<(), Gone> {
        // The first set is whole, so that weir does not become ready with half of its targets.
        self.is_begun |=
            self.followed.values().all(|followed| followed.good.is_some() || followed.problem.is_some());
        if !self.is_begun {
            return Ok(());
        }
        let failing = self.followed.iter().filter_map(|(lookup, followed)| {
            followed.problem.as_ref().map(|problem| format!("{lookup}: {problem}"))
        });
        match spell(failing.collect()) {
            Some(problem) => self.reporter.fail(problem).await?,
            None => self.reporter.recover().await?,
        }
        let good: Vec<&Answer> =
            self.followed.values().filter_map(|followed| followed.good.as_ref()).collect();
        if good.is_empty() && !self.followed.is_empty() {
            // Nothing has been heard at all: that is not an empty set.
            return Ok(());
        }
        let mistakes = good.iter().flat_map(|answer| &answer.mistakes).cloned().collect();
        let tasks = good.iter().flat_map(|answer| &answer.tasks).cloned().collect();
        self.reporter.quarantine(mistakes).await?;
        self.reporter.tell(tasks).await
    }
}

/// Several failures in one text; `None` without any.
fn spell(failures: Vec<String>) -> Option<String> {
    let more = failures.len().saturating_sub(FAILURES_SHOWN);
    let mut shown: Vec<String> = failures.into_iter().take(FAILURES_SHOWN).collect();
    if more > 0 {
        shown.push(format!("and {more} more"));
    }
    (!shown.is_empty()).then(|| shown.join("; "))
}

/// Looks one name up for as long as its answers are wanted.
async fn follow(
    server: Option<SocketAddr>,
    lookup: Lookup,
    answers: mpsc::Sender<(Lookup, Result<Answer, String>)>,
) {
    let mut backoff = Backoff::default();
    loop {
        let answer = match Resolver::new(server) {
            Ok(resolver) => resolve(&lookup, &resolver).await,
            Err(problem) => Err(problem),
        };
        let pause = match &answer {
            Ok(answer) => {
                backoff.reset();
                answer.ttl.clamp(REFRESH_MIN, REFRESH_MAX)
            }
            Err(_) => backoff.next(),
        };
        if answers.send((lookup.clone(), answer)).await.is_err() {
            return;
        }
        sleep(pause).await;
    }
}

/// One look-up, with those that it leads to.
async fn resolve(lookup: &Lookup, resolver: &Resolver) -> Result<Answer, String> {
    let name = lookup.name.as_str();
    let (family, port) = match lookup.record {
        Record::A { port } => (Family::V4, port),
        Record::Aaaa { port } => (Family::V6, port),
        Record::Srv => return resolve_services(lookup, resolver).await,
    };
    let found = resolver.addresses(name, family).await?;
    let addrs = found.addrs.iter().map(|ip| SocketAddr::new(*ip, port));
    let tasks = addrs.map(|addr| task(lookup, addr, addr.to_string(), None)).collect();
    limited(Answer { tasks, mistakes: Vec::new(), ttl: found.ttl })
}

async fn resolve_services(lookup: &Lookup, resolver: &Resolver) -> Result<Answer, String> {
    let found = resolver.services(lookup.name.as_str()).await?;
    let services = preferred(found.services);
    let hosts: BTreeSet<String> = services.iter().map(|service| service.host.clone()).collect();
    let addresses: BTreeMap<String, Addresses> = stream::iter(hosts)
        .map(async |host| {
            let mut found = resolver.addresses(&host, Family::V4).await?;
            if found.addrs.is_empty() {
                found = resolver.addresses(&host, Family::V6).await?;
            }
            Ok::<_, String>((host, found))
        })
        .buffer_unordered(HOSTS_AT_ONCE)
        .try_collect()
        .await?;
    limited(services_answer(lookup, found.ttl, &services, &addresses))
}

/// The services of the lowest priority, which is the most preferred (RFC 2782).
fn preferred(services: Vec<Service>) -> Vec<Service> {
    // The root as a host says that there is no such service.
    let mut services: Vec<Service> = services.into_iter().filter(|service| service.host != ".").collect();
    let lowest = services.iter().map(|service| service.priority).min();
    services.retain(|service| Some(service.priority) == lowest);
    services
}

fn services_answer(
    lookup: &Lookup,
    ttl: Duration,
    services: &[Service],
    addresses: &BTreeMap<String, Addresses>,
) -> Answer {
    let mut answer = Answer { ttl, ..Answer::default() };
    for service in services {
        let found = addresses.get(&service.host);
        answer.ttl = found.map_or(answer.ttl, |found| found.ttl.min(answer.ttl));
        if found.is_none_or(|found| found.addrs.is_empty()) {
            let owner = format!("{lookup}, host {}", service.host);
            answer.mistakes.push(Mistake { owner, problem: "it has no address".to_owned() });
        }
        for ip in found.iter().flat_map(|found| &found.addrs) {
            let addr = SocketAddr::new(*ip, service.port);
            let name = format!("{}:{}", service.host.trim_end_matches('.'), service.port);
            answer.tasks.push(task(lookup, addr, name, Some(weight(service.weight))));
        }
    }
    answer
}

/// An SRV weight as a target's: 0 is "hardly ever" there, and 1 the least here.
fn weight(weight: u16) -> Weight {
    Weight::new(weight.clamp(1, Weight::MAX)).unwrap_or(Weight::ONE)
}

/// The same records in whatever order are the same answer: servers rotate them.
fn limited(mut answer: Answer) -> Result<Answer, String> {
    answer.tasks.sort_by_key(|task| task.ports[0].addr);
    if answer.tasks.len() > TARGETS_MAX {
        return Err(format!("has {} targets; at most {TARGETS_MAX} are read", answer.tasks.len()));
    }
    Ok(answer)
}

fn task(lookup: &Lookup, addr: SocketAddr, name: String, weight: Option<Weight>) -> Task {
    Task {
        id: None,
        name,
        service: Some(lookup.to_string()),
        project: None,
        ports: vec![TaskPort {
            container_port: addr.port(),
            transports: Transports::BOTH,
            addr: TargetAddr(addr),
        }],
        labels: TaskLabels { weight, ..TaskLabels::default() },
        state: TaskState::Running,
        provenance: Arc::new(Provenance { source: SourceKind::Dns.as_str(), origin: lookup.to_string() }),
        cause: "resolved".to_owned(),
    }
}

#[cfg(test)]
mod tests;
