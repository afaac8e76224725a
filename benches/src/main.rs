//! `compare`: weir beside its peers and the floor relay, interleaved and paired, in CPU time per request.
//!
//! The method is in `benches/README.md`. The program starts itself again as the floor relay and as the generator, so
//! that each has a process of its own.

mod floor;
mod instructions;
mod load;
mod peers;
mod publish;
mod report;
mod schedule;
mod sockets;
mod under_load;

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

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
    #[arg(long, default_value_t = 6)]
    rounds: usize,
    /// Seconds that each run is measured.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// What is measured.
    #[arg(long, value_enum, default_value = "http-128")]
    scenario: Vec<Scenario>,
    /// The weir to measure.
    #[arg(long, default_value = "target/release/weir")]
    weir: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Scenario {
    /// HTTP/1.1 keep-alive, 64 connections, 128 B responses.
    #[value(name = "http-128")]
    Http128,
    /// HTTP/1.1 keep-alive, 64 connections, 4 KiB responses.
    #[value(name = "http-4k")]
    Http4k,
    /// TCP: connect, 128 B there and back, close; 32 at a time.
    TcpShort,
}

impl Scenario {
    /// Its name on the command line and in reports.
    fn name(self) -> &'static str {
        match self {
            Self::Http128 => "http-128",
            Self::Http4k => "http-4k",
            Self::TcpShort => "tcp-short",
        }
    }
}

#[derive(Clone, Debug, Subcommand)]
enum Role {
    /// The floor relay.
    #[command(hide = true)]
    Floor { listen: SocketAddr, backends: Vec<SocketAddr> },
    /// The backends, and the generator, told on standard input what to load and for how long.
    #[command(hide = true)]
    Load { scenario: Scenario },
    /// User instructions that a request costs, under valgrind; fails when they exceed what is committed.
    Instructions,
    /// What a change of one target costs the control thread, by size and number of groups.
    Publish,
    /// What changes of targets cost requests: with a thousand groups, quiet and while they change all the time.
    PublishUnderLoad,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    match arguments.role {
        Some(Role::Floor { listen, backends }) => floor::relay(listen, &backends),
        Some(Role::Load { scenario }) => load::generate(scenario),
        Some(Role::Instructions) => instructions::hold(&arguments.comparison),
        Some(Role::Publish) => publish::measure(),
        Some(Role::PublishUnderLoad) => under_load::compare(&arguments.comparison),
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
