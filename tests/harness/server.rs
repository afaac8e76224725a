//! Real servers of others, started by a test on ports of its own and ended with it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustix::process::{Pid, Signal, kill_process};

use crate::{Client, Folder, Reply, free_port, loopback, wait_at_most};

/// Attempts to start a server on free ports that somebody else may take first.
const ATTEMPTS: usize = 5;

/// Longest time until a server answers: interpreters that read much code take theirs on a busy machine.
pub const START_DEADLINE: Duration = Duration::from_secs(90);

/// A process, killed when dropped.
#[derive(Debug)]
pub(crate) struct Running(Child);

impl Running {
    /// Starts a program; what it says goes to a file.
    ///
    /// # Panics
    /// When the program is missing, with how it is installed: a test that silently did nothing would be a lie.
    pub(crate) fn start(program: &Path, installed_by: &str, arguments: &[String], log: &Path) -> Self {
        let said = std::fs::File::create(log).expect("temporary files can be written");
        let also_said = said.try_clone().expect("a file can be shared");
        // Debian keeps servers where only root looks.
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
        let child = Command::new(program)
            .args(arguments)
            .env("PATH", &path)
            .stdin(Stdio::null())
            .stdout(said)
            .stderr(also_said)
            .spawn();
        Self(child.unwrap_or_else(|error| panic!("{}: {error}; {installed_by}", program.display())))
    }

    /// Waits until it is ready, or has ended because a port was taken.
    pub(crate) fn is_ready(&mut self, what: &str, mut is_ready: impl FnMut() -> bool) -> bool {
        let mut has_ended = false;
        wait_at_most(START_DEADLINE, what, || {
            has_ended = !matches!(self.0.try_wait(), Ok(None));
            has_ended || is_ready()
        });
        !has_ended
    }

    /// Ends it with a signal that lets it tidy up, and waits.
    pub(crate) fn end_by(&mut self, signal: Signal) {
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw).expect("a process has an id");
        // Gone already is as good.
        let _ = (kill_process(pid, signal), self.0.wait());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Gone already is as good.
        let _ = (self.0.kill(), self.0.wait());
    }
}

/// An etcd of one member, with a data folder of its own.
#[derive(Debug)]
pub struct Etcd {
    running: Option<Running>,
    client: SocketAddr,
    peer: SocketAddr,
    folder: Folder,
}

impl Etcd {
    /// Starts one on loopback.
    ///
    /// # Panics
    /// When `etcd` is not installed or does not start.
    pub fn start() -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST.into())
    }

    /// Starts one at this address of this thread's network.
    ///
    /// # Panics
    /// When `etcd` is not installed or does not start.
    pub fn start_at(ip: IpAddr) -> Self {
        for _ in 0..ATTEMPTS {
            let (client, peer) = (SocketAddr::new(ip, free_port()), loopback(free_port()));
            let mut etcd = Self { running: None, client, peer, folder: Folder::new() };
            if etcd.try_start() {
                return etcd;
            }
        }
        panic!("etcd does not start on any of {ATTEMPTS} pairs of free ports")
    }

    /// What weir's configuration names it.
    pub fn url(&self) -> String {
        format!("http://{}", self.client)
    }

    /// Ends it as a machine that loses its power does.
    pub fn kill(&mut self) {
        self.running = None;
    }

    /// Starts it again with what it knew, at the same place.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_again(&mut self) {
        assert!(self.try_start(), "etcd has ended: {}", self.said());
    }

    /// Writes a key.
    ///
    /// # Panics
    /// When etcd refuses.
    pub fn put(&self, key: &str, value: &str) {
        let (key, value) = (BASE64_STANDARD.encode(key), BASE64_STANDARD.encode(value));
        self.ask("/v3/kv/put", &format!(r#"{{"key":"{key}","value":"{value}"}}"#));
    }

    /// Deletes a key.
    ///
    /// # Panics
    /// When etcd refuses.
    pub fn delete(&self, key: &str) {
        let key = BASE64_STANDARD.encode(key);
        self.ask("/v3/kv/deleterange", &format!(r#"{{"key":"{key}"}}"#));
    }

    fn ask(&self, path: &str, json: &str) {
        let reply = ask(self.client, path, json).expect("etcd answers");
        assert_eq!(reply.status, 200, "etcd: {}", reply.body);
    }

    fn try_start(&mut self) -> bool {
        let (client, peer) = (format!("http://{}", self.client), format!("http://{}", self.peer));
        let data = self.folder.path().join("data").display().to_string();
        let options = [
            ("--name", "weir-test"),
            ("--data-dir", &data),
            ("--listen-client-urls", &client),
            ("--advertise-client-urls", &client),
            ("--listen-peer-urls", &peer),
            ("--initial-advertise-peer-urls", &peer),
            ("--initial-cluster", &format!("weir-test={peer}")),
        ];
        let arguments: Vec<String> =
            options.iter().flat_map(|(name, value)| [(*name).to_owned(), (*value).to_owned()]).collect();
        let mut running = Running::start(
            Path::new("etcd"),
            "on Debian: apt-get install etcd-server",
            &arguments,
            &self.log(),
        );
        let addr = self.client;
        let is_ready = running.is_ready("etcd answers", || {
            let reply = ask(addr, "/v3/kv/range", r#"{"key":"YQ=="}"#);
            reply.is_some_and(|reply| reply.status == 200)
        });
        self.running = is_ready.then_some(running);
        is_ready
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }
}

/// Sends JSON; `None` while nobody listens there, or nobody answers.
fn ask(addr: SocketAddr, path: &str, json: &str) -> Option<Reply> {
    drop(TcpStream::connect(addr).ok()?);
    let mut client = Client::connect(addr);
    client.send(format!(
        "POST {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{json}",
        json.len()
    ));
    client.try_reply()
}

/// A dnsmasq that knows everything about `example` and nothing about other names.
#[derive(Debug)]
pub struct Dnsmasq {
    running: Option<Running>,
    addr: SocketAddr,
    folder: Folder,
}

impl Dnsmasq {
    /// Starts one with these records, each a line of its configuration, living for a second.
    ///
    /// # Panics
    /// When `dnsmasq` is not installed or does not start.
    pub fn start(records: &[String]) -> Self {
        for _ in 0..ATTEMPTS {
            let mut dnsmasq = Self { running: None, addr: loopback(free_port()), folder: Folder::new() };
            if dnsmasq.try_start(records) {
                return dnsmasq;
            }
        }
        panic!("dnsmasq does not start on any of {ATTEMPTS} free ports")
    }

    /// Where it answers.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Ends it.
    pub fn kill(&mut self) {
        self.running = None;
    }

    /// Starts it again with other records, at the same place.
    ///
    /// # Panics
    /// When it does not start.
    pub fn start_again(&mut self, records: &[String]) {
        self.running = None;
        assert!(self.try_start(records), "dnsmasq has ended");
    }

    fn try_start(&mut self, records: &[String]) -> bool {
        let port = self.addr.port();
        let settings = format!(
            "port={port}\nlisten-address=127.0.0.1\nbind-interfaces\nno-resolv\nno-hosts\nlocal=/example/\nlocal-ttl=1\n{}\n",
            records.join("\n")
        );
        let settings = self.folder.write("dnsmasq.conf", &settings);
        // In the foreground, as whoever runs the tests, and without a file for its process id.
        let arguments = ["--no-daemon".to_owned(), format!("--conf-file={}", settings.display())];
        let log = self.folder.path().join("log");
        let mut running =
            Running::start(Path::new("dnsmasq"), "on Debian: apt-get install dnsmasq-base", &arguments, &log);
        let addr = self.addr;
        // It binds TCP after UDP.
        let is_ready = running.is_ready("dnsmasq answers", || TcpStream::connect(addr).is_ok());
        self.running = is_ready.then_some(running);
        is_ready
    }
}
