//! Promises of groups that misbehave on demand.

use super::*;
use crate::chaos::Chaos;
use crate::name::GroupName;

const SECOND: Duration = Duration::from_secs(1);

impl Control {
    fn misbehave(&mut self, chaos: Chaos) -> Vec<Transition> {
        self.tell(Event::Chaos { group: GroupName::parse("api").unwrap(), chaos })
    }

    /// A group of two targets that are well, the second in zone `b`.
    fn well() -> Self {
        let mut control = Self::start();
        control.see(&Self::tasks());
        control.judge(1, Ok(()));
        control.judge(2, Ok(()));
        control
    }

    fn tasks() -> [Task; 2] {
        let mut second = task("b", "1", 2);
        second.labels.zone = Some("b".to_owned());
        [task("a", "1", 1), second]
    }
}

#[test]
fn a_target_leaves_late_and_then_as_it_would_have() {
    let mut control = Control::well();
    control.misbehave(Chaos { deregister_late: 10 * SECOND, ..Chaos::default() });
    let [first, second] = Control::tasks();
    let stopping = Task { state: TaskState::Stopping, ..first };
    control.see(std::slice::from_ref(&stopping));
    assert_eq!(control.ports(), [(1, "healthy"), (2, "healthy")]);
    assert!(control.wait(9).is_empty());
    control.wait(1);
    assert_eq!(control.ports(), [(1, "draining")], "one drains, the other has vanished");
    control.see(&[stopping, second]);
    assert_eq!(control.ports(), [(1, "draining"), (2, "initial")], "who comes back is another target");
}

#[test]
fn a_task_that_returns_before_it_has_left_has_never_been_away() {
    let mut control = Control::well();
    control.misbehave(Chaos { deregister_late: 10 * SECOND, ..Chaos::default() });
    control.see(&[]);
    control.wait(5);
    control.see(&Control::tasks());
    assert!(control.wait(20).is_empty());
    control.see(&[]);
    assert!(control.wait(9).is_empty(), "its time begins anew");
}

#[test]
fn what_probes_find_out_takes_effect_late() {
    let mut control = Control::well();
    control.misbehave(Chaos { delay_health: 10 * SECOND, ..Chaos::default() });
    control.judge(1, SICK);
    control.judge(1, SICK);
    assert!(control.wait(9).is_empty());
    control.wait(1);
    assert_eq!(control.ports(), [(1, "unhealthy"), (2, "healthy")]);
}

#[test]
fn one_target_after_another_flaps_whatever_probes_say() {
    let mut control = Control::well();
    control.misbehave(Chaos { flap: Some(5 * SECOND), ..Chaos::default() });
    for states in [["unhealthy", "healthy"], ["healthy", "healthy"], ["healthy", "unhealthy"]] {
        assert_eq!(control.ports(), [(1, states[0]), (2, states[1])]);
        control.judge(1, Ok(()));
        control.see(&Control::tasks());
        assert_eq!(control.ports(), [(1, states[0]), (2, states[1])]);
        control.wait(5);
    }
    control.wait(5);
    assert_eq!(control.ports(), [(1, "unhealthy"), (2, "healthy")]);
    control.misbehave(Chaos::default());
    assert_eq!(control.ports(), [(1, "healthy"), (2, "healthy")]);
    assert_eq!(control.state.next_due(), None);
}

#[test]
fn the_targets_of_a_lost_zone_fail_their_probes_until_it_is_found_again() {
    let mut control = Control::well();
    control.misbehave(Chaos { lose_zone: Some("b".to_owned()), ..Chaos::default() });
    for serial in [1, 2, 1, 2] {
        control.judge(serial, Ok(()));
    }
    assert_eq!(control.ports(), [(1, "healthy"), (2, "unhealthy")]);
    control.misbehave(Chaos::default());
    for _ in 0..10 {
        control.judge(2, Ok(()));
    }
    assert_eq!(control.ports(), [(1, "healthy"), (2, "healthy")]);
}

#[test]
fn a_group_that_ceases_to_misbehave_does_at_once_what_is_overdue() {
    let mut control = Control::well();
    control.misbehave(Chaos { deregister_late: 3600 * SECOND, ..Chaos::default() });
    control.see(&[]);
    assert_eq!(control.ports().len(), 2);
    control.misbehave(Chaos::default());
    assert_eq!(control.ports(), []);
    assert!(control.misbehave(Chaos::default()).is_empty());
}

#[test]
fn a_group_that_is_taken_out_and_put_back_does_nothing_wrong_any_more() {
    let mut control = Control::well();
    control.misbehave(Chaos { deregister_late: 3600 * SECOND, ..Chaos::default() });
    control.tell(Event::Definitions(Arc::new(Definitions::default())));
    assert_eq!(control.ports(), [(1, "draining"), (2, "draining")]);
    control.define(|_| {});
    control.see(&[]);
    assert_eq!(control.ports(), []);
}
