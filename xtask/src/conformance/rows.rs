//! The rows: what a load balancer does, under headings, a line each.
//!
//! `# A2.1 Conditions` is a heading; `A2.1.3 | what it does` a row that needs a test; `A2.1.4 | what it does | differs, because …` one
//! with a verdict.

/// How weir stands to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// weir does the same, and a test shows it.
    Proven,
    /// weir does something else, on purpose.
    Differs,
    /// It is Amazon's service and no matter of a data plane.
    NotForADataPlane,
    /// weir does not do it yet, or no test shows it.
    Open,
}

/// The words that a verdict begins with.
const VERDICTS: [(&str, Standing); 3] = [
    ("differs, because ", Standing::Differs),
    ("not for a data plane, because ", Standing::NotForADataPlane),
    ("open, because ", Standing::Open),
];

/// One thing that a load balancer does.
#[derive(Debug)]
pub(super) struct Row {
    /// Such as `A2.1.3`: the heading's number, and the row's place below it.
    pub(super) id: String,
    /// What it does, in a few words.
    pub(super) what: String,
    /// [`Standing::Proven`] without a verdict.
    pub(super) standing: Standing,
    /// The verdict as it is written; empty without one.
    pub(super) verdict: String,
}

/// A heading and its rows, in order.
#[derive(Debug)]
pub(super) struct Group {
    /// Such as `A2.1 Conditions`.
    pub(super) heading: String,
    /// At least one, in a file without mistakes.
    pub(super) rows: Vec<Row>,
}

/// Reads all rows, and what is wrong with them.
pub(super) fn read(text: &str) -> (Vec<Group>, Vec<String>) {
    let mut groups: Vec<Group> = Vec::new();
    let mut mistakes = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty()) {
        let outcome = match (line.strip_prefix("# "), groups.last_mut()) {
            (Some(heading), _) => {
                groups.push(Group { heading: heading.to_owned(), rows: Vec::new() });
                Ok(())
            }
            (None, Some(group)) => row(line, group).map(|row| group.rows.push(row)),
            (None, None) => Err("a row without a heading".to_owned()),
        };
        mistakes.extend(outcome.err().map(|mistake| format!("line {}: {mistake}", index + 1)));
    }
    let empty = groups.iter().filter(|group| group.rows.is_empty());
    mistakes.extend(empty.map(|group| format!("{} has no rows", group.heading)));
    (groups, mistakes)
}

/// The row of a line, which is the next one of its group.
fn row(line: &str, group: &Group) -> Result<Row, String> {
    let parts: Vec<&str> = line.split(" | ").map(str::trim).collect();
    let (id, what, verdict) = match parts[..] {
        [id, what] => (id, what, ""),
        [id, what, verdict] => (id, what, verdict),
        _ => return Err("a row is `ID | what` or `ID | what | verdict`".to_owned()),
    };
    let number = group.heading.split(' ').next().unwrap_or_default();
    let next = format!("{number}.{}", group.rows.len() + 1);
    if id != next {
        return Err(format!("{id} stands where {next} should"));
    }
    let standing = standing(verdict).ok_or_else(|| format!("{id}: `{verdict}` is no verdict"))?;
    Ok(Row { id: next, what: what.to_owned(), standing, verdict: verdict.to_owned() })
}

fn standing(verdict: &str) -> Option<Standing> {
    if verdict.is_empty() {
        return Some(Standing::Proven);
    }
    let found = VERDICTS.iter().find(|(words, _)| verdict.starts_with(words));
    found.map(|&(_, standing)| standing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_below_their_heading_with_their_verdict() {
        let (groups, mistakes) =
            read("# A1 One\nA1.1 | it does\n\n# A2.1 Two\nA2.1.1 | it may | open, because nobody has looked");
        assert!(mistakes.is_empty(), "{mistakes:?}");
        assert_eq!(groups.len(), 2);
        assert_eq!(
            (groups[0].rows[0].what.as_str(), groups[0].rows[0].standing),
            ("it does", Standing::Proven)
        );
        assert_eq!(groups[1].rows[0].standing, Standing::Open);
        assert_eq!(groups[1].rows[0].verdict, "open, because nobody has looked");
    }

    #[test]
    fn a_row_that_is_missing_or_twice_there_is_a_mistake_at_its_line() {
        let (_, mistakes) = read("# A1 One\nA1.1 | a\nA1.1 | b\nA1.3 | c");
        assert_eq!(
            mistakes,
            ["line 3: A1.1 stands where A1.2 should", "line 4: A1.3 stands where A1.2 should"]
        );
    }

    #[test]
    fn what_is_neither_heading_nor_row_nor_verdict_is_a_mistake() {
        for (text, wanted) in [
            ("A1.1 | a", "line 1: a row without a heading"),
            ("# A1 One", "A1 One has no rows"),
            ("# A1 One\nA1.1", "line 2: a row is"),
            ("# A1 One\nA1.1 | a | done", "line 2: A1.1: `done` is no verdict"),
        ] {
            let (_, mistakes) = read(text);
            assert!(mistakes[0].starts_with(wanted), "{mistakes:?}");
        }
    }
}
