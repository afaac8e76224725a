//! What the health of targets means to flows.

use std::net::{IpAddr, SocketAddr};

use weir_core::health::{Health, UnhealthyReason};
use weir_tests::target::respond;
use weir_tests::udp_target::{UdpClient, UdpTarget};
use weir_tests::yaml::{group, group_of, network_listener};
use weir_tests::{Client, FakeTarget, Weir, free_port, loopback, wait_until};

const FORWARD: &str = "default_action: { forward: db }";

const EJECTED: Health = Health::Unhealthy(UnhealthyReason::Ejected);

/// Targets that echo, each with somebody beside it who answers for its health.
struct Checked<const N: usize> {
    targets: [FakeTarget; N],
    health: [FakeTarget; N],
}

impl<const N: usize> Checked<N> {
    fn new(names: [&str; N]) -> Self {
        let (port, mut last) = (free_port(), 0);
        let made = names.map(|name| {
            last += 1;
            let ip = IpAddr::from([127, 0, 6, last]);
            let health = FakeTarget::at(SocketAddr::new(ip, port), |_, stream| respond(stream, 200, ""));
            (FakeTarget::echoing_at(ip, name), health)
        });
        Self {
            targets: made.each_ref().map(|(target, _)| target.clone()),
            health: made.map(|(_, health)| health),
        }
    }

    /// A network load balancer in front of them.
    fn yaml(&self, settings: &str) -> String {
        let check = format!(
            "health_check: {{ protocol: http, path: /, port: {}, interval: 150ms, timeout: 100ms, healthy_threshold: 2, unhealthy_threshold: 2 }}",
            self.health[0].addr().port()
        );
        let settings = format!("protocol: tcp, {check}{settings}");
        network_listener(&[group("db", &settings, &self.targets.each_ref())], FORWARD)
    }

    fn fail(&self, number: usize) {
        self.health[number].set_health(500);
    }
}

/// A flow to that target.
fn flow_to(weir: &Weir, name: &str) -> Client {
    let mut flows = std::iter::repeat_with(|| weir.client());
    flows.find_map(|mut client| (client.line().as_deref() == Some(name)).then_some(client)).expect("one flow")
}

fn talks(client: &mut Client) -> bool {
    client.send("words");
    client.exactly(5).as_deref() == Some(b"words")
}

fn state_of(weir: &Weir, target: &FakeTarget) -> &'static str {
    weir.member(target.addr()).expect("it is registered").state()
}

// Conformance: B3.9, B7.13
#[test]
fn flows_of_a_target_that_turns_unhealthy_are_reset_and_no_others() {
    let set = Checked::new(["a", "b"]);
    let weir = Weir::start_healthy(&set.yaml(""));
    let (mut sick, mut well) = (flow_to(&weir, "a"), flow_to(&weir, "b"));
    set.fail(0);
    assert!(sick.is_closed());
    assert!(talks(&mut well));
    assert_eq!(state_of(&weir, &set.targets[0]), "unhealthy");
}

#[test]
fn flows_of_unhealthy_targets_go_on_where_it_is_written() {
    let set = Checked::new(["a", "b"]);
    let weir = Weir::start_healthy(&set.yaml(", unhealthy_connection_termination: false"));
    let mut flow = flow_to(&weir, "a");
    set.fail(0);
    wait_until("it is known", || state_of(&weir, &set.targets[0]) == "unhealthy");
    assert!(talks(&mut flow));
    assert!((0..10).all(|_| weir.client().line().as_deref() == Some("b")), "new ones go elsewhere");
}

// Conformance: B3.10, B7.14
#[test]
fn an_unhealthy_target_drains_for_an_interval_and_its_flows_end_then() {
    let set = Checked::new(["a", "b"]);
    let kept = ", unhealthy_connection_termination: false, unhealthy_draining_interval: 2s";
    let weir = Weir::start_healthy(&set.yaml(kept));
    let mut flow = flow_to(&weir, "a");
    set.fail(0);
    wait_until("it drains", || state_of(&weir, &set.targets[0]) == "unhealthy.draining");
    assert!(weir.admin("/api/v1/target_groups").body.contains("unhealthy.draining"));
    assert!(talks(&mut flow));
    assert!((0..10).all(|_| weir.client().line().as_deref() == Some("b")), "new ones go elsewhere");
    assert!(flow.is_closed());
    assert_eq!(state_of(&weir, &set.targets[0]), "unhealthy");
}

#[test]
fn a_target_that_is_healthy_again_within_the_interval_keeps_its_flows() {
    let set = Checked::new(["a", "b"]);
    let kept = ", unhealthy_connection_termination: false, unhealthy_draining_interval: 100h";
    let weir = Weir::start_healthy(&set.yaml(kept));
    let mut flow = flow_to(&weir, "a");
    set.fail(0);
    wait_until("it drains", || state_of(&weir, &set.targets[0]) == "unhealthy.draining");
    set.health[0].set_health(200);
    weir.wait_for_health(set.targets[0].addr(), Health::Healthy);
    assert!(talks(&mut flow));
}

// Conformance: B3.14, B7.11, B10.4, B10.10
#[test]
fn flows_go_on_and_new_ones_go_everywhere_while_all_targets_are_unhealthy() {
    let set = Checked::new(["a", "b"]);
    let weir = Weir::start_healthy(&set.yaml(", unhealthy_connection_termination: true"));
    let mut flow = flow_to(&weir, "b");
    set.fail(0);
    wait_until("one is known", || state_of(&weir, &set.targets[0]) == "unhealthy");
    let count = |state: &str| weir.metric(&format!("weir_targets{{target_group=\"db\",health=\"{state}\""));
    assert!((count("healthy") - 1.0).abs() < 0.1 && (count("unhealthy") - 1.0).abs() < 0.1);
    set.fail(1);
    wait_until("both are known", || state_of(&weir, &set.targets[1]) == "unhealthy");
    assert!(talks(&mut flow), "the group fails open");
    flow_to(&weir, "a");
    flow_to(&weir, "b");
    assert!(weir.metric("weir_target_picks_unhealthy_total") >= 2.0);
}

// Conformance: B3.14
#[test]
fn a_group_with_too_few_healthy_targets_has_flows_go_everywhere() {
    let set = Checked::new(["a", "b", "c"]);
    let wanted = ", target_group_health: { unhealthy_state_routing: { minimum_healthy_targets_count: 3 } }";
    let weir = Weir::start_healthy(&set.yaml(wanted));
    let mut flow = flow_to(&weir, "a");
    set.fail(0);
    wait_until("it is known", || state_of(&weir, &set.targets[0]) == "unhealthy");
    assert!(talks(&mut flow));
    flow_to(&weir, "a");
}

/// A weir with one target that takes no connection though its health checks pass, and one that does.
fn with_one_that_takes_none(settings: &str) -> (Checked<2>, Weir) {
    let set = Checked::new(["a", "b"]);
    let weir = Weir::start_healthy(&set.yaml(settings));
    set.targets[0].kill();
    (set, weir)
}

// Conformance: B7.6
#[test]
fn a_target_that_flows_fail_to_reach_is_unhealthy_before_its_checks_say_so() {
    let (set, weir) = with_one_that_takes_none("");
    wait_until("it is out", || {
        assert_eq!(weir.client().line().as_deref(), Some("b"), "nobody notices");
        weir.member(set.targets[0].addr()).unwrap().health == EJECTED
    });
}

// Conformance: B6.4
#[test]
fn nobody_watches_how_connections_fail_where_clients_stick() {
    let (set, weir) = with_one_that_takes_none(", stickiness: { type: source_ip }");
    let failed = || weir.member(set.targets[0].addr()).unwrap().target.tally.failures_in_a_row();
    let (listener, mut asked) = (weir.listener(0), 0_u8);
    wait_until("many have failed", || {
        asked += 1;
        let last = 1 + asked % 200;
        for third in 0..8 {
            let own = SocketAddr::from(([127, 0, third, last], 0));
            assert_eq!(Client::connect_from(own, listener).line().as_deref(), Some("b"));
        }
        failed() > 20
    });
    assert_eq!(weir.member(set.targets[0].addr()).unwrap().health, Health::Healthy);
}

#[test]
fn flows_of_datagrams_outlive_the_health_of_their_target() {
    let target = UdpTarget::named("a");
    let (health, port) = (FakeTarget::answering(""), free_port());
    let listener = loopback(free_port()).to_string();
    let check = |port: u16| {
        format!("health_check: {{ protocol: http, path: /, port: {port}, interval: 150ms, timeout: 100ms }}")
    };
    let text = |port: u16| {
        let group = group_of("db", &format!("protocol: udp, {}", check(port)), &target.yaml());
        network_listener(&[group], &format!("protocol: udp, {FORWARD}")).replace("127.0.0.1:0", &listener)
    };
    let weir = Weir::start_healthy(&text(health.addr().port()));
    let client = UdpClient::of(weir.listener(0));
    assert_eq!(client.ask("?"), "a");
    weir.reload(&text(port)).unwrap();
    wait_until("it is known", || !weir.member(target.addr()).unwrap().health.is_healthy());
    assert_eq!(client.ask("still"), "a");
    assert!((weir.metric("weir_flows_total{") - 1.0).abs() < 0.1, "it is the same flow");
}
