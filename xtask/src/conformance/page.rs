//! The page: a table below each heading, and how many rows stand how on top.

use super::Kind;
use super::proofs::Proof;
use super::rows::{Group, Row, Standing};

/// The page of these rows and tests, which fit together.
pub(super) fn written(kind: Kind, groups: &[Group], proofs: &[Proof]) -> String {
    let Kind { name, subject } = kind;
    let tables: String = groups.iter().map(|group| table(kind, group, proofs)).collect();
    let introduction = format!(
        "\
# What {subject} does, and what proves that weir does it

Each row is one thing that Amazon's documentation, its API or its published code say of {subject}. Beside
it stand the tests that show weir doing the same; or *differs*, where weir does something else on purpose; or *not for a data
plane*, where it is a matter of Amazon's service; or *open*, where weir does not do it yet or no test shows it.

`cargo xtask conformance` writes this page, from [`{name}.rows`]({name}.rows) and from the comments above tests
(`// Conformance: A2.1.3`). `cargo xtask check` fails when it is stale, and `cargo xtask test` when one of its tests has not run
and passed.
"
    );
    format!("{introduction}\n{}{tables}", summary(groups))
}

fn table(kind: Kind, group: &Group, proofs: &[Proof]) -> String {
    let subject = kind.subject.replacen('a', "A", 1);
    let head = format!("\n## {}\n\n| | {subject} | weir |\n|---|---|---|\n", group.heading);
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
        let kind = Kind { name: "application", subject: "an Application Load Balancer" };
        let page = written(kind, &groups, &[proof("a::b", &["A1.1"]), proof("a::c", &["A1.1", "A1.2"])]);
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
