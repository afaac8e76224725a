//! The phases: what happens to containers under load.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;
use weir_tests::docker::HTTP_PORT;
use weir_tests::{Folder, OwnEngine, Weir, free_port, wait_until};

use crate::load::Load;
use crate::peers::Kind;
use crate::{Balancer, Promise, SERVICES, Stage, configuration, report};

/// Exits at its stop signal, whatever is under way.
const ABRUPT: &[&str] = &["--exit-at-once"];

/// Finishes what it has, and goes on accepting for a moment.
const LINGERING: &[&str] = &[];

/// Replicas of each service in most phases.
const REPLICAS: usize = 3;

/// Times that a phase does the same thing.
const ROUNDS: usize = 10;

/// Something that happens to containers; whether weir kept its promise.
pub(crate) enum Phase {
    /// With weir, or with the peer that is named.
    OfAll(fn(Option<Kind>) -> bool),
    /// What peers have no counterpart for.
    OfWeir(fn() -> bool),
}

/// Every phase with its letter.
pub(crate) const ALL: [(&str, Phase); 9] = [
    ("a", Phase::OfAll(recreate_lingering)),
    ("a", Phase::OfAll(recreate_abrupt)),
    ("b", Phase::OfAll(kill)),
    ("c", Phase::OfAll(recycle_ports)),
    ("d", Phase::OfAll(scale)),
    ("e", Phase::OfWeir(restart_beneath)),
    ("e", Phase::OfWeir(restart_with_all)),
    ("f", Phase::OfWeir(change_a_file)),
    ("g", Phase::OfAll(recreate_the_only_one)),
];

fn recreate_lingering(who: Option<Kind>) -> bool {
    recreate(who, "a  all recreated one by one, tasks linger", LINGERING, Promise::NoneFails)
}

fn recreate_abrupt(who: Option<Kind>) -> bool {
    recreate(who, "a' all recreated one by one, tasks exit at once", ABRUPT, Promise::NoGetFails)
}

/// A new container is healthy before an old one is told to stop.
fn recreate(who: Option<Kind>, phase: &str, options: &'static [&'static str], promise: Promise) -> bool {
    let mut stage = Stage::set(who, "roll", REPLICAS, options);
    for service in SERVICES {
        for number in 1..=REPLICAS {
            stage.run(service, &format!("new-{number}"));
            stage.wait_for(service, REPLICAS + 1);
            let old = format!("{service}-{number}");
            stage.end(&["stop", "-t", "5"], &[&old]);
            stage.end(&["rm"], &[&old]);
            stage.wait_for(service, REPLICAS);
        }
    }
    stage.finish(phase, promise)
}

/// SIGKILL, without any notice.
fn kill(who: Option<Kind>) -> bool {
    let mut stage = Stage::set(who, "kill", REPLICAS, LINGERING);
    for number in 1..=REPLICAS {
        for service in SERVICES {
            stage.run(service, &format!("new-{number}"));
            stage.wait_for(service, REPLICAS + 1);
            let old = format!("{service}-{number}");
            stage.end(&["kill"], &[&old]);
            stage.wait_for(service, REPLICAS);
        }
    }
    stage.finish("b  killed with SIGKILL", Promise::NoGetFails)
}

/// A container of one service ends, and a container of the other has its port before anybody can look.
fn recycle_ports(who: Option<Kind>) -> bool {
    let mut stage = Stage::set(who, "recycle", REPLICAS, LINGERING);
    let ports = [free_port(), free_port()];
    let publish = ports.map(|port| format!("127.0.0.1:{port}:8080"));
    let mut before: Option<[String; 2]> = None;
    for round in 0..ROUNDS {
        let names = [0, 1].map(|at| format!("{}-recycled-{round}", SERVICES[(round + at) % 2]));
        if let Some([first, second]) = &before {
            stage.end(&["stop", "-t", "5"], &[first, second]);
            stage.end(&["rm"], &[first, second]);
        }
        for ((name, publish), service) in
            names.iter().zip(&publish).zip([0, 1].map(|at| SERVICES[(round + at) % 2]))
        {
            let (label, image) = (stage.label(service), stage.engine.image());
            stage.engine.run_bare(&image, name, &["--label", &label, "-p", publish], LINGERING);
        }
        for service in SERVICES {
            stage.wait_for(service, REPLICAS + 1);
        }
        before = Some(names);
    }
    stage.finish("c  ports recycled across two services", Promise::NoneFails)
}

fn scale(who: Option<Kind>) -> bool {
    const MANY: usize = 12;
    let mut stage = Stage::set(who, "scale", REPLICAS, LINGERING);
    let more: Vec<String> = (REPLICAS + 1..=MANY).map(|number| number.to_string()).collect();
    for number in &more {
        stage.run("api", number);
    }
    stage.wait_for("api", MANY);
    let names: Vec<String> = more.iter().map(|number| format!("api-{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    stage.end(&["stop", "-t", "5"], &names);
    stage.wait_for("api", REPLICAS);
    stage.finish("d  scaled 3 → 12 → 3", Promise::NoneFails)
}

/// An engine that leaves its containers running while it restarts.
fn restart_beneath() -> bool {
    let options = &["--live-restore", "--userland-proxy=false"];
    restart("e  engine restarted with live-restore", options, false, Promise::NoneFails)
}

/// An engine that ends its containers and starts them again; they end at once, so that they are away for no longer
/// than the engine makes them.
fn restart_with_all() -> bool {
    restart("e' engine restarted with its containers", &[], true, Promise::NoneStrays)
}

/// An engine of the phase's own is restarted in its own namespaces, where weir and the load are too.
fn restart(phase: &str, options: &[&str], ends_all: bool, promise: Promise) -> bool {
    let mut is_kept = false;
    OwnEngine::with(|engine| {
        engine.start(options);
        let folder = Folder::new();
        let docker = format!("endpoint: \"{}\"", engine.endpoint());
        let yaml = configuration(&docker, "", &folder.write("targets.json", "[]"));
        let balancer = Balancer::Weir(Weir::start_in(folder, &yaml, |_| {}));
        let Balancer::Weir(weir) = &balancer else { return };
        let wait_for_all = || {
            let is_there = |service: &&str| balancer.count(service) == REPLICAS;
            wait_until("all are healthy", || SERVICES.iter().all(is_there));
        };
        let mut gone = BTreeSet::new();
        for service in SERVICES {
            for number in 1..=REPLICAS {
                let name = format!("{service}-{number}");
                engine.run_published(service, &name, if ends_all { ABRUPT } else { LINGERING });
                gone.extend(ends_all.then_some(name));
            }
        }
        wait_for_all();
        let load = Load::start(balancer.endpoints(), SERVICES);
        engine.stop();
        wait_until("weir has noticed", || weir.metric("weir_discovery_failures_total") > 0.0);
        engine.start(options);
        wait_until("weir follows the engine again", || {
            weir.admin("/api/v1/events").body.contains("\"change\":\"recovered\"")
        });
        wait_for_all();
        wait_until("nobody waits for a target", || weir.metric("weir_holding") == 0.0);
        is_kept = report(phase, promise, &balancer, load.stop(), &[], &gone);
    });
    is_kept
}

/// A thousand other sets a second through a file: each takes out another of twelve tasks, and puts the last one back.
fn change_a_file() -> bool {
    const TASKS: usize = 12;
    const CHANGES: usize = 5_000;
    let stage = Stage::set(None, "file", REPLICAS, LINGERING);
    let Balancer::Weir(weir) = &stage.balancer else { return false };
    let names: Vec<String> = (1..=TASKS).map(|number| format!("web-file-{number}")).collect();
    for name in &names {
        // Not of the service, so that only the file brings it in.
        stage.engine.run(name, &[], LINGERING);
    }
    let addrs: Vec<SocketAddr> = names.iter().map(|name| stage.engine.addr(name, HTTP_PORT)).collect();
    let without = |out: usize| {
        let listed = addrs.iter().enumerate().filter(|(at, _)| *at != out % TASKS);
        let listed: Vec<String> = listed.map(|(_, addr)| format!("\"{addr}\"")).collect();
        let labels = "{ \"service\": \"web\" }";
        weir.folder.write(
            "targets.json",
            &format!("[{{ \"targets\": [{}], \"labels\": {labels} }}]", listed.join(", ")),
        );
    };
    let began = Instant::now();
    let swaps = weir.snapshot().generation;
    for change in 0..CHANGES {
        without(change);
        std::thread::sleep((Duration::from_millis(1) * change as u32).saturating_sub(began.elapsed()));
    }
    let rate = CHANGES as f64 / began.elapsed().as_secs_f64();
    let written = Instant::now();
    let last_out = addrs[(CHANGES - 1) % TASKS];
    wait_until("the last state is live", || {
        let is_in = |addr: &SocketAddr| weir.member(*addr).is_some_and(|m| m.health.is_healthy());
        addrs.iter().all(|addr| is_in(addr) == (*addr != last_out))
    });
    println!(
        "    {rate:.0} sets a second became {} swaps in all; the last state was live after {} ms",
        weir.snapshot().generation - swaps,
        written.elapsed().as_millis()
    );
    stage.finish("f  1,000 sets a second through a file", Promise::NoneFails)
}

/// Between its end and the first answer of its successor there is nobody: requests are held.
fn recreate_the_only_one(who: Option<Kind>) -> bool {
    let mut stage = Stage::set(who, "only", 1, LINGERING);
    for round in 0..ROUNDS / 2 {
        let old = if round == 0 { "api-1".to_owned() } else { format!("api-only-{round}") };
        stage.end(&["stop", "-t", "5"], &[&old]);
        stage.run("api", &format!("only-{}", round + 1));
        stage.wait_for("api", 1);
        stage.wait_until_nobody_waits();
    }
    stage.finish("g  the only replica recreated", Promise::NoneFails)
}
