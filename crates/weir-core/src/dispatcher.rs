//! A dispatcher: what one worker decides with, its view of the snapshot and its own balancing state.
//!
//! The data plane has one per worker; a simulator has as many as it likes to study.

use std::sync::Arc;

use crate::address::ClientAddr;
use crate::balance::{PickContext, WorkerState};
use crate::decide::{Decision, Outcome, act, decide, forward};
use crate::definition::{ProtocolVersion, TargetProtocol};
use crate::head::Head;
use crate::lease::Lease;
use crate::rule::Action;
use crate::snapshot::{GroupIndex, Listener, ListenerIndex, Snapshot};
use crate::table::Reader;
use crate::target::TargetSerial;
use crate::time::Timestamp;

/// How to speak to the targets of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Speech {
    /// With TLS or without.
    pub protocol: TargetProtocol,
    /// Which HTTP.
    pub version: ProtocolVersion,
}

/// Decides for one worker. Every call reads the snapshot that is current at that moment.
#[derive(Clone, Debug)]
pub struct Dispatcher {
    reader: Reader,
    state: WorkerState,
    identifiers: fastrand::Rng,
}

impl Dispatcher {
    /// A dispatcher whose random stream starts at `seed`.
    pub fn new(reader: Reader, seed: u64) -> Self {
        // A stream apart: how many identifiers are drawn must not change what is picked.
        Self { reader, state: WorkerState::seeded(seed), identifiers: fastrand::Rng::with_seed(!seed) }
    }

    /// Decides about a request; see [`decide`]. `None` when a reload has taken the listener away.
    pub fn decide(
        &mut self,
        listener: ListenerIndex,
        head: &Head<'_>,
        client: ClientAddr,
        now: Timestamp,
    ) -> Option<Decision> {
        let Self { reader, state, .. } = self;
        let snapshot = reader.read();
        let listener = snapshot.listener(listener)?;
        Some(decide(snapshot, listener, head, client, state, now))
    }

    /// Does what stands behind an authentication; see [`act`].
    pub fn act(&mut self, action: &Action<GroupIndex>, head: &Head<'_>, now: Timestamp) -> Outcome {
        let Self { reader, state, .. } = self;
        act(reader.read(), action, head, state, now)
    }

    /// Picks a target of `group` for a flow, or for another attempt; see [`forward`].
    pub fn forward(&mut self, group: GroupIndex, context: &PickContext<'_>) -> Outcome {
        let Self { reader, state, .. } = self;
        forward(reader.read(), group, state, context)
    }

    /// How to speak to the targets of `group`; `None` when a reload has taken it away.
    pub fn speech(&mut self, group: GroupIndex) -> Option<Speech> {
        let settings = &self.reader.read().group(group)?.settings;
        Some(Speech { protocol: settings.protocol, version: settings.protocol_version })
    }

    /// Takes any registered target of `group`, whatever its health; see [`crate::snapshot::Group::lease_unproven`].
    pub fn lease_unproven(&mut self, group: GroupIndex, avoid: &[TargetSerial]) -> Option<Lease> {
        let Self { reader, state, .. } = self;
        reader.read().group(group)?.lease_unproven(state, avoid)
    }

    /// The listener as it is now; `None` when a reload has taken it away.
    pub fn listener(&mut self, index: ListenerIndex) -> Option<Arc<Listener>> {
        self.reader.read().listener(index).cloned()
    }

    /// The current snapshot, for use off the request path.
    pub fn snapshot(&mut self) -> Arc<Snapshot> {
        self.reader.load()
    }

    /// The worker's random stream for identifiers, apart from the one that picks.
    pub fn identifiers(&mut self) -> &mut fastrand::Rng {
        &mut self.identifiers
    }
}
