//! How connections of HTTP/1.1 go on and end, on either side.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use weir_control::Origin;
use weir_tests::target::{read_chunk, respond};
use weir_tests::tls::Pair;
use weir_tests::yaml::{application, forwarding_to, group, group_of};
use weir_tests::{Client, FakeTarget, Folder, Weir, loopback, run, wait_until};

use crate::access_log::{fields, lines};

fn weir(target: &FakeTarget) -> Weir {
    Weir::start_healthy(&forwarding_to(&[target]))
}

/// A connection of one worker is used again by the next request.
fn one_worker(target: &FakeTarget) -> Weir {
    Weir::start_healthy(&format!("workers: 1\n{}", forwarding_to(&[target])))
}

#[test]
fn a_client_that_ends_its_side_gets_its_answer() {
    let target = FakeTarget::behaving(|received, stream| {
        respond(stream, 200, &String::from_utf8_lossy(&received.body))
    });
    let weir = weir(&target);
    for request in [
        "GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    ] {
        let mut client = weir.client();
        client.send(request);
        client.finish();
        let reply = client.reply();
        assert_eq!((reply.status, reply.body.is_empty()), (200, request.starts_with("GET")), "{request:?}");
        assert!(client.is_closed());
    }
}

// Conformance: A7.2
#[test]
fn a_client_that_ends_its_side_within_a_body_breaks_it_off() {
    let target = FakeTarget::answering("whole");
    let weir = weir(&target);
    let mut client = weir.client();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 50\r\n\r\nhalf");
    client.finish();
    assert_eq!(client.reply().status, 400);
    assert!(client.is_closed());
}

#[test]
fn a_client_that_goes_away_frees_the_target() {
    let began = Arc::new(AtomicUsize::new(0));
    let counting = began.clone();
    let target = FakeTarget::behaving(move |_, stream| {
        counting.fetch_add(1, Relaxed);
        // Until weir hangs up.
        let _ = stream.read(&mut [0]);
        false
    });
    let yaml =
        application(&[group("web", "", &[&target])], "idle_timeout: 8s", "default_action: { forward: web }");
    let weir = Weir::start_healthy(&yaml);
    let mut client = Client::connect_from(loopback(weir_tests::free_port()), weir.listener(0));
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    wait_until("the target has the request", || began.load(Relaxed) == 1);
    // With a reset: an end alone might still wait for its answer.
    drop(client);
    wait_until("the target is free", || weir.metric("weir_target_in_flight") < 0.1);
}

// Conformance: A5.0.18, A5.0.19
#[test]
fn a_connection_that_has_lasted_as_long_as_it_may_ends_with_its_next_answer() {
    let target = FakeTarget::answering("web");
    // Shorter than a configuration may have it.
    let yaml =
        application(&[group("web", "", &[&target])], "idle_timeout: 2s", "default_action: { forward: web }");
    let weir = Weir::start_in(Folder::new(), &yaml, |setup| {
        if let Origin::Configuration { config, .. } = &mut setup.origin {
            for balancer in &mut Arc::make_mut(config).definitions.load_balancers {
                balancer.http.client_keep_alive = Duration::from_millis(300);
            }
        }
    });
    weir.wait_until_healthy();
    let mut client = weir.client();
    let mut replies = 0;
    loop {
        let reply = client.get("/");
        replies += 1;
        assert_eq!(reply.body, "web");
        if reply.header("connection") == "close" {
            break;
        }
    }
    assert!(client.is_closed() && replies > 1, "{replies} answers");
}

// Conformance: A6.5
#[test]
fn a_client_of_http_1_0_keeps_its_connection_if_it_asks_for_that() {
    let target = FakeTarget::answering("old");
    let weir = weir(&target);
    let mut client = weir.client();
    for _ in 0..3 {
        let reply = client.ask("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!((reply.body.as_str(), reply.header("connection")), ("old", "keep-alive"));
    }
    assert_eq!(client.ask("GET / HTTP/1.0\r\n\r\n").header("connection"), "close");
    assert!(client.is_closed());
}

#[test]
fn a_client_of_http_1_0_gets_a_body_of_unknown_length_up_to_the_end_of_its_connection() {
    let target = FakeTarget::behaving(|_, stream| {
        let _ = stream.write_all(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n again\r\n0\r\n\r\n",
        );
        true
    });
    let weir = weir(&target);
    let mut client = weir.client();
    let reply = client.ask("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!((reply.body.as_str(), reply.header("transfer-encoding")), ("hello again", ""));
}

#[test]
fn such_a_body_that_breaks_off_ends_with_a_reset() {
    let target = FakeTarget::behaving(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
        false
    });
    let weir = weir(&target);
    let mut stream = std::net::TcpStream::connect(weir.listener(0)).unwrap();
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
    let error =
        stream.read_to_end(&mut Vec::new()).expect_err("no end that could pass for the end of the body");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn a_client_that_says_close_gets_its_connection_closed() {
    let target = FakeTarget::answering("web");
    let weir = weir(&target);
    let mut client = weir.client();
    client
        .send("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\nGET /more HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(client.reply().header("connection"), "close");
    assert!(client.is_closed());
    assert_eq!(target.received().len(), 1, "what follows is not asked");
}

#[test]
fn a_target_that_ends_its_side_after_its_answer_is_not_asked_again_on_that_connection() {
    let target = FakeTarget::behaving(|_, stream| {
        respond(stream, 200, "once");
        let _ = stream.shutdown(Shutdown::Write);
        // It still reads, so that a request sent here would be lost.
        while let Ok(1..) = stream.read(&mut [0; 64]) {}
        false
    });
    let weir = one_worker(&target);
    let mut client = weir.client();
    for _ in 0..5 {
        assert_eq!(client.get("/").body, "once");
    }
}

#[test]
fn a_target_that_says_close_is_not_asked_again_on_that_connection() {
    let target = FakeTarget::behaving(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
        true
    });
    let weir = one_worker(&target);
    let before = target.connections() - target.probes();
    let mut client = weir.client();
    for _ in 0..3 {
        let reply = client.get("/");
        assert_eq!((reply.body.as_str(), reply.header("connection")), ("ok", ""), "the client's goes on");
    }
    assert_eq!(target.connections() - target.probes() - before, 3);
}

#[test]
fn a_target_of_http_1_0_is_served_on_connections_of_one_request() {
    let target = FakeTarget::behaving(|_, stream| {
        let _ = stream.write_all(b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok");
        true
    });
    let weir = one_worker(&target);
    let mut client = weir.client();
    for _ in 0..3 {
        assert_eq!(client.get("/").body, "ok");
    }
}

// Conformance: A7.41
#[test]
fn an_idle_connection_that_its_target_closed_costs_no_request_of_any_method() {
    let target = FakeTarget::behaving(|received, stream| {
        respond(stream, 200, &received.request_line);
        received.request_line.contains("/stay")
    });
    let weir = one_worker(&target);
    let mut client = weir.client();
    for _ in 0..20 {
        assert_eq!(client.get("/leave").status, 200);
        let known = target.connections();
        // The close has come by the time that anybody could ask again.
        assert_eq!(client.get("/").status, 200);
        assert!(target.connections() >= known);
    }
}

#[test]
fn nobody_waits_for_100_continue_that_weir_answers_itself() {
    let listener = "default_action: { fixed_response: { status_code: 403 } }";
    let weir = Weir::start(&application(&[], "", listener).replace("target_groups:\n", ""));
    let mut client = weir.client();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1000000\r\n\r\n");
    let head = client.line().unwrap();
    assert!(head.starts_with("HTTP/1.1 403 "), "no upload for nothing: {head}");
}

#[test]
fn a_client_that_sends_slowly_what_a_target_answered_early_gets_the_answer() {
    let target = FakeTarget::behaving(|_, stream| {
        respond(stream, 413, "too much");
        false
    });
    let weir = weir(&target);
    let mut client = weir.client();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nX-Leave-Body: 1\r\nTransfer-Encoding: chunked\r\n\r\n");
    let block = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    for _ in 0..64 {
        client.send(&block);
    }
    let reply = client.reply();
    assert_eq!((reply.status, reply.body.as_str()), (413, "too much"));
}

#[test]
fn a_target_that_wants_all_of_the_request_before_it_answers_gets_it_from_a_client_that_reads_late() {
    let target = FakeTarget::behaving(|_, stream| {
        // More than fits between weir and a client that does not read.
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        let block = format!("10000\r\n{}\r\n", "y".repeat(0x10000));
        let mut writer = stream.try_clone().unwrap();
        let writing = std::thread::spawn(move || {
            for _ in 0..128 {
                let _ = writer.write_all(block.as_bytes());
            }
        });
        while read_chunk(stream).is_some() {}
        writing.join().unwrap();
        let _ = stream.write_all(b"0\r\n\r\n");
        true
    });
    let weir = weir(&target);
    let mut client = weir.client();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nX-Leave-Body: 1\r\nTransfer-Encoding: chunked\r\n\r\n");
    let block = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
    for _ in 0..256 {
        client.send(&block);
    }
    client.send("0\r\n\r\n");
    assert_eq!(client.reply().body.len(), 128 * 0x10000);
}

/// A weir that speaks TLS, before a target that does not: what another weir has for a target.
fn secure_target(target: &FakeTarget) -> Weir {
    let folder = Folder::new();
    Pair::new(&["inner.example"]).write(&folder, "inner");
    let listener = "protocol: https, certificates: { certificate: inner.pem, key: inner.key }, default_action: { forward: web }";
    let weir = Weir::start_in(folder, &application(&[group("web", "", &[target])], "", listener), |_| {});
    weir.wait_until_healthy();
    weir
}

// Conformance: A1.17, A1.18
#[test]
fn targets_may_speak_tls_whoever_vouches_for_them() {
    let target = FakeTarget::behaving(|received, stream| {
        respond(stream, 200, &String::from_utf8_lossy(&received.body))
    });
    let inner = secure_target(&target);
    let place = format!("{{ address: 127.0.0.1, port: {} }}", inner.listener(0).port());
    for version in ["http1", "http2"] {
        let groups = [group_of("web", &format!("protocol: https, protocol_version: {version}"), &place)];
        let outer = Weir::start_healthy(&application(
            &groups,
            "http2_prior_knowledge: true",
            "default_action: { forward: web }",
        ));
        let body = "0123456789".repeat(100_000);
        let reply = run(async {
            let mut client = weir_tests::Http2Client::connect(outer.listener(0)).await;
            let (response, mut stream) = client.begin(weir_tests::http2::request("POST", "/"), false).await;
            let (_, reply) = tokio::join!(
                weir_tests::http2::send(&mut stream, body.as_bytes(), true),
                weir_tests::http2::answer(response)
            );
            reply.unwrap()
        });
        assert!(reply.text() == body, "{version}: {} bytes came back, {}", reply.body.len(), reply.status);
        let received = target.last();
        assert_eq!(received.header("x-forwarded-proto"), "https", "the inner one's client speaks TLS");
        assert_eq!(received.header("x-forwarded-for"), "127.0.0.1, 127.0.0.1");
    }
}

// Conformance: A7.27
#[test]
fn a_target_that_speaks_no_tls_is_502_where_it_should() {
    let target = FakeTarget::echoing("220 this is no TLS");
    let groups = [group_of("web", "protocol: https", &target.yaml())];
    let weir = Weir::start(&application(&groups, "", "default_action: { forward: web }"));
    assert_eq!(weir.get("/").status, 502);
}

// Conformance: A7.28
#[test]
fn a_target_that_takes_connections_and_says_nothing_is_504_in_every_protocol() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let place = format!("{{ address: 127.0.0.1, port: {} }}", silent.local_addr().unwrap().port());
    for settings in
        ["", "protocol: https", "protocol: https, protocol_version: http2", "protocol_version: http2"]
    {
        let groups = [group_of("web", settings, &place)];
        let settings_of_all = "idle_timeout: 1s, http2_prior_knowledge: true";
        let weir = Weir::start(&application(&groups, settings_of_all, "default_action: { forward: web }"));
        let reply = run(async { weir_tests::Http2Client::connect(weir.listener(0)).await.get("/").await });
        assert_eq!(reply.status, 504, "{settings}, by HTTP/2");
        if !settings.contains("http2") {
            assert_eq!(weir.get("/").status, 504, "{settings}, by HTTP/1.1");
        }
    }
}

// Conformance: A7.15
#[test]
fn a_client_that_goes_away_is_460_in_the_log() {
    let folder = Folder::new();
    let path = folder.path().join("access.log");
    let target = FakeTarget::behaving(|_, stream| {
        // Until weir hangs up.
        let _ = stream.read(&mut [0]);
        false
    });
    let settings = format!("idle_timeout: 8s, access_log: {{ path: {} }}", path.display());
    let groups = [group("web", "", &[&target])];
    let weir = Weir::start_healthy(&application(&groups, &settings, "default_action: { forward: web }"));
    let mut client = Client::connect_from(loopback(weir_tests::free_port()), weir.listener(0));
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    wait_until("the target has the request", || target.received().len() == 1);
    // With a reset: an end alone might still wait for its answer.
    drop(client);
    let line = fields(&lines(&path, 1)[0]);
    assert_eq!(line[8..10], ["460", "-"]);
}
