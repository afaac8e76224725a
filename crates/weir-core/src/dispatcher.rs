//! A dispatcher: what one worker decides with, its view of the snapshot and its own balancing state.
//!
//! The data plane has one per worker; a simulator has as many as it likes to study.

use std::sync::Arc;

use crate::address::ClientAddr;
use crate::balance::{Asked, PickContext, WorkerState};
use crate::comparison::Arm;
use crate::decide::{Acted, Decision, Outcome, act, decide, forward};
use crate::definition::{Algorithm, ProtocolVersion, ProxyVersion, TargetGroup, TargetProtocol};
use crate::flow_key::FlowKey;
use crate::head::Head;
use crate::lease::Lease;
use crate::limits::RetryBudget;
use crate::load_report::LoadReport;
use crate::quic::ServerId;
use crate::route::Route;
use crate::rule::Action;
use crate::snapshot::{Group, GroupIndex, Listener, ListenerIndex, Snapshot};
use crate::sticky::{Affinity, Cookies, Sealing};
use crate::table::Reader;
use crate::target::{Target, TargetSerial};
use crate::time::{Moment, Timestamp};
use crate::tls::TargetTls;

/// How to speak to the targets of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Speech {
    /// With TLS or without.
    pub protocol: TargetProtocol,
    /// How TLS is spoken.
    pub tls: TargetTls,
    /// Which HTTP.
    pub version: ProtocolVersion,
    /// The header of the PROXY protocol that a connection begins with, if it does.
    pub proxy_protocol: Option<ProxyVersion>,
    /// Whether it comes from the client's address.
    pub preserves_client_ip: bool,
    /// Whether what targets take is noted, because the group picks by that.
    pub notes_latency: bool,
    /// What they are asked for that tells their load, if they are asked.
    pub load_probe: Option<Arc<str>>,
}

impl Speech {
    /// As the settings of a group say.
    pub(crate) fn of(settings: &TargetGroup) -> Self {
        Self {
            protocol: settings.protocol,
            tls: settings.target_tls.clone(),
            version: settings.protocol_version,
            proxy_protocol: settings.flows.proxy_protocol,
            preserves_client_ip: settings.flows.preserves_client_ip,
            notes_latency: settings.algorithms().any(Algorithm::asks_for_latency),
            load_probe: settings.load_probe.as_ref().map(|probe| probe.path.as_ref().into()),
        }
    }
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
        moment: Moment,
    ) -> Option<Decision> {
        let Self { reader, state, .. } = self;
        let snapshot = reader.read();
        let listener = snapshot.listener(listener)?;
        Some(decide(snapshot, listener, head, client, state, moment))
    }

    /// Does what stands behind an authentication; see [`act`].
    pub fn act(
        &mut self,
        action: &Action<GroupIndex>,
        head: &Head<'_>,
        client: ClientAddr,
        moment: Moment,
    ) -> Acted {
        let Self { reader, state, .. } = self;
        act(reader.read(), action, head, client, state, moment)
    }

    /// Where a flow through `listener` goes; see [`Route::of`].
    pub fn route(&mut self, listener: &Listener, flow: &FlowKey) -> Option<Route> {
        Route::of(self.reader.read(), listener, flow)
    }

    /// Picks a target of `group` for a flow, or for another attempt; see [`forward`].
    pub fn forward(&mut self, group: GroupIndex, context: &PickContext<'_>) -> Outcome {
        let Self { reader, state, .. } = self;
        forward(reader.read(), group, state, context)
    }

    /// The cookies of a response of `target`, a target of `group`; see [`Affinity::cookies`]. None when a reload has taken
    /// the group away.
    pub fn cookies(
        &mut self,
        affinity: &Affinity,
        group: GroupIndex,
        target: &Target,
        sets: impl FnOnce(&str) -> bool,
        wall_seconds: u64,
    ) -> Cookies {
        let Self { reader, identifiers, .. } = self;
        let snapshot = reader.read();
        match (snapshot.group(group), snapshot.cookie_keys()) {
            (Some(group), Some(keys)) => {
                let mut sealing = Sealing { keys, nonces: identifiers, wall_seconds };
                affinity.cookies(group, target, sets, &mut sealing)
            }
            _ => Cookies::default(),
        }
    }

    /// How to speak to the targets of `group`, and how often again; `None` when a reload has taken it away.
    pub fn speech(&mut self, group: GroupIndex) -> Option<(Arc<Speech>, RetryBudget)> {
        let group = self.reader.read().group(group)?;
        Some((group.speech.clone(), group.settings.retries))
    }

    /// Draws targets of `group` that are to be asked for their load with a request of that arm, where they are asked.
    pub fn draw_probes(&mut self, group: GroupIndex, arm: Option<Arm>, drawn: &mut Vec<Asked>) {
        let Self { reader, state, .. } = self;
        if let Some(group) = reader.read().group(group) {
            group.draw_probes(arm, state, drawn);
        }
    }

    /// Keeps what a target of `group` has said of its load; see [`LoadReport`].
    pub fn hear(
        &mut self,
        group: GroupIndex,
        arm: Option<Arm>,
        asked: &Asked,
        report: LoadReport,
        now: Timestamp,
    ) {
        let Self { reader, state, .. } = self;
        asked.target.reported.note(report, now);
        if let Some(group) = reader.read().group(group) {
            group.hear(arm, state, asked, report, now);
        }
    }

    /// Whether a target that `listener` forwards to has that id.
    pub fn has_server(&mut self, listener: ListenerIndex, id: ServerId) -> bool {
        let snapshot = self.reader.read();
        let Some(listener) = snapshot.listener(listener) else { return false };
        forwarded_to(snapshot, listener).any(|group| group.has_server(id))
    }

    /// The id by which connection ids of QUIC name a target of `group`, if they do.
    pub fn server_id(&mut self, group: GroupIndex, target: &Target) -> Option<ServerId> {
        self.reader.read().group(group)?.member(target.serial)?.server_id
    }

    /// A lease on the target of that id that `listener` forwards to, with its group; see
    /// [`crate::snapshot::Group::lease_server`].
    pub fn lease_server(&mut self, listener: &Listener, id: ServerId) -> Option<(GroupIndex, Lease)> {
        let snapshot = self.reader.read();
        forwarded_to(snapshot, listener).find_map(|group| Some((group.index, group.lease_server(id)?)))
    }

    /// Takes any registered target of `group`, whatever its health; see [`crate::snapshot::Group::lease_unproven`].
    pub fn lease_unproven(&mut self, group: GroupIndex, avoid: &[TargetSerial]) -> Option<Lease> {
        let Self { reader, state, .. } = self;
        reader.read().group(group)?.lease_unproven(state, avoid)
    }

    /// Whether `target` may be picked in `group`: it is there, not leaving, and well as far as that is asked.
    pub fn may_pick(&mut self, group: GroupIndex, target: TargetSerial) -> bool {
        self.reader.read().group(group).is_some_and(|group| group.may_pick(target))
    }

    /// Whether another target of `group` than `these` may be picked, though it may be busy.
    pub fn may_pick_other(&mut self, group: GroupIndex, these: &[TargetSerial]) -> bool {
        self.reader.read().group(group).is_some_and(|group| group.may_pick_other(these))
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

/// The groups that a network listener has a weight for.
fn forwarded_to<'s>(snapshot: &'s Snapshot, listener: &'s Listener) -> impl Iterator<Item = &'s Arc<Group>> {
    let weighted = listener.kind.flow_groups().iter().filter(|(_, weight)| *weight > 0);
    weighted.filter_map(|(group, _)| snapshot.group(*group))
}
