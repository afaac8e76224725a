//! A request, from coming to its end.

use weir_core::target::TargetSerial;

use super::dispatch::{self, Ending, Nobody, Sending, Waiting, Wanted};
use super::server::{Announcement, Job};
use super::{Attempt, Ended, Happening, Held, Observer, Outcome, Request, Simulator};

/// How often weir sends a request whose targets do not take it. Source: `weir-http/src/exchange.rs`.
const ATTEMPTS_MAX: u32 = 4;

impl<O: Observer> Simulator<'_, O> {
    /// A request comes: some dispatcher takes it.
    pub(super) fn arrive(&mut self) {
        let number = self.requests_ever;
        self.requests_ever += 1;
        let key = self.zipf.as_ref().map_or(0, |zipf| zipf.draw(&mut self.keys));
        let count = self.scenario.dispatchers.count as usize;
        let dispatcher = if count > 1 { self.keys.below(count) as u32 } else { 0 };
        let work = self.works.next().expect("works have no end");
        let serial = number as u32;
        let failed = dispatch::Failed::default();
        let (came, attempts, under_way) = (self.now, 0, [None; 2]);
        let request = Request { number, serial, work, came, key, dispatcher, attempts, under_way, failed };
        let at = self.requests.insert(request) as u32;
        self.dispatch.begins(dispatcher);
        if let Some(timeout) = self.scenario.client.timeout {
            self.queue.announce(self.now + timeout, Happening::GivesUp { request: at, serial });
        }
        if let Some(delay) = self.scenario.client.hedge {
            self.queue.announce(self.now + delay, Happening::Hedges { request: at, serial });
        }
        self.send(at, work, Sending::First);
        if self.dispatch.asks() {
            self.ask_for_load(dispatcher);
        }
    }

    /// A server is picked, and the request sent there.
    pub(super) fn send(&mut self, at: u32, work: u64, sending: Sending) {
        let request = &mut self.requests[at as usize];
        let wanted = Wanted { dispatcher: request.dispatcher, key: request.key, failed: &request.failed };
        let picked = match self.dispatch.pick(&wanted, self.now, &self.in_flight) {
            Ok(picked) => picked,
            Err(Nobody::HasRoom)
                if self.dispatch.queue(Waiting { request: at, serial: request.serial, work }, sending) =>
            {
                return;
            }
            Err(_) if request.is_under_way() => return,
            Err(_) => return self.end(at, Outcome::Refused, None),
        };
        request.attempts += 1;
        let (server, dispatcher, is_retry) = (picked.server, request.dispatcher, sending == Sending::Retry);
        if is_retry {
            self.dispatch.retries(dispatcher);
        }
        self.in_flight[server as usize] += 1;
        let attempt = Attempt {
            request: at,
            serial: request.serial,
            server,
            work: self.sites[server as usize].cost(work, request.key),
            sent: self.now,
            waited: 0,
            met: 0,
            dispatcher,
            is_retry,
            held: picked.held,
        };
        let attempt = self.attempts.insert(attempt) as u32;
        self.requests[at as usize].begin(attempt);
        match self.scenario.network {
            0 => self.reach(attempt),
            network => self.queue.announce(self.now + network, Happening::Reaches(attempt)),
        }
    }

    /// A request arrives at its server: it is served, or waits.
    pub(super) fn reach(&mut self, at: u32) {
        let attempt = &self.attempts[at as usize];
        let (server, work) = (attempt.server, attempt.work);
        let site = &mut self.sites[server as usize];
        if !site.is_up() {
            return self.answer(at, Ending::Refused, 0);
        }
        if let Some(takes) = site.fails(&mut self.faults) {
            return self.answer(at, Ending::ServerError, takes);
        }
        match site.server.enter(Job { number: at, work }, self.now) {
            // It says so: 503.
            Err(()) => self.answer(at, Ending::ServerError, 0),
            Ok((is_served, announcement)) => {
                self.attempts[at as usize].met = site.server.jobs() as u32;
                if is_served {
                    self.served(at);
                }
                self.announce(server, announcement);
            }
        }
    }

    pub(super) fn served(&mut self, at: u32) {
        let attempt = &mut self.attempts[at as usize];
        attempt.waited = self.now - attempt.sent - self.scenario.network;
    }

    pub(super) fn announce(&mut self, server: u32, announcement: Announcement) {
        if let Some((at, announcement)) = announcement {
            self.queue.announce(at, Happening::Done { server, announcement });
        }
    }

    /// A server may have done a job: it serves the next, and the answer sets out.
    pub(super) fn done(&mut self, server: u32, announcement: u32) {
        let left = self.sites[server as usize].server.leave(announcement, self.now);
        let Some((attempt, next, announcement)) = left else { return };
        if let Some(next) = next {
            self.served(next);
        }
        self.announce(server, announcement);
        if self.dispatch.asks() {
            let Attempt { sent, met, .. } = self.attempts[attempt as usize];
            let took = self.now - sent - self.scenario.network;
            self.sites[server as usize].note(took, met, self.now);
        }
        self.answer(attempt, Ending::Answered, 0);
    }

    /// An answer sets out, after a while.
    pub(super) fn answer(&mut self, attempt: u32, ending: Ending, after: u64) {
        match self.scenario.network + after {
            0 => self.answered(attempt, ending),
            delay => self.queue.announce(self.now + delay, Happening::Answered { attempt, ending }),
        }
    }

    /// An answer arrives: the request ends with it, or is tried again.
    pub(super) fn answered(&mut self, at: u32, ending: Ending) {
        let attempt = self.attempts.remove(at as usize);
        self.in_flight[attempt.server as usize] -= 1;
        let target = attempt.held.target();
        let queued =
            self.requests.get(attempt.request as usize).filter(|request| request.serial == attempt.serial);
        let dispatcher = queued.map(|request| request.dispatcher);
        let jobs = self.sites[attempt.server as usize].server.jobs() as u32;
        self.dispatch.ended(&dispatch::End {
            server: attempt.server,
            took: self.now - attempt.sent,
            waited: attempt.waited,
            work: attempt.work,
            jobs,
            ending,
            dispatcher,
            retry_of: attempt.is_retry.then_some(attempt.dispatcher),
            held: attempt.held,
            now: self.now,
        });
        if dispatcher.is_some() {
            let request = &mut self.requests[attempt.request as usize];
            request.over(at);
            if ending == Ending::Answered || !self.try_again(attempt.request, target, ending) {
                let came_from = Some((attempt.server, attempt.waited));
                let request = &self.requests[attempt.request as usize];
                if ending == Ending::Answered || !request.is_under_way() {
                    self.end(attempt.request, ending.into(), came_from);
                }
            }
        }
        self.let_in_the_next();
    }

    /// Whether what has failed is sent again: by weir, when its server did not take it, or by a client who tries again.
    pub(super) fn try_again(&mut self, at: u32, target: Option<TargetSerial>, ending: Ending) -> bool {
        let request = &mut self.requests[at as usize];
        let by_weir = ending == Ending::Refused && request.attempts < ATTEMPTS_MAX;
        let by_client = request.attempts <= self.scenario.client.retries;
        if !(by_weir || by_client) || !self.dispatch.may_retry(request.dispatcher) {
            return false;
        }
        request.failed.note(target);
        let work = request.work;
        self.send(at, work, Sending::Retry);
        true
    }

    /// Room has come: whoever waits for it longest at a dispatcher is sent.
    pub(super) fn let_in_the_next(&mut self) {
        while let Some(waiting) = self.dispatch.next_in_queue() {
            let request = self.requests.get(waiting.request as usize);
            if request.is_none_or(|request| request.serial != waiting.serial) {
                continue;
            }
            let before = self.attempts.len();
            self.send(waiting.request, waiting.work, Sending::FromQueue);
            if self.attempts.len() == before {
                return;
            }
        }
    }

    pub(super) fn give_up(&mut self, at: u32, serial: u32) {
        if self.requests.get(at as usize).is_some_and(|request| request.serial == serial) {
            self.end(at, Outcome::TimedOut, None);
            self.let_in_the_next();
        }
    }

    pub(super) fn hedge(&mut self, at: u32, serial: u32) {
        if self.requests.get(at as usize).is_some_and(|request| request.serial == serial) {
            let number = self.requests[at as usize].number;
            let work = self.scenario.work.draw(&mut self.works_of_hedges, number);
            self.send(at, work, Sending::First);
        }
    }

    /// A request ends; what is still under way for it goes on for nobody, and its dispatcher knows nothing of it any more.
    pub(super) fn end(&mut self, at: u32, outcome: Outcome, server: Option<(u32, u64)>) {
        let request = self.requests.remove(at as usize);
        for attempt in request.under_way.into_iter().flatten() {
            let attempt = &mut self.attempts[attempt as usize];
            attempt.held = Held::Nothing;
            if std::mem::take(&mut attempt.is_retry) {
                self.dispatch.retry_ends(attempt.dispatcher);
            }
        }
        self.dispatch.ends(request.dispatcher);
        self.observer.ended(&Ended {
            number: request.number,
            came: request.came,
            ended: self.now,
            outcome,
            server: server.map(|(server, _)| server),
            waited: server.map_or(0, |(_, waited)| waited),
            attempts: request.attempts,
        });
        self.think();
    }
}

impl Request {
    fn is_under_way(&self) -> bool {
        self.under_way.iter().any(Option::is_some)
    }

    fn begin(&mut self, attempt: u32) {
        let free = self.under_way.iter_mut().find(|place| place.is_none());
        *free.expect("a request is sent once, and hedged once") = Some(attempt);
    }

    fn over(&mut self, attempt: u32) {
        self.under_way.iter_mut().filter(|place| **place == Some(attempt)).for_each(|place| *place = None);
    }
}
