//! Placing a flow: on the target that its key leads to, on another where that has failed, later where none is there yet.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::ops::ControlFlow;
use std::task::Poll;
use std::time::Duration;

use weir_core::balance::PickContext;
use weir_core::decide::Outcome;
use weir_core::definition::ListenerKind;
use weir_core::dispatcher::Dispatcher;
use weir_core::flow_key::FlowKey;
use weir_core::lease::Lease;
use weir_core::quic::ServerId;
use weir_core::route::{Route, has_no_weight};
use weir_core::snapshot::{GroupIndex, Listener, Unavailable};
use weir_core::target::{Target, TargetSerial};
use weir_core::time::Timestamp;
use weir_net::dial::DialError;
use weir_net::waiting_room::{Awaited, NEWS_WAIT, WaitError};
use weir_net::worker::Worker;
use weir_telemetry::ListenerShard;
use weir_tls::HandshakeError;

use crate::flow::Flows;

/// Targets that one flow may be tried on: nothing has been sent yet, so another is as good as the first.
const ATTEMPTS_MAX: usize = 4;

/// Why a flow was not relayed. Named for the step that failed.
#[derive(Debug, thiserror::Error)]
pub enum FlowError {
    /// No target that was tried agreed on how to speak TLS.
    #[error("no handshake with a target")]
    TargetHandshakeFailed(#[source] HandshakeError),
    /// The client and weir did not agree on how to speak TLS.
    #[error("no handshake with the client: {0}")]
    HandshakeFailed(HandshakeError),
    /// The client went away while it waited for a target.
    #[error("the client left while it waited for a target")]
    ClientLeft,
    /// No connection to any target that was tried.
    #[error("no connection to a target")]
    DialFailed(#[source] DialError),
    /// The group waited for a target longer than it may.
    #[error("no target within the hold time")]
    HoldExpired,
    /// Too many requests and flows waited for a target already.
    #[error("too many wait for a target already")]
    HoldQueueFull,
    /// The listener was taken away by a reload.
    #[error("the listener is gone")]
    ListenerGone,
    /// The group has no target that may be picked.
    #[error("no target may be picked")]
    NoTarget,
    /// Every target has as much to do as it may have.
    #[error("no target has room")]
    TargetsBusy,
}

impl FlowError {
    /// The name in logs and metric labels.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::TargetHandshakeFailed(_) => "target_handshake_failed",
            Self::HandshakeFailed(_) => "handshake_failed",
            Self::ClientLeft => "client_left",
            Self::DialFailed(_) => "dial_failed",
            Self::HoldExpired => "hold_expired",
            Self::HoldQueueFull => "hold_queue_full",
            Self::ListenerGone => "listener_gone",
            Self::NoTarget => "no_target",
            Self::TargetsBusy => "targets_busy",
        }
    }
}

/// A flow that has a target.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) lease: Lease,
    group: GroupIndex,
}

/// A flow that has no target yet, and what has been tried.
pub(crate) struct Placing<'a> {
    worker: &'a Worker,
    dispatcher: &'a RefCell<Dispatcher>,
    shard: &'a ListenerShard,
    route: Route,
    /// How long the flow waits where targets have no room, if it does. Source: Classic Load Balancer, `SurgeQueueLength`.
    queues: Option<Duration>,
    failed: Vec<TargetSerial>,
    error: Option<FlowError>,
    /// However often it has to wait, the flow is held no longer than this.
    held_until: Option<Timestamp>,
}

impl Flows {
    /// Begins to place a flow, in the group that the listener has for it.
    pub(crate) fn place(&self, listener: &Listener, flow: &FlowKey) -> Result<Placing<'_>, FlowError> {
        let route = self.dispatcher.borrow_mut().route(listener, flow);
        Ok(Placing {
            worker: &self.worker,
            dispatcher: &self.dispatcher,
            shard: &self.shard,
            route: route.ok_or(FlowError::NoTarget)?,
            queues: matches!(listener.kind, ListenerKind::Classic(_)).then_some(listener.idle_timeout),
            failed: Vec::new(),
            error: None,
            held_until: None,
        })
    }

    /// Completes when a flow is to end though neither side has ended it: its target's flows are, or its listener has no
    /// weight for its group any more.
    pub(crate) fn called_off(&self, placed: &Placed) -> impl Future<Output = ()> + Unpin {
        let (target_s_flows_end, group) = (self.flow_ends.of(placed.lease.target()), placed.group);
        let mut looked_at = None;
        poll_fn(move |cx| {
            let changes = self.listener_changes.get();
            if looked_at.replace(changes) != Some(changes) && self.has_no_weight(group) {
                return Poll::Ready(());
            }
            target_s_flows_end.poll_happened(cx)
        })
    }

    fn has_no_weight(&self, group: GroupIndex) -> bool {
        let listener = self.dispatcher.borrow_mut().listener(self.listener);
        // One that is gone has its flows finish.
        listener.is_some_and(|listener| has_no_weight(&listener, group))
    }

    /// Tells flows what concerns them of every publication: that those of their target are to end, and every change of their listener.
    pub async fn follow_publications(&self) {
        let mut publications = self.worker.publications.clone();
        let mut known = self.dispatcher.borrow_mut().listener(self.listener);
        loop {
            publications.next().await;
            let listener = self.dispatcher.borrow_mut().listener(self.listener);
            if known == listener {
                self.flow_ends.announce();
            } else {
                known = listener;
                self.listener_changes.set(self.listener_changes.get() + 1);
                self.flow_ends.wake_all();
            }
        }
    }
}

impl Placing<'_> {
    /// The group that it is placed in.
    pub(crate) fn group(&self) -> GroupIndex {
        self.route.group
    }

    /// It has a target.
    pub(crate) fn placed(self, lease: Lease) -> Placed {
        Placed { lease, group: self.route.group }
    }

    /// A lease on the target that a datagram of QUIC names, if the listener forwards to it; its group is the flow's then.
    pub(crate) fn lease_server(&mut self, listener: &Listener, id: ServerId) -> Option<Lease> {
        let (group, lease) = self.dispatcher.borrow_mut().lease_server(listener, id)?;
        self.route.group = group;
        Some(lease)
    }

    /// The server of QUIC that a target of the flow's group is, if it is one.
    pub(crate) fn server(&self, target: &Target) -> Option<ServerId> {
        self.dispatcher.borrow_mut().server_id(self.route.group, target)
    }

    /// Leaves out a target from now on, as long as there is another.
    pub(crate) fn avoid(&mut self, target: TargetSerial) {
        self.failed.push(target);
    }

    /// The leased target was not reached: another one may be leased, unless that has been done too often.
    pub(crate) fn failed(&mut self, lease: &Lease, error: FlowError) -> Result<(), FlowError> {
        lease.target().tally.count_failed();
        match &error {
            FlowError::DialFailed(error) => self.shard.target_dial_failed(error.has_no_port()),
            FlowError::TargetHandshakeFailed(_) => self.shard.target_tls_failed(),
            _ => {}
        }
        self.failed.push(lease.target().serial);
        if self.failed.len() >= ATTEMPTS_MAX {
            return Err(error);
        }
        self.error = Some(error);
        self.shard.retried();
        Ok(())
    }

    /// A lease on the target that the flow's key leads to, on another where that has failed; while the group holds,
    /// waits for one, and then takes whatever is registered. A client that is gone, as `abandoned` says, ends the wait.
    pub(crate) async fn lease(&mut self, abandoned: impl AsyncFnOnce()) -> Result<Lease, FlowError> {
        let leased = self.try_lease(abandoned).await;
        // What went wrong first says more than that nothing else was left.
        leased.map_err(|error| self.error.take().unwrap_or(error))
    }

    async fn try_lease(&mut self, abandoned: impl AsyncFnOnce()) -> Result<Lease, FlowError> {
        let Self { worker, dispatcher, route: Route { group, key }, .. } = *self;
        let mut news = worker.publications.from_now();
        let pick = || {
            let context =
                PickContext { key, now: worker.clock.now(), avoid: &self.failed, pinned: None, arm: None };
            let outcome = dispatcher.borrow_mut().forward(group, &context);
            match outcome {
                // It was leased only because all others are busy.
                Outcome::Forward { lease, .. }
                    if self.queues.is_some()
                        && self.failed.contains(&lease.target().serial)
                        && dispatcher.borrow_mut().may_pick_other(group, &self.failed) =>
                {
                    lease.withdraw();
                    Outcome::Unavailable { group: Some(group), why: Unavailable::Busy }
                }
                outcome => outcome,
            }
        };
        let mut outcome = pick();
        if let Outcome::Forward { lease, .. } = &outcome
            && self.failed.contains(&lease.target().serial)
        {
            drop(outcome);
            // In a box, as below.
            Box::pin(news.next_within(NEWS_WAIT)).await;
            outcome = pick();
        }
        let limit = match outcome {
            Outcome::Forward { lease, .. } => return Ok(lease),
            Outcome::Unavailable { why: Unavailable::Hold(limit), .. } => limit,
            Outcome::Unavailable { why: Unavailable::Busy, .. } => {
                self.queues.ok_or(FlowError::TargetsBusy)?
            }
            _ => return Err(FlowError::NoTarget),
        };
        let _hold = self.shard.hold();
        let ask = || match pick() {
            Outcome::Forward { lease, .. } => ControlFlow::Break(Ok(lease)),
            Outcome::Unavailable { why: Unavailable::Hold(_), .. } => ControlFlow::Continue(Awaited::News),
            Outcome::Unavailable { why: Unavailable::Busy, .. } => match self.queues {
                Some(_) => ControlFlow::Continue(Awaited::Room),
                None => ControlFlow::Break(Err(FlowError::TargetsBusy)),
            },
            _ => ControlFlow::Break(Err(FlowError::NoTarget)),
        };
        let now = worker.clock.now();
        let held_until = self.held_until.unwrap_or(now.after(limit));
        // In a box: few flows wait, and none needs room for it before.
        let waited = Box::pin(async {
            tokio::select! {
                waited = worker.waiting_room.wait(group, held_until.since(now), ask) => Some(waited),
                () = abandoned() => None,
            }
        });
        let waited = waited.await.ok_or(FlowError::ClientLeft)?;
        self.held_until = Some(held_until);
        waited.unwrap_or_else(|why| match why {
            WaitError::Full => Err(FlowError::HoldQueueFull),
            WaitError::TimeUp if self.queues.is_some() => Err(FlowError::TargetsBusy),
            WaitError::TimeUp => {
                let unproven = dispatcher.borrow_mut().lease_unproven(group, &self.failed);
                unproven.ok_or(FlowError::HoldExpired)
            }
        })
    }
}
