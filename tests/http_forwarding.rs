//! What a target receives, and what a client gets back.

use std::io::Write;

use weir_tests::target::{read_chunk, respond};
use weir_tests::yaml::{application, forwarding_to, group};
use weir_tests::{FakeTarget, Weir};

// Conformance: A6.15, A6.28, A6.29, A6.42, A6.45
#[test]
fn a_target_learns_who_the_client_is() {
    let target = FakeTarget::answering("");
    let weir = Weir::start_healthy(&forwarding_to(&[&target]));
    weir.client()
        .ask("GET /path?q=1 HTTP/1.1\r\nHost: A.Example\r\nX-Mine: kept\r\nConnection: close\r\n\r\n");
    let received = target.last();
    let port = weir.listener(0).port();
    assert_eq!(received.request_line, "GET /path?q=1 HTTP/1.1");
    assert_eq!(received.header("host"), format!("a.example:{port}"));
    assert_eq!(received.header("x-forwarded-for"), "127.0.0.1");
    assert_eq!(received.header("x-forwarded-proto"), "http");
    assert_eq!(received.header("x-forwarded-port"), port.to_string());
    assert_eq!(received.header("x-mine"), "kept");
    let trace = received.header("x-amzn-trace-id");
    assert!(
        trace.starts_with("Root=1-") && trace.len() == "Root=1-58337262-36d228ad5d99923122bbe354".len(),
        "{trace}"
    );
}

// Conformance: A6.36, A6.41, A6.46
#[test]
fn the_client_s_address_joins_those_that_came_with_the_request() {
    let target = FakeTarget::answering("");
    let weir = Weir::start_healthy(&forwarding_to(&[&target]));
    let headers = "X-Forwarded-For: 203.0.113.7\r\nX-Forwarded-For: 198.51.100.2\r\nX-Forwarded-Proto: https\r\n\
                   X-Amzn-Trace-Id: Root=1-67891233-abcdef012345678912345678;CalledFrom=app\r\n";
    weir.client().ask(format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{headers}\r\n"));
    let received = target.last();
    assert_eq!(received.header("x-forwarded-for"), "203.0.113.7, 198.51.100.2, 127.0.0.1");
    assert_eq!(received.header("x-forwarded-proto"), "http");
    let trace = received.header("x-amzn-trace-id");
    assert!(trace.starts_with("Self=1-"), "{trace}");
    assert!(trace.ends_with(";Root=1-67891233-abcdef012345678912345678;CalledFrom=app"), "{trace}");
}

#[test]
fn headers_that_concern_one_connection_stop_there() {
    let target = FakeTarget::behaving(|_, stream| {
        let _ = stream.write_all(
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: x-inner\r\nX-Inner: 1\r\nKeep-Alive: timeout=5\r\nX-Outer: 2\r\n\r\nok",
        );
        true
    });
    let weir = Weir::start_healthy(&forwarding_to(&[&target]));
    let headers = "Connection: keep-alive, x-hop, authorization\r\nX-Hop: 1\r\nKeep-Alive: 1\r\nTE: trailers\r\n\
                   Proxy-Connection: x\r\nUpgrade: nothing\r\nAuthorization: kept\r\n";
    let reply = weir.client().ask(format!("GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n"));
    let received = target.last();
    for name in ["connection", "x-hop", "keep-alive", "te", "proxy-connection", "upgrade"] {
        assert!(!received.has(name), "the target got {name}: {}", received.header(name));
    }
    assert_eq!(received.header("authorization"), "kept", "a client must not be able to strip it");
    assert_eq!((reply.header("x-inner"), reply.header("keep-alive")), ("", ""));
    assert_eq!(reply.header("x-outer"), "2");
}

// Conformance: A6.21
#[test]
fn bodies_stream_both_ways_before_they_are_whole() {
    let target = FakeTarget::behaving(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        while let Some(chunk) = read_chunk(stream) {
            let _ = write!(stream, "{:x}\r\n{}\r\n", chunk.len(), String::from_utf8_lossy(&chunk));
        }
        let _ = stream.write_all(b"0\r\n\r\n");
        true
    });
    let weir = Weir::start_healthy(&forwarding_to(&[&target]));
    let mut client = weir.client();
    client.send(
        "POST / HTTP/1.1\r\nHost: a\r\nX-Leave-Body: 1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n",
    );
    assert_eq!(client.head().unwrap().status, 200);
    assert_eq!((client.line().unwrap().as_str(), client.line().unwrap().as_str()), ("5", "first"));
    client.send("6\r\nsecond\r\n0\r\n\r\n");
    assert_eq!((client.line().unwrap().as_str(), client.line().unwrap().as_str()), ("6", "second"));
    assert_eq!(client.line().unwrap(), "0");
}

#[test]
fn a_large_body_arrives_unchanged_in_both_directions() {
    let target = FakeTarget::behaving(|received, stream| {
        respond(stream, 200, &String::from_utf8_lossy(&received.body))
    });
    let weir = Weir::start_healthy(&forwarding_to(&[&target]));
    let body = (0..400_000).map(|number| format!("{number:06} ")).collect::<Vec<_>>().concat();
    let mut client = weir.client();
    let request = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let sent = std::thread::scope(|scope| {
        let reply = scope.spawn(|| client.ask(request));
        reply.join().unwrap()
    });
    assert!(sent.body == body, "{} of {} bytes came back", sent.body.len(), body.len());
    assert_eq!(target.last().header("content-length"), body.len().to_string());
}

// Conformance: A6.15, A6.17
#[test]
fn a_connection_to_a_target_serves_one_request_after_another() {
    let target = FakeTarget::answering("x");
    let weir = Weir::start_healthy(&format!("workers: 1\n{}", forwarding_to(&[&target])));
    let mut client = weir.client();
    for _ in 0..5 {
        assert_eq!(client.get("/").status, 200);
    }
    assert_eq!(weir.client().get("/").status, 200, "another client's too");
    assert_eq!(target.connections() - target.probes(), 1);
}

// Conformance: A6.16
#[test]
fn pipelined_requests_are_answered_in_order() {
    let target = FakeTarget::behaving(|received, stream| respond(stream, 200, &received.request_line));
    let weir = Weir::start_healthy(&forwarding_to(&[&target]));
    let mut client = weir.client();
    client.send("GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.reply().body, "GET /1 HTTP/1.1");
    assert_eq!(client.reply().body, "GET /2 HTTP/1.1");
}

#[test]
fn answers_without_a_body_stay_without_one() {
    let target = FakeTarget::behaving(|received, stream| {
        let answer: &[u8] = if received.request_line.starts_with("HEAD") {
            b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n"
        } else if received.request_line.contains("/204") {
            b"HTTP/1.1 204 No Content\r\n\r\n"
        } else {
            b"HTTP/1.1 304 Not Modified\r\nETag: \"1\"\r\n\r\n"
        };
        let _ = stream.write_all(answer);
        true
    });
    let weir = Weir::start_healthy(&forwarding_to(&[&target]));
    let mut client = weir.client();
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    let head = client.head().unwrap();
    assert_eq!((head.status, head.header("content-length")), (200, "1234"));
    assert_eq!(client.get("/204").status, 204);
    assert_eq!(client.get("/304").header("etag"), "\"1\"");
}

// Conformance: A6.18
#[test]
fn a_client_that_waits_for_100_continue_gets_it_and_the_target_does_not_see_the_question() {
    let target = FakeTarget::answering("ok");
    let weir = Weir::start_healthy(&forwarding_to(&[&target]));
    let mut client = weir.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    assert_eq!(client.head().unwrap().status, 100);
    client.send("body");
    assert_eq!(client.reply().body, "ok");
    assert!(!target.last().has("expect"));
    assert_eq!(target.last().body, b"body");
}

// Conformance: A6.14
#[test]
fn a_client_of_http_1_0_needs_no_host_and_gets_its_connection_closed() {
    let target = FakeTarget::answering("old");
    let weir = Weir::start_healthy(&forwarding_to(&[&target]));
    let mut client = weir.client();
    assert_eq!(client.ask("GET / HTTP/1.0\r\n\r\n").body, "old");
    assert!(client.is_closed());
    assert_eq!(target.last().header("host"), weir.listener(0).to_string());
}

#[test]
fn an_answer_that_ends_with_its_connection_is_passed_on_whole() {
    let target = FakeTarget::behaving(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nuntil the end");
        false
    });
    let weir = Weir::start_healthy(&forwarding_to(&[&target]));
    assert_eq!(weir.client().get("/").body, "until the end");
}

// Conformance: A7.34
#[test]
fn an_answer_that_breaks_off_is_not_passed_off_as_whole() {
    let target = FakeTarget::behaving(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this");
        false
    });
    let weir = Weir::start_healthy(&forwarding_to(&[&target]));
    let mut client = weir.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!(client.try_reply(), None, "the connection must end before the announced length");
}

// Conformance: A5.0.6, A5.0.8, A5.0.9, A6.32, A6.38, A6.39
#[test]
fn x_forwarded_for_is_appended_to_kept_or_removed_and_host_kept_as_the_settings_want_it() {
    let told = |settings: &str, headers: &str| {
        let target = FakeTarget::answering("");
        let listener = "default_action: { forward: web }";
        let weir = Weir::start_healthy(&application(&[group("web", "", &[&target])], settings, listener));
        let mut client = weir.client();
        let reply = client.ask(format!("GET / HTTP/1.1\r\nHost: A.example\r\n{headers}\r\n"));
        assert_eq!(reply.status, 200, "{settings}");
        let (asked, port) = (target.last(), weir.listener(0).port().to_string());
        assert_eq!(asked.header("x-forwarded-port"), port, "{settings}");
        assert_eq!(asked.header("x-forwarded-proto"), "http", "{settings}");
        let list = asked.header("x-forwarded-for").replace(&client.addr().to_string(), "client:port");
        (list, asked.header("host").replace(&port, "port"))
    };
    let came = "X-Forwarded-For: 192.0.2.1, 192.0.2.2\r\nX-Forwarded-Port: 1\r\n";
    for (settings, fresh, joined) in [
        ("", "127.0.0.1", "192.0.2.1, 192.0.2.2, 127.0.0.1"),
        ("xff_client_port: true", "client:port", "192.0.2.1, 192.0.2.2, client:port"),
        ("xff_header_processing_mode: preserve, xff_client_port: true", "", "192.0.2.1, 192.0.2.2"),
        ("xff_header_processing_mode: remove", "", ""),
    ] {
        assert_eq!(told(settings, "").0, fresh, "{settings}");
        assert_eq!(told(settings, came).0, joined, "{settings}");
    }
    assert_eq!(told("", "").1, "a.example:port");
    assert_eq!(told("preserve_host_header: true", "").1, "A.example");
}

// Conformance: A6.49
#[test]
fn of_a_request_with_more_than_seven_kilobytes_of_fields_no_trace_is_kept() {
    let target = FakeTarget::answering("web");
    let weir = Weir::start_healthy(&forwarding_to(&[&target]));
    let mut client = weir.client();
    let mut traced = |bytes: usize| {
        let padding = "x".repeat(bytes);
        client.ask(format!(
            "GET / HTTP/1.1\r\nHost: a\r\nX-Amzn-Trace-Id: Root=1-67891233-abcdef012345678912345678;k=v\r\nX-Long: {padding}\r\n\r\n"
        ));
        target.last().header("x-amzn-trace-id").to_owned()
    };
    assert!(traced(6000).contains("Root=1-67891233-abcdef012345678912345678;k=v"));
    let anew = traced(7200);
    assert!(
        anew.starts_with("Root=1-") && !anew.contains("abcdef012345678912345678") && !anew.contains("k=v"),
        "{anew}"
    );
}
