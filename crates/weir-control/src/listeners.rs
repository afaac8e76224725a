//! Listening sockets: bound by the control thread, one per worker, and handed to the workers.
//!
//! Sockets are bound before the snapshot that serves them is published, so that a configuration whose port is taken
//! is refused whole.

use std::collections::BTreeMap;

use tokio::sync::mpsc::UnboundedSender;
use weir_core::address::ListenAddr;
use weir_core::definition::Definitions;
use weir_core::reconcile::State;
use weir_core::snapshot::ListenerIndex;
use weir_core::task::Transports;
use weir_net::bind::{BindError, Sockets};

use crate::duplicates::{Bound, Duplicates};

/// What a worker is told to do about a listener.
#[derive(Debug)]
pub enum Assignment {
    /// Take what comes to these sockets, and serve by the listener of that index.
    Serve {
        /// The listener.
        listener: ListenerIndex,
        /// The worker's own sockets.
        sockets: Sockets,
    },
    /// Accept no more; open connections go on.
    Close(ListenerIndex),
}

/// The listening sockets of all workers.
#[derive(Debug)]
pub struct Listeners {
    workers: Vec<UnboundedSender<Assignment>>,
    open: BTreeMap<ListenerIndex, ListenAddr>,
    duplicates: Duplicates,
}

/// Sockets that are bound and not yet handed over.
#[derive(Debug)]
pub(crate) struct Prepared {
    new: Vec<(ListenerIndex, Bound)>,
    gone: Vec<(ListenerIndex, ListenAddr)>,
}

impl Listeners {
    /// Listeners for these workers, none open yet. Of what is opened, copies go to `duplicates`.
    pub fn new(workers: Vec<UnboundedSender<Assignment>>, duplicates: Duplicates) -> Self {
        Self { workers, open: BTreeMap::new(), duplicates }
    }

    /// Binds every listener of `definitions` that is not open. A listener with port 0 gets its real port written in.
    ///
    /// A listener that moves to another load balancer at the same address takes the very sockets; one that moves from one address to
    /// every one takes those of the one along, beside new ones, since closing them would reset whoever is about to connect. One
    /// that moves back keeps just those. What another weir has handed over is not bound, but taken.
    ///
    /// # Errors
    /// [`BindError`]; nothing has changed then.
    pub(crate) fn prepare(
        &self,
        definitions: &mut Definitions,
        state: &mut State,
    ) -> Result<Prepared, BindError> {
        let mut wanted = BTreeMap::new();
        let mut new = Vec::new();
        for load_balancer in &mut definitions.load_balancers {
            for listener in &mut load_balancer.listeners {
                let count = self.workers.len();
                let transports = Transports { tcp: listener.kind.has_tcp(), udp: listener.kind.has_udp() };
                let index = if listener.bind.port() == 0 {
                    let bound = self.duplicates.bind(listener.bind, transports, &[], count)?;
                    listener.bind = bound.addr;
                    let index = state.listener_index(&load_balancer.name, listener.bind, &listener.kind);
                    new.push((index, bound));
                    index
                } else {
                    let index = state.listener_index(&load_balancer.name, listener.bind, &listener.kind);
                    if !self.open.contains_key(&index) {
                        let holders = self.holders(listener.bind);
                        new.push((index, self.duplicates.bind(listener.bind, transports, &holders, count)?));
                    }
                    index
                };
                wanted.insert(index, listener.bind);
            }
        }
        let gone = self.open.iter().filter(|(index, _)| !wanted.contains_key(index));
        let gone = gone.map(|(index, addr)| (*index, *addr)).collect();
        Ok(Prepared { new, gone })
    }

    /// Who listens at an address, or at ones that overlap.
    fn holders(&self, addr: ListenAddr) -> Vec<ListenerIndex> {
        let overlapping = self.open.iter().filter(|(_, open)| open.overlaps(addr));
        overlapping.map(|(index, _)| *index).collect()
    }

    /// Hands the new sockets to the workers and closes the ones that are gone; the addresses of both.
    pub(crate) fn commit(&mut self, prepared: Prepared) -> (Vec<ListenAddr>, Vec<ListenAddr>) {
        let opened = prepared.new.iter().map(|(_, bound)| bound.addr).collect();
        let closed = prepared.gone.iter().map(|(_, addr)| *addr).collect();
        for (listener, Bound { addr, sockets, copies }) in prepared.new {
            self.open.insert(listener, addr);
            self.duplicates.keep(listener, copies);
            for (worker, sockets) in self.workers.iter().zip(sockets) {
                // A worker that is gone has ended with the process.
                let _ = worker.send(Assignment::Serve { listener, sockets });
            }
        }
        for (listener, addr) in prepared.gone {
            self.open.remove(&listener);
            // Before the workers close theirs: theirs shall be the last.
            self.duplicates.close(listener, addr);
            for worker in &self.workers {
                let _ = worker.send(Assignment::Close(listener));
            }
        }
        (opened, closed)
    }
}
