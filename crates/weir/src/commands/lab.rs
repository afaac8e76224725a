//! `weir lab`: one file per experiment.

mod load;

use std::process::ExitCode;

use clap::Subcommand;

/// What the laboratory does.
#[derive(Debug, Subcommand)]
pub(crate) enum Lab {
    /// Load a server on a schedule that nobody's slowness changes, and say how long answers took from when they were due.
    Load(load::Options),
}

/// Does it.
pub(crate) fn run(lab: &Lab) -> anyhow::Result<ExitCode> {
    match lab {
        Lab::Load(options) => load::load(options),
    }
}
