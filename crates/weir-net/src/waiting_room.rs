//! The waiting room: requests and flows of one worker that wait for a target of their group.
//!
//! They leave in the order they came, one after another with a pause between, so that the first target that appears
//! is not met by all of them at once.

use std::cell::{Cell, RefCell};
use std::ops::ControlFlow;
use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until, timeout};
use weir_core::snapshot::GroupIndex;

use crate::worker::Publications;

/// Requests and flows of one worker that may wait at a time. What one of them takes is its head, of limited size; a
/// body stays with the client.
const PLACES_MAX: usize = 1024;

/// Time between two of one group that leave one worker: 1,000 a second, where as many may have gathered.
const RELEASE_INTERVAL: Duration = Duration::from_millis(1);

/// How often whoever is first in line asks whether a target has room. Ours: whoever ends elsewhere tells nobody.
const ROOM_INTERVAL: Duration = Duration::from_millis(2);

/// How long another attempt waits for news when everyone who is left has failed already: discovery usually says within
/// milliseconds that a target is gone.
pub const NEWS_WAIT: Duration = Duration::from_millis(200);

/// Where requests and flows of one worker wait.
#[derive(Clone, Debug)]
pub struct WaitingRoom {
    publications: Publications,
    taken: Rc<Cell<usize>>,
    /// By group index: whose turn it is, and when the next may leave.
    turns: Rc<RefCell<Vec<Rc<Mutex<Instant>>>>>,
}

/// What somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Awaited {
    /// A publication: a target that may be picked.
    News,
    /// Room at a target that has as much to do as it may have.
    Room,
}

/// Why somebody left without an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WaitError {
    /// Too many wait already.
    #[error("{PLACES_MAX} wait already")]
    Full,
    /// Nothing came in time.
    #[error("the time is over")]
    TimeUp,
}

impl WaitingRoom {
    /// A room in which `publications` are heard.
    pub fn new(publications: Publications) -> Self {
        Self { publications, taken: Rc::default(), turns: Rc::default() }
    }

    /// Waits, at most for `limit`, until `ask` has an answer. It is asked when the turn comes, and again when what it waits for
    /// may have come.
    ///
    /// # Errors
    /// [`WaitError::Full`] at once, or [`WaitError::TimeUp`].
    pub async fn wait<R>(
        &self,
        group: GroupIndex,
        limit: Duration,
        mut ask: impl FnMut() -> ControlFlow<R, Awaited>,
    ) -> Result<R, WaitError> {
        let _place = Place::take(&self.taken).ok_or(WaitError::Full)?;
        let turn = self.turn(group);
        let answered = async {
            // The lock is fair: whoever came first has it first, and hears the news for those behind.
            let mut next_release = turn.lock().await;
            sleep_until(*next_release).await;
            let mut news = self.publications.from_now();
            loop {
                match ask() {
                    ControlFlow::Break(answer) => {
                        *next_release = Instant::now() + RELEASE_INTERVAL;
                        return answer;
                    }
                    ControlFlow::Continue(Awaited::News) => news.next().await,
                    ControlFlow::Continue(Awaited::Room) => drop(news.next_within(ROOM_INTERVAL).await),
                }
            }
        };
        timeout(limit, answered).await.map_err(|_| WaitError::TimeUp)
    }

    fn turn(&self, group: GroupIndex) -> Rc<Mutex<Instant>> {
        let mut turns = self.turns.borrow_mut();
        let at = group.0 as usize;
        while turns.len() <= at {
            turns.push(Rc::new(Mutex::new(Instant::now())));
        }
        turns[at].clone()
    }
}

/// A place in the room, until dropped.
struct Place<'a>(&'a Cell<usize>);

impl<'a> Place<'a> {
    fn take(taken: &'a Cell<usize>) -> Option<Self> {
        (taken.get() < PLACES_MAX).then(|| {
            taken.set(taken.get() + 1);
            Self(taken)
        })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;
    use tokio::task::{LocalSet, spawn_local};

    use super::*;

    const GROUP: GroupIndex = GroupIndex(3);
    const LIMIT: Duration = Duration::from_secs(10);

    fn room() -> (watch::Sender<u64>, WaitingRoom) {
        let (sender, publications) = Publications::new();
        (sender, WaitingRoom::new(publications))
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_wait_leave_in_the_order_they_came_with_a_pause_between() {
        LocalSet::new()
            .run_until(async {
                let (sender, room) = room();
                let (is_open, left) = (Rc::new(Cell::new(false)), Rc::new(RefCell::new(Vec::new())));
                let began = Instant::now();
                let waiting: Vec<_> = (0..5)
                    .map(|number| {
                        let (room, is_open, left) = (room.clone(), is_open.clone(), left.clone());
                        spawn_local(async move {
                            let ask = || {
                                if is_open.get() {
                                    ControlFlow::Break(())
                                } else {
                                    ControlFlow::Continue(Awaited::News)
                                }
                            };
                            room.wait(GROUP, LIMIT, ask).await.unwrap();
                            left.borrow_mut().push((number, began.elapsed()));
                        })
                    })
                    .collect();
                tokio::task::yield_now().await;
                is_open.set(true);
                sender.send_replace(1);
                for one in waiting {
                    one.await.unwrap();
                }
                let left = left.borrow();
                assert_eq!(left.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
                assert!(left.is_sorted_by(|a, b| b.1 >= a.1 + RELEASE_INTERVAL), "{left:?}");
            })
            .await;
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_waits_leaves_when_its_time_is_over() {
        let (_sender, room) = room();
        let left = room.wait(GROUP, LIMIT, || ControlFlow::<(), _>::Continue(Awaited::News)).await;
        assert_eq!((left, room.taken.get()), (Err(WaitError::TimeUp), 0));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_waits_for_room_asks_again_without_news() {
        let (_sender, room) = room();
        let mut asked = 0;
        let ask = || {
            asked += 1;
            if asked == 5 { ControlFlow::Break(7) } else { ControlFlow::Continue(Awaited::Room) }
        };
        assert_eq!(room.wait(GROUP, LIMIT, ask).await, Ok(7));
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_room_takes_nobody() {
        let (_sender, room) = room();
        room.taken.set(PLACES_MAX);
        let left = room.wait(GROUP, LIMIT, || ControlFlow::Break(())).await;
        assert_eq!(left, Err(WaitError::Full));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_gives_up_makes_room_and_passes_its_turn_on() {
        let (_sender, room) = room();
        let impatient = room.wait(GROUP, LIMIT, || ControlFlow::<(), _>::Continue(Awaited::News));
        assert!(timeout(Duration::from_secs(1), impatient).await.is_err());
        assert_eq!(room.taken.get(), 0);
        assert_eq!(room.wait(GROUP, LIMIT, || ControlFlow::Break(7)).await, Ok(7));
    }
}
