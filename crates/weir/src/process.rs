//! The process: worker threads, the control thread, and how they are put together.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::spawn_local;
use weir_control::reconciler::Parts;
use weir_control::{Duplicates, Handle, Listeners, Reconciler, StartError};
use weir_core::address::ListenAddr;
use weir_core::dispatcher::Dispatcher;
use weir_core::health::Health;
use weir_core::snapshot::Snapshot;
use weir_core::table;
use weir_core::task::Transports;
use weir_discovery::docker::EndpointError;
use weir_discovery::ecs::CredentialsError;
use weir_discovery::memory::{Memory, MemoryError};
use weir_net::accept::ConnectionLimit;
use weir_net::bind::BindError;
use weir_net::clock::Clock;
use weir_net::drain::Drain;
use weir_net::inherited::Inherited;
use weir_net::reactor::Reactor;
use weir_net::worker::{Publications, Worker, spawn};
use weir_telemetry::Telemetry;
use weir_telemetry::access_log::LogWriter;
use weir_tls::OwnSecret;

pub use crate::setup::Setup;
use crate::sources::{REPORTS_MAX, Sources};
use crate::worker::{DRAIN_DEADLINE, Serving};

/// Why weir could not start.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The admin port could not be bound.
    #[error("the admin port: {0}")]
    Admin(#[source] BindError),
    /// No credentials for the source that needs them.
    #[error("discovery of ecs: {0}")]
    Credentials(#[from] CredentialsError),
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
    /// Copies of what is listened on, for a successor.
    duplicates: Duplicates,
    admin_duplicate: Option<std::net::TcpListener>,
    log_writer: LogWriter,
    /// Becomes true when anything may be accepted.
    opened: watch::Sender<bool>,
    /// When another process has taken this one's place: how long this one may finish what it has.
    succession: watch::Sender<Option<Duration>>,
    drain: watch::Sender<bool>,
    restart_drain: Duration,
    workers: Vec<JoinHandle<()>>,
    control: JoinHandle<()>,
    stop_control: oneshot::Sender<()>,
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
    opened: watch::Receiver<bool>,
    succession: watch::Receiver<Option<Duration>>,
}

impl Process {
    /// Starts workers and control; every listener is bound and accepts when this returns.
    ///
    /// # Errors
    /// [`ProcessError`]; nothing runs then.
    pub fn start(setup: Setup) -> Result<Self, ProcessError> {
        let process = Self::prepare(setup, Inherited::default(), OwnSecret::random())?;
        process.open();
        Ok(process)
    }

    /// Starts workers and control, with the sockets that another process has handed over where they are listened on, and
    /// its secret where none is written.
    /// Discovery and health checks begin; nothing is accepted before [`Process::open`].
    ///
    /// # Errors
    /// [`ProcessError`]; nothing runs then.
    pub fn prepare(setup: Setup, mut inherited: Inherited, own: OwnSecret) -> Result<Self, ProcessError> {
        let clock = Clock::start();
        let telemetry = Telemetry::default();
        let log_writer = LogWriter::start(telemetry.clone())?;
        let (writer, reader) = table::new(Snapshot::default());
        let (publications, publication_listener) = Publications::new();
        let (drain, drain_listener) = Drain::new();
        let (opened, succession) = (watch::Sender::new(false), watch::Sender::new(None));
        let restart_drain = setup.restart_drain;
        let sources = Sources::find(&setup)?;
        let memory = match &setup.remember {
            Some(folder) => Some(Memory::open(folder, sources.settings(), sources.shared_settings())?),
            None => None,
        };
        let admin = setup.admin.map(|addr| bind_admin(addr, &mut inherited)).transpose()?;
        let admin_duplicate = admin.as_ref().map(std::net::TcpListener::try_clone).transpose()?;
        let admin_addr = admin.as_ref().map(std::net::TcpListener::local_addr).transpose()?;

        let count = setup.workers.map_or_else(core_count, NonZeroUsize::get);
        let limit = ConnectionLimit::new(setup.connections_max);
        let tls = weir_tls::Listeners::new(own);
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
            let (opened, succession) = (opened.subscribe(), succession.subscribe());
            workers.push(spawn(format!("worker-{number}"), move |reactor| {
                let worker = Worker::new(reactor, clock, publications, drain, limit);
                let dispatcher = Rc::new(RefCell::new(Dispatcher::new(reader, seed)));
                Serving { worker, dispatcher, telemetry, log_writer, tls, opened, succession }
                    .run(assignments)
            })?);
        }
        let duplicates = Duplicates::new(inherited);
        let parts = ControlParts {
            setup,
            sources,
            memory,
            admin,
            listeners: Listeners::new(assignment_senders, duplicates.clone()),
            tls,
            table: (writer, reader),
            publications,
            log_writer: log_writer.clone(),
            telemetry,
            clock,
            opened: opened.subscribe(),
            succession: succession.subscribe(),
        };
        let (stop_control, stopped) = oneshot::channel();
        let (started, start) = std::sync::mpsc::sync_channel(1);
        let control = spawn("control".to_owned(), move |reactor| control(parts, reactor, started, stopped))?;
        let handle =
            start.recv().unwrap_or_else(|_| Err(io::Error::other("the control thread ended").into()))?;
        Ok(Self {
            handle,
            admin: admin_addr,
            duplicates,
            admin_duplicate,
            log_writer,
            opened,
            succession,
            drain,
            restart_drain,
            workers,
            control,
            stop_control,
        })
    }

    /// Whether it would serve as one that has run for long: every source has been heard, and every target probed. A flow is
    /// placed among the healthy targets, so that one too few would move it.
    pub fn is_settled(&self) -> bool {
        let is_initial = |health| matches!(health, Health::Initial(_));
        self.has_heard() && !self.handle.snapshot().members().any(|(_, member)| is_initial(member.health))
    }

    /// Whether every source has been heard.
    pub fn has_heard(&self) -> bool {
        self.handle.readiness.is_ready()
    }

    /// Begins to accept. Sockets that were handed over and are not wanted are closed.
    pub fn open(&self) {
        self.duplicates.settle();
        self.opened.send_replace(true);
    }

    /// One more descriptor of every socket that is listened on, to be handed over.
    ///
    /// # Errors
    /// When there are none left.
    pub fn listening_sockets(&self) -> io::Result<Vec<OwnedFd>> {
        let mut descriptors = self.duplicates.descriptors()?;
        if let Some(admin) = &self.admin_duplicate {
            descriptors.push(admin.try_clone()?.into());
        }
        Ok(descriptors)
    }

    /// What may be seen and asked.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Where the admin port listens.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// The secret that is used where none is written, to be handed over.
    pub fn own_secret(&self) -> &OwnSecret {
        self.handle.tls.own()
    }

    /// Where each listener accepts connections, with its load balancer's name and type, in order.
    pub fn listeners(&self) -> Vec<(String, &'static str, &'static str, ListenAddr)> {
        let of = |listener: &Arc<weir_core::snapshot::Listener>| {
            let kind = &listener.kind;
            (listener.load_balancer.to_string(), kind.load_balancer_type(), kind.protocol(), listener.bind)
        };
        self.handle.snapshot().listeners().map(of).collect()
    }

    /// Writes the access logs.
    pub fn log_writer(&self) -> &LogWriter {
        &self.log_writer
    }

    /// Ends in order: accepts no more, finishes what is under way, at most for [`Process::drain_deadline`], and leaves.
    pub fn stop(self) {
        self.handle.readiness.end();
        self.duplicates.retire();
        drop(self.admin_duplicate);
        self.drain.send_replace(true);
        for worker in self.workers {
            // A worker that panicked has reported it.
            let _ = worker.join();
        }
        self.log_writer.flush();
        drop(self.stop_control);
        let _ = self.control.join();
    }

    /// Another process listens on the same sockets: leaves them, the admin port and the folder of what is remembered to
    /// it. [`Process::stop`], which is to be called now, lets what is under way take as long as [`Process::restart_drain`].
    pub fn be_succeeded(&self) {
        self.succession.send_replace(Some(self.restart_drain));
    }

    /// The longest time that [`Process::stop`] takes, unless another process has taken this one's place.
    pub fn drain_deadline() -> Duration {
        DRAIN_DEADLINE
    }

    /// The longest time that it takes then.
    pub fn restart_drain(&self) -> Duration {
        self.restart_drain
    }
}

/// Runs the reconciler, the watchers and the admin port until the process ends.
async fn control(
    parts: ControlParts,
    reactor: Reactor,
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
        mut opened,
        mut succession,
    } = parts;
    let remembering = memory.as_ref().map(|memory| {
        let writing = memory.writing();
        let mut succession = succession.clone();
        spawn_local(async move {
            tokio::select! {
                () = writing => {}
                // The folder is the successor's, who has read and heard it all itself.
                () = becomes(&mut succession, Option::is_some) => {}
            }
        })
    });
    let lookups = watch::Sender::new(BTreeSet::new());
    let parts = Parts {
        origin: setup.origin,
        table,
        publications,
        listeners,
        tls,
        reports,
        reactor,
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
            becomes(&mut opened, |is_open| *is_open).await;
            let end = async move { becomes(&mut succession, Option::is_some).await };
            let served = match tokio::net::TcpListener::from_std(admin) {
                Ok(listener) => weir_admin::serve(listener, handle, end).await,
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

/// Completes when `holds`; never when it is not going to.
async fn becomes<T>(value: &mut watch::Receiver<T>, holds: impl FnMut(&T) -> bool) {
    if value.wait_for(holds).await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn bind_admin(addr: SocketAddr, inherited: &mut Inherited) -> Result<std::net::TcpListener, ProcessError> {
    let transports = Transports::TCP;
    let sockets = inherited.take(ListenAddr(addr), transports, 1).map_err(ProcessError::Admin)?;
    let mut sockets = sockets.into_iter().flat_map(|sockets| sockets.tcp);
    Ok(sockets.next().expect("a socket of TCP was asked for"))
}

fn core_count() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}
