//! Promises of tasks that their engine pauses or knows to be ill.

use super::*;

#[test]
fn a_paused_task_is_unhealthy_at_once_and_initial_when_it_goes_on() {
    let mut control = Control::start();
    control.see(&[task("a", "1", 1)]);
    control.judge(1, Ok(()));
    control.see(&[Task { state: TaskState::Paused, ..task("a", "1", 1) }]);
    assert_eq!(control.member(1).health, Health::Unhealthy(UnhealthyReason::Paused));
    control.judge(1, Ok(()));
    assert_eq!(control.member(1).health, Health::Unhealthy(UnhealthyReason::Paused));
    control.see(&[task("a", "1", 1)]);
    assert_eq!(control.ports(), [(1, "initial")]);
}

#[test]
fn a_task_whose_engine_s_health_check_fails_gets_nothing_new_keeps_what_it_has_and_returns() {
    let mut control = Control::start();
    control.see(&[task("a", "1", 1), task("b", "1", 2)]);
    control.judge(1, Ok(()));
    control.judge(2, Ok(()));
    let target = control.member(1).target.clone();
    let lease = crate::lease::Lease::new(target.clone());
    let failing = Task {
        state: TaskState::Failing,
        cause: "the engine's health check fails: exit status 1".into(),
        ..task("a", "1", 1)
    };
    let transitions = control.see(&[failing, task("b", "1", 2)]);
    assert_eq!(transitions[0].cause, "container shop-a the engine's health check fails: exit status 1");
    assert_eq!(control.member(1).health, Health::Unhealthy(UnhealthyReason::EngineHealthCheck));
    assert!(control.judge(1, Ok(())).is_empty(), "a probe does not overrule the engine");
    assert!(!control.snapshot.groups().next().unwrap().is_eligible(0));
    assert!(control.wait(1_000).is_empty(), "nothing ends what it has");
    assert_eq!(target.tally.in_flight(), 1);
    drop(lease);

    control.see(&[task("a", "1", 1), task("b", "1", 2)]);
    assert_eq!(control.ports(), [(1, "initial"), (2, "healthy")]);
    control.judge(1, Ok(()));
    assert!(Arc::ptr_eq(&target, &control.member(1).target));
    assert_eq!(control.ports(), [(1, "healthy"), (2, "healthy")]);
}

#[test]
fn a_task_is_not_picked_before_its_engine_s_health_check_has_passed() {
    let mut control = Control::start();
    let starting = || Task { state: TaskState::Starting, ..task("b", "1", 2) };
    control.see(&[task("a", "1", 1), starting()]);
    control.judge(1, Ok(()));
    assert!(control.judge(2, Ok(())).is_empty());
    assert_eq!(control.member(2).health, Health::Initial(InitialReason::EngineHealthChecking));
    assert!(!control.snapshot.groups().next().unwrap().is_eligible(1));
    control.see(&[task("a", "1", 1), task("b", "1", 2)]);
    assert_eq!(control.member(2).health, Health::Initial(InitialReason::InitialHealthChecking));
    control.judge(2, Ok(()));
    assert!(control.snapshot.groups().next().unwrap().is_eligible(1));
}
