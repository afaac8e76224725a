//! Idleness: how a connection learns that nothing has moved on it for as long as it may be silent.
//!
//! A timer is dear to a connection that lives for milliseconds, and one that is re-armed with every byte is dear to all. Here a worker
//! looks once a second at all that it has: a byte costs a flag, and nobody looks at the clock.

use std::cell::RefCell;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use slab::Slab;
use tokio::time::{MissedTickBehavior, interval};

/// How often a worker looks: how much longer than it may a connection is silent at most.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// One worker's watch over connections that may be silent for so long only.
#[derive(Clone, Debug, Default)]
pub struct IdleWatch(Rc<RefCell<Slab<Watched>>>);

/// The idleness of one connection.
#[derive(Debug)]
pub struct Idleness {
    watch: IdleWatch,
    place: usize,
}

#[derive(Debug)]
struct Watched {
    has_moved: bool,
    /// Looks in a row that saw nothing move, and how many are too many.
    silent_looks: u32,
    looks_max: u32,
    /// Whom to wake then.
    waker: Option<Waker>,
}

impl IdleWatch {
    /// The idleness of a connection that begins now, and may be silent for `limit`.
    pub fn over(&self, limit: Duration) -> Idleness {
        let looks_max = limit.as_nanos().div_ceil(LOOK_INTERVAL.as_nanos());
        let looks_max = u32::try_from(looks_max).unwrap_or(u32::MAX);
        let watched = Watched { has_moved: true, silent_looks: 0, looks_max, waker: None };
        Idleness { watch: self.clone(), place: self.0.borrow_mut().insert(watched) }
    }

    /// Looks, as long as this is polled.
    pub async fn look(&self) {
        let mut looks = interval(LOOK_INTERVAL);
        // A worker that was busy has not given connections the time to move.
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            for (_, watched) in &mut *self.0.borrow_mut() {
                watched.look();
            }
        }
    }
}

impl Watched {
    fn look(&mut self) {
        if std::mem::take(&mut self.has_moved) {
            self.silent_looks = 0;
        } else {
            self.silent_looks = self.silent_looks.saturating_add(1);
            if self.is_idle() {
                self.waker.take().inspect(Waker::wake_by_ref);
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.silent_looks >= self.looks_max
    }
}

impl Idleness {
    /// Says that something has moved.
    pub fn end(&self) {
        self.watch.0.borrow_mut()[self.place].has_moved = true;
    }

    /// Ready when the connection has been silent for too long; the task of `cx` is woken then.
    pub fn poll_over(&self, cx: &mut Context<'_>) -> Poll<()> {
        let watched = &mut self.watch.0.borrow_mut()[self.place];
        if watched.is_idle() {
            return Poll::Ready(());
        }
        match &mut watched.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            place => *place = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl Drop for Idleness {
    fn drop(&mut self) {
        self.watch.0.borrow_mut().remove(self.place);
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::time::{Instant, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_moves_puts_idleness_off_and_a_look_ends_it_at_most_a_second_late() {
        let watch = IdleWatch::default();
        let idleness = watch.over(Duration::from_secs(60));
        let story = async {
            sleep(Duration::from_millis(50_500)).await;
            idleness.end();
            let moved = Instant::now();
            poll_fn(|cx| idleness.poll_over(cx)).await;
            moved.elapsed()
        };
        let silent = tokio::select! {
            () = watch.look() => unreachable!("it goes on"),
            silent = story => silent,
        };
        assert!((60_000..=61_000).contains(&silent.as_millis()), "{silent:?}");
    }
}
