//! What Amazon's API refuses of network and classic load balancers is refused, and what nobody writes is as Amazon has it.

use std::path::Path;
use std::time::Duration;

use weir_core::definition::{Algorithm, Definitions, ListenerKind, OfUnhealthy};
use weir_core::ejection::Ejection;
use weir_core::health::Probe;
use weir_tests::yaml::{group_of, network_listener};

fn yaml(group: &str, listener: &str) -> String {
    network_listener(&[group_of("db", group, "")], listener)
}

fn classic(settings: &str, check: &str, listeners: &str) -> String {
    format!(
        "load_balancers: [{{ name: legacy, type: classic, instances: [127.0.0.1], {settings} health_check: {{ {check} }}, listeners: [{listeners}] }}]\n"
    )
}

fn is_refused(yaml: &str, expected: &str) {
    let told = weir_config::parse(yaml, Path::new("weir.yaml")).unwrap_err().to_string();
    assert!(told.contains(expected), "{yaml}\n{told}");
}

fn taken(yaml: &str) -> Definitions {
    let loaded = weir_config::parse(yaml, Path::new("weir.yaml")).unwrap_or_else(|told| panic!("{told}"));
    loaded.config.definitions
}

const TLS: &str = "certificates: { certificate: a.pem, key: a.key },";

// Conformance: B1.1, B1.2, B1.4, B1.5, B1.6, B1.7
#[test]
fn a_listener_forwards_to_groups_that_speak_its_transport() {
    let all = ["http", "https", "tcp", "tls", "udp", "tcp_udp", "quic", "tcp_quic"];
    for (listener, fitting) in [
        ("tcp", &["tcp", "tcp_udp"][..]),
        ("tls", &["tcp", "tls"]),
        ("udp", &["udp", "tcp_udp"]),
        ("tcp_udp", &["tcp_udp"]),
        ("quic", &["quic", "tcp_quic"]),
        ("tcp_quic", &["tcp_quic"]),
    ] {
        let tls = if listener == "tls" { TLS } else { "" };
        for group in all {
            let yaml = yaml(
                &format!("protocol: {group}"),
                &format!("protocol: {listener}, {tls} default_action: {{ forward: db }}"),
            );
            if fitting.contains(&group) {
                taken(&yaml);
            } else {
                is_refused(&yaml, &format!("does not speak {}", fitting[0].to_ascii_uppercase()));
            }
        }
    }
}

// Conformance: B1.3, B1.8, B3.6, B9.2
#[test]
fn a_network_load_balancer_is_within_aws_s_ranges() {
    let forward = "default_action: { forward: db }";
    for (listener, expected) in [
        ("default_action: { fixed_response: { status_code: 200 } }", "a network listener can only forward"),
        ("protocol: http, default_action: { forward: db }", "listeners[0].protocol"),
        ("udp_idle_timeout: 120s, default_action: { forward: db }", "a tcp listener has no datagrams"),
        ("protocol: tls, default_action: { forward: db }", "`certificates` is missing"),
        (
            "alpn_policy: HTTP2Only, default_action: { forward: db }",
            "`alpn_policy` goes with `protocol: tls`",
        ),
        (
            "mutual_authentication: { mode: off }, default_action: { forward: db }",
            "`mutual_authentication` is not a key",
        ),
    ] {
        is_refused(&yaml("protocol: tcp", listener), expected);
    }
    for (names, expected) in [
        ("[]", "alpn_policy: 0 protocols are named"),
        ("[postgresql, imap, postgresql]", "alpn_policy[2]: \"postgresql\" is named twice"),
        ("[\"\"]", "alpn_policy[0]: a value is missing"),
        ("[\"my protocol\"]", "alpn_policy[0]: \"my protocol\" is not the name of a protocol"),
        (&format!("[{}]", "x".repeat(256)), "is not the name of a protocol"),
        (&format!("[{}]", (0..17).map(|n| format!("p{n}")).collect::<Vec<_>>().join(", ")), "17 protocols"),
    ] {
        let listener = format!("protocol: tls, {TLS} alpn_policy: {names}, {forward}");
        is_refused(&yaml("protocol: tcp", &listener), expected);
    }
    let balancer = |key: &str| {
        let text = yaml("protocol: tcp", forward);
        text.replace("type: network,", &format!("type: network, {key},"))
    };
    is_refused(&balancer("tcp_idle_timeout: 59s"), "load_balancers[0].tcp_idle_timeout:");
    is_refused(&balancer("tcp_idle_timeout: 6001s"), "load_balancers[0].tcp_idle_timeout:");
    let twice = format!(
        "target_groups: [{{ name: a, protocol: tcp }}, {{ name: b, protocol: udp }}]\nload_balancers:\n  - {{ name: edge, type: network, listeners: [{{ bind: \"127.0.0.1:53\", {} }}, {{ bind: \"127.0.0.1:53\", protocol: udp, {} }}] }}\n",
        "default_action: { forward: a }", "default_action: { forward: b }"
    );
    is_refused(&twice, "another listener has this address already");
    let beside = twice.replacen("127.0.0.1:53", "0.0.0.0:53", 1);
    is_refused(&beside, "0.0.0.0:53 and 127.0.0.1:53 overlap; the other listener is on line 3");
}

// Conformance: B1.11, B3.6, B3.7, B3.8, B7.1, B7.4, B7.5
#[test]
fn a_network_load_balancer_and_its_groups_have_aws_s_defaults() {
    let of = |protocol: &str, more: &str| {
        let listener = if protocol == "tcp" { "tcp" } else { protocol };
        let group = format!("protocol: {protocol}{more}");
        taken(&yaml(&group, &format!("protocol: {listener}, default_action: {{ forward: db }}")))
    };
    for (protocol, terminates) in [("tcp", false), ("udp", true), ("tcp_udp", true)] {
        let mut definitions = of(protocol, "");
        assert_eq!(definitions.load_balancers[0].idle_timeout, Duration::from_secs(350));
        let group = definitions.target_groups.remove(0);
        assert_eq!((group.algorithm, group.flows.connection_termination), (Algorithm::FlowHash, terminates));
        assert_eq!(group.deregistration_delay, Duration::from_secs(300));
        assert_eq!(group.health_check.probe, Probe::Tcp);
        assert_eq!((group.health_check.thresholds.healthy, group.health_check.thresholds.unhealthy), (5, 2));
    }
    let group = of("tcp", ", health_check: { protocol: http }").target_groups.remove(0);
    let Probe::Http { matcher, .. } = group.health_check.probe else { panic!("HTTP is asked for") };
    assert!([200, 301, 399].iter().all(|status| matcher.matches(*status)) && !matcher.matches(400));
    let several = "default_action: { forward: { target_groups: [{ name: db, weight: 999 }, { name: db, weight: 0 }] } }";
    let balancer = taken(&yaml("protocol: tcp", several)).load_balancers.remove(0);
    let ListenerKind::Network(network) = &balancer.listeners[0].kind else { panic!("{balancer:?}") };
    assert_eq!(network.forward.groups.iter().map(|(_, weight)| *weight).collect::<Vec<_>>(), [999, 0]);
    is_refused(&yaml("protocol: tcp", &several.replace("999", "1000")), "weight");
}

// Conformance: B3.9, B3.10, B3.13, B6.2
#[test]
fn what_does_not_go_together_in_a_group_of_flows_is_refused() {
    let forward = "default_action: { forward: db }";
    for (group, expected) in [
        (
            "protocol: udp, unhealthy_connection_termination: true",
            "are not ended when a target turns unhealthy",
        ),
        ("protocol: http, unhealthy_connection_termination: true", "always finish"),
        ("protocol: tcp, unhealthy_draining_interval: 1s", "are not kept for an interval"),
        (
            "protocol: tcp, unhealthy_connection_termination: false, unhealthy_draining_interval: 101h",
            "unhealthy_draining_interval:",
        ),
        ("protocol: tcp, stickiness: {}", "`type` is missing"),
        ("protocol: tcp, stickiness: { type: lb_cookie }", "clients stick to HTTP targets by cookies"),
        ("protocol: tcp, stickiness: { type: source_ip, duration: 1h }", "and to others by their address"),
        ("protocol: tls, stickiness: { type: source_ip }", "do not stick to targets that speak tls"),
        (
            "protocol: tcp, load_balancing_algorithm: round_robin, stickiness: { type: source_ip }",
            "clients stick by flow_hash",
        ),
    ] {
        is_refused(&yaml(group, forward), expected);
    }
    let tls = format!("protocol: tls, {TLS} {forward}");
    is_refused(&yaml("protocol: tcp, stickiness: { type: source_ip }", &tls), "clients of a tls listener");
    let weighted =
        "{ forward: { target_groups: [{ name: db }, { name: db }], stickiness: { duration: 1h } } }";
    let tls = format!("protocol: tls, {TLS} default_action: {weighted}");
    is_refused(&yaml("protocol: tcp", &tls), "do not stay in their group");
}

// Conformance: B3.9, B3.10, B7.6
#[test]
fn targets_that_turn_unhealthy_end_their_flows_unless_it_is_written_or_udp() {
    let group = |settings: &str| {
        let listener = if settings.contains("udp") { "udp" } else { "tcp" };
        let listener = format!("protocol: {listener}, default_action: {{ forward: db }}");
        taken(&yaml(settings, &listener)).target_groups.remove(0)
    };
    for (settings, of_unhealthy) in [
        ("protocol: tcp", OfUnhealthy::End),
        ("protocol: udp", OfUnhealthy::GoOn),
        ("protocol: tcp, unhealthy_connection_termination: false", OfUnhealthy::GoOn),
        (
            "protocol: tcp, unhealthy_connection_termination: false, unhealthy_draining_interval: 100h",
            OfUnhealthy::EndAfter(Duration::from_secs(360_000)),
        ),
    ] {
        assert_eq!(group(settings).flows.of_unhealthy, of_unhealthy, "{settings}");
    }
    assert_eq!(group("protocol: tcp").ejection, Some(Ejection::default()));
    assert_eq!(group("protocol: udp").ejection, None);
}

// Conformance: C1.3, C1.4, C6.1, C6.3, C6.5
#[test]
fn what_does_not_go_together_in_a_classic_load_balancer_is_refused() {
    let check = "target: \"TCP:80\"";
    let listener = |keys: &str| format!("{{ bind: \"127.0.0.1:0\", instance_port: 80, {keys} }}");
    let two = "certificates: [{ certificate: a.pem, key: a.key }, { certificate: b.pem, key: b.key }]";
    let port = |keys: &str| format!("instance_ports: [{{ port: 80, {keys} }}],");
    for (settings, listeners, expected) in [
        ("", listener("protocol: http, instance_protocol: ssl"), "does not speak ssl to instances"),
        (
            "",
            listener("protocol: ssl, instance_protocol: http, certificates: { certificate: a, key: b }"),
            "write tcp or ssl",
        ),
        ("", listener("protocol: https"), "`certificates` is missing"),
        ("", listener(&format!("protocol: https, {two}")), "a classic listener has one certificate"),
        (
            "",
            listener(
                "protocol: ssl, certificates: { certificate: a, key: b }, ssl_policy: TLS13-1-2-2021-06",
            ),
            "classic listeners do not speak TLS 1.3",
        ),
        (
            "",
            [listener("protocol: http"), listener("protocol: http, instance_protocol: https")].join(", "),
            "another listener speaks http to instance port 80",
        ),
        (
            "",
            [listener("protocol: tcp, instance_protocol: ssl"), listener("protocol: http")].join(", "),
            "another listener speaks ssl to instance port 80",
        ),
        (&port("proxy_protocol: true"), listener("protocol: http"), "are not told by the PROXY protocol"),
        (&port("public_keys: [MIIB]"), listener("protocol: tcp"), "instances that speak tcp show no key"),
        (
            &port("public_keys: []"),
            listener("protocol: tcp, instance_protocol: ssl"),
            "nobody holds one of no keys",
        ),
        (&port("public_keys: [key]"), listener("protocol: tcp, instance_protocol: ssl"), "openssl x509"),
    ] {
        is_refused(&classic(settings, check, &listeners), expected);
    }
    let both = [listener("protocol: http"), listener("protocol: tcp")].join(", ");
    assert_eq!(taken(&classic("", check, &both)).target_groups.len(), 2, "a group for each layer");
}

// Conformance: C1.5, C3.5, C3.6, C5.1, C5.4
#[test]
fn a_classic_load_balancer_is_within_aws_s_ranges() {
    let listener = "{ bind: \"127.0.0.1:0\", protocol: tcp, instance_port: 80 }";
    let check = "target: \"TCP:80\"";
    for (settings, check, expected) in [
        ("idle_timeout: 4001s,", check, "idle_timeout:"),
        ("connection_draining: { timeout: 3601s },", check, "timeout:"),
        ("", "target: \"TCP:80\", healthy_threshold: 11", "healthy_threshold:"),
        ("", "target: \"TCP:80\", interval: 5s, timeout: 5s", "the timeout is not shorter than the interval"),
        ("", "target: \"HTTP:80\"", "target"),
        ("", "target: \"PING:80/\"", "target"),
    ] {
        is_refused(&classic(settings, check, listener), expected);
    }
    let same = "{ bind: \"127.0.0.1:80\", instance_port: 80 }";
    is_refused(&classic("", check, &format!("{same}, {same}")), "another listener has this address already");
    let definitions = taken(&classic("connection_draining: { enabled: true },", check, listener));
    assert_eq!(definitions.load_balancers[0].idle_timeout, Duration::from_secs(60));
    let group = &definitions.target_groups[0];
    assert_eq!(group.deregistration_delay, Duration::from_secs(300));
    assert_eq!((group.health_check.thresholds.healthy, group.health_check.thresholds.unhealthy), (10, 2));
    assert_eq!((group.health_check.interval.as_secs(), group.health_check.timeout.as_secs()), (30, 5));
}

#[test]
fn targets_of_two_groups_of_one_listener_have_ids_of_their_own() {
    let one = "{ address: 127.0.0.1, port: 1, quic_server_id: \"0x0000000000000001\" }";
    let parse = |other: &str| {
        let groups =
            [("video", one), ("next", other)].map(|(name, target)| group_of(name, "protocol: quic", target));
        let listener = "protocol: quic, default_action: { forward: { target_groups: [{ name: video }, { name: next }] } }";
        weir_config::parse(&network_listener(&groups, listener), Path::new("weir.yaml"))
    };
    let told = parse(&one.replace("port: 1", "port: 2")).unwrap_err().to_string();
    let expected = "the target groups \"video\" and \"next\" have two targets with the `quic_server_id` 0x0000000000000001";
    assert!(told.contains(expected), "{told}");
    parse(&one.replace("01\"", "02\"")).unwrap();
    parse(one).unwrap_or_else(|told| panic!("a target may be in both: {told}"));
}
