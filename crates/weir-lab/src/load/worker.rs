//! One thread of a generator: what is due is sent, what comes is heard, what takes too long is given up.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use super::connection::{Connection, Talk};
use super::http1::Reader;
use super::http2::{Ended, Http2};
use super::outcome::{Ending, Failure, Outcome};
use super::poll::{Poll, STOP, cpu, now};
use super::pool::Pool;
use super::request::{ECHO, Template};
use super::start::Start;
use super::stop::Stop;
use super::tally::{Flight, Tally};
use super::{LoadError, Onlookers, Plan, Planned, Protocol, Watch};

/// Bytes that are read at a time.
const BUFFER_BYTES: usize = 64 * 1024;

/// Longest wait for the first connections before the load begins without them, in nanoseconds.
const CONNECT_WAIT: u64 = 1_000_000_000;

/// How long a closed loop waits after it lost a connection, so that a server that refuses all is not asked without pause.
const PAUSE: u64 = 10_000_000;

/// A request that is due.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    /// Since when.
    pub(super) at: u64,
    /// Since when the generator knows.
    pub(super) noticed: u64,
    pub(super) work: Option<u64>,
    pub(super) key: Option<u64>,
}

/// A thread's share of a load. Moments are those of [`now`].
pub(super) struct Worker<'a, I> {
    pub(super) plan: &'a Plan,
    requests: I,
    pub(super) next: Option<Planned>,
    /// How long a closed loop goes on, and until when.
    closed: Option<Duration>,
    pub(super) closed_until: u64,
    /// A closed loop asks for nothing before.
    paused_until: u64,
    /// Requests that a closed loop keeps under way.
    slots: usize,
    connections: usize,
    connections_max: usize,
    pub(super) pool: Pool,
    pub(super) poll: Poll,
    /// Due, and not sent.
    pub(super) queue: VecDeque<Waiting>,
    pub(super) in_flight: usize,
    /// When a connection last made room for another.
    pub(super) vacated: u64,
    pub(super) last_due: u64,
    /// When a load that has been stopped is over, whatever is under way.
    pub(super) stopped_until: u64,
    pub(super) stop: Option<Stop>,
    /// When something may have taken too long.
    pub(super) next_scan: u64,
    pub(super) timeout: u64,
    spin: u64,
    template: Template,
    scratch: Vec<u8>,
    datagram: Vec<u8>,
    pub(super) buffer: Box<[u8]>,
    pub(super) ended: Vec<Ended>,
    /// Connections of HTTP/2 with something to send.
    pub(super) unsent: Vec<u64>,
    pub(super) tally: Tally,
    watch: Option<Arc<Watch>>,
    /// What the watch has been told: due, answered, failed.
    told: [u64; 3],
}

impl<'a, I: Iterator<Item = Planned>> Worker<'a, I> {
    pub(super) fn new(
        plan: &'a Plan,
        thread: usize,
        requests: I,
        closed: Option<Duration>,
        onlookers: &Onlookers,
    ) -> Result<Self, LoadError> {
        let share = |all: usize| all / plan.threads + usize::from(thread < all % plan.threads);
        let connections = share(plan.connections);
        let at_a_time = if plan.target.protocol == Protocol::Http2 { plan.streams } else { 1 };
        Ok(Self {
            plan,
            requests,
            next: None,
            closed,
            closed_until: 0,
            paused_until: 0,
            slots: connections * at_a_time,
            connections,
            connections_max: share(plan.connections_max),
            pool: Pool::default(),
            poll: Poll::new()?,
            queue: VecDeque::new(),
            in_flight: 0,
            vacated: 0,
            last_due: 0,
            stopped_until: u64::MAX,
            stop: onlookers.stop.clone(),
            next_scan: u64::MAX,
            timeout: plan.timeout.as_nanos() as u64,
            spin: plan.spin.as_nanos() as u64,
            template: Template::new(plan)?,
            scratch: Vec::new(),
            datagram: [&[0; 8], ECHO].concat(),
            buffer: vec![0; BUFFER_BYTES].into(),
            ended: Vec::new(),
            unsent: Vec::new(),
            tally: Tally::new(onlookers.recorder.clone()),
            watch: onlookers.watch.clone(),
            told: [0; 3],
        })
    }

    /// Does its share, from the moment that all others are ready too.
    pub(super) fn run(mut self, start: &Start) -> Outcome {
        if let Some(stop) = &self.stop {
            // Where that fails a load goes on for as long as it was meant to.
            let _ = self.poll.watch(stop, STOP);
        }
        self.connect_beforehand();
        let start = start.wait();
        let cpu_before = cpu();
        self.tally.start = start;
        self.last_due = start;
        self.closed_until = self.closed.map_or(0, |closed| start + closed.as_nanos() as u64);
        self.next = self.requests.next();
        let mut at = now();
        loop {
            self.heed_stop(at);
            self.take_due(at);
            self.dispatch(at);
            if at >= self.next_scan {
                self.scan(at);
            }
            self.tell();
            at = now();
            if self.is_over(at) {
                break;
            }
            let wake = self.wake().saturating_sub(self.spin);
            // A poll that fails has lost its descriptor, which nobody closes; the end comes by the clock all the same.
            let _ = self.poll.wait((wake > at).then_some(wake), at);
            at = self.hear_all();
        }
        self.give_up_rest(at);
        self.tell();
        self.tally.finish(cpu() - cpu_before)
    }

    /// Opens the first connections, and waits for them a little.
    fn connect_beforehand(&mut self) {
        if self.plan.target.protocol == Protocol::Tcp {
            return;
        }
        let begin = now();
        for _ in 0..self.connections {
            // Who cannot be reached now may be when requests are due.
            let _ = self.open(None, begin);
        }
        let mut at = begin;
        while self.pool.connecting > 0 && at < begin + CONNECT_WAIT {
            let _ = self.poll.wait(Some(begin + CONNECT_WAIT), at);
            at = self.hear_all();
        }
    }

    /// Hears all that has happened, and sends what that made room for; the time then.
    fn hear_all(&mut self) -> u64 {
        let mut at = 0;
        while let Some(happened) = self.poll.happened(at) {
            at += 1;
            if let Some(done) = self.hear(happened) {
                self.take_due(done);
                self.dispatch(done);
            }
        }
        now()
    }

    /// Notes what is due.
    fn take_due(&mut self, now: u64) {
        while let Some(Planned { at, work, key }) = self.next
            && self.tally.start + at <= now
        {
            let at = self.tally.start + at;
            self.queue.push_back(Waiting { at, noticed: now, work, key });
            self.tally.outcome.planned += 1;
            self.last_due = at;
            self.next = self.requests.next();
        }
        if now < self.closed_until && now >= self.paused_until {
            while self.in_flight + self.queue.len() < self.slots {
                self.queue.push_back(Waiting { at: now, noticed: now, work: None, key: None });
                self.tally.outcome.planned += 1;
            }
            self.last_due = now;
        }
    }

    /// Sends what is due, as far as there are connections.
    fn dispatch(&mut self, mut at: u64) {
        while let Some(&waiting) = self.queue.front() {
            if self.plan.target.protocol == Protocol::Tcp {
                if self.pool.open >= self.connections_max {
                    break;
                }
                self.queue.pop_front();
                self.begin_flow(&waiting, at);
            } else if let Some(token) = self.pool.next_in_line() {
                self.queue.pop_front();
                self.send(token, &waiting, at);
            } else if !self.open_more(at) {
                break;
            }
            if !self.queue.is_empty() {
                at = now();
            }
        }
        while let Some(token) = self.unsent.pop() {
            if let Some(Err(failure)) = self.pool.get(token).map(Connection::flush) {
                self.lose(token, failure, at);
            }
        }
    }

    /// Sends a request on a connection that can take it.
    fn send(&mut self, token: u64, waiting: &Waiting, at: u64) {
        let Some(connection) = self.pool.get(token) else { return };
        let flight = Flight { at: waiting.at, sent: at };
        let lag = (waiting.noticed - waiting.at) + at.saturating_sub(connection.ready.max(waiting.noticed));
        let sent = match &mut connection.talk {
            Talk::Http2(http2) => {
                let fields = self.template.request(waiting, &mut self.scratch);
                let mut out = std::mem::take(&mut self.datagram);
                out.clear();
                http2.ask(fields, flight, &mut out);
                let has_room = http2.has_room();
                connection.out().extend_from_slice(&out);
                self.datagram = out;
                if has_room {
                    self.pool.line_up(token);
                }
                if !self.unsent.contains(&token) {
                    self.unsent.push(token);
                }
                Ok(())
            }
            Talk::Datagram(number) => {
                *number += 1;
                self.datagram[..8].copy_from_slice(&number.to_be_bytes());
                connection.flight = Some(flight);
                connection.send(&self.datagram)
            }
            Talk::Http1(_) | Talk::Echo(_) => {
                connection.flight = Some(flight);
                connection.send(self.template.request(waiting, &mut self.scratch))
            }
        };
        self.in_flight += 1;
        self.tally.sent(lag);
        self.next_scan = self.next_scan.min(at + self.timeout);
        if let Err(failure) = sent {
            self.lose(token, failure, at);
        }
    }

    /// Opens a connection for one request.
    fn begin_flow(&mut self, waiting: &Waiting, at: u64) {
        let lag = (waiting.noticed - waiting.at) + at.saturating_sub(self.vacated.max(waiting.noticed));
        let flight = Flight { at: waiting.at, sent: at };
        self.in_flight += 1;
        self.tally.sent(lag);
        if let Err(failure) = self.open(Some(flight), at) {
            self.in_flight -= 1;
            self.tally.ended(flight, Ending::Failed(failure), None, now());
            self.paused_until = at + PAUSE;
        }
    }

    /// Opens connections for what is due. True when something was done at once: one is ready, or has been refused.
    fn open_more(&mut self, at: u64) -> bool {
        let at_a_time = if self.plan.target.protocol == Protocol::Http2 { self.plan.streams } else { 1 };
        while self.pool.connecting * at_a_time < self.queue.len() && self.pool.open < self.connections_max {
            match self.open(None, at) {
                Ok(true) => return true,
                Ok(false) => {}
                Err(failure) => {
                    self.fail_next(failure, at);
                    return true;
                }
            }
        }
        false
    }

    /// Begins to connect; true when the connection can take a request at once.
    fn open(&mut self, flight: Option<Flight>, at: u64) -> Result<bool, Failure> {
        let mut first = Vec::new();
        let talk = match self.plan.target.protocol {
            Protocol::Http1 => Talk::Http1(Reader::new()),
            Protocol::Http2 => Talk::Http2(Box::new(Http2::new(self.plan.streams, &mut first))),
            Protocol::Tcp => Talk::Echo(0),
            Protocol::Udp => Talk::Datagram(0),
        };
        let is_stream = self.plan.target.protocol != Protocol::Udp;
        let mut connection = Connection::open(self.plan.target.addr, is_stream, talk, at)?;
        connection.flight = flight;
        *connection.out() = first;
        let is_ready = !connection.is_connecting;
        let token = self.pool.insert(connection);
        self.next_scan = self.next_scan.min(at + self.timeout);
        let watched = self.pool.get(token).map(|connection| self.poll.watch(&connection.socket, token));
        if let Some(Err(_)) = watched {
            self.pool.remove(token);
            return Err(Failure::Local);
        }
        if is_ready && let Err(failure) = self.greet(token, now()) {
            self.pool.remove(token);
            return Err(failure);
        }
        Ok(is_ready)
    }

    /// The request that has waited longest fails, since no connection could be opened for it.
    pub(super) fn fail_next(&mut self, failure: Failure, at: u64) {
        self.paused_until = at + PAUSE;
        if let Some(waiting) = self.queue.pop_front() {
            self.tally.ended_unsent(waiting.at, Ending::Failed(failure), at);
        }
    }

    /// The next moment at which something has to be done.
    fn wake(&self) -> u64 {
        let due = self.next.map_or(u64::MAX, |next| self.tally.start + next.at);
        let end = match self.next {
            Some(_) => u64::MAX,
            None => self.closed_until.max(self.last_due + self.timeout).min(self.stopped_until),
        };
        let is_short = self.closed.is_some() && self.in_flight + self.queue.len() < self.slots;
        let closed =
            if is_short && self.paused_until < self.closed_until { self.paused_until } else { u64::MAX };
        due.min(end).min(closed).min(self.next_scan)
    }

    /// Tells the watch what is new.
    fn tell(&mut self) {
        let Some(watch) = &self.watch else { return };
        let outcome = &self.tally.outcome;
        let failed = outcome.failures.unanswered() + outcome.unanswered;
        let all = [outcome.planned, outcome.answered, failed];
        for ((counter, count), told) in
            [&watch.planned, &watch.answered, &watch.failed].into_iter().zip(all).zip(&mut self.told)
        {
            counter.fetch_add(count - *told, Relaxed);
            *told = count;
        }
    }
}
