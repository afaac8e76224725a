//! Who of a group may be picked.

use super::testing::{group, members, settings};
use super::*;
use crate::definition::Algorithm;
use crate::health::InitialReason;
use crate::thresholds::Thresholds;
use crate::time::Timestamp;

const CONTEXT: PickContext<'_> =
    PickContext { key: 0, now: Timestamp::from_nanos(0), avoid: &[], pinned: None, arm: None };
const INITIAL: Health = Health::Initial(InitialReason::InitialHealthChecking);
const SICK: Health = Health::Unhealthy(UnhealthyReason::Timeout);

fn with_health(healths: &[Health]) -> Vec<Member> {
    let ports: Vec<(u16, u16)> = (1..=healths.len() as u16).map(|port| (port, 1)).collect();
    members(&ports).into_iter().zip(healths).map(|(m, health)| Member { health: *health, ..m }).collect()
}

fn eligible(group: &Group) -> Vec<usize> {
    (0..group.members.len()).filter(|at| group.is_eligible(*at)).collect()
}

// Conformance: A3.3.2, A4.4.6
#[test]
fn only_healthy_members_are_eligible_while_there_are_enough() {
    let group =
        group(Algorithm::RoundRobin, with_health(&[Health::Healthy, SICK, INITIAL, Health::Draining]));
    assert_eq!(eligible(&group), [0]);
    assert!(!group.fails_open());
}

// Conformance: A3.3.2, A4.4.1, A4.4.6
#[test]
fn a_group_without_a_healthy_member_fails_open_to_all_but_the_draining() {
    let group = group(Algorithm::RoundRobin, with_health(&[SICK, INITIAL, Health::Draining]));
    assert_eq!(eligible(&group), [0, 1]);
    assert!(group.fails_open());
}

#[test]
fn an_ejection_alone_has_no_group_fail_open_unless_nobody_is_left() {
    const EJECTED: Health = Health::Unhealthy(UnhealthyReason::Ejected);
    let routing = MinimumHealthy { count: Some(1), percentage: Some(60) };
    let thresholds = Thresholds { routing, dns: routing };
    let settings = Arc::new(TargetGroup { thresholds, ..settings("g", Algorithm::RoundRobin) });
    for (healths, expected) in [
        (&[EJECTED, Health::Healthy][..], &[1][..]),
        (&[EJECTED, Health::Healthy, SICK], &[1]),
        (&[EJECTED, Health::Healthy, SICK, SICK], &[0, 1, 2, 3]),
        (&[EJECTED], &[0]),
    ] {
        let group = Group::build(GroupIndex(0), settings.clone(), with_health(healths), true, None);
        assert_eq!(eligible(&group), expected, "{healths:?}");
    }
}

#[test]
fn a_group_that_never_fails_open_gives_no_target() {
    let settings = TargetGroup { thresholds: Thresholds::CLASSIC, ..settings("g", Algorithm::RoundRobin) };
    let group = Group::build(GroupIndex(0), Arc::new(settings), with_health(&[SICK]), true, None);
    let lease = group.lease(&mut WorkerState::seeded(1), &CONTEXT);
    assert_eq!(lease.map(drop), Err(Unavailable::NoTarget));
}

#[test]
fn a_discovered_group_of_initial_members_holds_requests() {
    let hold = Duration::from_secs(10);
    let settings = Arc::new(TargetGroup { hold, ..settings("g", Algorithm::RoundRobin) });
    for (healths, expected) in [
        (&[][..], Err(Unavailable::Hold(hold))),
        (&[INITIAL], Err(Unavailable::Hold(hold))),
        (&[Health::Draining], Err(Unavailable::Hold(hold))),
        (&[SICK], Ok(())),
    ] {
        let group = Group::build(GroupIndex(0), settings.clone(), with_health(healths), true, None);
        let lease = group.lease(&mut WorkerState::seeded(1), &CONTEXT);
        assert_eq!(lease.map(drop), expected, "{healths:?}");
    }
}

#[test]
fn an_empty_group_without_hold_gives_no_target() {
    let lease = group(Algorithm::RoundRobin, Vec::new()).lease(&mut WorkerState::seeded(1), &CONTEXT);
    assert_eq!(lease.map(drop), Err(Unavailable::NoTarget));
}
