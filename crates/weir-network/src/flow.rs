//! A flow, from the client's connection to its summary.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use tokio::io::AsyncWriteExt as _;
use weir_core::address::{ClientAddr, ListenAddr};
use weir_core::definition::{ListenerKind, TargetProtocol};
use weir_core::dispatcher::{Dispatcher, Speech};
use weir_core::flow_key::{FlowKey, Protocol};
use weir_core::logs::LogFormat;
use weir_core::snapshot::{Listener, ListenerIndex};
use weir_core::target::Target;
use weir_core::time::Timestamp;
use weir_net::accept::Accepted;
use weir_net::departures::{Awaiting, Departures};
use weir_net::dial::{DialError, acknowledge_at_once, dial_as, dial_saying};
use weir_net::first_word;
use weir_net::proxy_header;
use weir_net::relay::{Relay, RelaySummary};
use weir_net::stream::Stream;
use weir_net::worker::Worker;
use weir_telemetry::access_log::{LogBuffer, LogWriter};
use weir_telemetry::{ListenerShard, Telemetry};
use weir_tls::{Alpn, Handshake, Socket, TargetSide};

use crate::line;
use crate::placing::{FlowError, Placed};

/// A network or classic TCP listener in one worker.
#[derive(Debug)]
pub struct Flows {
    pub(crate) listener: ListenerIndex,
    pub(crate) worker: Worker,
    pub(crate) dispatcher: Rc<RefCell<Dispatcher>>,
    pub(crate) shard: Arc<ListenerShard>,
    /// How flows learn that those of their target are to end.
    pub(crate) flow_ends: Departures,
    /// How often a reload has made something else of the listener.
    pub(crate) listener_changes: Cell<u64>,
    tls: weir_tls::Listeners,
    target_side: TargetSide,
    /// Room for the next first word, unless a flow that waits for its target has it.
    word: RefCell<Vec<u8>>,
    log: Option<(LogBuffer, LogFormat)>,
}

/// What is known of a flow.
pub(crate) struct Flow<'a> {
    pub(crate) listener: &'a Listener,
    pub(crate) protocol: Protocol,
    pub(crate) client: ClientAddr,
    /// Which of this machine's addresses the client has connected to.
    pub(crate) local: ListenAddr,
    pub(crate) began: Timestamp,
    pub(crate) secured: Option<Box<Secured>>,
    /// The alert by which the client has ended the handshake.
    pub(crate) alert: Option<u8>,
    pub(crate) connected: Option<Timestamp>,
    pub(crate) ended: Timestamp,
    pub(crate) target: Option<&'a Target>,
    pub(crate) from_client_bytes: u64,
    pub(crate) from_target_bytes: u64,
    pub(crate) end: &'static str,
}

/// What is known of a flow whose client speaks TLS.
pub(crate) struct Secured {
    pub(crate) handshake: Handshake,
    /// When it was over.
    pub(crate) at: Timestamp,
    /// What the target has agreed to speak.
    pub(crate) target_alpn: Option<Alpn>,
}

/// A flow that has a target.
struct Open {
    client: Socket,
    target: Socket,
    placed: Placed,
}

impl<'a> Flow<'a> {
    /// A flow that has just begun.
    pub(crate) fn new(
        listener: &'a Listener,
        protocol: Protocol,
        client: ClientAddr,
        began: Timestamp,
    ) -> Self {
        Self {
            listener,
            protocol,
            client,
            local: listener.bind,
            began,
            secured: None,
            alert: None,
            connected: None,
            ended: began,
            target: None,
            from_client_bytes: 0,
            from_target_bytes: 0,
            end: "",
        }
    }
}

impl Flows {
    /// The flows of `listener` in one worker.
    pub fn new(
        listener: &Listener,
        worker: Worker,
        dispatcher: Rc<RefCell<Dispatcher>>,
        tls: weir_tls::Listeners,
        (telemetry, writer): (&Telemetry, &LogWriter),
    ) -> Self {
        Self {
            listener: listener.index,
            worker,
            dispatcher,
            shard: telemetry.listener_shard(listener),
            flow_ends: Departures::new(Awaiting::FlowsEnd),
            listener_changes: Cell::new(0),
            tls,
            target_side: TargetSide::new(),
            word: RefCell::default(),
            log: listener.logs.access.as_ref().map(|log| (writer.buffer(log.path.clone()), log.format)),
        }
    }

    /// Handshake, where clients speak TLS → flow key → lease → dial → relay both ways → summary. The lease is held as long as
    /// the flow lives.
    pub async fn serve(&self, accepted: Accepted) {
        let Accepted { stream, client, admission: _admission } = accepted;
        self.shard.connection_opened();
        self.shard.flow_began();
        let Some(listener) = self.dispatcher.borrow_mut().listener(self.listener) else {
            self.shard.flow_ended(FlowError::ListenerGone.reason(), 0, 0);
            return self.shard.connection_closed();
        };
        let mut flow = Flow::new(&listener, Protocol::Tcp, client, self.now());
        // In a box of its own: what opening needs is not held for as long as the flow lives, and the next flow finds it warm.
        let mut open = match Box::pin(self.open(stream, &mut flow)).await {
            Ok(open) => open,
            Err(error) => {
                tracing::debug!(client = %client, listener = %listener.bind, "flow not relayed: {error}");
                flow.end = error.reason();
                self.ended(flow);
                return self.shard.connection_closed();
            }
        };
        flow.connected = Some(self.now());
        let summary = self.relay(&mut open, &listener).await;
        let Open { client, target, placed } = open;
        drop((client, target));
        flow.target = Some(placed.lease.target());
        flow.end = summary.end.as_str();
        flow.from_client_bytes += summary.from_client_bytes;
        flow.from_target_bytes = summary.from_target_bytes;
        // The lease ends with the flow's line.
        self.ended(flow);
        self.shard.connection_closed();
    }

    /// The time, as lines tell it: without a log nobody has to look at the clock.
    fn now(&self) -> Timestamp {
        if self.log.is_some() { self.worker.clock.now() } else { Timestamp::default() }
    }

    /// A client's connection, and one to the target that takes the flow.
    async fn open(&self, stream: Stream, flow: &mut Flow<'_>) -> Result<Open, FlowError> {
        flow.local = local_addr(&stream, flow.listener);
        let mut client = self.shake_hands(stream, flow).await?;
        match self.connect(&mut client, flow).await {
            Ok((target, placed)) => Ok(Open { client, target, placed }),
            Err(error) => {
                // A reset tells the client at once; an orderly close could pass for an empty answer.
                let _ = client.tcp().set_zero_linger();
                Err(error)
            }
        }
    }

    /// The client, with TLS where the listener speaks it.
    async fn shake_hands(&self, stream: Stream, flow: &mut Flow<'_>) -> Result<Socket, FlowError> {
        if flow.listener.kind.tls().is_none() {
            return Ok(Socket::Plain(stream));
        }
        let side = self.tls.get(flow.listener.index).ok_or(FlowError::ListenerGone)?;
        // In a box of its own: what a handshake needs is not held for as long as the flow lives.
        match Box::pin(side.accept(stream)).await {
            Ok((stream, handshake)) => {
                flow.secured = Some(Box::new(Secured { handshake, at: self.now(), target_alpn: None }));
                Ok(Socket::Client(Box::new(stream)))
            }
            Err(error) => {
                self.shard.handshake_failed(error.reason());
                flow.alert = error.alert();
                Err(FlowError::HandshakeFailed(error))
            }
        }
    }

    /// Leases a target and connects to it; to another when that fails.
    async fn connect(&self, client: &mut Socket, flow: &mut Flow<'_>) -> Result<(Socket, Placed), FlowError> {
        let key = FlowKey { protocol: Protocol::Tcp, client: flow.client, listener: flow.local };
        let mut placing = self.place(flow.listener, &key)?;
        let speech = self.dispatcher.borrow_mut().speech(placing.group());
        let (speech, _) = speech.ok_or(FlowError::NoTarget)?;
        let mut word = self.word.take();
        let said_bytes = say_first(&mut word, client, &speech, flow)?;
        loop {
            let lease = placing.lease(async || abandoned(client.tcp(), said_bytes > 0).await).await?;
            let addr = lease.target().addr;
            let began = speech.notes_latency.then(|| self.worker.clock.now());
            let dialled = if speech.preserves_client_ip {
                Box::pin(dial_as(flow.client, addr, &word, &self.worker.reactor)).await
            } else {
                dial_saying(addr, &word, &self.worker.reactor).await
            };
            let connected = match dialled {
                Ok((stream, sent)) => self.prepare_target(stream, word.split_at(sent), &speech, flow).await,
                Err(error) => Err(FlowError::DialFailed(error)),
            };
            if let Some(began) = began {
                let now = self.worker.clock.now();
                let (target, has_failed) = (lease.target(), connected.is_err());
                target.latency.note(now.since(began), target.tally.in_flight(), has_failed, now);
            }
            match connected {
                Ok(target) => {
                    lease.target().tally.note_success();
                    flow.from_client_bytes = said_bytes;
                    word.clear();
                    self.word.replace(word);
                    return Ok((target, placing.placed(lease)));
                }
                Err(error) => placing.failed(&lease, error)?,
            }
        }
    }

    /// A target's connection, on which it has the rest of the first word, too, and with TLS, where its group wants that. It is
    /// asked for the host that the client has asked for, and to speak what the client speaks.
    async fn prepare_target(
        &self,
        mut stream: Stream,
        (sent, rest): (&[u8], &[u8]),
        speech: &Speech,
        flow: &mut Flow<'_>,
    ) -> Result<Socket, FlowError> {
        let written = stream.write_all(rest).await;
        written.map_err(|error| FlowError::DialFailed(DialError::Failed(error)))?;
        if !(sent.is_empty() && rest.is_empty()) {
            acknowledge_at_once(&stream);
        }
        if speech.protocol != TargetProtocol::Tls {
            return Ok(Socket::Plain(stream));
        }
        let handshake = flow.secured.as_ref().map(|secured| &secured.handshake);
        let name = handshake.and_then(|handshake| handshake.server_name.as_deref());
        let name = name.filter(|_| speech.tls.asks_for_host);
        let alpn: Vec<Alpn> = handshake.and_then(|handshake| handshake.alpn.clone()).into_iter().collect();
        let keys = speech.tls.public_keys.as_deref();
        match Box::pin(self.target_side.connect_to_holder(stream, name, &alpn, keys)).await {
            Ok((stream, alpn)) => {
                if let Some(secured) = &mut flow.secured {
                    secured.target_alpn = alpn;
                }
                Ok(Socket::Target(Box::new(stream)))
            }
            Err(error) => Err(FlowError::TargetHandshakeFailed(error)),
        }
    }

    async fn relay(&self, open: &mut Open, listener: &Listener) -> RelaySummary {
        let Worker { buffers, pipes, idle, .. } = &self.worker;
        let (idle_timeout, cut) = (listener.idle_timeout, self.called_off(&open.placed));
        match (&mut open.client, &mut open.target) {
            // Without TLS on either side bytes need not be looked at.
            (Socket::Plain(client), Socket::Plain(target)) => {
                Relay { client, target, buffers, pipes, idle, idle_timeout }.run(cut).await
            }
            (client, target) => {
                Box::pin(Relay { client, target, buffers, pipes, idle, idle_timeout }.run(cut)).await
            }
        }
    }

    /// Counts and logs a flow that has ended.
    pub(crate) fn ended(&self, mut flow: Flow<'_>) {
        flow.ended = self.now();
        let flow = &flow;
        self.shard.flow_ended(flow.end, flow.from_client_bytes, flow.from_target_bytes);
        if let Some((log, format)) = &self.log {
            log.line(|line| match (format, &flow.listener.kind) {
                (LogFormat::Json, _) => line::json(flow, line),
                (LogFormat::Elb, ListenerKind::Classic(_)) => line::classic(flow, line),
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

/// Makes `word` what a target hears at once: the header that tells it of the client, and what the client has said already; how many
/// bytes of it are the client's. Where one of the two speaks TLS, the client's bytes come later.
fn say_first(
    word: &mut Vec<u8>,
    client: &mut Socket,
    speech: &Speech,
    flow: &Flow<'_>,
) -> Result<u64, FlowError> {
    if let Some(version) = speech.proxy_protocol {
        word.extend_from_slice(&proxy_header::of_client(version, flow.client, flow.local.0));
    }
    let said_bytes = match client {
        Socket::Plain(client) if speech.protocol != TargetProtocol::Tls => {
            first_word::take(client, word).map_err(|_| FlowError::ClientLeft)?
        }
        Socket::Plain(_) | Socket::Client(_) | Socket::Target(_) => 0,
    };
    Ok(said_bytes as u64)
}

/// Completes when the client has gone: reset, or closed without having sent anything. One that has sent something and
/// then closed its side may well wait for the answer.
async fn abandoned(client: &mut Stream, has_spoken: bool) {
    if has_spoken || matches!(client.peek(&mut [0]).await, Ok(1..)) {
        // Only an error ends the readiness to hear of one.
        client.failed().await;
    }
}

/// The address that the client connected to: a listener on all addresses has as many.
fn local_addr(client: &Stream, listener: &Listener) -> ListenAddr {
    if listener.bind.ip().is_unspecified() {
        client.local_addr().map_or(listener.bind, ListenAddr)
    } else {
        listener.bind
    }
}
