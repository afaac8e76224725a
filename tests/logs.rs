//! Logs of connections and of health checks, in an Application Load Balancer's own words.

use std::net::TcpListener;

use weir_tests::http2::request_with;
use weir_tests::tls::{Pair, TlsClient};
use weir_tests::yaml::{application, group, group_of};
use weir_tests::{Browser, Client, FakeTarget, Folder, Http2Client, Http2Target, Weir, run, wait_until};

use crate::access_log::{fields, lines};

const CERTIFICATE: &str = "protocol: https, certificates: { certificate: shop.pem, key: shop.key }, default_action: { fixed_response: { status_code: 200 } }";

fn https(log: &str) -> (Folder, String) {
    let folder = Folder::new();
    Pair::new(&["shop.example"]).write(&folder, "shop");
    (folder, application(&[], log, CERTIFICATE))
}

// Conformance: A5.0.13, A10.17, A10.18
#[test]
fn a_connection_line_has_alb_s_fields_in_alb_s_places_and_a_failed_handshake_has_one_too() {
    let (folder, yaml) = https("connection_log: { path: connections.log }");
    let path = folder.path().join("connections.log");
    let weir = Weir::start_in(folder, &yaml, |_| {});
    let port = weir.listener(0).port().to_string();
    TlsClient::default().shake_hands(weir.listener(0), "shop.example").unwrap();
    let shaken = fields(&lines(&path, 1)[0]);
    assert_eq!(shaken.len(), 13, "{shaken:#?}");
    assert_eq!((shaken[1].as_str(), &shaken[3]), ("127.0.0.1", &port));
    assert!(shaken[4].starts_with("TLSv1.3") && shaken[5].starts_with("TLS_AES"), "{shaken:?}");
    assert!(shaken[6].parse::<f64>().unwrap() >= 0.0);
    assert_eq!(shaken[7..11], ["-", "-", "-", "Success"]);
    assert!(shaken[11].starts_with("TID_") && shaken[12].contains("X25519"), "{shaken:?}");

    let mut client = Client::connect(weir.listener(0));
    client.send("GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n");
    let failed = fields(&lines(&path, 2)[1]);
    assert_eq!(failed[4..6], ["-", "-"]);
    assert_eq!(failed[10], "Failed:UnmappedConnectionError");
}

// Conformance: A10.19
#[test]
fn a_connection_and_its_requests_have_one_name_in_both_logs() {
    let (connections, requests) =
        ("connection_log: { path: connections.log }", "access_log: { path: access.log }");
    let folder = Folder::new();
    let path = folder.path().to_owned();
    let listener = "default_action: { fixed_response: { status_code: 200 } }";
    let yaml = application(&[], &format!("{connections}, {requests}"), listener);
    let weir = Weir::start_in(folder, &yaml, |_| {});
    let mut client = weir.client();
    client.get("/one");
    client.get("/two");
    weir.client().get("/three");
    let connections: Vec<_> =
        lines(&path.join("connections.log"), 2).iter().map(|line| fields(line)).collect();
    let requests: Vec<_> = lines(&path.join("access.log"), 3).iter().map(|line| fields(line)).collect();
    let of = |path: &str| {
        let line = requests.iter().find(|fields| fields[12].contains(path)).unwrap();
        line[29].clone()
    };
    assert_eq!(of("/one"), of("/two"));
    assert_ne!(of("/one"), of("/three"));
    let mut named: Vec<&String> = connections.iter().map(|fields| &fields[11]).collect();
    named.sort();
    let (one, three) = (of("/one"), of("/three"));
    let mut expected = [&one, &three];
    expected.sort();
    assert_eq!(named, expected);
    assert_eq!(connections[0][4..11], ["-"; 7], "nothing of TLS");
}

// Conformance: A5.0.13, A10.20
#[test]
fn a_health_check_has_a_line_whether_it_passes_or_not() {
    let folder = Folder::new();
    let path = folder.path().join("checks.log");
    let (well, sick) = (FakeTarget::answering("well"), FakeTarget::answering("sick"));
    sick.set_health(503);
    let groups = [group("web", "", &[&well, &sick])];
    let yaml =
        application(&groups, "health_check_log: { path: checks.log }", "default_action: { forward: web }");
    let _weir = Weir::start_in(folder, &yaml, |_| {});
    let lines: Vec<_> = lines(&path, 2).iter().map(|line| fields(line)).collect();
    let of =
        |target: &FakeTarget| lines.iter().find(|fields| fields[3] == target.addr().to_string()).unwrap();
    let (passed, failed) = (of(&well), of(&sick));
    assert_eq!((passed.len(), passed[0].as_str()), (8, "http"));
    assert!(passed[2].parse::<f64>().unwrap() > 0.0, "the latency");
    assert_eq!(passed[4..], ["web", "PASS", "200", "-"]);
    assert_eq!(failed[4..], ["web", "FAIL", "503", "TargetError"]);
}

// Conformance: A10.21
#[test]
fn a_health_check_that_fails_has_the_reason_in_its_line() {
    const CHECK: &str = "health_check: { timeout: 1s, interval: 2s }";
    let (folder, calls) = (Folder::new(), Http2Target::answering("calls"));
    let path = folder.path().join("checks.log");
    let [strange, sick, curt] = [404, 503, 0].map(|status| {
        let target = FakeTarget::answering("");
        target.set_health(status);
        target
    });
    let (gone, plain) = (FakeTarget::answering(""), FakeTarget::echoing("no TLS"));
    gone.kill();
    // Its connections are made, and nobody looks at them.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent_addr = silent.local_addr().unwrap();
    let place = format!("{{ address: 127.0.0.1, port: {} }}", silent_addr.port());
    let groups = [
        group("web", CHECK, &[&strange, &sick, &curt, &gone]),
        group_of("silent", CHECK, &place),
        group("secure", &format!("protocol: https, {CHECK}"), &[&plain]),
        group_of("calls", "protocol_version: grpc, health_check: { matcher: 0 }", &calls.yaml()),
    ];
    let all = "{ name: web }, { name: silent }, { name: secure }, { name: calls }";
    let listener = format!("default_action: {{ forward: {{ target_groups: [{all}] }} }}");
    let yaml = application(&groups, "health_check_log: { path: checks.log }", &listener);
    let _weir = Weir::start_in(folder, &yaml, |_| {});
    for (addr, status, reason) in [
        (strange.addr(), "404", "ResponseCodeMismatch"),
        (sick.addr(), "503", "TargetError"),
        (curt.addr(), "-", "ConnectionReset"),
        (gone.addr(), "-", "ConnectionReset"),
        (plain.addr(), "-", "ConnectionReset"),
        (silent_addr, "-", "TimedOut"),
        (calls.addr(), "12", "GRPCUnexpectedStatus"),
    ] {
        let addr = addr.to_string();
        wait_until(&format!("{addr} fails with {status} {reason}"), || {
            let lines: Vec<_> = lines(&path, 1).iter().map(|line| fields(line)).collect();
            lines.iter().any(|line| line[3] == addr && line[5..] == ["FAIL", status, reason])
        });
    }
}

#[test]
fn connections_and_health_checks_are_written_in_json_too() {
    let folder = Folder::new();
    let path = folder.path().to_owned();
    let target = FakeTarget::answering("web");
    let logs =
        "connection_log: { path: c.json, format: json }, health_check_log: { path: h.json, format: json }";
    let yaml = application(&[group("web", "", &[&target])], logs, "default_action: { forward: web }");
    let weir = Weir::start_in(folder, &yaml, |_| {});
    weir.wait_until_healthy();
    let client = weir.client();
    let read =
        |name: &str| -> serde_json::Value { serde_json::from_str(&lines(&path.join(name), 1)[0]).unwrap() };
    let (connection, check) = (read("c.json"), read("h.json"));
    assert_eq!(connection["client"], client.addr().to_string());
    assert_eq!(connection["tls_verify_status"], serde_json::Value::Null);
    assert_eq!((&check["target_group"], &check["passed"]), (&"web".into(), &true.into()));
}

// Conformance: A10.2, A10.8
#[test]
fn a_line_says_what_a_client_spoke_whom_it_asked_for_and_what_it_was_shown() {
    let (folder, yaml) = https("access_log: { path: access.log }");
    let path = folder.path().join("access.log");
    // One worker writes lines in the order of what it does.
    let weir = Weir::start_in(folder, &format!("workers: 1\n{yaml}"), |_| {});
    let mut browser = Browser::default();
    for _ in 0..2 {
        assert_eq!(browser.get(weir.listener(0), "shop.example", "/", "").status, 200);
    }
    run(async {
        let mut client = Http2Client::connect_secure(weir.listener(0), "shop.example").await;
        client.ask(request_with("GET", "/", &[]), b"").await;
        let call = [("content-type", "application/grpc"), ("te", "trailers")];
        client.ask(request_with("POST", "/", &call), b"").await;
    });
    let lines: Vec<_> = lines(&path, 4).iter().map(|line| fields(line)).collect();
    let kinds: Vec<&str> = lines.iter().map(|line| line[0].as_str()).collect();
    assert_eq!(kinds, ["https", "https", "h2", "grpcs"]);
    assert!(lines.iter().all(|line| line[18] == "shop.example"), "{lines:?}");
    assert!(lines[0][19].ends_with("shop.pem"), "{lines:?}");
    assert_eq!(lines[1][19], "session-reused");
}
