//! Promises of reconciliation.

use std::time::Duration;

use super::*;
use crate::address::TargetAddr;
use crate::balance::{PickContext, WorkerState};
use crate::definition::{
    Algorithm, ListenerKind, LoadBalancer, NetworkListener, NetworkProtocol, TargetSelector, TaskSelector,
};
use crate::rule::Forward;
use crate::snapshot::testing::settings;
use crate::target::Weight;
use crate::task::{Provenance, SourceKind, Task, TaskId, TaskLabels, TaskPort, TaskState, Transports};

const SICK: Verdict = Err(UnhealthyReason::Timeout);

mod chaos;
mod engine;
mod trials;

/// A reconciler with a clock of its own, one load balancer and one group `api` of the Docker service `api`.
struct Control {
    state: State,
    now: Timestamp,
    snapshot: Snapshot,
}

impl Control {
    fn start() -> Self {
        Self::with(|_| {})
    }

    fn with(edit: impl FnOnce(&mut TargetGroup)) -> Self {
        let mut control =
            Self { state: State::new(), now: Timestamp::from_nanos(1), snapshot: Snapshot::default() };
        control.define(edit);
        control
    }

    fn define(&mut self, edit: impl FnOnce(&mut TargetGroup)) -> Vec<Transition> {
        let mut group = settings("api", Algorithm::RoundRobin);
        group.targets = vec![TargetSelector::Tasks(TaskSelector {
            source: SourceKind::Docker,
            service: Some("api".into()),
            project: None,
            container_port: None,
            weight: Weight::ONE,
        })];
        edit(&mut group);
        self.tell(Event::Definitions(Arc::new(definitions(vec![group]))))
    }

    fn tell(&mut self, event: Event) -> Vec<Transition> {
        let reconciled = reconcile(&mut self.state, event, self.now);
        if let Some(snapshot) = reconciled.snapshot {
            assert_eq!(snapshot.generation, self.snapshot.generation + 1);
            self.snapshot = snapshot;
        }
        reconciled.transitions
    }

    fn see(&mut self, tasks: &[Task]) -> Vec<Transition> {
        self.tell(Event::Tasks(TaskSet {
            source: SourceKind::Docker,
            tasks: tasks.iter().cloned().map(Arc::new).collect(),
        }))
    }

    fn judge(&mut self, port: u16, verdict: Verdict) -> Vec<Transition> {
        let serial = self.member(port).target.serial;
        self.tell(Event::Verdicts(vec![(serial, verdict)]))
    }

    fn wait(&mut self, seconds: u64) -> Vec<Transition> {
        self.now = self.now.after(Duration::from_secs(seconds));
        self.tell(Event::Due)
    }

    fn member(&self, port: u16) -> &Member {
        self.snapshot.members().map(|(_, m)| m).find(|m| m.target.addr.port() == port).expect("a member")
    }

    fn ports(&self) -> Vec<(u16, &'static str)> {
        self.snapshot.members().map(|(_, m)| (m.target.addr.port(), m.health.state())).collect()
    }
}

/// Groups with a network listener each, on ports from 80.
pub(super) fn definitions(target_groups: Vec<TargetGroup>) -> Definitions {
    let listener = |(number, group): (u16, &TargetGroup)| crate::definition::Listener {
        bind: ListenAddr(([127, 0, 0, 1], 80 + number).into()),
        proxies: None,
        kind: ListenerKind::Network(NetworkListener::new(
            NetworkProtocol::Tcp,
            Forward::to(group.name.clone()),
        )),
    };
    let load_balancer = LoadBalancer {
        name: LoadBalancerName::parse("edge").unwrap(),
        idle_timeout: Duration::from_secs(60),
        logs: crate::logs::Logs::default(),
        http: crate::definition::HttpSettings::default(),
        listeners: (0..).zip(&target_groups).map(listener).collect(),
    };
    Definitions { load_balancers: vec![load_balancer], target_groups, ..Definitions::default() }
}

pub(super) fn task(id: &str, generation: &str, port: u16) -> Task {
    Task {
        id: Some(TaskId { id: id.into(), generation: generation.into() }),
        name: format!("shop-{id}"),
        service: Some("api".into()),
        project: Some("shop".into()),
        ports: vec![TaskPort {
            container_port: 8080,
            transports: Transports::TCP,
            addr: TargetAddr(([127, 0, 0, 1], port).into()),
        }],
        labels: TaskLabels::default(),
        state: TaskState::Running,
        provenance: Arc::new(Provenance { source: "docker", origin: format!("container shop-{id}") }),
        cause: "start".into(),
    }
}

fn stopping(task: Task) -> Task {
    Task { state: TaskState::Stopping, cause: "kill SIGTERM".into(), ..task }
}

// Conformance: A4.2.10
#[test]
fn a_task_becomes_a_target_and_turns_healthy_after_one_pass() {
    let mut control = Control::start();
    control.see(&[task("a", "1", 32768)]);
    assert_eq!(control.ports(), [(32768, "initial")]);
    let transitions = control.judge(32768, Ok(()));
    assert_eq!(control.ports(), [(32768, "healthy")]);
    assert_eq!(transitions.len(), 1);
}

#[test]
fn nothing_is_published_when_nothing_changed() {
    let mut control = Control::start();
    control.see(&[task("a", "1", 32768)]);
    control.judge(32768, Ok(()));
    let generation = control.snapshot.generation;
    control.see(&[task("a", "1", 32768)]);
    control.judge(32768, Ok(()));
    control.define(|_| {});
    assert_eq!(control.snapshot.generation, generation);
}

#[test]
fn a_stop_signal_drains_and_the_end_of_the_task_removes_at_once() {
    let mut control = Control::start();
    control.see(&[task("a", "1", 1), task("b", "1", 2)]);
    control.judge(1, Ok(()));
    let transitions = control.see(&[stopping(task("a", "1", 1)), task("b", "1", 2)]);
    assert_eq!(transitions[0].cause, "container shop-a kill SIGTERM");
    assert_eq!(control.ports(), [(1, "draining"), (2, "initial")]);
    control.see(&[task("b", "1", 2)]);
    assert_eq!(control.ports(), [(2, "initial")]);
}

// Conformance: A3.5.2
#[test]
fn a_draining_target_gets_no_new_picks() {
    let mut control = Control::start();
    control.see(&[task("a", "1", 1), task("b", "1", 2)]);
    control.judge(1, Ok(()));
    control.judge(2, Ok(()));
    control.see(&[stopping(task("a", "1", 1)), task("b", "1", 2)]);
    let group = control.snapshot.groups().next().unwrap();
    let mut worker = WorkerState::seeded(3);
    let context = PickContext { key: 0, now: control.now, avoid: &[], pinned: None, arm: None };
    for _ in 0..100 {
        assert_eq!(group.lease(&mut worker, &context).unwrap().target().addr.port(), 2);
    }
}

// Conformance: A3.5.7
#[test]
fn a_task_that_survives_its_stop_signal_returns_as_initial() {
    let mut control = Control::start();
    control.see(&[task("a", "1", 1)]);
    control.judge(1, Ok(()));
    let serial = control.member(1).target.serial;
    control.see(&[stopping(task("a", "1", 1))]);
    control.see(&[task("a", "1", 1)]);
    assert_eq!(control.ports(), [(1, "initial")]);
    assert_eq!(control.member(1).target.serial, serial);
    assert!(control.wait(1_000).is_empty(), "the deregistration was called off");
}

#[test]
fn a_stranger_on_a_recycled_port_inherits_nothing() {
    let mut control = Control::start();
    control.see(&[task("a", "1", 1)]);
    control.judge(1, Ok(()));
    let before = control.member(1).target.clone();
    control.see(&[task("b", "1", 1)]);
    let after = control.member(1);
    assert_ne!(after.target.serial, before.serial);
    assert_eq!(after.health.state(), "initial");
    assert_eq!(after.target.tally.picked(), 0);
}

#[test]
fn a_restart_in_place_is_another_target() {
    let mut control = Control::start();
    control.see(&[task("a", "1", 1)]);
    let before = control.member(1).target.serial;
    control.see(&[task("a", "2", 1)]);
    assert_ne!(control.member(1).target.serial, before);
}

#[test]
fn a_renamed_task_is_the_same_target_under_another_name() {
    let mut control = Control::start();
    control.see(&[task("a", "1", 1)]);
    control.judge(1, Ok(()));
    let before = control.member(1).target.clone();
    let origin = "container renamed".to_owned();
    let renamed = || Task {
        name: "renamed".into(),
        provenance: Arc::new(Provenance { source: "docker", origin: origin.clone() }),
        cause: "rename".into(),
        ..task("a", "1", 1)
    };
    assert!(control.see(&[renamed()]).is_empty());
    assert!(Arc::ptr_eq(&before, &control.member(1).target));
    assert_eq!(control.member(1).provenance.origin, origin);
    assert_eq!(control.ports(), [(1, "healthy")]);
    assert_eq!(control.see(&[])[0].cause, "container renamed is gone");
}

#[test]
fn a_recycled_port_of_another_service_is_another_target_in_another_group() {
    let mut control = Control::start();
    let mut definitions = (**control.state.definitions()).clone();
    let mut other = definitions.target_groups[0].clone();
    other.name = GroupName::parse("other").unwrap();
    let TargetSelector::Tasks(selector) = &mut other.targets[0] else { unreachable!() };
    selector.service = Some("other".into());
    definitions.target_groups.push(other);
    control.tell(Event::Definitions(Arc::new(definitions)));
    control.see(&[task("a", "1", 1)]);
    control.judge(1, Ok(()));
    let before = control.member(1).target.clone();
    // Docker may tell of the end of one and the start of the other in one set.
    control.see(&[Task { service: Some("other".into()), ..task("b", "1", 1) }]);
    let after = control.member(1);
    assert_eq!((after.target.group.as_str(), control.ports()), ("other", vec![(1, "unused")]));
    assert_ne!(after.target.serial, before.serial);
    assert_eq!(after.target.tally.picked(), 0);
}

#[test]
fn an_unchanged_target_keeps_its_counts_and_health_through_a_change_beside_it() {
    let mut control = Control::start();
    control.see(&[task("a", "1", 1)]);
    control.judge(1, Ok(()));
    let before = control.member(1).target.clone();
    control.see(&[task("b", "1", 2), task("a", "1", 1), task("c", "1", 3)]);
    assert!(Arc::ptr_eq(&before, &control.member(1).target));
    assert_eq!(control.member(1).health, Health::Healthy);
}

// Conformance: A3.5.1, A3.5.4
#[test]
fn a_target_taken_out_of_the_configuration_drains_for_its_delay() {
    let mut control = Control::start();
    let addr = TargetAddr("127.0.0.1:9".parse().unwrap());
    control.define(|group| {
        group.targets =
            vec![TargetSelector::Address { addr, weight: Weight::ONE, zone: None, server_id: None }];
    });
    control.define(|group| group.targets.clear());
    assert_eq!(control.ports(), [(9, "draining")]);
    assert!(control.wait(29).is_empty());
    assert_eq!(control.wait(1)[0].change, Change::Removed);
    assert_eq!(control.ports(), []);
    assert_eq!(control.state.next_due(), None);
}

#[test]
fn a_group_taken_out_of_the_configuration_goes_when_its_last_target_has_drained() {
    let mut control = Control::start();
    control.see(&[task("a", "1", 1)]);
    control.tell(Event::Definitions(Arc::new(Definitions::default())));
    assert_eq!(control.ports(), [(1, "draining")]);
    control.wait(30);
    assert_eq!(control.snapshot.groups().count(), 0);
}

// Conformance: A3.3.13, A3.3.15
#[test]
fn slow_start_begins_only_beside_a_target_at_full_speed() {
    let mut control = Control::with(|group| group.slow_start = Duration::from_secs(30));
    control.see(&[task("a", "1", 1), task("b", "1", 2)]);
    for first in [1, 2] {
        control.judge(first, Ok(()));
        let age = control.member(first).target.tally.slow_start_age(control.now);
        assert_eq!(age, None, "{first} is one of those that have come into the empty group");
    }
    control.see(&[task("a", "1", 1), task("b", "1", 2), task("c", "1", 3)]);
    control.judge(3, Ok(()));
    assert_eq!(control.member(3).target.tally.slow_start_age(control.now), Some(Duration::ZERO));
    control.judge(3, SICK);
    control.judge(3, SICK);
    assert_eq!(control.member(3).target.tally.slow_start_age(control.now), None);
}

// Conformance: A3.3.14, A3.3.15
#[test]
fn slow_start_begins_anew_with_health_and_leaves_targets_that_are_healthy_alone() {
    let mut control = Control::start();
    control.see(&[task("a", "1", 1), task("b", "1", 2)]);
    control.judge(1, Ok(()));
    control.judge(2, Ok(()));
    control.define(|group| group.slow_start = Duration::from_secs(30));
    let age = |control: &Control| control.member(2).target.tally.slow_start_age(control.now);
    assert_eq!(age(&control), None, "it was healthy before");
    for verdict in [SICK, SICK, Ok(()), Ok(()), Ok(()), Ok(()), Ok(())] {
        control.judge(2, verdict);
    }
    assert_eq!(age(&control), Some(Duration::ZERO));
    control.see(&[task("a", "1", 1), stopping(task("b", "1", 2))]);
    assert_eq!(age(&control), None, "it drains");
}

#[test]
fn two_projects_with_one_service_name_are_told_apart() {
    let mut control = Control::with(|group| {
        let TargetSelector::Tasks(selector) = &mut group.targets[0] else { unreachable!() };
        selector.project = Some("shop".into());
    });
    control.see(&[task("a", "1", 1), Task { project: Some("blog".into()), ..task("b", "1", 2) }]);
    assert_eq!(control.ports(), [(1, "initial")]);
}

#[test]
fn a_label_puts_a_task_into_a_group_and_another_keeps_it_out() {
    let mut control = Control::start();
    let mut joins = task("a", "1", 1);
    joins.service = Some("other".into());
    joins.labels.target_group = Some(GroupName::parse("api").unwrap());
    let mut stays_out = task("b", "1", 2);
    stays_out.labels.enable = false;
    control.see(&[joins, stays_out]);
    assert_eq!(control.ports(), [(1, "initial")]);
}

// Conformance: A4.2.13
#[test]
fn targets_of_an_unused_group_are_unused() {
    let mut control = Control::start();
    control.see(&[task("a", "1", 1)]);
    let definitions = Definitions {
        load_balancers: Vec::new(),
        target_groups: control.state.definitions().target_groups.clone(),
        ..Definitions::default()
    };
    control.tell(Event::Definitions(Arc::new(definitions)));
    assert_eq!(control.ports(), [(1, "unused")]);
    control.define(|_| {});
    assert_eq!(control.ports(), [(1, "initial")]);
}

// Conformance: A4.2.10
#[test]
fn a_task_that_starts_again_and_again_must_pass_as_one_that_recovers() {
    let mut control = Control::start();
    for (start, passes) in [("1", 1), ("2", 1), ("3", 5), ("4", 5)] {
        control.see(&[task("a", start, 1)]);
        for _ in 1..passes {
            control.judge(1, Ok(()));
        }
        assert_eq!(control.member(1).health.state(), "initial", "start {start}");
        control.judge(1, Ok(()));
        assert_eq!(control.member(1).health, Health::Healthy, "start {start}");
        control.see(&[]);
        control.wait(1);
    }
}
