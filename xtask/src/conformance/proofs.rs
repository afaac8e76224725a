//! The tests that prove rows, found by the comments above them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::step::Failed;

const COMMENT: &str = "// Conformance: ";

/// A test, and the rows that it proves.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Proof {
    /// The crate, or `promises` for what is shown from end to end.
    pub(super) package: String,
    /// The file, from the repository's root.
    pub(super) path: String,
    /// As cargo prints it: `module::name`.
    pub(super) name: String,
    /// The rows, in the order of the comment.
    pub(super) ids: Vec<String>,
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.package, self.name)
    }
}

/// Every test of the repository that proves a row, and what is wrong with comments.
///
/// # Errors
/// A folder or file that cannot be read.
pub(super) fn of_the_repository(root: &Path) -> Result<(Vec<Proof>, Vec<String>), Failed> {
    let mut tests = Vec::new();
    let mut mistakes = Vec::new();
    for file in files(root)? {
        let text = readable(&file, std::fs::read_to_string(&file))?;
        let path = file.strip_prefix(root).unwrap_or(&file).display().to_string();
        tests.extend(of_a_file(&path, &text, &mut mistakes));
    }
    mistakes.extend(namesakes(&tests));
    tests.retain(|test| !test.ids.is_empty());
    Ok((tests, mistakes))
}

/// The sources that may have such tests, end-to-end tests first.
fn files(root: &Path) -> Result<Vec<PathBuf>, Failed> {
    let mut files = sources(&root.join("tests"), false)?;
    for package in listed(&root.join("crates"))? {
        files.extend(sources(&package.join("src"), true)?);
    }
    Ok(files)
}

fn sources(folder: &Path, is_deep: bool) -> Result<Vec<PathBuf>, Failed> {
    let mut found = Vec::new();
    for path in listed(folder)? {
        if path.is_dir() && is_deep {
            found.extend(sources(&path, true)?);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(found)
}

/// What is in a folder, in the same order everywhere.
fn listed(folder: &Path) -> Result<Vec<PathBuf>, Failed> {
    let entries = readable(folder, std::fs::read_dir(folder))?;
    let mut paths = readable(
        folder,
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>(),
    )?;
    paths.sort();
    Ok(paths)
}

fn readable<T>(path: &Path, outcome: std::io::Result<T>) -> Result<T, Failed> {
    outcome.map_err(|error| Failed(format!("{}: {error}", path.display())))
}

/// All tests of a file, those too that prove no row.
fn of_a_file(path: &str, text: &str, mistakes: &mut Vec<String>) -> Vec<Proof> {
    let (package, file_modules) = place(path);
    let mut modules: Vec<(usize, &str)> = Vec::new();
    let mut tests = Vec::new();
    let mut ids: Option<Vec<String>> = None;
    let mut is_test = false;
    for (index, line) in text.lines().enumerate() {
        let code = line.trim_start();
        let indent = line.len() - code.len();
        if let Some(list) = code.strip_prefix(COMMENT) {
            ids = Some(list.split(',').map(|id| id.trim().to_owned()).collect());
        } else if code.starts_with("#[test]") || code.starts_with("#[tokio::test") {
            is_test = true;
        } else if let Some(name) = function(code).filter(|_| is_test) {
            let inner = modules.iter().map(|&(_, module)| module);
            let name: Vec<&str> = file_modules.iter().copied().chain(inner).chain([name]).collect();
            let ids = ids.take().unwrap_or_default();
            tests.push(Proof { package: package.into(), path: path.into(), name: name.join("::"), ids });
            is_test = false;
        } else if ids.is_some() && !is_test {
            mistakes.push(format!("{path}:{index}: no test follows the comment"));
            ids = None;
        } else if let Some(module) = code.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(" {")) {
            modules.push((indent, module));
        } else if code == "}" && modules.last().is_some_and(|&(opened, _)| opened == indent) {
            modules.pop();
        }
    }
    tests
}

/// The crate and the modules of a file: `crates/weir-core/src/rule/index.rs` is `rule::index` of `weir-core`.
fn place(path: &str) -> (&str, Vec<&str>) {
    let parts: Vec<&str> = path.trim_end_matches(".rs").split('/').collect();
    let (package, modules) = match parts[..] {
        ["crates", package, "src", ref modules @ ..] => (package, modules),
        _ => ("promises", &parts[1..]),
    };
    let is_root = |module: &str| ["lib", "main", "promises"].contains(&module);
    (package, modules.iter().copied().filter(|module| !is_root(module)).collect())
}

/// The name of the function that a line begins.
fn function(code: &str) -> Option<&str> {
    let rest = code.strip_prefix("async ").unwrap_or(code).strip_prefix("fn ")?;
    rest.split('(').next()
}

/// Tests that prove a row and have the name of another: what cargo prints would not tell them apart.
fn namesakes(tests: &[Proof]) -> Vec<String> {
    let mut by_name: BTreeMap<&str, Vec<&Proof>> = BTreeMap::new();
    for test in tests {
        by_name.entry(&test.name).or_default().push(test);
    }
    let several = by_name.values().filter(|same| same.len() > 1);
    let proofs = several.filter(|same| same.iter().any(|test| !test.ids.is_empty()));
    proofs.map(|same| format!("{} and {} have one name", same[0], same[1])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> (Vec<(String, String)>, Vec<String>) {
        let mut mistakes = Vec::new();
        let tests = of_a_file(path, text, &mut mistakes);
        (tests.into_iter().map(|test| (test.to_string(), test.ids.join(" "))).collect(), mistakes)
    }

    fn pair(name: &str, ids: &str) -> (String, String) {
        (name.to_owned(), ids.to_owned())
    }

    #[test]
    fn a_comment_above_a_test_is_found() {
        let text = "// Conformance: A1.1, A2.0.3\n#[test]\nfn it_does() {\n}\n#[test]\nfn it_may() {}\n";
        let (tests, mistakes) = found("tests/http_routing.rs", text);
        assert!(mistakes.is_empty(), "{mistakes:?}");
        let wanted = [
            pair("promises http_routing::it_does", "A1.1 A2.0.3"),
            pair("promises http_routing::it_may", ""),
        ];
        assert_eq!(tests, wanted);
    }

    #[test]
    fn a_test_has_the_name_that_cargo_prints() {
        let text = "mod before {\n    fn a() {\n    }\n}\n#[cfg(test)]\nmod tests {\n    // Conformance: A1.1\n    #[tokio::test(start_paused = true)]\n    async fn it_waits() {}\n\n    proptest! {\n        // Conformance: A1.2\n        #[test]\n        fn it_always_does(x in 0..9) {}\n    }\n}\n";
        let (tests, mistakes) = found("crates/weir-core/src/rule/index.rs", text);
        assert!(mistakes.is_empty(), "{mistakes:?}");
        let wanted = [
            pair("weir-core rule::index::tests::it_waits", "A1.1"),
            pair("weir-core rule::index::tests::it_always_does", "A1.2"),
        ];
        assert_eq!(tests, wanted);
    }

    #[test]
    fn the_root_of_a_crate_is_no_module() {
        let (tests, _) = found("crates/weir-net/src/lib.rs", "#[test]\nfn a() {}\n");
        assert_eq!(tests, [pair("weir-net a", "")]);
    }

    #[test]
    fn a_comment_that_no_test_follows_is_a_mistake() {
        let (tests, mistakes) =
            found("tests/a.rs", "// Conformance: A1.1\n/// Something.\n#[test]\nfn a() {}\n");
        assert_eq!(tests, [pair("promises a::a", "")]);
        assert_eq!(mistakes, ["tests/a.rs:1: no test follows the comment"]);
    }

    #[test]
    fn a_proof_with_the_name_of_another_test_is_a_mistake() {
        let test = |package: &str, ids: &[&str]| Proof {
            package: package.to_owned(),
            path: String::new(),
            name: "tests::a".to_owned(),
            ids: ids.iter().map(|&id| id.to_owned()).collect(),
        };
        assert_eq!(
            namesakes(&[test("x", &["A1.1"]), test("y", &[])]),
            ["x tests::a and y tests::a have one name"]
        );
        assert!(namesakes(&[test("x", &[]), test("y", &[])]).is_empty());
    }
}
