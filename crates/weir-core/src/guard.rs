//! The guard: a source that has suddenly lost most of its tasks is more likely broken than right.
//!
//! An answer without any of the tasks that the source saw before, or without more than half of them, is not believed
//! until the source has kept to it for a while. What is new in it is. A source whose tasks end with an event of their own
//! (a Docker engine says who died) needs no guard.
//!
//! Source: ours; Amazon ECS has no such guard, and a batch that removes everything is more often a fault than a wish.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ahash::AHashSet;

use crate::task::{Departure, SourceKind, Task, TaskSet, differing};
use crate::time::Timestamp;

/// What every guarded source is believed to see.
#[derive(Clone, Debug, Default)]
pub struct Guard {
    /// How long a source must keep to a sharply smaller set. Zero believes everything at once.
    confirmation: Duration,
    sources: BTreeMap<SourceKind, Watched>,
}

#[derive(Clone, Debug, Default)]
struct Watched {
    believed: Vec<Arc<Task>>,
    withheld: Option<Withheld>,
}

#[derive(Clone, Debug)]
struct Withheld {
    /// What the source says.
    said: TaskSet,
    /// When it is believed; `None` while the source fails.
    until: Option<Timestamp>,
}

/// How a set is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// As it is.
    Believed(TaskSet),
    /// With the tasks that are missing in it.
    Withheld {
        /// What is to be served meanwhile.
        set: TaskSet,
        /// Tasks that are missing.
        missing: usize,
        /// Tasks that there were.
        before: usize,
    },
}

impl Guard {
    /// A guard that believes a sharply smaller set after `confirmation`.
    pub fn new(confirmation: Duration) -> Self {
        Self { confirmation, sources: BTreeMap::new() }
    }

    /// How long a sharply smaller set must stand.
    pub fn confirmation(&self) -> Duration {
        self.confirmation
    }

    /// Takes in what a source says.
    pub fn judge(&mut self, said: TaskSet, now: Timestamp) -> Judgement {
        if self.confirmation.is_zero() || said.source.departure() == Departure::Vanished {
            return Judgement::Believed(said);
        }
        let until = now.after(self.confirmation);
        let watched = self.sources.entry(said.source).or_default();
        let missing = missing(&watched.believed, &said.tasks);
        let before = watched.believed.len();
        if missing.is_empty() || missing.len() * 2 <= before {
            watched.believed.clone_from(&said.tasks);
            watched.withheld = None;
            return Judgement::Believed(said);
        }
        // A source that goes on losing tasks does not win time.
        let until = watched.withheld.take().map_or(Some(until), |withheld| withheld.until);
        let tasks = said.tasks.iter().chain(&missing).cloned().collect();
        let set = TaskSet { source: said.source, tasks };
        watched.believed.clone_from(&set.tasks);
        watched.withheld = Some(Withheld { said, until });
        Judgement::Withheld { set, missing: missing.len(), before }
    }

    /// Takes in what a source says that has told of each task which has gone, one by one: there is nothing to doubt, unless
    /// it has been doubted before.
    pub fn trust(&mut self, said: TaskSet, now: Timestamp) -> Judgement {
        if self.withholds(said.source) {
            return self.judge(said, now);
        }
        self.sources.entry(said.source).or_default().believed.clone_from(&said.tasks);
        Judgement::Believed(said)
    }

    /// The source cannot be asked: what it said last is not confirmed by its silence.
    pub fn fail(&mut self, source: SourceKind) {
        if let Some(withheld) = self.withheld(source) {
            withheld.until = None;
        }
    }

    /// The source works again, and says what it said last.
    pub fn recover(&mut self, source: SourceKind, now: Timestamp) {
        let until = now.after(self.confirmation);
        if let Some(withheld) = self.withheld(source) {
            withheld.until.get_or_insert(until);
        }
    }

    /// Whether the source has lost tasks that are still served.
    pub fn withholds(&self, source: SourceKind) -> bool {
        self.sources.get(&source).is_some_and(|watched| watched.withheld.is_some())
    }

    fn withheld(&mut self, source: SourceKind) -> Option<&mut Withheld> {
        self.sources.get_mut(&source)?.withheld.as_mut()
    }

    /// When [`Guard::confirmed`] is next worth asking.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.sources.values().filter_map(|watched| watched.withheld.as_ref()?.until).min()
    }

    /// Sets that have stood for long enough by `now`, to be believed.
    pub fn confirmed(&mut self, now: Timestamp) -> Vec<TaskSet> {
        let is_due = |withheld: &mut Withheld| withheld.until.is_some_and(|until| until <= now);
        let confirm = |watched: &mut Watched| {
            let said = watched.withheld.take_if(is_due)?.said;
            watched.believed.clone_from(&said.tasks);
            Some(said)
        };
        self.sources.values_mut().filter_map(confirm).collect()
    }
}

/// The tasks of `before` that `after` does not have, whatever has changed about those that it has. One is not missing
/// whose address `after` gives to another task, or which it has in another start: that the source has said in so many
/// words, and whoever is there now must not get its requests.
fn missing(before: &[Arc<Task>], after: &[Arc<Task>]) -> Vec<Arc<Task>> {
    let identity = |task: &Arc<Task>| match &task.id {
        Some(id) => (Some(id.clone()), None),
        None => (None, task.ports.first().map(|port| port.addr)),
    };
    let (gone, new) = differing(before, after);
    let there: AHashSet<_> = new.iter().map(identity).collect();
    let ids: AHashSet<_> = new.iter().filter_map(|task| task.id.as_ref()).map(|id| &id.id).collect();
    let addrs: AHashSet<_> = after.iter().flat_map(|task| &task.ports).map(|port| port.addr).collect();
    let is_replaced = |task: &Task| {
        task.id.as_ref().is_some_and(|id| ids.contains(&id.id))
            || task.ports.iter().any(|port| addrs.contains(&port.addr))
    };
    let is_missing = |task: &&Arc<Task>| !there.contains(&identity(task)) && !is_replaced(task);
    gone.iter().filter(is_missing).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::TargetAddr;
    use crate::task::{Provenance, TaskLabels, TaskPort, TaskState, Transports};

    const CONFIRMATION: Duration = Duration::from_secs(10);

    fn at(second: u64) -> Timestamp {
        Timestamp::from_nanos(second * 1_000_000_000)
    }

    fn set(ports: &[u16]) -> TaskSet {
        let task = |port: &u16| {
            let addr = TargetAddr(([127, 0, 0, 1], *port).into());
            Arc::new(Task {
                id: None,
                name: addr.to_string(),
                service: None,
                project: None,
                ports: vec![TaskPort { container_port: *port, transports: Transports::BOTH, addr }],
                labels: TaskLabels::default(),
                state: TaskState::Running,
                provenance: Arc::new(Provenance { source: "file", origin: String::new() }),
                cause: "written".into(),
            })
        };
        TaskSet { source: SourceKind::File, tasks: ports.iter().map(task).collect() }
    }

    /// The ports that are served after the source has said these.
    fn say(guard: &mut Guard, ports: &[u16], second: u64) -> (Vec<u16>, bool) {
        let (set, is_believed) = match guard.judge(set(ports), at(second)) {
            Judgement::Believed(set) => (set, true),
            Judgement::Withheld { set, .. } => (set, false),
        };
        (set.tasks.iter().map(|task| task.ports[0].addr.port()).collect(), is_believed)
    }

    #[test]
    fn a_set_that_grows_or_loses_at_most_half_is_believed() {
        let mut guard = Guard::new(CONFIRMATION);
        assert_eq!(say(&mut guard, &[1, 2, 3, 4], 0), (vec![1, 2, 3, 4], true));
        assert_eq!(say(&mut guard, &[1, 2], 1), (vec![1, 2], true));
        assert_eq!(say(&mut guard, &[2, 9], 2), (vec![2, 9], true));
    }

    #[test]
    fn an_empty_or_sharply_smaller_set_is_believed_once_it_has_stood() {
        for smaller in [&[][..], &[7, 1]] {
            let mut guard = Guard::new(CONFIRMATION);
            say(&mut guard, &[1, 2, 3], 0);
            let (served, is_believed) = say(&mut guard, smaller, 1);
            assert!(!is_believed && [1, 2, 3].iter().all(|port| served.contains(port)), "{served:?}");
            assert_eq!(served.contains(&7), smaller.contains(&7), "what is new is served at once");
            assert_eq!(guard.next_due(), Some(at(11)));
            assert!(guard.confirmed(at(10)).is_empty());
            assert_eq!(guard.confirmed(at(11)), [set(smaller)]);
            assert_eq!((guard.next_due(), say(&mut guard, smaller, 12).1), (None, true));
        }
    }

    #[test]
    fn a_source_that_says_full_and_empty_in_turn_loses_nobody() {
        let mut guard = Guard::new(CONFIRMATION);
        for second in 0..100 {
            let said: &[u16] = if second % 2 == 0 { &[1, 2] } else { &[] };
            assert_eq!(say(&mut guard, said, second).0, [1, 2]);
            assert!(guard.confirmed(at(second)).is_empty());
        }
    }

    #[test]
    fn a_source_that_goes_on_losing_tasks_is_believed_no_later() {
        let mut guard = Guard::new(CONFIRMATION);
        say(&mut guard, &[1, 2, 3, 4, 5], 0);
        say(&mut guard, &[1, 2], 1);
        say(&mut guard, &[1], 6);
        assert_eq!(guard.confirmed(at(11)), [set(&[1])]);
    }

    #[test]
    fn the_silence_of_a_source_that_fails_confirms_nothing() {
        let mut guard = Guard::new(CONFIRMATION);
        say(&mut guard, &[1, 2], 0);
        say(&mut guard, &[], 1);
        guard.fail(SourceKind::File);
        assert_eq!((guard.next_due(), guard.confirmed(at(1000)).len()), (None, 0));
        guard.recover(SourceKind::File, at(1000));
        assert_eq!(guard.confirmed(at(1010)), [set(&[])]);
    }

    #[test]
    fn a_task_whose_address_is_another_s_now_is_not_kept() {
        let mut guard = Guard::new(CONFIRMATION);
        let named = |id: &str, start: &str, port: u16| {
            let id = Some(crate::task::TaskId { id: id.into(), generation: start.into() });
            Arc::new(Task { id, ..(*set(&[port]).tasks[0]).clone() })
        };
        let said = |tasks: Vec<Arc<Task>>| TaskSet { source: SourceKind::File, tasks };
        let before = (1..=5).map(|number| named(&format!("shop-{number}"), "1", number));
        guard.judge(said(before.collect()), at(0));
        let after = said(vec![named("pay-1", "1", 1), named("shop-2", "2", 9)]);
        let Judgement::Withheld { set, missing, .. } = guard.judge(after.clone(), at(1)) else {
            panic!("three of five are missing");
        };
        assert_eq!((set.tasks.len(), missing), (5, 3), "the others may still be there");
        assert!(set.tasks.starts_with(&after.tasks));
    }

    #[test]
    fn a_source_that_tells_of_each_that_goes_is_trusted_unless_it_was_doubted() {
        let mut guard = Guard::new(CONFIRMATION);
        say(&mut guard, &[1, 2, 3], 0);
        assert!(matches!(guard.trust(set(&[]), at(1)), Judgement::Believed(_)));
        say(&mut guard, &[1, 2, 3], 2);
        assert!(!say(&mut guard, &[], 3).1);
        assert!(matches!(guard.trust(set(&[]), at(4)), Judgement::Withheld { .. }));
    }

    #[test]
    fn an_engine_is_believed_at_once() {
        let mut guard = Guard::new(CONFIRMATION);
        let docker = |ports: &[u16]| TaskSet { source: SourceKind::Docker, ..set(ports) };
        guard.judge(docker(&[1, 2]), at(0));
        assert_eq!(guard.judge(docker(&[]), at(1)), Judgement::Believed(docker(&[])));
    }
}
