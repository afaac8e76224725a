//! The exchange: a request to the target that was picked, to another when that one fails, and the answer back.

mod arms;
mod budget;
mod load_probes;

use std::cell::RefCell;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use weir_core::balance::PickContext;
use weir_core::comparison::Arm;
use weir_core::decide::Outcome;
use weir_core::dispatcher::{Dispatcher, Speech};
use weir_core::lease::Lease;
use weir_core::snapshot::{GroupIndex, Unavailable};
use weir_core::sticky::Fingerprint;
use weir_core::target::{Target, TargetSerial};
use weir_core::time::Timestamp;
use weir_net::waiting_room::{Awaited, NEWS_WAIT, WaitError};
use weir_net::worker::Worker;
use weir_telemetry::Telemetry;

use self::arms::Arms;
use self::budget::{Budget, Counted};
use self::load_probes::LoadProbes;
use crate::codec::h1::target::Unanswered;
use crate::codec::request::Request;
use crate::codec::response::Response;
use crate::error::{Culprit, RequestError};
use crate::record::Record;
use crate::targets::{Link, Targets};

/// Targets that one request may be tried on.
const ATTEMPTS_MAX: usize = 4;

/// How often idle target-side connections are looked through.
const TIDY_INTERVAL: Duration = Duration::from_secs(5);

/// What one worker exchanges requests with: its dispatcher and its connections to targets.
#[derive(Debug)]
pub struct Exchange {
    /// What connections share.
    pub worker: Worker,
    dispatcher: Rc<RefCell<Dispatcher>>,
    targets: Targets,
    /// By group index.
    budgets: RefCell<Vec<Rc<Budget>>>,
    arms: Arms,
    load_probes: LoadProbes,
}

/// The target that a request waits for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The group that it is one of.
    pub group: GroupIndex,
    /// What it is picked by, where that is hashed.
    pub key: u64,
    /// Who it is, if the client sticks to it.
    pub pinned: Option<Fingerprint>,
    /// Who it is not, as long as there are others, be they busy.
    pub failed: &'a [TargetSerial],
    /// The arm that the request is in, where the group compares algorithms.
    pub arm: Option<Arm>,
}

impl Exchange {
    /// An exchange for one worker. Its idle connections are tidied for as long as it lives.
    pub fn start(worker: Worker, dispatcher: Rc<RefCell<Dispatcher>>, telemetry: Telemetry) -> Rc<Self> {
        let targets = Targets::new(worker.reactor.clone(), worker.clock, worker.departures.clone());
        let tidied = targets.clone();
        tokio::task::spawn_local(async move {
            let mut ticks = tokio::time::interval(TIDY_INTERVAL);
            loop {
                ticks.tick().await;
                tidied.tidy();
            }
        });
        let load_probes = LoadProbes::new(dispatcher.clone(), targets.clone(), worker.clock);
        let (budgets, arms) = (RefCell::default(), Arms::new(telemetry));
        Rc::new(Self { worker, dispatcher, targets, budgets, arms, load_probes })
    }

    /// Closes idle connections to targets that have left.
    pub fn close_departed(&self) {
        self.targets.close_departed();
    }

    /// The worker's dispatcher.
    pub fn dispatcher(&self) -> &RefCell<Dispatcher> {
        &self.dispatcher
    }

    /// Sends a request to the leased target, and brings back the head of its response, with the target that gave it.
    ///
    /// An attempt that never reached its target is repeated on another, whatever the method. One that was written and
    /// not answered is repeated only if the method is idempotent and its body is remembered. Repetitions stay within a
    /// budget, so that a failing group is not drowned in them; one whose target leaves costs nothing of it, for no more is asked
    /// of the group than before. Where `queues` says so, a repetition waits that long for a target that has room.
    ///
    /// # Errors
    /// The [`RequestError`] of the last attempt.
    pub async fn forward(
        &self,
        mut request: Request,
        mut lease: Lease,
        Wanted { group, key, arm, .. }: Wanted<'_>,
        queues: Option<Duration>,
        record: &mut Record,
    ) -> Result<(Response, Arc<Target>), RequestError> {
        let Some((speech, retries)) = self.dispatcher.borrow_mut().speech(group) else {
            return Err(RequestError::NoTarget);
        };
        if !request.suits(speech.version) {
            return Err(RequestError::ProtocolMismatch);
        }
        if let Some(arm) = arm {
            self.compare(group, arm, record);
        }
        self.load_probes.ask(group, arm, &speech);
        let budget = self.budget(group);
        let _request = Counted::new(&budget, |budget| &budget.requests);
        let mut _retry = None;
        let mut failures = Vec::new();
        for attempt in 1.. {
            let target = lease.target().clone();
            // The first attempt follows the decision at once, unless it had to wait.
            let at =
                if attempt == 1 && !record.has_waited() { record.began() } else { self.worker.clock.now() };
            record.dispatched(&target, at);
            let met = target.tally.in_flight();
            let attempted = self.attempt(request, &speech, lease).await;
            if speech.notes_latency {
                self.note_latency(&target, (at, met), &attempted);
            }
            match attempted.as_ref().err().map(|unanswered| &unanswered.error) {
                Some(RequestError::DialFailed(error)) => {
                    record.shard().target_dial_failed(error.has_no_port());
                }
                Some(RequestError::TargetHandshakeFailed(_)) => record.shard().target_tls_failed(),
                _ => {}
            }
            let error = match attempted {
                Ok(response) => {
                    if response.status() >= 500 {
                        target.tally.count_server_error();
                    } else {
                        target.tally.note_success();
                    }
                    return Ok((response, target));
                }
                Err(Unanswered { error, request: None, .. }) => {
                    if error.culprit() != Culprit::Client {
                        target.tally.count_failed();
                    }
                    return Err(error);
                }
                Err(Unanswered { error, request: Some(again), .. }) => {
                    request = again;
                    error
                }
            };
            target.tally.count_failed();
            if attempt == ATTEMPTS_MAX {
                return Err(error);
            }
            _retry = if retries.allows(budget.requests.get(), budget.retries.get()) {
                Some(Counted::new(&budget, |budget| &budget.retries))
            } else if retries.is_any() && Box::pin(self.leaves(group, target.serial)).await {
                None
            } else {
                record.shard().retry_refused();
                return Err(error);
            };
            failures.push(target.serial);
            let wanted = Wanted { group, key, pinned: None, failed: &failures, arm };
            lease = match Box::pin(self.pick_another(wanted, queues, record)).await {
                Ok(lease) if !error.is_deadline() || !failures.contains(&lease.target().serial) => lease,
                Ok(_) | Err(_) => return Err(error),
            };
            record.shard().retried();
        }
        unreachable!("the loop returns at its last attempt")
    }

    /// What comes of the request is counted for its arm.
    fn compare(&self, group: GroupIndex, arm: Arm, record: &mut Record) {
        // The first attempt follows the decision at once, unless it had to wait.
        let since = if record.has_waited() { self.worker.clock.now() } else { record.began() };
        record.compared(self.arms.shard(group, arm), arm.bucket, since);
    }

    /// Notes what a target has taken to the head of its response. Who fails, however fast, is no fast target; a client that has
    /// left says nothing of it.
    fn note_latency(
        &self,
        target: &Target,
        (began, met): (Timestamp, u32),
        attempted: &Result<Response, Unanswered>,
    ) {
        let has_failed = match attempted {
            Ok(response) => response.status() >= 500,
            Err(unanswered) if unanswered.error.culprit() == Culprit::Client => return,
            Err(_) => true,
        };
        let now = self.worker.clock.now();
        target.latency.note(now.since(began), met, has_failed, now);
    }

    /// One attempt. A kept connection that its target had closed is followed by one that was not kept: that is no failure
    /// of the target, and costs nobody's budget.
    async fn attempt(&self, request: Request, speech: &Speech, lease: Lease) -> Result<Response, Unanswered> {
        let unanswered = match self.targets.connect(lease.target(), speech, &request).await {
            Ok(Link::Http1(connection)) => match connection.send(request, lease).await {
                Ok(response) => return Ok(response),
                Err(unanswered) => unanswered,
            },
            Ok(Link::Http2(stream)) => match Box::pin(stream.send(request, lease)).await {
                Ok(response) => return Ok(response),
                Err(unanswered) => unanswered,
            },
            // Whoever has waited as long as for an answer waits no longer.
            Err(error @ RequestError::TargetTimedOut) => return Err(Unanswered::finally(error)),
            Err(error) => return Err(Unanswered { error, request: Some(request), stale: None }),
        };
        let Unanswered { request: Some(request), stale: Some(lease), .. } = unanswered else {
            return Err(unanswered);
        };
        match Box::pin(self.targets.connect_anew(lease.target(), speech, &request)).await {
            Ok(Link::Http1(connection)) => Box::pin(connection.send(request, lease)).await,
            Ok(Link::Http2(stream)) => Box::pin(stream.send(request, lease)).await,
            Err(error) => Err(Unanswered { error, request: Some(request), stale: None }),
        }
    }

    /// Whether a target that has failed may not be picked any more, or there is word of that soon.
    async fn leaves(&self, group: GroupIndex, target: TargetSerial) -> bool {
        let mut news = self.worker.publications.from_now();
        let until_it_leaves = async {
            while self.dispatcher.borrow_mut().may_pick(group, target) {
                news.next().await;
            }
        };
        tokio::time::timeout(NEWS_WAIT, until_it_leaves).await.is_ok()
    }

    /// Another target than those that failed; one of them again if there is no other and none appears.
    async fn pick_another(
        &self,
        wanted: Wanted<'_>,
        queues: Option<Duration>,
        record: &mut Record,
    ) -> Result<Lease, RequestError> {
        let Wanted { group, key, pinned, failed, arm } = wanted;
        let mut news = self.worker.publications.from_now();
        let pick = || {
            let context = PickContext { key, now: self.worker.clock.now(), avoid: failed, pinned, arm };
            self.dispatcher.borrow_mut().forward(group, &context)
        };
        let mut outcome = pick();
        if let Outcome::Forward { lease, .. } = &outcome
            && failed.contains(&lease.target().serial)
        {
            drop(outcome);
            news.next_within(NEWS_WAIT).await;
            outcome = pick();
        }
        match (outcome, queues) {
            (Outcome::Forward { lease, .. }, Some(limit)) if self.is_to_wait(wanted, &lease) => {
                lease.withdraw();
                self.queue(wanted, limit, record).await
            }
            (Outcome::Forward { lease, .. }, _) => Ok(lease),
            (Outcome::Unavailable { why: Unavailable::Hold(limit), .. }, _) => {
                self.hold(wanted, limit, record).await
            }
            (Outcome::Unavailable { why: Unavailable::Busy, .. }, Some(limit)) => {
                self.queue(wanted, limit, record).await
            }
            _ => Err(RequestError::NoTarget),
        }
    }

    /// Whether a target that has failed was leased only because all others are busy.
    fn is_to_wait(&self, Wanted { group, failed, .. }: Wanted<'_>, lease: &Lease) -> bool {
        failed.contains(&lease.target().serial) && self.dispatcher.borrow_mut().may_pick_other(group, failed)
    }

    /// Waits until there is a target, at most for `limit`; then takes whatever is registered, as AWS would have
    /// done at once. A client that leaves meanwhile ends the wait.
    ///
    /// # Errors
    /// [`RequestError::HoldExpired`], [`RequestError::HoldQueueFull`], or [`RequestError::NoTarget`] when waiting
    /// has become pointless.
    pub async fn hold(
        &self,
        wanted: Wanted<'_>,
        limit: Duration,
        record: &mut Record,
    ) -> Result<Lease, RequestError> {
        let busy = || ControlFlow::Break(Err(RequestError::TargetsBusy));
        match self.wait(wanted, limit, record, busy).await {
            Some(answer) => answer,
            None => {
                let unproven = self.dispatcher.borrow_mut().lease_unproven(wanted.group, wanted.failed);
                unproven.ok_or(RequestError::HoldExpired)
            }
        }
    }

    /// Waits until a target has room for one more request, at most for `limit`. A client that leaves meanwhile ends
    /// the wait. Source: Classic Load Balancer, `SurgeQueueLength`.
    ///
    /// # Errors
    /// [`RequestError::TargetsBusy`], [`RequestError::HoldQueueFull`], or [`RequestError::NoTarget`] when waiting
    /// has become pointless.
    pub async fn queue(
        &self,
        wanted: Wanted<'_>,
        limit: Duration,
        record: &mut Record,
    ) -> Result<Lease, RequestError> {
        let busy = || ControlFlow::Continue(Awaited::Room);
        let lease = self.wait(wanted, limit, record, busy).await;
        lease.unwrap_or(Err(RequestError::TargetsBusy))
    }

    /// Waits for a lease, for want of which `busy` says what to do when targets have no room; `None` when the time is over.
    async fn wait(
        &self,
        wanted: Wanted<'_>,
        limit: Duration,
        record: &mut Record,
        busy: impl Fn() -> ControlFlow<Result<Lease, RequestError>, Awaited>,
    ) -> Option<Result<Lease, RequestError>> {
        let Wanted { group, key, pinned, failed, arm } = wanted;
        let hold = record.hold();
        let ask = || {
            let context = PickContext { key, now: self.worker.clock.now(), avoid: failed, pinned, arm };
            let outcome = self.dispatcher.borrow_mut().forward(group, &context);
            match outcome {
                Outcome::Forward { lease, .. } if self.is_to_wait(wanted, &lease) => {
                    lease.withdraw();
                    busy()
                }
                Outcome::Forward { lease, .. } => ControlFlow::Break(Ok(lease)),
                Outcome::Unavailable { why: Unavailable::Hold(_), .. } => {
                    ControlFlow::Continue(Awaited::News)
                }
                Outcome::Unavailable { why: Unavailable::Busy, .. } => busy(),
                _ => ControlFlow::Break(Err(RequestError::NoTarget)),
            }
        };
        let result = self.worker.waiting_room.wait(group, limit, ask).await;
        drop(hold);
        record.held();
        match result {
            Ok(answer) => Some(answer),
            Err(WaitError::Full) => Some(Err(RequestError::HoldQueueFull)),
            Err(WaitError::TimeUp) => None,
        }
    }

    fn budget(&self, group: GroupIndex) -> Rc<Budget> {
        let mut budgets = self.budgets.borrow_mut();
        let at = group.0 as usize;
        if budgets.len() <= at {
            budgets.resize_with(at + 1, Rc::default);
        }
        budgets[at].clone()
    }
}
