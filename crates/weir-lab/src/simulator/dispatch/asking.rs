//! Dispatchers that ask servers for their load, and hear what they say.

use weir_core::balance::Asked;
use weir_core::load_report::LoadReport;

use super::{Dispatch, Picking};
use crate::simulator::control::{Weir, number};

impl Dispatch {
    /// Whether servers are asked for their load.
    pub(in crate::simulator) fn asks(&self) -> bool {
        self.awaited.is_some()
    }

    /// The weir of a dispatcher, and the worker that it is there.
    fn weir(&mut self, dispatcher: u32) -> Option<(&mut Weir, usize)> {
        match &mut self.picking {
            Picking::Shared(weir) | Picking::Stale(weir, _) => Some((weir, dispatcher as usize)),
            Picking::Apart(weirs) => Some((&mut weirs[dispatcher as usize], 0)),
            Picking::Laboratory(_) => None,
        }
    }

    /// Draws servers that are to be asked for their load with a request; those whose answer is awaited are not asked again.
    pub(in crate::simulator) fn draw_probes(&mut self, dispatcher: u32, drawn: &mut Vec<Asked>) {
        let Some((weir, worker)) = self.weir(dispatcher) else { return };
        weir.draw_probes(worker, drawn);
        let Some(awaited) = &mut self.awaited else { return };
        let awaited = &mut awaited[dispatcher as usize];
        drawn.retain(|asked| {
            let server = number(asked.target.addr) as usize;
            if awaited.len() <= server {
                awaited.resize(server + 1, false);
            }
            !std::mem::replace(&mut awaited[server], true)
        });
    }

    /// Tells a dispatcher what a server has said of its load, if it has said anything.
    pub(in crate::simulator) fn hear(
        &mut self,
        dispatcher: u32,
        asked: &Asked,
        report: Option<LoadReport>,
        now: u64,
    ) {
        if let Some(awaited) = &mut self.awaited {
            awaited[dispatcher as usize][number(asked.target.addr) as usize] = false;
        }
        if let (Some((weir, worker)), Some(report)) = (self.weir(dispatcher), report) {
            weir.hear(worker, asked, report, now);
        }
    }
}
