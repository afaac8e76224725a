//! What is going to happen, in order: by time, and at one moment in the order in which it was announced.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// A queue of events.
#[derive(Debug)]
pub(super) struct Queue<E> {
    heap: BinaryHeap<Entry<E>>,
    announced: u64,
}

#[derive(Debug)]
struct Entry<E> {
    /// Nanoseconds, then the number of the announcement: one number is compared faster than two.
    key: u128,
    event: E,
}

impl<E> Queue<E> {
    pub(super) fn new() -> Self {
        Self { heap: BinaryHeap::new(), announced: 0 }
    }

    /// Announces an event for a moment, in nanoseconds.
    pub(super) fn announce(&mut self, at: u64, event: E) {
        self.heap.push(Entry { key: (u128::from(at) << 64) | u128::from(self.announced), event });
        self.announced += 1;
    }

    /// When the next event is.
    pub(super) fn next_at(&self) -> Option<u64> {
        self.heap.peek().map(|entry| (entry.key >> 64) as u64)
    }

    /// The next event.
    pub(super) fn next(&mut self) -> Option<(u64, E)> {
        self.heap.pop().map(|entry| ((entry.key >> 64) as u64, entry.event))
    }
}

impl<E> Ord for Entry<E> {
    /// The heap gives the largest first, which is the earliest here.
    fn cmp(&self, other: &Self) -> Ordering {
        other.key.cmp(&self.key)
    }
}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl<E> Eq for Entry<E> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_one_moment_come_in_the_order_in_which_they_were_announced() {
        let mut queue = Queue::new();
        for (at, event) in [(5, 'a'), (3, 'b'), (5, 'c'), (3, 'd')] {
            queue.announce(at, event);
        }
        assert_eq!(queue.next_at(), Some(3));
        let order: Vec<(u64, char)> = std::iter::from_fn(|| queue.next()).collect();
        assert_eq!(order, [(3, 'b'), (3, 'd'), (5, 'a'), (5, 'c')]);
    }
}
