//! A weir, and those that take its place one after another.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};

use crate::{Binary, Client, Folder, Reply, wait_until};

/// What weir says when another has taken its place, about the process number of that.
const SERVES_NOW: [&str; 2] = ["restarted: process ", " serves now"];

/// What it says when it has started one.
const STARTING: [&str; 2] = ["restart: process ", " is starting"];

/// Programs of one name with one configuration, of which one serves. All that still run are killed when it is dropped.
#[derive(Debug)]
pub struct Lineage {
    folder: Folder,
    first: Option<Binary>,
    serving: Pid,
    admin: SocketAddr,
}

impl Lineage {
    /// Starts the first, whose admin port is at `admin`, and waits until no target is `initial` any more. `prepare` may
    /// change its command.
    ///
    /// # Panics
    /// When it does not become ready.
    pub fn start(admin: SocketAddr, yaml: &str, prepare: impl FnOnce(&mut Command)) -> Self {
        let folder = Folder::new();
        symlink(Binary::path(), folder.path().join("weir")).expect("a link can be made");
        let configuration = folder.write("weir.yaml", yaml);
        let log = File::create(folder.path().join("log")).expect("a file can be made");
        let mut command = Binary::named(&folder.path().join("weir"), &["run", "-c"]);
        command.arg(configuration);
        prepare(&mut command);
        let first = Binary::start_into(&mut command, &log);
        let serving = first.pid();
        let lineage = Self { folder, first: Some(first), serving, admin };
        lineage.wait_for("is running");
        wait_until("targets have been probed", || {
            let groups = lineage.admin("/api/v1/target_groups").body;
            groups.contains("\"healthy\"") && !groups.contains("\"initial\"")
        });
        lineage
    }

    /// Where its files lie: `weir.yaml`, `log`, and the program `weir`.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// The process that serves.
    pub fn serving(&self) -> Pid {
        self.serving
    }

    /// What the admin port says at a path, on a connection of its own.
    pub fn admin(&self, path: &str) -> Reply {
        let head = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.admin);
        Client::connect(self.admin).ask(head)
    }

    /// Sends a signal to the process that serves.
    ///
    /// # Panics
    /// When it has ended.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.serving, signal).expect("weir is running");
    }

    /// Has another process take the place of the one that serves, and waits until it has.
    ///
    /// # Panics
    /// When it does not, or when the old one gives up.
    pub fn restart(&mut self) {
        let before = self.log().len();
        self.signal(Signal::USR2);
        let mut successor = None;
        wait_until("another process serves", || {
            let log = self.log();
            let news = &log[before..];
            assert!(!news.contains("restart failed"), "{news}");
            successor = processes(news, SERVES_NOW).pop();
            successor.is_some()
        });
        self.serving = successor.expect("it was waited for");
    }

    /// Puts another program in the place of weir's: this script.
    ///
    /// # Panics
    /// When files cannot be written.
    pub fn replace_program(&self, script: &str) {
        use std::os::unix::fs::PermissionsExt;
        let new = self.folder.path().join("weir.next");
        fs::write(&new, format!("#!/bin/sh\n{script}\n")).expect("temporary files can be written");
        fs::set_permissions(&new, fs::Permissions::from_mode(0o700)).expect("they can be made executable");
        fs::rename(new, self.folder.path().join("weir")).expect("temporary files can be renamed");
    }

    /// All that the processes have said.
    ///
    /// # Panics
    /// When the file has gone.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).expect("the log is there")
    }

    /// Waits until one of them has said this.
    ///
    /// # Panics
    /// When none says so in time.
    pub fn wait_for(&self, words: &str) {
        wait_until(&format!("{words:?} is said"), || self.log().contains(words));
    }

    /// Waits for the end of the first, which must be in order.
    ///
    /// # Panics
    /// When it ends with a failure, or was waited for already.
    pub fn first_ends(&mut self) {
        let first = self.first.take().expect("it is waited for once");
        assert_eq!(first.wait().status.code(), Some(0), "{}", self.log());
    }

    /// Whether the first still runs.
    pub fn first_runs(&self) -> bool {
        self.first.as_ref().is_some_and(|first| runs(first.pid()))
    }

    /// The processes that were started and still run, without the first.
    pub fn later(&self) -> Vec<Pid> {
        let started = processes(&self.log(), STARTING);
        started.into_iter().filter(|process| self.is_ours(*process)).collect()
    }

    /// Whether a process that runs is one of these, and not another that has its number by now.
    fn is_ours(&self, process: Pid) -> bool {
        let folder = self.folder.path().as_os_str().as_encoded_bytes();
        let file = PathBuf::from(format!("/proc/{}/cmdline", process.as_raw_nonzero()));
        let arguments = fs::read(file).unwrap_or_default();
        runs(process) && arguments.windows(folder.len()).any(|window| window == folder)
    }
}

/// What a process has open.
///
/// # Panics
/// When it has ended.
pub fn open_files(process: Pid) -> Vec<PathBuf> {
    let folder = fs::read_dir(format!("/proc/{}/fd", process.as_raw_nonzero())).expect("the process runs");
    folder.flatten().filter_map(|file| fs::read_link(file.path()).ok()).collect()
}

/// Every process number that stands between these words.
fn processes(log: &str, [before, after]: [&str; 2]) -> Vec<Pid> {
    let numbers = log.split(before).skip(1).filter_map(|rest| rest.split_once(after)?.0.parse().ok());
    numbers.filter_map(Pid::from_raw).collect()
}

/// Whether a process has not ended, waited for or not.
fn runs(process: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.as_raw_nonzero()));
    stat.is_ok_and(|stat| !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z'))
}

impl Drop for Lineage {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tell(&self.log());
        }
        // Oldest first: whoever is gone starts nobody.
        drop(self.first.take());
        for process in self.later() {
            // Gone already is as good.
            let _ = kill_process(process, Signal::KILL);
        }
    }
}

#[expect(clippy::print_stderr, reason = "whoever reads why a test failed wants to know what weir said")]
fn tell(log: &str) {
    eprintln!("{log}");
}
