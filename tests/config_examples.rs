//! What the documents show is what the program takes.

use std::path::{Path, PathBuf};

use weir_tests::Folder;
use weir_tests::example::Example;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn files(folder: &str, extension: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join(folder)).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|e| e == extension)).collect()
}

/// Every YAML block of a document that is a whole configuration.
fn configurations(document: &Path) -> Vec<String> {
    let text = read(document);
    let blocks = text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.filter(|block| block.contains("load_balancers:")).map(ToOwned::to_owned).collect()
}

fn check(text: &str, file: &Path) {
    let loaded = weir_config::parse(text, file).unwrap_or_else(|problems| panic!("{problems}"));
    assert!(loaded.warnings.is_empty(), "{}: {:?}", file.display(), loaded.warnings);
}

/// The one example that is not a configuration but a Swarm's stack; `tests/swarm.rs` deploys it.
const STACK: &str = "stack.yaml";

#[test]
fn every_example_is_taken_without_a_warning() {
    let examples = files("config", "yaml");
    assert!(examples.len() >= 5, "{examples:?}");
    for path in examples.iter().filter(|path| !path.ends_with(STACK)) {
        check(&read(path), path);
    }
}

#[test]
fn the_stack_runs_examples_and_gives_them_longer_than_they_take_to_drain() {
    let stack = read(&root().join("config").join(STACK));
    let named: Vec<&str> =
        stack.split("file: ./").skip(1).filter_map(|rest| rest.split([' ', '\n']).next()).collect();
    assert_eq!(named.len(), 2, "{named:?}");
    for name in named {
        assert!(root().join("config").join(name).exists(), "config/{name} is missing");
    }
    let grace = stack.split("stop_grace_period: ").nth(1).and_then(|rest| rest.split('s').next());
    let grace = std::time::Duration::from_secs(grace.unwrap().parse().unwrap());
    assert!(grace > weir::process::Process::drain_deadline(), "{grace:?}");
}

#[test]
fn every_example_is_run_by_a_test() {
    let tests: String = files("tests", "rs").iter().map(|path| read(path)).collect();
    for path in files("config", "yaml") {
        let name = path.file_name().unwrap().to_str().unwrap();
        // `tests/swarm.rs` deploys the stack with its own two.
        let is_stacked = name.starts_with("stack");
        assert!(is_stacked || tests.contains(&format!("Example::read(\"{name}\")")), "nothing runs {name}");
    }
}

#[test]
fn every_configuration_in_the_documents_is_taken_without_a_warning() {
    let readme = configurations(&root().join("README.md"));
    assert!(readme.len() >= 3, "the README has one example for each kind of listener");
    for text in readme {
        check(&text, Path::new("README.md"));
    }
    for path in files("docs", "md") {
        for text in configurations(&path) {
            check(&text, &path);
        }
    }
}

#[test]
fn the_reference_has_every_key_and_only_those() {
    let reference = read(&root().join("docs/configuration.md"));
    for object in weir_config::OBJECTS {
        for key in object.keys {
            assert!(
                reference.contains(&format!("`{key}`")),
                "docs/configuration.md lacks `{key}` of a {}",
                object.name
            );
        }
    }
    let rows = reference.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let known: Vec<&str> = weir_config::OBJECTS.iter().flat_map(|object| object.keys).copied().collect();
    for row in rows {
        assert!(known.contains(&row), "docs/configuration.md has `{row}`, which weir does not know");
    }
}

#[test]
fn the_reference_has_every_label() {
    let reference = read(&root().join("docs/discovery.md"));
    for label in weir_discovery::labels::KNOWN {
        assert!(reference.contains(&format!("`{label}`")), "docs/discovery.md lacks `{label}`");
    }
}

#[test]
fn the_readme_s_first_configuration_serves() {
    let text = configurations(&root().join("README.md")).remove(0);
    let weir = Example::of(&text).start_in(Folder::new());
    assert!(weir.get("/").status > 0);
}
