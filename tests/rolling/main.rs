//! `cargo xtask rolling`: containers come and go under load, and no client notices.
//!
//! Every phase has a weir, containers and a load of its own, prints one row, and says what it promises. Real
//! containers of a real engine; the load never sends a request twice.

#![allow(clippy::panic, clippy::print_stdout, clippy::unwrap_used, reason = "a program for people")]

mod load;
mod peers;
mod phases;
mod swaps;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use load::{Endpoints, Load, Outcome};
use peers::{Kind, Peer};
use phases::Phase;
use weir_tests::docker::{HTTP_PORT, TCP_PORT};
use weir_tests::{Engine, Folder, Weir, wait_until};

/// The services, each a group of its own; flows go to the first.
const SERVICES: &[&str] = &["api", "web"];

/// Who else may stand there, by the word that asks for it.
const PEERS: [(&str, Kind); 2] = [("haproxy", Kind::Haproxy), ("nginx", Kind::Nginx)];

/// Largest share of delays from event to snapshot that may be longer than [`SWAP_MAX`]: one in a hundred.
const SWAP_MAX: Duration = Duration::from_millis(50);

/// What a phase must not exceed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Promise {
    /// No request fails.
    NoneFails,
    /// No GET fails; a POST may that its task had taken.
    NoGetFails,
    /// No answer is another service's; what fails is counted and shown.
    NoneStrays,
}

/// Who stands between the load and the containers.
enum Balancer {
    Weir(Weir),
    Peer(Peer),
}

impl Balancer {
    fn endpoints(&self) -> Endpoints {
        match self {
            Self::Weir(weir) => Endpoints { http: weir.listener(0), tcp: weir.listener(1) },
            Self::Peer(peer) => peer.endpoints,
        }
    }

    /// Targets of `service` that get requests.
    fn count(&self, service: &str) -> usize {
        match self {
            Self::Weir(weir) => healthy(weir, service),
            Self::Peer(peer) => peer.known(service),
        }
    }

    fn is_holding(&self) -> bool {
        matches!(self, Self::Weir(weir) if weir.metric("weir_holding") > 0.0)
    }
}

/// A balancer, its containers in the engine of this machine, and the load on it.
struct Stage {
    engine: Engine,
    balancer: Balancer,
    began: SystemTime,
    options: &'static [&'static str],
    /// Containers that were told to end: their flows may.
    gone: BTreeSet<String>,
    load: Option<Load>,
}

impl Stage {
    /// A stage with `replicas` containers of each service, all healthy, and load on them.
    fn set(who: Option<Kind>, mark: &str, replicas: usize, options: &'static [&'static str]) -> Self {
        let engine = Engine::find(mark).expect("a Docker engine answers; start one");
        let balancer = match who {
            Some(kind) => Balancer::Peer(Peer::start(kind, &engine)),
            None => {
                let folder = Folder::new();
                let file = folder.write("targets.json", "[]");
                let yaml = configuration("", &format!("{}-", engine.service()), &file);
                Balancer::Weir(Weir::start_in(folder, &yaml, |_| {}))
            }
        };
        #[allow(clippy::disallowed_methods, reason = "the engine tells wall time")]
        let began = SystemTime::now();
        let mut stage = Self { engine, balancer, began, options, gone: BTreeSet::new(), load: None };
        for service in SERVICES {
            for number in 1..=replicas {
                stage.run(service, &number.to_string());
            }
        }
        for service in SERVICES {
            stage.wait_for(service, replicas);
        }
        stage.load = Some(Load::start(stage.balancer.endpoints(), SERVICES));
        stage
    }

    /// Starts a container of `service` on ports that the engine chooses.
    fn run(&self, service: &str, name: &str) {
        self.engine.run(&format!("{service}-{name}"), &["--label", &self.label(service)], self.options);
    }

    fn label(&self, service: &str) -> String {
        format!("weir.service={}-{service}", self.engine.service())
    }

    /// Waits until `count` containers of `service` are healthy, and nobody else is eligible.
    fn wait_for(&self, service: &str, count: usize) {
        wait_until(&format!("{count} of {service} are healthy"), || self.balancer.count(service) == count);
    }

    /// Waits until everything that was held has been let go.
    fn wait_until_nobody_waits(&self) {
        wait_until("nobody waits for a target", || !self.balancer.is_holding());
    }

    /// Does something to containers that ends them.
    fn end(&mut self, what: &[&str], containers: &[&str]) {
        self.gone.extend(containers.iter().map(ToString::to_string));
        self.engine.tell(what, containers);
    }

    /// Ends the load, prints the row of the phase; whether it kept its promise.
    fn finish(mut self, phase: &str, promise: Promise) -> bool {
        let outcome = self.load.take().expect("the load is under way").stop();
        let delays = match &self.balancer {
            Balancer::Weir(weir) => {
                swaps::delays(self.began, &weir.process().handle().timeline.latest_first())
            }
            Balancer::Peer(_) => Vec::new(),
        };
        report(phase, promise, &self.balancer, outcome, &delays, &self.gone)
    }
}

fn healthy(weir: &Weir, service: &str) -> usize {
    let snapshot = weir.snapshot();
    let group = snapshot.groups().find(|group| group.settings.name.as_str() == service);
    group.map_or(0, |group| group.members.iter().filter(|member| member.health.is_healthy()).count())
}

/// Prints the row of a phase; whether weir kept its promise. A peer has given none.
fn report(
    phase: &str,
    promise: Promise,
    balancer: &Balancer,
    mut outcome: Outcome,
    delays: &[Duration],
    gone: &BTreeSet<String>,
) -> bool {
    let p99 = delays.get(delays.len().saturating_sub(1) * 99 / 100).copied().unwrap_or_default();
    let flows_broken = outcome.flows.broken_on_survivors(gone);
    let sockets_broken = outcome.sockets.broken_on_survivors(gone);
    let latency = outcome.p99();
    let failed = outcome.gets_failed + outcome.posts_failed;
    let broken = flows_broken + sockets_broken;
    let is_kept = p99 < SWAP_MAX
        && outcome.wrong_service == 0
        && match promise {
            Promise::NoneFails => failed == 0 && broken == 0,
            Promise::NoGetFails => outcome.gets_failed == 0 && broken == 0,
            Promise::NoneStrays => true,
        };
    let metric = |name: &str| match balancer {
        Balancer::Weir(weir) => weir.metric(name).to_string(),
        Balancer::Peer(_) => "-".to_owned(),
    };
    let verdict = match balancer {
        Balancer::Peer(_) => "",
        Balancer::Weir(_) if is_kept => "kept",
        Balancer::Weir(_) => "BROKEN",
    };
    println!(
        "{phase:46}{:>8}{:>7}{:>7}{:>7}{:>7}{:>8}{:>9.1}{:>7}{:>7}{:>7}{:>7}{:>9.1}{:>9.1}  {verdict}",
        outcome.sent,
        outcome.gets_failed,
        outcome.posts_failed,
        outcome.wrong_service,
        metric("weir_held_total"),
        metric("weir_retries_total"),
        millis(latency),
        outcome.flows.opened,
        flows_broken,
        outcome.sockets.opened,
        sockets_broken,
        millis(p99),
        millis(delays.last().copied().unwrap_or_default()),
    );
    for failure in &outcome.failures {
        println!("    {failure}");
    }
    let Balancer::Weir(weir) = balancer else { return true };
    if failed > 0 {
        let metrics = weir.admin("/metrics").body;
        let reasons = metrics.lines().filter(|line| line.starts_with("weir_request_errors"));
        reasons.for_each(|line| println!("    {line}"));
    }
    is_kept
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// A group for each service, at `/<service>/`, and the first one's flows and WebSockets. The groups follow `file` too.
///
/// `engine` are the settings of the Docker source; what its services are called begins with `prefix`.
fn configuration(engine: &str, prefix: &str, file: &Path) -> String {
    let mut text = format!(
        "discovery: {{ docker: {{ {engine} }}, file: {{ path: {} }} }}\ntarget_groups:\n",
        file.display()
    );
    let target = |service: &str, port: u16| {
        format!(
            "[{{ docker: {{ service: {prefix}{service}, container_port: {port} }} }}, {{ file: {{ service: {service} }} }}]"
        )
    };
    let check = "health_check: { interval: 1s, timeout: 500ms }, deregistration_delay: 30s";
    let group = |name: &str, settings: &str, targets: &str| {
        format!("  - {{ name: {name}, {settings}{check}, targets: {targets} }}\n")
    };
    text.extend(SERVICES.iter().map(|service| group(service, "", &target(service, HTTP_PORT))));
    text += &group("flows", "protocol: tcp, ", &target(SERVICES[0], TCP_PORT));
    let sockets = target(SERVICES[0], TCP_PORT);
    // The same port that flows come to, where a WebSocket is told by its handshake.
    text += &group("sockets", "", &sockets).replace("interval: 1s", "protocol: tcp, interval: 1s");
    text += "load_balancers:\n  - name: edge\n    type: application\n    listeners:\n      - bind: 127.0.0.1:0\n        default_action: { forward: web }\n        rules:\n";
    let rule = |(priority, service): (usize, &&str)| {
        format!(
            "          - {{ priority: {priority}, conditions: [{{ path_pattern: [\"/{service}/*\"] }}], actions: [{{ forward: {service} }}] }}\n"
        )
    };
    text.extend((1..).zip(SERVICES).map(rule));
    text += "          - { priority: 9, conditions: [{ path_pattern: [/sockets] }], actions: [{ forward: sockets }] }\n";
    text + "  - { name: data, type: network, listeners: [{ bind: 127.0.0.1:0, default_action: { forward: flows } }] }\n"
}

fn main() -> ExitCode {
    println!(
        "latencies and swaps in milliseconds; a swap is from the engine's event to the published snapshot"
    );
    println!(
        "{:46}{:>8}{:>7}{:>7}{:>7}{:>7}{:>8}{:>9}{:>7}{:>7}{:>7}{:>7}{:>9}{:>9}",
        "phase",
        "sent",
        "GET-",
        "POST-",
        "wrong",
        "held",
        "retried",
        "p99",
        "flows",
        "flows-",
        "ws",
        "ws-",
        "swap p99",
        "slowest"
    );
    let (peers, letters): (Vec<_>, Vec<_>) =
        std::env::args().skip(1).partition(|word| PEERS.iter().any(|(name, _)| name == word));
    let is_asked = |letter: &str| letters.is_empty() || letters.iter().any(|asked| asked == letter);
    let mut is_kept = true;
    for (letter, run) in phases::ALL.iter().filter(|(letter, _)| is_asked(letter)) {
        match run {
            Phase::OfWeir(run) => is_kept &= run(),
            Phase::OfAll(run) => {
                is_kept &= run(None);
                for (name, kind) in PEERS.iter().filter(|(name, _)| peers.iter().any(|asked| asked == name)) {
                    println!("{letter} with {name}:");
                    run(Some(*kind));
                }
            }
        }
    }
    if is_kept { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
