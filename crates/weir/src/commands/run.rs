//! `weir run`: the load balancer, until a signal ends it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use weir::process::{Process, Setup};
use weir_config::{Discovery, DockerSource};
use weir_core::address::ListenAddr;

use crate::output::complain;

/// The configuration that is taken when none is named.
const DEFAULT_CONFIG: &str = "weir.yaml";

/// Where containers are served without a configuration.
const AUTOMATIC_BIND: &str = "127.0.0.1:8080";

/// Where the admin port listens without a configuration.
const ADMIN_BIND: &str = "127.0.0.1:9900";

/// Runs until SIGTERM or SIGINT, then drains; a second one ends at once.
pub(crate) fn run(config: Option<&Path>) -> anyhow::Result<ExitCode> {
    raise_descriptor_limit();
    let setup = match config.map(Path::to_owned).or_else(default_config) {
        Some(path) => configured(&path),
        None => Some(automatic()),
    };
    let Some(setup) = setup else { return Ok(ExitCode::from(1)) };
    let process = Process::start(setup).context("cannot start")?;
    announce(&process);
    attend(process)
}

fn default_config() -> Option<PathBuf> {
    Some(PathBuf::from(DEFAULT_CONFIG)).filter(|path| path.exists())
}

/// What a file asks for; `None` when it is refused, and said.
fn configured(path: &Path) -> Option<Setup> {
    match weir_config::load(path) {
        Ok(loaded) => {
            for warning in &loaded.warnings {
                complain(&warning.to_string());
            }
            Some(Setup::configured(loaded.config, Some(path.to_owned())))
        }
        Err(error) => {
            complain(&error.to_string());
            None
        }
    }
}

fn automatic() -> Setup {
    complain(&format!(
        "no configuration (`-c FILE` or ./{DEFAULT_CONFIG}): serving every container whose published port answers HTTP"
    ));
    let discovery = Discovery { docker: Some(DockerSource { endpoint: None }), ..Discovery::default() };
    let bind = ListenAddr(AUTOMATIC_BIND.parse().expect("the constant is an address"));
    let admin: SocketAddr = ADMIN_BIND.parse().expect("the constant is an address");
    Setup::automatic(bind, admin, discovery)
}

/// One line per listener with its URL, and the admin URL.
fn announce(process: &Process) {
    complain(&format!("weir {} is running", env!("CARGO_PKG_VERSION")));
    for (load_balancer, kind, protocol, bind) in process.listeners() {
        complain(&format!("  {kind:<12} {load_balancer:<16} {protocol}://{bind}"));
    }
    if let Some(admin) = process.admin() {
        complain(&format!("  {:<12} {:<16} http://{admin}/", "admin", ""));
    }
}

/// Reacts to signals until the process ends.
fn attend(process: Process) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hang_up = signal(SignalKind::hangup())?;
        let mut user1 = signal(SignalKind::user_defined1())?;
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hang_up.recv() => {
                    // The outcome is logged where it is decided.
                    let _ = process.handle().reload().await;
                }
                _ = user1.recv() => process.reopen_logs(),
            }
        }
        tracing::info!(
            "ending: finishing what is under way, at most {} s; a second signal ends at once",
            Process::drain_deadline().as_secs()
        );
        let drained = tokio::task::spawn_blocking(|| process.stop());
        tokio::select! {
            _ = drained => Ok(ExitCode::SUCCESS),
            _ = terminate.recv() => ended_early(),
            _ = interrupt.recv() => ended_early(),
        }
    })
}

fn ended_early() -> anyhow::Result<ExitCode> {
    tracing::warn!("ended by a second signal; what was under way is cut");
    // Waiting for the blocked drain would be what the second signal was sent against.
    std::process::exit(1)
}

/// Raises the soft limit on open descriptors to the hard one: two are needed per connection.
pub(crate) fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current < limit.maximum || (limit.current.is_some() && limit.maximum.is_none()) {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!("cannot raise the limit on open files: {error}");
        }
    }
}
