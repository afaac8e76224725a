//! Requests that break proxies, judged at a target that keeps every byte. A row of a table is one request; what the target
//! gets is clean, or nothing. Here: where requests end.

use weir_tests::yaml::{application, group_of};
use weir_tests::{Capture, Weir};

pub(crate) const FORWARD: &str = "default_action: { forward: web }";

pub(crate) fn weir(target: &Capture, settings: &str, listener: &str) -> Weir {
    Weir::start_healthy(&application(&[group_of("web", "", &target.yaml())], settings, listener))
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Answered with this status; nothing is forwarded, and the client's connection is closed.
    Refused(u16),
    /// Forwarded; both connections are closed.
    PassesAndCloses,
    /// Forwarded, and both connections go on.
    Passes,
}

use Fate::{Passes, PassesAndCloses, Refused};

/// Sends each row on a connection of its own to a weir in defensive mode.
pub(crate) fn judge(rows: &[(Fate, &str)]) {
    let target = Capture::new();
    let weir = weir(&target, "", FORWARD);
    for (fate, request) in rows {
        let mut client = weir.client();
        client.send(request);
        let status = client.reply().status;
        let seen = target.requests();
        assert_eq!(target.dirt(), Vec::<String>::new(), "{request:?}");
        match fate {
            Refused(expected) => {
                assert_eq!(status, *expected, "{request:?}");
                assert!(seen.is_empty(), "{request:?} reached the target: {seen:?}");
                assert!(client.is_closed(), "{request:?}: what follows cannot be trusted to be a request");
            }
            PassesAndCloses => {
                assert_eq!((status, seen.len()), (200, 1), "{request:?}: {seen:?}");
                assert!(client.is_closed(), "{request:?} left its client open");
                target.wait_until_closed(request);
            }
            Passes => {
                assert_eq!((status, seen.len()), (200, 1), "{request:?}: {seen:?}");
                assert_eq!(client.get("/next").status, 200, "{request:?} disturbs the next request");
                let seen = target.requests();
                assert_eq!((seen.len(), seen[1].target.as_str()), (2, "/next"), "{request:?}: {seen:?}");
            }
        }
        target.forget();
    }
}

/// A POST with these further lines, and what follows its head.
macro_rules! post {
    ($lines:literal, $rest:literal) => {
        concat!("POST / HTTP/1.1\r\nHost: h\r\n", $lines, "\r\n\r\n", $rest)
    };
}

/// A GET with these further lines.
macro_rules! get {
    ($lines:literal) => {
        concat!("GET / HTTP/1.1\r\nHost: h\r\n", $lines, "\r\n\r\n")
    };
}

pub(crate) use {get, post};

#[test]
fn a_length_beside_chunks() {
    judge(&[
        (PassesAndCloses, post!("Content-Length: 6\r\nTransfer-Encoding: chunked", "0\r\n\r\nG")),
        (
            PassesAndCloses,
            post!(
                "Transfer-Encoding: chunked\r\nContent-Length: 6",
                "0\r\n\r\nGET /evil HTTP/1.1\r\nHost: h\r\n\r\n"
            ),
        ),
        (
            PassesAndCloses,
            post!("Content-Length: 3\r\nTransfer-Encoding: chunked", "8\r\nSMUGGLED\r\n0\r\n\r\n"),
        ),
        (Refused(400), post!("Content-Length: 6\r\nTransfer-Encoding : chunked", "0\r\n\r\nG")),
        (Refused(501), post!("Content-Length: 4\r\nTransfer-Encoding: xchunked", "5c\r\n")),
    ]);
}

#[test]
fn transfer_codings_that_are_not_chunked_alone() {
    judge(&[
        (Refused(501), post!("Transfer-Encoding: xchunked", "")),
        (Refused(400), post!("Transfer-Encoding: \x0bchunked", "")),
        (Refused(400), post!("Transfer-Encoding: ,chunked", "0\r\n\r\n")),
        (Refused(400), post!("Transfer-Encoding: chunked, chunked", "0\r\n\r\n")),
        (Refused(400), post!("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", "0\r\n\r\n")),
        (Refused(400), post!("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", "0\r\n\r\n")),
        (Refused(400), post!("Transfer-Encoding: chunked, gzip", "0\r\n\r\n")),
        (Refused(400), post!("Transfer-Encoding: gzip, chunked", "0\r\n\r\n")),
        (Refused(501), post!("Transfer-Encoding: gzip", "")),
    ]);
}

#[test]
fn lengths_that_are_not_one_number() {
    judge(&[
        (Refused(400), post!("Content-Length: 5\r\nContent-Length: 6", "hello!")),
        (PassesAndCloses, post!("Content-Length: 5\r\nContent-Length: 5", "hello")),
        (Refused(400), post!("Content-Length: 5, 5", "hello")),
        (Refused(400), post!("Content-Length: +5", "hello")),
        (Refused(400), post!("Content-Length: 0x5", "hello")),
        (Refused(400), post!("Content-Length: -0", "")),
        (Refused(400), post!("Content-Length:", "")),
        (Refused(400), post!("Content-Length: 18446744073709551616", "")),
        (Refused(400), post!("Content-Length: 5 5", "hello")),
        (Refused(400), post!("Content-Length: 5\x0b", "hello")),
        (Passes, post!("Content-Length: 005", "hello")),
    ]);
}

#[test]
fn a_request_that_weir_answers_itself_leaves_no_bytes_for_the_next() {
    let target = Capture::new();
    let rules = [
        ("redirect", "{ redirect: { path: /new, status_code: HTTP_302 } }"),
        ("fixed", "{ fixed_response: { status_code: 403 } }"),
        ("nobody", "{ forward: empty }"),
    ];
    let rules: Vec<String> = rules
        .iter()
        .enumerate()
        .map(|(at, (path, action))| {
            format!(
                "{{ priority: {}, conditions: [{{ path_pattern: [/{path}] }}], actions: [{action}] }}",
                at + 1
            )
        })
        .collect();
    let listener = format!("rules: [{}], {FORWARD}", rules.join(", "));
    let groups = [group_of("web", "", &target.yaml()), group_of("empty", "", "")];
    let weir = Weir::start(&application(&groups, "", &listener));
    for (path, status) in [("/redirect", 302), ("/fixed", 403), ("/nobody", 503)] {
        let smuggled = "GET /admin HTTP/1.1\r\nHost: h\r\nX: aaaaaaaaaaaaaa\r\n\r\n";
        let mut client = weir.client();
        client.send(format!(
            "POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{smuggled}",
            smuggled.len()
        ));
        assert_eq!(client.reply().status, status);
        assert_eq!(client.get("/next").body, "fine", "{path}: the body was read to its end");
        let mut client = weir.client();
        // More than is worth reading.
        client.send(format!("POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n{smuggled}"));
        assert_eq!(client.reply().status, status);
        client.finish();
        assert!(client.to_end().is_empty(), "{path}: exactly one response");
        let mut client = weir.client();
        let chunked = format!("{:x}\r\n{smuggled}\r\n0\r\n\r\n", smuggled.len());
        client
            .send(format!("POST {path} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{chunked}"));
        assert_eq!(client.reply().status, status);
        client.finish();
        assert!(client.to_end().is_empty(), "{path}: exactly one response");
    }
    assert!(target.requests().iter().all(|request| request.target == "/next"), "{:?}", target.requests());
}

#[test]
fn chunks_with_odd_extensions_and_sizes() {
    judge(&[
        (Passes, post!("Transfer-Encoding: chunked", "5;a=b\r\nhello\r\n0\r\n\r\n")),
        (Passes, post!("Transfer-Encoding: chunked", "5;a=\"b\"\r\nhello\r\n0;c\r\n\r\n")),
        (Passes, post!("Transfer-Encoding: chunked", "005\r\nhello\r\n000\r\n\r\n")),
        (Refused(400), post!("Transfer-Encoding: chunked", "5;\nhello\r\n0\r\n\r\n")),
        (Refused(400), post!("Transfer-Encoding: chunked", "2;\rXX\r\n0\r\n\r\n")),
        (Refused(400), post!("Transfer-Encoding: chunked", "5;a=\"\n\"\r\nhello\r\n0\r\n\r\n")),
        (Refused(400), post!("Transfer-Encoding: chunked", "5;\r\nhello\r\n0\r\n\r\n")),
        (Refused(400), post!("Transfer-Encoding: chunked", "5;a=\x01\r\nhello\r\n0\r\n\r\n")),
        (Refused(400), post!("Transfer-Encoding: chunked", "0x5\r\nhello\r\n0\r\n\r\n")),
        (Refused(400), post!("Transfer-Encoding: chunked", "+5\r\nhello\r\n0\r\n\r\n")),
        (Refused(400), post!("Transfer-Encoding: chunked", "5 \r\nhello\r\n0\r\n\r\n")),
        (Refused(400), post!("Transfer-Encoding: chunked", " 5\r\nhello\r\n0\r\n\r\n")),
        (Refused(400), post!("Transfer-Encoding: chunked", "5_0\r\nhello\r\n0\r\n\r\n")),
        (Refused(400), post!("Transfer-Encoding: chunked", "-1\r\nhello\r\n0\r\n\r\n")),
        (Refused(400), post!("Transfer-Encoding: chunked", "FFFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n")),
        (Refused(400), post!("Transfer-Encoding: chunked", "5\nhello\r\n0\r\n\r\n")),
        (Refused(400), post!("Transfer-Encoding: chunked", "5\r\nhelloXX\r\n0\r\n\r\n")),
        (Refused(400), post!("Transfer-Encoding: chunked", "5\r\nhello\n0\r\n\r\n")),
        (Refused(400), post!("Transfer-Encoding: chunked", "\r\nhello\r\n0\r\n\r\n")),
        (Refused(400), post!("Transfer-Encoding: chunked", "0\r\n\n")),
    ]);
}

#[test]
fn chunks_that_are_all_extension_are_refused_before_they_cost_much() {
    let target = Capture::new();
    let weir = weir(&target, "", FORWARD);
    let mut client = weir.client();
    client.send(post!("Transfer-Encoding: chunked", ""));
    let chunk = format!("1;a={}\r\nx\r\n", "y".repeat(4096));
    for _ in 0..100 {
        client.send(&chunk);
    }
    assert_eq!(client.reply().status, 400);
    assert!(target.requests().is_empty());
}

#[test]
fn trailers() {
    let target = Capture::new();
    let weir = weir(&target, "", FORWARD);
    let reply = weir.client().ask(post!(
        "Transfer-Encoding: chunked",
        "2\r\nhi\r\n0\r\nContent-Length: 9\r\nHost: evil\r\nX-Forwarded-For: 1.1.1.1\r\nX-Forwarded_Proto: https\r\nAuthorization: evil\r\nX-Sum: 1\r\n\r\n"
    ));
    assert_eq!(reply.status, 200);
    assert_eq!(target.dirt(), Vec::<String>::new());
    assert_eq!(target.requests()[0].trailers, [("X-Sum".to_owned(), "1".to_owned())]);
    let mut client = weir.client();
    client.send(post!("Transfer-Encoding: chunked", "2\r\nhi\r\n0\r\n"));
    for number in 0..10_000 {
        client.send(format!("X-{number}: y\r\n"));
    }
    client.send("\r\n");
    assert_eq!(client.reply().status, 400, "ten thousand trailers");
    assert_eq!(target.requests().len(), 1);
}

// Conformance: A6.22
#[test]
fn lines_that_are_folded() {
    judge(&[
        (PassesAndCloses, get!("X: a\r\n b")),
        (PassesAndCloses, get!("X: a\r\n\tb\r\n  c\r\nY: d")),
        (Refused(400), post!("Transfer-Encoding:\r\n chunked", "0\r\n\r\n")),
        (Refused(400), post!("Content-Length:\r\n 5", "hello")),
    ]);
}

#[test]
fn bytes_that_end_lines_elsewhere() {
    judge(&[
        (Refused(400), get!("X: a\rTransfer-Encoding: chunked")),
        (Refused(400), get!("X: a\0b")),
        (Refused(400), get!("X\0: a")),
        (Refused(400), "GET /\0 HTTP/1.1\r\nHost: h\r\n\r\n"),
        (Refused(400), "GET /\r HTTP/1.1\r\nHost: h\r\n\r\n"),
        (Refused(400), "G\x01T / HTTP/1.1\r\nHost: h\r\n\r\n"),
        (Refused(400), "GET / HTTP/1.1\rHost: h\r\n\r\n"),
        // Read as everybody reads them, and written clean.
        (Passes, "GET / HTTP/1.1\nHost: h\n\n"),
        (Passes, "GET / HTTP/1.1\r\nHost: h\nX: y\r\n\r\n"),
    ]);
}

#[test]
fn a_control_byte_in_a_value_is_not_forwarded() {
    let target = Capture::new();
    let weir = weir(&target, "", FORWARD);
    for control in (1..32).filter(|byte| !b"\t\n\r".contains(byte)).chain([127]) {
        let request =
            [&b"GET / HTTP/1.1\r\nHost: h\r\nX: a"[..], &[control], b"b\r\nY: kept\r\n\r\n"].concat();
        weir.client().ask(request);
        assert_eq!(target.dirt(), Vec::<String>::new(), "{control:#04x}");
    }
}

#[test]
fn names_that_are_none_or_look_like_others() {
    judge(&[
        (PassesAndCloses, get!(": x")),
        (PassesAndCloses, get!("nonsense")),
        (PassesAndCloses, get!("Content-Length : 5")),
        (PassesAndCloses, get!("Content_Length: 5")),
        (PassesAndCloses, get!("Content.Length: 5")),
        (PassesAndCloses, get!("Transfer---Encoding: chunked")),
        (PassesAndCloses, get!("Transfer_Encoding: chunked")),
        (PassesAndCloses, get!("Tran\u{17f}fer-Encoding: chunked")),
    ]);
}
