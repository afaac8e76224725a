//! A worker's reactor: what the kernel has told of its connections, and whose task waits for it.
//!
//! It has an epoll of its own, of which the runtime tells when it has something to say, until the worker is busy. A connection has a place in a table here, and
//! leaves by being closed; the runtime's own registration is a block of several cache lines, taken under a lock, and a call to leave.
//! What that saves, and what the epoll within an epoll costs, is in `docs/decisions/0030-reactor.md`.

use std::cell::RefCell;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io::Errno;
use slab::Slab;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::task::{spawn_local, yield_now};
use tokio::time::sleep;

/// Most connections that are told of at a time.
const EVENTS_MAX: usize = 256;

/// A worker to which so much has come at a time is busy. Arbitrary: work of some 100 µs, beside which 2 µs to begin and end are little.
const BUSY_EVENTS: usize = 16;

/// Pause before the kernel is asked again to watch the epoll. Arbitrary.
const RETRY_INTERVAL: Duration = Duration::from_millis(1);

/// What is asked of the kernel for everyone. It tells once of each piece that comes.
const ASKED: EventFlags =
    EventFlags::IN.union(EventFlags::PRI).union(EventFlags::RDHUP).union(EventFlags::ET);

/// What ends the wait of who reads: how a connection has ended, reading says.
pub(crate) const READABLE: EventFlags =
    EventFlags::IN.union(EventFlags::RDHUP).union(EventFlags::HUP).union(EventFlags::ERR);

/// What ends the wait of who writes.
pub(crate) const WRITABLE: EventFlags = EventFlags::OUT.union(EventFlags::HUP).union(EventFlags::ERR);

/// One worker's reactor.
#[derive(Clone, Debug)]
pub struct Reactor(Rc<Inner>);

#[derive(Debug)]
struct Inner {
    epoll: OwnedFd,
    table: RefCell<Table>,
}

#[derive(Debug, Default)]
struct Table {
    places: Slab<Place>,
    /// How many have been given: the number of who got the last.
    given: u32,
}

#[derive(Debug)]
struct Place {
    /// Who has it: one after the other do.
    owner: u32,
    /// What was told, and not found to be over since.
    ready: EventFlags,
    /// Who waits.
    waker: Option<Waker>,
}

/// A connection's place in the reactor, once it has one.
#[derive(Debug)]
pub(crate) struct Registration {
    reactor: Reactor,
    place: Option<usize>,
    is_for_writing: bool,
}

/// Has the runtime's event loop watch a socket that its owner keeps open for as long.
///
/// # Errors
/// When the kernel watches as many as it may.
#[allow(deprecated, reason = "safe for what stays open; what is advised instead is unsafe to call")]
pub(crate) fn watch<S: AsRawFd>(socket: S, interest: Interest) -> io::Result<AsyncFd<S>> {
    AsyncFd::with_interest(socket, interest)
}

impl Reactor {
    /// A reactor without connections; it works as long as the runtime of this thread does.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub fn start() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let reactor = Self(Rc::new(Inner { epoll, table: RefCell::default() }));
        spawn_local(reactor.clone().run());
        Ok(reactor)
    }

    /// Tells tasks what has come to their connections: when the runtime tells of the epoll, and turn by turn while much comes.
    async fn run(self) {
        let mut events = Vec::with_capacity(EVENTS_MAX);
        loop {
            let told = self.wait_until_busy(&mut events).await;
            if told.is_err() {
                // The kernel watches as many sockets as it may, or the runtime ends, and this with it.
                sleep(RETRY_INTERVAL).await;
            }
            // Behind all who were told, and what the kernel has to tell the runtime.
            yield_now().await;
            while self.tell(&mut events) > 0 {
                yield_now().await;
            }
        }
    }

    /// Tells what has come as long as that is little at a time. The runtime's epoll watches this one meanwhile, and no longer: each socket
    /// that is added to one that is watched takes a mutex of the whole machine.
    async fn wait_until_busy(&self, events: &mut Vec<Event>) -> io::Result<()> {
        let watched = watch(self.0.epoll.as_raw_fd(), Interest::READABLE)?;
        loop {
            // What has come since is told of, too: the kernel tells of each piece.
            watched.readable().await?.clear_ready();
            if self.tell(events) >= BUSY_EVENTS {
                return Ok(());
            }
        }
    }

    /// Tells what has come by now, as far as it is told of at a time: how much that was.
    fn tell(&self, events: &mut Vec<Event>) -> usize {
        let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
        events.clear();
        // It fails when a signal comes, which nobody has to wait for.
        while let Err(Errno::INTR) = epoll::wait(&self.0.epoll, spare_capacity(events), Some(&at_once)) {}
        let mut table = self.0.table.borrow_mut();
        for event in &*events {
            table.tell(event);
        }
        events.len()
    }
}

impl Table {
    /// A place, and the number of who has it now.
    fn give(&mut self) -> (usize, u32) {
        self.given = self.given.wrapping_add(1);
        let place = Place { owner: self.given, ready: EventFlags::empty(), waker: None };
        (self.places.insert(place), self.given)
    }

    fn tell(&mut self, event: &Event) {
        let (number, owner) = parts(event.data);
        // A program that is being started has the descriptors for a moment, too: then the kernel tells of what is closed here.
        if let Some(place) = self.places.get_mut(number).filter(|place| place.owner == owner) {
            place.ready |= event.flags;
            if let Some(waker) = place.waker.take() {
                waker.wake();
            }
        }
    }
}

impl Registration {
    /// Of a connection that has no place yet.
    pub(crate) fn new(reactor: Reactor) -> Self {
        Self { reactor, place: None, is_for_writing: false }
    }

    /// Whether it is told when it can be written to.
    pub(crate) fn is_for_writing(&self) -> bool {
        self.is_for_writing
    }

    /// Whether anything is told.
    pub(crate) fn has_begun(&self) -> bool {
        self.place.is_some()
    }

    /// Has what comes to `socket` told from now on.
    ///
    /// # Errors
    /// When the kernel watches as many as it may.
    pub(crate) fn begin(&mut self, socket: impl AsFd) -> io::Result<()> {
        if !self.has_begun() {
            self.add(socket, EventFlags::empty())?;
        }
        Ok(())
    }

    /// Has it told, too, when there is room to write.
    ///
    /// # Errors
    /// When the kernel watches as many as it may.
    pub(crate) fn begin_for_writing(&mut self, socket: impl AsFd) -> io::Result<()> {
        match self.place {
            Some(number) => {
                let Inner { epoll, table } = &*self.reactor.0;
                let owner = table.borrow().places[number].owner;
                epoll::modify(epoll, socket, data(number, owner), ASKED | EventFlags::OUT)?;
            }
            None => self.add(socket, EventFlags::OUT)?,
        }
        self.is_for_writing = true;
        Ok(())
    }

    fn add(&mut self, socket: impl AsFd, further: EventFlags) -> io::Result<()> {
        let Inner { epoll, table } = &*self.reactor.0;
        let (number, owner) = table.borrow_mut().give();
        epoll::add(epoll, socket, data(number, owner), ASKED | further)
            .inspect_err(|_| drop(table.borrow_mut().places.remove(number)))?;
        self.place = Some(number);
        Ok(())
    }

    /// Ready when any of `interests` was told; the task of `cx` is woken then, if it is the last that has asked.
    pub(crate) fn poll_ready(&self, interests: EventFlags, cx: &mut Context<'_>) -> Poll<()> {
        // Nothing is told yet.
        let Some(number) = self.place else { return Poll::Pending };
        let place = &mut self.reactor.0.table.borrow_mut().places[number];
        if place.ready.intersects(interests) {
            return Poll::Ready(());
        }
        match &mut place.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }

    /// Whether any of `interests` was told.
    pub(crate) fn is_ready(&self, interests: EventFlags) -> bool {
        self.place
            .is_some_and(|number| self.reactor.0.table.borrow().places[number].ready.intersects(interests))
    }

    /// Says that `what` was found to be over, until it is told again.
    pub(crate) fn clear(&self, what: EventFlags) {
        if let Some(number) = self.place {
            self.reactor.0.table.borrow_mut().places[number].ready -= what;
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // The waker is dropped behind the look at the table: it may own what has a place, too.
        let _place = self.place.map(|number| self.reactor.0.table.borrow_mut().places.remove(number));
    }
}

/// What the kernel keeps with a socket: its place, and who has it.
fn data(number: usize, owner: u32) -> EventData {
    EventData::new_u64(u64::from(owner) << 32 | number as u64)
}

fn parts(data: EventData) -> (usize, u32) {
    let data = data.u64();
    ((data & u64::from(u32::MAX)) as usize, (data >> 32) as u32)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::os::unix::net::UnixStream;

    use super::*;

    #[tokio::test(flavor = "local")]
    async fn more_connections_than_are_told_of_at_a_time_are_told_of() {
        let reactor = Reactor::start().unwrap();
        let pairs: Vec<_> = (0..EVENTS_MAX + 9).map(|_| UnixStream::pair().unwrap()).collect();
        let mut registrations = Vec::new();
        for (near, far) in &pairs {
            let mut registration = Registration::new(reactor.clone());
            registration.begin(near).unwrap();
            registrations.push(registration);
            io::Write::write_all(&mut &*far, b"!").unwrap();
        }
        for registration in &registrations {
            poll_fn(|cx| registration.poll_ready(READABLE, cx)).await;
        }
    }

    /// Whether another epoll of this process watches that of `reactor`.
    fn is_watched(reactor: &Reactor) -> bool {
        let number = reactor.0.epoll.as_raw_fd().to_string();
        std::fs::read_dir("/proc/self/fdinfo").unwrap().flatten().any(|entry| {
            // Others' descriptors may be closed meanwhile.
            let text = std::fs::read_to_string(entry.path()).unwrap_or_default();
            let mut watched = text.lines().filter_map(|line| line.strip_prefix("tfd:"));
            watched.any(|line| line.split_whitespace().next() == Some(&number))
        })
    }

    #[tokio::test(flavor = "local")]
    async fn the_runtime_watches_the_epoll_of_a_worker_unless_it_is_busy() {
        let reactor = Reactor::start().unwrap();
        let pairs: Vec<_> = (0..BUSY_EVENTS).map(|_| UnixStream::pair().unwrap()).collect();
        let mut registrations = Vec::new();
        yield_now().await;
        assert!(is_watched(&reactor));
        for (near, far) in &pairs {
            let mut registration = Registration::new(reactor.clone());
            registration.begin(near).unwrap();
            registrations.push(registration);
            io::Write::write_all(&mut &*far, b"!").unwrap();
        }
        poll_fn(|cx| registrations[0].poll_ready(READABLE, cx)).await;
        assert!(!is_watched(&reactor), "all of it has come in one turn");
        for _ in 0..2 {
            yield_now().await;
        }
        assert!(is_watched(&reactor), "nothing has come in the next");
    }

    #[tokio::test(flavor = "local")]
    async fn what_the_kernel_does_not_watch_has_no_place() {
        let reactor = Reactor::start().unwrap();
        let mut registration = Registration::new(reactor.clone());
        registration.begin(std::fs::File::open("/dev/null").unwrap()).unwrap_err();
        registration.begin_for_writing(std::fs::File::open("/").unwrap()).unwrap_err();
        assert!(!registration.has_begun() && reactor.0.table.borrow().places.is_empty());
    }

    #[tokio::test(flavor = "local")]
    async fn a_place_is_given_back_and_who_had_it_is_told_of_no_more() {
        let reactor = Reactor::start().unwrap();
        let (near, far) = UnixStream::pair().unwrap();
        let mut registration = Registration::new(reactor.clone());
        registration.begin(&near).unwrap();
        let (place, late) = (registration.place, near.try_clone().unwrap());
        drop((registration, near));
        let (other, _other_far) = UnixStream::pair().unwrap();
        let mut registration = Registration::new(reactor.clone());
        registration.begin(&other).unwrap();
        assert_eq!(registration.place, place, "the next one has it");
        // A copy of the descriptor keeps the one before in the kernel's list.
        io::Write::write_all(&mut &far, b"!").unwrap();
        let mut events = Vec::with_capacity(2);
        epoll::wait(&reactor.0.epoll, spare_capacity(&mut events), None).unwrap();
        assert_eq!(parts(events[0].data).0, place.unwrap());
        reactor.0.table.borrow_mut().tell(&events[0]);
        assert!(!registration.is_ready(READABLE));
        drop(late);
    }
}
