//! What weir answers by itself, and with which status.

use std::io::Write;

use weir_tests::target::respond;
use weir_tests::yaml::{application, forwarding_to, group};
use weir_tests::{Client, FakeTarget, Weir};

// Conformance: A6.8, A6.20, A6.40, A6.57, A7.1, A7.5, A7.12, A7.16, A7.21
#[test]
fn a_malformed_request_gets_its_status_and_never_reaches_a_target() {
    let target = FakeTarget::answering("reached");
    let weir = Weir::start_healthy(&forwarding_to(&[&target]));
    let forwarders = vec!["10.0.0.1"; 31].join(", ");
    let cases = [
        (400, "no host", "GET / HTTP/1.1\r\n\r\n".to_owned()),
        (400, "two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".to_owned()),
        (400, "a list of hosts", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n".to_owned()),
        (400, "no request line", "hello\r\n\r\n".to_owned()),
        (400, "a space in the path", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
        (400, "a length that is no number", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\nx".to_owned()),
        (400, "two lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx".to_owned()),
        (400, "two transfer codings", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned()),
        (501, "a transfer coding that is not chunked", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n".to_owned()),
        (400, "a list of transfer codings", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n".to_owned()),
        (405, "CONNECT", "CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n".to_owned()),
        (405, "TRACE", "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
        (463, "too many forwarders", format!("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {forwarders}\r\n\r\n")),
        (400, "a head that is too large", format!("GET / HTTP/1.1\r\nHost: a\r\nX-Long: {}\r\n\r\n", "x".repeat(65_536))),
    ];
    for (status, what, request) in cases {
        let mut client = weir.client();
        assert_eq!(client.ask(request).status, status, "{what}");
        assert!(client.is_closed(), "{what}: what follows cannot be trusted to be a request");
    }
    assert!(target.received().is_empty());
    assert_eq!(weir.get("/").body, "reached", "weir goes on");
}

// Conformance: A8.3, A8.5, A11.26
#[test]
fn an_ambiguous_request_passes_without_what_makes_it_so_and_ends_both_connections() {
    for (what, request, hidden) in [
        ("a field without a colon", "GET / HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n", "nonsense"),
        (
            "a space before the colon",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length : 1\r\n\r\n",
            "content-length ",
        ),
        ("a look-alike", "GET / HTTP/1.1\r\nHost: a\r\nContent_Length: 1\r\n\r\n", "content_length"),
        (
            "chunks in HTTP/1.0",
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n0\r\n\r\n",
            "-",
        ),
    ] {
        let target = FakeTarget::answering("reached");
        let weir = Weir::start_healthy(&forwarding_to(&[&target]));
        let mut client = weir.client();
        assert_eq!(client.ask(request).body, "reached", "{what}");
        assert!(client.is_closed(), "{what}: what follows cannot be trusted to be a request");
        assert!(!target.last().has(hidden), "{what}");
        let connections = target.connections();
        weir.get("/");
        assert_eq!(
            target.connections(),
            connections + 1,
            "{what}: the target's connection is not used again"
        );
        assert!(weir.metric("weir_requests_non_compliant_total") > 0.0, "{what}: it is counted");
    }
}

#[test]
fn a_length_beside_chunks_does_not_reach_the_target() {
    let target = FakeTarget::behaving(|received, stream| {
        respond(stream, 200, &String::from_utf8_lossy(&received.body))
    });
    let weir = Weir::start_healthy(&forwarding_to(&[&target]));
    let smuggled = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nSMUGGLED\r\n0\r\n\r\n";
    let reply = weir.client().ask(smuggled);
    assert_eq!(
        (reply.status, reply.body.as_str()),
        (200, "SMUGGLED"),
        "chunks win, as RFC 9112 section 6.3 has it"
    );
    let received = target.last();
    assert!(!(received.has("content-length") && received.has("transfer-encoding")));
}

// Conformance: A2.3.20, A7.36, A11.25
#[test]
fn a_redirect_whose_location_would_be_too_long_is_507() {
    let redirect = "default_action: { redirect: { path: \"/#{path}\", host: \"#{host}.#{host}\", query: \"#{query}&#{query}&#{query}&#{query}\", status_code: HTTP_302 } }";
    let weir = Weir::start(&application(&[], "", redirect).replace("target_groups:\n", ""));
    let query = "q".repeat(4000);
    assert_eq!(weir.get(&format!("/?{query}")).status, 507);
    assert!(weir.metric(&format!("weir_request_errors_total{{load_balancer=\"edge\",listener=\"{}\",reason=\"redirect_too_long\"}}", weir.listener(0))) > 0.5);
    assert_eq!(weir.get("/?q").status, 302);
}

// Conformance: A7.11
#[test]
fn a_request_that_does_not_arrive_in_time_is_408() {
    let weir = Weir::start(&application(
        &[group("web", "", &[])],
        "idle_timeout: 1s",
        "default_action: { forward: web }",
    ));
    let mut client = weir.client();
    client.send("GET / HTTP/1.1\r\nHost: a");
    let reply = client.reply();
    assert_eq!((reply.status, reply.header("content-type")), (408, "text/html"));
    assert!(reply.body.contains("408 Request Time-out"), "{}", reply.body);
    assert!(client.is_closed());
    assert!(weir.metric("weir_request_errors_total{") > 0.5, "it is counted");
}

// Conformance: A5.0.15, A7.11
#[test]
fn a_silent_connection_is_closed_without_a_word() {
    let weir = Weir::start(&application(
        &[group("web", "", &[])],
        "idle_timeout: 1s",
        "default_action: { forward: web }",
    ));
    assert!(weir.client().is_closed());
}

// Conformance: A5.0.15
#[test]
fn a_connection_that_was_answered_and_falls_silent_is_closed_without_a_word() {
    let fixed = "default_action: { fixed_response: { status_code: 200 } }";
    let weir = Weir::start(&application(&[], "idle_timeout: 1s", fixed).replace("target_groups:\n", ""));
    let mut client = weir.client();
    assert_eq!(client.get("/").status, 200);
    assert!(client.to_end().is_empty(), "nothing that could pass for the next answer");
}

#[test]
fn a_connection_that_weir_itself_answers_is_busy_too() {
    let fixed = "default_action: { fixed_response: { status_code: 200 } }";
    let weir = Weir::start(&application(&[], "idle_timeout: 1s", fixed).replace("target_groups:\n", ""));
    let mut client = weir.client();
    let began = tokio::time::Instant::now();
    while began.elapsed() < std::time::Duration::from_millis(2500) {
        assert_eq!(client.get("/").status, 200);
    }
}

#[test]
fn a_body_that_is_malformed_is_its_client_s_fault() {
    let target = FakeTarget::answering("web");
    let weir = Weir::start_healthy(&application(
        &[group("web", "", &[&target])],
        "",
        "default_action: { forward: web }",
    ));
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    for body in ["zz\r\na\r\n0\r\n\r\n", "-1\r\n\r\n"] {
        assert_eq!(weir.client().ask(format!("{head}{body}")).status, 400, "{body:?}");
    }
    assert_eq!(weir.member(target.addr()).unwrap().target.tally.failed(), 0);
}

// Conformance: A7.11
#[test]
fn a_body_that_stops_coming_is_408() {
    let target = FakeTarget::answering("web");
    let weir = Weir::start_healthy(&application(
        &[group("web", "", &[&target])],
        "idle_timeout: 1s",
        "default_action: { forward: web }",
    ));
    let stopped = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n1";
    assert_eq!(weir.client().ask(stopped).status, 408);
}

// Conformance: A5.0.15, A5.0.17, A6.55, A6.58, A7.33
#[test]
fn a_target_that_does_not_answer_in_time_is_504() {
    let target = FakeTarget::behaving(|_, stream| {
        let mut byte = [0];
        // Until weir gives up.
        let _ = std::io::Read::read(stream, &mut byte);
        false
    });
    let yaml =
        application(&[group("web", "", &[&target])], "idle_timeout: 1s", "default_action: { forward: web }");
    let weir = Weir::start_healthy(&yaml);
    let reply = weir.get("/");
    assert_eq!(reply.status, 504);
    assert!(reply.body.contains("504 Gateway Time-out"), "{}", reply.body);
    assert_eq!(reply.header("server"), "weir");
}

// Conformance: A6.57, A7.25
#[test]
fn a_target_that_answers_nonsense_is_502_and_disturbs_nobody_else() {
    let nonsense = FakeTarget::behaving(|_, stream| {
        let _ = stream.write_all(b"220 this is not HTTP\r\n\r\n");
        true
    });
    let good = FakeTarget::answering("good");
    let groups = [group("bad", "", &[&nonsense]), group("web", "", &[&good])];
    let listener = "rules: [{ priority: 1, conditions: [{ path_pattern: [/bad] }], actions: [{ forward: bad }] }], default_action: { forward: web }";
    let weir = Weir::start_healthy(&application(&groups, "", listener));
    let mut client: Client = weir.client();
    assert_eq!(client.get("/bad").status, 502);
    assert_eq!(client.get("/").body, "good", "the client's connection goes on");
    assert_eq!(nonsense.received().len(), 1, "an answer that came is not asked for again");
    assert!(weir.metric("weir_request_errors_total{") >= 1.0);
}

// Conformance: A4.4.5, A6.56, A7.30
#[test]
fn a_group_without_targets_is_503() {
    let weir = Weir::start(&application(&[group("web", "", &[])], "", "default_action: { forward: web }"));
    let reply = weir.get("/");
    assert_eq!((reply.status, reply.header("content-length")), (503, "162"));
}

// Conformance: A7.14
#[test]
fn a_url_that_is_too_long_is_414() {
    let fixed = "default_action: { fixed_response: { status_code: 200 } }";
    let weir = Weir::start(&application(&[], "", fixed));
    let long = "x".repeat(17_000);
    let mut client = weir.client();
    assert_eq!(client.ask(format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n")).status, 414);
    assert!(client.is_closed());
    assert_eq!(weir.get(&format!("/?{}", &long[..16_000])).status, 200);
}
