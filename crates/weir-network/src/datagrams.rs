//! A flow of datagrams, from a client's first one to its summary.
//!
//! A client's datagrams come to a socket that it shares with all others; each flow has a socket of its own toward its target,
//! so that answers need no looking up. Nothing here waits for a client or a target that does not keep up: what has no room
//! is dropped, and counted.

mod passing;

use std::cell::RefCell;
use std::future::pending;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use ahash::HashMap;
use tokio::net::UdpSocket;
use tokio::task::{spawn_local, yield_now};
use weir_core::address::ListenAddr;
use weir_core::definition::ListenerKind;
use weir_core::flow_key::{FlowKey, Protocol};
use weir_core::quic::ServerId;
use weir_core::snapshot::Listener;
use weir_core::target::{Target, TargetSerial};
use weir_net::accept::Admission;
use weir_net::datagrams::{Batch, DatagramSocket, Received, dial, dial_as};
use weir_net::dial::DialError;
use weir_net::drain::{Aside, Drain};

use self::passing::{Datagrams, Passed, Peer};
use crate::flow::{Flow, Flows};
use crate::placing::{FlowError, Placed};

/// When its listener is being closed, a flow that is silent for this long has ended.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// The flows of one listener in one worker, and the socket that their clients send to.
#[derive(Debug)]
struct Table {
    socket: DatagramSocket,
    addr: ListenAddr,
    /// Whether datagrams may name the server that they are for.
    has_quic: bool,
    flows: RefCell<HashMap<Peer, Rc<Datagrams>>>,
    /// Room for the answers of one flow at a time.
    answers: RefCell<Batch>,
    /// Begins when the listener is to be closed.
    closing: Drain,
}

impl Flows {
    /// Receives datagrams until `closing` begins. Each belongs to a flow that is there, or begins one.
    pub async fn receive(self: Rc<Self>, socket: DatagramSocket, addr: ListenAddr, closing: Drain) {
        let listener = self.dispatcher.borrow_mut().listener(self.listener);
        let has_quic = listener.is_some_and(|listener| {
            matches!(&listener.kind, ListenerKind::Network(network) if network.protocol.has_quic())
        });
        let table = Rc::new(Table {
            socket,
            addr,
            has_quic,
            flows: RefCell::default(),
            answers: RefCell::default(),
            closing,
        });
        let mut batch = Batch::default();
        loop {
            let received = tokio::select! {
                biased;
                () = table.closing.begun() => return,
                received = table.socket.receive(&mut batch) => received,
            };
            match received {
                Ok(()) => batch.received().for_each(|received| self.take(&table, received)),
                Err(error) => tracing::debug!(listener = %addr, "receiving datagrams: {error}"),
            }
            // Others have a turn even when datagrams never end.
            yield_now().await;
        }
    }

    /// Passes datagrams of one client on.
    fn take(self: &Rc<Self>, table: &Rc<Table>, received: Received<'_>) {
        let peer = Peer { client: received.client, local: received.local, beside: None };
        for datagram in received.datagrams() {
            let named = if table.has_quic { ServerId::of(datagram) } else { None };
            let (peer, known) = self.find(table, peer, named);
            let passed = match known {
                Some(flow) => match flow.pass_on(datagram) {
                    Passed::Refused => self.begin(table, (peer, named), Some(&flow), datagram),
                    passed => passed,
                },
                None => self.begin(table, (peer, named), None, datagram),
            };
            if let Passed::Dropped(reason) = passed {
                self.shard.datagram_dropped(reason);
            }
        }
    }

    /// The flow that a datagram belongs to, and whose flows that is. A client's datagrams are one flow, unless they name another
    /// server than that has: then they are of another connection, which has a flow of its own beside it.
    fn find(&self, table: &Table, peer: Peer, named: Option<ServerId>) -> (Peer, Option<Rc<Datagrams>>) {
        let flows = table.flows.borrow();
        let first = flows.get(&peer);
        let Some(id) = named else { return (peer, first.cloned()) };
        let beside = Peer { beside: Some(id), ..peer };
        let is_of_another = match first {
            Some(first) => {
                first.server.get().is_some_and(|server| server != id)
                    && self.dispatcher.borrow_mut().has_server(self.listener, id)
            }
            // The other connection has ended before this one.
            None => flows.contains_key(&beside),
        };
        let peer = if is_of_another { beside } else { peer };
        (peer, flows.get(&peer).cloned())
    }

    /// Begins a flow with its first datagram, in place of one whose target refuses it.
    fn begin(
        self: &Rc<Self>,
        table: &Rc<Table>,
        (peer, named): (Peer, Option<ServerId>),
        refused: Option<&Datagrams>,
        datagram: &[u8],
    ) -> Passed {
        let Some(admission) = self.worker.limit.admit() else { return Passed::Dropped("limit") };
        let flow = Rc::new(Datagrams::new(peer, named, self.worker.clock));
        table.flows.borrow_mut().insert(peer, flow.clone());
        let avoided = refused.and_then(|flow| flow.target.get()).map(|(_, target)| target.serial);
        if let Some(flow) = refused {
            flow.replaced.notify_one();
        }
        let passed = flow.pass_on(datagram);
        let running = self.worker.tasks.begin();
        let (flows, table) = (self.clone(), table.clone());
        spawn_local(async move {
            flows.converse(&table, &flow, avoided, admission).await;
            drop(running);
        });
        passed
    }

    /// Flow key → lease → dial → answers → summary. The lease is held as long as the flow lives.
    async fn converse(
        self: &Rc<Self>,
        table: &Rc<Table>,
        flow: &Rc<Datagrams>,
        avoided: Option<TargetSerial>,
        _admission: Admission,
    ) {
        self.shard.flow_began();
        let listener = self.dispatcher.borrow_mut().listener(self.listener);
        let connected = match &listener {
            Some(listener) => self.connect_datagrams(listener, table, flow, avoided).await,
            None => Err(FlowError::ListenerGone),
        };
        let (placed, connected, end) = match (connected, &listener) {
            (Ok((socket, placed)), Some(listener)) => {
                let connected = self.worker.clock.now();
                flow.open(socket, placed.lease.target(), |reason| self.shard.datagram_dropped(reason));
                let answers = Aside::begin(self.clone().pass_answers(table.clone(), flow.clone()));
                let end = self.last(table, flow, &placed, listener, answers).await;
                (Some(placed), Some(connected), end)
            }
            (Err(error), _) => {
                tracing::debug!(client = %flow.peer.client, listener = %table.addr, "flow not relayed: {error}");
                (None, None, error.reason())
            }
            (Ok(_), None) => (None, None, FlowError::ListenerGone.reason()),
        };
        table.forget(flow);
        if let Some(listener) = &listener {
            self.ended(Flow {
                connected,
                target: placed.as_ref().map(|placed| &**placed.lease.target()),
                from_client_bytes: flow.from_client_bytes.get(),
                from_target_bytes: flow.from_target_bytes.get(),
                end,
                ..Flow::new(listener, Protocol::Udp, flow.peer.client, flow.began)
            });
        }
    }

    /// Leases a target, and makes a socket for it.
    async fn connect_datagrams(
        &self,
        listener: &Listener,
        table: &Table,
        flow: &Datagrams,
        avoided: Option<TargetSerial>,
    ) -> Result<(UdpSocket, Placed), FlowError> {
        let Peer { client, local, .. } = flow.peer;
        let local = ListenAddr((local, table.addr.port()).into());
        let mut placing =
            self.place(listener, &FlowKey { protocol: Protocol::Udp, client, listener: local })?;
        if let Some(target) = avoided {
            placing.avoid(target);
        }
        let mut named =
            flow.named.filter(|_| avoided.is_none()).and_then(|id| placing.lease_server(listener, id));
        loop {
            let lease = match named.take() {
                Some(lease) => lease,
                // A client of UDP never says that it has left.
                None => placing.lease(pending()).await?,
            };
            let speech = self.dispatcher.borrow_mut().speech(placing.group());
            let (speech, _) = speech.ok_or(FlowError::NoTarget)?;
            let addr = lease.target().addr;
            let dialled =
                if speech.preserves_client_ip { dial_as(client, addr).await } else { dial(addr).await };
            match dialled {
                Ok(socket) => {
                    if table.has_quic {
                        flow.server.set(placing.server(lease.target()));
                    }
                    return Ok((socket, placing.placed(lease)));
                }
                Err(error) => placing.failed(&lease, FlowError::DialFailed(DialError::Failed(error)))?,
            }
        }
    }

    /// Passes answers on until the target fails. In a task of its own: what else may end the flow need not be looked at with
    /// every answer.
    async fn pass_answers(self: Rc<Self>, table: Rc<Table>, flow: Rc<Datagrams>) {
        let Some((socket, target)) = flow.target.get() else { return };
        while socket.readable().await.is_ok() {
            if self.pass_some(&table, &flow, socket, target) {
                // Others have a turn even when answers never end.
                yield_now().await;
            }
        }
    }

    /// Passes on what has come, as far as it is received at a time; whether there may be more.
    fn pass_some(&self, table: &Table, flow: &Datagrams, socket: &UdpSocket, target: &Target) -> bool {
        let mut batch = table.answers.borrow_mut();
        match table.socket.try_receive_answers(socket, &mut batch) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return false,
            // The kernel says so once for each datagram that nobody took.
            Err(_) => {
                target.tally.count_failed();
                flow.is_refused.set(true);
                return true;
            }
        }
        flow.activity.touch();
        let Peer { client, local, .. } = flow.peer;
        for answer in batch.received().flat_map(|received| received.datagrams()) {
            flow.from_target_bytes.set(flow.from_target_bytes.get() + answer.len() as u64);
            if table.socket.try_send(client, local, answer).is_err() {
                self.shard.datagram_dropped("client_busy");
            }
        }
        batch.is_full_of_answers()
    }

    /// Waits until the flow ends; why it has.
    async fn last(
        &self,
        table: &Table,
        flow: &Datagrams,
        placed: &Placed,
        listener: &Listener,
        mut answers: Aside,
    ) -> &'static str {
        let idle_timeout = match &listener.kind {
            ListenerKind::Network(network) => network.udp_idle_timeout,
            _ => listener.idle_timeout,
        };
        tokio::select! {
            biased;
            () = answers.ended() => "target_failed",
            () = flow.replaced.notified() => "target_failed",
            () = flow.activity.idle_for(idle_timeout) => "idle",
            () = self.called_off(placed) => "cut",
            () = async { table.closing.begun().await; flow.activity.idle_for(LAST_ANSWERS).await } => "closed",
        }
    }
}

impl Table {
    /// Takes a flow out, unless another has its place.
    fn forget(&self, flow: &Rc<Datagrams>) {
        let mut flows = self.flows.borrow_mut();
        if flows.get(&flow.peer).is_some_and(|known| Rc::ptr_eq(known, flow)) {
            flows.remove(&flow.peer);
        }
    }
}
