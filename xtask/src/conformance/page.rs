//! The page: a table below each heading, and how many rows stand how on top.

use super::proofs::Proof;
use super::rows::{Group, Row, Standing};

const INTRODUCTION: &str = "\
# What an Application Load Balancer does, and what proves that weir does it

Each row is one thing that Amazon's documentation, its API or its published code say of an Application Load Balancer. Beside
it stand the tests that show weir doing the same; or *differs*, where weir does something else on purpose; or *not for a data
plane*, where it is a matter of Amazon's service; or *open*, where weir does not do it yet or no test shows it.

`cargo xtask conformance` writes this page, from [`application.rows`](application.rows) and from the comments above tests
(`// Conformance: A2.1.3`). `cargo xtask check` fails when it is stale, and `cargo xtask test` when one of its tests has not run
and passed.
";

/// The page of these rows and tests, which fit together.
pub(super) fn written(groups: &[Group], proofs: &[Proof]) -> String {
    let tables: String = groups.iter().map(|group| table(group, proofs)).collect();
    format!("{INTRODUCTION}\n{}{tables}", summary(groups))
}

fn table(group: &Group, proofs: &[Proof]) -> String {
    let head =
        format!("\n## {}\n\n| | An Application Load Balancer | weir |\n|---|---|---|\n", group.heading);
    let rows =
        group.rows.iter().map(|row| format!("| {} | {} | {} |\n", row.id, row.what, cell(row, proofs)));
    std::iter::once(head).chain(rows).collect()
}

fn summary(groups: &[Group]) -> String {
    let count =
        |standing| groups.iter().flat_map(|group| &group.rows).filter(|row| row.standing == standing).count();
    format!(
        "| | rows |\n|---|---|\n| proven by tests | {} |\n| differs | {} |\n| not for a data plane | {} |\n| open | {} |\n",
        count(Standing::Proven),
        count(Standing::Differs),
        count(Standing::NotForADataPlane),
        count(Standing::Open),
    )
}

/// The verdict, and the tests.
fn cell(row: &Row, proofs: &[Proof]) -> String {
    let verdict = (row.standing != Standing::Proven).then(|| emphasised(&row.verdict));
    let proofs = proofs.iter().filter(|proof| proof.ids.contains(&row.id)).map(link);
    verdict.into_iter().chain(proofs).collect::<Vec<_>>().join("<br>")
}

fn emphasised(verdict: &str) -> String {
    let (word, because) = verdict.split_once(',').unwrap_or((verdict, ""));
    format!("*{word}*,{because}")
}

fn link(proof: &Proof) -> String {
    let shown = if proof.package == "promises" { proof.name.clone() } else { proof.to_string() };
    format!("[`{shown}`](../../{})", proof.path)
}

#[cfg(test)]
mod tests {
    use super::super::rows;
    use super::*;

    #[test]
    fn the_page_has_a_table_for_each_heading_and_counts_on_top() {
        let text = "# A1 One\nA1.1 | it does\nA1.2 | it may | differs, because weir waits\n# A2 Two\nA2.1 | it is sold | not for a data plane, because nobody pays";
        let (groups, _) = rows::read(text);
        let proof = |name: &str, ids: &[&str]| Proof {
            package: "promises".to_owned(),
            path: "tests/a.rs".to_owned(),
            name: name.to_owned(),
            ids: ids.iter().map(|&id| id.to_owned()).collect(),
        };
        let page = written(&groups, &[proof("a::b", &["A1.1"]), proof("a::c", &["A1.1", "A1.2"])]);
        for wanted in [
            "| proven by tests | 1 |\n| differs | 1 |\n| not for a data plane | 1 |\n| open | 0 |\n",
            "\n## A1 One\n\n| | An Application",
            "| A1.1 | it does | [`a::b`](../../tests/a.rs)<br>[`a::c`](../../tests/a.rs) |\n",
            "| A1.2 | it may | *differs*, because weir waits<br>[`a::c`](../../tests/a.rs) |\n",
            "| A2.1 | it is sold | *not for a data plane*, because nobody pays |\n",
        ] {
            assert!(page.contains(wanted), "{wanted} is missing in {page}");
        }
    }
}
