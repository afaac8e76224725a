//! Targets that fail far more often than their peers, and groups with too few healthy targets.

use weir_tests::target::respond;
use weir_tests::yaml::{OFTEN, application, group};
use weir_tests::{FakeTarget, Weir, wait_until};

/// Three targets, the last of which answers every request with 500.
fn targets() -> [FakeTarget; 3] {
    let failing = FakeTarget::behaving(|_, stream| respond(stream, 500, "bad"));
    [FakeTarget::answering("one"), FakeTarget::answering("two"), failing]
}

fn weir(targets: &[FakeTarget; 3], settings: &str) -> Weir {
    let groups = [group("web", settings, &targets.each_ref())];
    Weir::start_healthy(&application(&groups, "", "default_action: { forward: web }"))
}

/// Asks until a target is found to be anomalous.
fn find_anomaly(weir: &Weir, target: &FakeTarget) {
    wait_until("the failing target stands out", || {
        for _ in 0..90 {
            weir.get("/");
        }
        weir.member(target.addr()).unwrap().opinion.is_anomalous
    });
}

// Conformance: A3.1.8, A3.3.17, A11.20
#[test]
fn a_target_that_fails_far_more_often_than_its_peers_gets_a_twentieth_where_that_is_wanted() {
    let targets = targets();
    let weir =
        weir(&targets, "load_balancing_algorithm: weighted_random, load_balancing_anomaly_mitigation: on");
    find_anomaly(&weir, &targets[2]);
    let failed = (0..300).filter(|_| weir.get("/").status == 500).count();
    assert!(failed < 30, "{failed} of 300 where a fair share is 100");
    assert!((weir.metric("weir_targets_anomalous{") - 1.0).abs() < 0.1);
    assert!((weir.metric("weir_targets_mitigated{") - 1.0).abs() < 0.1);
    let view = weir.admin("/api/v1").body;
    assert!(view.contains("\"is_anomalous\":true") && view.contains("\"share\":0.05"), "{view}");
    assert!(weir.admin("/api/v1/events").body.contains("far more than of its peers"));
}

// Conformance: A3.3.16
#[test]
fn anomalies_are_found_and_left_alone_where_nothing_else_is_wanted() {
    let targets = targets();
    let weir = weir(&targets, "");
    find_anomaly(&weir, &targets[2]);
    assert!(weir.metric("weir_targets_mitigated{") < 0.1);
    let failed = (0..30).filter(|_| weir.get("/").status == 500).count();
    // Each worker goes round by itself.
    assert!((8..=12).contains(&failed), "{failed} of 30: each has its turns");
}

// Conformance: A3.1.12, A3.1.13, A4.4.2, A11.22, A11.23
#[test]
fn a_group_with_fewer_healthy_targets_than_it_must_have_uses_all_of_them() {
    let targets = ["one", "two", "three"].map(FakeTarget::answering);
    let health = "target_group_health: { unhealthy_state_routing: { minimum_healthy_targets_percentage: 60 }, dns_failover: { minimum_healthy_targets_percentage: 100 } }";
    let weir = weir(&targets, &format!("{health}, {OFTEN}"));
    let is_unhealthy = |weir: &Weir, state: &str| {
        let line = format!("weir_target_group_unhealthy{{target_group=\"web\",state=\"{state}\"}}");
        weir.metric(&line) > 0.5
    };
    targets[0].set_health(503);
    wait_until("one is out", || !weir.member(targets[0].addr()).unwrap().health.is_healthy());
    assert!((0..12).all(|_| weir.get("/").body != "one"), "two of three are enough");
    assert!(is_unhealthy(&weir, "dns") && !is_unhealthy(&weir, "routing"));
    targets[1].set_health(503);
    wait_until("two are out", || !weir.member(targets[1].addr()).unwrap().health.is_healthy());
    let answers: std::collections::BTreeSet<String> = (0..12).map(|_| weir.get("/").body).collect();
    assert_eq!(answers.len(), 3, "one of three is too few: {answers:?}");
    assert!(is_unhealthy(&weir, "routing"));
    let page = weir.admin("/metrics").body;
    let counted = page.lines().filter(|line| line.starts_with("weir_target_picks_unhealthy_total{"));
    let counted: f64 = counted.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum();
    assert!((counted - 12.0).abs() < 0.1, "{counted}");
}
