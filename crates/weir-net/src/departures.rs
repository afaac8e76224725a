//! Departures: how a connection learns that its target has left for good.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use slab::Slab;
use weir_core::target::{Target, TargetSerial};

/// One worker's watch over the targets that its connections lead to.
#[derive(Clone, Debug, Default)]
pub struct Departures(Rc<RefCell<BTreeMap<TargetSerial, Weak<Awaited>>>>);

/// A target's departure, awaited by one connection that leads to it.
#[derive(Debug)]
pub struct Departure {
    awaited: Rc<Awaited>,
    place: usize,
}

#[derive(Debug)]
struct Awaited {
    target: Arc<Target>,
    /// Whom to wake, by place; a connection without work leaves its place empty.
    wakers: RefCell<Slab<Option<Waker>>>,
}

impl Departures {
    /// The departure of one target.
    pub fn of(&self, target: &Arc<Target>) -> Departure {
        let mut awaited = self.0.borrow_mut();
        if let Some(known) = awaited.get(&target.serial).and_then(Weak::upgrade) {
            return Departure::of(known);
        }
        let new = Rc::new(Awaited { target: target.clone(), wakers: RefCell::default() });
        awaited.insert(target.serial, Rc::downgrade(&new));
        Departure::of(new)
    }

    /// Tells everyone whose target has left. Cost: a look at every target that connections lead to.
    pub fn announce(&self) {
        self.0.borrow_mut().retain(|_, awaited| match awaited.upgrade() {
            None => false,
            Some(awaited) if awaited.target.has_left() => {
                for (_, waker) in &mut *awaited.wakers.borrow_mut() {
                    waker.take().inspect(Waker::wake_by_ref);
                }
                false
            }
            Some(_) => true,
        });
    }
}

impl Departure {
    fn of(awaited: Rc<Awaited>) -> Self {
        let place = awaited.wakers.borrow_mut().insert(None);
        Self { awaited, place }
    }

    /// Whether the target has left.
    pub fn has_happened(&self) -> bool {
        self.awaited.target.has_left()
    }

    /// Ready when the target has left; the task of `cx` is woken then.
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

    /// Completes when the target has left.
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
        let departures = Departures::default();
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
        let departures = Departures::default();
        departures.announce();
        departures.of(&leaves).happened().await;
    }
}
