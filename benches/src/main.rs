//! `compare`: weir beside its peers and the floor relay, interleaved and paired, in CPU time per request.
//!
//! The method is in `benches/README.md`. The program starts itself again as the floor relay and as the generator, so
//! that each has a process of its own.

mod bulk;
mod client;
mod datagrams;
mod floor;
mod http2;
mod idle;
mod instructions;
mod load;
mod peers;
mod proxy;
mod publish;
mod report;
mod rules;
mod scenario;
mod schedule;
mod sockets;
mod transport;
mod under_load;

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use scenario::Scenario;

/// weir's own allocator, so that what is timed here costs what it costs there.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Compares weir with its peers in one run.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    role: Option<Role>,
    #[command(flatten)]
    comparison: Comparison,
}

/// What is compared, and for how long.
#[derive(Clone, Debug, clap::Args)]
struct Comparison {
    /// Rounds; in each every proxy runs once between two runs of the floor relay.
    #[arg(long, global = true, default_value_t = 6)]
    rounds: usize,
    /// Seconds that each run is measured.
    #[arg(long, global = true, default_value_t = 1.0)]
    seconds: f64,
    /// What is measured.
    #[arg(long, global = true, value_enum, default_value = "http-128")]
    scenario: Vec<Scenario>,
    /// The weir to measure.
    #[arg(long, global = true, overrides_with = "weir", default_value = "target/release/weir")]
    weir: PathBuf,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Clone, Debug, Subcommand)]
enum Role {
    /// The floor relay.
    #[command(hide = true)]
    Floor {
        listen: SocketAddr,
        backends: Vec<SocketAddr>,
        /// Datagrams instead of connections.
        #[arg(long)]
        udp: bool,
    },
    /// The backends, and the generator, told on standard input what to load and for how long.
    #[command(hide = true)]
    Load { scenario: Scenario },
    /// Resident memory of connections that have asked once and wait, beside the peers.
    IdleMemory,
    /// User instructions under valgrind and system calls under strace that a request costs; fails when they exceed what is
    /// committed.
    Instructions,
    /// What a change of one target costs the control thread, by size and number of groups.
    Publish,
    /// What changes of targets cost requests: with a thousand groups, quiet and while they change all the time.
    PublishUnderLoad,
    /// What rules cost, by their number: a decision, and a request through all of weir.
    Rules,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Whoever stopped reading wants no more.
            let _ = writeln!(std::io::stderr().lock(), "{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.role {
        Some(Role::Floor { listen, backends, udp: false }) => floor::relay(listen, &backends),
        Some(Role::Floor { listen, backends, udp: true }) => floor::relay_datagrams(listen, &backends),
        Some(Role::Load { scenario }) => load::generate(scenario),
        Some(Role::IdleMemory) => idle::compare(&arguments.comparison),
        Some(Role::Instructions) => instructions::hold(&arguments.comparison),
        Some(Role::Publish) => publish::measure(),
        Some(Role::PublishUnderLoad) => under_load::compare(&arguments.comparison),
        Some(Role::Rules) => rules::measure(&arguments.comparison),
        None => schedule::compare(&arguments.comparison),
    }
}

/// Prints a line on standard output.
fn say(text: &str) {
    // Whoever stopped reading wants no more.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Prints progress on standard error: one line that changes on a terminal, a line each elsewhere.
fn progress(text: &str) {
    let mut stderr = std::io::stderr().lock();
    let _ = if stderr.is_terminal() { write!(stderr, "\r\x1b[2K{text}") } else { writeln!(stderr, "{text}") };
}

/// Does something with a temporary folder of this process.
fn in_folder<T>(purpose: &str, does: impl FnOnce(&Path) -> anyhow::Result<T>) -> anyhow::Result<T> {
    let folder = std::env::temp_dir().join(format!("weir-{purpose}-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let outcome = does(&folder);
    // What is left in a temporary folder is the system's to tidy.
    let _ = std::fs::remove_dir_all(&folder);
    outcome
}
