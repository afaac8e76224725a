//! `weir lab target`: one server of a scenario, as a process of its own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use weir_lab::live::Targets;
use weir_lab::scenario::Scenario;

use crate::commands::run::raise_descriptor_limit;
use crate::commands::signals::Signals;
use crate::output::say;

/// Which server it is, and where.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The scenario file.
    scenario: PathBuf,
    /// The number of the server, from 0 in the order of the file.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    server: u32,
    /// The variant, by its whole name; the first unless it is said.
    #[arg(long, value_name = "NAME")]
    variant: Option<String>,
    /// What its swings and faults follow from.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Where it answers.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

/// Answers until a signal ends it. Prints first where.
pub(crate) fn serve(options: &Options) -> anyhow::Result<ExitCode> {
    raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut signals = Signals::hear()?;
        let scenario = variant(options)?;
        let targets = Targets::start_one(&scenario, options.seed, options.server, options.listen);
        let targets = targets.with_context(|| format!("server {} at {}", options.server, options.listen))?;
        targets.addrs().iter().for_each(|addr| say(&addr.to_string()));
        signals.end().await;
        Ok(ExitCode::SUCCESS)
    })
}

fn variant(options: &Options) -> anyhow::Result<Scenario> {
    let variants = super::compare::read(&options.scenario)?.variants;
    let names: Vec<String> = variants.iter().map(|variant| format!("{:?}", variant.name)).collect();
    let is_it = |variant: &Scenario| options.variant.as_ref().is_none_or(|name| *name == variant.name);
    let found = variants.into_iter().find(is_it);
    found.with_context(|| format!("--variant: it is none of {}", names.join(", ")))
}
