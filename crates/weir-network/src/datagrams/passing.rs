//! What is known of one flow of datagrams, and how they pass to its target.

use std::borrow::Borrow;
use std::cell::{Cell, OnceCell, RefCell};
use std::hash::{Hash, Hasher};
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use tokio::sync::Notify;
use weir_core::address::ClientAddr;
use weir_core::quic::ServerId;
use weir_core::target::Target;
use weir_core::time::Timestamp;
use weir_net::clock::Clock;
use weir_net::datagrams::{DatagramSocket, Received, TargetSocket};

use super::activity::Activity;

/// Datagrams of one flow that wait for its target; further ones are dropped. As many as the kernel may give of one client at a time,
/// before which no target can be asked.
const WAITING_MAX: usize = 64;

/// Whose datagrams are one flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Peer {
    pub(super) client: ClientAddr,
    /// Which address of this machine it sends to.
    pub(super) local: IpAddr,
    /// The server of a connection of QUIC, where the client has one from this address to another server already.
    pub(super) beside: Option<ServerId>,
}

/// A flow. What every datagram looks at lies together, before the rest: of thousands of sparse flows nothing is in the nearest
/// cache.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Datagrams {
    /// Empty until there is a target.
    pub(super) toward: OnceCell<Toward>,
    pub(super) activity: Activity,
    /// Datagrams of the client's beyond those of the target's.
    pub(super) unanswered: Cell<u64>,
    pub(super) from_client_bytes: Cell<u64>,
    pub(super) from_target_bytes: Cell<u64>,
    /// Nobody listens at the target: the next datagram begins another flow.
    pub(super) is_refused: Cell<bool>,
    pub(super) peer: Peer,
    /// The server that the target is, if it is one of QUIC.
    pub(super) server: Cell<Option<ServerId>>,
    /// The server that the first datagram named, if it did.
    pub(super) named: Option<ServerId>,
    /// What has come before there was a target.
    waiting: RefCell<Vec<Box<[u8]>>>,
    /// Another flow has its place.
    pub(super) replaced: Notify,
    pub(super) began: Timestamp,
}

/// A flow, found by its peer. A table of these alone is small: of thousands of sparse flows it stays in the near cache, and what is
/// compared lies where the datagram looks next.
#[derive(Debug)]
pub(super) struct ByPeer(pub(super) Rc<Datagrams>);

/// The way to a flow's target.
#[derive(Debug)]
pub(super) struct Toward {
    pub(super) socket: TargetSocket,
    pub(super) target: Arc<Target>,
    /// The number of the flow among those that have one.
    pub(super) number: usize,
}

/// What has become of a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Passed {
    Done,
    Dropped(&'static str),
    /// Nobody listens at the target; the datagram is still to be sent.
    Refused,
}

impl ByPeer {
    pub(super) fn flow(&self) -> Rc<Datagrams> {
        self.0.clone()
    }
}

impl Borrow<Peer> for ByPeer {
    fn borrow(&self) -> &Peer {
        &self.0.peer
    }
}

impl Hash for ByPeer {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.peer.hash(state);
    }
}

impl PartialEq for ByPeer {
    fn eq(&self, other: &Self) -> bool {
        self.0.peer == other.0.peer
    }
}

impl Eq for ByPeer {}

impl Datagrams {
    pub(super) fn new(peer: Peer, named: Option<ServerId>, clock: Clock) -> Self {
        Self {
            peer,
            named,
            server: Cell::new(None),
            began: clock.now(),
            activity: Activity::new(clock),
            toward: OnceCell::new(),
            waiting: RefCell::default(),
            is_refused: Cell::new(false),
            replaced: Notify::new(),
            from_client_bytes: Cell::new(0),
            from_target_bytes: Cell::new(0),
            unanswered: Cell::new(0),
        }
    }

    /// Has a target from now on, which gets what has waited for it.
    pub(super) fn open(&self, toward: Toward, now: Timestamp, dropped: impl Fn(&'static str)) {
        self.toward.get_or_init(|| toward);
        for datagram in self.waiting.take() {
            if let Passed::Dropped(reason) = self.pass_on(&datagram, now) {
                dropped(reason);
            }
        }
    }

    /// Passes a datagram of the client's that has come `now` on to the target, or keeps it until there is one.
    pub(super) fn pass_on(&self, datagram: &[u8], now: Timestamp) -> Passed {
        let Some(Toward { socket, .. }) = self.toward.get() else {
            let mut waiting = self.waiting.borrow_mut();
            if waiting.len() == WAITING_MAX {
                return Passed::Dropped("no_target_yet");
            }
            waiting.push(datagram.into());
            return Passed::Done;
        };
        if self.is_refused.get() {
            return Passed::Refused;
        }
        match socket.try_send(datagram) {
            Ok(()) => {
                self.asked(1, datagram.len() as u64, now);
                Passed::Done
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                self.is_refused.set(true);
                Passed::Refused
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Passed::Dropped("target_busy"),
            Err(_) => Passed::Dropped("send_failed"),
        }
    }

    /// Passes datagrams of the client's that have come `now` on to the target, many at a time; whether that could be done.
    pub(super) fn pass_all_on(
        &self,
        socket: &DatagramSocket,
        received: Received<'_>,
        now: Timestamp,
    ) -> bool {
        let Some(toward) = self.toward.get().filter(|_| !self.is_refused.get()) else { return false };
        match socket.try_send_to_target(&toward.socket, toward.target.addr, received) {
            Ok(Some(bytes)) => {
                self.asked(received.datagrams().count() as u64, bytes, now);
                true
            }
            Ok(None) => false,
            Err(_) => {
                self.is_refused.set(true);
                false
            }
        }
    }

    /// A datagram of the target's has come `now`.
    pub(super) fn answered(&self, answer: &[u8], now: Timestamp) {
        self.activity.touch(now);
        self.unanswered.set(self.unanswered.get().saturating_sub(1));
        self.from_target_bytes.set(self.from_target_bytes.get() + answer.len() as u64);
    }

    /// Datagrams of the client's have gone to the target.
    fn asked(&self, count: u64, bytes: u64, now: Timestamp) {
        self.activity.touch(now);
        self.unanswered.set(self.unanswered.get() + count);
        self.from_client_bytes.set(self.from_client_bytes.get() + bytes);
    }
}
