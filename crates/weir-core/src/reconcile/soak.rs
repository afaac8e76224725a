//! Hours of everything that can happen, in any order: what must hold after every event.
//!
//! Virtual time and one seeded random stream, so that a failure replays. `WEIR_SOAK_MINUTES` asks for more time,
//! `WEIR_SOAK_SEED` for another seed.

mod invariants;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use self::invariants::check_succession;
use super::tests::{definitions, task};
use super::*;
use crate::address::ClientAddr;
use crate::balance::{PickContext, WorkerState};
use crate::chaos::Chaos;
use crate::comparison::Comparison;
use crate::comparison::statistics::{Bucket, Counts};
use crate::definition::{Algorithm, TargetSelector, TaskSelector};
use crate::lease::Lease;
use crate::snapshot::testing::settings;
use crate::target::{Target, TargetId, Weight};
use crate::task::{Provenance, SourceKind, Task, TaskId, TaskState};

/// Groups of each source; a service has the name of its group.
const GROUPS: [(SourceKind, &[&str]); 2] =
    [(SourceKind::Docker, &["api", "web", "shop"]), (SourceKind::File, &["db", "cache"])];

/// Tasks of each source at a time.
const TASKS_MAX: usize = 24;

/// Leases held at a time.
const LEASES_MAX: usize = 32;

/// Everything that happens, each about once a second.
const KINDS: [fn(&mut World) -> Option<Event>; 17] = [
    World::start,
    World::start,
    World::stop,
    World::end,
    World::recycle,
    World::restart,
    World::rename,
    World::change_state,
    World::shuffle,
    World::judge,
    World::judge,
    World::judge_a_stranger,
    World::misbehave,
    World::reload,
    World::be_due,
    World::pick,
    World::weigh,
];

/// What really is, and what reconciliation has made of it.
struct World {
    random: fastrand::Rng,
    now: Timestamp,
    state: State,
    snapshot: Snapshot,
    /// By source, in the order they are reported.
    tasks: BTreeMap<SourceKind, Vec<Task>>,
    tasks_ever: usize,
    groups: Vec<TargetGroup>,
    worker: WorkerState,
    leases: Vec<Lease>,
    /// When each draining target is gone at the latest.
    leaves_at: HashMap<TargetSerial, Timestamp>,
    serial_max: u64,
    /// Comparisons that have ended.
    stops: usize,
}

#[allow(clippy::unnecessary_wraps, reason = "kinds of events have one type")]
impl World {
    fn new(seed: u64) -> Self {
        let group = |source: SourceKind, name: &&str| {
            let mut group = settings(name, Algorithm::RoundRobin);
            group.targets = vec![TargetSelector::Tasks(TaskSelector {
                source,
                service: Some((*name).to_owned()),
                project: None,
                container_port: None,
                weight: Weight::ONE,
            })];
            group
        };
        let groups =
            GROUPS.iter().flat_map(|(source, names)| names.iter().map(|name| group(*source, name))).collect();
        let mut world = Self {
            random: fastrand::Rng::with_seed(seed),
            now: Timestamp::from_nanos(1),
            state: State::new(),
            snapshot: Snapshot::default(),
            tasks: BTreeMap::new(),
            tasks_ever: 0,
            groups,
            worker: WorkerState::seeded(seed),
            leases: Vec::new(),
            leaves_at: HashMap::new(),
            serial_max: 0,
            stops: 0,
        };
        world.reload().into_iter().for_each(|event| world.happen(event));
        world
    }

    fn any_source(&mut self) -> (SourceKind, &'static [&'static str]) {
        GROUPS[self.random.usize(..GROUPS.len())]
    }

    fn seen(&self, source: SourceKind) -> Event {
        let tasks = self.tasks.get(&source).into_iter().flatten().cloned().map(Arc::new).collect();
        Event::Tasks(TaskSet { source, tasks })
    }

    fn any_task(&mut self) -> Option<(SourceKind, usize)> {
        let (source, _) = self.any_source();
        let count = self.tasks.get(&source).map_or(0, Vec::len);
        (count > 0).then(|| (source, self.random.usize(..count)))
    }

    fn new_task(&mut self, source: SourceKind, service: &str, port: u16) -> Task {
        self.tasks_ever += 1;
        let id = format!("{:064x}", self.tasks_ever);
        let provenance = Arc::new(Provenance { source: source.as_str(), origin: service.to_owned() });
        let mut task = task(&id, "1", port);
        task.labels.zone = self.random.bool().then(|| "a".to_owned());
        Task { service: Some(service.to_owned()), provenance, ..task }
    }

    fn start(&mut self) -> Option<Event> {
        let (source, services) = self.any_source();
        let service = services[self.random.usize(..services.len())];
        let port = 10_000 + (self.tasks_ever % 50_000) as u16;
        let new = self.new_task(source, service, port);
        let tasks = self.tasks.entry(source).or_default();
        if tasks.len() >= TASKS_MAX {
            return None;
        }
        tasks.push(new);
        Some(self.seen(source))
    }

    fn stop(&mut self) -> Option<Event> {
        let (source, at) = self.any_task()?;
        self.tasks.get_mut(&source)?[at].state = TaskState::Stopping;
        Some(self.seen(source))
    }

    fn end(&mut self) -> Option<Event> {
        let (source, at) = self.any_task()?;
        self.tasks.get_mut(&source)?.remove(at);
        Some(self.seen(source))
    }

    /// A task ends, and a stranger of another service has its port in the very next set.
    fn recycle(&mut self) -> Option<Event> {
        let (source, at) = self.any_task()?;
        let (_, services) = GROUPS.iter().find(|(kind, _)| *kind == source)?;
        let service = services[self.random.usize(..services.len())];
        let port = self.tasks[&source][at].ports[0].addr.port();
        let stranger = self.new_task(source, service, port);
        self.tasks.get_mut(&source)?[at] = stranger;
        Some(self.seen(source))
    }

    fn restart(&mut self) -> Option<Event> {
        let (source, at) = self.any_task()?;
        self.tasks_ever += 1;
        let generation = self.tasks_ever.to_string();
        let task = &mut self.tasks.get_mut(&source)?[at];
        let id = task.id.as_ref().expect("every task has one").id.clone();
        task.id = Some(TaskId { id, generation: generation.into() });
        task.state = TaskState::Running;
        Some(self.seen(source))
    }

    fn rename(&mut self) -> Option<Event> {
        let (source, at) = self.any_task()?;
        let task = &mut self.tasks.get_mut(&source)?[at];
        let origin = format!("{}, renamed", task.name);
        task.provenance = Arc::new(Provenance { source: source.as_str(), origin });
        Some(self.seen(source))
    }

    fn change_state(&mut self) -> Option<Event> {
        let (source, at) = self.any_task()?;
        let states = [TaskState::Failing, TaskState::Paused, TaskState::Running, TaskState::Starting];
        let state = states[self.random.usize(..states.len())];
        self.tasks.get_mut(&source)?[at].state = state;
        Some(self.seen(source))
    }

    /// The same tasks in another order.
    fn shuffle(&mut self) -> Option<Event> {
        let (source, _) = self.any_source();
        self.random.shuffle(self.tasks.get_mut(&source)?);
        Some(self.seen(source))
    }

    fn any_serial(&mut self) -> Option<TargetSerial> {
        let serials: Vec<TargetSerial> = self.snapshot.members().map(|(_, m)| m.target.serial).collect();
        (!serials.is_empty()).then(|| serials[self.random.usize(..serials.len())])
    }

    fn judge(&mut self) -> Option<Event> {
        let verdict = if self.random.bool() { Ok(()) } else { Err(UnhealthyReason::Timeout) };
        Some(Event::Verdicts(vec![(self.any_serial()?, verdict)]))
    }

    /// A verdict about a target that has left, or that never was.
    fn judge_a_stranger(&mut self) -> Option<Event> {
        let serial = TargetSerial(self.random.u64(..self.serial_max + 10));
        let is_there = self.snapshot.members().any(|(_, member)| member.target.serial == serial);
        (!is_there).then(|| Event::Verdicts(vec![(serial, Ok(()))]))
    }

    /// Chaos on demand, but for late departures: those are against what is checked here.
    fn misbehave(&mut self) -> Option<Event> {
        let group = self.groups[self.random.usize(..self.groups.len())].name.clone();
        let time = Duration::from_secs(self.random.u64(..20));
        let chaos = match self.random.u8(..4) {
            0 => Chaos { delay_health: time, ..Chaos::default() },
            1 => Chaos { flap: Some(time + Duration::from_secs(1)), ..Chaos::default() },
            2 => Chaos { lose_zone: Some("a".to_owned()), delay_health: time, ..Chaos::default() },
            _ => Chaos::default(),
        };
        Some(Event::Chaos { group, chaos })
    }

    /// Other settings; now and then without one of the groups.
    fn reload(&mut self) -> Option<Event> {
        let algorithms = [Algorithm::RoundRobin, Algorithm::LeastOutstandingRequests, Algorithm::FlowHash];
        let at = self.random.usize(..self.groups.len());
        let group = &mut self.groups[at];
        group.deregistration_delay = Duration::from_secs(self.random.u64(..20));
        group.slow_start = Duration::from_secs(30 * self.random.u64(..2));
        group.algorithm = algorithms[self.random.usize(..algorithms.len())];
        let other = algorithms[self.random.usize(..algorithms.len())];
        group.comparison = (other != group.algorithm).then(|| Comparison {
            algorithm: other,
            percentage: self.random.u8(1..100),
            stops_when_worse: self.random.bool(),
        });
        let without = self.random.usize(..self.groups.len() * 4);
        let groups: Vec<TargetGroup> =
            self.groups.iter().enumerate().filter(|(at, _)| *at != without).map(|(_, g)| g.clone()).collect();
        Some(Event::Definitions(Arc::new(definitions(groups))))
    }

    /// Looks at a comparison whose arms differ, or do not, three times; sometimes at one that has long been over.
    fn weigh(&mut self) -> Option<Event> {
        let running: Vec<&Arc<Group>> = self.snapshot.groups().filter(|g| g.trial().is_some()).collect();
        let group = running.get(self.random.usize(..running.len().max(1)))?;
        let trial = group.trial()?.number.saturating_sub(self.random.u32(..2));
        let mut counts = || {
            let seconds = f64::from(self.random.u8(1..4));
            Counts::of([9_000.0, 9_100.0].repeat(8).into_iter().map(|sum| Bucket {
                requests: 9_000,
                failures: 0,
                seconds: sum * seconds,
            }))
        };
        let observed = Observed { group: group.settings.name.clone(), trial, a: counts(), b: counts() };
        Some(Event::Trials(vec![observed; 3]))
    }

    fn be_due(&mut self) -> Option<Event> {
        // Sometimes in time, sometimes for nothing.
        if let Some(due) = self.state.next_due().filter(|_| self.random.bool()) {
            self.now = self.now.max(due);
        }
        Some(Event::Due)
    }

    /// Takes a lease, or gives one back. Never on a target that drains.
    fn pick(&mut self) -> Option<Event> {
        if self.leases.len() >= LEASES_MAX {
            self.leases.swap_remove(self.random.usize(..LEASES_MAX));
        }
        let groups: Vec<&Arc<Group>> = self.snapshot.groups().collect();
        let group = groups.get(self.random.usize(..groups.len().max(1)))?;
        let arm = group.arm(ClientAddr(([10, 0, 0, 1], self.random.u16(..)).into()));
        let context = PickContext { key: self.random.u64(..), now: self.now, avoid: &[], pinned: None, arm };
        if let Ok(lease) = group.lease(&mut self.worker, &context) {
            let member = group.member(lease.target().serial).expect("it was picked from the group");
            assert!(member.health.is_registered(), "picked while {}", member.health.state());
            assert!(member.health.is_healthy() || group.fails_open(), "picked while not eligible");
            self.leases.push(lease);
        }
        None
    }

    fn step(&mut self) {
        let mean = 1_000_000_000 / KINDS.len() as u64;
        self.now = self.now.after(Duration::from_nanos(self.random.u64(..2 * mean)));
        let kind = KINDS[self.random.usize(..KINDS.len())];
        if let Some(event) = kind(self) {
            self.happen(event);
        }
    }

    fn happen(&mut self, event: Event) {
        let is_reload = matches!(event, Event::Definitions(_));
        let reconciled = reconcile(&mut self.state, event, self.now);
        self.stops += reconciled.stopped.len();
        assert!(reconciled.stopped.is_empty() || reconciled.snapshot.is_some(), "stopped, and unpublished");
        for transition in &reconciled.transitions {
            assert!(reconciled.snapshot.is_some(), "unpublished: {transition:?}");
        }
        let Some(after) = reconciled.snapshot else { return self.check() };
        assert_eq!(after.generation, self.snapshot.generation + 1);
        let mut is_changed = is_reload;
        for (before, after) in after.changed_groups(&self.snapshot) {
            is_changed = true;
            check_succession(before, after, self.serial_max);
        }
        assert!(is_changed, "published for nothing");
        self.snapshot = after;
        self.serial_max =
            self.snapshot.members().map(|(_, m)| m.target.serial.0).max().unwrap_or(0).max(self.serial_max);
        self.note_drains();
        self.check();
    }
}

fn asked(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[test]
fn every_invariant_holds_whatever_happens_in_any_order() {
    let (minutes, seed) = (asked("WEIR_SOAK_MINUTES", 15), asked("WEIR_SOAK_SEED", 1));
    let mut world = World::new(seed);
    let end = Timestamp::from_nanos(minutes * 60_000_000_000);
    let mut steps = 0_u64;
    while world.now < end {
        world.step();
        steps += 1;
    }
    assert!(steps > minutes * 60 * KINDS.len() as u64 / 2, "events are rarer than promised");
    assert!(world.stops > 10, "{} comparisons have ended", world.stops);
    world.leases.clear();
    for (_, member) in world.snapshot.members() {
        assert_eq!(member.target.tally.in_flight(), 0, "a count has leaked");
    }
}

#[test]
fn the_same_seed_replays_the_same_hours() {
    let run = || {
        let mut world = World::new(7);
        (0..20_000).for_each(|_| world.step());
        let members: Vec<(u64, Health, String)> = world
            .snapshot
            .members()
            .map(|(_, m)| (m.target.serial.0, m.health, m.cause.to_string()))
            .collect();
        (world.snapshot.generation, members)
    };
    assert_eq!(run(), run());
}
