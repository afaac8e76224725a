//! What a classic load balancer writes and counts of what it has done.

use std::path::PathBuf;

use weir_tests::target::respond;
use weir_tests::tls::{Pair, TlsClient};
use weir_tests::yaml::classic;
use weir_tests::{FakeTarget, Folder, Weir, free_port, wait_until};

use crate::access_log::{fields, lines};

/// A classic load balancer with a log, and where that is.
fn weir(port: u16, listener: &str) -> (Weir, PathBuf) {
    let folder = Folder::new();
    Pair::new(&["shop.example"]).write(&folder, "shop");
    let path = folder.path().join("classic.log");
    let listener = format!("instance_port: {port}, {listener}");
    let text =
        classic(&["127.0.0.1"], &format!("TCP:{port}"), "access_log: { path: classic.log }", &listener);
    (Weir::start_in(folder, &text, |_| {}), path)
}

// Conformance: C8.2
#[test]
fn a_line_of_tcp_says_nothing_of_requests() {
    let target = FakeTarget::echoing("a");
    let (weir, path) = weir(target.addr().port(), "protocol: tcp");
    weir.wait_until_healthy();
    let mut client = weir.client();
    client.send("1234");
    assert_eq!(client.exactly(6).unwrap(), b"a\n1234");
    let from = client.addr().to_string();
    drop(client);
    let line = lines(&path, 1).remove(0);
    let fields = fields(&line);
    assert_eq!(fields.len(), 15, "{line}");
    assert_eq!(fields[1..4], ["legacy", &from, &target.addr().to_string()]);
    assert!(fields[4..7].iter().all(|seconds| seconds.parse::<f64>().is_ok_and(|s| s >= 0.0)), "{line}");
    assert_eq!(fields[7..11], ["-", "-", "4", "6"]);
    assert_eq!(fields[11..], ["- - - ", "-", "-", "-"]);
}

// Conformance: C8.3
#[test]
fn what_was_sent_to_no_instance_has_no_times() {
    for (listener, is_http) in [("protocol: http", true), ("protocol: tcp", false)] {
        let (weir, path) = weir(free_port(), listener);
        let mut client = weir.client();
        client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        client.to_end();
        let line = lines(&path, 1).remove(0);
        let fields = fields(&line);
        assert_eq!(fields[3..7], ["-", "-1", "-1", "-1"], "{line}");
        assert_eq!(fields[7], if is_http { "503" } else { "-" }, "{line}");
    }
}

#[test]
fn a_line_says_how_a_client_has_spoken_tls() {
    let http = FakeTarget::answering("fine");
    let tcp = FakeTarget::behaving(|_, stream| {
        respond(stream, 200, "fine");
        false
    });
    let secured = "certificates: { certificate: shop.pem, key: shop.key }";
    for (target, listener) in
        [(&http, "protocol: https, instance_protocol: http"), (&tcp, "protocol: ssl, instance_protocol: tcp")]
    {
        let (weir, path) = weir(target.addr().port(), &format!("{listener}, {secured}"));
        weir.wait_until_healthy();
        TlsClient::default().shake_hands(weir.listener(0), "shop.example").unwrap();
        let line = lines(&path, 1).remove(0);
        let fields = fields(&line);
        assert!(fields[13].starts_with("ECDHE-") && fields[14] == "TLSv1.2", "{line}");
    }
}

// Conformance: C8.4
#[test]
fn requests_and_their_ends_are_counted() {
    let target = FakeTarget::behaving(|received, stream| {
        let status =
            received.request_line.split('/').nth(1).and_then(|path| path.split(' ').next()?.parse().ok());
        respond(stream, status.unwrap_or(200), "")
    });
    let (weir, _) = weir(target.addr().port(), "protocol: http");
    weir.wait_until_healthy();
    for path in ["/200", "/301", "/404", "/500"] {
        weir.get(path);
    }
    weir.client().ask("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n");
    target.kill();
    wait_until("nobody is in service", || !weir.member(target.addr()).unwrap().health.is_healthy());
    weir.get("/");
    let count = |name: &str, label: &str| -> f64 {
        let page = weir.admin("/metrics").body;
        let lines = page.lines().filter(|line| line.starts_with(name) && line.contains(label));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    };
    let is = |value: f64, expected: f64| (value - expected).abs() < 0.1;
    for class in ["2xx", "3xx", "4xx", "5xx"] {
        let backend = count("weir_responses_total", &format!("source=\"target\",class=\"{class}\""));
        assert!(is(backend, 1.0), "HTTPCode_Backend_{class} is {backend}");
    }
    for (class, name) in [("4xx", "HTTPCode_ELB_4XX"), ("5xx", "HTTPCode_ELB_5XX")] {
        assert!(
            is(count("weir_responses_total", &format!("source=\"weir\",class=\"{class}\"")), 1.0),
            "{name}"
        );
    }
    assert!(is(count("weir_target_picks_total", ""), 4.0), "RequestCount");
    assert!(is(count("weir_target_response_time_seconds_count", ""), 4.0), "Latency");
}
