//! A scenario in real time: the same requests, the same servers, and a real weir in between.
//!
//! All policies run at the same moment, each through a listener, a group and servers of its own, so that whatever else the machine
//! does meets all of them. Servers are those of the simulator, driven by the clock: who waits sleeps, and uses no processor. They live
//! on threads here, or wherever the [`Front`] has them live.

mod targets;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use weir_core::address::TargetAddr;
use weir_core::definition::{Definitions, TargetGroup, TargetSelector};
use weir_core::name::GroupName;

pub use self::targets::Targets;
use crate::arrivals::Arrivals;
use crate::load::{
    self, Ending, Endpoint, Failure, Invalid, LoadError, Onlookers, Plan, Planned, Protocol, Record, Stop,
};
use crate::random::{Purpose, Stream};
use crate::run::{Live, Recorder, Run};
use crate::scenario::{Demand, Event, Policy, Scenario, ServerKind};
use crate::simulator::{Ended, Observer, Outcome, View, plain_definitions};
use crate::work::Works;
use crate::zipf::Zipf;

/// How long whoever has no timeout waits for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Blocks of records that wait at a time; arbitrary.
const BLOCKS: usize = 1_024;

/// Connections from the generator to each listener: as many requests are under way without another one being opened.
const CONNECTIONS: usize = 64;

/// The least work in the mean, in nanoseconds: servers sleep for it, to a millisecond.
const WORK_MIN: f64 = 1e6;

/// Most of them.
const CONNECTIONS_MAX: usize = 2_048;

/// Why somebody else could not do what was asked.
pub type Cause = Box<dyn std::error::Error + Send + Sync>;

/// Whoever can start a weir, and servers for it.
pub trait Front {
    /// Starts the servers of a scenario, as the targets of that group.
    ///
    /// # Errors
    /// Why they could not be.
    fn serve(&self, scenario: &Scenario, seed: u64, group: &GroupName) -> Result<Box<dyn Servers>, Cause>;

    /// Starts a weir that serves these definitions, and waits until all of its so many targets are healthy.
    ///
    /// # Errors
    /// Why it could not.
    fn start(&self, definitions: Definitions, targets: usize) -> Result<Box<dyn Started>, Cause>;
}

/// The servers of one group, until they are dropped.
pub trait Servers: Sync {
    /// What a group lists so that they are its targets.
    fn selectors(&self) -> Vec<TargetSelector>;

    /// The load begins: events count from now.
    fn begin(&self);
}

/// A weir that runs, until it is dropped.
pub trait Started {
    /// Where it listens, load balancer by load balancer.
    fn listeners(&self) -> Vec<SocketAddr>;
}

/// Why a scenario cannot be run live.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// Something in it is of the simulator alone.
    #[error("{0} cannot be run live")]
    Only(&'static str),
    /// A policy is the laboratory's own.
    #[error("{0} is an algorithm of the laboratory, which weir has not; leave it out of --algorithms")]
    Laboratory(&'static str),
    /// It was stopped before it was over.
    #[error("interrupted")]
    Interrupted,
    /// Servers did not start.
    #[error("cannot start servers: {0}")]
    Servers(Cause),
    /// Weir did not start.
    #[error("cannot start weir: {0}")]
    Weir(Cause),
    /// The generator could not begin.
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// Whether a scenario, and these policies, can be run live.
///
/// # Errors
/// What cannot.
pub fn check(scenario: &Scenario) -> Result<(), LiveError> {
    if let Some(Policy::Laboratory(_)) =
        scenario.policies.iter().find(|policy| matches!(policy, Policy::Laboratory(_)))
    {
        let name = scenario.policies.iter().map(|policy| policy.name());
        let name = name.zip(&scenario.policies).find(|(_, policy)| matches!(policy, Policy::Laboratory(_)));
        return Err(LiveError::Laboratory(name.map_or("", |(name, _)| name)));
    }
    let only = [
        (matches!(scenario.demand, Demand::Closed { .. }), "a closed loop of users"),
        (scenario.dispatchers.count_apart, "dispatchers that count apart"),
        (scenario.dispatchers.refresh.is_some(), "counts that are stale"),
        (scenario.dispatchers.surge_queue > 0, "a surge queue"),
        (scenario.client.hedge.is_some(), "a hedge"),
        (scenario.client.retries > 0, "a client who tries again"),
        (
            scenario.work.mean() < WORK_MIN,
            "work of less than a millisecond in the mean, which nobody can sleep,",
        ),
        (scenario.network > 0, "a network delay"),
    ];
    if let Some((_, what)) = only.into_iter().find(|(is_asked, _)| *is_asked) {
        return Err(LiveError::Only(what));
    }
    let is_change = |(_, event): &(u64, Event)| matches!(event, Event::Start { .. } | Event::Stop { .. });
    if scenario.events.iter().any(is_change) {
        return Err(LiveError::Only("an event that starts or stops servers"));
    }
    Ok(())
}

/// Runs every policy of a scenario with that seed: a run for each, in order.
///
/// # Errors
/// [`LiveError`]; what goes wrong with requests is in the runs.
pub fn run(scenario: &Scenario, seed: u64, front: &dyn Front, stop: &Stop) -> Result<Vec<Run>, LiveError> {
    check(scenario)?;
    let unless_stopped = |error| if stop.is_stopped() { LiveError::Interrupted } else { error };
    let mut servers = Vec::new();
    for number in 0..scenario.policies.len() {
        let started = front.serve(scenario, seed, &group_name(number)).map_err(LiveError::Servers);
        servers.push(started.map_err(unless_stopped)?);
    }
    let targets = scenario.servers_at_start().count() * servers.len();
    let weir = front.start(definitions(scenario, &servers), targets).map_err(LiveError::Weir);
    let weir = weir.map_err(unless_stopped)?;
    let listeners = weir.listeners();
    let plans = listeners.into_iter().map(|addr| plan(scenario, addr));
    let runs: Result<Vec<Run>, LoadError> = std::thread::scope(|scope| {
        let loads: Vec<_> = plans
            .zip(&servers)
            .map(|(plan, servers)| scope.spawn(move || load(scenario, seed, &plan, servers.as_ref(), stop)))
            .collect();
        loads.into_iter().map(|load| load.join().expect("a load does not panic")).collect()
    });
    // A part of a run is not what the others are compared with.
    if stop.is_stopped() { Err(LiveError::Interrupted) } else { Ok(runs?) }
}

fn group_name(number: usize) -> GroupName {
    GroupName::parse(&format!("lab-{number}")).expect("a word and a number are a name")
}

/// A listener and a group for each policy.
fn definitions(scenario: &Scenario, servers: &[Box<dyn Servers>]) -> Definitions {
    let mut all = Definitions::default();
    for (number, (policy, servers)) in scenario.policies.iter().zip(servers).enumerate() {
        let Policy::Weir(algorithm) = *policy else { continue };
        let name = group_name(number);
        let mut definitions = plain_definitions(name.as_str());
        for balancer in &mut definitions.load_balancers {
            balancer.name = weir_core::name::LoadBalancerName::parse(name.as_str())
                .expect("a word and a number are a name");
            for listener in &mut balancer.listeners {
                listener.bind = weir_core::address::ListenAddr(SocketAddr::from(([127, 0, 0, 1], 0)));
            }
        }
        all.load_balancers.append(&mut definitions.load_balancers);
        let targets = servers.selectors();
        all.target_groups.push(TargetGroup { name, algorithm, targets, ..scenario.group.clone() });
    }
    all
}

/// Servers on a thread of this process, at addresses that are known.
struct OnThread {
    targets: Targets,
    selectors: Vec<TargetSelector>,
}

impl Servers for OnThread {
    fn selectors(&self) -> Vec<TargetSelector> {
        self.selectors.clone()
    }

    fn begin(&self) {
        self.targets.begin();
    }
}

/// Starts the servers of a scenario on a thread of this process.
///
/// # Errors
/// There are no sockets or threads.
pub fn on_thread(scenario: &Scenario, seed: u64) -> Result<Box<dyn Servers>, Cause> {
    let targets = Targets::start(scenario, seed)?;
    let of_kind = |(addr, kind): (&SocketAddr, &ServerKind)| TargetSelector::Address {
        addr: TargetAddr(*addr),
        weight: kind.weight,
        zone: kind.zone.clone(),
        server_id: None,
    };
    let selectors = targets.addrs().iter().zip(scenario.servers_at_start()).map(of_kind).collect();
    Ok(Box::new(OnThread { targets, selectors }))
}

fn plan(scenario: &Scenario, addr: SocketAddr) -> Plan {
    let (authority, path) = (addr.to_string(), "/".to_owned());
    Plan {
        connections: CONNECTIONS,
        connections_max: CONNECTIONS_MAX,
        timeout: scenario.client.timeout.map_or(PATIENCE, Duration::from_nanos),
        ..Plan::new(Endpoint { protocol: Protocol::Http1, addr, authority, path })
    }
}

/// The requests that the simulator would make of the same seed.
#[derive(Clone, Debug)]
struct Requests<'s> {
    scenario: &'s Scenario,
    arrivals: Arrivals,
    works: Works<'s>,
    keys: Stream,
    zipf: Option<Zipf>,
}

impl<'s> Requests<'s> {
    fn new(scenario: &'s Scenario, seed: u64) -> Option<Self> {
        let Demand::Open { process, rate } = &scenario.demand else { return None };
        Some(Self {
            scenario,
            arrivals: Arrivals::new(process.clone(), rate.clone(), seed),
            works: Works::new(&scenario.work, seed),
            keys: Stream::new(seed, Purpose::Keys, 0),
            zipf: scenario.keys.map(|keys| Zipf::new(keys.count, keys.exponent)),
        })
    }
}

impl Iterator for Requests<'_> {
    type Item = Planned;

    fn next(&mut self) -> Option<Planned> {
        let at = self.arrivals.next().filter(|at| *at < self.scenario.duration)?;
        let key = self.zipf.as_ref().map(|zipf| zipf.draw(&mut self.keys));
        Some(Planned { at, work: self.works.next(), key })
    }
}

/// Loads one listener, and notes what comes of it.
fn load(
    scenario: &Scenario,
    seed: u64,
    plan: &Plan,
    servers: &dyn Servers,
    stop: &Stop,
) -> Result<Run, LoadError> {
    let requests = Requests::new(scenario, seed);
    let (sender, receiver) = sync_channel(BLOCKS);
    let onlookers = Onlookers { watch: None, recorder: Some(sender), stop: Some(stop.clone()) };
    servers.begin();
    std::thread::scope(|scope| {
        let noted = scope.spawn(move || receiver.iter().flatten().collect::<Vec<Record>>());
        let requests = requests.into_iter().flatten();
        let outcome = load::run(plan, &requests, &onlookers);
        drop(onlookers);
        let records = noted.join().expect("who collects does not panic");
        let outcome = outcome?;
        let asked = outcome.planned as f64 / scenario.duration as f64 * 1e9;
        let answered = outcome.answered as f64 / outcome.seconds.max(f64::MIN_POSITIVE);
        let is_sound = !matches!(outcome.invalid(), Some(Invalid::Local(_) | Invalid::NothingAnswered(_)));
        let live = Live { lag: outcome.lag, from_sent: outcome.service, rates: (asked, answered), is_sound };
        Ok(Run { live: Some(live), ..as_noted(scenario, seed, &records) })
    })
}

/// What came of a run, by what was noted of each request.
fn as_noted(scenario: &Scenario, seed: u64, records: &[Record]) -> Run {
    let mut recorder = Recorder::new(scenario, seed);
    for (number, record) in (0..).zip(records) {
        recorder.ended(&ended(number, record));
    }
    // What was in flight, as it would have been seen: who was sent and had no answer yet.
    if let Some(every) = recorder.look_every() {
        let servers = scenario.servers_at_start().count();
        let mut changes: BTreeMap<u64, Vec<i32>> = BTreeMap::new();
        for record in records {
            let (Some(sent), Some(server)) = (record.sent, server(record)) else { continue };
            for (at, change) in [(sent, 1), (record.done, -1)] {
                let look = changes.entry(at.div_ceil(every).max(1)).or_insert_with(|| vec![0; servers]);
                look.get_mut(server as usize).into_iter().for_each(|count| *count += change);
            }
        }
        let mut in_flight = vec![0_i32; servers];
        for look in 1..=scenario.duration / every {
            if let Some(changes) = changes.get(&look) {
                in_flight.iter_mut().zip(changes).for_each(|(count, change)| *count += change);
            }
            let now: Vec<u32> = in_flight.iter().map(|count| count.max(&0).unsigned_abs()).collect();
            recorder.look(look * every, View { in_flight: &now });
        }
    }
    recorder.finish()
}

fn ended(number: u64, record: &Record) -> Ended {
    let outcome = match record.ending {
        Ending::Answered(200..=299) => Outcome::Answered,
        // Weir's own, for which there is no target.
        Ending::Answered(503 | 502) | Ending::Failed(_) => Outcome::Refused,
        Ending::Answered(_) => Outcome::ServerError,
        Ending::Unanswered => Outcome::TimedOut,
    };
    let outcome = if record.ending == Ending::Failed(Failure::Timeout) { Outcome::TimedOut } else { outcome };
    let (came, server) = (record.intended, server(record));
    Ended { number, came, ended: record.done.max(came), outcome, server, waited: 0, attempts: 1 }
}

fn server(record: &Record) -> Option<u32> {
    record.target.as_ref()?.parse().ok()
}

#[cfg(test)]
mod tests;
