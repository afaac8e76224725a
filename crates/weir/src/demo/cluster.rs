//! The demo's cluster: services of a few tasks each, on ports that the kernel or the engine chooses.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::time::Instant;

use super::Ports;
use super::containers::Containers;

/// The services whose tasks are replaced.
pub(super) const SERVICES: [&str; 3] = ["web", "api", "echo"];

/// Tasks of each service.
pub(super) const TASKS_PER_SERVICE: usize = 3;

/// Instances of the classic load balancer: one static port on two loopback addresses.
const INSTANCES: [[u8; 4]; 2] = [[127, 0, 0, 11], [127, 0, 0, 12]];

/// Longest time that an old task may take to finish what it has.
const IDLE_DEADLINE: Duration = Duration::from_secs(10);

/// All tasks of the demo.
pub(super) struct Cluster {
    targets_file: PathBuf,
    containers: Option<Containers>,
    tasks: Vec<Task>,
    legacy: Vec<Process>,
    legacy_port: u16,
    ever: Vec<String>,
    started: usize,
}

struct Task {
    service: &'static str,
    name: String,
    running: Running,
}

enum Running {
    Container,
    Process(Process),
}

/// A task that is a process of its own; ended when dropped.
struct Process {
    child: Child,
    http: SocketAddr,
    tcp: SocketAddr,
}

/// A task that has left its group and is still running.
pub(super) struct Leaving(Task);

impl Cluster {
    /// Starts every service, as containers or as processes.
    pub(super) fn start(folder: &Path, as_containers: bool) -> anyhow::Result<Self> {
        let containers = as_containers.then(|| Containers::prepare(folder)).transpose()?;
        let mut cluster = Self {
            targets_file: folder.join("targets").join("demo.json"),
            containers,
            tasks: Vec::new(),
            legacy: Vec::new(),
            legacy_port: 0,
            ever: Vec::new(),
            started: 0,
        };
        for (number, instance) in INSTANCES.into_iter().enumerate() {
            let name = format!("legacy-{}", number + 1);
            let http = SocketAddr::from((instance, cluster.legacy_port));
            let process = Process::start("legacy", &name, http)?;
            cluster.legacy_port = process.http.port();
            cluster.legacy.push(process);
            cluster.ever.push(name);
        }
        for service in SERVICES {
            for _ in 0..TASKS_PER_SERVICE {
                cluster.add(service)?;
            }
        }
        Ok(cluster)
    }

    /// The configuration of a load balancer of each kind in front of the cluster.
    pub(super) fn configuration(&self, folder: &Path, ports: &Ports) -> String {
        let discovery = match &self.containers {
            Some(_) => "{ docker: {} }".to_owned(),
            None => format!("{{ file: {{ path: {} }} }}", folder.join("targets").display()),
        };
        let member = |service: &str, port: u16| match &self.containers {
            Some(containers) => format!(
                "{{ docker: {{ service: {}, container_port: {port} }} }}",
                containers.service(service)
            ),
            None => format!("{{ file: {{ service: {service} }} }}"),
        };
        let check = "interval: 1s, timeout: 500ms, healthy_threshold: 2, unhealthy_threshold: 2";
        let instances: Vec<String> =
            INSTANCES.iter().map(|ip| std::net::Ipv4Addr::from(*ip).to_string()).collect();
        format!(
            "\
admin: {{ bind: {admin} }}
discovery: {discovery}
target_groups:
  - name: web
    deregistration_delay: 10s
    health_check: {{ path: /healthz, {check} }}
    targets: [{web}]
  - name: api
    load_balancing_algorithm: least_outstanding_requests
    deregistration_delay: 10s
    health_check: {{ path: /healthz, {check} }}
    targets: [{api}]
  - name: echo
    protocol: tcp
    deregistration_delay: 10s
    health_check: {{ {check} }}
    targets: [{echo}]
load_balancers:
  - name: edge
    type: application
    listeners:
      - bind: {application}
        rules:
          - priority: 10
            conditions: [{{ path_pattern: [\"/api/*\"] }}]
            actions: [{{ forward: api }}]
        default_action: {{ forward: web }}
  - name: data
    type: network
    listeners: [{{ bind: \"{network}\", default_action: {{ forward: echo }} }}]
  - name: legacy
    type: classic
    instances: [{instances}]
    health_check: {{ target: \"HTTP:{legacy_port}/healthz\", interval: 1s, timeout: 500ms, healthy_threshold: 2 }}
    listeners: [{{ bind: \"{classic}\", protocol: http, instance_port: {legacy_port} }}]
",
            admin = ports.admin,
            web = member("web", super::containers::HTTP_PORT),
            api = member("api", super::containers::HTTP_PORT),
            echo = member("echo", super::containers::TCP_PORT),
            application = ports.application,
            network = ports.network,
            classic = ports.classic,
            instances = instances.join(", "),
            legacy_port = self.legacy_port,
        )
    }

    /// Starts another task of a service and makes it known; its name.
    pub(super) fn add(&mut self, service: &'static str) -> anyhow::Result<String> {
        self.started += 1;
        let name = format!("{service}-{}", self.started);
        let running = match &mut self.containers {
            Some(containers) => {
                containers.run(service, &name)?;
                Running::Container
            }
            None => Running::Process(Process::start(service, &name, SocketAddr::from(([127, 0, 0, 1], 0)))?),
        };
        self.tasks.push(Task { service, name: name.clone(), running });
        self.ever.push(name.clone());
        self.write_targets()?;
        Ok(name)
    }

    /// Takes the oldest task of a service out of its group. A container stays in until it is told to stop.
    pub(super) fn deregister_oldest(&mut self, service: &str) -> anyhow::Result<Leaving> {
        let at =
            self.tasks.iter().position(|task| task.service == service).context("the service has no task")?;
        let task = self.tasks.remove(at);
        self.write_targets()?;
        Ok(Leaving(task))
    }

    /// Stops a task that has left its group: a process once it has nothing in flight; a container at once, since its
    /// own stop signal begins the draining.
    pub(super) fn stop_when_idle(&self, leaving: Leaving, in_flight: impl Fn() -> u32) -> anyhow::Result<()> {
        match (leaving.0.running, &self.containers) {
            (Running::Container, Some(containers)) => containers.stop(&leaving.0.name),
            (Running::Container, None) => Ok(()),
            (Running::Process(process), _) => {
                // Time for the watcher to have seen the file, then for what is under way.
                let began = Instant::now();
                thread::sleep(Duration::from_millis(300));
                while in_flight() > 0 && began.elapsed() < IDLE_DEADLINE {
                    thread::sleep(Duration::from_millis(10));
                }
                process.stop()
            }
        }
    }

    /// Every task that there has ever been.
    pub(super) fn ever(&self) -> &[String] {
        &self.ever
    }

    /// Stops everything.
    pub(super) fn stop(self) {
        for task in self.tasks {
            if let Running::Process(process) = task.running {
                // The demo is over: a task that is gone already is fine.
                let _ = process.stop();
            }
        }
    }

    /// Tells the file source of all tasks, by an atomic rename.
    fn write_targets(&self) -> anyhow::Result<()> {
        let entries: Vec<_> = self
            .tasks
            .iter()
            .filter_map(|task| match &task.running {
                Running::Container => None,
                Running::Process(process) => {
                    let addr = if task.service == "echo" { process.tcp } else { process.http };
                    Some(json!({
                        "targets": [addr.to_string()],
                        "labels": { "service": task.service, "id": task.name },
                    }))
                }
            })
            .collect();
        let new = self.targets_file.with_extension("new");
        std::fs::write(&new, serde_json::to_vec_pretty(&entries)?)?;
        std::fs::rename(&new, &self.targets_file)?;
        Ok(())
    }
}

impl Process {
    fn start(service: &str, name: &str, http: SocketAddr) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["task", "--service", service, "--name", name])
            .args(["--http", &http.to_string(), "--tcp", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // An interrupt from the terminal ends the demo, which ends its tasks when their work is done.
            .process_group(0)
            .spawn()
            .context("cannot start a task")?;
        let stdout = child.stdout.take().context("a task has a standard output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let mut addrs = line.split_whitespace().map(str::parse);
        match (addrs.next(), addrs.next()) {
            (Some(Ok(http)), Some(Ok(tcp))) => Ok(Self { child, http, tcp }),
            _ => anyhow::bail!("task {name} did not say where it listens"),
        }
    }

    fn stop(mut self) -> anyhow::Result<()> {
        let pid =
            i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("a process has an id")?;
        kill_process(pid, Signal::TERM)?;
        self.child.wait()?;
        Ok(())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Only what is still running can be ended; everything else is as it should be.
        let _ = (self.child.kill(), self.child.wait());
    }
}
