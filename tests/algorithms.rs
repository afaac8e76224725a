//! Algorithms beyond AWS's, through a running weir.

use weir_tests::target::respond;
use weir_tests::yaml::{application, group, network};
use weir_tests::{Client, FakeTarget, Weir};

#[test]
fn flows_go_to_the_less_busy_of_two_targets() {
    for algorithm in ["least_outstanding_requests", "power_of_two_choices"] {
        let targets = ["a", "b"].map(FakeTarget::echoing);
        let settings = format!("protocol: tcp, load_balancing_algorithm: {algorithm}");
        let weir = Weir::start_healthy(&network(&[group("db", &settings, &targets.each_ref())], ""));
        let mut flows: Vec<Client> = Vec::new();
        for count in 1..=6 {
            let mut flow = weir.client();
            flow.line().expect("a target greets");
            flows.push(flow);
            let in_flight =
                |target: &FakeTarget| weir.member(target.addr()).unwrap().target.tally.in_flight();
            let [a, b] = targets.each_ref().map(in_flight);
            assert!(a + b == count && a.abs_diff(b) <= 1, "{algorithm}: {a} and {b}");
        }
    }
}

#[test]
fn a_target_that_fails_fast_is_not_taken_for_a_fast_one() {
    let failing = FakeTarget::behaving(|_, stream| respond(stream, 500, "failing"));
    let good = FakeTarget::answering("good");
    let groups = [group("web", "load_balancing_algorithm: peak_ewma", &[&failing, &good])];
    let weir = Weir::start_healthy(&application(&groups, "", "default_action: { forward: web }"));
    let failed = (0..40).filter(|_| weir.get("/").status == 500).count();
    assert!(failed <= 1, "{failed} of 40, whoever is asked first");
    assert!(good.received().len() >= 39);
}

#[test]
fn flows_avoid_a_target_that_they_could_not_be_connected_to() {
    let targets = ["gone", "here"].map(FakeTarget::echoing);
    // Health checks come too late to know.
    let settings = "protocol: tcp, load_balancing_algorithm: peak_ewma, health_check: { interval: 300s }";
    let weir = Weir::start_healthy(&network(&[group("db", settings, &targets.each_ref())], ""));
    targets[0].kill();
    for _ in 0..20 {
        assert_eq!(weir.client().line().as_deref(), Some("here"));
    }
    assert!(weir.metric("weir_target_connection_errors_total") <= 1.0, "it is asked once at most");
}
