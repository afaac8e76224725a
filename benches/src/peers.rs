//! The proxies: how each is configured, started, measured and ended.

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::Context;

use crate::Scenario;
use crate::load::now;

/// Longest time that a proxy may take to listen.
const START_DEADLINE: Duration = Duration::from_secs(10);

/// A proxy that runs.
#[derive(Debug)]
pub(crate) struct Proxy {
    /// Its name and version.
    pub(crate) name: String,
    /// Where it takes traffic.
    pub(crate) addr: SocketAddr,
    child: Child,
}

/// What a proxy is started with.
#[derive(Debug)]
pub(crate) struct Bench<'a> {
    pub(crate) scenario: Scenario,
    pub(crate) backends: &'a [SocketAddr],
    pub(crate) folder: &'a Path,
    pub(crate) weir: &'a Path,
}

impl Bench<'_> {
    /// Starts every proxy that is there; what is missing, and the remedy.
    pub(crate) fn start(&self) -> anyhow::Result<(Proxy, Vec<Proxy>, Vec<String>)> {
        let mut missing = Vec::new();
        let mut proxies = Vec::new();
        let floor = self.floor()?;
        for started in [self.nginx(), self.haproxy(), self.weir()] {
            match started {
                Ok(proxy) => proxies.push(proxy),
                Err(error) => missing.push(format!("{error:#}")),
            }
        }
        Ok((floor, proxies, missing))
    }

    fn floor(&self) -> anyhow::Result<Proxy> {
        let addr = free_addr()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("floor").arg(addr.to_string()).args(self.backends.iter().map(ToString::to_string));
        Proxy::start("floor relay".to_owned(), addr, &mut command)
    }

    fn nginx(&self) -> anyhow::Result<Proxy> {
        let addr = free_addr()?;
        let mut servers = String::new();
        for backend in self.backends {
            writeln!(servers, "server {backend} max_fails=0;")?;
        }
        let pid = self.folder.join("nginx.pid");
        let server = match self.scenario {
            Scenario::TcpShort => format!(
                "stream {{ upstream b {{ {servers} }} server {{ listen {addr} backlog=4096; proxy_pass b; tcp_nodelay on; }} }}"
            ),
            Scenario::Http128 | Scenario::Http4k => format!(
                "http {{ access_log off; keepalive_requests 100000000; tcp_nodelay on;
                 upstream b {{ {servers} keepalive 512; keepalive_requests 100000000; }}
                 server {{ listen {addr} backlog=4096; location / {{ proxy_pass http://b; proxy_http_version 1.1;
                 proxy_set_header Connection \"\"; proxy_set_header Host $host;
                 proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
                 proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Port $server_port;
                 proxy_set_header X-Amzn-Trace-Id $request_id; }} }} }}"
            ),
        };
        let modules = "/usr/lib/nginx/modules/ngx_stream_module.so";
        let load = if self.scenario == Scenario::TcpShort && Path::new(modules).exists() {
            format!("load_module {modules};\n")
        } else {
            String::new()
        };
        let text = format!(
            "{load}daemon off; worker_processes 1; error_log /dev/null crit; pid {};\nevents {{ worker_connections 8192; }}\n{server}\n",
            pid.display()
        );
        let path = self.write("nginx.conf", &text)?;
        let version = version("nginx", "-v", "nginx/")?;
        Proxy::start(format!("nginx {version}"), addr, Command::new("nginx").arg("-c").arg(path))
    }

    fn haproxy(&self) -> anyhow::Result<Proxy> {
        let addr = free_addr()?;
        let mut servers = String::new();
        for (number, backend) in self.backends.iter().enumerate() {
            let pool = if self.scenario == Scenario::TcpShort { "" } else { "pool-max-conn -1" };
            writeln!(servers, "  server s{number} {backend} {pool}")?;
        }
        let (mode, options) = match self.scenario {
            Scenario::TcpShort => ("tcp", ""),
            Scenario::Http128 | Scenario::Http4k => (
                "http",
                "  option forwardfor\n  http-reuse always\n  http-request set-header X-Forwarded-Proto http\n  http-request set-header X-Forwarded-Port %[dst_port]\n  unique-id-format %{+X}o%ci%cp%Ts%rt\n  unique-id-header X-Amzn-Trace-Id\n",
            ),
        };
        let text = format!(
            "global\n  nbthread 1\n  maxconn 8192\ndefaults\n  mode {mode}\n  timeout connect 10s\n  timeout client 60s\n  timeout server 60s\nlisten b\n  bind {addr} backlog 4096\n  balance roundrobin\n{options}{servers}"
        );
        let path = self.write("haproxy.cfg", &text)?;
        let version = version("haproxy", "-v", "version ")?;
        Proxy::start(format!("HAProxy {version}"), addr, Command::new("haproxy").arg("-f").arg(path))
    }

    fn weir(&self) -> anyhow::Result<Proxy> {
        self.weir_with(&(String::new(), String::new()))
    }

    /// weir with more in its configuration: at the top, and among the target groups.
    pub(crate) fn weir_with(&self, more: &(String, String)) -> anyhow::Result<Proxy> {
        let (addr, path) = self.weir_configuration(more)?;
        let output = Command::new(self.weir).arg("--version").output().context("weir --version")?;
        let name = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Proxy::start(name, addr, Command::new(self.weir).args(["run", "-c"]).arg(path))
    }

    /// Writes weir's configuration: where it will listen, and the file.
    fn weir_configuration(&self, (top, groups): &(String, String)) -> anyhow::Result<(SocketAddr, PathBuf)> {
        anyhow::ensure!(
            self.weir.exists(),
            "no weir at {}: build it with `cargo build --release`, or name one with --weir",
            self.weir.display()
        );
        let (addr, admin) = (free_addr()?, free_addr()?);
        let mut targets = String::new();
        for backend in self.backends {
            writeln!(targets, "      - {{ address: {}, port: {} }}", backend.ip(), backend.port())?;
        }
        let (protocol, kind) = match self.scenario {
            Scenario::TcpShort => ("tcp", "network"),
            Scenario::Http128 | Scenario::Http4k => ("http", "application"),
        };
        let text = format!(
            "admin: {{ bind: {admin} }}\nworkers: 1\n{top}target_groups:\n{groups}  - name: backends\n    protocol: {protocol}\n    health_check: {{ protocol: tcp, interval: 300s }}\n    targets:\n{targets}load_balancers:\n  - name: bench\n    type: {kind}\n    listeners: [{{ bind: \"{addr}\", default_action: {{ forward: backends }} }}]\n"
        );
        Ok((addr, self.write("weir.yaml", &text)?))
    }

    fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.folder.join(name);
        std::fs::write(&path, text)?;
        Ok(path)
    }
}

impl Proxy {
    /// Starts a proxy on core 0 and waits until it listens.
    fn start(name: String, addr: SocketAddr, command: &mut Command) -> anyhow::Result<Self> {
        let program = command.get_program().to_owned();
        let mut pinned = Command::new("taskset");
        pinned.args(["-c", "0"]).arg(&program).args(command.get_args());
        let child = pinned
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        let mut proxy = Self { name, addr, child };
        let began = now();
        while TcpStream::connect(addr).is_err() {
            anyhow::ensure!(proxy.child.try_wait()?.is_none(), "{} ended at once", proxy.name);
            anyhow::ensure!(now() - began < START_DEADLINE, "{} does not listen", proxy.name);
            std::thread::sleep(Duration::from_millis(20));
        }
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
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Children first: nginx's worker would outlive a killed master.
        for pid in tree(self.child.id()).into_iter().rev() {
            if let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        let _ = self.child.wait();
    }
}

/// weir under valgrind's callgrind, which counts its instructions.
#[derive(Debug)]
pub(crate) struct Valgrind {
    addr: SocketAddr,
    child: Child,
}

impl Valgrind {
    /// Starts weir and waits until it listens.
    pub(crate) fn start(bench: &Bench<'_>) -> anyhow::Result<Self> {
        let (addr, path) = bench.weir_configuration(&Default::default())?;
        let child = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg(bench.weir)
            .args(["run", "-c"])
            .arg(path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("valgrind is not installed (apt-get install valgrind)")?;
        let mut started = Self { addr, child };
        let began = now();
        while TcpStream::connect(addr).is_err() {
            anyhow::ensure!(started.child.try_wait()?.is_none(), "weir under valgrind ended at once");
            anyhow::ensure!(now() - began < 6 * START_DEADLINE, "weir under valgrind does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(started)
    }

    /// Where it takes traffic.
    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Ends it in order: how many instructions it took.
    pub(crate) fn finish(self) -> anyhow::Result<u64> {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.context("a child has an id")?, rustix::process::Signal::TERM)?;
        let output = self.child.wait_with_output()?;
        crate::instructions::collected(&String::from_utf8_lossy(&output.stderr))
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

fn version(program: &str, flag: &str, before: &str) -> anyhow::Result<String> {
    let output = Command::new(program)
        .arg(flag)
        .output()
        .with_context(|| format!("{program} is not installed (apt-get install nginx-light haproxy)"))?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    let after = text.split(before).nth(1).unwrap_or("?");
    Ok(after.split(|c: char| !(c.is_ascii_digit() || c == '.')).next().unwrap_or("?").to_owned())
}

fn free_addr() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_is_the_first_number_of_schedstat() {
        assert_eq!(running_nanos("123456 789 10\n"), Some(123_456));
        assert_eq!(running_nanos(""), None);
    }
}
