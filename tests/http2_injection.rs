//! Requests of HTTP/2 that would be something else in HTTP/1.1: judged at a target that keeps every byte.

use weir_tests::frames::{END_HEADERS, END_STREAM, Outcome, block, kind};
use weir_tests::yaml::{application, group_of};
use weir_tests::{Capture, Frames, Weir};

type Fields<'a> = Vec<(&'a str, &'a [u8])>;

const METHOD: (&str, &[u8]) = (":method", b"GET");
const SCHEME: (&str, &[u8]) = (":scheme", b"http");
const AUTHORITY: (&str, &[u8]) = (":authority", b"a.example");
const PATH: (&str, &[u8]) = (":path", b"/");

fn fields(more: &[(&'static str, &'static [u8])]) -> Fields<'static> {
    [&[METHOD, SCHEME, AUTHORITY, PATH], more].concat()
}

/// The usual head with another value for one of its pseudo-fields.
fn but(name: &'static str, value: &'static [u8]) -> Fields<'static> {
    let mut fields = fields(&[]);
    fields.iter_mut().filter(|field| field.0 == name).for_each(|field| field.1 = value);
    fields
}

fn without(name: &str) -> Fields<'static> {
    fields(&[]).into_iter().filter(|field| field.0 != name).collect()
}

fn weir(target: &Capture) -> Weir {
    let groups = [group_of("web", "", &target.yaml())];
    Weir::start_healthy(&application(
        &groups,
        "http2_prior_knowledge: true",
        "default_action: { forward: web }",
    ))
}

/// A head, the body behind it, and whether it reaches the target as it is.
fn cases() -> Vec<(&'static str, Fields<'static>, &'static [u8])> {
    let head = |what, fields| (what, fields, &b""[..]);
    vec![
        head("CR LF in a value", fields(&[("x", b"a\r\nevil: b")])),
        head("LF in a value", fields(&[("x", b"a\nevil: b")])),
        head("CR in a value", fields(&[("x", b"a\revil: b")])),
        head("NUL in a value", fields(&[("x", b"a\0b")])),
        head("a control byte in a value", fields(&[("x", b"a\x01b")])),
        head("DEL in a value", fields(&[("x", b"a\x7fb")])),
        head("a request in a value", fields(&[("x", b"a\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n")])),
        head("CR LF in a name", fields(&[("x: a\r\nevil", b"b")])),
        head("LF in a name", fields(&[("x\nevil", b"b")])),
        head("a colon in a name", fields(&[("transfer-encoding:chunked\r\nx", b"b")])),
        head("a space in a name", fields(&[("content-length ", b"5")])),
        head("a name in upper case", fields(&[("Transfer-Encoding", b"chunked")])),
        head("no name", fields(&[("", b"b")])),
        head("a name that is no token", fields(&[("x(y)", b"b")])),
        head("CR LF in the path", but(":path", b"/ HTTP/1.1\r\nevil: a")),
        head("LF in the path", but(":path", b"/\nevil: a")),
        head("a space in the path", but(":path", b"/ HTTP/1.1")),
        head("a tab in the path", but(":path", b"/\tHTTP/1.1")),
        head("NUL in the path", but(":path", b"/\0")),
        head("an empty path", but(":path", b"")),
        head("a path without a slash", but(":path", b"evil")),
        head("a whole URI for a path", but(":path", b"http://evil/")),
        head("an asterisk for a path", but(":path", b"*")),
        head("CR LF in the authority", but(":authority", b"a\r\nevil: b")),
        head("a space in the authority", but(":authority", b"a evil")),
        head("a user in the authority", but(":authority", b"u@a.example")),
        head("a path in the authority", but(":authority", b"a/evil")),
        head("two authorities in one", but(":authority", b"a,b")),
        head("an empty authority", but(":authority", b"")),
        head("CR LF in the method", but(":method", b"GET / HTTP/1.1\r\nevil: a\r\n\r\nGET")),
        head("a space in the method", but(":method", b"GET /evil")),
        head("an empty method", but(":method", b"")),
        head("CR LF in the scheme", but(":scheme", b"http\r\nevil: a")),
        head("no method", without(":method")),
        head("no path", without(":path")),
        head("no scheme", without(":scheme")),
        head("no authority", without(":authority")),
        head("two methods", fields(&[METHOD])),
        head("two paths", fields(&[(":path", b"/evil")])),
        head("two schemes", fields(&[SCHEME])),
        head("two authorities", fields(&[(":authority", b"evil")])),
        head("a pseudo-field behind a field", vec![METHOD, SCHEME, AUTHORITY, ("x", b"a"), PATH]),
        head("an unknown pseudo-field", fields(&[(":evil", b"a")])),
        head("a response's pseudo-field", fields(&[(":status", b"200")])),
        head("a host that is not the authority", fields(&[("host", b"evil")])),
        head("two hosts", fields(&[("host", b"a.example"), ("host", b"evil")])),
        head(
            "two hosts, and no authority",
            [without(":authority"), vec![("host", b"a"), ("host", b"evil")]].concat(),
        ),
        head("Transfer-Encoding", fields(&[("transfer-encoding", b"chunked")])),
        head("Connection", fields(&[("connection", b"x")])),
        head("Keep-Alive", fields(&[("keep-alive", b"timeout=5")])),
        head("Proxy-Connection", fields(&[("proxy-connection", b"keep-alive")])),
        head("Upgrade", fields(&[("upgrade", b"websocket")])),
        head("TE with a coding", fields(&[("te", b"gzip")])),
        head("a length without a body", fields(&[("content-length", b"5")])),
        head("a length that is no number", fields(&[("content-length", b"+0")])),
        head("two lengths", fields(&[("content-length", b"0"), ("content-length", b"5")])),
        ("a length that is too large", fields(&[("content-length", b"50")]), b"hello"),
        ("a length that is too small", fields(&[("content-length", b"1")]), b"hGET /evil HTTP/1.1\r\n\r\n"),
        ("a list of lengths", fields(&[("content-length", b"5, 5")]), b"hello"),
        ("a negative length", fields(&[("content-length", b"-5")]), b"hello"),
        ("a length in hexadecimal", fields(&[("content-length", b"0x5")]), b"hello"),
    ]
}

#[test]
fn a_request_that_would_be_another_in_http_1_1_never_reaches_a_target() {
    let target = Capture::new();
    let weir = weir(&target);
    for (what, fields, body) in cases() {
        let mut client = Frames::connect(weir.listener(0));
        client.head(1, if body.is_empty() { END_STREAM } else { 0 }, &fields);
        if !body.is_empty() {
            client.send(kind::DATA, END_STREAM, 1, body);
        }
        let outcome = client.outcome(1);
        let is_refused = matches!(outcome, Outcome::Reset | Outcome::Closed | Outcome::Answered(400));
        assert!(is_refused, "{what}: {outcome:?}");
        assert_eq!(target.dirt(), Vec::<String>::new(), "{what}");
        assert!(target.requests().is_empty(), "{what}: {:?}", target.requests());
    }
}

#[test]
fn trailers_that_would_frame_or_route_do_not_reach_a_target() {
    let target = Capture::new();
    let weir = weir(&target);
    for (what, trailer) in [
        ("a pseudo-field", (":path", &b"/evil"[..])),
        ("CR LF in a value", ("x", b"a\r\nevil: b")),
        ("CR LF in a name", ("x\r\nevil", b"b")),
        ("Transfer-Encoding", ("transfer-encoding", b"chunked")),
        ("Content-Length", ("content-length", b"5")),
        ("Host", ("host", b"evil")),
        ("X-Forwarded-For", ("x-forwarded-for", b"192.0.2.1")),
        ("X-Forwarded-Proto", ("x-forwarded-proto", b"https")),
        ("Authorization", ("authorization", b"evil")),
        ("Cookie", ("cookie", b"evil")),
        ("a look-alike", ("content_length", b"5")),
        ("a client's certificate", ("x-amzn-mtls-clientcert", b"evil")),
    ] {
        let mut client = Frames::connect(weir.listener(0));
        client.head(1, 0, &fields(&[]));
        client.send(kind::DATA, 0, 1, b"hello");
        client.send(kind::HEADERS, END_HEADERS | END_STREAM, 1, &block(&[trailer]));
        client.outcome(1);
        assert_eq!(target.dirt(), Vec::<String>::new(), "{what}");
        let trailers = target.requests().into_iter().flat_map(|request| request.trailers);
        assert_eq!(trailers.count(), 0, "{what}");
    }
}

#[test]
fn what_only_looks_odd_reaches_a_target_clean() {
    let target = Capture::new();
    let weir = weir(&target);
    for (what, fields) in [
        ("the usual", fields(&[])),
        ("a host that is the authority", fields(&[("host", b"a.example")])),
        (
            "a host in place of the authority",
            [without(":authority"), vec![("host", &b"a.example"[..])]].concat(),
        ),
        ("pieces of a cookie", fields(&[("cookie", b"a=1"), ("cookie", b"b=2")])),
        ("TE: trailers", fields(&[("te", b"trailers")])),
        ("bytes that are not ASCII", fields(&[("x", b"\xc3\xa9")])),
        ("an empty value", fields(&[("x", b"")])),
        ("spaces around a value", fields(&[("x", b" a ")])),
        ("a look-alike of a length", fields(&[("content_length", b"5")])),
        // What parses it drops a fragment, for the rules as for the target.
        ("a fragment", but(":path", b"/#evil")),
        ("a query", but(":path", b"/?a=%0d%0aevil:b")),
        ("OPTIONS of everything", vec![(":method", b"OPTIONS"), SCHEME, AUTHORITY, (":path", b"*")]),
    ] {
        let mut client = Frames::connect(weir.listener(0));
        client.head(1, END_STREAM, &fields);
        assert_eq!(client.outcome(1), Outcome::Answered(200), "{what}");
        assert_eq!(target.dirt(), Vec::<String>::new(), "{what}");
        assert_eq!(target.requests().len(), 1, "{what}");
        target.forget();
    }
}
