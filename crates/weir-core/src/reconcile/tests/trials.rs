//! Promises about comparisons of algorithms.

use super::*;
use crate::address::ClientAddr;
use crate::comparison::statistics::{Bucket, Counts};
use crate::comparison::{Arm, Comparison, Side};
use crate::snapshot::Group;

const COMPARISON: Comparison =
    Comparison { algorithm: Algorithm::LeastOutstandingRequests, percentage: 30, stops_when_worse: true };

fn comparing(comparison: Comparison) -> Control {
    let mut control = Control::with(|group| group.comparison = Some(comparison));
    control.see(&[task("a", "1", 40_000), task("b", "1", 40_001)]);
    for port in [40_000, 40_001] {
        control.judge(port, Ok(()));
    }
    control
}

fn group(control: &Control) -> &Arc<Group> {
    control.snapshot.groups().next().unwrap()
}

fn number(control: &Control) -> u32 {
    group(control).trial().unwrap().number
}

fn took(millis: f64) -> Counts {
    // Of 20 connections with 250 requests each, half of which take a little longer.
    let seconds = |n| 250.0 * millis / 1e3 * if n % 2 == 0 { 0.99 } else { 1.01 };
    Counts::of((0..20).map(|n| Bucket { requests: 250, failures: 0, seconds: seconds(n) }))
}

/// Looks so often in a row, each time seeing that; what has been stopped.
fn look(control: &mut Control, times: usize, a: &Counts, b: &Counts) -> Vec<Stopped> {
    let trial = number(control);
    let mut stopped = Vec::new();
    for _ in 0..times {
        let observed =
            Observed { group: group(control).settings.name.clone(), trial, a: a.clone(), b: b.clone() };
        let reconciled = reconcile(&mut control.state, Event::Trials(vec![observed]), control.now);
        control.snapshot = reconciled.snapshot.unwrap_or_else(|| control.snapshot.clone());
        stopped.extend(reconciled.stopped);
    }
    stopped
}

fn arms(control: &Control) -> Vec<Option<Algorithm>> {
    let client = |port| ClientAddr(([10, 0, 0, 9], port).into());
    (1..1000).map(|port| group(control).arm(client(port)).map(|arm| arm.algorithm)).collect()
}

#[test]
fn clients_are_split_and_both_arms_pick_among_the_same_targets() {
    let control = comparing(COMPARISON);
    let arms = arms(&control);
    let other = arms.iter().filter(|arm| **arm == Some(COMPARISON.algorithm)).count();
    assert!((250..350).contains(&other), "{other} of 999, not 30 %");
    assert!(arms.iter().all(Option::is_some));
    let group = group(&control);
    assert_eq!([Side::A, Side::B].map(|side| group.percentage(side)), [70, 30]);
    let mut worker = WorkerState::seeded(1);
    for side in [Side::A, Side::B] {
        let context =
            PickContext { key: 0, now: control.now, avoid: &[], pinned: None, arm: group.arm_of(side) };
        let one = group.lease(&mut worker, &context).unwrap();
        let two = group.lease(&mut worker, &context).unwrap();
        assert_ne!(one.target().serial, two.target().serial, "{side:?}");
    }
}

#[test]
fn an_arm_that_is_worse_at_three_looks_in_a_row_is_stopped() {
    for (a, b, stays) in [(10.0, 20.0, Algorithm::RoundRobin), (20.0, 10.0, COMPARISON.algorithm)] {
        let mut control = comparing(COMPARISON);
        assert_eq!(look(&mut control, 2, &took(a), &took(b)), []);
        assert_eq!(look(&mut control, 1, &took(10.0), &took(10.0)), [], "then not");
        assert_eq!(look(&mut control, 2, &took(a), &took(b)), []);
        let stopped = look(&mut control, 9, &took(a), &took(b));
        let [Stopped { better, cause, .. }] = &stopped[..] else { panic!("{stopped:?}, and once") };
        assert_eq!(*better, stays);
        assert_eq!(&**cause, "its requests take 20.000 ms, against 10.000 ms, of 5000 and 5000");
        let group = group(&control);
        assert!(arms(&control).iter().all(Option::is_none), "nobody is in an arm");
        assert_eq!(group.algorithm(None), stays);
        let side = if stays == COMPARISON.algorithm { Side::B } else { Side::A };
        assert_eq!((group.percentage(side), group.percentage(side.other())), (100, 0));
        // A request of the arm that is gone, tried again.
        let gone = Arm { trial: number(&control), algorithm: Algorithm::Prequal, bucket: 0 };
        assert_eq!(group.algorithm(Some(gone)), stays);
    }
}

#[test]
fn nothing_is_stopped_where_that_is_not_wanted() {
    let mut control = comparing(Comparison { stops_when_worse: false, ..COMPARISON });
    assert_eq!(look(&mut control, 9, &took(10.0), &took(20.0)), []);
    assert!(group(&control).trial().unwrap().stop.is_none());
}

#[test]
fn a_trial_outlives_what_does_not_change_it_and_begins_anew_with_what_does() {
    let mut control = comparing(COMPARISON);
    let first = number(&control);
    look(&mut control, 3, &took(10.0), &took(20.0));
    control.see(&[task("a", "1", 40_000), task("c", "1", 40_002)]);
    control.define(|group| {
        group.comparison = Some(COMPARISON);
        group.deregistration_delay = Duration::from_secs(7);
    });
    assert_eq!((number(&control), group(&control).trial().unwrap().stop.is_some()), (first, true));
    assert!(control.snapshot.members().any(|(_, member)| member.target.addr.port() == 40_002));
    control.define(|group| group.comparison = Some(Comparison { percentage: 50, ..COMPARISON }));
    assert_eq!((number(&control), group(&control).trial().unwrap().stop.is_some()), (first + 1, false));
    // What is still said of the first one is passed over.
    let observed =
        Observed { group: group(&control).settings.name.clone(), trial: first, a: took(1.0), b: took(2.0) };
    for _ in 0..5 {
        control.tell(Event::Trials(vec![observed.clone()]));
    }
    assert!(group(&control).trial().unwrap().stop.is_none());
    control.define(|group| group.comparison = None);
    assert!(group(&control).trial().is_none() && arms(&control).iter().all(Option::is_none));
}
