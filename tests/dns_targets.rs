//! Targets from the records of a real DNS server.

use std::net::SocketAddr;

use weir_core::health::Health;
use weir_tests::server::Dnsmasq;
use weir_tests::target::respond;
use weir_tests::yaml::{application, group_of};
use weir_tests::{FakeTarget, Weir, free_port, wait_until};

const NAME: &str = "_http._tcp.web.example";

fn following(dnsmasq: &Dnsmasq, targets: &str) -> String {
    let groups = [group_of("web", "", targets)];
    let served = application(&groups, "", "default_action: { forward: web }");
    format!("discovery: {{ confirm_removals: 0s, dns: {{ server: \"{}\" }} }}\n{served}", dnsmasq.addr())
}

/// An SRV record, and its host's address.
fn service(host: &str, target: &FakeTarget, priority: u16, weight: u16) -> String {
    let addr = target.addr();
    format!(
        "srv-host={NAME},{host}.example,{},{priority},{weight}\nhost-record={host}.example,{}",
        addr.port(),
        addr.ip()
    )
}

/// A target at this address of loopback.
fn target_at(last: u8, port: u16) -> FakeTarget {
    FakeTarget::at(SocketAddr::from(([127, 0, 0, last], port)), |_, stream| respond(stream, 200, "fine"))
}

#[test]
fn srv_records_name_ports_and_weights_and_only_the_lowest_priority_is_used() {
    let targets = [FakeTarget::answering("a"), FakeTarget::answering("b"), FakeTarget::answering("spare")];
    let mut dnsmasq = Dnsmasq::start(&[
        service("a", &targets[0], 10, 5),
        service("b", &targets[1], 10, 60_000),
        service("spare", &targets[2], 20, 1),
    ]);
    let weir = Weir::start(&following(&dnsmasq, &format!("{{ dns: {{ name: {NAME} }} }}")));
    weir.wait_for_health(targets[0].addr(), Health::Healthy);
    weir.wait_for_health(targets[1].addr(), Health::Healthy);
    let weight = |target: &FakeTarget| weir.member(target.addr()).map(|member| member.weight.get());
    assert_eq!((weight(&targets[0]), weight(&targets[1]), weight(&targets[2])), (Some(5), Some(1000), None));

    dnsmasq.kill();
    wait_until("the loss is told", || weir.admin("/api/v1/events").body.contains("no server answers"));
    assert_eq!(weir.member(targets[0].addr()).unwrap().health, Health::Healthy);
    assert_eq!(weir.get("/").status, 200);

    dnsmasq.start_again(&[service("spare", &targets[2], 20, 1)]);
    weir.wait_for_health(targets[2].addr(), Health::Healthy);
    weir.wait_for_health(targets[0].addr(), Health::Draining);
    wait_until("the return is told", || weir.admin("/api/v1/events").body.contains("recovered"));
}

#[test]
fn addresses_are_targets_at_the_written_port_and_a_name_that_is_gone_has_none() {
    let port = free_port();
    let targets = [target_at(11, port), target_at(12, port)];
    let record = |target: &FakeTarget| format!("host-record=web.example,{}", target.addr().ip());
    let mut dnsmasq = Dnsmasq::start(&[record(&targets[0]), record(&targets[1])]);
    let selector = format!("{{ dns: {{ name: web.example, port: {port}, weight: 2 }} }}");
    let weir = Weir::start(&following(&dnsmasq, &selector));
    weir.wait_for_health(targets[0].addr(), Health::Healthy);
    weir.wait_for_health(targets[1].addr(), Health::Healthy);
    assert_eq!(weir.member(targets[0].addr()).unwrap().weight.get(), 2);
    dnsmasq.start_again(&[record(&targets[0])]);
    weir.wait_for_health(targets[1].addr(), Health::Draining);
    dnsmasq.start_again(&[]);
    weir.wait_for_health(targets[0].addr(), Health::Draining);
}

#[test]
fn a_server_that_refuses_one_name_serves_the_others_and_a_reload_asks_for_another() {
    let port = free_port();
    let targets = [target_at(13, port), target_at(14, port)];
    let record =
        |name: &str, target: &FakeTarget| format!("host-record={name}.example,{}", target.addr().ip());
    let dnsmasq = Dnsmasq::start(&[record("old", &targets[0]), record("new", &targets[1])]);
    let selector = |name: &str| format!("{{ dns: {{ name: {name}, port: {port} }} }}");
    // Of names beside `example` this server knows nothing.
    let refused = selector("somewhere.test");
    let weir = Weir::start(&following(&dnsmasq, &format!("{refused}, {}", selector("old.example"))));
    weir.wait_for_health(targets[0].addr(), Health::Healthy);
    wait_until("the refusal is told", || weir.admin("/api/v1/events").body.contains("somewhere.test:"));
    weir.reload(&following(&dnsmasq, &selector("new.example"))).unwrap();
    weir.wait_for_health(targets[1].addr(), Health::Healthy);
    weir.wait_for_health(targets[0].addr(), Health::Draining);
    wait_until("what is not asked for any more fails no more", || {
        weir.admin("/api/v1/events").body.contains("recovered")
    });
}
