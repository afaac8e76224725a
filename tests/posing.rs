//! Requests that break proxies, judged at a target that keeps every byte. Here: whom a request comes from, whom it is for,
//! and what it is.

use std::time::Duration;

use weir_tests::yaml::application;
use weir_tests::{Capture, Client, Weir};

use crate::at_the_target::Fate::{Passes, PassesAndCloses, Refused};
use crate::at_the_target::{FORWARD, get, judge, post, weir};

// Conformance: A6.41, A6.42, A6.44
#[test]
fn nobody_can_pose_as_whoever_weir_speaks_for() {
    let target = Capture::new();
    let weir = weir(&target, "", FORWARD);
    weir.client().ask(get!(
        "X_Forwarded_For: 192.0.2.1\r\nX-Forwarded_Proto: https\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Port: 443\r\nX-Amzn-Mtls-Clientcert-Subject: CN=evil\r\nX-Forwarded-For: 192.0.2.9\r\nx-forwarded-for: 192.0.2.8"
    ));
    assert_eq!(target.dirt(), Vec::<String>::new());
    let request = &target.requests()[0];
    assert_eq!(request.values("x-forwarded-for"), ["192.0.2.9, 192.0.2.8, 127.0.0.1"]);
    assert_eq!(request.values("x-forwarded-proto"), ["http"]);
    assert_eq!(request.field("x-forwarded-port"), weir.listener(0).port().to_string());
    assert!(!request.fields.iter().any(|(name, _)| name.contains('_') || name.contains("Mtls")));
}

// Conformance: A6.40, A7.5, A7.16
#[test]
fn forwarders_that_are_too_many_or_no_addresses() {
    let target = Capture::new();
    let weir = weir(&target, "", FORWARD);
    let ask = |value: &str| {
        let status = weir
            .client()
            .ask(format!("GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: {value}\r\n\r\n"))
            .status;
        assert_eq!(target.dirt(), Vec::<String>::new(), "{value}");
        status
    };
    assert_eq!(ask(&vec!["1.1.1.1"; 31].join(", ")), 463);
    assert_eq!(ask(&"1.1.1.1, ".repeat(6000)), 400, "a field of 54 KB");
    assert_eq!(ask(&"a".repeat(60_000)), 400, "a field of 60 KB");
    assert_eq!(ask("1.1.1.1, \0"), 400);
    assert!(target.requests().is_empty());
    assert_eq!(ask(&vec!["1.1.1.1"; 30].join(", ")), 200);
}

// Conformance: A2.1.2, A6.33
#[test]
fn hosts() {
    judge(&[
        (Refused(400), "GET / HTTP/1.1\r\n\r\n"),
        (Refused(400), "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
        (Refused(400), "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"),
        (Refused(400), "GET / HTTP/1.1\r\nHost: a,b\r\n\r\n"),
        (Refused(400), "GET / HTTP/1.1\r\nHost: u@h\r\n\r\n"),
        (Refused(400), "GET / HTTP/1.1\r\nHost: h/x\r\n\r\n"),
        (Refused(400), "GET / HTTP/1.1\r\nHost:\r\n\r\n"),
        (Refused(400), "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
        (Refused(400), "GET / HTTP/1.1\r\nHost: a:x\r\n\r\n"),
        (Refused(400), "GET / HTTP/1.1\r\nHost: a:80:80\r\n\r\n"),
        (Refused(400), "GET / HTTP/1.1\r\nHost: a\\b\r\n\r\n"),
        (Refused(400), "GET / HTTP/1.1\r\nHost: a#b\r\n\r\n"),
        (Refused(400), "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
        (Refused(400), "GET http:///x HTTP/1.1\r\nHost: a\r\n\r\n"),
        (Passes, "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n"),
    ]);
}

// Conformance: A6.31
#[test]
fn an_absolute_uri_wins_over_the_host_for_the_rules_as_for_the_target() {
    let target = Capture::new();
    let listener = format!(
        "rules: [{{ priority: 1, conditions: [{{ host_header: [b.example] }}], actions: [{{ fixed_response: {{ status_code: 403 }} }}] }}], {FORWARD}"
    );
    let weir = weir(&target, "", &listener);
    let ask = |uri: &str, host: &str| {
        weir.client().ask(format!("GET {uri} HTTP/1.1\r\nHost: {host}\r\n\r\n")).status
    };
    assert_eq!(ask("http://a.example/x", "b.example"), 200);
    assert_eq!(ask("http://b.example/x", "a.example"), 403);
    let request = &target.requests()[0];
    assert_eq!((request.target.as_str(), request.values("host").len()), ("/x", 1));
    assert!(request.field("host").starts_with("a.example"), "{}", request.field("host"));
    assert_eq!(target.dirt(), Vec::<String>::new());
}

#[test]
fn expectations() {
    judge(&[
        (Refused(417), post!("Expect: y 100-continue\r\nContent-Length: 5", "hello")),
        (Refused(417), post!("Expect: 100-continue, y\r\nContent-Length: 5", "hello")),
        (Refused(417), post!("Expect:\r\nContent-Length: 5", "hello")),
        (Passes, post!("Expect: 100-Continue\r\nContent-Length: 5", "hello")),
        (
            Passes,
            "OPTIONS / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 38\r\n\r\nGET /evil HTTP/1.1\r\nHost: h\r\nX: yyy\r\n\r\n",
        ),
    ]);
}

// Conformance: A6.4, A7.35, A8.14
#[test]
fn versions() {
    judge(&[
        (
            PassesAndCloses,
            "POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n0\r\n\r\nGET /evil HTTP/1.1\r\nHost: h\r\n\r\n",
        ),
        (Refused(400), "GET /\r\n\r\n"),
        (Refused(505), "GET / HTTP/9.9\r\nHost: h\r\n\r\n"),
        (Refused(505), "GET / HTTP/2.0\r\nHost: h\r\n\r\n"),
        (Refused(505), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        (Refused(400), "GET / HTTP/01.1\r\nHost: h\r\n\r\n"),
        (Refused(400), "GET / HTTP/1.1x\r\nHost: h\r\n\r\n"),
        (Refused(400), "GET / http/1.1\r\nHost: h\r\n\r\n"),
        (Refused(400), "GET / HTTPS/1.1\r\nHost: h\r\n\r\n"),
        (Passes, "GET / HTTP/1.2\r\nHost: h\r\n\r\n"),
    ]);
}

// Conformance: A6.7, A6.8, A6.9, A7.10
#[test]
fn methods_that_are_not_for_targets() {
    judge(&[
        (Refused(405), "CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22\r\n\r\n"),
        (Refused(405), "TRACE / HTTP/1.1\r\nHost: h\r\nMax-Forwards: 0\r\n\r\n"),
        (Refused(400), "GET * HTTP/1.1\r\nHost: h\r\n\r\n"),
        (Passes, "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n"),
        (Passes, "PURGE / HTTP/1.1\r\nHost: h\r\n\r\n"),
    ]);
}

#[test]
fn fields_that_a_client_calls_the_connection_s() {
    judge(&[
        (
            Refused(400),
            post!("Connection: close, Transfer-Encoding\r\nTransfer-Encoding: chunked", "0\r\n\r\n"),
        ),
        (Refused(400), post!("Connection: Content-Length\r\nContent-Length: 5", "hello")),
        (Refused(400), get!("Connection: host")),
    ]);
    let target = Capture::new();
    let weir = weir(&target, "", FORWARD);
    weir.client().ask(get!(
        "Connection: X-Forwarded-For, authorization, Cookie, X-Mine, keep-alive\r\nAuthorization: kept\r\nCookie: kept=1\r\nX-Mine: gone\r\nKeep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: trailers, gzip\r\nTrailer: x"
    ));
    assert_eq!(target.dirt(), Vec::<String>::new());
    let request = &target.requests()[0];
    let kept = ["x-forwarded-for", "authorization", "cookie", "x-mine"].map(|name| request.field(name));
    assert_eq!(kept, ["127.0.0.1", "kept", "kept=1", ""]);
}

#[test]
fn a_websocket_that_is_declined_leaves_the_connection_to_http() {
    for status in [200, 426] {
        let target = Capture::answering(move |_| {
            format!("HTTP/1.1 {status} No\r\nContent-Length: 2\r\n\r\nno").into_bytes()
        });
        let listener = format!(
            "rules: [{{ priority: 1, conditions: [{{ path_pattern: [/admin] }}], actions: [{{ fixed_response: {{ status_code: 403 }} }}] }}], {FORWARD}"
        );
        let weir = weir(&target, "", &listener);
        let mut client = weir.client();
        client.send("GET /chat HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 1337\r\n\r\nGET /admin HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(client.reply().status, status);
        assert_eq!(client.reply().status, 403, "what follows is a request, and has its own rule");
        assert_eq!(target.requests().len(), 1);
        assert_eq!(target.dirt(), Vec::<String>::new());
    }
}

#[test]
fn clear_text_http_2_is_never_smuggled_through_an_upgrade() {
    let target = Capture::new();
    let weir = weir(&target, "", FORWARD);
    for upgrade in ["h2c", "H2C", "websocket, h2c", "h2c\r\nUpgrade: websocket"] {
        weir.client().ask(format!(
            "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: {upgrade}\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n"
        ));
        assert_eq!(target.dirt(), Vec::<String>::new(), "{upgrade}");
    }
    assert!(target.requests().iter().all(|request| request.field("upgrade").is_empty()));
}

#[test]
fn a_proxy_s_greeting_where_none_is_expected_is_refused() {
    judge(&[
        (Refused(400), "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"),
        (Refused(400), "PROXY UNKNOWN\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"),
        (Refused(400), "\r\n\r\n\0\r\nQUIT\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"),
    ]);
}

#[test]
fn a_request_goes_to_a_target_of_its_group_whatever_it_names() {
    let other = Capture::new();
    let (there, target) = (other.addr(), Capture::new());
    let weir = weir(&target, "", FORWARD);
    for request in [
        format!("GET http://{there}/ HTTP/1.1\r\nHost: {there}\r\n\r\n"),
        format!("GET / HTTP/1.1\r\nHost: {there}\r\n\r\n"),
        format!(
            "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-Host: {there}\r\nX-Original-URL: http://{there}/\r\n\r\n"
        ),
        "GET http://169.254.169.254/latest/meta-data HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n".to_owned(),
    ] {
        assert_eq!(weir.client().ask(&request).status, 200, "{request:?}");
    }
    assert_eq!((target.requests().len(), other.seen().len()), (4, 0));
}

// Conformance: A2.1.14, A2.1.15
#[test]
fn rules_see_the_normal_form_of_a_path_that_is_sent_as_it_came() {
    let target = Capture::new();
    let listener = format!(
        "rules: [{{ priority: 1, conditions: [{{ path_pattern: [\"/admin*\"] }}], actions: [{{ fixed_response: {{ status_code: 403 }} }}] }}], {FORWARD}"
    );
    let weir = weir(&target, "", &listener);
    for path in [
        "/admin",
        "/admin%2f",
        "/admin?x",
        "/%61dmin",
        "/x/../admin",
        "/./admin",
        "/x/%2e%2e/admin",
        "/../admin",
        "http://h/%61dmin",
    ] {
        assert_eq!(weir.get(path).status, 403, "{path}");
    }
    assert_eq!(target.requests().len(), 0);
    for path in [
        "//admin",
        "/;/admin",
        "/\\admin",
        "/%c0%afadmin",
        "/%2561dmin",
        "/ADMIN",
        "/x/..;/admin",
        "/admin/../%7ex/./%2e",
    ] {
        assert_eq!(weir.get(path).status, 200, "{path}");
        let seen = target.requests();
        assert!(
            seen.iter().any(|request| request.target == path),
            "{path} was decoded, cut or put right: {seen:?}"
        );
    }
    assert_eq!(weir.get("/admin#x").status, 400);
    assert_eq!(target.dirt(), Vec::<String>::new());
}

// Conformance: A2.3.19
#[test]
fn nothing_that_a_client_says_ends_a_line_of_a_redirect() {
    let listener = "default_action: { redirect: { host: \"#{host}\", path: \"/x/#{path}\", query: \"#{query}\", status_code: HTTP_302 } }";
    let weir = Weir::start(&application(&[], "", listener).replace("target_groups:\n", ""));
    let reply = weir.get("/%0d%0aSet-Cookie:x=1?%0aa:b");
    assert!(reply.header("location").ends_with("/%0d%0aSet-Cookie:x=1?%0aa:b"), "{reply:?}");
    assert_eq!(reply.header("set-cookie"), "");
    for path in ["/\rSet-Cookie:x=1", "/\nSet-Cookie:x=1", "/\tx"] {
        let reply = weir.client().ask(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert_eq!((reply.status, reply.header("set-cookie")), (400, ""), "{path:?}");
    }
}

#[test]
fn a_head_that_drips_has_an_absolute_deadline() {
    let target = Capture::new();
    let weir = weir(&target, "idle_timeout: 1s", FORWARD);
    let mut client = weir.client();
    client.send("GET / HTTP/1.1\r\nHost: h\r\n");
    let began = tokio::time::Instant::now();
    let mut dripped = 0;
    while !client.has_something() {
        client.send(format!("X-{dripped}: y\r\n"));
        dripped += 1;
        assert!(began.elapsed() < Duration::from_secs(10), "bytes keep the connection open");
    }
    assert_eq!(client.reply().status, 408);
    assert!(client.is_closed() && dripped > 1);
    assert!(target.requests().is_empty());
}

// Conformance: A6.16
#[test]
fn requests_that_follow_each_other_stay_apart() {
    let target = Capture::new();
    let weir = weir(&target, "", FORWARD);
    let mut client = Client::connect(weir.listener(0));
    let requests = [
        post!("Content-Length: 5", "hello"),
        post!("Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n"),
        get!("X: y"),
        "\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n",
    ];
    // Cut anywhere, since the kernel may.
    for piece in requests.concat().as_bytes().chunks(7) {
        client.send(piece);
    }
    for request in requests {
        assert_eq!(client.reply().body, "fine", "{request:?}");
    }
    assert_eq!(target.dirt(), Vec::<String>::new());
    assert_eq!(target.requests().len(), requests.len());
}

// Conformance: A6.35, A6.50
#[test]
fn names_keep_their_case_and_the_trace_is_for_targets_alone() {
    let target = Capture::new();
    let weir = weir(&target, "", FORWARD);
    let reply = weir.client().ask(get!("x-MiXed: 1"));
    assert_eq!(reply.header("x-amzn-trace-id"), "");
    let request = &target.requests()[0];
    assert!(request.fields.iter().any(|(name, _)| name == "x-MiXed"), "{request:?}");
    assert!(request.field("x-amzn-trace-id").starts_with("Root=1-"), "{request:?}");
}
