//! Requests to a classic listener: what instances get, and what clients get when something goes wrong.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;

use weir_core::health::Health;
use weir_tests::target::respond;
use weir_tests::yaml::classic;
use weir_tests::{Client, FakeTarget, Reply, Weir, free_port, loopback, wait_until};

/// A request that is not asked of another instance when its own has gone.
const ASKED: &str = "POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

/// A classic HTTP listener in front of whoever is at that port of loopback.
fn weir(port: u16, settings: &str) -> Weir {
    let listener = format!("instance_port: {port}");
    Weir::start_healthy(&classic(&["127.0.0.1"], &format!("TCP:{port}"), settings, &listener))
}

/// An instance that does so with every connection, once a request has come.
fn instance(behaviour: impl Fn(&mut std::net::TcpStream) + Send + Sync + Clone + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let behaviour = behaviour.clone();
            std::thread::spawn(move || {
                if stream.read(&mut [0; 1000]).is_ok_and(|count| count > 0) {
                    behaviour(&mut stream);
                }
            });
        }
    });
    port
}

// Conformance: C2.6
#[test]
fn requests_of_both_versions_are_answered_in_the_order_they_came_without_waiting() {
    let target = FakeTarget::behaving(|received, stream| {
        let path = received.request_line.split(' ').nth(1).unwrap().to_owned();
        respond(stream, 200, &path)
    });
    let weir = weir(target.addr().port(), "");
    let mut client = weir.client();
    client.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET /3 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let bodies: Vec<String> = (0..3).map(|_| client.reply().body).collect();
    assert_eq!(bodies, ["/1", "/2", "/3"]);
    assert!(client.is_closed());
}

// Conformance: C2.9
#[test]
fn a_connection_that_fails_is_tried_again_at_another_instance() {
    let port = free_port();
    let at = |last: u8, name: &'static str| {
        FakeTarget::at(SocketAddr::from(([127, 3, 1, last], port)), move |_, stream| {
            respond(stream, 200, name)
        })
    };
    let (gone, here) = (at(1, "gone"), at(2, "here"));
    let text =
        classic(&["127.3.1.1", "127.3.1.2"], &format!("TCP:{port}"), "", &format!("instance_port: {port}"));
    // Health checks come too late to know.
    let weir = Weir::start_healthy(&text.replace("interval: 150ms, timeout: 100ms", "interval: 300s"));
    gone.kill();
    assert!((0..10).all(|_| weir.get("/").body == "here"));
    assert!(weir.metric("weir_target_connection_errors_total") >= 1.0);
    drop(here);
}

// Conformance: C3.9
#[test]
fn health_checks_say_who_they_are() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let _weir = Weir::start(&classic(
        &["127.0.0.1"],
        &format!("HTTP:{port}/h"),
        "",
        &format!("instance_port: {port}"),
    ));
    let (mut stream, _) = listener.accept().unwrap();
    let mut head = vec![0; 1000];
    let count = stream.read(&mut head).unwrap();
    let head = String::from_utf8_lossy(&head[..count]).to_ascii_lowercase();
    assert!(
        head.starts_with("get /h http/1.1") && head.contains("user-agent: elb-healthchecker/1.0\r\n"),
        "{head}"
    );
}

/// Two instances of which the first is slow, a request that is with it, and what lets it go on.
fn with_one_under_way(
    third: u8,
    settings: &str,
) -> (Weir, u16, [FakeTarget; 2], std::thread::JoinHandle<Reply>, mpsc::Sender<()>) {
    let (go_on, may_go_on) = mpsc::channel::<()>();
    let (port, may_go_on) = (free_port(), std::sync::Mutex::new(may_go_on));
    let slow = FakeTarget::at(SocketAddr::from(([127, 3, third, 1], port)), move |received, stream| {
        if received.request_line.contains("/slow") {
            let _ = may_go_on.lock().unwrap().recv();
        }
        respond(stream, 200, "slow")
    });
    let other = FakeTarget::at(SocketAddr::from(([127, 3, third, 2], port)), |received, stream| {
        respond(stream, if received.request_line.contains("/slow") { 500 } else { 200 }, "other")
    });
    let weir = Weir::start_healthy(&both(third, port, settings));
    let addr = weir.listener(0);
    let ask = move || std::thread::spawn(move || Client::connect(addr).ask(ASKED));
    let mut asked = ask();
    wait_until("the slow one has it", || {
        if slow.received().is_empty() && asked.is_finished() {
            asked = ask();
        }
        !slow.received().is_empty()
    });
    (weir, port, [slow, other], asked, go_on)
}

fn both(third: u8, port: u16, settings: &str) -> String {
    let instances = [1, 2].map(|last| format!("127.3.{third}.{last}"));
    let text = classic(
        &instances.each_ref().map(String::as_str),
        &format!("HTTP:{port}/healthz"),
        settings,
        &format!("instance_port: {port}"),
    );
    // A port that stays with a reload.
    text.replace("127.0.0.1:0", &loopback(port).to_string())
}

// Conformance: C5.3
#[test]
fn a_request_that_is_with_an_instance_that_turns_unhealthy_is_let_finish() {
    let (weir, _, [slow, _other], asked, go_on) = with_one_under_way(2, "");
    slow.set_health(500);
    wait_until("it is out of service", || weir.member(slow.addr()).unwrap().health != Health::Healthy);
    go_on.send(()).unwrap();
    assert_eq!(asked.join().unwrap().body, "slow");
}

// Conformance: C5.2
#[test]
fn a_request_that_is_with_an_instance_that_leaves_is_cut_without_draining() {
    let (weir, port, _targets, asked, _go_on) = with_one_under_way(3, "");
    weir.reload(&both(3, port, "").replace("127.3.3.1, ", "")).unwrap();
    assert_eq!(asked.join().unwrap().status, 504);
}

// Conformance: C5.1
#[test]
fn a_request_that_is_with_an_instance_that_leaves_is_let_finish_with_draining() {
    let draining = "connection_draining: { timeout: 60s }";
    let (weir, port, _targets, asked, go_on) = with_one_under_way(4, draining);
    weir.reload(&both(4, port, draining).replace("127.3.4.1, ", "")).unwrap();
    go_on.send(()).unwrap();
    assert_eq!(asked.join().unwrap().body, "slow");
}

// Conformance: C5.5, C7.4, C7.6
#[test]
fn an_instance_that_does_not_answer_as_it_should_has_its_status() {
    let silent = instance(|stream| drop(stream.read(&mut [0; 1])));
    let closing = instance(|_| {});
    let babbling = instance(|stream| drop(stream.write_all(b"what?\r\n\r\n")));
    for (port, status, what) in
        [(silent, 504, "silent"), (closing, 504, "closing"), (babbling, 502, "babbling")]
    {
        let weir = weir(port, "idle_timeout: 1s");
        assert_eq!(weir.client().ask(REQUEST).status, status, "{what}");
    }
}

// Conformance: C7.1, C7.2
#[test]
fn a_request_that_cannot_be_served_has_its_status_and_reaches_nobody() {
    let target = FakeTarget::answering("reached");
    let weir = weir(target.addr().port(), "");
    for (status, request) in [
        (400, "hello\r\n\r\n".to_owned()),
        (400, "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n".to_owned()),
        (400, "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
        (405, format!("{} / HTTP/1.1\r\nHost: a\r\n\r\n", "M".repeat(128))),
    ] {
        assert_eq!(weir.client().ask(&request).status, status, "{request}");
    }
    assert!(target.received().is_empty());
    let longest = format!("{} / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "M".repeat(127));
    assert_eq!(weir.client().ask(longest).body, "reached");
}

// Conformance: C7.3
#[test]
fn a_request_that_a_client_never_finishes_is_408() {
    let target = FakeTarget::answering("reached");
    let weir = weir(target.addr().port(), "idle_timeout: 1s");
    let mut client = weir.client();
    client.send("GET / HTTP/1.1\r\nHost: a");
    assert_eq!(client.reply().status, 408);
}

// Conformance: C2.4
#[test]
fn requests_stay_in_the_zone_unless_they_are_to_cross_it() {
    let port = free_port();
    let at = |last: u8, name: &'static str| {
        FakeTarget::at(SocketAddr::from(([127, 3, 5, last], port)), move |_, stream| {
            respond(stream, 200, name)
        })
    };
    let _instances = [at(1, "in a"), at(2, "in b")];
    let instances = ["{ address: 127.3.5.1, zone: a }", "{ address: 127.3.5.2, zone: b }"];
    for (settings, expected) in [("", 1), ("cross_zone: true", 2)] {
        let text =
            classic(&instances, &format!("HTTP:{port}/healthz"), settings, &format!("instance_port: {port}"));
        let weir = Weir::start_healthy(&format!("zone: a\n{text}"));
        let seen: std::collections::BTreeSet<String> = (0..40).map(|_| weir.get("/").body).collect();
        assert!(seen.len() == expected && seen.contains("in a"), "{settings}: {seen:?}");
    }
}
