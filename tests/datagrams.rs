//! Flows of datagrams through a network listener.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use weir_core::health::Health;
use weir_tests::example::Example;
use weir_tests::server::Dnsmasq;
use weir_tests::udp_target::{UdpClient, UdpTarget};
use weir_tests::yaml::{group_of, network_listener};
use weir_tests::{Folder, Weir, wait_until};

const CHECKED: &str = "health_check: { interval: 1s }";

/// A network listener with these further keys before its group, which is of these targets.
fn yaml(listener: &str, group: &str, targets: &[&UdpTarget]) -> String {
    let targets: Vec<String> = targets.iter().map(|target| target.yaml()).collect();
    let group = group_of("dns", &format!("protocol: udp, {group}"), &targets.join(", "));
    network_listener(&[group], &format!("protocol: udp, {listener} default_action: {{ forward: dns }}"))
}

fn serving(listener: &str, targets: &[&UdpTarget]) -> Weir {
    Weir::start_healthy(&yaml(listener, CHECKED, targets))
}

#[test]
fn datagrams_pass_both_ways_whole_whatever_their_length() {
    let target = UdpTarget::named("a");
    let weir = serving("", &[&target]);
    let client = UdpClient::of(weir.listener(0));
    for length in [0, 1, 1_472, 1_473, 9_000, 60_000] {
        let datagram = vec![b'x'; length];
        client.send(&datagram);
        assert_eq!(client.answer(), [b"a ", &datagram[..]].concat(), "{length} bytes");
    }
    assert!((weir.metric("weir_flows_total{") - 1.0).abs() < 0.1, "all of them are one flow");
}

#[test]
fn a_burst_that_begins_a_flow_comes_whole_and_in_its_order_whatever_lengths_are_in_it() {
    let target = UdpTarget::named("a");
    let weir = serving("", &[&target]);
    let client = UdpClient::of(weir.listener(0));
    for burst in 0..3 {
        let datagrams: Vec<String> =
            (0..32).map(|n| format!("{burst} {n:02}{}", ["", "", "", " longer"][n % 4])).collect();
        for datagram in &datagrams {
            client.send(datagram.as_bytes());
        }
        for datagram in datagrams {
            assert_eq!(String::from_utf8_lossy(&client.answer()), format!("a {datagram}"));
        }
    }
}

// Conformance: B2.3, B2.6
#[test]
fn a_flow_stays_with_its_target_and_flows_are_spread() {
    let targets = ["a", "b", "c", "d"].map(UdpTarget::named);
    let weir = serving("", &targets.each_ref());
    let clients: Vec<UdpClient> = (0..40).map(|_| UdpClient::of(weir.listener(0))).collect();
    let first: Vec<String> = clients.iter().map(|client| client.ask("once")).collect();
    let again: Vec<String> = clients.iter().map(|client| client.ask("again")).collect();
    assert_eq!(first, again);
    assert_eq!(first.into_iter().collect::<BTreeSet<_>>().len(), 4);
}

#[test]
fn an_answer_comes_from_the_address_that_was_asked() {
    let target = UdpTarget::named("a");
    let text = yaml("", CHECKED, &[&target]).replace("127.0.0.1:0", "0.0.0.0:0");
    let weir = Weir::start_healthy(&text);
    // A client that is connected to one address hears nothing from another.
    let client = UdpClient::of(SocketAddr::from(([127, 0, 0, 9], weir.listener(0).port())));
    assert_eq!(client.ask("here"), "a");
}

// Conformance: B4.7
#[test]
fn a_silent_flow_ends_and_the_next_datagram_begins_another() {
    let target = UdpTarget::named("a");
    let weir = serving("udp_idle_timeout: 1s,", &[&target]);
    let client = UdpClient::of(weir.listener(0));
    client.ask("one");
    wait_until("the flow has ended", || {
        weir.admin("/metrics").body.lines().any(|line| {
            line.starts_with("weir_flow_ends_total") && line.contains("idle") && line.ends_with(" 1")
        })
    });
    client.ask("two");
    assert!((weir.metric("weir_flows_total{") - 2.0).abs() < 0.1);
}

#[test]
fn datagrams_that_a_target_refuses_go_to_another_one() {
    let mut targets = ["a", "b"].map(UdpTarget::named);
    // Health checks come too late to know.
    let weir = Weir::start_healthy(&yaml("", "health_check: { interval: 300s }", &targets.each_ref()));
    let clients: Vec<UdpClient> = (0..20).map(|_| UdpClient::of(weir.listener(0))).collect();
    let names: Vec<String> = clients.iter().map(|client| client.ask("?")).collect();
    targets[0].kill();
    for (client, name) in clients.iter().zip(&names) {
        // The first one finds out.
        if name == "a" {
            client.send(b"lost");
        }
    }
    wait_until("every client has an answer of the other target", || {
        clients.iter().all(|client| client.try_ask("now").as_deref() == Some("b"))
    });
}

/// A weir whose group of two targets follows a file, a client of each, and what writes that file.
fn following(settings: &str, targets: &[UdpTarget; 2]) -> (Weir, [UdpClient; 2], impl Fn(&[&UdpTarget])) {
    let folder = Folder::new();
    let path = folder.path().to_owned();
    let list = move |targets: &[&UdpTarget]| {
        let addrs: Vec<String> = targets.iter().map(|target| format!("\"{}\"", target.addr())).collect();
        let text = format!(r#"[{{"targets": [{}], "labels": {{"service": "dns"}}}}]"#, addrs.join(", "));
        folder.write("t.json", &text);
    };
    list(&targets.each_ref());
    let settings = format!("protocol: udp, deregistration_delay: 0s{settings}");
    let group = group_of("dns", &settings, "{ file: { service: dns } }");
    let served = network_listener(&[group], "protocol: udp, default_action: { forward: dns }");
    let discovery = format!("discovery: {{ confirm_removals: 0s, file: {{ path: {} }} }}", path.display());
    let weir = Weir::start(&format!("{discovery}\n{served}"));
    for target in targets {
        weir.wait_for_health(target.addr(), Health::Healthy);
    }
    let of = |name: &str| {
        let mut clients = std::iter::repeat_with(|| UdpClient::of(weir.listener(0)));
        clients.find(|client| client.ask("?") == name).expect("flows are spread")
    };
    let clients = ["a", "b"].map(of);
    (weir, clients, list)
}

// Conformance: B8.4
#[test]
fn flows_end_with_their_target() {
    let targets = ["a", "b"].map(UdpTarget::named);
    let (weir, clients, list) = following("", &targets);
    list(&[&targets[1]]);
    wait_until("its target has left", || weir.member(targets[0].addr()).is_none());
    wait_until("every flow is with the other", || {
        clients.iter().all(|client| client.try_ask("now").as_deref() == Some("b"))
    });
}

// Conformance: B8.5
#[test]
fn flows_outlive_their_target_where_it_is_written() {
    let targets = ["a", "b"].map(UdpTarget::named);
    let (weir, [of_a, _], list) = following(", connection_termination: false", &targets);
    list(&[&targets[1]]);
    wait_until("its target has left", || weir.member(targets[0].addr()).is_none());
    assert_eq!(of_a.ask("still"), "a");
    assert!((0..20).all(|_| UdpClient::of(weir.listener(0)).ask("new") == "b"));
}

#[test]
fn the_first_datagrams_wait_for_a_target_that_comes() {
    let (folder, target) = (Folder::new(), UdpTarget::named("late"));
    let group = group_of("dns", "protocol: udp, hold: 20s", "{ file: { service: dns } }");
    let served = network_listener(&[group], "protocol: udp, default_action: { forward: dns }");
    let weir =
        Weir::start(&format!("discovery: {{ file: {{ path: {} }} }}\n{served}", folder.path().display()));
    let client = UdpClient::of(weir.listener(0));
    client.send(b"first");
    client.send(b"second");
    wait_until("it waits", || weir.metric("weir_holding{") > 0.5);
    folder.write(
        "t.json",
        &format!(r#"[{{"targets": ["{}"], "labels": {{"service": "dns"}}}}]"#, target.addr()),
    );
    assert_eq!([client.answer(), client.answer()], [b"late first".to_vec(), b"late second".to_vec()]);
}

#[test]
fn flows_beyond_the_limit_are_dropped_and_counted() {
    let target = UdpTarget::named("a");
    let text = format!("limits: {{ connections: 2 }}\n{}", yaml("", CHECKED, &[&target]));
    let weir = Weir::start_healthy(&text);
    let clients = [0, 1].map(|_| UdpClient::of(weir.listener(0)));
    for client in &clients {
        client.ask("?");
    }
    UdpClient::of(weir.listener(0)).send(b"?");
    wait_until("it is counted", || weir.metric("weir_datagrams_dropped_total{") > 0.5);
    for client in &clients {
        client.ask("?");
    }
}

#[test]
fn the_example_has_a_name_server_answer_by_both_transports_through_one_port() {
    let dnsmasq = Dnsmasq::start(&["host-record=web.example,192.0.2.7".to_owned()]);
    let port = format!("port: {}", dnsmasq.addr().port());
    let weir = Example::read("udp.yaml").with("port: 15353", &port).serve();
    // A query for web.example's address, and its answer's last four bytes.
    let query = b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x03web\x07example\x00\x00\x01\x00\x01";
    let client = UdpClient::of(weir.listener(0));
    client.send(query);
    assert!(client.answer().ends_with(&[192, 0, 2, 7]));
    let mut client = weir.client();
    client.send([&(query.len() as u16).to_be_bytes()[..], query].concat());
    let length = client.exactly(2).unwrap();
    let answer = client.exactly(usize::from(u16::from_be_bytes([length[0], length[1]]))).unwrap();
    assert!(answer.ends_with(&[192, 0, 2, 7]));
}
