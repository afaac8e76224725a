//! What happens to servers, as the scenario says or by themselves.

use super::dispatch::Ending;
use super::site::Site;
use super::{Happening, Observer, Simulator};
use crate::scenario::Event;

impl<O: Observer> Simulator<'_, O> {
    /// An event of the scenario takes place.
    pub(super) fn take_place(&mut self, number: u32) {
        let scenario = self.scenario;
        match &scenario.events[number as usize].1 {
            Event::Speed { servers, factor } => {
                for server in servers {
                    self.sites[*server as usize].factor = *factor;
                    self.change_pace(*server);
                }
            }
            Event::Errors { servers, share, takes } => {
                for server in servers {
                    self.sites[*server as usize].errors = (*share, *takes);
                }
            }
            Event::Crash { servers } => servers.iter().for_each(|server| self.crash(*server)),
            Event::Recover { servers } => {
                for server in servers {
                    self.sites[*server as usize].set_up(true);
                }
            }
            Event::Start { like } => self.start(*like),
            Event::Stop { servers } => {
                let due = self.dispatch.stop(servers, self.now);
                for (at, chore) in due {
                    self.queue.announce(at, Happening::Control(chore));
                }
            }
        }
    }

    fn crash(&mut self, server: u32) {
        let site = &mut self.sites[server as usize];
        site.set_up(false);
        for attempt in site.server.clear() {
            self.answer(attempt, Ending::ServerError, 0);
        }
    }

    fn start(&mut self, like: u32) {
        let number = self.sites.len() as u32;
        let kind = self.sites[like as usize].kind.clone();
        self.sites.push(Site::new(&kind, self.seed, number));
        self.in_flight.push(0);
        self.dispatch.start(number, &kind, self.now);
        if let Some(after) = self.sites[number as usize].start_cold() {
            self.change_pace(number);
            self.queue.announce(self.now + after, Happening::Warms(number));
        }
        self.expect_swing(number);
    }

    pub(super) fn warm(&mut self, server: u32) {
        if let Some(after) = self.sites[server as usize].warm() {
            self.queue.announce(self.now + after, Happening::Warms(server));
        }
        self.change_pace(server);
    }

    pub(super) fn expect_swing(&mut self, server: u32) {
        if let Some(after) = self.sites[server as usize].until_swing() {
            self.queue.announce(self.now + after, Happening::Swings(server));
        }
    }

    pub(super) fn swing(&mut self, server: u32) {
        self.sites[server as usize].swing();
        self.change_pace(server);
        if !self.is_over() {
            self.expect_swing(server);
        }
    }

    fn change_pace(&mut self, server: u32) {
        let site = &mut self.sites[server as usize];
        let announcement = site.server.change_pace(site.pace(), self.now);
        self.announce(server, announcement);
    }
}
