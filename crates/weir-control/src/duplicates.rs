//! Copies of listening sockets, for the weir that takes this one's place.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use weir_core::address::ListenAddr;
use weir_core::snapshot::ListenerIndex;
use weir_core::task::Transports;
use weir_net::bind::{BindError, Sockets, bind, bind_beside, hear_nobody, is_own};
use weir_net::inherited::Inherited;

/// Copies of every listening socket, beside those that the workers have; and sockets of the weir before this one that no
/// listener has asked for yet. Clones are handles to the same.
#[derive(Clone, Debug, Default)]
pub struct Duplicates(Arc<Mutex<Held>>);

#[derive(Debug, Default)]
struct Held {
    open: BTreeMap<ListenerIndex, Vec<Sockets>>,
    /// Where this weir has listened, and may have sockets that flows of datagrams still speak through.
    left: BTreeSet<ListenAddr>,
    inherited: Inherited,
    is_retired: bool,
}

impl Duplicates {
    /// None yet, but for the sockets that another weir has handed over.
    pub fn new(inherited: Inherited) -> Self {
        Self(Arc::new(Mutex::new(Held { inherited, ..Held::default() })))
    }

    /// One more descriptor of every listening socket.
    ///
    /// # Errors
    /// When there are none left.
    pub fn descriptors(&self) -> io::Result<Vec<OwnedFd>> {
        let mut descriptors = Vec::new();
        for sockets in self.held().open.values().flatten() {
            let Sockets { tcp, udp } = sockets.try_clone()?;
            descriptors.extend(tcp.into_iter().map(OwnedFd::from));
            descriptors.extend(udp.into_iter().map(OwnedFd::from));
        }
        Ok(descriptors)
    }

    /// Closes what was handed over and no listener wants: this weir serves all that it is going to.
    pub fn settle(&self) {
        self.held().inherited = Inherited::default();
    }

    /// Closes every copy, and has nothing bound any more: this weir ends, and what it listened on may be another's.
    pub fn retire(&self) {
        *self.held() = Held { is_retired: true, ..Held::default() };
    }

    /// Sockets for `count` workers. What listeners of this weir that go, the `holders`, have at addresses that `addr` covers is
    /// shared with them, so that nothing that comes meanwhile is lost.
    pub(crate) fn bind(
        &self,
        addr: ListenAddr,
        transports: Transports,
        holders: &[ListenerIndex],
        count: usize,
    ) -> Result<Bound, BindError> {
        let mut held = self.held();
        let (addr, sockets) = if held.is_retired {
            (addr, Vec::new())
        } else if addr.port() == 0 {
            bind(addr, transports, count)?
        } else if holders.is_empty() {
            let taken = held.inherited.take(addr, transports, count);
            (addr, held.or_beside(taken, addr, transports, count)?)
        } else {
            (addr, held.share(holders, addr, transports, count)?)
        };
        let copies = sockets.iter().map(Sockets::try_clone).collect::<io::Result<_>>();
        let copies = copies.map_err(|source| BindError::Failed { addr, source })?;
        Ok(Bound { addr, sockets, copies })
    }

    pub(crate) fn keep(&self, listener: ListenerIndex, copies: Vec<Sockets>) {
        let mut held = self.held();
        if !held.is_retired {
            held.open.insert(listener, copies);
        }
    }

    /// Closes the copies of what a listener has that goes. Its flows may have something to send through its sockets yet, but nobody
    /// will read them, unless another listener has them, too.
    pub(crate) fn close(&self, listener: ListenerIndex, addr: ListenAddr) {
        let mut held = self.held();
        let gone = held.open.remove(&listener).unwrap_or_default();
        held.left.insert(addr);
        for socket in gone.iter().flat_map(|sockets| &sockets.udp) {
            let is_same = |local: ListenAddr| socket.local_addr().is_ok_and(|own| own == local.0);
            let is_taken_over = held.open.values().any(|open| Sockets::transports(open, is_same).udp);
            if !is_taken_over && let Err(error) = hear_nobody(socket) {
                tracing::debug!(listener = %addr, "a socket that nobody will read still hears: {error}");
            }
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// The sockets that listeners have at addresses that `addr` covers, and new ones for a transport that none has at `addr` itself.
    fn share(
        &self,
        holders: &[ListenerIndex],
        addr: ListenAddr,
        transports: Transports,
        count: usize,
    ) -> Result<Vec<Sockets>, BindError> {
        let mut all = Vec::new();
        all.resize_with(count, Sockets::default);
        for copies in holders.iter().filter_map(|listener| self.open.get(listener)) {
            for (sockets, copies) in all.iter_mut().zip(copies) {
                sockets.extend(copies.try_clone().map_err(|source| BindError::Failed { addr, source })?);
            }
        }
        let held = Sockets::transports(&all, |_| true);
        for sockets in &mut all {
            sockets.retain_covered(addr, transports);
        }
        let missing = transports.without(Sockets::transports(&all, |local| local == addr));
        let unheld = missing.without(held);
        let new = bind(addr, unheld, count).map(|(_, sockets)| sockets);
        let new = self.or_beside(new, addr, unheld, count)?;
        let beside = bind_beside(addr, missing.without(unheld), count)?;
        for ((sockets, new), beside) in all.iter_mut().zip(new).zip(beside) {
            sockets.extend(new);
            sockets.extend(beside);
        }
        Ok(all)
    }

    /// What was `bound`, or bound beside sockets that this very weir has left there for flows to finish.
    fn or_beside(
        &self,
        bound: Result<Vec<Sockets>, BindError>,
        addr: ListenAddr,
        transports: Transports,
        count: usize,
    ) -> Result<Vec<Sockets>, BindError> {
        match bound {
            Err(BindError::InUse { .. }) if self.left.contains(&addr) && is_own(addr.port(), transports) => {
                bind_beside(addr, transports, count)
            }
            bound => bound,
        }
    }
}

/// The sockets of one listener, and copies of them.
#[derive(Debug)]
pub(crate) struct Bound {
    /// Where they listen: never port 0.
    pub(crate) addr: ListenAddr,
    /// A set for each worker.
    pub(crate) sockets: Vec<Sockets>,
    /// Copies of the same.
    pub(crate) copies: Vec<Sockets>,
}
