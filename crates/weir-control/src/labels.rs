//! What labels add to the written definitions, with a memory for what was there a moment ago.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use weir_core::definition::Definitions;
use weir_core::label_rules::{self, Labelled, Quarantined, Tasks};
use weir_core::task::{SourceKind, Task, TaskSet};
use weir_core::time::Timestamp;
use weir_core::unfit::Unfit;

/// How long a rule outlives its last task: as long as requests wait for the next one in the group that it forwards to.
const RULE_LINGER: Duration = Duration::from_secs(10);

/// Written definitions and the tasks whose labels add to them.
#[derive(Debug, Default)]
pub(crate) struct Labels {
    /// Whether a task needs no label to have a rule: nobody wrote any.
    is_automatic: bool,
    written: Arc<Definitions>,
    tasks: Tasks,
    /// Tasks with a rule that are gone, and when their rules are given up.
    departed: Vec<(SourceKind, Arc<Task>, Timestamp)>,
    /// Tasks whose labels are left out.
    quarantined: BTreeSet<Quarantined>,
    /// Tasks that do not fit groups that select them.
    unfit: BTreeSet<Unfit>,
}

impl Labels {
    /// Labels beside a configuration, or, if `is_automatic`, tasks that are all served without one.
    pub(crate) fn new(is_automatic: bool) -> Self {
        Self { is_automatic, ..Self::default() }
    }

    /// Takes in what is written, whole.
    pub(crate) fn write(&mut self, written: Definitions) {
        self.written = Arc::new(written);
    }

    /// Takes in what a source sees, whole.
    pub(crate) fn see(&mut self, set: TaskSet, now: Timestamp) {
        let before = self.tasks.insert(set.source, set.tasks).unwrap_or_default();
        let tasks = &self.tasks[&set.source];
        let had_rule = |task: &Task| {
            task.labels.enable
                && (self.is_automatic || task.labels.rule.is_some())
                && self.quarantined.iter().all(|left_out| left_out.owner != task.provenance.origin)
        };
        let gone = before
            .into_iter()
            .filter(|task| had_rule(task) && tasks.iter().all(|there| !is_same(there, task)));
        let gone: Vec<_> = gone.map(|task| (set.source, task, now.after(RULE_LINGER))).collect();
        self.departed.extend(gone);
        self.forget(now);
    }

    /// Every task that is there, or was a moment ago.
    pub(crate) fn lingering(&self) -> Vec<Arc<Task>> {
        let departed = self.departed.iter().map(|(_, task, _)| task);
        self.tasks.values().flatten().chain(departed).cloned().collect()
    }

    /// What is to be reconciled.
    pub(crate) fn add(&self) -> Labelled {
        let asked = self.departed.iter().filter(|(_, task, _)| task.labels.rule.is_some());
        let departed: Vec<(SourceKind, Arc<Task>)> =
            asked.map(|(source, task, _)| (*source, task.clone())).collect();
        label_rules::add(&self.written, self.tasks.clone(), &departed)
    }

    /// Takes in which tasks are left out now; whether they are others than before.
    pub(crate) fn leave_out(&mut self, quarantined: &[Quarantined], unfit: &[Unfit]) -> bool {
        let quarantined = quarantined.iter().cloned().collect();
        let unfit = unfit.iter().cloned().collect();
        let is_news = self.quarantined != quarantined || self.unfit != unfit;
        (self.quarantined, self.unfit) = (quarantined, unfit);
        is_news
    }

    /// When [`Labels::forget`] is next worth calling.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        self.departed.iter().map(|(_, _, until)| *until).min()
    }

    /// Gives up rules whose time has come; whether there were any.
    pub(crate) fn forget(&mut self, now: Timestamp) -> bool {
        let before = self.departed.len();
        self.departed.retain(|(_, _, until)| *until > now);
        before != self.departed.len()
    }
}

/// Whether two sightings are of one task, whatever it is called by now.
fn is_same(one: &Task, other: &Task) -> bool {
    match (&one.id, &other.id) {
        (None, None) => one.name == other.name,
        (one, other) => one == other,
    }
}

#[cfg(test)]
mod tests {
    use weir_core::address::TargetAddr;
    use weir_core::label_rules::LabelRuleError;
    use weir_core::name::LoadBalancerName;
    use weir_core::pattern::{Case, Pattern};
    use weir_core::rule::{Condition, LabelRule, Priority};
    use weir_core::task::{Provenance, TaskId, TaskLabels, TaskPort, TaskState, Transports};

    use super::*;

    fn task(id: &str, name: &str) -> Task {
        let conditions = vec![Condition::PathPattern(vec![Pattern::parse("/*", Case::Sensitive).unwrap()])];
        Task {
            id: Some(TaskId { id: id.into(), generation: "1".into() }),
            name: name.into(),
            service: Some("api".into()),
            project: None,
            ports: vec![TaskPort {
                container_port: 80,
                transports: Transports::TCP,
                addr: TargetAddr(([127, 0, 0, 1], 1).into()),
            }],
            labels: TaskLabels {
                rule: Some(LabelRule {
                    load_balancer: LoadBalancerName::parse("edge").unwrap(),
                    port: None,
                    priority: Priority::new(1).unwrap(),
                    conditions,
                }),
                ..TaskLabels::default()
            },
            state: TaskState::Running,
            provenance: Arc::new(Provenance { source: "docker", origin: format!("container {id}") }),
            cause: "start".into(),
        }
    }

    fn see(labels: &mut Labels, tasks: &[Task], seconds: u64) {
        let set =
            TaskSet { source: SourceKind::Docker, tasks: tasks.iter().cloned().map(Arc::new).collect() };
        labels.see(set, Timestamp::from_nanos(seconds * 1_000_000_000));
    }

    #[test]
    fn a_rule_is_remembered_for_a_while_after_its_last_task() {
        let mut labels = Labels::default();
        see(&mut labels, &[task("a", "a")], 1);
        see(&mut labels, &[task("a", "renamed")], 2);
        assert_eq!(labels.next_due(), None, "a renamed task is still there");
        see(&mut labels, &[], 3);
        let due = Timestamp::from_nanos(13_000_000_000);
        assert_eq!(labels.next_due(), Some(due));
        assert!(!labels.forget(Timestamp::from_nanos(12_999_999_999)));
        assert!(labels.forget(due));
        assert_eq!(labels.next_due(), None);
    }

    #[test]
    fn what_is_left_out_is_news_when_it_changes_and_not_remembered_when_it_goes() {
        let mut labels = Labels::default();
        see(&mut labels, &[task("a", "a")], 1);
        let quarantined = labels.add().quarantined;
        assert!(matches!(quarantined[0].error, LabelRuleError::ListenerUnknown { .. }));
        assert!(labels.leave_out(&quarantined, &[]));
        assert!(!labels.leave_out(&quarantined, &[]));
        see(&mut labels, &[], 2);
        assert_eq!(labels.next_due(), None);
        assert!(labels.leave_out(&[], &[]));
        assert!(labels.leave_out(&quarantined, &[]), "it is news when it comes back");
    }
}
