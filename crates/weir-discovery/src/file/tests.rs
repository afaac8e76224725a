//! Promises of the file source.

use proptest::prelude::*;
use tokio::sync::mpsc::{Receiver, channel};

use super::*;

/// A watched folder of a test's own.
struct Watched {
    folder: PathBuf,
    reports: Receiver<Report>,
    watching: tokio::task::JoinHandle<()>,
}

impl Watched {
    fn start(name: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("weir-file-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();
        let (sender, reports) = channel(16);
        let watching = tokio::spawn(watch(folder.clone(), sender));
        Self { folder, reports, watching }
    }

    /// Writes a file the way careful writers do: beside its place, then by renaming it.
    fn write(&self, name: &str, text: &str) {
        let new = self.folder.join("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.folder.join(name)).unwrap();
    }

    async fn next(&mut self) -> Report {
        timeout(Duration::from_secs(20), self.reports.recv())
            .await
            .expect("a report in time")
            .expect("a watcher")
    }

    /// The ports of the next set.
    async fn ports(&mut self) -> Vec<u16> {
        match self.next().await {
            Report::Tasks(set) => set.tasks.iter().map(|task| task.ports[0].container_port).collect(),
            other => panic!("not a set: {other:?}"),
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.watching.abort();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

const ONE: &str = r#"[{"targets":["127.0.0.1:9001"],"labels":{"service":"db"}}]"#;
const TWO: &str = r#"[{"targets":["127.0.0.1:9001","127.0.0.1:9002"],"labels":{"service":"db"}}]"#;

#[tokio::test]
async fn a_renamed_file_is_followed() {
    let mut watched = Watched::start("rename");
    assert!(watched.ports().await.is_empty());
    watched.write("db.json", ONE);
    assert_eq!(watched.ports().await, [9001]);
    watched.write("db.json", TWO);
    assert_eq!(watched.ports().await, [9001, 9002]);
    fs::remove_file(watched.folder.join("db.json")).unwrap();
    assert!(watched.ports().await.is_empty());
}

#[tokio::test]
async fn a_half_written_file_keeps_its_last_good_entries_and_is_named() {
    let mut watched = Watched::start("half");
    assert!(watched.ports().await.is_empty());
    watched.write("db.json", TWO);
    assert_eq!(watched.ports().await, [9001, 9002]);
    watched.write("db.json", &TWO[..30]);
    match watched.next().await {
        Report::LeftOut { mistakes, .. } => {
            let Mistake { owner, problem } = mistakes.first().unwrap();
            assert!(owner.ends_with("db.json") && problem.contains("line 1"), "{owner}: {problem}");
        }
        other => panic!("not a mistake: {other:?}"),
    }
    watched.write("web.yaml", "- targets: ['127.0.0.1:80']\n");
    assert_eq!(watched.ports().await, [9001, 9002, 80]);
}

proptest! {
    #[test]
    fn no_document_breaks_the_reader(text in ".{0,200}") {
        let _ = parse(&text, Path::new("x.json"));
        let _ = parse(&text, Path::new("x.yaml"));
    }

    #[test]
    fn no_truncation_breaks_the_reader(length in 0_usize..80) {
        let _ = parse(&TWO[..length.min(TWO.len())], Path::new("x.json"));
        let _ = parse(&TWO[..length.min(TWO.len())], Path::new("x.yaml"));
    }
}
