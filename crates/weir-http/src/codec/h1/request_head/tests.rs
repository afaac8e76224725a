//! What heads mean, and what of them targets see.

use super::*;
use crate::codec::h1::desync::Class;

mod limits;

/// A head as a target may see it.
#[derive(Debug, PartialEq, Eq)]
struct Read {
    line: String,
    fields: Vec<(String, String)>,
    framing: Framing,
    reasons: Vec<&'static str>,
    end: usize,
}

fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// Parses whole bytes, and every beginning of them, which must agree.
fn parse_all(bytes: &[u8]) -> Result<Option<Read>, HeadError> {
    let mut fields = Vec::new();
    let mut owned = bytes.to_vec();
    let whole = parse(&mut owned, &mut fields);
    let read = whole.map(|head| {
        head.map(|head| {
            let version = if head.version == Version::Http10 { "1.0" } else { "1.1" };
            Read {
                line: format!("{} {} {version}", text(head.method.of(&owned)), text(head.target.of(&owned))),
                fields: fields.iter().map(|f| (text(f.name.of(&owned)), text(f.value.of(&owned)))).collect(),
                framing: head.framing,
                reasons: head.oddities.reasons().collect(),
                end: head.end,
            }
        })
    });
    let mut refused = None;
    for length in 0..bytes.len() {
        let mut part = bytes[..length].to_vec();
        let parsed = parse(&mut part, &mut fields);
        match (&read, parsed) {
            (Ok(Some(read)), Ok(head)) if length >= read.end => assert_eq!(head.unwrap().end, read.end),
            (Err(error), Err(early)) => {
                assert_eq!(early, *error, "after {length} bytes");
                refused.get_or_insert(length);
            }
            (_, Ok(None)) => {
                assert_eq!(refused, None, "forgiven after {length} bytes");
                assert_eq!(part, bytes[..length], "rewritten before its end");
            }
            (whole, part) => panic!("{whole:?}, but after {length} bytes {part:?}"),
        }
    }
    read
}

fn read(bytes: &[u8]) -> Read {
    match parse_all(bytes) {
        Ok(Some(read)) => read,
        other => panic!("{}: {other:?}", text(bytes)),
    }
}

/// A POST with field lines, each with its line end.
fn with_fields(lines: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\n{lines}\r\n").into_bytes()
}

fn refused(bytes: &[u8]) -> HeadError {
    match parse_all(bytes) {
        Err(error) => error,
        other => panic!("{}: {other:?}", text(bytes)),
    }
}

/// Refused with 400 in every mode, for `reason` above all.
fn is_malformed(bytes: &[u8], reason: Reason) {
    match refused(bytes) {
        HeadError::Malformed(oddities) => {
            assert!(oddities.has(reason), "{}: {:?}", text(bytes), oddities.reasons().collect::<Vec<_>>());
        }
        other => panic!("{}: {other:?}", text(bytes)),
    }
}

#[test]
fn a_head_is_read_with_its_fields_in_order() {
    let bytes =
        b"GET /a?b=c HTTP/1.1\r\nHost: a.example\r\nAccept:*/*\r\nX-Empty:\r\nX-Tab: \ta\tb \t\r\n\r\nrest";
    let read = read(bytes);
    assert_eq!(read.line, "GET /a?b=c 1.1");
    let fields = [("Host", "a.example"), ("Accept", "*/*"), ("X-Empty", ""), ("X-Tab", "a\\tb")];
    assert_eq!(read.fields, fields.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!((read.framing, read.reasons.len(), read.end), (Framing::None, 0, bytes.len() - 4));
}

#[test]
fn a_head_without_fields_is_complete() {
    assert_eq!(read(b"OPTIONS * HTTP/1.0\r\n\r\n").line, "OPTIONS * 1.0");
}

#[test]
fn the_first_wrong_byte_of_something_else_is_enough() {
    // The beginning of a TLS handshake.
    assert!(matches!(parse(&mut [0x16], &mut Vec::new()), Err(HeadError::Malformed(_))));
    assert!(matches!(parse(&mut [0x16, 3, 1, 2, 0], &mut Vec::new()), Err(HeadError::Malformed(_))));
    assert_eq!(refused(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), HeadError::VersionUnknown);
}

#[test]
fn two_empty_lines_before_the_request_line_are_forgiven_and_no_more() {
    let read = read(b"\r\n\r\nGET / HTTP/1.1\r\n\r\n");
    assert_eq!((read.line.as_str(), read.end, read.reasons.len()), ("GET / 1.1", 22, 0));
    is_malformed(b"\r\n\r\n\r\nGET / HTTP/1.1\r\n\r\n", Reason::MissingUri);
    is_malformed(b"\rGET / HTTP/1.1\r\n\r\n", Reason::BadMethod);
}

#[test]
fn lines_may_end_without_a_carriage_return() {
    let read = read(b"POST / HTTP/1.1\nHost: a\nContent-Length: 3\n\nabc");
    assert_eq!((read.framing, read.end), (Framing::Length(3), 43));
    assert_eq!(read.reasons, ["NonCrLfLineTermination"]);
}

// Conformance: A6.22
#[test]
fn a_folded_line_becomes_one() {
    let read = read(&with_fields("X: a\r\n b\n\tc \r\n \r\nY:\r\n d\r\n"));
    assert_eq!(read.fields, [("X", "a   b \\tc"), ("Y", "d")].map(|(n, v)| (n.to_owned(), v.to_owned())));
    assert_eq!(read.reasons, ["NonCrLfLineTermination", "MultilineHeader"]);
}

// Conformance: A6.22
#[test]
fn fields_that_frame_and_route_are_never_folded() {
    for name in ["Host", "Connection", "Transfer-Encoding", "Content-Length"] {
        is_malformed(&with_fields(&format!("{name}:\r\n 5\r\n")), Reason::MultilineHeader);
    }
    is_malformed(&with_fields(" Host: a\r\n"), Reason::MultilineHeader);
    is_malformed(&with_fields("X: a\r\n Content-Length: 5\r\n"), Reason::SuspiciousHeader);
    is_malformed(&with_fields("X: a\r\n\ttransfer_encoding : chunked\r\n"), Reason::SuspiciousHeader);
}

#[test]
fn lines_without_a_name_or_a_colon_reach_no_target() {
    for (line, reason) in [
        (": a", "EmptyHeader"),
        ("abc", "MissingHeaderColon"),
        ("a b", "MissingHeaderColon"),
        ("a b: c", "NonCompliantHeader"),
        ("a : c", "NonCompliantHeader"),
        ("\u{e4}: c", "NonCompliantHeader"),
        ("\"a\": c", "NonCompliantHeader"),
    ] {
        let read = read(&with_fields(&format!("{line}\r\nHost: a\r\n")));
        assert_eq!(read.fields, [("Host".to_owned(), "a".to_owned())], "{line}");
        assert_eq!(read.reasons, [reason], "{line}");
    }
}

// Conformance: A8.13
#[test]
fn look_alikes_reach_no_target_and_frame_nothing() {
    for line in [
        "Content_Length: 5",
        "Content-Length : 5",
        "Transfer---Encoding: chunked",
        "Transfer-Encoding\t: chunked",
    ] {
        let read = read(&with_fields(&format!("{line}\r\n")));
        assert_eq!((read.fields.len(), read.framing), (0, Framing::None), "{line}");
        assert_eq!(read.reasons.last(), Some(&"SuspiciousHeader"), "{line}");
    }
    let forwarded = read(&with_fields("X_Forwarded_For: 1.1.1.1\r\nX-Forwarded-Host: a\r\n"));
    assert_eq!((forwarded.fields.len(), forwarded.reasons.len()), (1, 0));
}

// Conformance: A8.13
#[test]
fn values_of_look_alikes_count_for_the_class() {
    for (lines, class) in [
        ("Content_Length: 5\r\nContent-Length: 5\r\n", Class::Ambiguous),
        ("Content_Length: 6\r\nContent-Length: 5\r\n", Class::Severe),
        ("Content_Length: 5\r\nContent..Length: 6\r\n", Class::Severe),
        ("Content_Length: five\r\n", Class::Severe),
        ("Transfer_Encoding: chunked\r\nContent-Length: 5\r\n", Class::Severe),
        ("Transfer-Encoding: chunked\r\nContent_Length: 5\r\n", Class::Severe),
        ("Transfer-Encoding: chunked\r\nTransfer_Encoding: chunked\r\n", Class::Severe),
        ("Transfer_Encoding: xchunked\r\n", Class::Severe),
        ("Transfer-Encoding\r\n", Class::Severe),
    ] {
        let bytes = with_fields(lines);
        let head = parse(&mut bytes.clone(), &mut Vec::new()).unwrap().unwrap();
        assert_eq!(head.oddities.class(), class, "{lines}");
    }
}

#[test]
fn chunks_win_over_a_length_which_reaches_no_target() {
    for lines in [
        "Content-Length: 6\r\nTransfer-Encoding: Chunked\r\n",
        "Transfer-Encoding: Chunked\r\nContent-Length: 6\r\n",
    ] {
        let read = read(&with_fields(lines));
        assert_eq!(read.fields, [("Transfer-Encoding".to_owned(), "Chunked".to_owned())]);
        assert_eq!(
            (read.framing, read.reasons.as_slice()),
            (Framing::Chunked, ["BothTeClPresent"].as_slice())
        );
    }
}

// Conformance: A6.20
#[test]
fn identity_is_no_coding() {
    let read = read(&with_fields("Transfer-Encoding: identity\r\nContent-Length: 6\r\n"));
    assert_eq!(read.fields, [("Content-Length".to_owned(), "6".to_owned())]);
    assert_eq!((read.framing, read.reasons.as_slice()), (Framing::Length(6), ["BothTeClPresent"].as_slice()));
    assert_eq!(self::read(&with_fields("Transfer-Encoding: identity\r\n")).framing, Framing::None);
}

// Conformance: A8.11
#[test]
fn equal_lengths_become_one() {
    let read = read(&with_fields("Content-Length: 5\r\nContent-Length: 05\r\n"));
    assert_eq!((read.fields.len(), read.framing), (1, Framing::Length(5)));
    assert_eq!(read.reasons, ["DuplicateContentLength"]);
}

// Conformance: A8.11
#[test]
fn a_length_is_digits_and_one_number() {
    let reason = Reason::BadContentLength;
    for value in ["", "+5", "-0", "0x5", "5, 5", "5 5", "5a", "18446744073709551616", "\u{0b}5", "5\u{e4}"] {
        is_malformed(&with_fields(&format!("Content-Length: {value}\r\n")), reason);
    }
    is_malformed(&with_fields("Content-Length: 5\r\nContent-Length: 6\r\n"), Reason::MultipleContentLength);
    let most = read(&with_fields("Content-Length: 18446744073709551615\r\n"));
    assert_eq!(most.framing, Framing::Length(u64::MAX));
    assert_eq!(read(&with_fields("Content-Length: 0\r\n")).framing, Framing::None);
}

// Conformance: A6.20, A8.12
#[test]
fn a_transfer_coding_is_chunked_alone() {
    let (bad, twice) = (Reason::BadTransferEncoding, Reason::MultipleTransferEncodingChunked);
    for (lines, reason) in [
        ("Transfer-Encoding: \u{0b}chunked\r\n", bad),
        ("Transfer-Encoding: ,chunked\r\n", bad),
        ("Transfer-Encoding: \r\n", bad),
        ("Transfer-Encoding: chunked;a=b\r\n", bad),
        ("Transfer-Encoding: chunked, gzip\r\n", bad),
        ("Transfer-Encoding: gzip, chunked\r\n", bad),
        ("Transfer-Encoding: \"chunked\"\r\n", bad),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", bad),
        ("Transfer-Encoding: chunked, chunked\r\n", twice),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", twice),
    ] {
        is_malformed(&with_fields(lines), reason);
    }
    for coding in ["xchunked", "gzip", "chunke"] {
        let lines = format!("Transfer-Encoding: {coding}\r\n");
        assert_eq!(refused(&with_fields(&lines)), HeadError::TransferCodingUnknown, "{coding}");
    }
}

#[test]
fn a_body_where_none_is_defined_is_framed_and_graded() {
    for (head, framing, reason) in [
        ("GET / HTTP/1.1\r\nContent-Length: 0\r\n", Framing::None, "GetHeadZeroContentLength"),
        ("HEAD / HTTP/1.1\r\nContent-Length: 1\r\n", Framing::Length(1), "UndefinedContentLengthSemantics"),
        (
            "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n",
            Framing::Chunked,
            "UndefinedTransferEncodingSemantics",
        ),
        (
            "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n",
            Framing::Chunked,
            "UndefinedTransferEncodingSemantics",
        ),
    ] {
        let read = read(format!("{head}\r\n").as_bytes());
        assert_eq!((read.framing, read.reasons.as_slice()), (framing, [reason].as_slice()), "{head}");
    }
    assert!(read(b"DELETE / HTTP/1.1\r\nContent-Length: 1\r\n\r\n").reasons.is_empty());
}

#[test]
fn controls_and_bare_carriage_returns_are_refused_wherever_they_are() {
    for (bytes, reason) in [
        (b"G\0T / HTTP/1.1\r\n\r\n".as_slice(), Reason::BadMethod),
        (b"GET /\0 HTTP/1.1\r\n\r\n", Reason::BadUri),
        (b"GET /\r HTTP/1.1\r\n\r\n", Reason::BadUri),
        (b"GET /\x01 HTTP/1.1\r\n\r\n", Reason::AmbiguousUri),
        (b"GET /\x7f HTTP/1.1\r\n\r\n", Reason::AmbiguousUri),
        (b"GET /\t HTTP/1.1\r\n\r\n", Reason::AmbiguousUri),
        (b"GET / HTTP/1.1\r\r\n\r\n", Reason::BadVersion),
        (b"GET / HTTP/1.1\r\nX: a\0b\r\n\r\n", Reason::BadHeader),
        (b"GET / HTTP/1.1\r\nX: a\rY: b\r\n\r\n", Reason::BadHeader),
        (b"GET / HTTP/1.1\r\nX: a\r\r\n\r\n", Reason::BadHeader),
        (b"GET / HTTP/1.1\r\nX\0: a\r\n\r\n", Reason::BadHeader),
        (b"GET / HTTP/1.1\r\n\rX: a\r\n\r\n", Reason::BadHeader),
        (b"GET / HTTP/1.1\r\nX: \x01\r\n\r\n", Reason::NonCompliantHeader),
        (b"GET / HTTP/1.1\r\nX\x08: a\r\n\r\n", Reason::NonCompliantHeader),
        (b"GET / HTTP/1.1\r\nX: a\x7f\r\n\r\n", Reason::NonCompliantHeader),
    ] {
        is_malformed(bytes, reason);
    }
}

#[test]
fn a_target_has_no_space_and_no_fragment_and_is_text() {
    for (line, reason) in [
        (b"GET /a b HTTP/1.1".as_slice(), Reason::SpaceInUri),
        (b"GET  / HTTP/1.1", Reason::SpaceInUri),
        (b"GET /  HTTP/1.1", Reason::SpaceInUri),
        (b"GET /a#b HTTP/1.1", Reason::AmbiguousUri),
        (b"GET /\xff HTTP/1.1", Reason::AmbiguousUri),
        (b"GET /\xc0\xaf HTTP/1.1", Reason::AmbiguousUri),
        (b"GET HTTP/1.1", Reason::MissingUri),
        (b"GET  HTTP/1.1", Reason::MissingUri),
        (b"GET  ", Reason::MissingUri),
        (b"GET", Reason::MissingUri),
        (b"GET /", Reason::NonCompliantVersion),
        (b"GET / ", Reason::NonCompliantVersion),
        (b" / HTTP/1.1", Reason::BadMethod),
        (b"G@T / HTTP/1.1", Reason::BadMethod),
        (b"GET / HTTP/01.1", Reason::BadVersion),
        (b"GET / HTTP/1.10", Reason::BadVersion),
        (b"GET / http/1.1", Reason::BadVersion),
        (b"GET / HTTP/1.1x", Reason::BadVersion),
    ] {
        is_malformed(&[line, b"\r\n\r\n"].concat(), reason);
    }
    assert_eq!(read("GET /ä HTTP/1.1\r\n\r\n".as_bytes()).reasons.len(), 0);
}

#[test]
fn other_versions_of_http_1_are_read_as_1_1() {
    for version in ["1.2", "1.9", "1.1 ", "1.1 \t "] {
        let read = read(format!("GET / HTTP/{version}\r\n\r\n").as_bytes());
        assert_eq!(
            (read.line.as_str(), read.reasons.as_slice()),
            ("GET / 1.1", ["NonCompliantVersion"].as_slice())
        );
    }
    for version in ["9.9", "2.0", "0.9"] {
        let bytes = format!("GET / HTTP/{version}\r\n\r\n");
        assert_eq!(refused(bytes.as_bytes()), HeadError::VersionUnknown, "{version}");
    }
}

#[test]
fn text_beyond_ascii_passes_in_values_and_is_noted() {
    let read = read("GET / HTTP/1.1\r\nX: ä\r\n\r\n".as_bytes());
    assert_eq!(
        (read.fields[0].1.as_str(), read.reasons.as_slice()),
        ("\\xc3\\xa4", ["NonCompliantHeader"].as_slice())
    );
}
