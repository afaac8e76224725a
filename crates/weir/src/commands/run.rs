//! `weir run`: the load balancer, until a signal ends it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::ExitCode;

use anyhow::Context;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use weir::process::{Process, Setup};
use weir_config::{Discovery, DockerSource};
use weir_core::address::ListenAddr;
use weir_net::inherited::Inherited;
use weir_tls::OwnSecret;

use super::notify::notify;
use super::restart::{Replaced, announce_successor, replace};
use super::signals::{Asked, Signals};
use crate::output::complain;

/// The configuration that is taken when none is named.
const DEFAULT_CONFIG: &str = "weir.yaml";

/// Where containers are served without a configuration.
const AUTOMATIC_BIND: &str = "127.0.0.1:8080";

/// Where the admin port listens without a configuration.
const ADMIN_BIND: &str = "127.0.0.1:9900";

/// Runs until SIGTERM or SIGINT, then drains; a second one ends at once. SIGUSR2 has another process take this one's place.
pub(crate) fn run(config: Option<&Path>) -> anyhow::Result<ExitCode> {
    raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // Before anything else: a signal that nobody waits for yet would end the process.
        let mut signals = Signals::hear()?;
        let replaced = Replaced::find()?;
        let started = match &replaced {
            None => start(config, Inherited::default(), OwnSecret::random()),
            Some(before) => match before.inheritance().await {
                Ok((inherited, secret)) => start(config, inherited, secret),
                Err(error) => Err(NotStarted::Failed(anyhow::Error::new(error).context(HANDOVER))),
            },
        };
        let process = match started {
            Ok(process) => process,
            Err(why) => {
                if let Some(before) = &replaced {
                    before.refuse(&why.text()).await;
                }
                return why.exit();
            }
        };
        match replaced {
            None => notify("READY=1"),
            Some(before) => tokio::select! {
                outcome = before.take_over(&process) => outcome.context(HANDOVER)?,
                () = signals.end() => return Ok(ExitCode::SUCCESS),
            },
        }
        process.open();
        announce(&process);
        attend(process, signals).await
    })
}

/// What a weir does that was started to replace another, when it says so.
const HANDOVER: &str = "cannot take the place of the weir that has started this one";

/// Why nothing runs.
enum NotStarted {
    /// The configuration was refused.
    Refused(String),
    /// Something else failed.
    Failed(anyhow::Error),
}

impl NotStarted {
    fn text(&self) -> String {
        match self {
            Self::Refused(problems) => problems.clone(),
            Self::Failed(error) => format!("{error:#}"),
        }
    }

    fn exit(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Refused(problems) => {
                complain(&problems);
                Ok(ExitCode::from(1))
            }
            Self::Failed(error) => Err(error),
        }
    }
}

fn start(config: Option<&Path>, inherited: Inherited, secret: OwnSecret) -> Result<Process, NotStarted> {
    let setup = match config.map(Path::to_owned).or_else(default_config) {
        Some(path) => configured(&path)?,
        None => automatic(),
    };
    let process = Process::prepare(setup, inherited, secret).context("cannot start");
    process.map_err(NotStarted::Failed)
}

fn default_config() -> Option<PathBuf> {
    Some(PathBuf::from(DEFAULT_CONFIG)).filter(|path| path.exists())
}

/// What a file asks for, unless it is refused.
fn configured(path: &Path) -> Result<Setup, NotStarted> {
    let loaded = weir_config::load(path).map_err(|error| NotStarted::Refused(error.to_string()))?;
    for warning in &loaded.warnings {
        complain(&warning.to_string());
    }
    Ok(Setup::configured(loaded.config, Some(path.to_owned())))
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
    let id = std::process::id();
    complain(&format!("weir {} is running as process {id}", env!("CARGO_PKG_VERSION")));
    for (load_balancer, kind, protocol, bind) in process.listeners() {
        complain(&format!("  {kind:<12} {load_balancer:<16} {protocol}://{bind}"));
    }
    if let Some(admin) = process.admin() {
        complain(&format!("  {:<12} {:<16} http://{admin}/", "admin", ""));
    }
}

/// Reacts to signals until the process ends.
async fn attend(process: Process, mut signals: Signals) -> anyhow::Result<ExitCode> {
    while let Some(successor) = serve(&process, &mut signals).await {
        match successor {
            Ok(id) => return leave(process, id, signals).await,
            Err(why) => tracing::error!("restart failed, this process goes on: {why}"),
        }
    }
    tracing::info!(
        "ending: finishing what is under way, at most {} s; a second signal ends at once",
        Process::drain_deadline().as_secs()
    );
    let drained = tokio::task::spawn_blocking(|| process.stop());
    tokio::select! {
        _ = drained => Ok(ExitCode::SUCCESS),
        () = signals.end() => ended_early(),
    }
}

/// Serves until weir shall end; or until a restart has come to something: the process that serves now, or why there is none.
async fn serve(process: &Process, signals: &mut Signals) -> Option<Result<u32, String>> {
    let mut restart = None;
    loop {
        let restarted = async {
            match &mut restart {
                Some(restart) => Pin::as_mut(restart).await,
                None => std::future::pending().await,
            }
        };
        let asked = tokio::select! {
            asked = signals.next() => asked,
            outcome = restarted => return Some(outcome),
        };
        match asked {
            Asked::End => return None,
            // The new process would not know of listeners that are opened now.
            Asked::Reload if restart.is_some() => tracing::warn!("reload refused: a restart is under way"),
            Asked::Reload => {
                // The outcome is logged where it is decided.
                let _ = process.handle().reload().await;
            }
            Asked::ReopenLogs => process.log_writer().reopen(),
            Asked::Restart if restart.is_some() => {
                tracing::warn!("restart refused: one is under way");
            }
            Asked::Restart if std::process::id() == 1 => {
                tracing::warn!("restart refused: this is process 1, whose end would be its container's");
            }
            Asked::Restart => restart = Some(Box::pin(replace(process))),
        }
    }
}

/// Finishes what is under way, while another process serves.
async fn leave(process: Process, successor: u32, mut signals: Signals) -> anyhow::Result<ExitCode> {
    process.be_succeeded();
    announce_successor(successor);
    tracing::info!(
        "restarted: process {successor} serves now; this one finishes what is under way, at most {} s",
        process.restart_drain().as_secs()
    );
    let log_writer = process.log_writer().clone();
    let mut drained = tokio::task::spawn_blocking(|| process.stop());
    loop {
        let asked = tokio::select! {
            _ = &mut drained => return Ok(ExitCode::SUCCESS),
            asked = signals.next() => asked,
        };
        match asked {
            Asked::End => break,
            Asked::Reload => tracing::warn!("reload refused: process {successor} serves now"),
            Asked::ReopenLogs => log_writer.reopen(),
            Asked::Restart => tracing::warn!("restart refused: process {successor} serves now"),
        }
    }
    tracing::info!(
        "ending: at most {} s are left; a second signal ends at once",
        Process::drain_deadline().as_secs()
    );
    tokio::select! {
        _ = &mut drained => Ok(ExitCode::SUCCESS),
        () = tokio::time::sleep(Process::drain_deadline()) => ended_early(),
        () = signals.end() => ended_early(),
    }
}

fn ended_early() -> anyhow::Result<ExitCode> {
    tracing::warn!("ended before all was finished; what was under way is cut");
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
