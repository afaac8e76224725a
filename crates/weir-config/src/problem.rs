//! A mistake, and how it is shown.

use std::fmt;
use std::path::PathBuf;

/// A place in a document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// In characters; what is underlined.
    pub width: usize,
}

/// Most characters of a line that are shown.
const SHOWN_CHARS: usize = 160;

/// How much a problem matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Severity {
    Error,
    Warning,
}

/// Something that is wrong, or probably not intended, at one place of a configuration.
///
/// Shown with the line, a caret, the cause and the remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub(crate) severity: Severity,
    /// The file.
    pub file: PathBuf,
    /// The setting: `load_balancers[0].listeners[1].bind`.
    pub path: String,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    pub(crate) width: usize,
    /// The line's text.
    pub(crate) source: String,
    /// What is wrong.
    pub cause: String,
    /// What to do about it.
    pub remedy: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let subject = if self.path.is_empty() { String::new() } else { format!("{}: ", self.path) };
        let gutter = " ".repeat(self.line.to_string().len());
        // What is far from the mistake is left out of a long line.
        let skipped = self.column.saturating_sub(SHOWN_CHARS / 2);
        // A tab is as wide as it likes; one space keeps the caret below what it points at.
        let source: String = self.source.replace('\t', " ").chars().skip(skipped).take(SHOWN_CHARS).collect();
        let indent = " ".repeat(self.column.saturating_sub(1 + skipped));
        let carets = "^".repeat(self.width.clamp(1, 60));
        writeln!(f, "{severity}: {subject}{}", self.cause)?;
        writeln!(f, "{gutter}--> {}:{}:{}", self.file.display(), self.line, self.column)?;
        writeln!(f, "{gutter} |")?;
        writeln!(f, "{} | {source}", self.line)?;
        write!(f, "{gutter} | {indent}{carets}")?;
        match &self.remedy {
            Some(remedy) => write!(f, "\n{gutter} = help: {remedy}"),
            None => Ok(()),
        }
    }
}

/// All mistakes of a configuration, in the order of their lines. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl std::error::Error for Problems {}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.0 {
            writeln!(f, "{problem}\n")?;
        }
        match self.0.len() {
            1 => write!(f, "1 mistake"),
            count => write!(f, "{count} mistakes"),
        }
    }
}
