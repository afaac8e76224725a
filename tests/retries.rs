//! A request that one target loses: to another, where that is safe.

use std::net::TcpListener;

use weir_core::health::Health;
use weir_tests::yaml::{forwarding_to, group_of, network};
use weir_tests::{Client, FakeTarget, Weir};

/// Closes every connection when a request has come, without a byte.
fn closing() -> FakeTarget {
    FakeTarget::behaving(|_, _| false)
}

/// Asks until both targets have been picked first at least once.
fn ask_several_times(weir: &Weir, method: &str, body: &str) -> Vec<u16> {
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let mut client = weir.client();
    (0..6)
        .map(|_| client.ask(format!("{method} / HTTP/1.1\r\nHost: a\r\n{length}\r\n{body}")).status)
        .collect()
}

// Conformance: A7.40
#[test]
fn a_get_goes_to_another_target_when_the_first_closes_without_an_answer() {
    let (bad, good) = (closing(), FakeTarget::answering("good"));
    let weir = Weir::start_healthy(&forwarding_to(&[&bad, &good]));
    assert_eq!(ask_several_times(&weir, "GET", ""), [200; 6]);
    assert!(!bad.received().is_empty(), "the bad target was tried");
    assert!(weir.metric("weir_retries_total") >= 1.0, "a retry is counted");
    assert!(weir.metric("weir_target_failures_total") >= 1.0, "and so is the failure");
}

// Conformance: A3.5.6, A7.24, A7.40
#[test]
fn a_post_is_never_sent_again_once_it_was_written() {
    let (bad, good) = (closing(), FakeTarget::answering("good"));
    let weir = Weir::start_healthy(&forwarding_to(&[&bad, &good]));
    let statuses = ask_several_times(&weir, "POST", "once");
    let (ok, lost) =
        (statuses.iter().filter(|s| **s == 200).count(), statuses.iter().filter(|s| **s == 502).count());
    assert_eq!(ok + lost, 6);
    assert_eq!((bad.received().len(), good.received().len()), (lost, ok), "each was received once");
    assert!(lost > 0, "the bad target was picked");
}

#[test]
fn a_put_goes_to_another_target_with_all_of_its_body() {
    let (bad, good) = (closing(), FakeTarget::answering("good"));
    let weir = Weir::start_healthy(&forwarding_to(&[&bad, &good]));
    let body = "x".repeat(64 * 1024);
    assert_eq!(ask_several_times(&weir, "PUT", &body), [200; 6]);
    assert!(!bad.received().is_empty(), "the bad target was tried");
    let whole = good.received().iter().filter(|received| received.body == body.as_bytes()).count();
    assert_eq!(whole, 6, "the good target got every body, whole");
}

#[test]
fn a_put_whose_body_is_too_large_to_be_remembered_is_not_sent_again() {
    let (bad, good) = (closing(), FakeTarget::answering("good"));
    let weir = Weir::start_healthy(&forwarding_to(&[&bad, &good]));
    let statuses = ask_several_times(&weir, "PUT", &"x".repeat(64 * 1024 + 1));
    assert!(statuses.contains(&502), "{statuses:?}");
    assert_eq!(bad.received().len() + good.received().len(), 6);
}

// Conformance: A7.40
#[test]
fn a_post_goes_to_another_target_when_the_first_takes_no_connection() {
    let (gone, good) = (FakeTarget::answering("gone"), FakeTarget::answering("good"));
    let weir = Weir::start_healthy(&forwarding_to(&[&gone, &good]));
    gone.kill();
    assert_eq!(ask_several_times(&weir, "POST", "body"), [200; 6]);
    assert_eq!(good.last().body, b"body");
    assert_eq!(good.received().len(), 6);
}

#[test]
fn a_request_finds_the_only_target_that_takes_it() {
    let names = ["a", "b", "c", "d"];
    let targets: Vec<FakeTarget> = names.iter().map(|name| FakeTarget::answering(name)).collect();
    let weir = Weir::start_healthy(&forwarding_to(&targets.iter().collect::<Vec<_>>()));
    targets[..3].iter().for_each(FakeTarget::kill);
    assert_eq!(ask_several_times(&weir, "POST", "body"), [200; 6]);
    assert_eq!(targets[3].received().len(), 6);
}

// Conformance: A7.24
#[test]
fn a_request_is_tried_no_more_often_than_it_may() {
    let targets: Vec<FakeTarget> = (0..6).map(|_| closing()).collect();
    let weir = Weir::start_healthy(&forwarding_to(&targets.iter().collect::<Vec<_>>()));
    assert_eq!(weir.get("/").status, 502);
    let tried: usize = targets.iter().map(|target| target.received().len()).sum();
    assert!((2..=4).contains(&tried), "{tried} attempts");
}

#[test]
fn a_port_that_accepts_and_closes_at_once_counts_as_a_failed_attempt() {
    let (hollow, good) = (FakeTarget::answering("hollow"), FakeTarget::answering("good"));
    let weir = Weir::start_healthy(&forwarding_to(&[&hollow, &good]));
    hollow.set_hollow(true);
    assert_eq!(ask_several_times(&weir, "GET", ""), [200; 6]);
    assert!(hollow.received().is_empty());
    assert!(weir.metric("weir_target_failures_total") >= 1.0);
}

#[test]
fn a_port_that_accepts_before_its_task_listens_is_not_ready() {
    let (http, tcp) = (FakeTarget::answering("http"), FakeTarget::echoing("tcp"));
    http.set_hollow(true);
    tcp.set_hollow(true);
    let weir = Weir::start(&forwarding_to(&[&http]));
    let flows = Weir::start(&network(&[group_of("db", "protocol: tcp", &tcp.yaml())], ""));
    weir_tests::wait_until("both ports were asked twice", || http.connections() > 1 && tcp.connections() > 1);
    assert_ne!(weir.member(http.addr()).unwrap().health, Health::Healthy);
    assert_ne!(flows.member(tcp.addr()).unwrap().health, Health::Healthy);
    http.set_hollow(false);
    tcp.set_hollow(false);
    weir.wait_until_healthy();
    flows.wait_until_healthy();
    assert_eq!(weir.get("/").body, "http");
    assert_eq!(Client::connect(flows.listener(0)).line().unwrap(), "tcp");
}

#[test]
fn a_connection_that_the_target_closed_while_idle_costs_no_request() {
    let target = FakeTarget::behaving(|received, stream| {
        weir_tests::target::respond(stream, 200, &received.request_line);
        false
    });
    let weir = Weir::start_healthy(&format!("workers: 1\n{}", forwarding_to(&[&target])));
    let mut client = weir.client();
    for _ in 0..20 {
        assert_eq!(client.get("/").status, 200);
        let post = client.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
        assert!(matches!(post.status, 200 | 502), "{}", post.status);
    }
}

// Conformance: A7.41
#[test]
fn a_kept_connection_that_the_target_closes_unread_is_replaced_at_once_and_is_no_failure() {
    // Closes its end only when the next request has come: weir cannot have heard of it before it sends.
    let is_second = std::sync::atomic::AtomicBool::new(false);
    let target = FakeTarget::behaving(move |_, stream| {
        if is_second.fetch_xor(true, std::sync::atomic::Ordering::Relaxed) {
            return false;
        }
        weir_tests::target::respond(stream, 200, "ok")
    });
    let weir = Weir::start_healthy(&format!("workers: 1\n{}", forwarding_to(&[&target])));
    let mut client = weir.client();
    for _ in 0..20 {
        assert_eq!(client.get("/").status, 200);
    }
    assert!(weir.metric("weir_retries_total") < 0.1, "the only target was asked again, and no other");
    assert!(weir.metric("weir_target_failures_total") < 0.1, "closing what is idle is a target's right");
}

// Conformance: A7.23
#[test]
fn a_port_that_nobody_listens_on_cannot_be_blocked_by_dialling_it() {
    // A dial to a dead port of the ephemeral range connects to itself sooner or later, and would then hold the port.
    let dead = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let weir = Weir::start(
        &forwarding_to(&[])
            .replace("targets: []", &format!("targets: [{{ address: 127.0.0.1, port: {} }}]", dead.port())),
    );
    assert_eq!(weir.get("/").status, 502, "fail open to a dead port");
    TcpListener::bind(dead).expect("the port is still free for its task");
}
