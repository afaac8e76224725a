//! Servers of live runs as containers of a Docker engine, each with `weir lab target` in it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Context, ensure};
use weir::image::{self, docker};
use weir_config::document::{Node, Value};
use weir_core::definition::{TargetSelector, TaskSelector};
use weir_core::name::GroupName;
use weir_core::target::Weight;
use weir_core::task::SourceKind;
use weir_lab::compare::Case;
use weir_lab::live::Servers;
use weir_lab::load::Stop;
use weir_lab::scenario::{Scenario, ServerKind};

use super::live::now;

/// The label of everything that is made here; its value is the mark of the process.
const LABEL: &str = "weir-lab";

/// The port in a container.
const PORT: u16 = 8080;

/// Most containers at a time: what a laptop bears.
const CONTAINERS_MAX: usize = 200;

/// Calls of the engine at a time; it is no faster with more.
const AT_A_TIME: usize = 4;

/// How long a container may take until it answers.
const ANSWERING: Duration = Duration::from_secs(20);

/// How often it is asked, and how long an answer may take.
const ASKED: Duration = Duration::from_millis(20);
const ANSWER: Duration = Duration::from_secs(1);

/// An image, and all containers of it; both are removed when this is dropped.
pub(super) struct Containers {
    /// Keeps two processes apart: part of every name and service.
    mark: String,
    image: String,
    /// The scenario file, at the same place here and in the image.
    scenario: PathBuf,
}

/// The containers of one group; removed when dropped.
pub(super) struct Group {
    service: String,
    ids: Vec<String>,
    addrs: Vec<SocketAddr>,
}

impl Containers {
    /// Whether all that is to run can be run in containers, before anything is.
    pub(super) fn check(cases: &[Case]) -> anyhow::Result<()> {
        for case in cases {
            let count = case.scenario.servers_at_start().count() * case.scenario.policies.len();
            ensure!(
                count <= CONTAINERS_MAX,
                "--targets containers: {} wants {count} containers at a time, and more than {CONTAINERS_MAX} are too many; \
                 leave some --algorithms out, or write fewer servers",
                case.scenario.name
            );
        }
        let answered = docker(&["version", "--format", "{{.Server.Version}}"]);
        answered
            .map(drop)
            .context("--targets containers: no Docker engine answers; start one, or leave it out")
    }

    /// Makes an image of this program, the scenario and its traces.
    pub(super) fn prepare(scenario: &Path) -> anyhow::Result<Self> {
        let mark = format!("weir-lab-{}", std::process::id());
        let folder = std::env::temp_dir().join(&mark);
        let scenario = scenario.canonicalize().with_context(|| scenario.display().to_string())?;
        let containers = Self { image: format!("{mark}:target"), mark, scenario };
        let made = containers.make_image(&folder);
        // What is left in a temporary folder is the system's to tidy.
        let _ = std::fs::remove_dir_all(&folder);
        made.context("--targets containers: cannot make an image")?;
        Ok(containers)
    }

    fn make_image(&self, folder: &Path) -> anyhow::Result<()> {
        for file in files(&self.scenario)? {
            let place = image::root(folder).join(file.strip_prefix("/").unwrap_or(&file));
            place.parent().map_or(Ok(()), std::fs::create_dir_all)?;
            std::fs::copy(&file, &place).with_context(|| format!("cannot copy {}", file.display()))?;
        }
        image::import(&std::env::current_exe()?, folder, &self.image)
    }

    /// Starts the servers of a scenario as the targets of a group, and waits until they answer.
    pub(super) fn serve(
        &self,
        scenario: &Scenario,
        seed: u64,
        group: &GroupName,
        stop: &Stop,
    ) -> anyhow::Result<Group> {
        let service = format!("{}-{group}", self.mark);
        let mut started = Group { service: service.clone(), ids: Vec::new(), addrs: Vec::new() };
        let kinds: Vec<(usize, &ServerKind)> = scenario.servers_at_start().enumerate().collect();
        let (ids, next) = (Mutex::new(vec![String::new(); kinds.len()]), AtomicUsize::new(0));
        let ran: anyhow::Result<()> = std::thread::scope(|scope| {
            let run = || -> anyhow::Result<()> {
                while let Some((number, kind)) = kinds.get(next.fetch_add(1, Relaxed)) {
                    ensure!(!stop.is_stopped(), "interrupted");
                    let id = self.run(&service, (&scenario.name, seed, *number), kind)?;
                    ids.lock().expect("nobody panics while it notes an id")[*number] = id;
                }
                Ok(())
            };
            let threads: Vec<_> = (0..AT_A_TIME).map(|_| scope.spawn(run)).collect();
            threads.into_iter().try_for_each(|thread| thread.join().expect("no call of the engine panics"))
        });
        started.ids = ids.into_inner().expect("all threads have ended well");
        started.ids.retain(|id| !id.is_empty());
        ran?;
        started.addrs = addrs(&started.ids)?;
        started.wait(stop)?;
        Ok(started)
    }

    /// Runs the container of one server; its id.
    fn run(
        &self,
        service: &str,
        (variant, seed, number): (&str, u64, usize),
        kind: &ServerKind,
    ) -> anyhow::Result<String> {
        let mut arguments =
            vec!["run".to_owned(), "-d".to_owned(), "-p".to_owned(), format!("127.0.0.1::{PORT}")];
        let mut label =
            |name: &str, value: &str| arguments.extend(["--label".to_owned(), format!("{name}={value}")]);
        label(LABEL, &self.mark);
        label("weir.service", service);
        label("weir.weight", &kind.weight.get().to_string());
        kind.zone.iter().for_each(|zone| label("weir.zone", zone));
        arguments.extend(["--name".to_owned(), format!("{service}-{number}"), self.image.clone()]);
        let (seed, number, scenario) =
            (seed.to_string(), number.to_string(), self.scenario.display().to_string());
        let listen = format!("0.0.0.0:{PORT}");
        let target = ["/weir", "lab", "target", &scenario, "--variant", variant];
        let options = ["--server", &number, "--seed", &seed, "--listen", &listen];
        arguments.extend(target.iter().chain(&options).map(|word| (*word).to_owned()));
        docker(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }
}

impl Drop for Containers {
    fn drop(&mut self) {
        // Whatever an interrupted call has left.
        let left = docker(&["ps", "-aq", "--filter", &format!("label={LABEL}={}", self.mark)]);
        let left = left.unwrap_or_default();
        remove(&left.split_whitespace().map(ToOwned::to_owned).collect::<Vec<_>>());
        let _ = docker(&["rmi", &self.image]);
    }
}

impl Group {
    /// Waits until every container answers.
    fn wait(&self, stop: &Stop) -> anyhow::Result<()> {
        let until = now() + ANSWERING;
        for (id, addr) in self.ids.iter().zip(&self.addrs) {
            while let Err(error) = ask(*addr, "") {
                ensure!(!stop.is_stopped(), "interrupted");
                let said = || docker(&["logs", id]).unwrap_or_default();
                ensure!(now() < until, "a container does not answer at {addr}: {error}\n{}", said());
                std::thread::sleep(ASKED);
            }
        }
        Ok(())
    }
}

impl Servers for Group {
    fn selectors(&self) -> Vec<TargetSelector> {
        vec![TargetSelector::Tasks(TaskSelector {
            source: SourceKind::Docker,
            service: Some(self.service.clone()),
            project: None,
            container_port: Some(PORT),
            weight: Weight::ONE,
        })]
    }

    fn begin(&self) {
        for addr in &self.addrs {
            // Who is gone already answers no request either, which is seen.
            let _ = ask(*addr, "x-lab-begin: 1\r\n");
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        remove(&self.ids);
    }
}

/// Removes containers, whatever they do. Gone already is as good.
fn remove(ids: &[String]) {
    let share = ids.len().div_ceil(AT_A_TIME).max(1);
    std::thread::scope(|scope| {
        for ids in ids.chunks(share) {
            let arguments: Vec<&str> =
                ["rm", "-f"].into_iter().chain(ids.iter().map(String::as_str)).collect();
            scope.spawn(move || docker(&arguments));
        }
    });
}

/// Where the port of each is published.
fn addrs(ids: &[String]) -> anyhow::Result<Vec<SocketAddr>> {
    let format = format!("{{{{(index (index .NetworkSettings.Ports \"{PORT}/tcp\") 0).HostPort}}}}");
    let arguments = ["inspect", "--format", &format].into_iter().chain(ids.iter().map(String::as_str));
    let said = docker(&arguments.collect::<Vec<_>>()).context("a container has no published port")?;
    let addr = |port: &str| Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port.parse::<u16>()?)));
    said.split_whitespace().map(addr).collect()
}

/// One request without work.
fn ask(addr: SocketAddr, fields: &str) -> std::io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&addr, ANSWER)?;
    stream.set_read_timeout(Some(ANSWER))?;
    write!(stream, "GET / HTTP/1.1\r\nhost: {addr}\r\n{fields}\r\n")?;
    // A proxy of the engine's takes connections for whoever does not listen yet.
    stream.read_exact(&mut [0; b"HTTP/1.1 200".len()])
}

/// A scenario file and the traces that it names, by their whole paths.
fn files(scenario: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let folder = scenario.parent().unwrap_or(Path::new("/"));
    let text = weir_config::text_of(scenario)?;
    let read = weir_config::document::read(&text, scenario, folder, |root, _| {
        let mut names = Vec::new();
        traces(root, &mut names);
        Some(names)
    });
    let (names, _) = read.map_err(|problems| anyhow::anyhow!("{problems}"))?;
    Ok(std::iter::once(scenario.to_owned()).chain(names.iter().map(|name| folder.join(name))).collect())
}

/// What every `file` beneath a node names.
fn traces(node: &Node, names: &mut Vec<String>) {
    match &node.value {
        Value::Mapping(entries) => {
            for (key, value) in entries {
                match &value.value {
                    Value::Scalar(name) if key.name == "file" => names.push(name.clone()),
                    _ => traces(value, names),
                }
            }
        }
        Value::Sequence(nodes) => nodes.iter().for_each(|node| traces(node, names)),
        Value::Scalar(_) => {}
    }
}
