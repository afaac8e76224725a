//! A target change, from the event to the published snapshot.
//!
//! Wait for one event → [`reconcile`] gives the next snapshot and its transitions → log and count them → publish.
//! Nothing else writes.

mod definitions;
mod discovery;
mod trials;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use weir_config::Config;
use weir_core::address::ListenAddr;
use weir_core::anomaly::WINDOW;
use weir_core::automatic;
use weir_core::chaos::Chaos;
use weir_core::comparison;
use weir_core::ejection::LOOK_INTERVAL;
use weir_core::guard::Guard;
use weir_core::health::Verdict;
use weir_core::lookup::Lookup;
use weir_core::name::GroupName;
use weir_core::reconcile::{Change, Event, State, Transition, reconcile};
use weir_core::snapshot::Snapshot;
use weir_core::table::Writer;
use weir_core::target::TargetSerial;
use weir_core::task::{SourceKind, TaskSet};
use weir_core::time::Timestamp;
use weir_discovery::Report;
use weir_discovery::memory::Memory;
use weir_net::bind::BindError;
use weir_net::reactor::Reactor;
use weir_telemetry::names;
use weir_tls::LoadError;

use crate::certificates::Certificates;
use crate::handle::{Command, Handle};
use crate::labels::Labels;
use crate::listeners::Listeners;
use crate::prober::Prober;
use crate::sources::Sources;
use crate::timeline::Entry;

/// Where definitions come from.
#[derive(Clone, Debug)]
pub enum Origin {
    /// Nobody wrote any: every discovered service is served at this address.
    Automatic(ListenAddr),
    /// A configuration: the file to read again, and what was read at start.
    Configuration {
        /// The file; `None` when the configuration was made by the program itself.
        path: Option<PathBuf>,
        /// What it meant at start.
        config: Arc<Config>,
    },
}

/// Why weir could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener could not be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A file that a listener speaks TLS with cannot be used.
    #[error(transparent)]
    Certificate(#[from] LoadError),
    /// A target group would speak to its targets from addresses of clients, and this process may not.
    #[error(
        "target group {group}: `preserve_client_ip` takes the capability CAP_NET_RAW ({source}); run weir as root or give it that (`setcap cap_net_raw+ep`), or tell targets by `proxy_protocol_v2`"
    )]
    Transparent {
        /// The group.
        group: GroupName,
        /// What the kernel says.
        source: std::io::Error,
    },
}

/// Owns the state and the writer. Runs on the control thread.
#[derive(Debug)]
pub struct Reconciler {
    origin: Origin,
    state: State,
    /// Keeps sources that have suddenly lost most of their tasks from being believed at once.
    guard: Guard,
    labels: Labels,
    writer: Writer,
    publications: watch::Sender<u64>,
    listeners: Listeners,
    certificates: Certificates,
    prober: Prober,
    /// When targets are compared with their peers.
    comparisons: tokio::time::Interval,
    /// When targets are looked for whose requests fail one after the other.
    looks: tokio::time::Interval,
    /// When the arms of comparisons are looked at.
    trials: tokio::time::Interval,
    verdicts: mpsc::UnboundedReceiver<(TargetSerial, Verdict)>,
    commands: mpsc::Receiver<Command>,
    reports: mpsc::Receiver<Report>,
    /// Tells the DNS source what target groups ask for.
    lookups: watch::Sender<BTreeSet<Lookup>>,
    /// Sources that have not been heard yet.
    awaited: Vec<SourceKind>,
    /// The configuration that several weirs share, as it was taken last.
    shared_text: Option<String>,
    /// The one that was refused since: what stood in its way may go.
    shared_refused: Option<String>,
    /// Keeps what sources said last for weir's next start.
    memory: Option<Memory>,
    /// What they said before weir started, until they are heard.
    remembered: BTreeMap<SourceKind, TaskSet>,
    /// When sources that have been silent until then are taken to say that again.
    remembers_at: Option<Timestamp>,
    handle: Handle,
}

/// Commands that may wait to be carried out.
const COMMANDS_MAX: usize = 16;

/// Verdicts that are taken in at a time.
const VERDICTS_MAX: usize = 4096;

/// What happens next.
enum Input {
    Command(Command),
    CertificatesChanged,
    Compare,
    Due,
    Look,
    Report(Report),
    Trials,
    Verdicts(Vec<(TargetSerial, Verdict)>),
}

/// What a reconciler is made of.
#[derive(Debug)]
pub struct Parts {
    /// Where definitions come from.
    pub origin: Origin,
    /// The one writer, and a reader for the handle.
    pub table: (Writer, weir_core::table::Reader),
    /// Tells the workers of every publication.
    pub publications: watch::Sender<u64>,
    /// The workers' listening sockets.
    pub listeners: Listeners,
    /// Where workers find what listeners speak TLS with.
    pub tls: weir_tls::Listeners,
    /// What tells of the probes' connections.
    pub reactor: Reactor,
    /// What discovery reports.
    pub reports: mpsc::Receiver<Report>,
    /// Tells the DNS source what target groups ask for.
    pub lookups: watch::Sender<BTreeSet<Lookup>>,
    /// The sources that report.
    pub sources: Vec<SourceKind>,
    /// What they said before weir started.
    pub memory: Option<Memory>,
    /// Writes the logs of health checks.
    pub log_writer: weir_telemetry::access_log::LogWriter,
    /// Everything that is counted.
    pub telemetry: weir_telemetry::Telemetry,
    /// The process's clock.
    pub clock: weir_net::clock::Clock,
}

impl Reconciler {
    /// A reconciler with its handle: the first snapshot is published and every listener is open when this returns.
    ///
    /// # Errors
    /// [`StartError`] when a listener cannot be bound. Must be called on a runtime that takes local tasks.
    pub fn start(parts: Parts) -> Result<(Self, Handle), StartError> {
        let (commands_sender, commands) = mpsc::channel(COMMANDS_MAX);
        let (verdicts_sender, verdicts) = mpsc::unbounded_channel();
        let handle = Handle {
            reader: parts.table.1,
            telemetry: parts.telemetry,
            sources: Sources::awaited(&parts.sources),
            chaos: crate::handle::Mischiefs::default(),
            timeline: crate::timeline::Timeline::default(),
            clock: parts.clock,
            tls: parts.tls.clone(),
            readiness: crate::handle::Readiness::default(),
            commands: commands_sender,
        };
        let certificates = Certificates::new(parts.tls, handle.telemetry.clone(), handle.clock);
        let confirmation = match &parts.origin {
            Origin::Automatic(_) => Duration::ZERO,
            Origin::Configuration { config, .. } => config.discovery.confirm_removals,
        };
        let mut reconciler = Self {
            state: State::new(),
            guard: Guard::new(confirmation),
            labels: Labels::new(matches!(parts.origin, Origin::Automatic(_))),
            origin: parts.origin,
            writer: parts.table.0,
            publications: parts.publications,
            listeners: parts.listeners,
            certificates,
            prober: Prober::new(verdicts_sender, parts.log_writer, parts.reactor),
            comparisons: tokio::time::interval(WINDOW),
            looks: tokio::time::interval(LOOK_INTERVAL),
            trials: tokio::time::interval(comparison::LOOK_INTERVAL),
            verdicts,
            commands,
            reports: parts.reports,
            lookups: parts.lookups,
            awaited: parts.sources,
            shared_text: None,
            shared_refused: None,
            memory: parts.memory,
            remembered: BTreeMap::new(),
            remembers_at: None,
            handle: handle.clone(),
        };
        let definitions = match &reconciler.origin {
            Origin::Automatic(bind) => automatic::definitions(&[], *bind),
            Origin::Configuration { config, .. } => config.definitions.clone(),
        };
        reconciler.define(definitions)?;
        reconciler.remember_shared();
        reconciler.remember();
        reconciler.note_readiness();
        Ok((reconciler, handle))
    }

    /// Reconciles until nobody can ask for anything any more.
    pub async fn run(mut self) {
        while let Some(input) = self.next_input().await {
            match input {
                Input::Command(Command::Chaos(group, chaos, reply)) => {
                    // Whoever asked may have gone.
                    let _ = reply.send(self.misbehave(group, chaos));
                }
                Input::Command(Command::Reload(reply)) => {
                    let outcome = self.reload();
                    // Whoever asked may have gone; the reload stands.
                    let _ = reply.send(outcome);
                }
                Input::CertificatesChanged => self.renew_certificates(),
                Input::Compare => self.reconcile(Event::Compare),
                Input::Look => self.reconcile(Event::Look),
                Input::Due => self.be_due(),
                Input::Report(report) => self.take_in(report),
                Input::Trials => self.weigh_trials(),
                Input::Verdicts(verdicts) => self.reconcile(Event::Verdicts(verdicts)),
            }
        }
    }

    async fn next_input(&mut self) -> Option<Input> {
        let due = [self.state.next_due(), self.labels.next_due(), self.guard.next_due(), self.remembers_at];
        let due = due.into_iter().flatten().min().map(|due| self.handle.clock.instant(due));
        let wait = async {
            match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        let mut verdicts = Vec::new();
        tokio::select! {
            command = self.commands.recv() => command.map(Input::Command),
            Some(report) = self.reports.recv() => Some(Input::Report(report)),
            // All that have come meanwhile: a group whose targets fail at once is built anew once.
            1.. = self.verdicts.recv_many(&mut verdicts, VERDICTS_MAX) => Some(Input::Verdicts(verdicts)),
            () = self.certificates.changed() => Some(Input::CertificatesChanged),
            _ = self.comparisons.tick() => Some(Input::Compare),
            _ = self.looks.tick() => Some(Input::Look),
            _ = self.trials.tick() => Some(Input::Trials),
            () = wait => Some(Input::Due),
        }
    }

    /// One event → the next snapshot and its transitions → log and count → publish.
    fn reconcile(&mut self, event: Event) {
        let reconciled = reconcile(&mut self.state, event, self.handle.clock.now());
        for transition in &reconciled.transitions {
            self.tell(transition);
        }
        for stopped in &reconciled.stopped {
            self.tell_stopped(stopped);
        }
        if let Some(snapshot) = reconciled.snapshot {
            self.publish(snapshot);
        }
    }

    fn misbehave(&mut self, group: GroupName, chaos: Chaos) -> Result<(), String> {
        let snapshot = self.handle.snapshot();
        let names: Vec<&str> = snapshot.groups().map(|group| group.settings.name.as_str()).collect();
        if !names.contains(&group.as_str()) {
            return Err(format!("there is no target group {group}; there are {}", names.join(", ")));
        }
        if let Some(zone) = &chaos.lose_zone {
            let members = snapshot.members().filter(|(of, _)| of.settings.name == group);
            let zones: BTreeSet<&str> = members.filter_map(|(_, member)| member.zone.as_deref()).collect();
            if !zones.contains(zone.as_str()) {
                let zones: Vec<&str> = zones.into_iter().collect();
                let known = if zones.is_empty() {
                    "no target says its zone".to_owned()
                } else {
                    format!("there are {}", zones.join(", "))
                };
                return Err(format!("no target of {group} is in zone {zone}; {known}"));
            }
        }
        tracing::warn!(target_group = %group, "chaos: {chaos}");
        self.note(group.as_str(), "chaos", &chaos.to_string());
        self.handle.chaos.note(group.clone(), chaos.clone());
        self.reconcile(Event::Chaos { group, chaos });
        Ok(())
    }

    fn publish(&mut self, snapshot: Snapshot) {
        let (before, snapshot) = (self.handle.snapshot(), Arc::new(snapshot));
        self.prober.follow(&before, &snapshot);
        build_tables(&before, &snapshot);
        let generation = snapshot.generation;
        self.writer.publish(snapshot);
        self.publications.send_replace(generation);
    }

    fn note_readiness(&self) {
        if self.awaited.is_empty() && (!self.is_shared() || self.shared_text.is_some()) {
            self.handle.readiness.become_ready();
        }
    }

    fn tell(&self, transition: &Transition) {
        let change = match transition.change {
            Change::Health { from, to } => format!("{} → {to}", from.state()),
            Change::Anomaly { is_anomalous: true } => "anomalous".to_owned(),
            Change::Anomaly { is_anomalous: false } => "normal again".to_owned(),
            Change::Registered => "registered".to_owned(),
            Change::Removed => "removed".to_owned(),
        };
        let Transition { group, target, addr, cause, provenance, .. } = transition;
        tracing::info!(target_group = %group, target = target, addr = %addr, "{change}: {cause}");
        if let (Origin::Automatic(bind), Change::Health { to, .. }) = (&self.origin, transition.change)
            && to.is_healthy()
        {
            tracing::info!("route http://{group}.localhost:{} leads to {}", bind.port(), provenance.origin);
        }
        let kind = match transition.change {
            Change::Health { to, .. } => to.state(),
            Change::Anomaly { is_anomalous: true } => "anomalous",
            Change::Anomaly { is_anomalous: false } => "normal",
            Change::Registered => "registered",
            Change::Removed => "removed",
        };
        self.handle.telemetry.count(names::TRANSITIONS, &[("change", kind)]);
        self.handle.timeline.add(Entry {
            at: wall_time(),
            group: group.to_string(),
            // A target that is known by its address is named by it.
            subject: if *target == addr.to_string() { target.clone() } else { format!("{target} at {addr}") },
            change,
            cause: cause.clone(),
            provenance: provenance.to_string(),
        });
    }

    fn note(&self, subject: &str, change: &str, cause: &str) {
        self.handle.timeline.add(Entry {
            at: wall_time(),
            group: "-".to_owned(),
            subject: subject.to_owned(),
            change: change.to_owned(),
            cause: cause.to_owned(),
            provenance: String::new(),
        });
    }
}

/// Has tables that take long built by another thread. One that is outdated before its turn comes is not built.
fn build_tables(before: &Snapshot, after: &Snapshot) {
    let changed = after.changed_groups(before).filter_map(|(_, group)| group);
    let tables: Vec<_> = changed.flat_map(|group| group.unbuilt().map(Arc::downgrade)).collect();
    if !tables.is_empty() {
        tokio::task::spawn_blocking(move || {
            for table in tables.iter().filter_map(std::sync::Weak::upgrade) {
                table.build();
            }
        });
    }
}

#[allow(clippy::disallowed_methods, reason = "the timeline shows wall time")]
fn wall_time() -> std::time::SystemTime {
    std::time::SystemTime::now()
}
