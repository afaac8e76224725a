//! Picks without a simulation: who would be sent what, one after another.

use super::dispatch::{Dispatch, Failed, Held, Wanted};
use crate::scenario::{Policy, Scenario};

/// The first dispatcher of a scenario, at its first moment.
#[derive(Debug)]
pub struct Picks {
    dispatch: Dispatch,
    nobody_failed: Failed,
}

/// Counts as in use at a server until it is dropped.
#[derive(Debug)]
pub struct Lease {
    _held: Held,
}

impl Picks {
    /// The dispatchers of a run of that seed.
    pub fn new(scenario: &Scenario, policy: Policy, seed: u64) -> Self {
        Self { dispatch: Dispatch::new(scenario, policy, seed), nobody_failed: Failed::default() }
    }

    /// Picks a server for a request of that key; `None` when nobody may be picked.
    pub fn pick(&mut self, key: u64) -> Option<(u32, Lease)> {
        let wanted = Wanted { dispatcher: 0, key, failed: &self.nobody_failed };
        let picked = self.dispatch.pick(&wanted, 0, &[]).ok()?;
        Some((picked.server, Lease { _held: picked.held }))
    }

    /// Deregisters servers.
    pub fn remove(&mut self, servers: &[u32]) {
        self.dispatch.stop(servers, 0);
    }
}
