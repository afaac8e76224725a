//! A classic load balancer: instances with static ports, no rules.

use std::net::SocketAddr;
use std::sync::mpsc;

use weir_core::health::Health;
use weir_tests::target::respond;
use weir_tests::yaml::classic;
use weir_tests::{Client, FakeTarget, Weir, free_port, wait_until};

/// Two instances with one static port: tests run at the same time, so each takes loopback addresses of its own.
fn instances(last: u8) -> (u16, [FakeTarget; 2]) {
    let port = free_port();
    let at = |last: u8, name: &'static str| {
        FakeTarget::at(SocketAddr::from(([127, 1, 0, last], port)), move |_, stream| {
            respond(stream, 200, name)
        })
    };
    (port, [at(last, "one"), at(last + 1, "two")])
}

// Conformance: C2.2, C3.3
#[test]
fn http_goes_to_the_instance_with_the_fewest_requests_in_flight() {
    let (busy, free) = mpsc::channel::<()>();
    let free = std::sync::Mutex::new(free);
    let port = free_port();
    let slow = FakeTarget::at(SocketAddr::from(([127, 1, 0, 1], port)), move |received, stream| {
        if received.request_line.contains("/slow") {
            let _ = free.lock().unwrap().recv();
        }
        respond(stream, 200, "one")
    });
    let other = FakeTarget::at(SocketAddr::from(([127, 1, 0, 2], port)), |received, stream| {
        respond(stream, if received.request_line.contains("/slow") { 500 } else { 200 }, "two")
    });
    let yaml = classic(
        &["127.1.0.1", "127.1.0.2"],
        &format!("HTTP:{port}/healthz"),
        "",
        &format!("protocol: http, instance_port: {port}"),
    );
    let weir = Weir::start_healthy(&yaml);
    // Until chance, which decides between two idle instances, has given the slow one a request.
    let addr = weir.listener(0);
    let mut waiting: Vec<std::thread::JoinHandle<u16>> = Vec::new();
    wait_until("the slow instance has a request", || {
        if waiting.iter().all(std::thread::JoinHandle::is_finished) && slow.received().is_empty() {
            waiting.push(std::thread::spawn(move || Client::connect(addr).get("/slow").status));
        }
        slow.received().len() == 1
    });
    wait_until("the other is free again", || {
        weir.member(other.addr()).unwrap().target.tally.in_flight() == 0
    });
    for _ in 0..10 {
        assert_eq!(weir.get("/").body, "two");
    }
    busy.send(()).unwrap();
    let statuses: Vec<u16> = waiting.into_iter().map(|thread| thread.join().unwrap()).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 1, "{statuses:?}");
}

// Conformance: C2.12
#[test]
fn host_passes_unchanged_and_there_is_no_trace_id() {
    let (port, instances) = instances(11);
    let yaml = classic(
        &["127.1.0.11", "127.1.0.12"],
        &format!("HTTP:{port}/healthz"),
        "",
        &format!("instance_port: {port}"),
    );
    let weir = Weir::start_healthy(&yaml);
    weir.client().ask("GET / HTTP/1.1\r\nHost: Some.Host:99\r\nConnection: close\r\n\r\n");
    let received = instances.iter().find_map(|instance| instance.received().pop()).unwrap();
    assert_eq!(received.header("host"), "Some.Host:99");
    assert!(!received.has("x-amzn-trace-id"));
    assert_eq!(received.header("x-forwarded-for"), "127.0.0.1");
    assert_eq!(received.header("x-forwarded-port"), weir.listener(0).port().to_string());
}

// Conformance: C2.3, C2.8, C7.5
#[test]
fn http_is_503_when_no_instance_is_healthy() {
    let (port, instances) = instances(21);
    let yaml = classic(
        &["127.1.0.21", "127.1.0.22"],
        &format!("HTTP:{port}/healthz"),
        "",
        &format!("instance_port: {port}"),
    );
    let weir = Weir::start_healthy(&yaml);
    for instance in &instances {
        instance.set_health(500);
    }
    wait_until("both are out of service", || {
        instances.iter().all(|instance| weir.member(instance.addr()).unwrap().health != Health::Healthy)
    });
    assert_eq!(weir.get("/").status, 503, "classic load balancers never fail open");
    instances[0].set_health(200);
    weir.wait_for_health(instances[0].addr(), Health::Healthy);
    assert_eq!(weir.get("/").body, "one");
}

// Conformance: C2.1, C2.8
#[test]
fn tcp_takes_turns_and_is_closed_when_no_instance_is_healthy() {
    let (port, instances) = instances(31);
    let yaml = classic(
        &["127.1.0.31", "127.1.0.32"],
        &format!("TCP:{port}"),
        "",
        &format!("protocol: tcp, instance_port: {port}"),
    );
    let weir = Weir::start_healthy(&format!("workers: 1\n{yaml}"));
    let names: Vec<String> = (0..4).map(|_| weir.get("/").body).collect();
    assert_eq!(names[..2], names[2..]);
    assert_ne!(names[0], names[1]);
    for instance in &instances {
        instance.kill();
    }
    wait_until("both are out of service", || {
        instances.iter().all(|instance| weir.member(instance.addr()).unwrap().health != Health::Healthy)
    });
    assert!(weir.client().is_closed());
}

// Conformance: C5.4
#[test]
fn a_silent_tcp_connection_is_closed_after_the_idle_timeout() {
    let (port, _instances) = instances(41);
    let yaml = classic(
        &["127.1.0.41", "127.1.0.42"],
        &format!("TCP:{port}"),
        "idle_timeout: 1s",
        &format!("protocol: tcp, instance_port: {port}"),
    );
    let weir = Weir::start_healthy(&yaml);
    assert!(weir.client().is_closed());
    wait_until("it is counted as idle", || weir.admin("/metrics").body.contains("idle"));
}

// Conformance: C2.7
#[test]
fn a_host_passes_as_it_came_and_a_client_that_names_none_gets_the_listener_s() {
    let (port, instances) = instances(70);
    let yaml = classic(
        &["127.1.0.70"],
        &format!("HTTP:{port}/healthz"),
        "",
        &format!("protocol: http, instance_port: {port}"),
    );
    let weir = Weir::start_healthy(&yaml);
    weir.client().ask("GET / HTTP/1.1\r\nHost: A.Example:7\r\nConnection: close\r\n\r\n");
    assert_eq!(instances[0].last().header("host"), "A.Example:7");
    weir.client().ask("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(instances[0].last().header("host"), weir.listener(0).to_string());
}
