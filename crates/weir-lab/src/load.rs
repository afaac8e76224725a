//! An open loop against a live server: requests are sent when they are due, whatever became of those before.
//!
//! One thread is one epoll with a timer. A request that is due while every connection is taken waits in a line and is never
//! skipped; its latency counts from the moment that it was due, so that a server that stands still is charged with everybody
//! who would have come meanwhile. The generator's own lateness is measured beside it, and an [`Outcome`] says when that was
//! too much for its figures to be believed.
//!
//! What this module lacks: TLS, redirects, request bodies, and an allocation per request.

mod connection;
mod end;
mod hearing;
mod hpack;
mod http1;
mod http2;
mod outcome;
mod poll;
mod pool;
mod request;
pub mod stall;
mod start;
mod stop;
mod tally;
mod target;
mod worker;

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::SyncSender;
use std::time::Duration;

pub use hdrhistogram::Histogram;
pub(crate) use outcome::is_late;
pub use outcome::{Ending, Failure, Failures, Invalid, LAG_MAX, LAG_SHARE_MAX, Outcome, Record};
use request::Template;
use start::Start;
pub use stop::Stop;
pub use target::{Endpoint, Protocol, UrlError};
use worker::Worker;

/// Most connections at a time, of all threads.
pub const CONNECTIONS_MAX: usize = 65_536;

/// Most requests at a time on one connection of HTTP/2.
pub const STREAMS_MAX: usize = 1000;

/// Longest time that a thread stays awake before something is due.
pub const SPIN_MAX: Duration = Duration::from_secs(1);

/// Most threads.
pub const THREADS_MAX: usize = 256;

/// Longest time that a load takes, and that an answer is waited for.
pub const DURATION_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Most bytes of a request, but for what the plan of single requests adds.
pub const REQUEST_BYTES_MAX: usize = 8192;

/// What to load, and with what.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The server.
    pub target: Endpoint,
    /// Connections that are open from the start on, if the server takes them; 1 at least.
    pub connections: usize,
    /// Connections that may be open at a time when requests are due and all others are taken: `connections` at least,
    /// [`CONNECTIONS_MAX`] at most. In TCP, where each request is a connection, how many of them may be under way.
    pub connections_max: usize,
    /// Requests at a time on one connection of HTTP/2: 1 to [`STREAMS_MAX`], or as many as the server allows.
    pub streams: usize,
    /// How long an answer is waited for after the request was sent. When the last request has been due for so long, the load
    /// is over.
    pub timeout: Duration,
    /// Threads, each with its share of requests and connections: 1 to [`THREADS_MAX`], at most `connections`.
    pub threads: usize,
    /// How long before something is due a thread stays awake for it. A kernel takes some 50 µs to wake one; who may not be so
    /// late pays with processor time.
    pub spin: Duration,
    /// Header fields that every request has, beside `host`.
    pub headers: Vec<(String, String)>,
    /// Addresses beside loopback's that may be loaded.
    pub allowed: Vec<IpAddr>,
}

impl Plan {
    /// One thread with 64 connections, and up to 1024 when those are taken; 10 s for an answer.
    pub fn new(target: Endpoint) -> Self {
        Self {
            target,
            connections: 64,
            connections_max: 1024,
            streams: 100,
            timeout: Duration::from_secs(10),
            threads: 1,
            spin: Duration::ZERO,
            headers: Vec::new(),
            allowed: Vec::new(),
        }
    }
}

/// A request to come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Planned {
    /// When it is due, in nanoseconds from the start; no earlier than the one before.
    pub at: u64,
    /// Work for the server in nanoseconds, sent as `x-lab-work`.
    pub work: Option<u64>,
    /// What it is about, sent as `x-lab-key`.
    pub key: Option<u64>,
}

/// What others may watch while a load runs.
#[derive(Debug, Default)]
pub struct Watch {
    /// Requests that have been due so far.
    pub planned: AtomicU64,
    /// Requests that have been answered.
    pub answered: AtomicU64,
    /// Requests that ended without an answer.
    pub failed: AtomicU64,
}

impl Watch {
    /// Requests that are due, and have not ended.
    pub fn waiting(&self) -> u64 {
        let ended = self.answered.load(Relaxed) + self.failed.load(Relaxed);
        self.planned.load(Relaxed).saturating_sub(ended)
    }
}

/// Who looks on.
#[derive(Clone, Debug, Default)]
pub struct Onlookers {
    /// Figures while it runs.
    pub watch: Option<Arc<Watch>>,
    /// Takes every request, some thousands at a time, in no order. When it takes them too slowly, requests are sent late, and
    /// their lag says so.
    pub recorder: Option<SyncSender<Vec<Record>>>,
    /// Ends it before its time: nothing more is sent then, and what is under way is waited for a second.
    pub stop: Option<Stop>,
}

/// Why a load could not begin, or go on.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// See [`Plan::connections`] and [`Plan::connections_max`].
    #[error(
        "connections have to be 1 to {CONNECTIONS_MAX}, at least one for each thread, and no more than their maximum"
    )]
    Connections,
    /// A header field is none.
    #[error("{0:?} is not a header field; write it like \"X-Env: blue\", in visible characters")]
    Header(String),
    /// The kernel has no epoll or timer for us.
    #[error("cannot wait for sockets")]
    Io(#[from] io::Error),
    /// Nobody has said that this address may be loaded.
    #[error(
        "{0} is not a loopback address, and nobody has said that it may be loaded; if it is yours to load, say so with --allow {0}"
    )]
    NotAllowed(IpAddr),
    /// See [`REQUEST_BYTES_MAX`].
    #[error(
        "a request of more than {REQUEST_BYTES_MAX} bytes; send fewer or shorter header fields, or a shorter path"
    )]
    RequestBytes,
    /// See [`SPIN_MAX`].
    #[error("a thread may stay awake for at most {} s before something is due; 100us are plenty", SPIN_MAX.as_secs())]
    Spin,
    /// See [`STREAMS_MAX`].
    #[error("streams of a connection have to be 1 to {STREAMS_MAX}")]
    Streams,
    /// See [`THREADS_MAX`].
    #[error("threads have to be 1 to {THREADS_MAX}")]
    Threads,
    /// See [`DURATION_MAX`].
    #[error("times have to be longer than nothing and at most {} h", DURATION_MAX.as_secs() / 3600)]
    Time,
}

/// Sends requests when they are due, and comes back when all have ended or the last has been due for the timeout.
///
/// Every thread walks through its own copy of `requests` and sends each n-th. They have to be in order of time.
///
/// # Errors
/// Whatever is wrong with the plan, before anything is sent. What goes wrong with requests is in the [`Outcome`].
pub fn run<I>(plan: &Plan, requests: &I, onlookers: &Onlookers) -> Result<Outcome, LoadError>
where
    I: Iterator<Item = Planned> + Clone + Send,
{
    go(plan, onlookers, |thread| requests.clone().skip(thread).step_by(plan.threads), None)
}

/// Sends as fast as answers come over `connections`, for so long: a closed loop, whose latencies are of no schedule.
///
/// # Errors
/// As [`run`].
pub fn saturate(plan: &Plan, duration: Duration, onlookers: &Onlookers) -> Result<Outcome, LoadError> {
    check_time(duration)?;
    let plan = Plan { connections_max: plan.connections, ..plan.clone() };
    go(&plan, onlookers, |_| std::iter::empty(), Some(duration))
}

fn go<I>(
    plan: &Plan,
    onlookers: &Onlookers,
    requests: impl Fn(usize) -> I,
    closed: Option<Duration>,
) -> Result<Outcome, LoadError>
where
    I: Iterator<Item = Planned> + Send,
{
    check(plan)?;
    let start = Start::new(plan.threads);
    let workers = (0..plan.threads)
        .map(|thread| Worker::new(plan, thread, requests(thread), closed, onlookers))
        .collect::<Result<Vec<_>, _>>()?;
    let outcomes: Vec<Outcome> = std::thread::scope(|scope| {
        let mut workers = workers.into_iter();
        // The first works here, so that one thread needs no other.
        let first = workers.next();
        let threads: Vec<_> = workers.map(|worker| scope.spawn(|| worker.run(&start))).collect();
        let own = first.map(|worker| worker.run(&start));
        let joined = threads.into_iter().map(|thread| thread.join().expect("a worker does not panic"));
        own.into_iter().chain(joined).collect()
    });
    let mut all = Outcome::empty();
    for outcome in &outcomes {
        all.add(outcome);
    }
    all.is_scheduled = closed.is_none();
    Ok(all)
}

/// Says what is wrong with a plan, before anything is sent. [`run`] and [`saturate`] do so too.
///
/// # Errors
/// All that is wrong beforehand, [`LoadError::NotAllowed`] first.
pub fn check(plan: &Plan) -> Result<(), LoadError> {
    let ip = plan.target.addr.ip();
    if !ip.to_canonical().is_loopback() && !plan.allowed.contains(&ip) {
        return Err(LoadError::NotAllowed(ip));
    }
    Template::new(plan)?;
    if !(1..=THREADS_MAX).contains(&plan.threads) {
        return Err(LoadError::Threads);
    }
    if plan.connections < plan.threads
        || !(plan.connections..=CONNECTIONS_MAX).contains(&plan.connections_max)
    {
        return Err(LoadError::Connections);
    }
    if !(1..=STREAMS_MAX).contains(&plan.streams) {
        return Err(LoadError::Streams);
    }
    if plan.spin > SPIN_MAX {
        return Err(LoadError::Spin);
    }
    check_time(plan.timeout)
}

fn check_time(time: Duration) -> Result<(), LoadError> {
    if time.is_zero() || time > DURATION_MAX { Err(LoadError::Time) } else { Ok(()) }
}
