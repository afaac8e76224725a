//! What a generator waits on: sockets, one timer that is exact to the nanosecond, and the clocks beside it.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::time::{
    ClockId, Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, clock_gettime,
    timerfd_create, timerfd_settime,
};

/// Events that are taken at a time; arbitrary.
const EVENTS_MAX: usize = 256;

/// The token that the timer has, and no socket.
const TIMER: u64 = u64::MAX;

/// The token of a [`super::Stop`], which no connection has either.
pub(super) const STOP: u64 = u64::MAX - 1;

const SECOND: u64 = 1_000_000_000;

/// Nanoseconds of the monotonic clock, from an origin that all threads share.
pub(super) fn now() -> u64 {
    nanos(ClockId::Monotonic)
}

/// Nanoseconds of processor time that this thread has had.
pub(super) fn cpu() -> u64 {
    nanos(ClockId::ThreadCPUTime)
}

fn nanos(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec as u64 * SECOND + time.tv_nsec as u64
}

/// What has happened to a socket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Happened {
    /// The number that its owner gave it.
    pub(super) token: u64,
    /// There may be room for more to send.
    pub(super) has_room: bool,
    /// The peer says no more, or the connection is broken.
    pub(super) is_over: bool,
}

/// An edge-triggered epoll with a timer. A sleep by `epoll_wait` alone is rounded to milliseconds.
#[derive(Debug)]
pub(super) struct Poll {
    epoll: OwnedFd,
    timer: OwnedFd,
    /// Events as they came from the kernel may not go from thread to thread.
    happened: Vec<Happened>,
    /// When the timer rings, or rang last.
    armed: u64,
}

impl Poll {
    pub(super) fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        epoll::add(&epoll, &timer, EventData::new_u64(TIMER), EventFlags::IN | EventFlags::ET)?;
        Ok(Self { epoll, timer, happened: Vec::with_capacity(EVENTS_MAX), armed: 0 })
    }

    /// Says `token` once for whatever happens to a socket, until that is closed.
    pub(super) fn watch(&self, socket: &impl AsFd, token: u64) -> io::Result<()> {
        let all = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        Ok(epoll::add(&self.epoll, socket, EventData::new_u64(token), all)?)
    }

    /// Waits until something happens or that moment has come; `None` only looks.
    pub(super) fn wait(&mut self, until: Option<u64>, now: u64) -> io::Result<()> {
        self.happened.clear();
        let look = Timespec { tv_sec: 0, tv_nsec: 0 };
        if let Some(until) = until
            && (self.armed <= now || self.armed > until)
        {
            let at =
                Timespec { tv_sec: (until / SECOND).cast_signed(), tv_nsec: (until % SECOND).cast_signed() };
            let once = Itimerspec { it_interval: look, it_value: at };
            timerfd_settime(&self.timer, TimerfdTimerFlags::ABSTIME, &once)?;
            self.armed = until;
        }
        let timeout = if until.is_some() { None } else { Some(&look) };
        let mut events = [const { MaybeUninit::<Event>::uninit() }; EVENTS_MAX];
        match epoll::wait(&self.epoll, &mut events[..], timeout) {
            Ok((events, _)) => self.happened.extend(events.iter().map(Happened::read)),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// The n-th thing that has happened.
    pub(super) fn happened(&self, at: usize) -> Option<Happened> {
        self.happened.get(at).copied()
    }
}

impl Happened {
    fn read(event: &Event) -> Self {
        let (flags, data) = (event.flags, event.data);
        Self {
            token: data.u64(),
            has_room: flags.contains(EventFlags::OUT),
            is_over: flags.intersects(EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR),
        }
    }
}
