//! A proxy that runs, as a process: started, measured, ended.

use std::net::{SocketAddr, SocketAddrV4, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};

use crate::load::now;

/// Longest time that a proxy may take to listen, and longest that it may take under a tracer.
const START_DEADLINE: Duration = Duration::from_secs(10);
const TRACED_START_DEADLINE: Duration = Duration::from_secs(60);

/// A proxy that runs.
#[derive(Debug)]
pub(crate) struct Proxy {
    /// Its name and version.
    pub(crate) name: String,
    /// Where it takes traffic.
    pub(crate) addr: SocketAddr,
    child: Child,
}

impl Proxy {
    /// Starts a proxy on core 0 and waits until it listens.
    pub(crate) fn start(name: String, addr: SocketAddr, command: &Command) -> anyhow::Result<Self> {
        let mut pinned = under(&["taskset", "-c", "0"], command);
        let child = pinned.stderr(Stdio::null()).spawn().with_context(|| format!("cannot start {name}"))?;
        let mut proxy = Self { name, addr, child };
        wait_for(&mut proxy.child, addr, START_DEADLINE).with_context(|| proxy.name.clone())?;
        Ok(proxy)
    }

    /// CPU time of weir's one worker so far, in nanoseconds.
    pub(crate) fn worker_nanos(&self) -> anyhow::Result<u64> {
        for entry in std::fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let task = entry?.path();
            if std::fs::read_to_string(task.join("comm"))?.trim() == "worker-0" {
                let text = std::fs::read_to_string(task.join("schedstat"))?;
                return running_nanos(&text).context("schedstat has numbers");
            }
        }
        anyhow::bail!("weir has no worker")
    }

    /// CPU time of the process, its threads and its children so far, in nanoseconds.
    pub(crate) fn cpu_nanos(&self) -> u64 {
        tree(self.child.id()).iter().map(|pid| cpu_nanos(*pid)).sum()
    }

    /// Resident memory of the process and its children, in KiB. What they share counts for each.
    pub(crate) fn resident_kib(&self) -> u64 {
        let of = |pid: &u32| resident_kib(&std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?);
        tree(self.child.id()).iter().filter_map(of).sum()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Children first: nginx's worker would outlive a killed master.
        tree(self.child.id()).into_iter().rev().for_each(|pid| signal(pid, Signal::KILL));
        let _ = self.child.wait();
    }
}

/// A proxy under a program that watches it, and says on standard error what it saw.
#[derive(Debug)]
pub(crate) struct Traced {
    child: Child,
}

impl Traced {
    /// Starts a proxy under `tracer`, and waits until it listens.
    pub(crate) fn start(tracer: &[&str], addr: SocketAddr, command: &Command) -> anyhow::Result<Self> {
        let program = tracer.first().copied().unwrap_or_default();
        let child = under(tracer, command).stderr(Stdio::piped()).spawn();
        let child =
            child.with_context(|| format!("{program} is not installed (apt-get install {program})"))?;
        let mut started = Self { child };
        wait_for(&mut started.child, addr, TRACED_START_DEADLINE)
            .with_context(|| format!("weir under {program}"))?;
        Ok(started)
    }

    /// Ends the proxy in order: what was said on standard error.
    pub(crate) fn finish(mut self) -> anyhow::Result<String> {
        use std::io::Read;
        // strace is the parent of what it watches; valgrind is the process itself.
        tree(self.child.id()).last().into_iter().for_each(|pid| signal(*pid, Signal::TERM));
        let mut said = Vec::new();
        self.child.stderr.take().context("standard error is a pipe")?.read_to_end(&mut said)?;
        self.child.wait()?;
        Ok(String::from_utf8_lossy(&said).into_owned())
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        tree(self.child.id()).into_iter().rev().for_each(|pid| signal(pid, Signal::KILL));
        let _ = self.child.wait();
    }
}

/// `command` as another program's arguments.
fn under(program: &[&str], command: &Command) -> Command {
    let mut words = program.iter();
    let mut outer = Command::new(words.next().expect("a program has a name"));
    outer.args(words).arg(command.get_program()).args(command.get_args());
    outer.stdin(Stdio::null()).stdout(Stdio::null());
    outer
}

fn wait_for(child: &mut Child, addr: SocketAddr, deadline: Duration) -> anyhow::Result<()> {
    let began = now();
    while TcpStream::connect(addr).is_err() && !takes_datagrams(addr) {
        anyhow::ensure!(child.try_wait()?.is_none(), "ended at once");
        anyhow::ensure!(now() - began < deadline, "does not listen");
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Whether somebody has bound that address for datagrams; asking would need an answer of the backends.
fn takes_datagrams(addr: SocketAddr) -> bool {
    let SocketAddr::V4(addr) = addr else { return false };
    let table = std::fs::read_to_string("/proc/net/udp").unwrap_or_default();
    is_bound(&table, addr)
}

/// Whether a table of the kernel has this local address.
fn is_bound(table: &str, addr: SocketAddrV4) -> bool {
    let local = format!("{:08X}:{:04X}", u32::from_le_bytes(addr.ip().octets()), addr.port());
    table.lines().any(|line| line.split_whitespace().nth(1) == Some(&local))
}

fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // One that has ended already is what was wanted.
        let _ = kill_process(pid, signal);
    }
}

/// A process and its children.
fn tree(pid: u32) -> Vec<u32> {
    let mut pids = vec![pid];
    let mut at = 0;
    while let Some(pid) = pids.get(at) {
        let children =
            std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        pids.extend(children.split_whitespace().filter_map(|child| child.parse::<u32>().ok()));
        at += 1;
    }
    pids
}

fn cpu_nanos(pid: u32) -> u64 {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return 0 };
    let of_thread = |entry: std::fs::DirEntry| {
        let text = std::fs::read_to_string(entry.path().join("schedstat")).ok()?;
        running_nanos(&text)
    };
    threads.flatten().filter_map(of_thread).sum()
}

/// The first number of `schedstat`: nanoseconds on a core.
fn running_nanos(schedstat: &str) -> Option<u64> {
    schedstat.split_whitespace().next()?.parse().ok()
}

/// `VmRSS` of `status`.
fn resident_kib(status: &str) -> Option<u64> {
    status.split("VmRSS:").nth(1)?.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_the_first_number_of_schedstat() {
        assert_eq!(running_nanos("123456 789 10\n"), Some(123_456));
        assert_eq!(running_nanos(""), None);
    }

    #[test]
    fn an_address_that_is_bound_is_the_second_word_of_a_line() {
        let line = "  87: 0100007F:3039 00000000:0000 07 00000000:00000000 00:00000000 00000000 0 0 1\n";
        assert!(is_bound(line, "127.0.0.1:12345".parse().unwrap()));
        assert!(!is_bound(line, "127.0.0.1:12346".parse().unwrap()));
    }

    #[test]
    fn resident_memory_is_a_line_of_status() {
        assert_eq!(resident_kib("VmHWM:\t  9 kB\nVmRSS:\t    2316 kB\nRssAnon:\t 7 kB\n"), Some(2_316));
        assert_eq!(resident_kib(""), None);
    }
}
