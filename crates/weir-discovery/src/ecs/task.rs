//! From what ECS says of a task to what weir follows: one task of weir for each container with ports.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_core::task::{Provenance, SourceKind, Task, TaskId, TaskPort, TaskState};

use crate::labels::{self, LabelError};

/// A container of a task, with all that is known of it.
#[derive(Clone, Debug)]
pub(super) struct Container<'c> {
    /// The task's ARN.
    pub(super) arn: &'c str,
    pub(super) name: &'c str,
    /// What changes when the container is started again.
    pub(super) start: &'c str,
    pub(super) service: &'c str,
    pub(super) cluster: Option<&'c str>,
    pub(super) state: TaskState,
    /// What brought it into that state.
    pub(super) cause: String,
    pub(super) ports: Vec<TaskPort>,
    /// Labels and tags, weir's among them.
    pub(super) labels: BTreeMap<String, String>,
}

impl Container<'_> {
    /// What weir follows.
    ///
    /// # Errors
    /// A mistaken label.
    pub(super) fn task(self) -> Result<Task, LabelError> {
        let read = labels::read(&self.labels)?;
        let short: String = last(self.arn).chars().take(12).collect();
        let origin = format!("task {short} of {}, container {}", self.service, self.name);
        Ok(Task {
            // Two containers of a task may have the same container port at different host ports.
            id: Some(TaskId {
                id: format!("{} {}", self.arn, self.name).into(),
                generation: self.start.into(),
            }),
            name: format!("{}/{short}", self.name),
            service: Some(read.service.unwrap_or_else(|| self.service.to_owned())),
            project: read.project.or_else(|| self.cluster.map(ToOwned::to_owned)),
            ports: self.ports,
            labels: read.task,
            state: self.state,
            provenance: Arc::new(Provenance { source: SourceKind::Ecs.as_str(), origin }),
            cause: self.cause,
        })
    }
}

/// What a task with these statuses is doing: `last` is what is known, `desired` is what ECS wants.
///
/// `None` for one that does not serve, or not yet. One that is told to stop has work to finish until it has stopped.
///
/// Source: AWS, [task lifecycle](https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-lifecycle-explanation.html).
pub(super) fn state(last: &str, desired: &str) -> Option<TaskState> {
    match (last, desired) {
        ("RUNNING", "RUNNING") => Some(TaskState::Running),
        ("RUNNING" | "DEACTIVATING" | "STOPPING", _) if desired == "STOPPED" || last != "RUNNING" => {
            Some(TaskState::Stopping)
        }
        _ => None,
    }
}

/// The last part of an ARN.
pub(super) fn last(arn: &str) -> &str {
    arn.rsplit('/').next().unwrap_or(arn)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_serves_only_when_it_runs_and_shall_run() {
        for (last, desired, expected) in [
            ("RUNNING", "RUNNING", Some(TaskState::Running)),
            ("RUNNING", "STOPPED", Some(TaskState::Stopping)),
            ("DEACTIVATING", "STOPPED", Some(TaskState::Stopping)),
            ("STOPPING", "STOPPED", Some(TaskState::Stopping)),
            ("DEPROVISIONING", "STOPPED", None),
            ("STOPPED", "STOPPED", None),
            ("STOPPED", "RUNNING", None),
            ("PENDING", "RUNNING", None),
            ("ACTIVATING", "RUNNING", None),
            ("RUNNING", "PENDING", None),
            ("RUNNING", "", None),
        ] {
            assert_eq!(state(last, desired), expected, "{last}, {desired}");
        }
    }
}
