//! Where flows go: by the client's address alone, by weights that change, and by zones.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use weir_tests::udp_target::{UdpClient, UdpTarget};
use weir_tests::yaml::{group, group_of, network_listener};
use weir_tests::{Client, FakeTarget, Weir, free_port, loopback, wait_until};

const FORWARD: &str = "default_action: { forward: db }";

fn echoing<const N: usize>(names: [&str; N]) -> [FakeTarget; N] {
    names.map(FakeTarget::echoing)
}

/// Who takes a flow from that address of loopback.
fn taken_from(own: [u8; 4], weir: &Weir) -> String {
    Client::connect_from(SocketAddr::from((own, 0)), weir.listener(0))
        .line()
        .expect("a target takes the flow")
}

/// Who take flows from several ports of one address.
fn all_from(own: [u8; 4], weir: &Weir) -> BTreeSet<String> {
    (0..12).map(|_| taken_from(own, weir)).collect()
}

// Conformance: B3.13, B6.1
#[test]
fn flows_of_one_address_stick_to_one_target() {
    let targets = echoing(["a", "b", "c", "d"]);
    let settings = "protocol: tcp, stickiness: { type: source_ip }";
    let text = network_listener(&[group("db", settings, &targets.each_ref())], FORWARD);
    let weir = Weir::start_healthy(&text);
    let mut used = BTreeSet::new();
    for last in 1..=20 {
        let of_client = all_from([127, 0, 7, last], &weir);
        assert_eq!(of_client.len(), 1, "client {last} came to {of_client:?}");
        used.extend(of_client);
    }
    // Ports are drawn anew each time: twenty clients may all pass one target over.
    used.extend((21..=100).map(|last| taken_from([127, 0, 7, last], &weir)));
    assert_eq!(used.len(), 4, "clients are spread");
}

// Conformance: B6.3
#[test]
fn clients_of_a_target_that_has_failed_stick_to_another_one_and_the_others_stay() {
    let targets = echoing(["a", "b", "c"]);
    let settings =
        "protocol: tcp, stickiness: { type: source_ip }, health_check: { interval: 150ms, timeout: 100ms }";
    let weir = Weir::start_healthy(&network_listener(&[group("db", settings, &targets.each_ref())], FORWARD));
    let client = |last| [127, 0, 8, last];
    let before: Vec<String> = (1..=20).map(|last| taken_from(client(last), &weir)).collect();
    targets[0].kill();
    wait_until("it is known", || !weir.member(targets[0].addr()).unwrap().health.is_healthy());
    for (last, before) in (1..=20).zip(&before) {
        let after = all_from(client(last), &weir);
        assert_eq!(after.len(), 1);
        assert!(!after.contains("a") && (before == "a" || after.contains(before)), "{before}: {after:?}");
    }
}

// Conformance: B1.15
#[test]
fn clients_stay_in_their_group_by_their_address() {
    let targets = echoing(["one", "other"]);
    let groups =
        [group("one", "protocol: tcp", &[&targets[0]]), group("other", "protocol: tcp", &[&targets[1]])];
    let weighted = "target_groups: [{ name: one, weight: 1 }, { name: other, weight: 1 }]";
    let action = format!("default_action: {{ forward: {{ {weighted}, stickiness: {{ duration: 1h }} }} }}");
    let weir = Weir::start_healthy(&network_listener(&groups, &action));
    let groups_of: Vec<BTreeSet<String>> = (1..=20).map(|last| all_from([127, 0, 9, last], &weir)).collect();
    assert!(groups_of.iter().all(|groups| groups.len() == 1), "{groups_of:?}");
    assert_eq!(groups_of.iter().flatten().collect::<BTreeSet<_>>().len(), 2);
}

/// The same at a port that stays with a reload.
fn at_a_port(yaml: &str, port: u16) -> String {
    yaml.replace("127.0.0.1:0", &loopback(port).to_string())
}

fn weighted(port: u16, one: u16, other: u16, targets: &[FakeTarget; 2]) -> String {
    let groups =
        [group("one", "protocol: tcp", &[&targets[0]]), group("other", "protocol: tcp", &[&targets[1]])];
    let weights = format!("[{{ name: one, weight: {one} }}, {{ name: other, weight: {other} }}]");
    let action = format!("default_action: {{ forward: {{ target_groups: {weights} }} }}");
    at_a_port(&network_listener(&groups, &action), port)
}

/// A weir with two groups, and a flow to each.
fn with_a_flow_to_each(port: u16, targets: &[FakeTarget; 2]) -> (Weir, Client, Client) {
    let weir = Weir::start_healthy(&weighted(port, 1, 1, targets));
    let flow_to = |wanted: &str| {
        let mut flows = std::iter::repeat_with(|| weir.client());
        flows
            .find_map(|mut client| (client.line().as_deref() == Some(wanted)).then_some(client))
            .expect("one")
    };
    let (one, other) = (flow_to("one"), flow_to("other"));
    (weir, one, other)
}

fn talks(client: &mut Client) -> bool {
    client.send("words");
    client.exactly(5).as_deref() == Some(b"words")
}

// Conformance: B1.12
#[test]
fn a_new_weight_is_for_new_flows() {
    let (port, targets) = (free_port(), echoing(["one", "other"]));
    let (weir, mut one, mut other) = with_a_flow_to_each(port, &targets);
    weir.reload(&weighted(port, 999, 1, &targets)).unwrap();
    assert!(talks(&mut one) && talks(&mut other));
    let to_one = (0..50).filter(|_| weir.client().line().as_deref() == Some("one")).count();
    assert!(to_one >= 47, "{to_one} of 50");
}

// Conformance: B1.14
#[test]
fn weight_zero_ends_the_flows_of_its_group_and_no_other() {
    let (port, targets) = (free_port(), echoing(["one", "other"]));
    let (weir, mut one, mut other) = with_a_flow_to_each(port, &targets);
    weir.reload(&weighted(port, 1, 0, &targets)).unwrap();
    assert!(other.is_closed());
    assert!(talks(&mut one));
    assert!((0..20).all(|_| weir.client().line().as_deref() == Some("one")));
}

#[test]
fn weight_zero_has_the_next_datagram_of_a_flow_go_to_another_group() {
    let (port, targets) = (free_port(), ["one", "other"].map(UdpTarget::named));
    let text = |one, other| {
        let group = |name: &str, target: &UdpTarget| group_of(name, "protocol: udp", &target.yaml());
        let groups = [group("one", &targets[0]), group("other", &targets[1])];
        let weights = format!("[{{ name: one, weight: {one} }}, {{ name: other, weight: {other} }}]");
        let action = format!("protocol: udp, default_action: {{ forward: {{ target_groups: {weights} }} }}");
        at_a_port(&network_listener(&groups, &action), port)
    };
    let weir = Weir::start_healthy(&text(1, 0));
    let client = UdpClient::of(weir.listener(0));
    assert_eq!(client.ask("?"), "one");
    weir.reload(&text(0, 1)).unwrap();
    wait_until("it has gone over", || client.try_ask("?").as_deref() == Some("other"));
}

/// Two targets in two zones behind a load balancer with these settings, and a weir in zone `a`.
fn zoned(load_balancer: &str, group_settings: &str, targets: &[FakeTarget]) -> String {
    let members: Vec<String> = targets
        .iter()
        .zip(["a", "b", ""])
        .map(|(target, zone)| {
            let zone = if zone.is_empty() { String::new() } else { format!(", zone: {zone}") };
            target.yaml().replace(" }", &format!("{zone} }}"))
        })
        .collect();
    let settings =
        format!("protocol: tcp, health_check: {{ interval: 150ms, timeout: 100ms }}{group_settings}");
    let text = network_listener(&[group_of("db", &settings, &members.join(", "))], FORWARD);
    format!("zone: a\n{}", text.replace("type: network,", &format!("type: network, {load_balancer}")))
}

// Conformance: B2.7, B3.1
#[test]
fn flows_stay_in_the_zone_unless_they_are_to_cross_it() {
    let targets = echoing(["in a", "in b", "nowhere"]);
    for (load_balancer, settings, expected) in [
        ("", "", &["in a", "nowhere"][..]),
        ("cross_zone: false,", "", &["in a", "nowhere"]),
        ("cross_zone: true,", "", &["in a", "in b", "nowhere"]),
        ("cross_zone: true,", ", cross_zone: false", &["in a", "nowhere"]),
        ("", ", cross_zone: true", &["in a", "in b", "nowhere"]),
    ] {
        let weir = Weir::start_healthy(&zoned(load_balancer, settings, &targets));
        let seen: BTreeSet<String> = (0..40).map(|_| weir.client().line().unwrap()).collect();
        assert!(
            seen.iter().map(String::as_str).eq(expected.iter().copied()),
            "{load_balancer}{settings}: {seen:?}"
        );
    }
}

#[test]
fn a_zone_without_healthy_targets_takes_no_flow_while_another_has_one() {
    let targets = echoing(["in a", "in b"]);
    let weir = Weir::start_healthy(&zoned("", "", &targets));
    targets[0].kill();
    wait_until("it is known", || !weir.member(targets[0].addr()).unwrap().health.is_healthy());
    assert!(weir.client().is_closed());
}

#[test]
fn a_group_of_load_balancers_that_differ_says_itself_whether_it_crosses_zones() {
    let text = |group: &str| {
        format!(
            "zone: a\ntarget_groups: [{{ name: db, protocol: tcp{group} }}]\nload_balancers: [{{ name: one, type: network, cross_zone: true, listeners: [{{ bind: \"127.0.0.1:0\", {FORWARD} }}] }}, {{ name: other, type: network, listeners: [{{ bind: \"127.0.0.1:0\", {FORWARD} }}] }}]\n"
        )
    };
    let path = std::path::Path::new("weir.yaml");
    let told = weir_config::parse(&text(""), path).unwrap_err().to_string();
    assert!(told.contains("write `cross_zone: true` or `false` into the group"), "{told}");
    let group = weir_config::parse(&text(", cross_zone: false"), path)
        .unwrap()
        .config
        .definitions
        .target_groups
        .remove(0);
    assert_eq!(group.zone.as_deref(), Some("a"));
}
