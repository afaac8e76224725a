//! `weir demo`: the main job, with nothing installed.
//!
//! A small cluster of tasks on dynamic ports, a load balancer of each kind in front, steady traffic, and a task
//! replaced every few seconds; a live line says how many requests failed.

mod cluster;
mod containers;
mod score;
pub(crate) mod task;
mod traffic;

use std::io::{IsTerminal, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use tokio::time::Instant;
use weir::process::{Process, Setup};
use weir_core::health::Health;

use cluster::{Cluster, SERVICES};
use score::Score;
use traffic::Endpoints;

use crate::output::{complain, say};

/// Requests of one bounded round, at least.
const ROUND_REQUESTS: u64 = 2_400;

/// Tasks replaced in one bounded round.
const ROUND_SWAPS: usize = 4;

/// Longest time that a bounded round may take.
const ROUND_DEADLINE: Duration = Duration::from_secs(120);

/// Time between two replacements.
const SWAP_INTERVAL: Duration = Duration::from_secs(3);

/// Longest time that a new task may take to become healthy.
const HEALTHY_DEADLINE: Duration = Duration::from_secs(20);

/// How the demo runs.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// One bounded round; exit 0 only if no request failed.
    #[arg(long)]
    once: bool,
    /// Run the tasks as containers of the Docker engine, made of weir's own binary.
    #[arg(long)]
    docker: bool,
}

/// Runs the demo until it is interrupted, or one round of it.
pub(crate) fn run(options: &Options) -> anyhow::Result<ExitCode> {
    crate::commands::run::raise_descriptor_limit();
    let stop = stop_on_signal()?;
    let folder = Folder::create()?;
    let mut cluster = Cluster::start(&folder.0, options.docker)?;
    let process = start_weir(&folder.0, &cluster)?;
    let endpoints = endpoints(&process)?;
    wait_until_healthy(&process, SERVICES.len() * cluster::TASKS_PER_SERVICE)?;
    introduce(&process, &endpoints, &folder.0);

    let score = Arc::new(Score::default());
    let traffic = traffic::start(endpoints, score.clone());
    let began = Instant::now();
    let mut swaps = 0;
    let mut next_swap = began + SWAP_INTERVAL;
    let mut line = Line::new();
    while !stop.load(Relaxed) {
        if options.once && is_round_over(&score, swaps, began)? {
            break;
        }
        if Instant::now() >= next_swap {
            swap(&mut cluster, &process, swaps)?;
            swaps += 1;
            next_swap = Instant::now() + if options.once { SWAP_INTERVAL / 3 } else { SWAP_INTERVAL };
        }
        line.show(&score, swaps);
        thread::sleep(Duration::from_millis(100));
    }
    line.end();
    traffic.stop();
    let verdict = verdict(&score, &cluster, swaps);
    process.stop();
    cluster.stop();
    Ok(verdict)
}

/// Whether a bounded round has done all it should.
fn is_round_over(score: &Score, swaps: usize, began: Instant) -> anyhow::Result<bool> {
    anyhow::ensure!(
        began.elapsed() < ROUND_DEADLINE,
        "the round took longer than {} s",
        ROUND_DEADLINE.as_secs()
    );
    Ok(score.requests() >= ROUND_REQUESTS && swaps >= ROUND_SWAPS)
}

/// Replaces one task: a new one first, and when it is healthy the old one leaves.
fn swap(cluster: &mut Cluster, process: &Process, number: usize) -> anyhow::Result<()> {
    let service = SERVICES[number % SERVICES.len()];
    let before = healthy_count(process);
    let newcomer = cluster.add(service)?;
    wait_until_healthy(process, before + 1).with_context(|| format!("task {newcomer} of {service}"))?;
    let old = cluster.deregister_oldest(service)?;
    cluster.stop_when_idle(old, || in_flight(process))
}

fn healthy_count(process: &Process) -> usize {
    process.handle().snapshot().members().filter(|(_, member)| member.health == Health::Healthy).count()
}

/// Requests and flows in flight at targets that are leaving.
fn in_flight(process: &Process) -> u32 {
    let snapshot = process.handle().snapshot();
    snapshot
        .members()
        .filter(|(_, member)| member.health == Health::Draining)
        .map(|(_, member)| member.target.tally.in_flight())
        .sum()
}

fn wait_until_healthy(process: &Process, count: usize) -> anyhow::Result<()> {
    let began = Instant::now();
    while healthy_count(process) < count {
        anyhow::ensure!(
            began.elapsed() < HEALTHY_DEADLINE,
            "only {} of {count} targets are healthy after {} s",
            healthy_count(process),
            HEALTHY_DEADLINE.as_secs()
        );
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Prints what came of it: 0 only if nothing failed and everything took part.
fn verdict(score: &Score, cluster: &Cluster, swaps: usize) -> ExitCode {
    let unserved: Vec<&String> = cluster.ever().iter().filter(|task| !score.has_answered(task)).collect();
    let failures = score.failures();
    say(&format!(
        "{} requests, {} of them POST, {} flows; {swaps} tasks replaced; {} failed; p99 {:.1} ms",
        score.requests(),
        score.posts(),
        score.flows(),
        score.failed(),
        score.p99().as_secs_f64() * 1e3,
    ));
    for failure in &failures {
        complain(&format!("failed: {failure}"));
    }
    for task in &unserved {
        complain(&format!("never picked: {task}"));
    }
    if score.failed() == 0 && unserved.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) }
}

fn start_weir(folder: &Path, cluster: &Cluster) -> anyhow::Result<Process> {
    let path = folder.join("weir.yaml");
    let ports = Ports::choose();
    std::fs::write(&path, cluster.configuration(folder, &ports))?;
    let loaded = weir_config::load(&path).map_err(|error| anyhow::anyhow!("{error}"))?;
    Process::start(Setup::configured(loaded.config, Some(path))).context("cannot start")
}

/// Where the demo listens: the usual ports, or any free one where they are taken.
struct Ports {
    application: SocketAddr,
    network: SocketAddr,
    classic: SocketAddr,
    admin: SocketAddr,
}

impl Ports {
    fn choose() -> Self {
        let free_or_any = |port: u16| {
            let usual = SocketAddr::from(([127, 0, 0, 1], port));
            match TcpListener::bind(usual) {
                Ok(_) => usual,
                Err(_) => SocketAddr::from(([127, 0, 0, 1], 0)),
            }
        };
        Self {
            application: free_or_any(8080),
            network: free_or_any(8081),
            classic: free_or_any(8082),
            admin: free_or_any(9900),
        }
    }
}

fn endpoints(process: &Process) -> anyhow::Result<Endpoints> {
    let listeners = process.listeners();
    let of = |wanted: &str| {
        let found = listeners.iter().find(|(_, kind, _, _)| *kind == wanted);
        found.map(|(_, _, _, bind)| bind.0).with_context(|| format!("no {wanted} listener"))
    };
    Ok(Endpoints { application: of("application")?, network: of("network")?, classic: of("classic")? })
}

fn introduce(process: &Process, endpoints: &Endpoints, folder: &Path) {
    say("A cluster of tasks on dynamic ports, a load balancer of each kind in front, tasks rolling. Try:");
    say(&format!(
        "  application  curl http://{}/            curl http://{}/api/x",
        endpoints.application, endpoints.application
    ));
    say(&format!(
        "  network      echo hello | nc -N {} {}",
        endpoints.network.ip(),
        endpoints.network.port()
    ));
    say(&format!("  classic      curl http://{}/", endpoints.classic));
    if let Some(admin) = process.admin() {
        say(&format!("  admin page   http://{admin}/"));
    }
    say(&format!("  configuration {}", folder.join("weir.yaml").display()));
}

/// The live line: rewritten in place on a terminal, one line every few seconds elsewhere.
struct Line {
    is_terminal: bool,
    shown: Instant,
    requests_then: u64,
}

impl Line {
    /// Time between two lines where they cannot be rewritten.
    const PLAIN_INTERVAL: Duration = Duration::from_secs(2);
    /// Time between two rewrites.
    const LIVE_INTERVAL: Duration = Duration::from_millis(500);

    fn new() -> Self {
        Self { is_terminal: std::io::stderr().is_terminal(), shown: Instant::now(), requests_then: 0 }
    }

    fn show(&mut self, score: &Score, swaps: usize) {
        let interval = if self.is_terminal { Self::LIVE_INTERVAL } else { Self::PLAIN_INTERVAL };
        let elapsed = self.shown.elapsed();
        if elapsed < interval {
            return;
        }
        let requests = score.requests();
        let rate = (requests - self.requests_then) as f64 / elapsed.as_secs_f64();
        let text = format!(
            "{rate:6.0} requests/s   {} failed   {swaps} swaps   p99 {:.1} ms   {requests} in all",
            score.failed(),
            score.p99().as_secs_f64() * 1e3,
        );
        if self.is_terminal {
            // A terminal that has gone away shows nothing, and that is all.
            let _ = write!(std::io::stderr(), "\r\x1b[2K{text}");
        } else {
            complain(&text);
        }
        (self.shown, self.requests_then) = (Instant::now(), requests);
    }

    fn end(&self) {
        if self.is_terminal {
            let _ = writeln!(std::io::stderr());
        }
    }
}

/// A folder of the demo's own, removed when it ends.
struct Folder(PathBuf);

impl Folder {
    fn create() -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join(format!("weir-demo-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("targets"))
            .with_context(|| format!("cannot create {}", folder.display()))?;
        Ok(Self(folder))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left in a temporary folder is the system's to tidy.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Set when SIGINT or SIGTERM asks the demo to end.
fn stop_on_signal() -> anyhow::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let set = stop.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let (Ok(mut interrupt), Ok(mut terminate)) =
                (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
            else {
                return;
            };
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            set.store(true, Relaxed);
        });
    })?;
    Ok(stop)
}
