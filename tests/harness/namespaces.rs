//! Namespaces of a test's own, for programs that change the machine they run on.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A network, mounts, processes and a host name, held by a process: when its input ends it ends, and with it every process
/// in them.
#[derive(Debug)]
pub struct Namespaces(Child);

impl Namespaces {
    /// Makes them, with that host name and a loopback that is up.
    ///
    /// # Panics
    /// When whoever runs the test may not.
    pub fn new(host: &str) -> Self {
        let mut holder = Command::new("unshare")
            .args([
                "--net",
                "--mount",
                "--uts",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
                "sh",
                "-c",
            ])
            .arg(format!("hostname {host} && ip link set lo up && echo ready && exec cat"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare can be started");
        let mut said = String::new();
        let output = holder.stdout.as_mut().expect("its output is piped");
        BufReader::new(output).read_line(&mut said).expect("it says that it is ready");
        assert_eq!(said.trim(), "ready", "the namespaces are made");
        Self(holder)
    }

    /// The process that holds them.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    fn path(&self, kind: &str) -> String {
        format!("/proc/{}/ns/{kind}", self.0.id())
    }

    /// A program in all of them.
    pub fn inside(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        for (option, kind) in [("net", "net"), ("mount", "mnt"), ("uts", "uts"), ("pid", "pid_for_children")]
        {
            command.arg(format!("--{option}={}", self.path(kind)));
        }
        command.arg(program).stdin(Stdio::null());
        command
    }

    /// Runs a test, or a part of one, on a thread that is in this network; the processes that it starts are there, too.
    ///
    /// # Panics
    /// When the test does.
    pub fn run<R: Send>(network: &str, test: impl FnOnce() -> R + Send) -> R {
        std::thread::scope(|scope| {
            let tested = scope.spawn(move || {
                let network = File::open(network).expect("the namespace is held");
                move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))
                    .expect("root may enter a namespace");
                test()
            });
            tested.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Runs `ip` in this network, and sees processes outside.
    ///
    /// # Panics
    /// When it is refused.
    pub fn ip(&self, arguments: &str) {
        let network = format!("--net={}", self.network());
        let set = Command::new("nsenter").args([&network, "ip"]).args(arguments.split(' ')).status();
        assert!(set.is_ok_and(|status| status.success()), "ip {arguments}");
    }

    /// What [`Namespaces::run`] takes.
    pub fn network(&self) -> String {
        self.path("net")
    }

    /// Ends every process in them.
    pub fn end(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

impl Drop for Namespaces {
    fn drop(&mut self) {
        self.end();
    }
}
