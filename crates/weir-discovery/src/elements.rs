//! Elements: what Prometheus's `file_sd` and `http_sd` are lists of, and what an etcd key holds.
//!
//! ```json
//! [{ "targets": ["127.0.0.1:9001"], "labels": { "service": "db", "id": "db-1", "weir.weight": "2" } }]
//! ```
//!
//! An element with a mistake is left out alone. weir writes tasks in the same shape, with what only weir knows of them
//! in labels that begin with `__meta_weir_`.

use std::collections::BTreeMap;
use std::iter::repeat;
use std::net::SocketAddr;
use std::sync::Arc;

use weir_core::address::TargetAddr;
use weir_core::task::{Provenance, SourceKind, Task, TaskId, TaskPort, TaskState, Transports};

use crate::labels;

/// The labels of elements that weir has written: what people would not write.
const META_CONTAINER_PORTS: &str = "__meta_weir_container_ports";
const META_GENERATION: &str = "__meta_weir_generation";
const META_NAME: &str = "__meta_weir_name";
const META_ORIGIN: &str = "__meta_weir_origin";
const META_TRANSPORTS: &str = "__meta_weir_transports";

/// Most targets of one document.
pub(crate) const TARGETS_MAX: usize = 10_000;

/// One element.
#[derive(Debug, serde::Deserialize, serde::Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Element {
    targets: Vec<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

impl Element {
    /// The task as it is written down for a reader elsewhere, or for the next start. What it is doing is not: it is
    /// said of tasks that run.
    pub(crate) fn of(task: &Task) -> Self {
        let mut labels = labels::write(&task.labels);
        let mut label = |name: &str, value: Option<&str>| {
            labels.extend(value.map(|value| (name.to_owned(), value.to_owned())));
        };
        let ports: Vec<String> = task.ports.iter().map(|port| port.container_port.to_string()).collect();
        label("service", task.service.as_deref());
        label("project", task.project.as_deref());
        label("id", task.id.as_ref().map(|id| &*id.id));
        label(META_GENERATION, task.id.as_ref().map(|id| &*id.generation));
        label(META_CONTAINER_PORTS, Some(&ports.join(" ")));
        // Apart from the numbers, which weirs of before read too.
        let transports: Vec<String> = task.ports.iter().map(|port| port.transports.to_string()).collect();
        label(META_TRANSPORTS, Some(&transports.join(" ")));
        label(META_NAME, Some(&task.name));
        label(META_ORIGIN, Some(&task.provenance.origin));
        Self { targets: task.ports.iter().map(|port| port.addr.0.to_string()).collect(), labels }
    }
}

/// A mistake that leaves out its owner and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mistake {
    /// The container, file, URL or key, or the entry in it.
    pub owner: String,
    /// What is wrong, with the remedy.
    pub problem: String,
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
        let count = count(elements);
        if count > TARGETS_MAX {
            return Err(format!("has {count} targets; at most {TARGETS_MAX} are read"));
        }
        Ok(self.read_all(elements))
    }

    /// The same, however many there are.
    pub(crate) fn read_all(&self, elements: &[Element]) -> Elements {
        let identity = self.identity.filter(|_| count(elements) == 1);
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
        read
    }

    /// The tasks of one element: one per address, or one with all of them where weir has written it.
    fn tasks(&self, element: &Element, identity: Option<(&str, &str)>) -> Result<Vec<Task>, String> {
        if let Some((label, _)) = element.labels.iter().find(|(_, value)| value.contains(char::is_control)) {
            // It would reach logs and terminals.
            return Err(format!("label {label:?} has a control character"));
        }
        let read = labels::read(&element.labels).map_err(|error| error.to_string())?;
        let label = |name: &str| element.labels.get(name).cloned();
        let (service, project) =
            (read.service.or_else(|| label("service")), read.project.or_else(|| label("project")));
        let id = label("id");
        let container_ports = label(META_CONTAINER_PORTS);
        if id.is_some() && element.targets.len() > 1 && container_ports.is_none() {
            return Err("has an `id` and several targets; an id belongs to one".to_owned());
        }
        let origin = label(META_ORIGIN).unwrap_or_else(|| self.origin.to_owned());
        let provenance = Arc::new(Provenance { source: self.source.as_str(), origin });
        let task = |name: &str, ports: Vec<TaskPort>| Task {
            id: match (&id, identity) {
                (Some(id), _) => Some(TaskId {
                    id: id.as_str().into(),
                    generation: label(META_GENERATION).unwrap_or_else(|| name.to_owned()).into(),
                }),
                (None, Some((id, generation))) => {
                    Some(TaskId { id: id.into(), generation: format!("{generation} {name}").into() })
                }
                (None, None) => None,
            },
            name: label(META_NAME).or_else(|| id.clone()).unwrap_or_else(|| name.to_owned()),
            service: service.clone(),
            project: project.clone(),
            ports,
            labels: read.task.clone(),
            state: TaskState::Running,
            provenance: provenance.clone(),
            cause: self.cause.to_owned(),
        };
        let addrs = element.targets.iter().map(|target| addr(target)).collect::<Result<Vec<_>, _>>()?;
        let Some(container_ports) = container_ports else {
            let of_target = |(target, addr): (&String, TargetAddr)| {
                task(
                    target,
                    vec![TaskPort { container_port: addr.0.port(), transports: Transports::BOTH, addr }],
                )
            };
            return Ok(element.targets.iter().zip(addrs).map(of_target).collect());
        };
        let numbers: Result<Vec<u16>, _> = container_ports.split_whitespace().map(str::parse).collect();
        let numbers = numbers.ok().filter(|numbers| numbers.len() == addrs.len());
        let numbers = numbers.ok_or_else(|| {
            format!("has {} targets, and `{META_CONTAINER_PORTS}` is {container_ports:?}", addrs.len())
        })?;
        // Weirs of before did not say.
        let transports = label(META_TRANSPORTS).unwrap_or_default();
        let transports = transports.split_whitespace().map(transports_of).chain(repeat(Transports::BOTH));
        let of_port = |((container_port, addr), transports)| TaskPort { container_port, transports, addr };
        let ports = numbers.into_iter().zip(addrs).zip(transports).map(of_port).collect();
        Ok(vec![task(&element.targets.join(" "), ports)])
    }
}

fn transports_of(text: &str) -> Transports {
    let known = [Transports::TCP, Transports::UDP].into_iter().find(|known| known.to_string() == text);
    known.unwrap_or(Transports::BOTH)
}

fn count(elements: &[Element]) -> usize {
    elements.iter().map(|element| element.targets.len()).sum()
}

fn addr(target: &str) -> Result<TargetAddr, String> {
    let addr: Option<SocketAddr> = target.parse().ok();
    let is_somewhere = |addr: &SocketAddr| addr.port() != 0 && !addr.ip().is_unspecified();
    addr.filter(is_somewhere)
        .map(TargetAddr)
        .ok_or_else(|| format!("target {target:?} is not an IP address with a port, such as 127.0.0.1:8080"))
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
    use weir_core::task::TaskLabels;

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
    fn a_written_task_is_read_as_it_was() {
        let port = |container_port, transports, port| TaskPort {
            container_port,
            transports,
            addr: TargetAddr(([127, 0, 0, 1], port).into()),
        };
        let labels = [
            ("weir.enable", "false"),
            ("weir.target_group", "web"),
            ("weir.port", "90"),
            ("weir.weight", "7"),
            ("weir.zone", "a"),
            ("weir.health_check.path", "/up"),
            ("weir.listener", "edge:80"),
            ("weir.priority", "3"),
            ("weir.host", "*.example"),
            ("weir.path", "/a*"),
        ];
        let labels = labels.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned())).collect();
        let task = Task {
            id: Some(TaskId { id: "c0ffee".into(), generation: "2026-11-25T10:00:00Z".into() }),
            name: "web-1".to_owned(),
            service: Some("web".to_owned()),
            project: Some("shop".to_owned()),
            ports: vec![
                port(53, Transports::UDP, 32767),
                port(80, Transports::TCP, 32768),
                port(90, Transports::BOTH, 32769),
            ],
            labels: labels::read(&labels).unwrap().task,
            state: TaskState::Running,
            provenance: Arc::new(Provenance { source: "file", origin: "container web-1".to_owned() }),
            cause: "written".to_owned(),
        };
        let lone = Task {
            id: None,
            ports: vec![port(80, Transports::BOTH, 80)],
            labels: TaskLabels::default(),
            ..task.clone()
        };
        let text = serde_json::to_vec(&[Element::of(&task), Element::of(&lone)]).unwrap();
        let read = DOCUMENT.read(&from_json(&text).unwrap()).unwrap();
        assert_eq!((read.tasks, read.mistakes), (vec![task, lone], vec![]));
    }

    #[test]
    fn container_ports_that_do_not_fit_the_targets_are_a_mistake_of_the_entry() {
        for ports in ["80", "80 x"] {
            let text = format!(
                r#"[{{"targets":["127.0.0.1:1","127.0.0.1:2"],"labels":{{"__meta_weir_container_ports":"{ports}"}}}}]"#
            );
            let read = DOCUMENT.read(&from_json(text.as_bytes()).unwrap()).unwrap();
            assert!(read.mistakes[0].problem.contains("has 2 targets"), "{:?}", read.mistakes);
        }
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
