//! The snapshot: everything that a request or flow is decided from, immutable and swapped whole.
//!
//! Health is in the snapshot: a transition is rare and publishes a new one, so no request ever sees members from one
//! instant and health from another. Counts are not: they live in each target's tally.

mod member;
mod quic;
mod split;
mod table;

use std::sync::Arc;
use std::time::Duration;

pub use self::member::{Counts, Member};

use crate::address::{ClientAddr, ListenAddr};
use crate::authentication::Oidc;
use crate::balance::{PickContext, Picker, WorkerState};
use crate::comparison::{Arm, Trial};
use crate::definition::{HttpSettings, ListenerKind, Proxies, TargetGroup};
use crate::dispatcher::Speech;
use crate::head::Head;
use crate::health::{Health, UnhealthyReason};
use crate::lease::Lease;
use crate::logs::Logs;
use crate::name::LoadBalancerName;
use crate::quic::ServerId;
use crate::rule::RuleIndex;
use crate::seal::CookieKeys;
use crate::sticky::{Fingerprint, Stickiness};
use crate::target::TargetSerial;
use crate::thresholds::MinimumHealthy;

/// A number that this process gives to one group name, and never to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupIndex(pub u32);

/// A number that this process gives to one listener of one load balancer, and never to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListenerIndex(pub u32);

/// What is, at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// One higher with every publication.
    pub generation: u64,
    /// By [`ListenerIndex`]; where a listener was taken away, the one that takes its connections now, if there is one.
    listeners: Vec<Option<Arc<Listener>>>,
    /// By [`GroupIndex`]; `None` where a group was taken away.
    groups: Vec<Option<Arc<Group>>>,
    cookie_keys: Option<Arc<CookieKeys>>,
}

impl Snapshot {
    pub(crate) fn new(
        generation: u64,
        listeners: Vec<Option<Arc<Listener>>>,
        groups: Vec<Option<Arc<Group>>>,
    ) -> Self {
        Self { generation, listeners, groups, cookie_keys: None }
    }

    /// The same, where cookies are sealed with these keys.
    pub(crate) fn with_cookie_keys(self, cookie_keys: Option<Arc<CookieKeys>>) -> Self {
        Self { cookie_keys, ..self }
    }

    /// What cookies are sealed with; `None` before anybody has said so: then no cookie is read, and none is set.
    pub fn cookie_keys(&self) -> Option<&CookieKeys> {
        self.cookie_keys.as_deref()
    }

    /// The listener of that index; once a reload has taken it away the one of its kind that takes its connections now, or `None`.
    pub fn listener(&self, index: ListenerIndex) -> Option<&Arc<Listener>> {
        self.listeners.get(index.0 as usize)?.as_ref()
    }

    /// The group of that index; `None` once it has gone.
    pub fn group(&self, index: GroupIndex) -> Option<&Arc<Group>> {
        self.groups.get(index.0 as usize)?.as_ref()
    }

    /// Every listener, in the order of their indices.
    pub fn listeners(&self) -> impl Iterator<Item = &Arc<Listener>> {
        let present = (0..).map(ListenerIndex).zip(&self.listeners);
        present.filter_map(|(index, listener)| listener.as_ref().filter(|listener| listener.index == index))
    }

    /// Every group, in the order of their indices.
    pub fn groups(&self) -> impl Iterator<Item = &Arc<Group>> {
        self.groups.iter().flatten()
    }

    /// The groups that differ from `before`, as they were and as they are. Groups that both share are passed over, so
    /// that following a change costs what the change is.
    pub fn changed_groups<'s>(
        &'s self,
        before: &'s Self,
    ) -> impl Iterator<Item = (Option<&'s Arc<Group>>, Option<&'s Arc<Group>>)> {
        let count = self.groups.len().max(before.groups.len());
        let pair = |at| (before.group(GroupIndex(at)), self.group(GroupIndex(at)));
        (0..count as u32).map(pair).filter(|pair| match pair {
            (Some(before), Some(after)) => !Arc::ptr_eq(before, after),
            (None, None) => false,
            _ => true,
        })
    }

    /// Every target that is registered or draining, with its group.
    pub fn members(&self) -> impl Iterator<Item = (&Arc<Group>, &Member)> {
        self.groups().flat_map(|group| group.members.iter().map(move |member| (group, member)))
    }
}

/// A listener as the data plane sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its number in this process.
    pub index: ListenerIndex,
    /// Its load balancer's name.
    pub load_balancer: LoadBalancerName,
    /// Its load balancer's idle timeout.
    pub idle_timeout: Duration,
    /// What its load balancer writes of what it has done.
    pub logs: Logs,
    /// What its load balancer asks of HTTP requests.
    pub http: HttpSettings,
    /// Where it accepts connections.
    pub bind: ListenAddr,
    /// The proxies that say who their clients are.
    pub proxies: Option<Arc<Proxies>>,
    /// What it does with them.
    pub kind: ListenerKind<GroupIndex>,
    /// Where the rules of its kind are found.
    pub rule_index: RuleIndex,
    /// How its clients log in; see [`crate::authentication::logins`].
    pub logins: Arc<[Arc<Oidc>]>,
}

/// A target group as the data plane sees it.
#[derive(Clone, Debug)]
pub struct Group {
    /// Its number in this process.
    pub index: GroupIndex,
    /// Its settings.
    pub settings: Arc<TargetGroup>,
    /// Everything registered or draining, in the order of registration.
    pub members: Vec<Member>,
    /// Whether some listener can send traffic here.
    pub is_used: bool,
    /// How to speak to its targets: one count up for each request, and nothing to put together.
    pub(crate) speech: Arc<Speech>,
    /// What cookies name it by.
    pub fingerprint: Fingerprint,
    /// How many of them are healthy.
    pub counts: Counts,
    picker: Picker,
    /// The other arm, where algorithms are compared. In a box: few groups have one.
    split: Option<Box<split::Split>>,
    /// What is compared, or was until one arm was stopped.
    trial: Option<Arc<Trial>>,
    fails_open: bool,
    /// See [`quic`].
    servers: Box<[(ServerId, u32)]>,
    /// The eligible members of a sticky group, in the order of their fingerprints.
    pinnable: Option<Box<[(Fingerprint, u32)]>>,
}

/// Why a group gives no target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unavailable {
    /// Whoever may be picked has as much to do as it may have: 503, or the flow is closed.
    Busy,
    /// Nothing may be picked, and waiting would not help: 503, or the flow is closed.
    NoTarget,
    /// The group is empty or has only targets that no probe has answered for yet: wait this long, then ask again.
    Hold(Duration),
}

impl Group {
    /// Builds a group: who is eligible follows from the members' health.
    ///
    /// Healthy members are eligible. With fewer of them than the group's minimum every registered member is: the
    /// group fails open. Source: Application Load Balancer, "Target group health".
    pub fn build(
        index: GroupIndex,
        settings: Arc<TargetGroup>,
        members: Vec<Member>,
        is_used: bool,
        before: Option<&Self>,
    ) -> Self {
        let positions = |wanted: fn(Health) -> bool| -> Vec<u32> {
            (0_u32..).zip(&members).filter(|(_, m)| wanted(m.health)).map(|(at, _)| at).collect()
        };
        let healthy = positions(Health::is_healthy);
        let registered = positions(Health::is_registered);
        let counts = Counts { healthy: healthy.len(), registered: registered.len() };
        // Whoever is ejected is well, and out: that alone is no reason to use those that are not well.
        let out = positions(|health| health == Health::Unhealthy(UnhealthyReason::Ejected)).len();
        let is_enough = settings.thresholds.routing.is_met(counts.healthy + out, counts.registered)
            && (counts.healthy > 0 || out == 0);
        let fails_open = !is_enough && counts.healthy < counts.registered;
        let waits = !settings.hold.is_zero() && members.iter().all(|m| is_waited_for(m.health));
        let mut eligible = match (waits, fails_open) {
            (true, _) => Vec::new(),
            (false, true) => registered,
            (false, false) => healthy,
        };
        if let (Some(zone), false) = (&settings.zone, fails_open) {
            eligible.retain(|at| members[*at as usize].is_of(zone));
        }
        let algorithm = settings.algorithm;
        let before = before.map(|group| group.picker_by(algorithm));
        let pinnable = settings.stickiness.is_some().then(|| {
            let fingerprint = |at: &u32| (members[*at as usize].target.fingerprint, *at);
            let mut pinnable: Box<[_]> = eligible.iter().map(fingerprint).collect();
            pinnable.sort_unstable();
            pinnable
        });
        let picker = Picker::build(&settings, algorithm, &members, eligible, before);
        let fingerprint = Fingerprint::of_group(&settings.name);
        let servers = quic::by_server_id(&members);
        let speech = Arc::new(Speech::of(&settings));
        Self {
            index,
            settings,
            members,
            is_used,
            speech,
            fingerprint,
            counts,
            picker,
            split: None,
            trial: None,
            fails_open,
            servers,
            pinnable,
        }
    }

    /// How its clients stick to a target, if they do.
    pub fn stickiness(&self) -> Option<&Stickiness> {
        // The settings of other groups are not looked at for each request.
        self.pinnable.as_ref().and(self.settings.stickiness.as_ref())
    }

    /// The eligible member of that fingerprint, by its position. Only sticky groups are asked.
    fn pinned(&self, fingerprint: Fingerprint) -> Option<usize> {
        let pinnable = self.pinnable.as_ref()?;
        let at = pinnable.binary_search_by_key(&fingerprint, |(fingerprint, _)| *fingerprint).ok()?;
        Some(pinnable[at].1 as usize)
    }

    /// Picks a target and takes a lease on it.
    ///
    /// # Errors
    /// [`Unavailable`] when no member is eligible.
    pub fn lease(&self, worker: &mut WorkerState, context: &PickContext<'_>) -> Result<Lease, Unavailable> {
        if self.is_full() {
            return Err(Unavailable::Busy);
        }
        let pinned = context.pinned.and_then(|fingerprint| self.pinned(fingerprint));
        let pinned = pinned.filter(|at| self.picker.has_room(&self.members[*at].target));
        match pinned.or_else(|| self.picker_of(context.arm).pick(&self.members, self.index, worker, context))
        {
            Some(at) => {
                let target = &self.members[at].target;
                if self.fails_open {
                    target.tally.count_unhealthy_pick();
                }
                Ok(Lease::new(target.clone()))
            }
            None if self.holds() => Err(Unavailable::Hold(self.settings.hold)),
            None if !self.picker.eligible().is_empty() => Err(Unavailable::Busy),
            None => Err(Unavailable::NoTarget),
        }
    }

    /// Whether its targets together have as much to do as they may have.
    fn is_full(&self) -> bool {
        let most = self.settings.concurrency.per_group;
        most != u32::MAX && self.members.iter().map(|m| m.target.tally.in_flight()).sum::<u32>() >= most
    }

    /// Whether a member may have one more request or flow.
    pub fn has_room(&self, member: &Member) -> bool {
        self.picker.has_room(&member.target)
    }

    /// Takes a lease on any registered member, whatever its health: what AWS does for `initial` targets, and what
    /// follows when a hold has ended without an answered probe. One of `avoid` only when there is no other.
    pub fn lease_unproven(&self, worker: &mut WorkerState, avoid: &[TargetSerial]) -> Option<Lease> {
        if self.settings.thresholds.routing == MinimumHealthy::NONE {
            return None;
        }
        let registered = |avoid: &[TargetSerial]| -> Vec<&Member> {
            let is_wanted = |m: &&Member| m.health.is_registered() && !avoid.contains(&m.target.serial);
            self.members.iter().filter(is_wanted).collect()
        };
        let candidates = Some(registered(avoid)).filter(|found| !found.is_empty());
        let candidates = candidates.unwrap_or_else(|| registered(&[]));
        let nth = (!candidates.is_empty()).then(|| worker.random.usize(0..candidates.len()))?;
        Some(Lease::new(candidates[nth].target.clone()))
    }

    /// Whether requests wait for a target: hold is on, and no probe has spoken about any member yet.
    pub fn holds(&self) -> bool {
        !self.settings.hold.is_zero() && self.members.iter().all(|member| is_waited_for(member.health))
    }

    /// Whether too few members are healthy, so that every registered one is eligible.
    pub fn fails_open(&self) -> bool {
        self.fails_open
    }

    /// Whether a member, by its position, may be picked.
    pub fn is_eligible(&self, position: usize) -> bool {
        self.picker.eligible().binary_search(&(position as u32)).is_ok()
    }

    /// What a request of that arm is picked by; see [`Picker::key`].
    pub fn key(
        &self,
        arm: Option<Arm>,
        head: &Head<'_>,
        client: ClientAddr,
        worker: &mut WorkerState,
    ) -> u64 {
        self.picker_of(arm).key(head, client, worker)
    }

    /// Whether the target of that serial may be picked.
    pub fn may_pick(&self, serial: TargetSerial) -> bool {
        let position = self.members.iter().position(|member| member.target.serial == serial);
        position.is_some_and(|position| self.is_eligible(position))
    }

    /// Whether another target than those of these serials may be picked.
    pub fn may_pick_other(&self, these: &[TargetSerial]) -> bool {
        let eligible = self.picker.eligible().iter().map(|at| &self.members[*at as usize]);
        eligible.into_iter().any(|member| !these.contains(&member.target.serial))
    }

    /// The member of that serial.
    pub fn member(&self, serial: TargetSerial) -> Option<&Member> {
        self.members.iter().find(|member| member.target.serial == serial)
    }

    #[cfg(test)]
    pub(crate) fn use_slow_start(&mut self, window: Duration) {
        let mut settings = (*self.settings).clone();
        settings.slow_start = window;
        *self = Self::build(self.index, Arc::new(settings), self.members.clone(), self.is_used, None);
    }
}

fn is_waited_for(health: Health) -> bool {
    matches!(health, Health::Initial(_) | Health::Draining)
}

#[cfg(test)]
pub(crate) mod testing;

#[cfg(test)]
mod tests;
