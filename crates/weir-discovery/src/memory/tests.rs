//! What is remembered, and what is not.

use std::sync::Arc;

use weir_core::address::TargetAddr;
use weir_core::task::{Provenance, Task, TaskId, TaskLabels, TaskPort, Transports};

use super::*;

fn task(id: &str, state: TaskState) -> Arc<Task> {
    let addr = TargetAddr(([127, 0, 0, 1], 32768).into());
    Arc::new(Task {
        id: Some(TaskId { id: id.into(), generation: "1".into() }),
        name: id.to_owned(),
        service: Some("web".to_owned()),
        project: None,
        ports: vec![TaskPort { container_port: 80, transports: Transports::UDP, addr }],
        labels: TaskLabels::default(),
        state,
        provenance: Arc::new(Provenance { source: "docker", origin: format!("container {id}") }),
        cause: "remembered".to_owned(),
    })
}

/// An empty folder that goes with its test.
struct Scratch(PathBuf);

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl std::ops::Deref for Scratch {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

fn folder(name: &str) -> Scratch {
    let folder = std::env::temp_dir().join(format!("weir-memory-{name}-{}", std::process::id()));
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    Scratch(folder)
}

fn set(tasks: &[Arc<Task>]) -> TaskSet {
    TaskSet { source: SourceKind::Docker, tasks: tasks.to_vec() }
}

fn open(folder: &Path, settings: &str) -> Memory {
    Memory::open(folder, BTreeMap::from([(SourceKind::Docker, settings.to_owned())]), settings.to_owned())
        .unwrap()
}

#[tokio::test]
async fn the_last_set_is_known_to_the_next_start_and_a_stopping_task_is_not() {
    let folder = folder("last");
    let memory = open(&folder.join("not/yet/there"), "engine");
    let writing = tokio::spawn(memory.writing());
    memory.keep(&set(&[]));
    memory.keep(&set(&[task("a", TaskState::Running), task("b", TaskState::Stopping)]));
    drop(memory);
    writing.await.unwrap();
    let memory = open(&folder.join("not/yet/there"), "engine");
    assert_eq!(memory.recall(SourceKind::Docker), Ok(Some(set(&[task("a", TaskState::Running)]))));
    assert_eq!(memory.recall(SourceKind::File), Ok(None));
}

#[tokio::test]
async fn the_shared_configuration_is_known_to_the_next_start_with_the_same_settings() {
    let folder = folder("shared");
    let memory = open(&folder, "key");
    assert_eq!(memory.recall_configuration(), Ok(None));
    let writing = tokio::spawn(memory.writing());
    memory.keep_configuration("target_groups: []\n");
    drop(memory);
    writing.await.unwrap();
    let recalled = |settings: &str| open(&folder, settings).recall_configuration().unwrap();
    assert_eq!(recalled("key").as_deref(), Some("target_groups: []\n"));
    assert_eq!(recalled("another key"), None);
}

#[tokio::test]
async fn a_source_with_other_settings_is_another_one() {
    let folder = folder("settings");
    let memory = open(&folder, "engine");
    let writing = tokio::spawn(memory.writing());
    memory.keep(&set(&[task("a", TaskState::Running)]));
    drop(memory);
    writing.await.unwrap();
    let problem = open(&folder, "another engine").recall(SourceKind::Docker).unwrap_err();
    assert!(problem.contains("the source had other settings then"), "{problem}");
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let folder = folder("unreadable");
    let memory = open(&folder, "engine");
    fs::write(folder.join("docker.json"), "{").unwrap();
    let problem = memory.recall(SourceKind::Docker).unwrap_err();
    assert!(problem.contains("docker.json: EOF"), "{problem}");
}

#[test]
fn a_folder_that_cannot_be_written_is_told_with_the_remedy() {
    let folder = folder("unwritable");
    fs::write(folder.join("file"), "").unwrap();
    let error = Memory::open(&folder.join("file"), BTreeMap::new(), String::new()).unwrap_err().to_string();
    assert!(error.contains("take `remember` out"), "{error}");
}

/// A disk that fails for a while.
#[tokio::test(start_paused = true)]
async fn what_could_not_be_written_is_written_later() {
    let folder = folder("later");
    let path = folder.join("memory");
    let memory = open(&path, "engine");
    fs::remove_dir_all(&path).unwrap();
    let writing = tokio::spawn(memory.writing());
    memory.keep(&set(&[task("a", TaskState::Running)]));
    tokio::time::sleep(PAUSE * 3).await;
    fs::create_dir(&path).unwrap();
    drop(memory);
    writing.await.unwrap();
    assert!(open(&path, "engine").recall(SourceKind::Docker).unwrap().is_some());
}
