//! Departures: how a connection learns that its target has left for good.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::{Rc, Weak};

use tokio::sync::Notify;
use weir_core::target::TargetSerial;

/// One worker's watch over the targets that its connections lead to.
#[derive(Clone, Debug, Default)]
pub struct Departures(Rc<RefCell<BTreeMap<TargetSerial, Weak<Awaited>>>>);

/// A target's departure, awaited by the connections that lead to it.
#[derive(Clone, Debug)]
pub struct Departure(Rc<Awaited>);

#[derive(Debug, Default)]
struct Awaited {
    has_happened: Cell<bool>,
    happens: Notify,
}

impl Departures {
    /// The departure of one target.
    pub fn of(&self, serial: TargetSerial) -> Departure {
        let mut awaited = self.0.borrow_mut();
        if let Some(known) = awaited.get(&serial).and_then(Weak::upgrade) {
            return Departure(known);
        }
        let new = Rc::new(Awaited::default());
        awaited.insert(serial, Rc::downgrade(&new));
        Departure(new)
    }

    /// Tells everyone whose target `is_present` no longer knows.
    pub fn announce(&self, is_present: impl Fn(TargetSerial) -> bool) {
        self.0.borrow_mut().retain(|serial, awaited| match awaited.upgrade() {
            None => false,
            Some(_) if is_present(*serial) => true,
            Some(awaited) => {
                awaited.has_happened.set(true);
                awaited.happens.notify_waiters();
                false
            }
        });
    }
}

impl Departure {
    /// Whether the target has left.
    pub fn has_happened(&self) -> bool {
        self.0.has_happened.get()
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
    use super::*;

    #[tokio::test]
    async fn only_connections_of_the_departed_target_are_told() {
        let departures = Departures::default();
        let (stays, leaves) = (departures.of(TargetSerial(1)), departures.of(TargetSerial(2)));
        let again = departures.of(TargetSerial(2));
        departures.announce(|serial| serial == TargetSerial(1));
        leaves.happened().await;
        again.happened().await;
        assert!(!stays.has_happened());
    }
}
