//! A weir in this process.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;

use weir::process::{Process, ProcessError, Setup};
use weir_control::Reloaded;
use weir_core::health::Health;
use weir_core::snapshot::{Member, Snapshot};

use crate::client::{Client, Reply, get};
use crate::{Folder, wait_until};

/// Worker threads of a weir under test.
const WORKERS: usize = 2;

/// A running weir, ended when dropped.
#[derive(Debug)]
pub struct Weir {
    process: Option<Process>,
    /// Where its configuration lies.
    pub folder: Folder,
}

impl Weir {
    /// Starts a weir with this configuration. Without an `admin` of its own the port is free to be any.
    ///
    /// # Panics
    /// When the configuration is wrong or weir cannot start.
    pub fn start(yaml: &str) -> Self {
        Self::start_in(Folder::new(), yaml, |_| {})
    }

    /// Starts a weir whose configuration lies in `folder`, after `change` has had a say in its set-up.
    ///
    /// # Panics
    /// When the configuration is wrong or weir cannot start.
    pub fn start_in(folder: Folder, yaml: &str, change: impl FnOnce(&mut Setup)) -> Self {
        Self::try_start_in(folder, yaml, change).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Starts a weir, or says why it could not.
    ///
    /// # Errors
    /// Why it could not start.
    ///
    /// # Panics
    /// When the configuration is wrong.
    pub fn try_start(yaml: &str) -> Result<Self, ProcessError> {
        Self::try_start_in(Folder::new(), yaml, |_| {})
    }

    fn try_start_in(
        folder: Folder,
        yaml: &str,
        change: impl FnOnce(&mut Setup),
    ) -> Result<Self, ProcessError> {
        let path = folder.write("weir.yaml", &whole(yaml));
        let loaded = weir_config::load(&path).unwrap_or_else(|error| panic!("{error}"));
        let mut setup = Setup::configured(loaded.config, Some(path));
        change(&mut setup);
        Ok(Self { process: Some(Process::start(setup)?), folder })
    }

    /// Starts a weir and waits until every target of every group is healthy.
    ///
    /// # Panics
    /// When they do not become so.
    pub fn start_healthy(yaml: &str) -> Self {
        let weir = Self::start(yaml);
        weir.wait_until_healthy();
        weir
    }

    /// Waits until every target of every group is healthy.
    ///
    /// # Panics
    /// When they do not become so.
    pub fn wait_until_healthy(&self) {
        wait_until("every target is healthy", || {
            let snapshot = self.snapshot();
            let used = snapshot.members().filter(|(group, _)| group.is_used);
            snapshot.groups().all(|group| !group.is_used || !group.members.is_empty())
                && used.into_iter().all(|(_, member)| member.health == Health::Healthy)
        });
    }

    /// The process.
    ///
    /// # Panics
    /// When it has ended.
    pub fn process(&self) -> &Process {
        self.process.as_ref().expect("weir is running")
    }

    /// Where the listener of that number listens, in the order of the configuration.
    ///
    /// # Panics
    /// When there is none.
    pub fn listener(&self, number: usize) -> SocketAddr {
        self.process().listeners()[number].3.0
    }

    /// Asks the first listener for a path, on a connection of its own.
    pub fn get(&self, path: &str) -> Reply {
        get(self.listener(0), path)
    }

    /// A connection to the first listener.
    pub fn client(&self) -> Client {
        Client::connect(self.listener(0))
    }

    /// Asks the admin port for a path.
    ///
    /// # Panics
    /// When there is no admin port.
    pub fn admin(&self, path: &str) -> Reply {
        let addr = self.process().admin().expect("weir has an admin port");
        Client::connect(addr).ask(format!("GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n"))
    }

    /// The value of a metric, summed over every line that begins with `start`.
    pub fn metric(&self, start: &str) -> f64 {
        let page = self.admin("/metrics").body;
        let values = page.lines().filter(|line| line.starts_with(start));
        values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// The snapshot that is current now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.process().handle().snapshot()
    }

    /// The member of any group at that address.
    pub fn member(&self, addr: SocketAddr) -> Option<Member> {
        let snapshot = self.snapshot();
        snapshot.members().find(|(_, member)| member.target.addr.0 == addr).map(|(_, member)| member.clone())
    }

    /// Waits until the target at that address has this health.
    ///
    /// # Panics
    /// When it does not come to have it.
    pub fn wait_for_health(&self, addr: SocketAddr, health: Health) {
        wait_until(&format!("{addr} is {health:?}; it is {:?}", self.member(addr).map(|m| m.health)), || {
            self.member(addr).is_some_and(|member| member.health == health)
        });
    }

    /// Writes another configuration and reloads it.
    ///
    /// # Errors
    /// Why it was refused.
    ///
    /// # Panics
    /// When this thread cannot wait for the outcome.
    pub fn reload(&self, yaml: &str) -> Result<Reloaded, String> {
        self.folder.write("weir.yaml", &whole(yaml));
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime can be made");
        runtime.block_on(self.process().handle().reload())
    }

    /// Ends weir in order, and waits.
    pub fn stop(mut self) {
        self.end();
    }

    /// Ends weir in order on another thread.
    pub fn stop_in_background(mut self) -> std::thread::JoinHandle<()> {
        std::thread::spawn(move || self.end())
    }

    fn end(&mut self) {
        if let Some(process) = self.process.take() {
            process.stop();
        }
    }
}

impl Drop for Weir {
    fn drop(&mut self) {
        // Waiting for a drain would make a failed test a slow one; the process ends with the tests.
        if let Some(process) = self.process.take() {
            let ending = std::thread::spawn(move || process.stop());
            if !std::thread::panicking() {
                let _ = ending.join();
            }
        }
        let _ = std::io::stderr().flush();
    }
}

/// The configuration with what every test wants: an admin port of its own, and few workers.
fn whole(yaml: &str) -> String {
    let mut text = yaml.to_owned();
    if !yaml.contains("\nadmin:") && !yaml.starts_with("admin:") {
        text = format!("admin: {{ bind: \"127.0.0.1:0\" }}\n{text}");
    }
    if !yaml.contains("workers:") {
        text = format!("workers: {WORKERS}\n{text}");
    }
    text
}
