//! Departures: how a connection learns that its target has left for good.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use tokio::sync::Notify;
use weir_core::target::{Target, TargetSerial};

/// One worker's watch over the targets that its connections lead to.
#[derive(Clone, Debug, Default)]
pub struct Departures(Rc<RefCell<BTreeMap<TargetSerial, Weak<Awaited>>>>);

/// A target's departure, awaited by the connections that lead to it.
#[derive(Clone, Debug)]
pub struct Departure(Rc<Awaited>);

#[derive(Debug)]
struct Awaited {
    target: Arc<Target>,
    happens: Notify,
}

impl Departures {
    /// The departure of one target.
    pub fn of(&self, target: &Arc<Target>) -> Departure {
        let mut awaited = self.0.borrow_mut();
        if let Some(known) = awaited.get(&target.serial).and_then(Weak::upgrade) {
            return Departure(known);
        }
        let new = Rc::new(Awaited { target: target.clone(), happens: Notify::new() });
        awaited.insert(target.serial, Rc::downgrade(&new));
        Departure(new)
    }

    /// Tells everyone whose target has left. Cost: a look at every target that connections lead to.
    pub fn announce(&self) {
        self.0.borrow_mut().retain(|_, awaited| match awaited.upgrade() {
            None => false,
            Some(awaited) if awaited.target.has_left() => {
                awaited.happens.notify_waiters();
                false
            }
            Some(_) => true,
        });
    }
}

impl Departure {
    /// Whether the target has left.
    pub fn has_happened(&self) -> bool {
        self.0.target.has_left()
    }

    /// Completes when the target has left.
    pub async fn happened(&self) {
        while !self.has_happened() {
            self.0.happens.notified().await;
        }
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
