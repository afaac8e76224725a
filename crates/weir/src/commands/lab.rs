//! `weir lab`: one file per experiment.

mod load;
mod progress;
mod validate;

use std::process::ExitCode;

use clap::Subcommand;

/// What the laboratory does.
#[derive(Debug, Subcommand)]
pub(crate) enum Lab {
    /// Load a server on a schedule that nobody's slowness changes, and say how long answers took from when they were due.
    Load(load::Options),
    /// Check the laboratory against queueing theory and published results: each line with what was expected, what came, and who
    /// says so.
    Validate(validate::Options),
}

/// Does it.
pub(crate) fn run(lab: &Lab) -> anyhow::Result<ExitCode> {
    match lab {
        Lab::Load(options) => load::load(options),
        Lab::Validate(options) => validate::validate(options),
    }
}
