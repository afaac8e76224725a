//! Reading values from the tree: each reader gives a value or reports why there is none, and reading goes on.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use crate::keys::Object;
use crate::problem::{Position, Problem, Problems, Severity};
use crate::tree::{Key, Node, Value};

/// Collects everything that is wrong.
#[derive(Debug)]
pub struct Reader<'a> {
    file: PathBuf,
    folder: PathBuf,
    lines: Vec<&'a str>,
    problems: Vec<Problem>,
}

/// The entries of a mapping whose keys are known.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'n> {
    node: &'n Node,
    entries: &'n [(Key, Node)],
}

impl<'n> Fields<'n> {
    /// Whether no key is given.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The value of a key, if it is given.
    pub fn get(&self, name: &str) -> Option<&'n Node> {
        self.entries.iter().find(|(key, _)| key.name == name).map(|(_, node)| node)
    }

    /// The value of a key that must be given.
    pub fn require(&self, reader: &mut Reader<'_>, name: &str, example: &str) -> Option<&'n Node> {
        let found = self.get(name);
        if found.is_none() {
            reader.problem(
                self.node,
                &format!("`{name}` is missing"),
                Some(&format!("write `{name}: {example}`")),
            );
        }
        found
    }

    /// The mapping itself.
    pub fn node(&self) -> &'n Node {
        self.node
    }
}

impl<'a> Reader<'a> {
    /// A reader of this text; `file` names it in reports.
    pub fn new(text: &'a str, file: &Path, folder: &Path) -> Self {
        Self {
            file: file.to_owned(),
            folder: folder.to_owned(),
            lines: text.lines().collect(),
            problems: Vec::new(),
        }
    }

    /// What was read with its warnings, or every mistake. What was reported twice, since it was read twice, is told once.
    pub fn finish<T>(mut self, value: Option<T>) -> Result<(T, Vec<Problem>), Problems> {
        self.problems.sort_by_key(|problem| (problem.line, problem.column));
        let mut told = BTreeSet::new();
        self.problems.retain(|problem| told.insert((problem.line, problem.column, problem.cause.clone())));
        let (errors, warnings): (Vec<_>, Vec<_>) =
            self.problems.into_iter().partition(|problem| problem.severity == Severity::Error);
        match value {
            Some(value) if errors.is_empty() => Ok((value, warnings)),
            _ => Err(Problems(errors)),
        }
    }

    /// The folder that relative paths start from.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Reports a mistake.
    pub fn problem(&mut self, node: &Node, cause: &str, remedy: Option<&str>) {
        self.report(Severity::Error, node.position, &node.path, cause, remedy);
    }

    /// Reports a mistake at a place that is not a node.
    pub fn problem_at(&mut self, position: Position, path: &str, cause: &str, remedy: Option<&str>) {
        self.report(Severity::Error, position, path, cause, remedy);
    }

    /// Reports what is allowed and probably not intended.
    pub fn warning(&mut self, node: &Node, cause: &str, remedy: Option<&str>) {
        self.report(Severity::Warning, node.position, &node.path, cause, remedy);
    }

    fn report(&mut self, severity: Severity, at: Position, path: &str, cause: &str, remedy: Option<&str>) {
        // The end of the input may lie a line beyond the last one.
        let line = at.line.clamp(1, self.lines.len().max(1));
        let source = self.lines.get(line - 1).copied().unwrap_or("").to_owned();
        self.problems.push(Problem {
            severity,
            file: self.file.clone(),
            path: path.to_owned(),
            line,
            column: at.column,
            width: at.width,
            source,
            cause: cause.to_owned(),
            remedy: remedy.map(ToOwned::to_owned),
        });
    }

    /// A mapping with the keys of `object`; unknown ones are reported with the nearest match.
    pub fn fields<'n>(&mut self, node: &'n Node, object: &Object) -> Option<Fields<'n>> {
        let Value::Mapping(entries) = &node.value else {
            let remedy = format!("its keys are {}", object.keys.join(", "));
            self.problem(node, &format!("{} is a mapping of keys to values", a(object.name)), Some(&remedy));
            return None;
        };
        for (key, value) in entries {
            if object.keys.contains(&key.name.as_str()) {
                continue;
            }
            if object.later.contains(&key.name.as_str()) {
                let cause = format!("`{}` is not supported yet by this version of weir", key.name);
                self.problem_at(key.position, &value.path, &cause, Some("take it out"));
            } else {
                let cause = format!("`{}` is not a key of {}", key.name, a(object.name));
                let remedy = match nearest(&key.name, object.keys.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("its keys are {}", object.keys.join(", ")),
                };
                self.problem_at(key.position, &value.path, &cause, Some(&remedy));
            }
        }
        Some(Fields { node, entries })
    }

    /// A text that is not empty.
    pub fn text<'n>(&mut self, node: &'n Node) -> Option<&'n str> {
        match &node.value {
            Value::Scalar(text) if !text.is_empty() => Some(text),
            Value::Scalar(_) => {
                self.problem(node, "a value is missing", None);
                None
            }
            Value::Mapping(_) | Value::Sequence(_) => {
                self.problem(node, "one value belongs here, not a list or a mapping", None);
                None
            }
        }
    }

    /// A text in the form of `T`.
    pub fn parsed<T: FromStr>(&mut self, node: &Node, what: &str, example: &str) -> Option<T> {
        let text = self.text(node)?;
        let parsed = text.parse().ok();
        if parsed.is_none() {
            self.problem(
                node,
                &format!("{text:?} is not {what}"),
                Some(&format!("write it like `{example}`")),
            );
        }
        parsed
    }

    /// A whole number within a range.
    pub fn number<T: FromStr + PartialOrd + Display>(
        &mut self,
        node: &Node,
        range: RangeInclusive<T>,
    ) -> Option<T> {
        let text = self.text(node)?;
        let number = text.parse().ok().filter(|number| range.contains(number));
        if number.is_none() {
            let remedy = format!("write a whole number from {} to {}", range.start(), range.end());
            self.problem(node, &format!("{text:?} is out of range"), Some(&remedy));
        }
        number
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, node: &Node) -> Option<bool> {
        self.choice(node, &[("true", true), ("false", false)])
    }

    /// One of several words.
    pub fn choice<T: Clone>(&mut self, node: &Node, choices: &[(&str, T)]) -> Option<T> {
        let text = self.text(node)?;
        if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text) {
            return Some(value.clone());
        }
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        // AWS writes in capitals what is small here.
        let same = words.iter().copied().find(|word| word.eq_ignore_ascii_case(text));
        let remedy = match same.or_else(|| nearest(text, words.iter().copied())) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("write one of {}", words.join(", ")),
        };
        self.problem(node, &format!("{text:?} is none of {}", words.join(", ")), Some(&remedy));
        None
    }

    /// A number that may have a fraction, within a range; neither infinite nor none.
    pub fn decimal(&mut self, node: &Node, range: RangeInclusive<f64>) -> Option<f64> {
        let text = self.text(node)?;
        // A range contains no number that is none.
        let number = text.parse().ok().filter(|number| range.contains(number));
        if number.is_none() {
            let remedy = format!("write a number from {} to {}", range.start(), range.end());
            self.problem(node, &format!("{text:?} is out of range"), Some(&remedy));
        }
        number
    }

    /// A duration like `30s`, within a range.
    pub fn duration(&mut self, node: &Node, range: RangeInclusive<Duration>) -> Option<Duration> {
        self.duration_of(node, range, COARSE)
    }

    /// A duration like `30s` or `167us`, within a range: no setting of a weir is so short, what it is told of may be.
    pub fn fine_duration(&mut self, node: &Node, range: RangeInclusive<Duration>) -> Option<Duration> {
        self.duration_of(node, range, &UNITS)
    }

    fn duration_of(
        &mut self,
        node: &Node,
        range: RangeInclusive<Duration>,
        units: &[(&str, u128)],
    ) -> Option<Duration> {
        let text = self.text(node)?;
        let Some(duration) = duration(text, units) else {
            let shortest = units.first().map_or("ms", |(unit, _)| unit);
            let remedy = if text.parse::<f64>().is_ok() {
                format!("name the unit: `{text}s`")
            } else {
                format!("write a number and a unit: 500{shortest}, 30s, 5m, 1h, 1d")
            };
            self.problem(node, &format!("{text:?} is not a duration"), Some(&remedy));
            return None;
        };
        if range.contains(&duration) {
            return Some(duration);
        }
        let remedy = format!("write a duration from {} to {}", spell(*range.start()), spell(*range.end()));
        self.problem(node, &format!("{text:?} is out of range"), Some(&remedy));
        None
    }
}

/// The entries of a list; where a list has one entry, the entry may stand alone.
pub fn items(node: &Node) -> &[Node] {
    match &node.value {
        Value::Sequence(items) => items,
        Value::Scalar(_) | Value::Mapping(_) => std::slice::from_ref(node),
    }
}

/// The word that is most like `text`, if one is like it at all.
pub fn nearest<'w>(text: &str, words: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    const ALIKE: f64 = 0.75;
    words
        .map(|word| (strsim::jaro_winkler(text, word), word))
        .filter(|(similarity, word)| *similarity > ALIKE || is_one_slip(text, word))
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, word)| word)
}

/// A name with its article.
fn a(name: &str) -> String {
    let article = if name.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    format!("{article} {name}")
}

/// Whether one letter was left out, added, changed or swapped; in a word of two that would be another word.
fn is_one_slip(text: &str, word: &str) -> bool {
    text.len() > 2 && strsim::damerau_levenshtein(text, word) == 1
}

/// Units of time, in nanoseconds.
const UNITS: [(&str, u128); 7] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

/// Those of a configuration.
const COARSE: &[(&str, u128)] = UNITS.split_at(2).1;

/// Reads `500ms`, `30s`, `5m`, `1h`, `1d`.
fn duration(text: &str, units: &[(&str, u128)]) -> Option<Duration> {
    const SECOND: u128 = 1_000_000_000;
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(digits);
    let (_, nanos) = units.iter().find(|(name, _)| *name == unit)?;
    let nanos = u128::from(number.parse::<u64>().ok()?) * nanos;
    Some(Duration::new(u64::try_from(nanos / SECOND).ok()?, (nanos % SECOND) as u32))
}

fn spell(duration: Duration) -> String {
    match duration.as_nanos() {
        nanos if nanos % 1_000 != 0 => format!("{nanos}ns"),
        nanos if nanos % 1_000_000 != 0 => format!("{}us", nanos / 1_000),
        nanos if nanos % 1_000_000_000 != 0 => format!("{}ms", nanos / 1_000_000),
        nanos => format!("{}s", nanos / 1_000_000_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_their_article() {
        assert_eq!([a("instance"), a("target group")], ["an instance", "a target group"]);
    }

    #[test]
    fn a_duration_has_a_number_and_a_unit() {
        assert_eq!(duration("500ms", COARSE), Some(Duration::from_millis(500)));
        assert_eq!(duration("1d", COARSE), Some(Duration::from_secs(86_400)));
        for wrong in ["", "30", "s", "1.5s", "-1s", "30 s", "99999999999999999999s", "1w", "167us"] {
            assert_eq!(duration(wrong, COARSE), None, "{wrong:?}");
        }
        assert_eq!(duration("167us", &UNITS), Some(Duration::from_micros(167)));
        assert_eq!(duration("18446744073709551615d", &UNITS), None);
    }

    #[test]
    fn a_range_of_durations_is_told_as_it_would_be_written() {
        let spelt =
            [1, 500_000, 2_500_000_000, 60_000_000_000].map(|nanos| spell(Duration::from_nanos(nanos)));
        assert_eq!(spelt, ["1ns", "500us", "2500ms", "60s"]);
    }

    #[test]
    fn a_word_is_only_suggested_when_it_is_alike() {
        assert_eq!(nearest("protocl", ["name", "protocol"].into_iter()), Some("protocol"));
        assert_eq!(nearest("wbe", ["api", "web"].into_iter()), Some("web"));
        assert_eq!(nearest("xyz", ["name", "protocol"].into_iter()), None);
    }
}
