//! A flow, from the client's connection to its summary.

use std::cell::RefCell;
use std::future::pending;
use std::rc::Rc;
use std::sync::Arc;

use tokio::io::Interest;
use tokio::net::TcpStream;
use weir_core::address::{ClientAddr, ListenAddr};
use weir_core::definition::ListenerKind;
use weir_core::dispatcher::Dispatcher;
use weir_core::flow_key::{FlowKey, Protocol};
use weir_core::lease::Lease;
use weir_core::logs::LogFormat;
use weir_core::snapshot::{Listener, ListenerIndex};
use weir_core::target::Target;
use weir_core::time::Timestamp;
use weir_net::accept::Accepted;
use weir_net::dial::dial;
use weir_net::relay::{Relay, RelaySummary};
use weir_net::worker::Worker;
use weir_telemetry::access_log::{LogBuffer, LogWriter};
use weir_telemetry::{ListenerShard, Telemetry};

use crate::line;
use crate::placing::FlowError;

/// A network or classic TCP listener in one worker.
#[derive(Debug)]
pub struct Flows {
    pub(crate) listener: ListenerIndex,
    pub(crate) worker: Worker,
    pub(crate) dispatcher: Rc<RefCell<Dispatcher>>,
    pub(crate) shard: Arc<ListenerShard>,
    log: Option<(LogBuffer, LogFormat)>,
}

/// What is known of a flow when it has ended.
pub(crate) struct Flow<'a> {
    pub(crate) listener: &'a Listener,
    pub(crate) protocol: Protocol,
    pub(crate) client: ClientAddr,
    pub(crate) began: Timestamp,
    pub(crate) connected: Option<Timestamp>,
    pub(crate) ended: Timestamp,
    pub(crate) target: Option<&'a Target>,
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
                self.ended(&Flow {
                    listener: &listener,
                    protocol: Protocol::Tcp,
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
                tracing::debug!(client = %client_addr, listener = %listener.bind, "flow not relayed: {error}");
                self.ended(&Flow {
                    listener: &listener,
                    protocol: Protocol::Tcp,
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
        let mut placing = self.place(listener, key)?;
        loop {
            let lease = placing.lease(abandoned(client)).await?;
            match dial(lease.target().addr).await {
                Ok(stream) => return Ok((stream, lease)),
                Err(error) => placing.failed(&lease, error)?,
            }
        }
    }

    async fn relay(
        &self,
        client: TcpStream,
        target: TcpStream,
        lease: &Lease,
        listener: &Listener,
    ) -> RelaySummary {
        let Worker { buffers, clock, .. } = &self.worker;
        let relay = Relay { client, target, buffers, clock: *clock, idle_timeout: listener.idle_timeout };
        relay.run(self.departed(lease)).await
    }

    /// Completes when the target has left for good, if its group terminates connections: else flows may outlive the
    /// deregistration delay.
    pub(crate) async fn departed(&self, lease: &Lease) {
        let target = lease.target();
        self.worker.departures.of(target).happened().await;
        let snapshot = self.dispatcher.borrow_mut().snapshot();
        let group = snapshot.groups().find(|group| group.settings.name == target.group);
        if group.is_some_and(|group| !group.settings.connection_termination) {
            pending::<()>().await;
        }
    }

    /// Counts and logs a flow that has ended.
    pub(crate) fn ended(&self, flow: &Flow<'_>) {
        self.shard.flow_ended(flow.end, flow.from_client_bytes, flow.from_target_bytes);
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
