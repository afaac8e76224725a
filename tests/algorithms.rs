//! Algorithms beyond AWS's, through a running weir.

use std::collections::BTreeSet;

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

/// Of 40 requests, how many are answered by a target that fails at once, beside one that does not.
fn failed_with(algorithm: &str) -> usize {
    let failing = FakeTarget::behaving(|_, stream| respond(stream, 500, "failing"));
    let good = FakeTarget::answering("good");
    let settings = format!("load_balancing_algorithm: {algorithm}");
    let groups = [group("web", &settings, &[&failing, &good])];
    let text = application(&groups, "", "default_action: { forward: web }");
    // Two workers would know less each than one.
    let weir = Weir::start_healthy(&format!("workers: 1\n{text}"));
    (0..40).filter(|_| weir.get("/").status == 500).count()
}

#[test]
fn a_target_that_fails_fast_is_not_taken_for_a_fast_one() {
    assert!(failed_with("peak_ewma") <= 1, "whoever is asked first");
    let failed = failed_with("prequal");
    assert!(failed <= 6, "{failed} of 40: until the pool has forgotten that nobody knew it");
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

/// Who answers each of the heads, asked one after the other.
fn answers(weir: &Weir, heads: &[String]) -> Vec<String> {
    let mut client = weir.client();
    let ask = |head: &String| client.ask(format!("GET {head}\r\nHost: a\r\n\r\n")).body;
    heads.iter().map(ask).collect()
}

#[test]
fn what_requests_have_in_common_leads_them_to_one_target() {
    let targets = ["a", "b", "c"].map(FakeTarget::answering);
    for (hash, head) in [
        ("on: path", "/{} HTTP/1.1\r\nX: y"),
        ("on: header, name: X-User", "/ HTTP/1.1\r\nx-user: {}"),
        ("on: cookie, name: session", "/ HTTP/1.1\r\nCookie: a=b; session={}"),
    ] {
        for algorithm in ["maglev", "rendezvous", "ring_hash"] {
            let settings = format!("load_balancing_algorithm: {algorithm}, hash: {{ {hash} }}");
            let groups = [group("web", &settings, &targets.each_ref())];
            let weir = Weir::start_healthy(&application(&groups, "", "default_action: { forward: web }"));
            let heads: Vec<String> = (0..60).map(|n| head.replace("{}", &n.to_string())).collect();
            let first = answers(&weir, &heads);
            assert_eq!(answers(&weir, &heads), first, "{algorithm} {hash}");
            assert!(["a", "b", "c"].iter().all(|name| first.iter().any(|answer| answer == name)));
        }
    }
}

#[test]
fn a_client_s_requests_go_to_one_target_and_those_without_the_header_to_any() {
    let targets = ["a", "b", "c"].map(FakeTarget::answering);
    let of = |hash: &str| {
        let settings = format!("load_balancing_algorithm: ring_hash, hash: {{ {hash} }}");
        let groups = [group("web", &settings, &targets.each_ref())];
        let weir = Weir::start_healthy(&application(&groups, "", "default_action: { forward: web }"));
        let answers = answers(&weir, &vec!["/ HTTP/1.1\r\nX: y".to_owned(); 40]);
        answers.into_iter().collect::<BTreeSet<_>>().len()
    };
    assert_eq!(of("on: source"), 1);
    assert_eq!(of("on: header, name: X-User"), 3);
}

#[test]
fn a_request_that_its_target_loses_goes_to_the_next_one_of_its_key() {
    let closing = FakeTarget::behaving(|_, _| false);
    let good = ["a", "b"].map(FakeTarget::answering);
    let settings = "load_balancing_algorithm: maglev, hash: { on: path }";
    let groups = [group("web", settings, &[&closing, &good[0], &good[1]])];
    let weir = Weir::start_healthy(&application(&groups, "", "default_action: { forward: web }"));
    let heads: Vec<String> = (0..30).map(|n| format!("/{n} HTTP/1.1")).collect();
    let first = answers(&weir, &heads);
    assert_eq!(answers(&weir, &heads), first);
    assert!(weir.metric("weir_retries_total") >= 1.0);
}

#[test]
fn flows_of_a_client_s_address_go_to_one_target_where_that_is_hashed() {
    let targets = ["a", "b", "c"].map(FakeTarget::echoing);
    let of = |hash: &str| {
        let settings = format!("protocol: tcp, load_balancing_algorithm: rendezvous, hash: {{ {hash} }}");
        let weir = Weir::start_healthy(&network(&[group("db", &settings, &targets.each_ref())], ""));
        let greetings = (0..40).map(|_| weir.client().line().expect("a target greets"));
        greetings.collect::<BTreeSet<_>>().len()
    };
    assert_eq!((of("on: source"), of("on: flow")), (1, 3));
}
