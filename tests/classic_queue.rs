//! The surge queue of a classic load balancer: requests and connections that wait until an instance has room.

use std::net::Ipv4Addr;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use weir_tests::target::respond;
use weir_tests::yaml::classic;
use weir_tests::{Client, FakeTarget, Weir, free_port, wait_until};

const ONE_AT_A_TIME: &str = "concurrency_limits: { per_target: 1 }";

/// An instance that answers each request when it is told to.
fn patient() -> (FakeTarget, Sender<()>) {
    let (go_on, may_go_on) = channel();
    let may_go_on: Arc<Mutex<Receiver<()>>> = Arc::new(Mutex::new(may_go_on));
    let target = FakeTarget::behaving(move |_, stream| {
        let _ = may_go_on.lock().unwrap().recv();
        respond(stream, 200, "done")
    });
    (target, go_on)
}

fn weir(target: &FakeTarget, settings: &str, listener: &str) -> Weir {
    let port = target.addr().port();
    let listener = format!("instance_port: {port}, {listener}");
    let check = format!("TCP:{port}");
    Weir::start_healthy(&format!("workers: 1\n{}", classic(&["127.0.0.1"], &check, settings, &listener)))
}

/// Requests that are asked at the same time, each on a connection of its own.
fn ask(weir: &Weir, count: usize) -> Vec<JoinHandle<u16>> {
    let addr = weir.listener(0);
    (0..count).map(|_| std::thread::spawn(move || Client::connect(addr).get("/").status)).collect()
}

// Conformance: C2.10
#[test]
fn requests_wait_until_an_instance_has_room_for_them() {
    let (target, go_on) = patient();
    let weir = weir(&target, ONE_AT_A_TIME, "protocol: http");
    let asked = ask(&weir, 5);
    wait_until("four of them wait", || (weir.metric("weir_holding{") - 4.0).abs() < 0.1);
    assert_eq!(target.received().len(), 1);
    for _ in 0..5 {
        go_on.send(()).unwrap();
    }
    assert!(asked.into_iter().all(|asked| asked.join().unwrap() == 200));
    assert!(weir.metric("weir_holding{") < 0.1);
}

// Conformance: C2.10
#[test]
fn connections_wait_until_an_instance_has_room_for_them() {
    let target = FakeTarget::echoing("a");
    let weir = weir(&target, ONE_AT_A_TIME, "protocol: tcp");
    let mut first = weir.client();
    assert_eq!(first.line().as_deref(), Some("a"));
    let mut second = weir.client();
    wait_until("it waits", || (weir.metric("weir_holding{") - 1.0).abs() < 0.1);
    drop(first);
    assert_eq!(second.line().as_deref(), Some("a"));
}

// Conformance: C2.9, C2.10
#[test]
fn a_request_that_is_tried_again_waits_until_an_instance_has_room_for_it() {
    let (gone, target, port) = (Ipv4Addr::new(127, 3, 9, 1), Ipv4Addr::new(127, 3, 9, 2), free_port());
    let (go_on, may_go_on) = channel::<()>();
    let may_go_on = Arc::new(Mutex::new(may_go_on));
    let target = FakeTarget::at((target, port).into(), move |_, stream| {
        let _ = may_go_on.lock().unwrap().recv();
        respond(stream, 200, "done")
    });
    let closing = FakeTarget::at((gone, port).into(), |_, _| false);
    let hosts = [closing.addr().ip().to_string(), target.addr().ip().to_string()];
    let text = classic(
        &hosts.each_ref().map(String::as_str),
        &format!("TCP:{port}"),
        ONE_AT_A_TIME,
        &format!("instance_port: {port}, protocol: http"),
    );
    let weir = Weir::start_healthy(&format!("workers: 1\n{text}"));
    // One is with the instance that answers, the others find the one that does not, and then have to wait.
    let asked = ask(&weir, 4);
    wait_until("three of them wait", || (weir.metric("weir_holding{") - 3.0).abs() < 0.1);
    for _ in 0..4 {
        go_on.send(()).unwrap();
    }
    assert!(asked.into_iter().all(|asked| asked.join().unwrap() == 200));
    drop((closing, target));
}

// Conformance: C2.9, C2.10
#[test]
fn a_connection_that_is_tried_again_waits_until_an_instance_has_room_for_it() {
    let target = FakeTarget::echoing_at(Ipv4Addr::new(127, 3, 9, 4).into(), "here");
    let port = target.addr().port();
    let gone = FakeTarget::at((Ipv4Addr::new(127, 3, 9, 3), port).into(), |_, _| false);
    let listener = format!("instance_port: {port}, protocol: tcp");
    let text = classic(&["127.3.9.3", "127.3.9.4"], &format!("TCP:{port}"), ONE_AT_A_TIME, &listener);
    // Health checks come too late to know.
    let text = text.replace("interval: 150ms, timeout: 100ms", "interval: 300s");
    let weir = Weir::start_healthy(&format!("workers: 1\n{text}"));
    gone.kill();
    let mut first = weir.client();
    assert_eq!(first.line().as_deref(), Some("here"));
    let mut others = [weir.client(), weir.client()];
    wait_until("both wait", || (weir.metric("weir_holding{") - 2.0).abs() < 0.1);
    drop(first);
    assert_eq!(others[0].line().as_deref(), Some("here"));
    others[0].finish();
    assert_eq!(others[1].line().as_deref(), Some("here"));
}

// Conformance: C2.11
#[test]
fn requests_beyond_the_queue_are_503_and_counted() {
    const QUEUE: usize = 1024;
    let (target, go_on) = patient();
    let weir = weir(&target, ONE_AT_A_TIME, "protocol: http");
    // Requests of a few connections, pipelined, would wait for one another: each has its own.
    let mut waiting: Vec<Client> = (0..=QUEUE).map(|_| weir.client()).collect();
    for client in &mut waiting {
        client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    }
    wait_until("the queue is full", || weir.metric("weir_holding{") > QUEUE as f64 - 0.5);
    assert_eq!(weir.get("/").status, 503);
    let reason = format!(
        "weir_request_errors_total{{load_balancer=\"legacy\",listener=\"{}\",reason=\"hold_queue_full\"}}",
        weir.listener(0)
    );
    assert!((weir.metric(&reason) - 1.0).abs() < 0.1);
    drop((waiting, go_on));
}

// Conformance: C2.11
#[test]
fn a_request_waits_no_longer_than_a_connection_may_be_silent() {
    let (target, _go_on) = patient();
    let weir = weir(&target, &format!("{ONE_AT_A_TIME}, idle_timeout: 1s"), "protocol: http");
    let statuses: Vec<u16> = ask(&weir, 2).into_iter().map(|asked| asked.join().unwrap()).collect();
    assert!(statuses.contains(&503) || statuses == [504, 504], "{statuses:?}");
}
