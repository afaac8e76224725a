//! The report of an experiment: one page that stands alone, and what it is made of as JSON and CSV.
//!
//! Figures are SVG inside the page. A policy has the same colour and marker in all of them; what is live is dashed. Percentiles
//! are not shown where they mean nothing: where more comes than goes, they only say for how long somebody looked.
//!
//! What this module lacks: a clock, and any look at the machine; whoever ran the experiment tells it.

mod axis;
mod bounds;
mod csv;
mod disruption;
mod figure;
mod figures;
mod forest;
mod heat;
mod ink;
mod json;
mod live;
mod page;
mod plot;
mod stability;
mod sweeps;
mod tables;
#[cfg(test)]
mod tests;
mod words;

use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::compare::{Case, Results, Series};

/// Where results come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Of weir, with the commit if there is one.
    pub version: String,
    /// The model of the processor.
    pub cpu: String,
    /// How many cores it has.
    pub cores: usize,
    /// What was run.
    pub command: String,
    /// The date, as people read it.
    pub when: String,
}

/// Files of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The page.
    pub html: PathBuf,
    /// All that its tables and figures are made of.
    pub json: PathBuf,
    /// A line for each run.
    pub csv: PathBuf,
}

/// Writes all three into a folder, which is made if there is none; they are called as the experiment is.
///
/// # Errors
/// What the file system says.
pub fn write(results: &Results, header: &Header, folder: &Path) -> io::Result<Written> {
    fs::create_dir_all(folder)?;
    let name = file_name(&results.name);
    let path = |ending: &str| folder.join(format!("{name}.{ending}"));
    let written = Written { html: path("html"), json: path("json"), csv: path("csv") };
    let moves = disruption::of(&results.cases);
    fs::write(&written.html, page::page(results, header, &moves).into_string())?;
    fs::write(&written.json, json::of(results, header, &moves).to_string())?;
    fs::write(&written.csv, csv(results))?;
    Ok(written)
}

/// The page.
pub fn html(results: &Results, header: &Header) -> String {
    page::page(results, header, &disruption::of(&results.cases)).into_string()
}

/// All that tables and figures are made of. Times are nanoseconds, histograms pairs of a value and how often it was.
pub fn json(results: &Results, header: &Header) -> String {
    json::of(results, header, &disruption::of(&results.cases)).to_string()
}

/// A line for each run, with names of columns in the first.
pub fn csv(results: &Results) -> String {
    csv::of(results)
}

/// Why percentiles of a series mean nothing, in words; `None` where they mean something.
pub fn instability(case: &Case, series: &Series) -> Option<String> {
    let stability = stability::Stability::of(case, series);
    (!stability.is_stable()).then(|| stability.words())
}

/// A name that every file system takes, and that stays in its folder.
fn file_name(name: &str) -> String {
    let letter = |letter: char| {
        if letter.is_ascii_alphanumeric() || "-_.".contains(letter) { letter } else { '-' }
    };
    let name: String = name.chars().map(letter).collect();
    let name = name.trim_matches(['.', '-']);
    if name.is_empty() { "report".to_owned() } else { name.to_owned() }
}
