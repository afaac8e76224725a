//! Departures: how a connection learns that its target has left for good, and a flow that it is to end.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use slab::Slab;
use weir_core::target::{Target, TargetSerial};

/// What is awaited of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaiting {
    /// That its flows are to end. A target that turns healthy again takes that back.
    FlowsEnd,
    /// That it leaves for good.
    Departure,
}

/// One worker's watch over the targets that its connections lead to.
#[derive(Clone, Debug)]
pub struct Departures {
    awaiting: Awaiting,
    targets: Rc<RefCell<BTreeMap<TargetSerial, Weak<Awaited>>>>,
}

/// A target's departure, awaited by one connection that leads to it.
#[derive(Debug)]
pub struct Departure {
    awaited: Rc<Awaited>,
    place: usize,
}

#[derive(Debug)]
struct Awaited {
    awaiting: Awaiting,
    target: Arc<Target>,
    /// Whom to wake, by place; a connection without work leaves its place empty.
    wakers: RefCell<Slab<Option<Waker>>>,
}

impl Awaited {
    fn has_happened(&self) -> bool {
        match self.awaiting {
            Awaiting::FlowsEnd => self.target.ends_flows(),
            Awaiting::Departure => self.target.has_left(),
        }
    }
}

impl Departures {
    /// A watch over nothing yet.
    pub fn new(awaiting: Awaiting) -> Self {
        Self { awaiting, targets: Rc::default() }
    }

    /// The departure of one target.
    pub fn of(&self, target: &Arc<Target>) -> Departure {
        let mut awaited = self.targets.borrow_mut();
        if let Some(known) = awaited.get(&target.serial).and_then(Weak::upgrade) {
            return Departure::of(known);
        }
        let new =
            Rc::new(Awaited { awaiting: self.awaiting, target: target.clone(), wakers: RefCell::default() });
        awaited.insert(target.serial, Rc::downgrade(&new));
        Departure::of(new)
    }

    /// Tells everyone what has happened to their target. Cost: a look at every target that connections lead to.
    pub fn announce(&self) {
        self.wake(Awaited::has_happened);
    }

    /// Has everyone look again, whatever has happened to their target.
    pub fn wake_all(&self) {
        self.wake(|_| true);
    }

    fn wake(&self, is_concerned: impl Fn(&Awaited) -> bool) {
        self.targets.borrow_mut().retain(|_, awaited| {
            let Some(awaited) = awaited.upgrade() else { return false };
            if is_concerned(&awaited) {
                for (_, waker) in &mut *awaited.wakers.borrow_mut() {
                    waker.take().inspect(Waker::wake_by_ref);
                }
            }
            // What may be taken back may happen again.
            true
        });
    }
}

impl Departure {
    fn of(awaited: Rc<Awaited>) -> Self {
        let place = awaited.wakers.borrow_mut().insert(None);
        Self { awaited, place }
    }

    /// Whether what is awaited has happened.
    pub fn has_happened(&self) -> bool {
        self.awaited.has_happened()
    }

    /// Ready when it has happened; the task of `cx` is woken then.
    pub fn poll_happened(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.has_happened() {
            return Poll::Ready(());
        }
        let place = &mut self.awaited.wakers.borrow_mut()[self.place];
        match place {
            Some(waker) => waker.clone_from(cx.waker()),
            None => *place = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Completes when it has happened.
    pub async fn happened(&self) {
        poll_fn(|cx| self.poll_happened(cx)).await;
    }

    /// Nobody waits any more: the task that did is let go.
    pub fn forget(&self) {
        self.awaited.wakers.borrow_mut()[self.place] = None;
    }
}

impl Clone for Departure {
    fn clone(&self) -> Self {
        Self::of(self.awaited.clone())
    }
}

impl Drop for Departure {
    fn drop(&mut self) {
        self.awaited.wakers.borrow_mut().remove(self.place);
    }
}

#[cfg(test)]
mod tests {
    use weir_core::address::TargetAddr;
    use weir_core::name::GroupName;
    use weir_core::target::TargetId;

    use super::*;

    fn target(serial: u64) -> Arc<Target> {
        let addr = TargetAddr("127.0.0.1:9".parse().unwrap());
        let (id, group) = (TargetId::Address(addr), GroupName::parse("g").unwrap());
        Arc::new(Target::new(TargetSerial(serial), addr, id, group))
    }

    #[tokio::test]
    async fn only_connections_of_the_departed_target_are_told() {
        let departures = Departures::new(Awaiting::Departure);
        let (stays, leaves) = (target(1), target(2));
        let (here, gone, gone_too) = (departures.of(&stays), departures.of(&leaves), departures.of(&leaves));
        leaves.leave();
        departures.announce();
        gone.happened().await;
        gone_too.happened().await;
        assert!(!here.has_happened());
    }

    #[tokio::test]
    async fn a_connection_to_a_target_that_has_left_already_learns_so_at_once() {
        let leaves = target(1);
        leaves.leave();
        let departures = Departures::new(Awaiting::Departure);
        departures.announce();
        departures.of(&leaves).happened().await;
    }

    #[tokio::test]
    async fn flows_learn_of_an_end_also_after_one_that_was_taken_back() {
        let target = target(1);
        let ends = Departures::new(Awaiting::FlowsEnd);
        let end = ends.of(&target);
        target.end_flows(true);
        ends.announce();
        target.end_flows(false);
        let told = async {
            tokio::task::yield_now().await;
            target.end_flows(true);
            ends.announce();
        };
        tokio::join!(end.happened(), told);
    }
}
