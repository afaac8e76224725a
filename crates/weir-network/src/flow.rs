//! A flow, from the client's connection to its summary.

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;

use tokio::io::Interest;
use tokio::net::TcpStream;
use weir_core::address::{ClientAddr, ListenAddr};
use weir_core::balance::PickContext;
use weir_core::decide::Outcome;
use weir_core::definition::ListenerKind;
use weir_core::dispatcher::Dispatcher;
use weir_core::flow_key::{FlowKey, Protocol};
use weir_core::lease::Lease;
use weir_core::logs::LogFormat;
use weir_core::snapshot::{GroupIndex, Listener, ListenerIndex, Unavailable};
use weir_core::target::TargetSerial;
use weir_core::time::Timestamp;
use weir_net::accept::Accepted;
use weir_net::dial::{DialError, dial};
use weir_net::relay::{Relay, RelaySummary};
use weir_net::waiting_room::{NEWS_WAIT, WaitError};
use weir_net::worker::Worker;
use weir_telemetry::access_log::{LogBuffer, LogWriter};
use weir_telemetry::{ListenerShard, Telemetry};

use crate::line;

/// Targets that one flow may be tried on: nothing has been sent yet, so another is as good as the first.
const ATTEMPTS_MAX: usize = 4;

/// Why a flow was not relayed. Named for the step that failed.
#[derive(Debug, thiserror::Error)]
pub enum FlowError {
    /// The client went away while it waited for a target.
    #[error("the client left while it waited for a target")]
    ClientLeft,
    /// No connection to any target that was tried.
    #[error("no connection to a target")]
    DialFailed(#[source] DialError),
    /// The group waited for a target longer than it may.
    #[error("no target within the hold time")]
    HoldExpired,
    /// Too many requests and flows waited for a target already.
    #[error("too many wait for a target already")]
    HoldQueueFull,
    /// The listener was taken away by a reload.
    #[error("the listener is gone")]
    ListenerGone,
    /// The group has no target that may be picked.
    #[error("no target may be picked")]
    NoTarget,
}

impl FlowError {
    /// The name in logs and metric labels.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::ClientLeft => "client_left",
            Self::DialFailed(_) => "dial_failed",
            Self::HoldExpired => "hold_expired",
            Self::HoldQueueFull => "hold_queue_full",
            Self::ListenerGone => "listener_gone",
            Self::NoTarget => "no_target",
        }
    }
}

/// A network or classic TCP listener in one worker.
#[derive(Debug)]
pub struct Flows {
    listener: ListenerIndex,
    worker: Worker,
    dispatcher: Rc<RefCell<Dispatcher>>,
    shard: Arc<ListenerShard>,
    log: Option<(LogBuffer, LogFormat)>,
}

/// What has been tried for a flow that has no target yet.
#[derive(Debug, Default)]
struct Tries {
    failed: Vec<TargetSerial>,
    error: Option<DialError>,
    /// However often it has to wait, the flow is held no longer than this.
    held_until: Option<Timestamp>,
}

/// What is known of a flow when it has ended.
pub(crate) struct Flow<'a> {
    pub(crate) listener: &'a Listener,
    pub(crate) client: ClientAddr,
    pub(crate) began: Timestamp,
    pub(crate) connected: Option<Timestamp>,
    pub(crate) ended: Timestamp,
    pub(crate) target: Option<&'a weir_core::target::Target>,
    pub(crate) from_client_bytes: u64,
    pub(crate) from_target_bytes: u64,
    pub(crate) end: &'static str,
}

impl Flows {
    /// The flows of `listener` in one worker.
    pub fn new(
        listener: &Listener,
        worker: Worker,
        dispatcher: Rc<RefCell<Dispatcher>>,
        telemetry: &Telemetry,
        writer: &LogWriter,
    ) -> Self {
        Self {
            listener: listener.index,
            worker,
            dispatcher,
            shard: telemetry.listener_shard(listener),
            log: listener.logs.access.as_ref().map(|log| (writer.buffer(log.path.clone()), log.format)),
        }
    }

    /// Flow key → lease → dial → relay both ways → summary. The lease is held as long as the flow lives.
    pub async fn serve(&self, accepted: Accepted) {
        let Accepted { stream: client, client: client_addr, admission: _admission } = accepted;
        self.shard.connection_opened();
        self.shard.flow_began();
        let began = self.worker.clock.now();
        let listener = self.dispatcher.borrow_mut().listener(self.listener);
        let connected = match &listener {
            Some(listener) => {
                let local = local_addr(&client, listener);
                let key = FlowKey { protocol: Protocol::Tcp, client: client_addr, listener: local }.hash();
                self.connect(listener, &client, key).await
            }
            None => Err(FlowError::ListenerGone),
        };
        match (connected, listener) {
            (Ok((target, lease)), Some(listener)) => {
                let connected = self.worker.clock.now();
                let summary = self.relay(client, target, &lease, &listener).await;
                self.shard.flow_ended(
                    summary.end.as_str(),
                    summary.from_client_bytes,
                    summary.from_target_bytes,
                );
                self.log(&Flow {
                    listener: &listener,
                    client: client_addr,
                    began,
                    connected: Some(connected),
                    ended: self.worker.clock.now(),
                    target: Some(lease.target()),
                    from_client_bytes: summary.from_client_bytes,
                    from_target_bytes: summary.from_target_bytes,
                    end: summary.end.as_str(),
                });
            }
            (Err(error), Some(listener)) => {
                // A reset tells the client at once; an orderly close could pass for an empty answer.
                let _ = client.set_zero_linger();
                self.shard.flow_ended(error.reason(), 0, 0);
                tracing::debug!(client = %client_addr, listener = %listener.bind, "flow not relayed: {error}");
                self.log(&Flow {
                    listener: &listener,
                    client: client_addr,
                    began,
                    connected: None,
                    ended: self.worker.clock.now(),
                    target: None,
                    from_client_bytes: 0,
                    from_target_bytes: 0,
                    end: error.reason(),
                });
            }
            (_, None) => self.shard.flow_ended(FlowError::ListenerGone.reason(), 0, 0),
        }
        self.shard.connection_closed();
    }

    /// Leases a target and dials it; another when that fails.
    async fn connect(
        &self,
        listener: &Listener,
        client: &TcpStream,
        key: u64,
    ) -> Result<(TcpStream, Lease), FlowError> {
        let (ListenerKind::NetworkTcp { group } | ListenerKind::ClassicTcp { group }) = &listener.kind else {
            return Err(FlowError::ListenerGone);
        };
        let mut tries = Tries::default();
        loop {
            let lease = match self.lease(*group, key, client, &mut tries).await {
                Ok(lease) => lease,
                // What went wrong first says more than that nothing else was left.
                Err(error) => return Err(tries.error.map_or(error, FlowError::DialFailed)),
            };
            match dial(lease.target().addr).await {
                Ok(stream) => return Ok((stream, lease)),
                Err(error) => {
                    lease.target().tally.count_failed();
                    tries.failed.push(lease.target().serial);
                    if tries.failed.len() == ATTEMPTS_MAX {
                        return Err(FlowError::DialFailed(error));
                    }
                    tries.error = Some(error);
                    self.shard.retried();
                }
            }
        }
    }

    /// A lease on the target that the flow's key leads to, on another where that has failed; while the group holds,
    /// waits for one, and then takes whatever is registered. A client that leaves meanwhile ends the wait.
    async fn lease(
        &self,
        group: GroupIndex,
        key: u64,
        client: &TcpStream,
        tries: &mut Tries,
    ) -> Result<Lease, FlowError> {
        let mut news = self.worker.publications.from_now();
        let pick = || {
            let context =
                PickContext { key, now: self.worker.clock.now(), avoid: &tries.failed, pinned: None };
            self.dispatcher.borrow_mut().forward(group, &context)
        };
        let mut outcome = pick();
        if let Outcome::Forward { lease, .. } = &outcome
            && tries.failed.contains(&lease.target().serial)
        {
            drop(outcome);
            news.next_within(NEWS_WAIT).await;
            outcome = pick();
        }
        let limit = match outcome {
            Outcome::Forward { lease, .. } => return Ok(lease),
            Outcome::Unavailable { why: Unavailable::Hold(limit), .. } => limit,
            _ => return Err(FlowError::NoTarget),
        };
        let _hold = self.shard.hold();
        let ask = || match pick() {
            Outcome::Forward { lease, .. } => ControlFlow::Break(Ok(lease)),
            Outcome::Unavailable { why: Unavailable::Hold(_), .. } => ControlFlow::Continue(()),
            _ => ControlFlow::Break(Err(FlowError::NoTarget)),
        };
        let now = self.worker.clock.now();
        let held_until = *tries.held_until.get_or_insert(now.after(limit));
        let waited = tokio::select! {
            waited = self.worker.waiting_room.wait(group, held_until.since(now), ask) => waited,
            () = abandoned(client) => return Err(FlowError::ClientLeft),
        };
        waited.unwrap_or_else(|why| match why {
            WaitError::Full => Err(FlowError::HoldQueueFull),
            WaitError::TimeUp => {
                let unproven = self.dispatcher.borrow_mut().lease_unproven(group, &tries.failed);
                unproven.ok_or(FlowError::HoldExpired)
            }
        })
    }

    async fn relay(
        &self,
        client: TcpStream,
        target: TcpStream,
        lease: &Lease,
        listener: &Listener,
    ) -> RelaySummary {
        let departure = self.worker.departures.of(lease.target());
        let cut = async {
            departure.happened().await;
            // AWS: flows may outlive the deregistration delay, unless the group terminates connections.
            if !self.terminates_connections(listener) {
                std::future::pending::<()>().await;
            }
        };
        let Worker { buffers, pipes, clock, .. } = &self.worker;
        let idle_timeout = listener.idle_timeout;
        Relay { client, target, buffers, pipes, clock: *clock, idle_timeout }.run(cut).await
    }

    fn terminates_connections(&self, listener: &Listener) -> bool {
        let snapshot = self.dispatcher.borrow_mut().snapshot();
        let group = listener.kind.groups().first().and_then(|group| snapshot.group(**group));
        group.is_none_or(|group| group.settings.connection_termination)
    }

    fn log(&self, flow: &Flow<'_>) {
        if let Some((log, format)) = &self.log {
            log.line(|line| match (format, &flow.listener.kind) {
                (LogFormat::Json, _) => line::json(flow, line),
                (LogFormat::Elb, ListenerKind::ClassicTcp { .. }) => line::classic(flow, line),
                (LogFormat::Elb, _) => line::network(flow, line),
            });
        }
    }

    /// Hands over the log lines that have gathered.
    pub fn flush(&self) {
        if let Some((log, _)) = &self.log {
            log.flush();
        }
    }
}

/// Completes when the client has gone: reset, or closed without having sent anything. One that has sent something and
/// then closed its side may well wait for the answer.
async fn abandoned(client: &TcpStream) {
    if let Ok(1..) = client.peek(&mut [0]).await {
        // Only an error ends the readiness to hear of one.
        let _ = client.ready(Interest::ERROR).await;
    }
}

/// The address that the client connected to: a listener on all addresses has as many.
fn local_addr(client: &TcpStream, listener: &Listener) -> ListenAddr {
    if listener.bind.ip().is_unspecified() {
        client.local_addr().map_or(listener.bind, ListenAddr)
    } else {
        listener.bind
    }
}
