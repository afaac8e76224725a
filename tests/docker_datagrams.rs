//! Containers of a real engine that take datagrams.

use std::net::SocketAddr;

use weir_tests::docker::{HTTP_PORT, UDP_PORT};
use weir_tests::target::respond;
use weir_tests::udp_target::UdpClient;
use weir_tests::yaml::{group_of, network_listener};
use weir_tests::{Engine, FakeTarget, Weir, quiet_port, wait_until};

/// Runs a task that echoes datagrams, published like that beside its ports for TCP.
fn run(engine: &Engine, container: &str, options: &[&str], published: &[&str]) {
    let mut all = options.to_vec();
    for port in published {
        all.extend(["-p", port]);
    }
    engine.run(container, &all, &["--udp", &format!("0.0.0.0:{UDP_PORT}")]);
}

/// A group of every container, whose health is that of a server on loopback: what takes datagrams alone cannot be asked.
fn yaml(engine: &Engine, protocol: &str, container_port: u16, health: &FakeTarget) -> String {
    let target =
        format!("{{ docker: {{ service: {}, container_port: {container_port} }} }}", engine.service());
    let settings = format!("protocol: {protocol}, health_check: {{ port: {} }}", health.addr().port());
    let group = group_of("names", &settings, &target);
    let listener = format!("protocol: {protocol}, default_action: {{ forward: names }}");
    format!("discovery: {{ docker: {{}} }}\n{}", network_listener(&[group], &listener))
}

fn health() -> FakeTarget {
    FakeTarget::behaving(|_, stream| respond(stream, 200, ""))
}

fn addrs(weir: &Weir) -> Vec<SocketAddr> {
    weir.snapshot().members().map(|(_, member)| member.target.addr.0).collect()
}

#[test]
fn a_container_takes_datagrams_at_the_port_that_it_publishes_for_them() {
    let Some(engine) = Engine::find("udp") else { return };
    run(&engine, "one", &[], &["127.0.0.1::5353/udp"]);
    let health = health();
    let weir = Weir::start(&yaml(&engine, "udp", UDP_PORT, &health));
    let published = engine.published("one", "5353/udp");
    wait_until("the container is a target", || addrs(&weir) == [published]);
    let client = UdpClient::of(weir.listener(0));
    let expected = format!("{} one", engine.service());
    // Its program may need a moment more than its port.
    wait_until("it answers", || client.try_ask("hello").is_some_and(|answer| answer == expected));
}

#[test]
fn a_container_without_a_port_for_datagrams_is_left_out_of_their_group_and_said_why() {
    let Some(engine) = Engine::find("tcponly") else { return };
    engine.run("one", &[], &[]);
    let health = health();
    let weir = Weir::start(&yaml(&engine, "udp", HTTP_PORT, &health));
    wait_until("it is told", || weir.admin("/api/v1/events").body.contains("needs a port for udp"));
    assert_eq!(addrs(&weir), []);
}

#[test]
fn a_group_of_both_transports_takes_containers_that_publish_one_port_for_both() {
    let Some(engine) = Engine::find("both") else { return };
    let port = quiet_port();
    let both = ["tcp", "udp"].map(|transport| format!("127.0.0.1:{port}:{UDP_PORT}/{transport}"));
    run(&engine, "both", &[], &both.each_ref().map(String::as_str));
    run(&engine, "half", &[], &["127.0.0.1::5353/udp"]);
    let health = health();
    let weir = Weir::start(&yaml(&engine, "tcp_udp", UDP_PORT, &health));
    wait_until("it is told", || weir.admin("/api/v1/events").body.contains("needs a port for tcp+udp"));
    wait_until("the container is a target", || addrs(&weir) == [SocketAddr::from(([127, 0, 0, 1], port))]);
}

#[test]
fn a_container_of_quic_has_the_id_that_its_label_says_and_another_with_it_is_told() {
    let Some(engine) = Engine::find("quic") else { return };
    // The bytes `server-a`, which stand in a datagram where a connection id has its server.
    let label = ["--label", "weir.quic_server_id=0x7365727665722d61"];
    run(&engine, "one", &label, &["127.0.0.1::5353/udp"]);
    run(&engine, "none", &[], &["127.0.0.1::5353/udp"]);
    let health = health();
    let weir = Weir::start(&yaml(&engine, "quic", UDP_PORT, &health));
    wait_until("both are targets", || addrs(&weir).len() == 2);
    let expected = format!("{} one", engine.service());
    for _ in 0..8 {
        let client = UdpClient::of(weir.listener(0));
        wait_until("it answers", || client.try_ask("@#server-a").is_some_and(|answer| answer == expected));
    }
    wait_until("who has no id is told", || weir.admin("/api/v1/events").body.contains("it has no id"));
    run(&engine, "same", &label, &["127.0.0.1::5353/udp"]);
    wait_until("who has the id of another is told", || {
        weir.admin("/api/v1/events").body.contains("is the id of container")
    });
}
