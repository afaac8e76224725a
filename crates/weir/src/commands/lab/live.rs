//! A weir of the laboratory's own, for live runs, and where the servers behind it live.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use weir::process::{Process, Setup};
use weir_config::DockerSource;
use weir_core::definition::Definitions;
use weir_core::health::Health;
use weir_core::name::GroupName;
use weir_lab::live::{Cause, Front, Servers, Started, on_thread};
use weir_lab::load::Stop;
use weir_lab::scenario::Scenario;

use super::containers::Containers;

/// How long a weir may take until every target of a live run is healthy.
const HEALTHY: Duration = Duration::from_secs(20);

/// How often it is asked whether they are.
const ASKED: Duration = Duration::from_millis(20);

/// Where the servers of a live run live.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Each in a Docker container of its own, found by its label and reached through its published port.
    Containers,
    /// On threads of this process.
    Threads,
}

/// A weir in this process.
pub(super) struct OwnWeir {
    /// Where servers live, if not on threads.
    pub(super) containers: Option<Containers>,
    pub(super) stop: Stop,
}

struct OwnProcess(Option<Process>);

impl Front for OwnWeir {
    fn serve(&self, scenario: &Scenario, seed: u64, group: &GroupName) -> Result<Box<dyn Servers>, Cause> {
        match &self.containers {
            None => on_thread(scenario, seed),
            Some(containers) => Ok(Box::new(containers.serve(scenario, seed, group, &self.stop)?)),
        }
    }

    fn start(&self, definitions: Definitions, targets: usize) -> Result<Box<dyn Started>, Cause> {
        let mut config = weir_config::parse("{}", Path::new("laboratory"))?.config;
        config.definitions = definitions;
        config.discovery.docker = self.containers.as_ref().map(|_| DockerSource { endpoint: None });
        let setup = Setup { admin: None, ..Setup::configured(config, None) };
        let process = OwnProcess(Some(Process::start(setup)?));
        let until = now() + HEALTHY;
        loop {
            let healthy = process.healthy();
            if healthy >= targets {
                return Ok(Box::new(process));
            }
            if now() > until || self.stop.is_stopped() {
                return Err(format!("only {healthy} of {targets} targets are healthy").into());
            }
            std::thread::sleep(ASKED);
        }
    }
}

impl OwnProcess {
    fn healthy(&self) -> usize {
        let snapshots = self.0.iter().map(|process| process.handle().snapshot());
        let count = |health: &Health| usize::from(*health == Health::Healthy);
        snapshots
            .map(|snapshot| snapshot.members().map(|(_, member)| count(&member.health)).sum::<usize>())
            .sum()
    }
}

impl Started for OwnProcess {
    fn listeners(&self) -> Vec<SocketAddr> {
        let listeners = self.0.iter().flat_map(Process::listeners);
        listeners.map(|(_, _, _, addr)| addr.0).collect()
    }
}

impl Drop for OwnProcess {
    fn drop(&mut self) {
        if let Some(process) = self.0.take() {
            process.stop();
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "no clock is paused here")]
pub(super) fn now() -> Instant {
    Instant::now()
}
