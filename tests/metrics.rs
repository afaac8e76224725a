//! What happens is counted, so that every number of `CloudWatch` can be had.

use weir_core::health::Health;
use weir_tests::yaml::{application, group, group_of};
use weir_tests::{FakeTarget, Weir, wait_until};

/// Waits until the series that begin so have that sum.
fn is_counted(weir: &Weir, series: &str, expected: f64) {
    wait_until(series, || (weir.metric(series) - expected).abs() < 0.1);
}

// Conformance: A11.1, A11.3, A11.6, A11.9, A11.12, A11.13, A11.14, A11.15, A11.16, A11.17, A11.24
#[test]
fn what_happens_is_counted() {
    let rules = "rules: [
        { priority: 1, conditions: [{ path_pattern: [/fixed] }], actions: [{ fixed_response: { status_code: 404 } }] },
        { priority: 2, conditions: [{ path_pattern: [/go] }], actions: [{ redirect: { path: /there, status_code: HTTP_301 } }] },
        { priority: 3, conditions: [{ path_pattern: [/none] }], actions: [{ forward: none }] }
        ], default_action: { forward: web }";
    let target = FakeTarget::answering("hello");
    let groups = [group("web", "", &[&target]), group("none", "", &[])];
    let weir = Weir::start(&application(&groups, "", rules));
    weir.wait_for_health(target.addr(), Health::Healthy);
    let mut client = weir.client();
    assert_eq!(client.ask("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc").status, 200);
    assert_eq!(["/fixed", "/go", "/none"].map(|path| client.get(path).status), [404, 301, 503]);
    let listener = format!("{{load_balancer=\"edge\",listener=\"{}\"", weir.listener(0));
    for (name, labels, expected) in [
        ("weir_connections_total", "}", 1.0),
        ("weir_requests_total", "}", 4.0),
        ("weir_request_bytes_total", ",side=\"client\"}", 3.0),
        ("weir_target_response_time_seconds_count", "}", 1.0),
        ("weir_responses_total", ",source=\"target\",class=\"2xx\"}", 1.0),
        ("weir_responses_total", ",source=\"weir\",class=\"3xx\"}", 1.0),
        ("weir_responses_total", ",source=\"weir\",class=\"4xx\"}", 1.0),
        ("weir_responses_total", ",source=\"weir\",class=\"5xx\"}", 1.0),
        ("weir_generated_responses_total", ",status=\"503\"}", 1.0),
        ("weir_actions_total", ",action=\"fixed-response\"}", 1.0),
        ("weir_actions_total", ",action=\"redirect\"}", 1.0),
    ] {
        is_counted(&weir, &format!("{name}{listener}{labels}"), expected);
    }
    is_counted(&weir, "weir_target_picks_total{target_group=\"web\"", 1.0);
    is_counted(&weir, "weir_targets{target_group=\"web\",health=\"healthy\"}", 1.0);
}

// Conformance: A11.18, A11.19
#[test]
fn connections_to_targets_that_fail_are_counted_by_their_step() {
    let (gone, plain) = (FakeTarget::answering("gone"), FakeTarget::echoing("220 this is no TLS"));
    let groups = [group("gone", "", &[&gone]), group_of("plain", "protocol: https", &plain.yaml())];
    gone.kill();
    let listener = "rules: [{ priority: 1, conditions: [{ path_pattern: [/plain] }], actions: [{ forward: plain }] }], default_action: { forward: gone }";
    let weir = Weir::start(&application(&groups, "", listener));
    let failed = |step: &str| {
        let label = format!("step=\"{step}\"}}");
        let page = weir.admin("/metrics").body;
        let line = page
            .lines()
            .find(|line| line.starts_with("weir_target_connection_errors_total") && line.contains(&label));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).unwrap_or_default()
    };
    assert_eq!(weir.get("/plain").status, 502);
    assert!(failed("tls") > 0.5 && failed("dial") < 0.5);
    assert_eq!(weir.get("/").status, 502);
    assert!(failed("dial") > 0.5);
}

// Conformance: A11.7
#[test]
fn requests_by_ipv6_are_counted_as_such() {
    let listener = "default_action: { fixed_response: { status_code: 200 } }";
    let yaml = application(&[], "", listener).replace("127.0.0.1:0", "[::1]:0");
    let weir = Weir::start(&yaml);
    weir.get("/");
    is_counted(&weir, "weir_requests_ipv6_total{", 1.0);
}
