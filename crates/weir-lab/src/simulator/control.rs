//! A weir in virtual time: its reconciler, its one snapshot, and as many dispatchers as it has workers.

use std::sync::Arc;
use std::time::Duration;

use weir_core::address::TargetAddr;
use weir_core::balance::{Asked, PickContext};
use weir_core::decide::Outcome;
use weir_core::definition::{Algorithm, Definitions, TargetGroup, TargetSelector};
use weir_core::dispatcher::Dispatcher;
use weir_core::health::UnhealthyReason;
use weir_core::lease::Lease;
use weir_core::load_report::LoadReport;
use weir_core::reconcile::{Event, State, reconcile};
use weir_core::snapshot::{GroupIndex, Unavailable};
use weir_core::table::{self, Writer};
use weir_core::time::Timestamp;
use weir_core::{anomaly, ejection};

use crate::random::{Purpose, Stream};
use crate::scenario::{Scenario, ServerKind};

/// What control does by the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chore {
    /// Compares targets; see [`anomaly`].
    Compare,
    /// Ends what was due.
    Due,
    /// Looks for targets whose requests fail; see [`ejection`].
    Look,
    /// Probes every target.
    Probe,
}

/// A weir.
#[derive(Debug)]
pub(super) struct Weir {
    state: State,
    writer: Writer,
    workers: Vec<Dispatcher>,
    group: GroupIndex,
    definitions: Definitions,
}

impl Weir {
    /// A weir that has so many workers and follows the servers of the scenario; `number` tells several apart.
    pub(super) fn new(
        scenario: &Scenario,
        algorithm: Algorithm,
        workers: u32,
        seed: u64,
        number: u64,
    ) -> Self {
        let mut draws = Stream::new(seed, Purpose::Policy, number);
        let definitions = definitions(&scenario.group, algorithm);
        let (writer, reader) = table::new(weir_core::snapshot::Snapshot::default());
        let workers = (0..workers).map(|_| Dispatcher::new(reader.clone(), draws.bits())).collect();
        let mut weir = Self { state: State::new(), writer, workers, group: GroupIndex(0), definitions };
        weir.add((0..).zip(scenario.servers_at_start()), 0);
        weir
    }

    /// Registers servers, which answer their first probe at once.
    pub(super) fn add<'k>(&mut self, servers: impl Iterator<Item = (u32, &'k ServerKind)>, now: u64) {
        let targets = servers.map(|(number, kind)| TargetSelector::Address {
            addr: address(number),
            weight: kind.weight,
            zone: kind.zone.clone(),
            server_id: None,
        });
        self.definitions.target_groups[0].targets.extend(targets);
        self.apply(Event::Definitions(Arc::new(self.definitions.clone())), now);
        self.probe(&|_| true, now);
    }

    /// Deregisters servers.
    pub(super) fn remove(&mut self, servers: &[u32], now: u64) {
        let stays = |target: &TargetSelector| match target {
            TargetSelector::Address { addr, .. } => !servers.contains(&number(*addr)),
            TargetSelector::Lookup { .. } | TargetSelector::Tasks(_) => true,
        };
        self.definitions.target_groups[0].targets.retain(stays);
        self.apply(Event::Definitions(Arc::new(self.definitions.clone())), now);
    }

    fn apply(&mut self, event: Event, now: u64) {
        let reconciled = reconcile(&mut self.state, event, Timestamp::from_nanos(now));
        let Some(snapshot) = reconciled.snapshot else { return };
        // Another thread does this for a running weir, in a millisecond.
        snapshot.groups().flat_map(|group| group.unbuilt()).for_each(|table| table.build());
        if let Some(group) = snapshot.groups().next() {
            self.group = group.index;
        }
        self.writer.publish(Arc::new(snapshot));
    }

    /// When the next thing ends by itself.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.state.next_due().map(Timestamp::as_nanos)
    }

    /// How often control has to do something, for a group of these settings.
    pub(super) fn interval(group: &TargetGroup, chore: Chore) -> Option<Duration> {
        match chore {
            Chore::Compare => group.mitigates_anomalies.then_some(anomaly::WINDOW),
            Chore::Due => None,
            Chore::Look => group.ejection.map(|_| ejection::LOOK_INTERVAL),
            Chore::Probe => Some(group.health_check.interval),
        }
    }

    pub(super) fn do_chore(&mut self, chore: Chore, now: u64, is_up: &dyn Fn(u32) -> bool) {
        match chore {
            Chore::Compare => self.apply(Event::Compare, now),
            Chore::Due => self.apply(Event::Due, now),
            Chore::Look => self.apply(Event::Look, now),
            Chore::Probe => self.probe(is_up, now),
        }
    }

    fn probe(&mut self, is_up: &dyn Fn(u32) -> bool, now: u64) {
        let snapshot = self.workers[0].snapshot();
        let verdict = |up: bool| if up { Ok(()) } else { Err(UnhealthyReason::ConnectionRefused) };
        let verdicts = snapshot
            .members()
            .map(|(_, m)| (m.target.serial, verdict(is_up(number(m.target.addr)))))
            .collect();
        self.apply(Event::Verdicts(verdicts), now);
    }

    /// Picks a target, by that worker.
    pub(super) fn pick(&mut self, worker: usize, context: &PickContext<'_>) -> Result<Lease, Unavailable> {
        match self.workers[worker].forward(self.group, context) {
            Outcome::Forward { lease, .. } => Ok(lease),
            Outcome::Unavailable { why, .. } => Err(why),
            _ => Err(Unavailable::NoTarget),
        }
    }

    /// Draws targets that are to be asked for their load, by that worker.
    pub(super) fn draw_probes(&mut self, worker: usize, drawn: &mut Vec<Asked>) {
        self.workers[worker].draw_probes(self.group, None, drawn);
    }

    /// Tells that worker what a target has said.
    pub(super) fn hear(&mut self, worker: usize, asked: &Asked, report: LoadReport, now: u64) {
        self.workers[worker].hear(self.group, None, asked, report, Timestamp::from_nanos(now));
    }

    /// Every target, with the number of its server.
    pub(super) fn targets(&mut self) -> Vec<(u32, Arc<weir_core::target::Target>)> {
        let snapshot = self.workers[0].snapshot();
        snapshot.members().map(|(_, member)| (number(member.target.addr), member.target.clone())).collect()
    }
}

/// The group, and a listener that forwards to it.
fn definitions(group: &TargetGroup, algorithm: Algorithm) -> Definitions {
    let mut definitions = plain_definitions(group.name.as_str());
    definitions.target_groups = vec![TargetGroup { algorithm, ..group.clone() }];
    definitions
}

/// What comes of a configuration that says as little as possible.
pub(crate) fn plain_definitions(group: &str) -> Definitions {
    let yaml = format!(
        "load_balancers: [{{ name: lab, type: application, listeners: [{{ bind: \"127.0.0.1:1\", \
         default_action: {{ forward: {group} }} }}] }}]\ntarget_groups: [{{ name: {group} }}]",
    );
    let loaded = weir_config::parse(&yaml, std::path::Path::new("laboratory"));
    loaded.expect("a configuration of two lines is right").config.definitions
}

/// The address of a server: 127.0.0.1 and on.
fn address(number: u32) -> TargetAddr {
    let [_, a, b, c] = (number + 1).to_be_bytes();
    TargetAddr(([127, a, b, c], 80).into())
}

/// The number of the server at an address.
pub(super) fn number(addr: TargetAddr) -> u32 {
    match addr.0.ip() {
        std::net::IpAddr::V4(ip) => (ip.to_bits() & 0x00ff_ffff) - 1,
        std::net::IpAddr::V6(_) => unreachable!("servers of the laboratory are numbered by IPv4"),
    }
}
