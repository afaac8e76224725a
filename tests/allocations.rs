//! What decides about a request allocates nothing, counted by an allocator.

use std::collections::BTreeSet;
use std::hint::black_box;

use allocation_counter::measure;
use weir_core::address::ClientAddr;
use weir_core::balance::WorkerState;
use weir_core::decide::{Outcome, decide};
use weir_core::head::Head;
use weir_core::time::Moment;
use weir_tests::yaml::{application, group};
use weir_tests::{FakeTarget, Weir};

use crate::stickiness::{BY_LB_COOKIE, Jar};

/// Rules of every condition that lead to groups of every algorithm and limit; the default is sticky in both ways.
fn configuration(targets: &[&FakeTarget]) -> String {
    let groups = [
        group("turns", "slow_start: 60s", targets),
        group("fewest", "load_balancing_algorithm: least_outstanding_requests", targets),
        group(
            "chance",
            "load_balancing_algorithm: weighted_random, load_balancing_anomaly_mitigation: on",
            targets,
        ),
        group("choices", "load_balancing_algorithm: power_of_two_choices", targets),
        group(
            "hashed",
            "load_balancing_algorithm: ring_hash, hash: { on: cookie, name: AWSALB, balance_factor: 200 }",
            targets,
        ),
        group("probed", "load_balancing_algorithm: prequal", targets),
        group("soonest", "load_balancing_algorithm: peak_ewma", targets),
        group("compared", "load_balancing_algorithm: prequal, comparison: { algorithm: maglev }", targets),
        group(
            "limited",
            "concurrency_limits: { per_target: 9 }, outlier_ejection: {}, retry_budget: {}",
            targets,
        ),
        group("stuck", BY_LB_COOKIE, targets),
        group("app", "stickiness: { type: app_cookie, cookie_name: session, duration: 1h }", targets),
    ];
    let rules: Vec<String> = [
        ("{ path_pattern: [\"/choices\"] }", "choices"),
        ("{ path_pattern: [\"/soonest\"] }", "soonest"),
        ("{ path_pattern: [\"/probed\"] }", "probed"),
        ("{ path_pattern: [\"/compared\"] }", "compared"),
        ("{ path_pattern: [\"/hashed\"] }", "hashed"),
        ("{ path_pattern: [\"/turns/*\"] }", "turns"),
        ("{ host_header: { regex_values: [\"^fewest[.]\"] } }", "fewest"),
        ("{ http_header: { name: X-Which, values: [\"chan?e\"] } }", "chance"),
        ("{ query_string: [{ key: which, value: \"lim*\" }] }, { source_ip: [\"127.0.0.0/8\"] }", "limited"),
        ("{ http_request_method: [PUT] }, { path_pattern: { regex_values: [\"^/app$\"] } }", "app"),
    ]
    .into_iter()
    .zip(1..)
    .map(|((conditions, group), priority)| {
        format!("{{ priority: {priority}, conditions: [{conditions}], actions: [{{ forward: {group} }}] }}")
    })
    .collect();
    let default = "default_action: { forward: { target_groups: [{ name: stuck, weight: 1 }, { name: turns, weight: 1 }], stickiness: { duration: 1h } } }";
    application(&groups, "", &format!("rules: [{}], {default}", rules.join(", ")))
}

#[test]
fn a_decision_allocates_nothing() {
    assert_eq!(measure(|| drop(black_box(Box::new(1)))).count_total, 1, "what counts does count");
    let targets = ["a", "b", "c"].map(FakeTarget::answering);
    let weir = Weir::start_healthy(&configuration(&targets.each_ref()));
    let mut jar = Jar::default();
    jar.ask(&mut weir.client());
    assert!(!jar.0.is_empty(), "the cookies of the default action");
    let headers =
        |more: (&str, String)| vec![("host".to_owned(), "a".to_owned()), (more.0.to_owned(), more.1)];
    let (plain, cookies) = (headers(("x-which", "chance".to_owned())), headers(("cookie", jar.line())));
    let snapshot = weir.snapshot();
    let listener = snapshot.listeners().next().unwrap();
    let (mut worker, mut arms) = (WorkerState::seeded(1), BTreeSet::new());
    for (method, host, path, query, headers, wanted) in [
        ("GET", "a", "/choices", None, &cookies, "choices"),
        ("GET", "a", "/soonest", None, &cookies, "soonest"),
        ("GET", "a", "/probed", None, &cookies, "probed"),
        ("GET", "a", "/hashed", None, &cookies, "hashed"),
        ("GET", "a", "/compared", None, &cookies, "compared"),
        ("GET", "a", "/turns/1", None, &cookies, "turns"),
        ("GET", "fewest.example", "/", None, &cookies, "fewest"),
        ("GET", "a", "/", None, &plain, "chance"),
        ("GET", "a", "/", Some("a=b&which=limited"), &cookies, "limited"),
        ("PUT", "a", "/app", None, &cookies, "app"),
        ("GET", "a", "/", None, &cookies, ""),
    ] {
        let head = Head { scheme: "http", method, host, port: 80, path, normal_path: path, query, headers };
        // Of clients in both arms of a comparison.
        for port in 9..17 {
            let client = ClientAddr(([127, 0, 0, 1], port).into());
            let mut decide = || decide(&snapshot, listener, &head, client, &mut worker, Moment::default());
            // Once before, for what is made with the first request that needs it.
            let decision = decide();
            let Outcome::Forward { group, .. } = decision.outcome else { panic!("{path}: {decision:?}") };
            let name = snapshot.group(group).unwrap().settings.name.as_str();
            assert!(wanted.is_empty() || name == wanted, "{path}: {name}, not {wanted}");
            arms.extend(decision.arm.map(|arm| arm.algorithm.as_str()));
            let counted = measure(|| drop(decide()));
            assert_eq!(counted.count_total, 0, "{wanted} {path}: {counted:?}");
        }
    }
    assert_eq!(arms, BTreeSet::from(["maglev", "prequal"]), "both arms");
}
