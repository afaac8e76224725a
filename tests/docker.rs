//! Real containers of a real engine, on ports that it chooses.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::Instant;
use weir_core::health::Health;
use weir_tests::docker::{HTTP_PORT, TCP_PORT};
use weir_tests::open_loop::{self, Method};
use weir_tests::yaml::{application, group_of, network};
use weir_tests::{Binary, Client, Engine, Weir, get, wait_until};

/// How soon a change of the engine's must have been followed.
const FOLLOWED_WITHIN: Duration = Duration::from_secs(1);

/// Requests a second of the open-loop load.
const RATE: u32 = 200;

fn web(engine: &Engine, settings: &str) -> String {
    let target = format!("{{ docker: {{ service: {}, container_port: {HTTP_PORT} }} }}", engine.service());
    let groups = [group_of("web", settings, &target)];
    format!("discovery: {{ docker: {{}} }}\n{}", application(&groups, "", "default_action: { forward: web }"))
}

fn healthy(weir: &Weir) -> usize {
    weir.snapshot().members().filter(|(_, member)| member.health == Health::Healthy).count()
}

/// The containers that answer on connections of their own.
fn answering(addr: SocketAddr, requests: usize) -> BTreeSet<String> {
    let name = |body: String| body.split_whitespace().nth(1).unwrap_or_default().to_owned();
    (0..requests).map(|_| name(get(addr, "/").body)).collect()
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Does something, and sees that it is followed in time.
fn followed(what: &str, act: impl FnOnce(), holds: impl FnMut() -> bool) {
    act();
    let began = Instant::now();
    wait_until(what, holds);
    assert!(began.elapsed() < FOLLOWED_WITHIN, "{what}: only after {:?}", began.elapsed());
}

#[test]
fn containers_are_followed_through_their_whole_life() {
    let Some(engine) = Engine::find("life") else { return };
    engine.run("one", &[], &[]);
    engine.run("two", &[], &[]);
    let weir = Weir::start(&web(&engine, ""));
    wait_until("both are healthy", || healthy(&weir) == 2);
    let listener = weir.listener(0);
    assert_eq!(answering(listener, 8), names(&["one", "two"]));

    followed(
        "a container that appears takes its share",
        || engine.run("three", &[], &[]),
        || healthy(&weir) == 3,
    );
    assert_eq!(answering(listener, 12), names(&["one", "two", "three"]));

    let old = engine.addr("one", HTTP_PORT);
    followed(
        "a container that is killed is gone",
        || engine.tell(&["kill"], &["one"]),
        || weir.member(old).is_none(),
    );
    assert_eq!(answering(listener, 8), names(&["two", "three"]));

    followed(
        "a container that is started again is a new target",
        || engine.tell(&["start"], &["one"]),
        || healthy(&weir) == 3,
    );
    assert!(answering(listener, 12).contains("one"));

    let before = weir.member(engine.addr("two", HTTP_PORT)).unwrap().target.serial;
    followed(
        "a restart is another generation",
        || engine.tell(&["restart", "-t", "5"], &["two"]),
        || healthy(&weir) == 3 && weir.snapshot().members().all(|(_, member)| member.target.serial != before),
    );

    let frozen = engine.addr("three", HTTP_PORT);
    followed(
        "a paused container gets nothing",
        || engine.tell(&["pause"], &["three"]),
        || weir.member(frozen).is_some_and(|member| !member.health.is_healthy()),
    );
    assert_eq!(answering(listener, 8), names(&["one", "two"]));
    followed("until it goes on", || engine.tell(&["unpause"], &["three"]), || healthy(&weir) == 3);

    engine.tell(&["rm", "-f"], &["two"]);
    followed(
        "a container that is recreated on another port is found there",
        || {
            engine.run("two", &[], &[]);
        },
        || healthy(&weir) == 3,
    );
    assert_eq!(answering(listener, 12), names(&["one", "two", "three"]));
}

#[test]
fn a_stop_signal_begins_the_draining_before_the_container_is_gone() {
    let Some(engine) = Engine::find("stop") else { return };
    engine.run("one", &[], &[]);
    engine.run("two", &[], &[]);
    let weir = Weir::start(&web(&engine, ""));
    wait_until("both are healthy", || healthy(&weir) == 2);
    let leaving = engine.addr("one", HTTP_PORT);
    let stopping = std::thread::scope(|scope| {
        scope.spawn(|| engine.tell(&["stop", "-t", "5"], &["one"]));
        wait_until("it drains", || {
            weir.member(leaving).is_none_or(|member| member.health == Health::Draining)
        });
        weir.admin("/api/v1/events").body
    });
    assert!(
        stopping.contains("was told to stop by signal 15"),
        "the event is named as the cause: {stopping}"
    );

    // A signal that is not the container's stop signal means nothing. The task ignores HUP's like: WINCH.
    let staying = engine.addr("two", HTTP_PORT);
    engine.tell(&["kill", "--signal", "WINCH"], &["two"]);
    assert_eq!(answering(weir.listener(0), 4), names(&["two"]));
    assert_eq!(weir.member(staying).unwrap().health, Health::Healthy);
}

#[test]
fn a_network_listener_follows_containers_too() {
    let Some(engine) = Engine::find("flows") else { return };
    engine.run("one", &[], &[]);
    let target = format!("{{ docker: {{ service: {}, container_port: {TCP_PORT} }} }}", engine.service());
    let groups = [group_of("db", "protocol: tcp", &target)];
    let weir = Weir::start(&format!("discovery: {{ docker: {{}} }}\n{}", network(&groups, "")));
    let mut client = weir.client();
    client.send("hello\n");
    assert_eq!(client.line().unwrap(), format!("{} one hello", engine.service()));
}

#[test]
fn projects_and_labels_keep_their_containers_apart() {
    let Some(engine) = Engine::find("apart") else { return };
    let project = |name: &str| format!("com.docker.compose.project={name}");
    engine.run("shop", &["--label", &project("shop")], &[]);
    engine.run("blog", &["--label", &project("blog")], &[]);
    engine.run("typo", &["--label", &project("shop"), "--label", "weir.wieght=2"], &[]);
    let target = format!(
        "{{ docker: {{ service: {}, project: shop, container_port: {HTTP_PORT} }} }}",
        engine.service()
    );
    let yaml = format!(
        "discovery: {{ docker: {{}} }}\n{}",
        application(&[group_of("web", "", &target)], "", "default_action: { forward: web }")
    );
    let weir = Weir::start(&yaml);
    wait_until("the shop's is healthy", || healthy(&weir) == 1);
    assert_eq!(answering(weir.listener(0), 6), names(&["shop"]));
    let events = weir.admin("/api/v1/events").body;
    assert!(events.contains("typo") && events.contains("did you mean `weir.weight`"), "{events}");
}

#[test]
fn without_a_configuration_every_service_is_served_at_its_own_host_name() {
    let Some(engine) = Engine::find("auto") else { return };
    engine.run("one", &[], &[]);
    let discovery = weir_config::Discovery {
        docker: Some(weir_config::DockerSource { endpoint: None }),
        ..Default::default()
    };
    let any = "127.0.0.1:0".parse().unwrap();
    let setup = weir::process::Setup::automatic(weir_core::address::ListenAddr(any), any, discovery);
    let process = weir::process::Process::start(setup).unwrap();
    let listener = process.listeners()[0].3.0;
    let ask = |host: &str| {
        Client::connect(listener).ask(format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"))
    };
    let host = format!("{}.localhost:{}", engine.service(), listener.port());
    wait_until("the service is served", || ask(&host).body.contains(" one "));
    assert_eq!(ask("nobody.localhost").status, 404);
    engine.run("hidden", &["--label", "weir.enable=false"], &[]);
    assert!((0..6).all(|_| ask(&host).body.contains(" one ")));
    engine.tell(&["rm", "-f"], &["one"]);
    let waits = std::thread::scope(|scope| {
        let waits = scope.spawn(|| ask(&host).body);
        engine.run("two", &[], &[]);
        waits.join().unwrap()
    });
    assert!(waits.contains(" two "), "a request waits for the next container of its service: {waits}");
    process.stop();
}

/// Recreates all three containers one by one under load; what came of it.
fn recreate_under_load(mark: &str, task_options: &[&str], methods: &[Method]) -> Option<open_loop::Outcome> {
    let engine = Engine::find(mark)?;
    for number in 1..=3 {
        engine.run(&format!("old-{number}"), &[], task_options);
    }
    let weir = Weir::start(&web(&engine, ""));
    wait_until("all three are healthy", || healthy(&weir) == 3);
    let load = open_loop::start(weir.listener(0), RATE, methods);
    for number in 1..=3 {
        engine.run(&format!("new-{number}"), &[], task_options);
        wait_until("the new one is healthy", || healthy(&weir) == 4);
        engine.tell(&["stop", "-t", "5"], &[&format!("old-{number}")]);
        engine.tell(&["rm"], &[&format!("old-{number}")]);
        wait_until("the old one is gone", || weir.snapshot().members().count() == 3);
    }
    let outcome = load.stop();
    assert_eq!(answering(weir.listener(0), 12), names(&["new-1", "new-2", "new-3"]));
    let events = weir.admin("/").body;
    assert!(
        (1..=3)
            .all(|number| events.contains(&format!("old-{number}"))
                && events.contains(&format!("new-{number}")))
    );
    assert!(outcome.sent > u64::from(RATE), "{} requests are too few to say anything", outcome.sent);
    Some(outcome)
}

#[test]
fn recreating_containers_that_drain_loses_no_request_of_any_method() {
    let Some(outcome) = recreate_under_load("rolling", &[], &[Method::Get, Method::Post]) else { return };
    assert_eq!(outcome.lost(), 0, "of {} requests: {:?}", outcome.sent, outcome.failures);
}

#[test]
fn recreating_containers_that_exit_at_once_loses_no_get() {
    let options = ["--exit-at-once"];
    let Some(outcome) = recreate_under_load("abrupt", &options, &[Method::Get, Method::Post]) else { return };
    println!("{} of {} POSTs were lost with their tasks", outcome.posts_lost, outcome.sent / 2);
    assert_eq!(outcome.gets_lost, 0, "of {} requests: {:?}", outcome.sent, outcome.failures);
}

#[test]
fn the_demo_runs_its_tasks_as_containers() {
    if Engine::find("demo").is_none() {
        return;
    }
    let output = Binary::run(&["demo", "--once", "--docker"]);
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains(" 0 failed"), "{text}");
}
