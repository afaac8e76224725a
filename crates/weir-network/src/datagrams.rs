//! A flow of datagrams, from a client's first one to its summary.
//!
//! A client's datagrams come to a socket that it shares with all others; each flow has a socket of its own toward its target,
//! so that answers need no looking up. Nothing here waits for a client or a target that does not keep up: what has no room
//! is dropped, and counted.

mod activity;
mod passing;

use std::cell::RefCell;
use std::fmt;
use std::future::pending;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use ahash::HashSet;
use slab::Slab;
use tokio::task::{spawn_local, yield_now};
use tokio::time::sleep;
use weir_core::address::ListenAddr;
use weir_core::definition::ListenerKind;
use weir_core::flow_key::{FlowKey, Protocol};
use weir_core::quic::ServerId;
use weir_core::snapshot::Listener;
use weir_core::target::TargetSerial;
use weir_core::time::Timestamp;
use weir_net::accept::Admission;
use weir_net::datagrams::{
    Answering, Batch, DATAGRAM_BYTES_MAX, DatagramSocket, Received, TargetSocket, dial, dial_as,
};
use weir_net::dial::DialError;
use weir_net::drain::{Aside, Drain, Tasks};

use self::passing::{ByPeer, Datagrams, Passed, Peer, Toward};
use crate::flow::{Flow, Flows};
use crate::placing::{FlowError, Placed};

/// When its listener is being closed, a flow that is silent for this long has ended, unless an answer is still to come.
const LAST_ANSWERS: Duration = Duration::from_secs(1);

/// The flows of one listener in one worker, and the socket that their clients send to.
#[derive(Debug)]
struct Table {
    socket: DatagramSocket,
    addr: ListenAddr,
    /// Whether datagrams may name the server that they are for.
    has_quic: bool,
    flows: RefCell<HashSet<ByPeer>>,
    /// Those that have a target, by the numbers of their sockets.
    open: RefCell<Slab<Rc<Datagrams>>>,
    /// One for each flow.
    running: Tasks,
    /// Begins when the listener is to be closed.
    closing: Drain,
    is_shared: Shared,
}

/// Whether another process reads the socket.
struct Shared(Box<dyn Fn() -> bool>);

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (self.0)().fmt(f)
    }
}

impl Flows {
    /// Receives datagrams until `closing` begins. Each belongs to a flow that is there, or begins one. Completes when all flows
    /// have ended.
    ///
    /// When the socket `is_shared` with another process by then, flows that have had fewer answers than they have asked may get
    /// more until they are idle; else nobody reads it any more, and it is to be closed soon.
    pub async fn receive(
        self: Rc<Self>,
        socket: DatagramSocket,
        addr: ListenAddr,
        closing: Drain,
        is_shared: impl Fn() -> bool + 'static,
    ) {
        let listener = self.dispatcher.borrow_mut().listener(self.listener);
        let has_quic = listener.is_some_and(|listener| {
            matches!(&listener.kind, ListenerKind::Network(network) if network.protocol.has_quic())
        });
        let table = Rc::new(Table {
            socket,
            addr,
            has_quic,
            flows: RefCell::default(),
            open: RefCell::default(),
            running: Tasks::default(),
            closing,
            is_shared: Shared(Box::new(is_shared)),
        });
        let _answers = Aside::begin(self.clone().pass_answers(table.clone()));
        let mut batch = Batch::default();
        let mut closing = pin!(table.closing.begun());
        loop {
            let received = tokio::select! {
                biased;
                () = &mut closing => {
                    // Where nobody else reads it either, what has come before is still served.
                    while table.socket.hears_nobody() && table.socket.receive_now(&mut batch).is_ok() {
                        let now = self.worker.clock.now();
                        batch.take(|received| self.take(&table, received, now));
                    }
                    return table.running.all_ended().await;
                }
                received = table.socket.receive(&mut batch) => received,
            };
            match received {
                Ok(()) => {
                    let now = self.worker.clock.now();
                    batch.take(|received| self.take(&table, received, now));
                }
                Err(error) => tracing::debug!(listener = %addr, "receiving datagrams: {error}"),
            }
            // Others have a turn even when datagrams never end.
            yield_now().await;
        }
    }

    /// Passes datagrams of one client on, which have come `now`.
    fn take(self: &Rc<Self>, table: &Rc<Table>, received: Received<'_>, now: Timestamp) {
        let peer = Peer { client: received.client, local: received.local, beside: None };
        if self.pass_together(table, peer, received, now) {
            return;
        }
        for datagram in received.datagrams() {
            let named = table.named(datagram);
            let (peer, known) = self.find(table, peer, named);
            let passed = match known {
                Some(flow) => match flow.pass_on(datagram, now) {
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

    /// Passes datagrams of one flow on, many at a time; whether that could be done.
    fn pass_together(&self, table: &Table, peer: Peer, received: Received<'_>, now: Timestamp) -> bool {
        let mut datagrams = received.datagrams();
        let named = datagrams.next().and_then(|datagram| table.named(datagram));
        let mut further = datagrams.peekable();
        if further.peek().is_none() || further.any(|datagram| table.named(datagram) != named) {
            return false;
        }
        let (_, known) = self.find(table, peer, named);
        known.is_some_and(|flow| flow.pass_all_on(&table.socket, received, now))
    }

    /// The flow that a datagram belongs to, and whose flows that is. A client's datagrams are one flow, unless they name another
    /// server than that has: then they are of another connection, which has a flow of its own beside it.
    fn find(&self, table: &Table, peer: Peer, named: Option<ServerId>) -> (Peer, Option<Rc<Datagrams>>) {
        let flows = table.flows.borrow();
        let first = flows.get(&peer);
        let Some(id) = named else { return (peer, first.map(ByPeer::flow)) };
        let beside = Peer { beside: Some(id), ..peer };
        let is_of_another = match first {
            Some(first) => {
                first.0.server.get().is_some_and(|server| server != id)
                    && self.dispatcher.borrow_mut().has_server(self.listener, id)
            }
            // The other connection has ended before this one.
            None => flows.contains(&beside),
        };
        let peer = if is_of_another { beside } else { peer };
        (peer, flows.get(&peer).map(ByPeer::flow))
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
        let clock = self.worker.clock;
        let flow = Rc::new(Datagrams::new(peer, named, clock));
        table.flows.borrow_mut().replace(ByPeer(flow.clone()));
        let avoided = refused.and_then(|flow| flow.toward.get()).map(|toward| toward.target.serial);
        if let Some(flow) = refused {
            flow.replaced.notify_one();
        }
        let passed = flow.pass_on(datagram, clock.now());
        let running = (self.worker.tasks.begin(), table.running.begin());
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
            (Ok((toward, placed)), Some(listener)) => {
                let connected = self.worker.clock.now();
                flow.open(toward, connected, |reason| self.shard.datagram_dropped(reason));
                let end = self.last(table, flow, &placed, listener).await;
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
        flow: &Rc<Datagrams>,
        avoided: Option<TargetSerial>,
    ) -> Result<(Toward, Placed), FlowError> {
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
                None => placing.lease(pending).await?,
            };
            let speech = self.dispatcher.borrow_mut().speech(placing.group());
            let (speech, _) = speech.ok_or(FlowError::NoTarget)?;
            let (addr, target) = (lease.target().addr, lease.target().clone());
            let dialled = if speech.preserves_client_ip { dial_as(client, addr) } else { dial(addr) };
            match dialled
                .and_then(|socket| Ok(Toward { number: table.watch(flow, &socket)?, socket, target }))
            {
                Ok(toward) => {
                    if table.has_quic {
                        flow.server.set(placing.server(lease.target()));
                    }
                    return Ok((toward, placing.placed(lease)));
                }
                Err(error) => placing.failed(&lease, FlowError::DialFailed(DialError::Failed(error)))?,
            }
        }
    }

    /// Passes answers of all targets on.
    async fn pass_answers(self: Rc<Self>, table: Rc<Table>) {
        let (mut answering, mut room) = (Answering::default(), vec![0; DATAGRAM_BYTES_MAX]);
        // It fails when the runtime ends.
        while table.socket.targets().answering(&mut answering).await.is_ok() {
            let now = self.worker.clock.now();
            for number in answering.numbers() {
                // One that was told of may have ended.
                let flow = table.open.borrow().get(number).cloned();
                if let Some(flow) = flow {
                    self.pass_one(&table, &flow, &mut room, now);
                }
            }
            // Others have a turn even when answers never end.
            yield_now().await;
        }
    }

    /// Passes on an answer that has come `now`. One at a time: sparse flows have no more, and asking for more costs them more than
    /// busy ones save.
    fn pass_one(&self, table: &Table, flow: &Datagrams, room: &mut [u8], now: Timestamp) {
        let Some(Toward { socket, target, .. }) = flow.toward.get() else { return };
        let answer = match socket.try_receive(room) {
            Ok(count) => &room[..count],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            // The kernel says so once for each datagram that nobody took.
            Err(_) => {
                target.tally.count_failed();
                return flow.is_refused.set(true);
            }
        };
        flow.answered(answer, now);
        let Peer { client, local, .. } = flow.peer;
        if table.socket.try_send(client, local, answer).is_err() {
            self.shard.datagram_dropped("client_busy");
        }
    }

    /// Waits until the flow ends; why it has.
    async fn last(
        &self,
        table: &Table,
        flow: &Datagrams,
        placed: &Placed,
        listener: &Listener,
    ) -> &'static str {
        let idle_timeout = match &listener.kind {
            ListenerKind::Network(network) => network.udp_idle_timeout,
            _ => listener.idle_timeout,
        };
        tokio::select! {
            biased;
            () = flow.replaced.notified() => "target_failed",
            () = flow.activity.idle_for(idle_timeout) => "idle",
            () = self.called_off(placed) => "cut",
            () = table.last_answers(flow) => "closed",
        }
    }
}

impl Table {
    /// The server that a datagram names, where it may.
    fn named(&self, datagram: &[u8]) -> Option<ServerId> {
        if self.has_quic { ServerId::of(datagram) } else { None }
    }

    /// Has the answers to a flow told of from now on, by the number that it gets.
    fn watch(&self, flow: &Rc<Datagrams>, socket: &TargetSocket) -> io::Result<usize> {
        let number = self.open.borrow_mut().insert(flow.clone());
        let watched = self.socket.targets().add(socket, number);
        watched.inspect_err(|_| drop(self.open.borrow_mut().remove(number))).map(|()| number)
    }

    /// Completes when the listener is being closed and the flow has had its answers, as long as it may wait for them.
    async fn last_answers(&self, flow: &Datagrams) {
        self.closing.begun().await;
        loop {
            flow.activity.idle_for(LAST_ANSWERS).await;
            if flow.unanswered.get() == 0 || !(self.is_shared.0)() {
                return;
            }
            sleep(LAST_ANSWERS).await;
        }
    }

    /// Takes a flow out; its place, unless another has it.
    fn forget(&self, flow: &Rc<Datagrams>) {
        if let Some(toward) = flow.toward.get() {
            self.open.borrow_mut().remove(toward.number);
        }
        let mut flows = self.flows.borrow_mut();
        if flows.get(&flow.peer).is_some_and(|known| Rc::ptr_eq(&known.0, flow)) {
            flows.remove(&flow.peer);
        }
    }
}
