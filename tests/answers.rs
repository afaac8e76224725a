//! What targets answer that is not as it should be: clients get 502 or what is clean, and the connection is not used again.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use weir_tests::{Capture, Weir, wait_until};

use crate::at_the_target::{FORWARD, weir};

const FINE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine";

/// A target that answers its first request with `first`, and others as it should; and a weir with one worker before it,
/// so that a connection that is kept is used again.
fn once(first: impl Into<Vec<u8>>) -> (Capture, Weir) {
    let (first, count) = (first.into(), AtomicUsize::new(0));
    let target = Capture::answering(move |_| match count.fetch_add(1, Relaxed) {
        0 => first.clone(),
        _ => FINE.into(),
    });
    let weir = weir(&target, "", FORWARD);
    (target, weir)
}

/// Connections of the target that a weir used for requests, after one more request.
fn connections(target: &Capture, weir: &Weir) -> usize {
    for _ in 0..4 {
        assert_eq!(weir.get("/next").body, "fine");
    }
    target.seen().len()
}

// Conformance: A7.25
#[test]
fn an_answer_that_is_framed_twice_or_not_at_all_is_502() {
    for (what, answer) in [
        (
            "a length and chunks",
            "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n",
        ),
        ("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nevil!"),
        ("a list of lengths", "HTTP/1.1 200 OK\r\nContent-Length: 4, 5\r\n\r\nevil!"),
        ("a length that is no number", "HTTP/1.1 200 OK\r\nContent-Length: +4\r\n\r\nevil"),
        (
            "a length that is too large a number",
            "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\nevil",
        ),
        ("an unknown coding", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nevil"),
        ("chunks in chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
        ("a space before a colon", "HTTP/1.1 200 OK\r\nContent-Length : 4\r\n\r\nevil"),
        ("a bare CR", "HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: evil\r\nContent-Length: 4\r\n\r\nevil"),
        ("NUL in a value", "HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 4\r\n\r\nevil"),
        ("a name that is no token", "HTTP/1.1 200 OK\r\nX(y): a\r\nContent-Length: 4\r\n\r\nevil"),
        ("no status", "HTTP/1.1 OK\r\n\r\n"),
        ("a status of four digits", "HTTP/1.1 2000 OK\r\nContent-Length: 4\r\n\r\nevil"),
        ("another protocol", "220 smtp.example ESMTP\r\n\r\n"),
        ("HTTP/2", "HTTP/2.0 200 OK\r\nContent-Length: 4\r\n\r\nevil"),
        (
            "a switch that nobody asked for",
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nevil",
        ),
    ] {
        let (target, weir) = once(answer);
        let reply = weir.get("/first");
        assert_eq!(reply.status, 502, "{what}: {reply:?}");
        assert!(!reply.body.contains("evil") && reply.header("set-cookie").is_empty(), "{what}: {reply:?}");
        assert_eq!(target.requests().len(), 1, "{what}: an answer that came is not asked for again");
        target.wait_until_closed(what);
    }
}

// Conformance: A6.24, A7.26
#[test]
fn an_answer_s_head_that_is_too_large_is_502() {
    let (target, weir) =
        once(format!("HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 4\r\n\r\nevil", "x".repeat(40_000)));
    assert_eq!(weir.get("/first").status, 502);
    target.wait_until_closed("32 K are the limit");
}

#[test]
fn interim_answers_without_end_are_502() {
    let (target, weir) = once("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".repeat(100_000));
    assert_eq!(weir.get("/first").status, 502);
    target.wait_until_closed("interim answers");
}

#[test]
fn interim_answers_are_read_and_not_passed_on() {
    let (target, weir) =
        once(format!("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nX: y\r\n\r\n{FINE}"));
    let mut client = weir.client();
    client.send("GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    let answer = String::from_utf8(client.to_end()).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert_eq!(target.requests().len(), 1);
}

#[test]
fn a_second_answer_that_nobody_asked_for_reaches_nobody() {
    let evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    for (what, first) in [
        ("behind a length", format!("{FINE}{evil}")),
        (
            "behind chunks",
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfine\r\n0\r\n\r\n{evil}"),
        ),
        ("behind no content", format!("HTTP/1.1 204 No Content\r\n\r\n{evil}")),
        ("behind 304", format!("HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\n{evil}")),
        ("a single byte", format!("{FINE}x")),
    ] {
        let (target, weir) = once(first);
        let reply = weir.get("/first");
        assert!(matches!(reply.status, 200 | 204 | 304), "{what}: {reply:?}");
        assert!(reply.body.is_empty() || reply.body == "fine", "{what}: {reply:?}");
        target.wait_until_closed(what);
        assert!(connections(&target, &weir) > 1, "{what}");
    }
}

#[test]
fn an_answer_to_head_with_a_body_reaches_nobody() {
    let (target, weir) = once("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
    let mut client = weir.client();
    client.send("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n");
    let head = client.head().unwrap();
    assert_eq!((head.status, head.header("content-length")), (200, "4"));
    assert_eq!(client.get("/next").body, "fine");
    wait_until("the first connection is closed", || target.seen()[0].is_closed);
}

#[test]
fn a_body_whose_chunks_are_nonsense_breaks_off() {
    for (what, body) in [
        ("a first chunk without a size", "x\r\nevil\r\n0\r\n\r\n"),
        ("a size with a sign", "+4\r\nfine\r\n0\r\n\r\n"),
        ("a size in 17 digits", "00000000000000004\r\nfine\r\n0\r\n\r\n"),
        ("a line that ends with LF", "4\nfine\r\n0\r\n\r\n"),
        ("a chunk that is too long", "4\r\nfineevil\r\n0\r\n\r\n"),
        ("an end without CR LF", "4\r\nfine\r\n0\r\n\n"),
    ] {
        let (target, weir) = once(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}"));
        let mut client = weir.client();
        client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        // Whether the head had gone already is chance; a whole answer is not.
        let reply = client.try_reply();
        assert!(reply.is_none_or(|reply| reply.status == 502), "{what}");
        target.wait_until_closed(what);
    }
}

#[test]
fn an_answer_without_a_body_is_one_whatever_it_says() {
    for status in ["204 No Content", "304 Not Modified"] {
        let (target, weir) = once(format!("HTTP/1.1 {status}\r\nTransfer-Encoding: chunked\r\n\r\n"));
        let mut client = weir.client();
        assert_eq!(client.get("/first").body, "", "{status}");
        assert_eq!(client.get("/next").body, "fine", "{status}");
        assert_eq!(target.requests().len(), 2);
    }
}

#[test]
fn what_concerns_the_target_s_connection_does_not_reach_the_client() {
    let (_, weir) = once(
        "HTTP/1.1 200 Fine by me\r\nConnection: close, X-Mine\r\nX-Mine: gone\r\nKeep-Alive: timeout=5\r\nProxy-Connection: close\r\nUpgrade: h2c\r\nTrailer: x\r\nX-Kept: kept\r\nContent-Length: 4\r\n\r\nfine",
    );
    let mut client = weir.client();
    let reply = client.get("/first");
    let gone =
        ["connection", "x-mine", "keep-alive", "proxy-connection", "upgrade"].map(|name| reply.header(name));
    assert_eq!((gone, reply.header("x-kept")), ([""; 5], "kept"));
    assert_eq!(client.get("/next").body, "fine", "the client's connection is another");
}

#[test]
fn an_answer_before_the_request_has_ended_is_passed_on_and_its_connection_not_used_again() {
    let early = weir_tests::FakeTarget::behaving(|received, stream| {
        weir_tests::target::respond(stream, 200, &received.request_line);
        // What else comes belongs to that request, and would be taken for another.
        true
    });
    let weir = Weir::start_healthy(&weir_tests::yaml::forwarding_to(&[&early]));
    let mut slow = weir.client();
    slow.send("POST /early HTTP/1.1\r\nHost: h\r\nX-Leave-Body: 1\r\nContent-Length: 1000000\r\n\r\n");
    let reply = slow.reply();
    assert_eq!((reply.status, reply.body.as_str()), (200, "POST /early HTTP/1.1"));
    assert_eq!(reply.header("connection"), "close");
    for _ in 0..8 {
        slow.send("GET /evil HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(weir.get("/other").body, "GET /other HTTP/1.1", "others see nothing of it");
    }
    assert!(early.received().iter().all(|received| received.header("x-forwarded-for") == "127.0.0.1"
        || received.request_line.contains("/evil")));
}
