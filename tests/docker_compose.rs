//! Compose recreates and scales a service behind weir.

use std::collections::BTreeSet;

use weir_core::health::Health;
use weir_tests::compose::SERVICE;
use weir_tests::docker::HTTP_PORT;
use weir_tests::open_loop::{self, Method};
use weir_tests::yaml::{application, group_of};
use weir_tests::{Compose, Weir, wait_until};

/// Requests a second of the open-loop load.
const RATE: u32 = 50;

/// The targets by serial, if this many are there and all are healthy.
fn healthy(weir: &Weir, count: usize) -> Option<BTreeSet<u64>> {
    let snapshot = weir.snapshot();
    let members: Vec<_> = snapshot.members().collect();
    let are_healthy = members.iter().all(|(_, member)| member.health == Health::Healthy);
    (members.len() == count && are_healthy)
        .then(|| members.iter().map(|(_, member)| member.target.serial.0).collect())
}

/// Waits until there are `count` healthy targets, none of them `before`; which they are.
fn wait_for_new(weir: &Weir, count: usize, before: &BTreeSet<u64>) -> BTreeSet<u64> {
    let mut now = None;
    wait_until(&format!("there are {count} new healthy targets"), || {
        now = healthy(weir, count).filter(|now| now.is_disjoint(before));
        now.is_some()
    });
    now.unwrap()
}

#[test]
fn recreating_and_scaling_a_compose_service_loses_no_request() {
    let Some(compose) = Compose::find("compose") else { return };
    compose.tell(&["up", "-d"]);
    let project = compose.project();
    let target =
        format!("{{ docker: {{ service: {SERVICE}, project: {project}, container_port: {HTTP_PORT} }} }}");
    // Compose stops all containers of a service before it starts the new ones, and a busy machine takes its time.
    let groups = [group_of("web", "hold: 60s", &target)];
    let weir = Weir::start(&format!(
        "discovery: {{ docker: {{}} }}\n{}",
        application(&groups, "", "default_action: { forward: web }")
    ));
    let first = wait_for_new(&weir, 1, &BTreeSet::new());
    let load = open_loop::start(weir.listener(0), RATE, &[Method::Get, Method::Post]);

    let scale = |count: usize| format!("{SERVICE}={count}");
    compose.tell(&["up", "-d", "--scale", &scale(3)]);
    wait_until("three share the load", || healthy(&weir, 3).is_some());
    let three = healthy(&weir, 3).unwrap();
    assert!(three.is_superset(&first), "scaling up leaves the first alone");

    compose.tell(&["up", "-d", "--force-recreate", "--scale", &scale(3)]);
    let recreated = wait_for_new(&weir, 3, &three);

    compose.tell(&["up", "-d", "--scale", &scale(1)]);
    wait_until("one is left", || healthy(&weir, 1).is_some());
    let left = healthy(&weir, 1).unwrap();
    assert!(recreated.is_superset(&left), "scaling down leaves the last alone");

    compose.tell(&["up", "-d", "--force-recreate"]);
    wait_for_new(&weir, 1, &left);

    let outcome = load.stop();
    assert!(outcome.sent > 5 * u64::from(RATE), "{} requests are too few to say anything", outcome.sent);
    assert_eq!(outcome.lost(), 0, "of {} requests: {:?}", outcome.sent, outcome.failures);
}
