//! What each kind of load balancer does, joined with the tests that prove that weir does it.
//!
//! The rows are written by hand (`docs/conformance/application.rows`, `network.rows`, `classic.rows`). A test names the rows that it proves by a comment directly
//! above its attribute, `// Conformance: A2.1.3, A7.12`. Each page (`docs/conformance/application.md`) is made of both.

mod page;
mod proofs;
mod rows;

use std::collections::BTreeSet;

use crate::step::{Failed, root};
use proofs::Proof;
use rows::{Group, Row, Standing};

/// A kind of load balancer.
#[derive(Clone, Copy, Debug)]
struct Kind {
    /// Its name in those of files: `application`.
    name: &'static str,
    /// AWS's, with its article.
    subject: &'static str,
}

const KINDS: [Kind; 3] = [
    Kind { name: "application", subject: "an Application Load Balancer" },
    Kind { name: "network", subject: "a Network Load Balancer" },
    Kind { name: "classic", subject: "a Classic Load Balancer" },
];

impl Kind {
    fn rows(self) -> String {
        format!("docs/conformance/{}.rows", self.name)
    }

    fn page(self) -> String {
        format!("docs/conformance/{}.md", self.name)
    }
}

/// Writes the pages anew.
pub(crate) fn write() -> Result<(), Failed> {
    let (tables, proofs) = joined()?;
    tables.iter().try_for_each(|(kind, groups)| {
        let page = kind.page();
        let text = page::written(*kind, groups, &proofs);
        std::fs::write(root().join(&page), text).map_err(|error| Failed(format!("{page}: {error}")))
    })
}

/// Fails unless the pages are what would be written.
pub(crate) fn is_fresh() -> Result<(), Failed> {
    let (tables, proofs) = joined()?;
    tables.iter().try_for_each(|(kind, groups)| {
        let page = kind.page();
        if read(&page)? == page::written(*kind, groups, &proofs) {
            return Ok(());
        }
        Err(Failed(format!(
            "{page} is not what rows and tests say; `cargo xtask conformance` writes it anew"
        )))
    })
}

/// The tests that have to run and to pass, and those that have.
pub(crate) struct Promises {
    proofs: Vec<Proof>,
    passed: BTreeSet<String>,
}

impl Promises {
    /// Every test that proves a row.
    pub(crate) fn read() -> Result<Self, Failed> {
        let (_, proofs) = joined()?;
        Ok(Self { proofs, passed: BTreeSet::new() })
    }

    /// Takes note of a line that tests have printed.
    pub(crate) fn note(&mut self, line: &str) {
        let name = line.trim_end().strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... ok"));
        self.passed.extend(name.map(ToOwned::to_owned));
    }

    /// Fails with every test that has not passed.
    pub(crate) fn are_kept(&self) -> Result<(), Failed> {
        let missing = self.proofs.iter().filter(|proof| !self.passed.contains(&proof.name));
        complaint("these tests prove what weir does, and have not passed", missing.map(Proof::to_string))
    }
}

/// The rows of each kind.
type Tables = Vec<(Kind, Vec<Group>)>;

/// The rows of each kind, and the tests, which fit together.
fn joined() -> Result<(Tables, Vec<Proof>), Failed> {
    let (mut tables, mut mistakes) = (Vec::new(), Vec::new());
    for kind in KINDS {
        let (groups, wrong) = rows::read(&read(&kind.rows())?);
        mistakes.extend(wrong.into_iter().map(|mistake| format!("{}: {mistake}", kind.rows())));
        tables.push((kind, groups));
    }
    let (proofs, more) = proofs::of_the_repository(root())?;
    mistakes.extend(more);
    mistakes.extend(mismatches(tables.iter().flat_map(|(_, groups)| groups), &proofs));
    complaint("rows and tests do not fit together", mistakes.into_iter())?;
    Ok((tables, proofs))
}

/// What is wrong between rows and tests.
fn mismatches<'g>(groups: impl Iterator<Item = &'g Group>, proofs: &[Proof]) -> Vec<String> {
    let rows: Vec<&Row> = groups.flat_map(|group| &group.rows).collect();
    let known: BTreeSet<&str> = rows.iter().map(|row| row.id.as_str()).collect();
    let named: BTreeSet<&str> = proofs.iter().flat_map(|proof| &proof.ids).map(String::as_str).collect();
    let unknown = proofs.iter().flat_map(|proof| {
        let strangers = proof.ids.iter().filter(|id| !known.contains(id.as_str()));
        strangers.map(move |id| format!("{proof} proves {id}, which is no row"))
    });
    let unfit = rows.iter().filter_map(|row| match (row.standing, named.contains(row.id.as_str())) {
        (Standing::Proven, false) => Some(format!("{} has neither a test nor a verdict", row.id)),
        (Standing::NotForADataPlane | Standing::Open, true) => {
            Some(format!("{} has a test, and a verdict that says that there is none", row.id))
        }
        _ => None,
    });
    unknown.chain(unfit).collect()
}

fn read(path: &str) -> Result<String, Failed> {
    std::fs::read_to_string(root().join(path)).map_err(|error| Failed(format!("{path}: {error}")))
}

/// Fails with all mistakes at once, if there are any.
fn complaint(summary: &str, mistakes: impl Iterator<Item = String>) -> Result<(), Failed> {
    let list: Vec<String> = mistakes.map(|mistake| format!("\n  {mistake}")).collect();
    if list.is_empty() { Ok(()) } else { Err(Failed(format!("{summary}:{}", list.concat()))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proof(name: &str, ids: &[&str]) -> Proof {
        let ids = ids.iter().map(|&id| id.to_owned()).collect();
        Proof { package: "promises".into(), path: "tests/a.rs".into(), name: name.into(), ids }
    }

    fn mistakes(text: &str, proofs: &[Proof]) -> Vec<String> {
        let (groups, mistakes) = rows::read(text);
        assert!(mistakes.is_empty(), "{mistakes:?}");
        mismatches(groups.iter(), proofs)
    }

    #[test]
    fn a_row_with_a_test_is_proven() {
        assert!(mistakes("# A1 One\nA1.1 | it does", &[proof("a::b", &["A1.1"])]).is_empty());
    }

    #[test]
    fn an_unknown_id_is_a_mistake() {
        let found = mistakes("# A1 One\nA1.1 | it does", &[proof("a::b", &["A1.1", "A9.9"])]);
        assert_eq!(found, ["promises a::b proves A9.9, which is no row"]);
    }

    #[test]
    fn a_row_with_neither_test_nor_verdict_is_a_mistake() {
        assert_eq!(mistakes("# A1 One\nA1.1 | it does", &[]), ["A1.1 has neither a test nor a verdict"]);
    }

    #[test]
    fn what_differs_may_have_a_test_and_what_is_not_there_has_none() {
        let text = "# A1 One\nA1.1 | it does | differs, because a\nA1.2 | it does | not for a data plane, because b\nA1.3 | it does | open, because c";
        let found = mistakes(text, &[proof("a::b", &["A1.1", "A1.2", "A1.3"])]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("A1.2 has a test") && found[1].starts_with("A1.3 has a test"));
        assert!(mistakes(text, &[]).is_empty());
    }

    #[test]
    fn the_pages_of_this_repository_are_fresh() {
        if let Err(Failed(what)) = is_fresh() {
            panic!("{what}");
        }
    }

    #[test]
    fn a_named_test_that_did_not_run_or_did_not_pass_is_missing() {
        let proofs = vec![proof("a::passes", &["A1.1"]), proof("a::fails", &[]), proof("a::sleeps", &[])];
        let mut promises = Promises { proofs, passed: BTreeSet::new() };
        for line in ["running 3 tests\n", "test a::passes ... ok\n", "test a::fails ... FAILED\n"] {
            promises.note(line);
        }
        let Err(Failed(what)) = promises.are_kept() else { unreachable!("two are missing") };
        assert!(!what.contains("a::passes"), "{what}");
        assert!(what.contains("promises a::fails") && what.contains("promises a::sleeps"), "{what}");
        promises.note("test a::fails ... ok");
        promises.note("test a::sleeps ... ok");
        assert!(promises.are_kept().is_ok());
    }
}
