//! The simulator: a scenario in virtual time, around the very dispatchers of weir.
//!
//! One clock in integer nanoseconds; what happens at one moment happens in the order in which it was announced. Every purpose of
//! chance has a stream of its own, so that another algorithm meets the very same requests. A run is a function of scenario, policy
//! and seed: the same on every machine, however many run beside it.

mod ahead;
mod cache;
mod control;
mod dispatch;
mod events;
mod laboratory;
mod picks;
mod probes;
mod queue;
mod request;
mod server;
mod site;

use slab::Slab;
use weir_core::balance::Asked;

pub(crate) use self::control::plain_definitions;
pub use self::picks::Picks;
pub use self::server::Discipline;
pub(crate) use self::server::{Announcement, Job};
pub(crate) use self::site::Site;

use self::ahead::Ahead;
use self::dispatch::{Dispatch, Ending, Held};
use self::queue::Queue;
use crate::arrivals::Arrivals;
use crate::random::{Purpose, Stream};
use crate::scenario::{Demand, Policy, Scenario};
use crate::work::Works;
use crate::zipf::Zipf;

/// How long what happens by the clock goes on when requests have ceased to come and some are not answered: an hour, in nanoseconds.
const DRAIN_MAX: u64 = 3_600_000_000_000;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered.
    Answered,
    /// It was answered with an error of the server.
    ServerError,
    /// Nobody took it: no target, no room, or its server is gone.
    Refused,
    /// The client gave up, or was never answered.
    TimedOut,
}

/// A request that has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its number, in the order of coming.
    pub number: u64,
    /// When it came.
    pub came: u64,
    /// When it ended.
    pub ended: u64,
    /// How.
    pub outcome: Outcome,
    /// The server that answered, or had it last; `None` when it came to none.
    pub server: Option<u32>,
    /// How long it waited there; zero where it was served at once.
    pub waited: u64,
    /// How often it was sent.
    pub attempts: u32,
}

/// What there is to see at a moment.
#[derive(Clone, Copy, Debug)]
pub struct View<'s> {
    /// Requests at each server that were sent and have not been answered, by number; none where it has gone for good.
    pub in_flight: &'s [u32],
}

/// Whoever watches a run.
pub trait Observer {
    /// A request has ended.
    fn ended(&mut self, ended: &Ended);

    /// How often to [`Observer::look`], in nanoseconds; never by default.
    fn look_every(&self) -> Option<u64> {
        None
    }

    /// It is time to look.
    fn look(&mut self, _now: u64, _view: View<'_>) {}
}

/// What happens next.
#[derive(Clone, Copy, Debug)]
enum Happening {
    /// A request or its hedge arrives at its server.
    Reaches(u32),
    /// A server has done a job, if the announcement still counts.
    Done {
        server: u32,
        announcement: u32,
    },
    /// An answer arrives.
    Answered {
        attempt: u32,
        ending: Ending,
    },
    /// A client gives up, if its request is still there.
    GivesUp {
        request: u32,
        serial: u32,
    },
    /// A client asks somebody else, too.
    Hedges {
        request: u32,
        serial: u32,
    },
    /// A user has thought enough.
    Asks,
    /// An event of the scenario.
    Event(u32),
    /// A server's speed swings, or a cold start goes on.
    Swings(u32),
    Warms(u32),
    /// A probe arrives at its server.
    Probed(u32),
    /// What a server says of its load arrives.
    Reported(u32),
    /// What weir's control does by the clock.
    Control(control::Chore),
    /// What dispatchers know is looked at again.
    Refresh,
    /// The observer looks.
    Look,
}

#[derive(Debug)]
struct Request {
    number: u64,
    /// The low bits of its number: what is said of the one before in its place is void.
    serial: u32,
    /// What it would be at a server of speed 1 that remembers it.
    work: u64,
    came: u64,
    key: u64,
    dispatcher: u32,
    attempts: u32,
    /// Attempts that have not ended: one, and one of its hedge.
    under_way: [Option<u32>; 2],
    failed: dispatch::Failed,
}

#[derive(Debug)]
struct Attempt {
    request: u32,
    serial: u32,
    server: u32,
    work: u64,
    sent: u64,
    waited: u64,
    /// Jobs that its server had when it came, itself counted.
    met: u32,
    dispatcher: u32,
    is_retry: bool,
    held: Held,
}

/// A run.
#[derive(Debug)]
pub struct Simulator<'s, O> {
    scenario: &'s Scenario,
    seed: u64,
    observer: O,
    now: u64,
    queue: Queue<Happening>,
    arrivals: Option<Ahead<Arrivals>>,
    next_arrival: Option<u64>,
    requests_ever: u64,
    requests_most: u64,
    requests: Slab<Request>,
    attempts: Slab<Attempt>,
    probes: Slab<probes::Probe>,
    /// Kept empty, for its room.
    drawn: Vec<Asked>,
    sites: Vec<Site>,
    in_flight: Vec<u32>,
    dispatch: Dispatch,
    zipf: Option<Zipf>,
    works: Ahead<Works<'s>>,
    works_of_hedges: Stream,
    keys: Stream,
    thinking: Stream,
    faults: Stream,
}

/// Runs a scenario to its end, and gives the observer back.
pub fn simulate<O: Observer>(scenario: &Scenario, policy: Policy, seed: u64, observer: O) -> O {
    Simulator::new(scenario, policy, seed, observer).run()
}

impl<'s, O: Observer> Simulator<'s, O> {
    /// A run that has not begun.
    pub fn new(scenario: &'s Scenario, policy: Policy, seed: u64, observer: O) -> Self {
        let stream = |purpose, number| Stream::new(seed, purpose, number);
        let arrivals = match &scenario.demand {
            Demand::Open { process, rate } => {
                Some(Ahead::of(Arrivals::new(process.clone(), rate.clone(), seed)))
            }
            Demand::Closed { .. } => None,
        };
        let sites: Vec<Site> = scenario
            .servers_at_start()
            .zip(0..)
            .map(|(kind, number)| Site::new(kind, seed, number))
            .collect();
        Self {
            scenario,
            seed,
            observer,
            now: 0,
            queue: Queue::new(),
            arrivals,
            next_arrival: None,
            requests_ever: 0,
            requests_most: u64::MAX,
            requests: Slab::new(),
            attempts: Slab::new(),
            probes: Slab::new(),
            drawn: Vec::new(),
            in_flight: vec![0; sites.len()],
            dispatch: Dispatch::new(scenario, policy, seed),
            sites,
            zipf: scenario.keys.map(|keys| Zipf::new(keys.count, keys.exponent)),
            works: Ahead::of(Works::new(&scenario.work, seed)),
            works_of_hedges: stream(Purpose::Service, 1),
            keys: stream(Purpose::Keys, 0),
            thinking: stream(Purpose::Arrivals, 2),
            faults: stream(Purpose::Faults, 0),
        }
    }

    /// Ends with so many requests, if the scenario does not end before.
    #[must_use]
    pub fn at_most(mut self, requests: u64) -> Self {
        self.requests_most = requests;
        self
    }

    /// Runs until requests have ceased to come, and those that had come have ended.
    pub fn run(mut self) -> O {
        self.begin();
        loop {
            match (self.next_arrival, self.queue.next_at()) {
                (Some(arrival), event) if event.is_none_or(|event| arrival <= event) => {
                    self.now = arrival;
                    self.arrive();
                    self.expect_arrival();
                }
                (_, Some(_)) => {
                    if let Some((at, happening)) = self.queue.next() {
                        self.now = at;
                        self.happen(happening);
                    }
                }
                (_, None) => return self.give_up_all(),
            }
        }
    }

    /// Nothing happens any more: whoever still waits will not be answered, and has waited until now.
    fn give_up_all(mut self) -> O {
        self.now = self.now.max(self.scenario.duration.min(self.now.saturating_add(DRAIN_MAX)));
        let mut left: Vec<(u64, u32)> =
            self.requests.iter().map(|(at, request)| (request.number, at as u32)).collect();
        left.sort_unstable();
        for (_, request) in left {
            self.end(request, Outcome::TimedOut, None);
        }
        self.observer
    }

    fn begin(&mut self) {
        for (number, (at, _)) in (0..).zip(&self.scenario.events) {
            self.queue.announce(*at, Happening::Event(number));
        }
        for server in 0..self.sites.len() as u32 {
            self.expect_swing(server);
        }
        for (at, chore) in self.dispatch.first_chores() {
            self.queue.announce(at, Happening::Control(chore));
        }
        if let Some(every) = self.scenario.dispatchers.refresh {
            self.queue.announce(every, Happening::Refresh);
        }
        if let Some(every) = self.observer.look_every() {
            self.queue.announce(every, Happening::Look);
        }
        if let Demand::Closed { users, .. } = self.scenario.demand {
            (0..users).for_each(|_| self.think());
        }
        self.expect_arrival();
    }

    /// Whether what happens by the clock has an end: with the last request, or a while after the last one has come. Who is not answered
    /// by then is served by nobody.
    fn is_over(&self) -> bool {
        let has_ended = self.requests.is_empty() && (self.now >= self.scenario.duration || self.has_enough());
        has_ended || self.now >= self.scenario.duration.saturating_add(DRAIN_MAX)
    }

    fn has_enough(&self) -> bool {
        self.requests_ever >= self.requests_most
    }

    fn expect_arrival(&mut self) {
        let has_enough = self.has_enough();
        let next = self.arrivals.as_mut().filter(|_| !has_enough).and_then(Iterator::next);
        self.next_arrival = next.filter(|at| *at < self.scenario.duration);
    }

    fn think(&mut self) {
        let Demand::Closed { thinking, .. } = self.scenario.demand else { return };
        let at = self.now + (self.thinking.exponential() * thinking as f64) as u64;
        if at < self.scenario.duration && !self.has_enough() {
            self.queue.announce(at, Happening::Asks);
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Reaches(attempt) => self.reach(attempt),
            Happening::Done { server, announcement } => self.done(server, announcement),
            Happening::Answered { attempt, ending } => self.answered(attempt, ending),
            Happening::GivesUp { request, serial } => self.give_up(request, serial),
            Happening::Hedges { request, serial } => self.hedge(request, serial),
            Happening::Asks => self.arrive(),
            Happening::Event(number) => self.take_place(number),
            Happening::Swings(server) => self.swing(server),
            Happening::Warms(server) => self.warm(server),
            Happening::Probed(probe) => self.probed(probe),
            Happening::Reported(probe) => self.reported(probe),
            Happening::Control(chore) => {
                let is_up = |server: u32| self.sites.get(server as usize).is_some_and(Site::is_up);
                if let Some(at) = self.dispatch.do_chore(chore, self.now, &is_up)
                    && !self.is_over()
                {
                    self.queue.announce(at, Happening::Control(chore));
                }
            }
            Happening::Refresh => {
                self.dispatch.refresh(&self.in_flight);
                self.again(self.scenario.dispatchers.refresh, Happening::Refresh);
            }
            Happening::Look => {
                self.observer.look(self.now, View { in_flight: &self.in_flight });
                self.again(self.observer.look_every(), Happening::Look);
            }
        }
    }

    fn again(&mut self, every: Option<u64>, happening: Happening) {
        if let Some(every) = every.filter(|_| !self.is_over()) {
            self.queue.announce(self.now + every, happening);
        }
    }
}

impl From<Ending> for Outcome {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Answered => Self::Answered,
            Ending::ServerError => Self::ServerError,
            Ending::Refused => Self::Refused,
        }
    }
}

#[cfg(test)]
mod tests;
