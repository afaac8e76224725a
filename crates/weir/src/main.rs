//! `weir`: one file per command.

mod commands;
mod demo;
mod output;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Workers allocate and free on their own threads, which this allocator makes cheap.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A userspace load balancer in the shape of the Elastic Load Balancing family.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
struct Arguments {
    /// How diagnostics are written on standard error.
    #[arg(long, global = true, value_enum, default_value = "text")]
    log: output::LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the load balancer. Without a configuration: every container whose published port answers HTTP, on
    /// loopback, at http://<service>.localhost:8080.
    Run {
        /// The configuration; without it ./weir.yaml, and without that the Docker engine's containers.
        #[arg(short, long)]
        config: Option<PathBuf>,
    },
    /// Make a target group of a running weir misbehave as a load balancer does now and then: leave targets in too
    /// long, believe probes too late, let targets flap, lose a zone.
    Chaos(commands::chaos::Options),
    /// Say everything that is wrong with a configuration.
    Check {
        /// The configuration.
        #[arg(short, long, default_value = "weir.yaml")]
        config: PathBuf,
        /// What several weirs are going to share, before it is put where they read it; without this, what is there.
        #[arg(long, value_name = "FILE")]
        shared: Option<PathBuf>,
    },
    /// Show weir at work: a small cluster of tasks on dynamic ports, a load balancer of each kind, steady traffic.
    Demo(demo::Options),
    /// Say why a request goes where it goes: every rule that is tried, the action, the group, and each target as the
    /// algorithm sees it.
    Explain(commands::explain::Options),
    /// The laboratory: routing algorithms under load, with the code that ships.
    #[command(subcommand)]
    Lab(commands::lab::Lab),
    /// Read a running weir's configuration again, and say what changed or why it was refused.
    Reload(commands::client::Admin),
    /// Show a running weir's listeners, target groups and targets.
    Status {
        #[command(flatten)]
        admin: commands::client::Admin,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Exit 0 if a running weir is ready for traffic: for a container's health check.
    Healthcheck(commands::client::Admin),
    /// A task of the demo.
    #[command(hide = true)]
    Task(demo::task::Options),
}

/// Exit statuses: 0 good, 1 the answer is no, 2 could not run.
fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Every task that comes and goes is news to who runs weir, and noise below the demo's live line and in the laboratory.
    let level = if matches!(arguments.command, Command::Demo(_) | Command::Lab(_)) { "warn" } else { "info" };
    output::start_log(arguments.log, level);
    let outcome = match arguments.command {
        Command::Run { config } => commands::run::run(config.as_deref()),
        Command::Chaos(options) => commands::chaos::chaos(&options),
        Command::Check { config, shared } => commands::check::check(&config, shared.as_deref()),
        Command::Demo(options) => demo::run(&options),
        Command::Explain(options) => commands::explain::explain(&options),
        Command::Lab(lab) => commands::lab::run(&lab),
        Command::Reload(admin) => commands::reload::reload(&admin),
        Command::Status { admin, json } => commands::status::status(&admin, json),
        Command::Healthcheck(admin) => commands::client::healthcheck(&admin),
        Command::Task(options) => demo::task::run(&options),
    };
    outcome.unwrap_or_else(|error| {
        output::complain(&format!("weir: {error:#}"));
        ExitCode::from(2)
    })
}
