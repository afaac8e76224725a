//! Containers that make rules of their own by labels.

use weir_core::health::Health;
use weir_tests::docker::HTTP_PORT;
use weir_tests::open_loop::{self, Method};
use weir_tests::yaml::application;
use weir_tests::{Client, Engine, Weir, wait_until};

/// Requests a second of the open-loop load.
const RATE: u32 = 100;

/// A listener with one written rule, of priority 10, that answers 404 by default.
fn weir() -> Weir {
    let listener = "rules: [{ priority: 10, conditions: [{ path_pattern: [/written] }], actions: [{ fixed_response: { status_code: 200 } }] }], \
                    default_action: { fixed_response: { status_code: 404 } }";
    Weir::start(&format!(
        "discovery: {{ docker: {{}} }}\n{}",
        application(&["  []\n".to_owned()], "", listener)
    ))
}

/// The label that names its listener. With the port, for the containers of other tests are seen, too.
fn listener(weir: &Weir) -> String {
    format!("weir.listener=edge:{}", weir.listener(0).port())
}

/// Runs a container with these labels, besides that of its service.
fn run(engine: &Engine, container: &str, labels: &[&str]) {
    let mut options = Vec::new();
    for label in labels {
        options.extend(["--label", label]);
    }
    engine.run(container, &options, &[]);
}

/// Whether a container is a healthy target.
fn is_healthy(engine: &Engine, weir: &Weir, container: &str) -> bool {
    let addr = engine.addr(container, HTTP_PORT);
    weir.member(addr).is_some_and(|member| member.health == Health::Healthy)
}

#[test]
fn a_container_is_served_where_its_labels_say_and_its_rule_goes_with_it() {
    let Some(engine) = Engine::find("labels") else { return };
    let weir = weir();
    let listener = listener(&weir);
    run(&engine, "one", &[&listener, "weir.priority=20", "weir.path=/api/*"]);
    wait_until("it is healthy", || is_healthy(&engine, &weir, "one"));
    assert!(weir.get("/api/x").body.contains(" one "));
    assert_eq!((weir.get("/").status, weir.get("/written").status), (404, 200));
    let page = weir.admin("/").body;
    assert!(page.contains(&format!("docker: labels of service {}", engine.service())), "{page}");

    // Another service wants the same priority, and a third one that of the written rule.
    let host = format!("weir.target_group={}-host", engine.service());
    run(&engine, "late", &[&listener, "weir.priority=20", "weir.host=late.localhost", &host]);
    run(&engine, "taken", &[&listener, "weir.priority=10", "weir.path=/taken", &host]);
    run(&engine, "lost", &["weir.listener=nowhere:1", "weir.priority=30", "weir.path=/lost", &host]);
    for (container, cause) in [
        ("late", "has priority 20"),
        ("taken", "a rule of the configuration has priority 10"),
        ("lost", "there is no application listener `nowhere:1`"),
    ] {
        wait_until("it is left out", || {
            let events = weir.admin("/api/v1/events").body;
            events.contains(&engine.name(container)) && events.contains(cause)
        });
    }
    assert!(weir.get("/api/x").body.contains(" one "), "the first is not disturbed");
    assert_eq!((weir.get("/taken").status, weir.get("/lost").status), (404, 404));
    assert_eq!(weir.snapshot().members().count(), 1);

    // The place is free, and the one that came later takes it.
    engine.tell(&["rm", "-f"], &["one"]);
    wait_until("the later one is healthy", || is_healthy(&engine, &weir, "late"));
    let ask = "GET / HTTP/1.1\r\nHost: late.localhost\r\nConnection: close\r\n\r\n";
    assert!(Client::connect(weir.listener(0)).ask(ask).body.contains(" late "));
    assert_eq!(weir.get("/api/x").status, 404);

    engine.tell(&["stop", "-t", "5"], &["late"]);
    wait_until("the group has gone with its last task", || weir.snapshot().groups().count() == 0);
    assert_eq!(weir.get("/").status, 404);
}

#[test]
fn replacing_the_only_container_of_a_rule_loses_no_request() {
    let Some(engine) = Engine::find("alone") else { return };
    let weir = weir();
    let listener = listener(&weir);
    let labels = [&listener, "weir.priority=20", "weir.path=/*"];
    run(&engine, "first", &labels);
    wait_until("it is healthy", || is_healthy(&engine, &weir, "first"));
    let load = open_loop::start(weir.listener(0), RATE, &[Method::Get, Method::Post]);
    engine.tell(&["stop", "-t", "5"], &["first"]);
    engine.tell(&["rm"], &["first"]);
    wait_until("nothing is left of it", || weir.snapshot().members().count() == 0);
    run(&engine, "second", &labels);
    wait_until("the next is healthy", || is_healthy(&engine, &weir, "second"));
    let outcome = load.stop();
    assert_eq!(outcome.lost(), 0, "of {} requests: {:?}", outcome.sent, outcome.failures);
}
