//! What a retry budget is compared with: what one worker has under way.

use std::cell::Cell;
use std::rc::Rc;

/// Requests and retries of one group under way in this worker.
#[derive(Debug, Default)]
pub(super) struct Budget {
    pub(super) requests: Cell<u32>,
    pub(super) retries: Cell<u32>,
}

/// One more in a count, until dropped.
pub(super) struct Counted {
    budget: Rc<Budget>,
    count: fn(&Budget) -> &Cell<u32>,
}

impl Counted {
    pub(super) fn new(budget: &Rc<Budget>, count: fn(&Budget) -> &Cell<u32>) -> Self {
        count(budget).set(count(budget).get() + 1);
        Self { budget: budget.clone(), count }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        let count = (self.count)(&self.budget);
        count.set(count.get() - 1);
    }
}
