//! Another configuration: all of it or none, and nothing else disturbed.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::mpsc::channel;

use weir_core::health::Health;
use weir_tests::target::respond;
use weir_tests::udp_target::{UdpClient, UdpTarget};
use weir_tests::yaml::{application, forwarding_to, group, group_of, network_listener};
use weir_tests::{Client, FakeTarget, Weir, free_port, loopback, wait_until};

/// An application listener on `port` that answers with a status, and its targets' group.
fn answering(port: u16, status: u16) -> String {
    application(&[], "", &format!("default_action: {{ fixed_response: {{ status_code: {status} }} }}"))
        .replace("target_groups:\n", "")
        .replace("127.0.0.1:0", &format!("127.0.0.1:{port}"))
}

/// A network listener on `port` that passes on what comes by `protocol`.
fn passing_on(protocol: &str, target: &UdpTarget, port: u16) -> String {
    let group = group_of("dns", "protocol: tcp_udp", &target.yaml());
    network_listener(&[group], &format!("protocol: {protocol}, default_action: {{ forward: dns }}"))
        .replace("127.0.0.1:0", &format!("127.0.0.1:{port}"))
}

#[test]
fn a_configuration_that_was_cut_short_before_its_load_balancers_is_refused() {
    let target = FakeTarget::answering("web");
    let weir = Weir::start_healthy(&forwarding_to(&[&target]));
    for cut in ["", "# nothing yet\n"] {
        let refused = weir.reload(cut).unwrap_err();
        assert!(refused.contains("has no load balancer, and 1 are being served"), "{refused}");
    }
    assert_eq!(weir.get("/").body, "web");
}

// Conformance: A2.0.10
#[test]
fn a_new_configuration_takes_effect_on_connections_that_are_open() {
    let port = free_port();
    let weir = Weir::start(&answering(port, 201));
    let mut client = weir.client();
    assert_eq!(client.get("/").status, 201);
    let reloaded = weir.reload(&answering(port, 202)).unwrap();
    assert_eq!(client.get("/").status, 202);
    assert_eq!((reloaded.opened.len(), reloaded.closed.len()), (0, 0), "the listener stays as it is");
}

#[test]
fn a_refused_configuration_leaves_the_last_good_one_serving_and_says_why() {
    let port = free_port();
    let weir = Weir::start(&answering(port, 201));
    let generation = weir.snapshot().generation;
    let problem = weir.reload(&answering(port, 999).replace("bind:", "bnid:")).unwrap_err();
    assert!(problem.contains("did you mean `bind`?") && problem.contains("999"), "both mistakes: {problem}");
    assert_eq!(weir.get("/").status, 201);
    assert_eq!(weir.snapshot().generation, generation);
    assert!((weir.metric("weir_config_reloads_total{result=\"rejected\"}") - 1.0).abs() < 0.1);
}

#[test]
fn a_configuration_whose_port_is_taken_is_refused_whole() {
    let port = free_port();
    let weir = Weir::start(&answering(port, 201));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let second = format!(
        "  - {{ name: second, type: application, listeners: [{{ bind: \"{}\", default_action: {{ fixed_response: {{ status_code: 200 }} }} }}] }}\n",
        taken.local_addr().unwrap()
    );
    let problem = weir.reload(&format!("{}{second}", answering(port, 202))).unwrap_err();
    assert!(
        problem.contains(&taken.local_addr().unwrap().to_string()) && problem.contains("taken"),
        "{problem}"
    );
    assert_eq!(weir.get("/").status, 201, "not even its good parts have taken effect");
}

#[test]
fn listeners_open_and_close_with_the_configuration() {
    let (first, second) = (free_port(), free_port());
    let weir = Weir::start(&answering(first, 201));
    let mut client = weir.client();
    assert_eq!(client.get("/").status, 201);
    let reloaded = weir.reload(&answering(second, 202)).unwrap();
    assert_eq!(reloaded.opened, [format!("127.0.0.1:{second}")]);
    assert_eq!(reloaded.closed, [format!("127.0.0.1:{first}")]);
    assert_eq!(Client::connect(loopback(second)).get("/").status, 202);
    wait_until("the first port is closed", || TcpStream::connect(loopback(first)).is_err());
}

#[test]
fn a_listener_moves_from_one_address_to_every_one_and_back_and_loses_no_connection() {
    let port = free_port();
    let weir = Weir::start(&answering(port, 201));
    let everywhere = |status| answering(port, status).replace("127.0.0.1:", "0.0.0.0:");
    let (mut open, elsewhere) = (weir.client(), SocketAddr::from(([127, 0, 0, 7], port)));
    for (text, status, is_everywhere) in
        [(everywhere(202), 202, true), (answering(port, 203), 203, false), (everywhere(204), 204, true)]
    {
        weir.reload(&text).unwrap();
        assert_eq!(open.get("/").status, status, "a connection that is open goes on");
        assert_eq!(Client::connect(loopback(port)).get("/").status, status);
        wait_until("it listens where it is to", || TcpStream::connect(elsewhere).is_ok() == is_everywhere);
    }
}

#[test]
fn who_shakes_hands_while_a_listener_moves_is_let_in() {
    let port = free_port();
    let here = |status| format!("workers: 1\n{}", answering(port, status));
    let everywhere = |status| here(status).replace("127.0.0.1:", "0.0.0.0:");
    let weir = Weir::start(&everywhere(201));
    for (text, status) in [(here(202), 202), (everywhere(203), 203), (here(204), 204)] {
        let mut half_open = Client::connect_halfway(loopback(port));
        weir.reload(&text).unwrap();
        assert_eq!(
            Client::connect(loopback(port)).get("/").status,
            status,
            "the only worker has done what it was told"
        );
        assert_eq!(half_open.get("/").status, status);
    }
}

#[test]
fn a_load_balancer_gets_another_name_and_loses_no_connection() {
    let port = free_port();
    let weir = Weir::start(&answering(port, 201));
    let mut open = weir.client();
    let renamed = answering(port, 202).replace("name: edge", "name: front");
    assert_ne!(renamed, answering(port, 202));
    weir.reload(&renamed).unwrap();
    assert_eq!(open.get("/").status, 202);
    assert_eq!(Client::connect(loopback(port)).get("/").status, 202);
}

#[test]
fn no_datagram_is_lost_when_a_load_balancer_gets_another_name() {
    let (target, port) = (UdpTarget::named("a"), free_port());
    let text = passing_on("udp", &target, port);
    let weir = Weir::start(&text);
    weir.wait_for_health(target.addr(), Health::Healthy);
    let lasting = UdpClient::of(loopback(port));
    lasting.ask("before");
    weir.reload(&text.replace("name: edge", "name: front")).unwrap();
    for _ in 0..50 {
        UdpClient::of(loopback(port)).ask("after");
        lasting.ask("after");
    }
}

#[test]
fn no_datagram_is_lost_when_a_listener_moves_from_one_address_to_every_one_and_back() {
    let (target, port) = (UdpTarget::named("a"), free_port());
    let text = passing_on("udp", &target, port);
    let weir = Weir::start(&text);
    weir.wait_for_health(target.addr(), Health::Healthy);
    let lasting = UdpClient::of(loopback(port));
    lasting.ask("before");
    for text in [text.replace("bind: \"127.0.0.1", "bind: \"0.0.0.0"), text] {
        weir.reload(&text).unwrap();
        for _ in 0..50 {
            UdpClient::of(loopback(port)).ask("after");
            lasting.ask("after");
        }
    }
}

#[test]
fn a_listener_stops_taking_datagrams_and_takes_them_again_while_flows_of_before_go_on() {
    let (target, port) = (UdpTarget::named("a"), free_port());
    let speaking = |protocol| passing_on(protocol, &target, port);
    let weir = Weir::start(&speaking("tcp_udp"));
    weir.wait_for_health(target.addr(), Health::Healthy);
    UdpClient::of(loopback(port)).ask("before");
    weir.reload(&speaking("tcp")).unwrap();
    weir.reload(&speaking("tcp_udp")).unwrap();
    (0..40).for_each(|_| drop(UdpClient::of(loopback(port)).ask("after")));
}

// Conformance: A2.0.10
#[test]
fn a_request_under_way_is_not_disturbed() {
    let (answer, may_answer) = channel::<()>();
    let may_answer = Mutex::new(may_answer);
    let target = FakeTarget::behaving(move |_, stream| {
        let _ = may_answer.lock().unwrap().recv();
        respond(stream, 200, "finished")
    });
    let port = free_port();
    let yaml = application(&[group("web", "", &[&target])], "", "default_action: { forward: web }")
        .replace("127.0.0.1:0", &format!("127.0.0.1:{port}"));
    let weir = Weir::start_healthy(&yaml);
    let mut client = weir.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
    wait_until("the target has the request", || target.received().len() == 1);
    weir.reload(
        &yaml.replace("name: web,", "name: web, load_balancing_algorithm: least_outstanding_requests,"),
    )
    .unwrap();
    assert_eq!(weir.member(target.addr()).unwrap().target.tally.in_flight(), 1, "counts are carried over");
    answer.send(()).unwrap();
    assert_eq!(client.reply().body, "finished");
    assert_eq!(target.connections() - target.probes(), 1);
}

#[test]
fn what_is_fixed_at_start_is_said_to_wait() {
    let port = free_port();
    let weir = Weir::start(&answering(port, 201));
    let reloaded = weir.reload(&format!("limits: {{ connections: 7 }}\n{}", answering(port, 202))).unwrap();
    assert!(reloaded.warnings.iter().any(|warning| warning.contains("`limits` has changed")), "{reloaded:?}");
}
