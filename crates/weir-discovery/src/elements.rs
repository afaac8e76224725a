//! Elements: what Prometheus's `file_sd` and `http_sd` are lists of, and what an etcd key holds.
//!
//! ```json
//! [{ "targets": ["127.0.0.1:9001"], "labels": { "service": "db", "id": "db-1", "weir.weight": "2" } }]
//! ```
//!
//! An element with a mistake is left out alone.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use weir_core::address::TargetAddr;
use weir_core::task::{Provenance, SourceKind, Task, TaskId, TaskPort, TaskState};

use crate::labels;

/// Most targets of one document.
pub(crate) const TARGETS_MAX: usize = 10_000;

/// One element.
#[derive(Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Element {
    targets: Vec<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

/// A mistake that leaves out its owner and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mistake {
    /// The file, URL or key, or the entry in it.
    pub(crate) owner: String,
    /// What is wrong, with the remedy.
    pub(crate) problem: String,
}

/// What the elements of one document say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Elements {
    pub(crate) tasks: Vec<Task>,
    pub(crate) mistakes: Vec<Mistake>,
}

/// Where a document was found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Document<'d> {
    pub(crate) source: SourceKind,
    /// The document in reports of mistakes: the whole path, URL or key.
    pub(crate) owner: &'d str,
    /// The document as the origin of its tasks: the name of a file, or the owner.
    pub(crate) origin: &'d str,
    /// What its tasks are there for: `written`, `listed`.
    pub(crate) cause: &'static str,
    /// The identity of a lone target without an `id`: id and generation. `None` when the source knows only addresses.
    pub(crate) identity: Option<(&'d str, &'d str)>,
}

impl Document<'_> {
    /// The tasks of its elements.
    ///
    /// # Errors
    /// More than [`TARGETS_MAX`] targets.
    pub(crate) fn read(&self, elements: &[Element]) -> Result<Elements, String> {
        let count: usize = elements.iter().map(|element| element.targets.len()).sum();
        if count > TARGETS_MAX {
            return Err(format!("has {count} targets; at most {TARGETS_MAX} are read"));
        }
        let identity = self.identity.filter(|_| count == 1);
        let mut read = Elements::default();
        for (at, element) in elements.iter().enumerate() {
            match self.tasks(element, identity) {
                Ok(tasks) => read.tasks.extend(tasks),
                Err(problem) => {
                    let owner = format!("{}, entry {}", self.owner, at + 1);
                    read.mistakes.push(Mistake { owner, problem });
                }
            }
        }
        Ok(read)
    }

    /// The tasks of one element: one per address.
    fn tasks(&self, element: &Element, identity: Option<(&str, &str)>) -> Result<Vec<Task>, String> {
        let read = labels::read(&element.labels).map_err(|error| error.to_string())?;
        let label = |name: &str| element.labels.get(name).cloned();
        let (service, project) =
            (read.service.or_else(|| label("service")), read.project.or_else(|| label("project")));
        let id = label("id");
        if id.is_some() && element.targets.len() > 1 {
            return Err("has an `id` and several targets; an id belongs to one".to_owned());
        }
        let provenance =
            Arc::new(Provenance { source: self.source.as_str(), origin: self.origin.to_owned() });
        let task = |target: &String| {
            let addr: SocketAddr = target.parse().map_err(|_| {
                format!("target {target:?} is not an IP address with a port, such as 127.0.0.1:8080")
            })?;
            let task_id = match (&id, identity) {
                (Some(id), _) => Some(TaskId { id: id.as_str().into(), generation: target.as_str().into() }),
                (None, Some((id, generation))) => {
                    Some(TaskId { id: id.into(), generation: format!("{generation} {target}").into() })
                }
                (None, None) => None,
            };
            Ok(Task {
                id: task_id,
                name: id.clone().unwrap_or_else(|| target.clone()),
                service: service.clone(),
                project: project.clone(),
                ports: vec![TaskPort { container_port: addr.port(), addr: TargetAddr(addr) }],
                labels: read.task.clone(),
                state: TaskState::Running,
                provenance: provenance.clone(),
                cause: self.cause.to_owned(),
            })
        };
        element.targets.iter().map(task).collect()
    }
}

/// The elements of a JSON list.
///
/// # Errors
/// What is wrong, and where.
pub(crate) fn from_json(text: &[u8]) -> Result<Vec<Element>, String> {
    serde_json::from_slice(text).map_err(|error| error.to_string())
}

/// The elements of a JSON list, or the one element that is no list.
///
/// # Errors
/// What is wrong, and where.
pub(crate) fn one_or_list_from_json(text: &[u8]) -> Result<Vec<Element>, String> {
    if text.trim_ascii_start().starts_with(b"{") {
        let element = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        return Ok(vec![element]);
    }
    from_json(text)
}

/// The elements of a YAML list.
///
/// # Errors
/// What is wrong, and where.
pub(crate) fn from_yaml(text: &str) -> Result<Vec<Element>, String> {
    serde_saphyr::from_str(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use weir_core::target::Weight;

    use super::*;

    const DOCUMENT: Document<'_> = Document {
        source: SourceKind::File,
        owner: "/targets.d/x.json",
        origin: "x.json",
        cause: "written",
        identity: None,
    };

    #[test]
    fn an_entry_with_a_mistake_is_left_out_alone() {
        let text = br#"[{"targets":["db.internal:9001"]},{"targets":["127.0.0.1:9002"]},{"targets":[],"labels":{"weir.prot":"1"}}]"#;
        let read = DOCUMENT.read(&from_json(text).unwrap()).unwrap();
        assert_eq!(read.tasks.len(), 1);
        assert_eq!(read.mistakes[0].owner, "/targets.d/x.json, entry 1");
        assert!(read.mistakes[0].problem.contains("db.internal"));
        assert!(read.mistakes[1].problem.contains("weir.port"));
    }

    #[test]
    fn an_id_makes_the_task_another_than_its_address() {
        let text = "- targets: ['127.0.0.1:80']\n  labels: { id: web-1, service: web, weir.weight: '3' }\n";
        let read = DOCUMENT.read(&from_yaml(text).unwrap()).unwrap();
        let task = &read.tasks[0];
        assert_eq!(task.id.as_ref().map(|id| id.id.as_ref()), Some("web-1"));
        assert_eq!((task.service.as_deref(), task.labels.weight.map(Weight::get)), (Some("web"), Some(3)));
    }

    #[test]
    fn the_document_s_identity_is_that_of_a_lone_target() {
        let keyed = Document { identity: Some(("/weir/web-1", "7")), ..DOCUMENT };
        let ids = |text: &[u8]| -> Vec<Option<TaskId>> {
            let read = keyed.read(&one_or_list_from_json(text).unwrap()).unwrap();
            read.tasks.into_iter().map(|task| task.id).collect()
        };
        let lone = ids(br#"{"targets":["127.0.0.1:80"]}"#);
        assert_eq!(lone[0].as_ref().map(|id| &*id.generation), Some("7 127.0.0.1:80"));
        assert_eq!(ids(br#"[{"targets":["127.0.0.1:80","127.0.0.1:81"]}]"#), [None, None]);
    }

    #[test]
    fn more_targets_than_are_read_are_refused() {
        let targets = vec!["127.0.0.1:80".to_owned(); TARGETS_MAX + 1];
        let problem = DOCUMENT.read(&[Element { targets, labels: BTreeMap::new() }]).unwrap_err();
        assert!(problem.contains("10001 targets"), "{problem}");
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_readers(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = (from_json(&bytes), one_or_list_from_json(&bytes));
            let _ = from_yaml(&String::from_utf8_lossy(&bytes));
        }

        #[test]
        fn no_element_breaks_the_reader(
            targets in prop::collection::vec(".{0,20}", 0..4),
            labels in prop::collection::btree_map("[a-z.]{0,12}", ".{0,12}", 0..4),
        ) {
            let _ = DOCUMENT.read(&[Element { targets, labels }]);
        }
    }
}
