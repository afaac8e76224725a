//! The process: worker threads, the control thread, and how they are put together.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::spawn_local;
use weir_config::{Config, Discovery, SharedSource};
use weir_control::reconciler::Parts;
use weir_control::{Handle, Listeners, Origin, Reconciler, StartError};
use weir_core::address::ListenAddr;
use weir_core::dispatcher::Dispatcher;
use weir_core::snapshot::Snapshot;
use weir_core::table;
use weir_discovery::docker::EndpointError;
use weir_discovery::ecs;
use weir_discovery::memory::{Memory, MemoryError};
use weir_net::accept::ConnectionLimit;
use weir_net::bind::{BindError, Transports, bind};
use weir_net::clock::Clock;
use weir_net::drain::Drain;
use weir_net::worker::{Publications, Worker, spawn};
use weir_telemetry::Telemetry;
use weir_telemetry::access_log::LogWriter;

use crate::sources::{REPORTS_MAX, Sources};
use crate::worker::{DRAIN_DEADLINE, Serving};

/// Client connections of a process whose configuration sets no limit.
const CONNECTIONS_MAX: usize = 100_000;

/// What to start.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Where definitions come from.
    pub origin: Origin,
    /// Where the admin port listens; `None` for none.
    pub admin: Option<SocketAddr>,
    /// Worker threads; `None` for one per core.
    pub workers: Option<NonZeroUsize>,
    /// Client connections at a time.
    pub connections_max: usize,
    /// Which tasks to follow.
    pub discovery: Discovery,
    /// Where definitions are read that several weirs share.
    pub shared: Option<SharedSource>,
    /// The folder that keeps what they were for the next start.
    pub remember: Option<PathBuf>,
    /// What requests to AWS are signed with; `None` takes what the environment says, where it is needed.
    pub aws_credentials: Option<ecs::Credentials>,
    /// The seed of the workers' random streams, for tests; `None` draws one.
    pub seed: Option<u64>,
}

/// Why weir could not start.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The admin port could not be bound.
    #[error("the admin port: {0}")]
    Admin(#[source] BindError),
    /// No credentials for the source that needs them.
    #[error("discovery of ecs: {0}")]
    Credentials(#[from] ecs::CredentialsError),
    /// The folder for what is remembered cannot be used.
    #[error("remember: {0}")]
    Memory(#[from] MemoryError),
    /// No Docker engine to follow.
    #[error(transparent)]
    Docker(#[from] EndpointError),
    /// A listener could not be bound.
    #[error(transparent)]
    Start(#[from] StartError),
    /// The kernel has no thread, descriptor or memory left.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] io::Error),
}

/// A running weir.
#[derive(Debug)]
pub struct Process {
    handle: Handle,
    admin: Option<SocketAddr>,
    log_writer: LogWriter,
    drain: watch::Sender<bool>,
    workers: Vec<JoinHandle<()>>,
    control: JoinHandle<()>,
    stop_control: oneshot::Sender<()>,
}

impl Setup {
    /// What a configuration asks for.
    pub fn configured(config: Config, path: Option<PathBuf>) -> Self {
        Self {
            admin: Some(config.admin.bind),
            workers: config.workers,
            connections_max: config.limits.connections,
            discovery: config.discovery.clone(),
            shared: config.shared.clone(),
            remember: config.remember.clone(),
            aws_credentials: None,
            seed: None,
            origin: Origin::Configuration { path, config: Arc::new(config) },
        }
    }

    /// Every service of the Docker engine, served at `listener`.
    pub fn automatic(listener: ListenAddr, admin: SocketAddr, discovery: Discovery) -> Self {
        Self {
            origin: Origin::Automatic(listener),
            admin: Some(admin),
            workers: None,
            connections_max: CONNECTIONS_MAX,
            discovery,
            shared: None,
            remember: None,
            aws_credentials: None,
            seed: None,
        }
    }
}

/// What the control thread needs from the thread that starts it.
struct ControlParts {
    setup: Setup,
    sources: Sources,
    memory: Option<Memory>,
    admin: Option<std::net::TcpListener>,
    listeners: Listeners,
    tls: weir_tls::Listeners,
    table: (table::Writer, table::Reader),
    publications: watch::Sender<u64>,
    log_writer: LogWriter,
    telemetry: Telemetry,
    clock: Clock,
}

impl Process {
    /// Starts workers and control; every listener is bound when this returns.
    ///
    /// # Errors
    /// [`ProcessError`]; nothing runs then.
    pub fn start(setup: Setup) -> Result<Self, ProcessError> {
        let clock = Clock::start();
        let telemetry = Telemetry::default();
        let log_writer = LogWriter::start(telemetry.clone())?;
        let (writer, reader) = table::new(Snapshot::default());
        let (publications, publication_listener) = Publications::new();
        let (drain, drain_listener) = Drain::new();
        let sources = Sources::find(&setup)?;
        let memory = match &setup.remember {
            Some(folder) => Some(Memory::open(folder, sources.settings(), sources.shared_settings())?),
            None => None,
        };
        let admin = setup.admin.map(bind_admin).transpose()?;
        let admin_addr = admin.as_ref().map(std::net::TcpListener::local_addr).transpose()?;

        let count = setup.workers.map_or_else(core_count, NonZeroUsize::get);
        let limit = ConnectionLimit::new(setup.connections_max);
        let tls = weir_tls::Listeners::default();
        let mut assignment_senders = Vec::new();
        let mut workers = Vec::new();
        for number in 0..count {
            let (sender, assignments) = mpsc::unbounded_channel();
            assignment_senders.push(sender);
            let seed = setup.seed.map_or_else(|| fastrand::u64(..), |seed| seed + number as u64);
            let (reader, limit, telemetry, log_writer) =
                (reader.clone(), limit.clone(), telemetry.clone(), log_writer.clone());
            let (publications, drain, tls) =
                (publication_listener.clone(), drain_listener.clone(), tls.clone());
            workers.push(spawn(format!("worker-{number}"), move || {
                let worker = Worker::new(clock, publications, drain, limit);
                let dispatcher = Rc::new(RefCell::new(Dispatcher::new(reader, seed)));
                Serving { worker, dispatcher, telemetry, log_writer, tls }.run(assignments)
            })?);
        }
        let parts = ControlParts {
            setup,
            sources,
            memory,
            admin,
            listeners: Listeners::new(assignment_senders),
            tls,
            table: (writer, reader),
            publications,
            log_writer: log_writer.clone(),
            telemetry,
            clock,
        };
        let (stop_control, stopped) = oneshot::channel();
        let (started, start) = std::sync::mpsc::sync_channel(1);
        let control = spawn("control".to_owned(), move || control(parts, started, stopped))?;
        let handle =
            start.recv().unwrap_or_else(|_| Err(io::Error::other("the control thread ended").into()))?;
        Ok(Self { handle, admin: admin_addr, log_writer, drain, workers, control, stop_control })
    }

    /// What may be seen and asked.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Where the admin port listens.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Where each listener accepts connections, with its load balancer's name and type, in order.
    pub fn listeners(&self) -> Vec<(String, &'static str, &'static str, ListenAddr)> {
        let of = |listener: &Arc<weir_core::snapshot::Listener>| {
            let kind = &listener.kind;
            (listener.load_balancer.to_string(), kind.load_balancer_type(), kind.protocol(), listener.bind)
        };
        self.handle.snapshot().listeners().map(of).collect()
    }

    /// Begins access-log files anew, after a rotation.
    pub fn reopen_logs(&self) {
        self.log_writer.reopen();
    }

    /// Ends in order: accepts no more, finishes what is under way, at most for `DRAIN_DEADLINE`, and leaves.
    pub fn stop(self) {
        self.handle.readiness.end();
        self.drain.send_replace(true);
        for worker in self.workers {
            // A worker that panicked has reported it.
            let _ = worker.join();
        }
        self.log_writer.flush();
        drop(self.stop_control);
        let _ = self.control.join();
    }

    /// The longest time that [`Process::stop`] takes.
    pub fn drain_deadline() -> Duration {
        DRAIN_DEADLINE
    }
}

/// Runs the reconciler, the watchers and the admin port until the process ends.
async fn control(
    parts: ControlParts,
    started: std::sync::mpsc::SyncSender<Result<Handle, ProcessError>>,
    stopped: oneshot::Receiver<()>,
) {
    let (reports_sender, reports) = mpsc::channel(REPORTS_MAX);
    let ControlParts {
        setup,
        sources,
        memory,
        admin,
        listeners,
        tls,
        table,
        publications,
        log_writer,
        telemetry,
        clock,
    } = parts;
    let remembering = memory.as_ref().map(|memory| spawn_local(memory.writing()));
    let lookups = watch::Sender::new(BTreeSet::new());
    let parts = Parts {
        origin: setup.origin,
        table,
        publications,
        listeners,
        tls,
        reports,
        sources: sources.settings().into_keys().collect(),
        memory,
        lookups: lookups.clone(),
        log_writer,
        telemetry,
        clock,
    };
    let (reconciler, handle) = match Reconciler::start(parts) {
        Ok(started) => started,
        Err(error) => return drop(started.send(Err(error.into()))),
    };
    // From here on the first names are known, so that the first set of each source is a whole one.
    sources.follow(&lookups, &reports_sender);
    if let Some(admin) = admin {
        let handle = handle.clone();
        spawn_local(async move {
            let served = match tokio::net::TcpListener::from_std(admin) {
                Ok(listener) => weir_admin::serve(listener, handle).await,
                Err(error) => Err(error),
            };
            if let Err(error) = served {
                tracing::error!("the admin port has failed: {error}");
            }
        });
    }
    drop(started.send(Ok(handle)));
    tokio::select! {
        () = reconciler.run() => {}
        // Gone or told: either way the process ends.
        _ = stopped => {}
    }
    if let Some(remembering) = remembering {
        // The reconciler has gone, and its memory with it: what is left is written.
        let _ = remembering.await;
    }
}

fn bind_admin(addr: SocketAddr) -> Result<std::net::TcpListener, ProcessError> {
    let transports = Transports { tcp: true, udp: false };
    let (_, mut sockets) = bind(ListenAddr(addr), transports, 1).map_err(ProcessError::Admin)?;
    Ok(sockets.pop().and_then(|sockets| sockets.tcp).expect("one socket of TCP was asked for"))
}

fn core_count() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}
