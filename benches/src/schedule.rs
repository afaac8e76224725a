//! The schedule: floor, a proxy, floor, the next proxy, and so on, so that each slice has its floor beside it.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::Context;

use crate::load::Run;
use crate::peers::Bench;
use crate::proxy::Proxy;
use crate::report::{Measured, report};
use crate::scenario::Scenario;
use crate::sockets::allow_files;
use crate::transport::write_certificate;
use crate::{Comparison, in_folder, progress, say};

/// Runs every scenario and prints its report.
pub(crate) fn compare(comparison: &Comparison) -> anyhow::Result<()> {
    ask_for_priority();
    allow_files()?;
    in_folder("compare", |folder| {
        write_certificate(folder)?;
        comparison.scenario.iter().try_for_each(|scenario| run(comparison, *scenario, folder))
    })
}

fn run(comparison: &Comparison, scenario: Scenario, folder: &std::path::Path) -> anyhow::Result<()> {
    let mut generator = Generator::start(scenario)?;
    let bench = Bench { scenario, backends: &generator.backends.clone(), folder, weir: &comparison.weir };
    let (floor, (proxies, missing)) = (bench.floor()?, bench.start());
    for problem in &missing {
        say(&format!("left out: {problem}"));
    }
    let mut measured: Vec<Measured> = proxies.iter().map(|proxy| Measured::new(&proxy.name)).collect();
    let mut floors = Measured::new(&floor.name);
    for round in 0..comparison.rounds {
        let mut before = slice(&mut generator, &floor, comparison.seconds, scenario.plain())?;
        floors.add(before.clone(), None);
        for (proxy, measured) in proxies.iter().zip(&mut measured) {
            progress(&format!(
                "{}: round {} of {}, {}",
                scenario.name(),
                round + 1,
                comparison.rounds,
                proxy.name
            ));
            let own = slice(&mut generator, proxy, comparison.seconds, scenario)?;
            let after = slice(&mut generator, &floor, comparison.seconds, scenario.plain())?;
            let beside = f64::midpoint(before.cpu_micros, after.cpu_micros);
            measured.add(own, Some(beside));
            floors.add(after.clone(), None);
            before = after;
        }
    }
    report(scenario, &floors, &measured, comparison.json);
    Ok(())
}

/// One run against one proxy.
#[derive(Clone, Debug)]
pub(crate) struct Slice {
    /// CPU time of the proxy per request, in microseconds.
    pub(crate) cpu_micros: f64,
    /// What the generator saw.
    pub(crate) run: Run,
}

/// Measures one run of `scenario` against one proxy.
pub(crate) fn slice(
    generator: &mut Generator,
    proxy: &Proxy,
    seconds: f64,
    scenario: Scenario,
) -> anyhow::Result<Slice> {
    generator.load(proxy.addr, seconds, scenario)?;
    let before = proxy.cpu_nanos();
    let run = generator.outcome()?;
    let nanos = proxy.cpu_nanos() - before;
    Ok(Slice { cpu_micros: nanos as f64 / 1e3 / run.requests.max(1) as f64, run })
}

/// The generator, in a process of its own.
pub(crate) struct Generator {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    pub(crate) backends: Vec<SocketAddr>,
}

impl Generator {
    pub(crate) fn start(scenario: Scenario) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["load", scenario.name()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take().context("the generator has a standard input")?;
        let mut stdout = BufReader::new(child.stdout.take().context("the generator has a standard output")?);
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        let backends = line.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        Ok(Self { child, stdin, stdout, backends })
    }

    /// Begins a load; returns when the measured time begins.
    pub(crate) fn load(&mut self, addr: SocketAddr, seconds: f64, scenario: Scenario) -> anyhow::Result<()> {
        writeln!(self.stdin, "{addr} {seconds} {}", scenario.name())?;
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        anyhow::ensure!(line.trim() == "go", "the generator failed against {addr}");
        Ok(())
    }

    /// Waits for the end of the load.
    pub(crate) fn outcome(&mut self) -> anyhow::Result<Run> {
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        serde_json::from_str(&line).context("the generator ended in the middle of a load")
    }

    /// CPU time of weir's worker per request of [`Scenario::Http128`], in microseconds.
    pub(crate) fn worker_micros(&mut self, weir: &Proxy, seconds: f64) -> anyhow::Result<f64> {
        self.load(weir.addr, seconds, Scenario::Http128)?;
        let before = weir.worker_nanos()?;
        let run = self.outcome()?;
        anyhow::ensure!(run.errors == 0, "{} requests failed", run.errors);
        Ok((weir.worker_nanos()? - before) as f64 / 1e3 / run.requests.max(1) as f64)
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        let _ = (self.child.kill(), self.child.wait());
    }
}

/// Where sessions share the processor by group, the nice value counts only within a group.
fn ask_for_priority() {
    // Without permission the numbers are noisier, and the ratios hold all the same.
    let _ = std::fs::write("/proc/self/autogroup", "-19");
}
