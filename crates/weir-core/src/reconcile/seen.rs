//! What the sources see, indexed so that following a change costs what the change is.

use std::collections::BTreeMap;
use std::sync::Arc;

use ahash::{AHashMap, AHashSet};

use crate::definition::TaskSelector;
use crate::name::GroupName;
use crate::task::{SourceKind, Task, TaskId, TaskSet, differing};

/// The tasks that every source sees.
#[derive(Debug, Default)]
pub(super) struct Seen(BTreeMap<SourceKind, Source>);

#[derive(Debug, Default)]
struct Source {
    /// As reported last.
    tasks: Vec<Arc<Task>>,
    by_service: AHashMap<Option<String>, Vec<Arc<Task>>>,
    /// Those with a label that names a group.
    labelled: Vec<Arc<Task>>,
    ids: AHashSet<TaskId>,
}

impl Seen {
    /// Takes in a set; every task in which it may differ from the one before.
    pub(super) fn take_in(&mut self, TaskSet { source, tasks }: TaskSet) -> Vec<Arc<Task>> {
        let source = self.0.entry(source).or_default();
        let before = std::mem::replace(&mut source.tasks, tasks);
        let (gone, new) = differing(&before, &source.tasks);
        let (gone, new) = (gone.to_vec(), new.to_vec());
        for task in &gone {
            source.forget(task);
        }
        for task in &new {
            source.index(task);
        }
        gone.into_iter().chain(new).collect()
    }

    /// The tasks that `selector` selects.
    pub(super) fn selected<'s>(&'s self, selector: &'s TaskSelector) -> impl Iterator<Item = &'s Task> {
        let source = self.0.get(&selector.source);
        let candidates = source.and_then(|source| match &selector.service {
            Some(_) => source.by_service.get(&selector.service),
            None => Some(&source.tasks),
        });
        candidates.into_iter().flatten().map(|task| &**task).filter(|task| selector.selects(task))
    }

    /// The tasks of one service of `source`.
    pub(super) fn of_service(&self, source: SourceKind, service: String) -> impl Iterator<Item = &Task> {
        let of_service = self.0.get(&source).and_then(|source| source.by_service.get(&Some(service)));
        of_service.into_iter().flatten().map(|task| &**task)
    }

    /// The tasks that name `group` in a label of their own.
    pub(super) fn labelled<'s>(&'s self, group: &'s GroupName) -> impl Iterator<Item = &'s Task> {
        let labelled = self.0.values().flat_map(|source| &source.labelled);
        labelled.map(|task| &**task).filter(|task| task.names(group))
    }

    /// Whether the source sees the task now.
    pub(super) fn has(&self, source: SourceKind, id: &TaskId) -> bool {
        self.0.get(&source).is_some_and(|source| source.ids.contains(id))
    }
}

impl Source {
    fn index(&mut self, task: &Arc<Task>) {
        self.by_service.entry(task.service.clone()).or_default().push(task.clone());
        if task.labels.target_group.is_some() {
            self.labelled.push(task.clone());
        }
        self.ids.extend(task.id.clone());
    }

    fn forget(&mut self, task: &Arc<Task>) {
        let is_another = |other: &Arc<Task>| !Arc::ptr_eq(other, task);
        if let Some(of_service) = self.by_service.get_mut(&task.service) {
            of_service.retain(is_another);
            if of_service.is_empty() {
                self.by_service.remove(&task.service);
            }
        }
        self.labelled.retain(is_another);
        if let Some(id) = &task.id {
            self.ids.remove(id);
        }
    }
}
