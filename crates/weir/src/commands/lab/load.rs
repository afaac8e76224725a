//! `weir lab load`: an open loop against a server.

use std::process::ExitCode;

/// What to load, and how.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The server.
    url: String,
}

/// Loads it.
pub(crate) fn load(options: &Options) -> anyhow::Result<ExitCode> {
    anyhow::bail!("{}: nothing to load it with yet", options.url)
}
