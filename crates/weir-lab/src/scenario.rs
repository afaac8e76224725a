//! A scenario: who asks, who answers, what happens meanwhile. The same for the simulator and for live runs.
//!
//! Moments and lengths of time are nanoseconds from the start, as integers.

mod demand;
mod events;
mod keys;
mod read;
mod servers;
mod sides;
mod trace;
mod work;

use weir_core::balance::Draws;
use weir_core::definition::{Algorithm, TargetGroup};
use weir_core::target::Weight;

use crate::arrivals::{Process, Rate};
pub use crate::simulator::Discipline;
use crate::work::Work;

pub use self::keys::OBJECTS;
pub use self::read::{Experiment, load, parse};

/// An experiment.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// What it is called.
    pub name: String,
    /// What it shows, in a sentence or a few.
    pub about: String,
    /// The first seed.
    pub seed: u64,
    /// How many seeds are run, one after the other: every policy meets the same ones.
    pub seeds: u32,
    /// Parts of the capacity at which it is run, instead of what arrivals say; none runs it as it is.
    pub loads: Vec<f64>,
    /// How long requests come.
    pub duration: u64,
    /// For how long of it nothing is measured.
    pub warm_up: u64,
    /// Who asks.
    pub demand: Demand,
    /// How much work requests bring.
    pub work: Work,
    /// What requests are about, where that matters.
    pub keys: Option<Keys>,
    /// Who answers. At least one.
    pub servers: Vec<ServerKind>,
    /// The group that they are targets of; its own list of targets is empty.
    pub group: TargetGroup,
    /// Who is compared.
    pub policies: Vec<Policy>,
    /// Who picks.
    pub dispatchers: Dispatchers,
    /// How long a request or an answer travels between dispatcher and server.
    pub network: u64,
    /// What clients do who have to wait.
    pub client: Client,
    /// How long an answer may take that is good: reports tell the part of requests that were answered within it.
    pub objective: Option<u64>,
    /// What happens meanwhile, in order.
    pub events: Vec<(u64, Event)>,
}

/// Who asks.
#[derive(Clone, Debug, PartialEq)]
pub enum Demand {
    /// Whoever likes, whatever the others get: an open loop.
    Open {
        /// How arrivals follow one another.
        process: Process,
        /// Requests per second.
        rate: Rate,
    },
    /// So many users, each of whom thinks about an answer before asking again: a closed loop.
    Closed {
        /// At least 1.
        users: u32,
        /// How long they think, in the mean; exponential.
        thinking: u64,
    },
}

/// What requests are about: the more popular a key, the lower its number.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Keys {
    /// Different ones.
    pub count: u32,
    /// How much more popular the first ones are: Zipf's exponent; 0 is not at all.
    pub exponent: f64,
}

/// Servers of one kind.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerKind {
    /// How many there are. At least 1.
    pub count: u32,
    /// How they serve.
    pub discipline: Discipline,
    /// How fast: 1 does the work of a second in a second.
    pub speed: f64,
    /// Their share, where the algorithm heeds it.
    pub weight: Weight,
    /// The zone that they are in.
    pub zone: Option<String>,
    /// What they remember, and what it costs them not to.
    pub cache: Option<Cache>,
    /// When they are slower, or stand still, by themselves.
    pub swings: Option<Swings>,
    /// How they start when they come into a running group.
    pub cold_start: Option<ColdStart>,
}

/// The least recently used of what a server remembers is forgotten first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cache {
    /// Keys that fit in.
    pub keys: u32,
    /// Times the work that a request is whose key is not in it.
    pub miss: f64,
}

/// A speed that swings.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Swings {
    /// Speed in the bad times, as a part of the speed in the good ones; 0 stands still.
    pub factor: f64,
    /// How long good times last, in the mean; exponential.
    pub every: u64,
    /// How long bad times last.
    pub lasts: u64,
    /// Whether that is a mean of an exponential distribution, too.
    pub varies: bool,
}

/// A start that is slow at first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ColdStart {
    /// Times the work that requests are at first.
    pub cost: f64,
    /// How long they are.
    pub lasts: u64,
    /// How long it then takes until they are no more work than elsewhere.
    pub fades: u64,
}

/// Who picks: weir's own code, or something that weir has not, to compare it with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// An algorithm of weir.
    Weir(Algorithm),
    /// An algorithm of the laboratory.
    Laboratory(LaboratoryPolicy),
}

/// Algorithms that weir has not. They know nothing of health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LaboratoryPolicy {
    /// Servers that have become idle say so to one dispatcher: Lu et al., "Join-Idle-Queue", 2011.
    JoinIdleQueue,
    /// By response times and queues that servers tell: Suresh et al., "C3", NSDI 2015.
    C3,
    /// Weighted round robin by rate and utilisation that servers tell, as Google's before Prequal.
    WeightedRoundRobin,
    /// Power of two choices by numbers in flight that are asked for every 500 ms, as in YARP of the Prequal paper.
    Yarp,
}

impl Policy {
    /// Every one.
    pub const ALL: [Self; 15] = [
        Self::Weir(Algorithm::RoundRobin),
        Self::Weir(Algorithm::LeastOutstandingRequests),
        Self::Weir(Algorithm::WeightedRandom),
        Self::Weir(Algorithm::PowerOfTwoChoices(Draws::Distinct)),
        Self::Weir(Algorithm::PowerOfTwoChoices(Draws::WithReplacement)),
        Self::Weir(Algorithm::PeakEwma),
        Self::Weir(Algorithm::Prequal),
        Self::Weir(Algorithm::RingHash),
        Self::Weir(Algorithm::Maglev),
        Self::Weir(Algorithm::Rendezvous),
        Self::Weir(Algorithm::FlowHash),
        Self::Laboratory(LaboratoryPolicy::JoinIdleQueue),
        Self::Laboratory(LaboratoryPolicy::C3),
        Self::Laboratory(LaboratoryPolicy::WeightedRoundRobin),
        Self::Laboratory(LaboratoryPolicy::Yarp),
    ];

    /// Whether it picks by the key of a request.
    pub fn needs_keys(self) -> bool {
        matches!(self, Self::Weir(algorithm) if algorithm.hashes() || algorithm == Algorithm::FlowHash)
    }

    /// Its name in scenarios and reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Weir(algorithm) => algorithm.as_str(),
            Self::Laboratory(LaboratoryPolicy::JoinIdleQueue) => "join_idle_queue",
            Self::Laboratory(LaboratoryPolicy::C3) => "c3",
            Self::Laboratory(LaboratoryPolicy::WeightedRoundRobin) => "reported_weighted_round_robin",
            Self::Laboratory(LaboratoryPolicy::Yarp) => "yarp_power_of_two_choices",
        }
    }
}

/// Who picks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dispatchers {
    /// How many; each request comes to any of them. At least 1.
    pub count: u32,
    /// Whether each counts for itself what is in flight: as several weirs do, and the workers of one do not.
    pub count_apart: bool,
    /// How old what they know of numbers in flight gets before it is looked at again; `None` is never old.
    pub refresh: Option<u64>,
    /// Requests that wait in a dispatcher while nobody has room.
    pub surge_queue: u32,
}

/// What clients do who have to wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Client {
    /// When they give up; whoever serves them does not hear of it.
    pub timeout: Option<u64>,
    /// How often what fails is tried again, as far as the group's budget goes.
    pub retries: u32,
    /// When they ask somebody else, too, and take what comes first.
    pub hedge: Option<u64>,
}

/// What happens to servers, by their numbers: in the order of the scenario, and then of their coming.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// They are so many times as fast as they should be; 0 stands still.
    Speed {
        /// Who.
        servers: Vec<u32>,
        /// From now on.
        factor: f64,
    },
    /// They answer that part of what comes with an error, after that time, without doing any work.
    Errors {
        /// Who.
        servers: Vec<u32>,
        /// 0 to 1, from now on.
        share: f64,
        /// How long it takes.
        takes: u64,
    },
    /// They are gone: what they had fails, and whoever comes is refused.
    Crash {
        /// Who.
        servers: Vec<u32>,
    },
    /// They are back, with nothing.
    Recover {
        /// Who.
        servers: Vec<u32>,
    },
    /// Another one of its kind comes, on a port of its own.
    Start {
        /// Whose kind.
        like: u32,
    },
    /// They are deregistered: they drain.
    Stop {
        /// Who.
        servers: Vec<u32>,
    },
}

impl ServerKind {
    /// So many servers that are nothing special.
    pub fn plain(count: u32, discipline: Discipline) -> Self {
        Self {
            count,
            discipline,
            speed: 1.0,
            weight: Weight::ONE,
            zone: None,
            cache: None,
            swings: None,
            cold_start: None,
        }
    }
}

impl Scenario {
    /// Requests of that work that come to servers of one kind whenever they like, at that part of their capacity, for as long as
    /// anybody wants to look.
    pub fn plain(servers: ServerKind, work: Work, load: f64) -> Self {
        let group = crate::simulator::plain_definitions("lab").target_groups.remove(0);
        let scenario = Self {
            name: "plain".to_owned(),
            about: String::new(),
            seed: 1,
            seeds: 1,
            loads: Vec::new(),
            duration: u64::MAX,
            warm_up: 0,
            demand: Demand::Open { process: Process::Poisson, rate: Rate::constant(1.0) },
            work,
            keys: None,
            servers: vec![servers],
            group,
            policies: Vec::new(),
            dispatchers: Dispatchers { count: 1, count_apart: false, refresh: None, surge_queue: 0 },
            network: 0,
            client: Client::default(),
            objective: None,
            events: Vec::new(),
        };
        scenario.at_load(load)
    }

    /// Servers at the start.
    pub fn servers_at_start(&self) -> impl Iterator<Item = &ServerKind> {
        self.servers.iter().flat_map(|kind| std::iter::repeat_n(kind, kind.count as usize))
    }

    /// Seconds of work that all servers together do in a second; infinite where one is never busy.
    pub fn capacity(&self) -> f64 {
        capacity(&self.servers)
    }

    /// The part of its capacity that is asked for at a moment; nothing for a closed loop.
    pub fn load(&self, at: u64) -> Option<f64> {
        match &self.demand {
            Demand::Open { rate, .. } => Some(rate.at(at) * self.work.mean() / 1e9 / self.capacity()),
            Demand::Closed { .. } => None,
        }
    }

    /// The same with that part of its capacity asked for all the time.
    #[must_use]
    pub fn at_load(&self, load: f64) -> Self {
        let mut scenario = self.clone();
        let per_second = load * self.capacity() * 1e9 / self.work.mean();
        if let Demand::Open { rate, .. } = &mut scenario.demand {
            *rate = Rate::constant(per_second);
        }
        scenario
    }
}

/// Seconds of work that these do in a second.
fn capacity(servers: &[ServerKind]) -> f64 {
    let of_kind = |kind: &ServerKind| {
        let at_a_time = match kind.discipline {
            Discipline::Fcfs { slots, .. } => f64::from(slots),
            Discipline::ProcessorSharing { cores } => f64::from(cores),
            Discipline::Infinite => f64::INFINITY,
        };
        f64::from(kind.count) * kind.speed * at_a_time
    };
    servers.iter().map(of_kind).sum()
}
