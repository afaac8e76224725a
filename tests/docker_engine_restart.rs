//! The engine itself is restarted, and weir goes on with what it knows.

use std::collections::BTreeSet;

use weir_core::health::Health;
use weir_tests::open_loop::{self, Method};
use weir_tests::own_engine::SERVICE;
use weir_tests::yaml::{application, group_of};
use weir_tests::{OwnEngine, Weir, wait_until};

/// Requests a second of the open-loop load.
const RATE: u32 = 100;

fn weir(engine: &OwnEngine) -> Weir {
    let group = group_of("web", "", &format!("{{ docker: {{ service: {SERVICE} }} }}"));
    Weir::start(&format!(
        "discovery: {{ docker: {{ endpoint: \"{}\" }} }}\n{}",
        engine.endpoint(),
        application(&[group], "", "default_action: { forward: web }")
    ))
}

/// The targets that are healthy, by serial.
fn healthy(weir: &Weir) -> BTreeSet<u64> {
    let snapshot = weir.snapshot();
    let healthy = snapshot.members().filter(|(_, member)| member.health == Health::Healthy);
    healthy.map(|(_, member)| member.target.serial.0).collect()
}

fn has_happened(weir: &Weir, change: &str) -> bool {
    weir.admin("/api/v1/events").body.contains(&format!("\"change\":\"{change}\""))
}

#[test]
fn an_engine_that_restarts_beneath_its_containers_changes_nothing() {
    OwnEngine::with(|engine| {
        engine.start(&["--live-restore"]);
        engine.run("one", 9001);
        engine.run("two", 9002);
        let weir = weir(engine);
        wait_until("both are healthy", || healthy(&weir).len() == 2);
        let before = healthy(&weir);
        let load = open_loop::start(weir.listener(0), RATE, &[Method::Get, Method::Post]);

        engine.stop();
        wait_until("weir has noticed", || has_happened(&weir, "failed"));
        assert_eq!(healthy(&weir), before, "the last good set stays");
        engine.start(&["--live-restore"]);
        wait_until("weir follows the engine again", || has_happened(&weir, "recovered"));
        assert_eq!(healthy(&weir), before, "nothing was removed");

        engine.run("three", 9003);
        wait_until("the next container is found", || healthy(&weir).len() == 3);
        assert!(healthy(&weir).is_superset(&before));
        assert!(!has_happened(&weir, "removed"));
        let outcome = load.stop();
        assert!(outcome.sent > u64::from(RATE / 4), "{} requests are too few to say anything", outcome.sent);
        assert_eq!(outcome.lost(), 0, "of {} requests: {:?}", outcome.sent, outcome.failures);
    });
}

#[test]
fn an_engine_that_takes_its_containers_with_it_brings_new_targets() {
    OwnEngine::with(|engine| {
        engine.start(&[]);
        engine.run("one", 9001);
        engine.run("two", 9002);
        let weir = weir(engine);
        wait_until("both are healthy", || healthy(&weir).len() == 2);
        let before = healthy(&weir);

        engine.stop();
        wait_until("weir has noticed", || has_happened(&weir, "failed"));
        engine.start(&[]);
        wait_until("the containers are back as new targets", || {
            let now = healthy(&weir);
            now.len() == 2 && now.is_disjoint(&before)
        });
        assert_eq!(weir.snapshot().members().count(), 2);
        assert_eq!(weir.get("/").status, 200);
    });
}
