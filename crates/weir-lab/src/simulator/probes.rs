//! Probes that servers answer, beside the requests.

use weir_core::balance::Asked;
use weir_core::load_report::LoadReport;

use super::{Happening, Observer, Simulator};

/// A probe under way.
#[derive(Debug)]
pub(super) struct Probe {
    dispatcher: u32,
    asked: Asked,
    /// What the server has said; `None` before, and where it is gone.
    report: Option<LoadReport>,
}

impl<O: Observer> Simulator<'_, O> {
    /// A dispatcher asks servers for their load, with a request of its own.
    pub(super) fn ask_for_load(&mut self, dispatcher: u32) {
        let mut drawn = std::mem::take(&mut self.drawn);
        self.dispatch.draw_probes(dispatcher, &mut drawn);
        for asked in drawn.drain(..) {
            let probe = self.probes.insert(Probe { dispatcher, asked, report: None }) as u32;
            match self.scenario.network {
                0 => self.probed(probe),
                network => self.queue.announce(self.now + network, Happening::Probed(probe)),
            }
        }
        self.drawn = drawn;
    }

    /// A probe arrives at its server.
    pub(super) fn probed(&mut self, at: u32) {
        let probe = &mut self.probes[at as usize];
        let site = &self.sites[super::control::number(probe.asked.target.addr) as usize];
        probe.report = site.is_up().then(|| site.report(self.now));
        match self.scenario.network {
            0 => self.reported(at),
            network => self.queue.announce(self.now + network, Happening::Reported(at)),
        }
    }

    /// What a server says arrives.
    pub(super) fn reported(&mut self, at: u32) {
        let Probe { dispatcher, asked, report } = self.probes.remove(at as usize);
        self.dispatch.hear(dispatcher, &asked, report, self.now);
    }
}
