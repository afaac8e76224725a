//! What Amazon's API refuses of settings is refused, and what nobody writes is as Amazon has it.

use std::path::Path;
use std::time::Duration;

use weir_core::definition::{Algorithm, Definitions, ProtocolVersion, TargetProtocol};
use weir_core::health::Probe;
use weir_tests::yaml::{application, group_of};

const FORWARD: &str = "default_action: { forward: web }";

/// A load balancer before one group.
fn yaml(group: &str, settings: &str, listener: &str) -> String {
    application(&[group_of("web", group, "")], settings, listener)
}

fn is_refused(yaml: &str, expected: &str) {
    let told = weir_config::parse(yaml, Path::new("weir.yaml")).unwrap_err().to_string();
    assert!(told.contains(expected) && told.ends_with("1 mistake"), "{yaml}\n{told}");
}

fn taken(yaml: &str) -> Definitions {
    let loaded = weir_config::parse(yaml, Path::new("weir.yaml")).unwrap_or_else(|told| panic!("{told}"));
    loaded.config.definitions
}

fn with_rules(rules: &str) -> String {
    yaml("", "", &format!("rules: [{rules}], {FORWARD}"))
}

fn rule(priority: u32, conditions: &str) -> String {
    format!("{{ priority: {priority}, conditions: [{conditions}], actions: [{{ forward: web }}] }}")
}

// Conformance: A2.0.1
#[test]
fn a_priority_is_one_of_50000_and_no_other_rule_s() {
    let path = "{ path_pattern: [/a] }";
    for priority in [0, 50_001] {
        is_refused(&with_rules(&rule(priority, path)), "rules[0].priority:");
    }
    let twice = format!("{}, {}", rule(1, path), rule(1, "{ path_pattern: [/b] }"));
    is_refused(&with_rules(&twice), "another rule of this listener has priority 1");
    taken(&with_rules(&format!("{}, {}", rule(50_000, path), rule(1, path))));
}

// Conformance: A2.1.1, A2.1.3, A2.1.4, A2.1.5, A2.1.6, A2.1.7
#[test]
fn a_rule_has_one_condition_of_some_kinds_and_many_of_others() {
    is_refused(&with_rules(&rule(1, "")), "a rule needs a condition");
    for (kind, one, other) in [
        ("path_pattern", "[/a]", "[/b]"),
        ("host_header", "[a.example]", "[b.example]"),
        ("http_request_method", "[GET]", "[PUT]"),
        ("source_ip", "[10.0.0.0/8]", "[11.0.0.0/8]"),
    ] {
        let conditions = format!("{{ {kind}: {one} }}, {{ {kind}: {other} }}");
        is_refused(&with_rules(&rule(1, &conditions)), &format!("a rule has one {kind} condition"));
    }
    let header = "{ http_header: { name: A, values: [a] } }, { http_header: { name: A, values: [b] } }";
    taken(&with_rules(&rule(1, &format!("{header}, {{ query_string: [a] }}, {{ query_string: [b] }}"))));
}

// Conformance: A2.1.17, A2.1.20
#[test]
fn names_of_headers_and_methods_have_at_most_40_characters() {
    let (most, more) = ("X".repeat(40), "X".repeat(41));
    let header = |name: &str| format!("{{ http_header: {{ name: \"{name}\", values: [a] }} }}");
    let method = |name: &str| format!("{{ http_request_method: [\"{name}\"] }}");
    for name in [more.as_str(), "a b", "a:"] {
        is_refused(&with_rules(&rule(1, &header(name))), "is not a header's name");
    }
    is_refused(&with_rules(&rule(1, &header("Host"))), "the host is matched by host_header");
    for name in [more.as_str(), "get", "G3T"] {
        is_refused(&with_rules(&rule(1, &method(name))), "is not a method");
    }
    taken(&with_rules(&rule(1, &format!("{}, {}", header(&most), method(&most)))));
    taken(&with_rules(&rule(1, &method("PURGE_ALL-NOW"))));
}

// Conformance: A2.1.27
#[test]
fn a_regular_expression_has_at_most_128_characters() {
    let path = |count: usize| format!("{{ path_pattern: {{ regex_values: [\"{}\"] }} }}", "a".repeat(count));
    is_refused(&with_rules(&rule(1, &path(129))), "longer than 128 characters");
    taken(&with_rules(&rule(1, &path(128))));
}

#[test]
fn patterns_that_nothing_is_like_are_warned_of_with_what_to_write() {
    let warned = |conditions: &str| {
        let yaml = with_rules(&rule(1, conditions));
        let loaded =
            weir_config::parse(&yaml, Path::new("weir.yaml")).unwrap_or_else(|told| panic!("{told}"));
        loaded.warnings.iter().map(ToString::to_string).collect::<String>()
    };
    for (conditions, remedy) in [
        ("{ path_pattern: [\"/private%2f*\"] }", "write \"/private%2F*\""),
        ("{ path_pattern: { values: [\"/a/../b\"] } }", "write \"/b\""),
        ("{ path_pattern: [\"api/*\"] }", "write \"/api/*\""),
        ("{ host_header: [\"a.example:8080\"] }", "write \"a.example\""),
    ] {
        let said = warned(conditions);
        assert!(said.contains(remedy), "{conditions}: {said}");
    }
    for fine in ["{ path_pattern: [\"*.php\", \"/a%2Fb\"] }", "{ host_header: [\"*.example\"] }"] {
        assert_eq!(warned(fine), "", "{fine}");
    }
}

fn with_action(action: &str) -> String {
    with_rules(&format!("{{ priority: 1, conditions: [{{ path_pattern: [/a] }}], actions: [{action}] }}"))
}

// Conformance: A1.8, A2.3.1, A2.3.2
#[test]
fn a_forward_has_one_to_five_groups_with_weights_up_to_999() {
    let forward = |groups: &str| with_action(&format!("{{ forward: {{ target_groups: [{groups}] }} }}"));
    is_refused(&forward(""), "1 to 5 target groups");
    is_refused(&forward(&["{ name: web }"; 6].join(", ")), "1 to 5 target groups");
    is_refused(&forward("{ name: web, weight: 1000 }"), "target_groups[0].weight:");
    taken(&forward("{ name: web, weight: 999 }"));
}

// Conformance: A2.3.9, A2.3.10, A2.3.11, A2.3.12, A2.3.13, A2.3.14, A2.3.18
#[test]
fn a_redirect_changes_something_and_leads_somewhere() {
    let redirect = |keys: &str, status: &str| {
        with_action(&format!("{{ redirect: {{ {keys}, status_code: {status} }} }}"))
    };
    let (most, more) = ("a".repeat(128), "a".repeat(129));
    is_refused(&redirect("path: /b", "HTTP_303"), "redirect.status_code:");
    for (keys, expected) in [
        ("query: a=b", "leads back to where it came from"),
        ("path: \"/#{path}\"", "leads back to where it came from"),
        ("protocol: FTP", "is not a protocol"),
        ("port: \"0\"", "is not a port"),
        ("port: \"65536\"", "is not a port"),
        ("path: b", "must start with `/`"),
        ("path: \"/#{query}\"", "the path may not use #{query}"),
        ("host: \"#{path}\"", "the host may not use #{path}"),
        (&format!("host: {more}"), "host has at most 128 characters"),
        (&format!("path: /{most}"), "path has at most 128 characters"),
        (&format!("path: /b, query: {more}"), "query has at most 128 characters"),
    ] {
        is_refused(&redirect(keys, "HTTP_301"), expected);
    }
    taken(&redirect(&format!("host: {most}, protocol: HTTPS, port: \"65535\""), "HTTP_302"));
}

// Conformance: A2.3.23, A2.3.24, A2.3.25
#[test]
fn a_fixed_response_is_no_redirect_and_not_long() {
    let fixed = |keys: &str| with_action(&format!("{{ fixed_response: {{ {keys} }} }}"));
    for (keys, expected) in [
        ("status_code: 302", "a fixed response is 2xx, 4xx or 5xx"),
        ("status_code: 199", "fixed_response.status_code:"),
        ("status_code: 600", "fixed_response.status_code:"),
        (&format!("status_code: 200, message_body: {}", "a".repeat(1025)), "at most 1024 bytes"),
        ("status_code: 200, message_body: a, content_type: image/png", "fixed_response.content_type:"),
    ] {
        is_refused(&fixed(keys), expected);
    }
    taken(&fixed(&format!("status_code: 599, message_body: {}, content_type: text/css", "a".repeat(1024))));
}

// Conformance: A3.1.1, A3.1.7, A3.1.9, A3.3.10, A3.3.11
#[test]
fn a_target_group_is_within_aws_s_ranges() {
    for (settings, expected) in [
        ("deregistration_delay: 3601s", "target_groups[0].deregistration_delay:"),
        ("slow_start: 29s", "slow start is 0s (off) or 30s to 900s"),
        ("slow_start: 901s", "target_groups[0].slow_start:"),
        ("slow_start: 30s, load_balancing_algorithm: weighted_random", "goes with round_robin"),
        ("slow_start: 30s, load_balancing_algorithm: least_outstanding_requests", "goes with round_robin"),
        ("load_balancing_algorithm: flow_hash", "target_groups[0].load_balancing_algorithm:"),
        ("protocol_version: http3", "target_groups[0].protocol_version:"),
    ] {
        is_refused(&yaml(settings, "", FORWARD), expected);
    }
    taken(&yaml("deregistration_delay: 3600s, slow_start: 900s", "", FORWARD));
}

// Conformance: A4.1.2, A4.1.3, A4.1.4, A4.1.5, A4.1.6, A4.1.7, A4.1.9, A4.1.10, A4.1.11
#[test]
fn a_health_check_is_within_aws_s_ranges() {
    let checked = |keys: &str| yaml(&format!("health_check: {{ {keys} }}"), "", FORWARD);
    for (keys, expected) in [
        ("path: a", "is not a path"),
        (&format!("path: /{}", "a".repeat(1024)), "is not a path"),
        ("port: 65536", "health_check.port:"),
        ("interval: 301s", "health_check.interval:"),
        ("interval: 300s, timeout: 121s", "health_check.timeout:"),
        ("interval: 5s, timeout: 5s", "the timeout is not shorter than the interval"),
        ("healthy_threshold: 11", "health_check.healthy_threshold:"),
        ("unhealthy_threshold: 11", "health_check.unhealthy_threshold:"),
        ("matcher: 2xx", "names no statuses"),
        ("enabled: false", "`enabled` is not a key of a health check"),
    ] {
        is_refused(&checked(keys), expected);
    }
    let calls = yaml("protocol_version: grpc, health_check: { matcher: \"100\" }", "", FORWARD);
    is_refused(&calls, "names no statuses");
    taken(&checked(
        "port: 8080, interval: 300s, timeout: 120s, healthy_threshold: 10, unhealthy_threshold: 10",
    ));
}

// Conformance: A5.0.1, A5.0.2, A5.0.9
#[test]
fn a_load_balancer_is_within_aws_s_ranges() {
    for (settings, expected) in [
        ("idle_timeout: 0s", "load_balancers[0].idle_timeout:"),
        ("idle_timeout: 4001s", "load_balancers[0].idle_timeout:"),
        ("client_keep_alive: 59s", "load_balancers[0].client_keep_alive:"),
        ("client_keep_alive: 604801s", "load_balancers[0].client_keep_alive:"),
        ("xff_header_processing_mode: replace", "load_balancers[0].xff_header_processing_mode:"),
    ] {
        is_refused(&yaml("", settings, FORWARD), expected);
    }
    taken(&yaml("", "idle_timeout: 4000s, client_keep_alive: 604800s", FORWARD));
}

// Conformance: A2.0.4, A2.2.1
#[test]
fn a_listener_has_a_default_action_which_transforms_nothing() {
    is_refused(&yaml("", "", "protocol: http"), "`default_action` is missing");
    is_refused(&yaml("", "", &format!("{FORWARD}, transforms: []")), "`transforms` is not a key");
}

// Conformance: A1.3, A1.17, A3.1.1, A3.1.2, A3.1.7, A3.1.9, A4.1.2, A4.1.3, A4.1.4, A4.1.5, A4.1.6, A4.1.7, A4.1.8, A4.2.3
#[test]
fn a_target_group_has_aws_s_defaults() {
    let group = taken(&yaml("", "", FORWARD)).target_groups.remove(0);
    assert_eq!((group.protocol, group.protocol_version), (TargetProtocol::Http, ProtocolVersion::Http1));
    assert_eq!(group.algorithm, Algorithm::RoundRobin);
    assert_eq!(group.deregistration_delay, Duration::from_secs(300));
    assert_eq!((group.slow_start, group.stickiness), (Duration::ZERO, None));
    let check = group.health_check;
    assert_eq!((check.port, check.interval.as_secs(), check.timeout.as_secs()), (None, 30, 5));
    assert_eq!((check.thresholds.healthy, check.thresholds.unhealthy), (5, 2));
    let Probe::Http { is_tls, path, matcher, user_agent, .. } = check.probe else {
        panic!("HTTP is asked for what speaks HTTP")
    };
    assert_eq!((is_tls, path.as_str(), user_agent), (false, "/", "ELB-HealthChecker/2.0"));
    assert!(matcher.matches(200) && !matcher.matches(201) && !matcher.matches(302));
}

// Conformance: A5.0.1, A5.0.2
#[test]
fn a_load_balancer_has_aws_s_defaults() {
    let balancer = taken(&yaml("", "", FORWARD)).load_balancers.remove(0);
    assert_eq!(balancer.idle_timeout, Duration::from_secs(60));
    assert_eq!(balancer.http.client_keep_alive, Duration::from_secs(3600));
}
