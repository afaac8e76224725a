//! Traces: moments or lengths of time that were measured, one a line, in seconds.

use std::sync::Arc;

use weir_config::document::{Node, Reader};

/// Most mistakes of one trace that are told: where they are many, they are one.
const TOLD_MAX: usize = 10;

/// The largest number of a trace, in seconds.
const SECONDS_MAX: f64 = 24.0 * 60.0 * 60.0;

/// Reads the file that a node names, from the folder of the scenario: nanoseconds. Empty lines and those that begin with `#` say
/// nothing. `in_order` refuses what goes back in time.
pub(super) fn read(node: &Node, in_order: bool, reader: &mut Reader<'_>) -> Option<Arc<[u64]>> {
    let name = reader.text(node)?;
    let text = match weir_config::text_of(&reader.folder().join(name)) {
        Ok(text) => text,
        Err(error) => {
            reader.problem(node, &error.to_string(), Some("a trace has one number of seconds a line"));
            return None;
        }
    };
    let mut values: Vec<u64> = Vec::new();
    let mut mistakes = Vec::new();
    for (line, written) in (1..).zip(text.lines()) {
        let written = written.trim();
        if written.is_empty() || written.starts_with('#') {
            continue;
        }
        match nanos(written) {
            None => mistakes.push((line, format!("{written:?} is not a number of seconds"))),
            Some(value) if in_order && values.last().is_some_and(|last| *last > value) => {
                mistakes.push((line, format!("{written} comes after what is later")));
            }
            Some(value) => values.push(value),
        }
    }
    for (line, cause) in mistakes.iter().take(TOLD_MAX) {
        let remedy = "write seconds from 0 to 86400, one a line: `0.125`";
        reader.problem(node, &format!("{name}, line {line}: {cause}"), Some(remedy));
    }
    if values.is_empty() && mistakes.is_empty() {
        reader.problem(node, &format!("{name} is empty"), Some("a trace has one number of seconds a line"));
    }
    (!values.is_empty() && mistakes.is_empty()).then(|| values.into())
}

fn nanos(written: &str) -> Option<u64> {
    let seconds: f64 = written.parse().ok()?;
    (0.0..=SECONDS_MAX).contains(&seconds).then(|| (seconds * 1e9).round() as u64)
}
