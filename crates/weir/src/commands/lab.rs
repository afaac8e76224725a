//! `weir lab`: one file per experiment.

mod compare;
mod containers;
mod header;
mod interrupt;
mod live;
mod load;
mod progress;
mod replay;
mod table;
mod target;
mod validate;

use std::process::ExitCode;

use clap::Subcommand;

/// What the laboratory does.
#[derive(Debug, Subcommand)]
pub(crate) enum Lab {
    /// Compare algorithms over a scenario, with the same requests for each: a table, and a report to look at. With --live through a
    /// weir and servers in real time, too.
    Compare(compare::Comparison),
    /// Load a server on a schedule that nobody's slowness changes, and say how long answers took from when they were due.
    Load(load::Options),
    /// Say which requests of an access log another configuration would treat otherwise: another rule, group or target.
    Replay(replay::Options),
    /// Simulate a scenario in virtual time, with the balancing that ships.
    Simulate(compare::Options),
    /// Be one server of a scenario: answer requests when its work for them is done. The containers of `compare --live --targets
    /// containers` run this.
    Target(target::Options),
    /// Print when the requests of an access log came, or how much work they were, for a scenario.
    Trace(replay::TraceOptions),
    /// Check the laboratory against queueing theory and published results: each line with what was expected, what came, and who
    /// says so.
    Validate(validate::Options),
}

/// Does it.
pub(crate) fn run(lab: &Lab) -> anyhow::Result<ExitCode> {
    match lab {
        Lab::Compare(comparison) => compare::compare(comparison),
        Lab::Load(options) => load::load(options),
        Lab::Replay(options) => replay::replay(options),
        Lab::Simulate(options) => compare::simulate(options),
        Lab::Target(options) => target::serve(options),
        Lab::Trace(options) => replay::trace(options),
        Lab::Validate(options) => validate::validate(options),
    }
}
