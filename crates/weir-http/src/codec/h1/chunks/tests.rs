//! What chunked bodies mean, wherever they are split.

use super::*;

/// The data, the trailers and the number of bytes of a whole body.
type Body = (String, String, usize);

/// Decodes a body that comes in the pieces that end at `splits`; `None` when it does not end.
fn decode_split(bytes: &[u8], splits: &[usize]) -> Result<Option<Body>, ChunkError> {
    let (mut chunks, mut data) = (Chunks::default(), Vec::new());
    let mut begin = 0;
    for end in splits.iter().copied().chain([bytes.len()]) {
        let mut at = begin;
        loop {
            let (consumed, step) = chunks.decode(&bytes[at..end])?;
            at += consumed;
            match step {
                Step::Data(length) => {
                    assert!(length > 0 && at + length <= end);
                    data.extend_from_slice(&bytes[at..at + length]);
                    at += length;
                }
                Step::More => break assert_eq!(at, end),
                Step::End => {
                    let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
                    return Ok(Some((text(&data), text(chunks.trailers()), at)));
                }
            }
        }
        begin = end;
    }
    Ok(None)
}

/// Decodes whole, byte by byte, and in two pieces split anywhere; all must agree.
fn decode(bytes: &[u8]) -> Result<Option<Body>, ChunkError> {
    let whole = decode_split(bytes, &[]);
    let every_byte: Vec<usize> = (1..bytes.len()).collect();
    assert_eq!(decode_split(bytes, &every_byte), whole, "byte by byte");
    for split in 0..bytes.len().min(500) {
        assert_eq!(decode_split(bytes, &[split]), whole, "split at {split}");
    }
    whole
}

fn body(bytes: &[u8]) -> Body {
    decode(bytes).unwrap().unwrap_or_else(|| panic!("{} does not end", bytes.escape_ascii()))
}

/// A refused body, and how many of its bytes are enough to know.
fn refused(bytes: &[u8]) -> (ChunkError, usize) {
    let error = decode(bytes).expect_err(&bytes.escape_ascii().to_string());
    let enough = (0..=bytes.len()).find(|length| decode_split(&bytes[..*length], &[]).is_err());
    (error, enough.unwrap())
}

#[test]
fn data_of_chunks_follows_upon_each_other() {
    let bytes = b"5\r\nhello\r\n00B\r\n, you and I\r\n1\r\n!\r\n0\r\n\r\nGET";
    assert_eq!(body(bytes), ("hello, you and I!".to_owned(), String::new(), bytes.len() - 3));
    assert_eq!(body(b"0\r\n\r\n"), (String::new(), String::new(), 5));
}

#[test]
fn a_body_that_is_not_over_waits_for_more() {
    let bytes = b"5\r\nhello\r\n0\r\nA: b\r\n\r\n";
    for length in 0..bytes.len() {
        assert_eq!(decode(&bytes[..length]), Ok(None), "after {length} bytes");
    }
}

#[test]
fn a_size_is_one_to_sixteen_digits_alone() {
    for (bytes, enough) in [
        (b"0x5\r\nhello\r\n".as_slice(), 2),
        (b"+5\r\nhello\r\n", 1),
        (b"-1\r\n", 1),
        (b" 5\r\nhello\r\n", 1),
        (b"5 \r\nhello\r\n", 2),
        (b"5\t\r\nhello\r\n", 2),
        (b"5 ;a=b\r\nhello\r\n", 2),
        (b"5_0\r\n", 2),
        (b"5.\r\n", 2),
        (b"g\r\n", 1),
        (b"\r\n", 1),
        (b"\n", 1),
        (b";a=b\r\n", 1),
        (b"\xc2\xb2\r\n", 1),
        (b"FFFFFFFFFFFFFFFFF\r\n", 17),
        (b"00000000000000005\r\nhello\r\n", 17),
        (b"5\nhello\r\n", 2),
    ] {
        assert_eq!(refused(bytes), (ChunkError::SizeInvalid, enough), "{}", bytes.escape_ascii());
    }
    let most = b"fFfFfFfFfFfFfFfF\r\nabc";
    assert_eq!(Chunks::default().decode(most), Ok((18, Step::Data(3))));
    assert_eq!(body(b"0000000000000005\r\nhello\r\n0000000000000000\r\n\r\n").0, "hello");
}

#[test]
fn a_carriage_return_ends_a_line_only_with_its_line_feed() {
    for bytes in [
        b"5\rhello\r\n".as_slice(),
        b"5\r\rhello",
        b"5;a=b\rXX\r\n",
        b"0\r\n\rX",
        b"0\r\r\n",
        b"0\r\nA: b\rX\r\n\r\n",
        b"0\r\nA: b\r\r\n\r\n",
    ] {
        assert_eq!(refused(bytes).0, ChunkError::LineUnended, "{}", bytes.escape_ascii());
    }
}

#[test]
fn data_ends_where_its_size_says() {
    for bytes in [
        b"5\r\nhelloXX\r\n0\r\n\r\n".as_slice(),
        b"5\r\nhello\n0\r\n\r\n",
        b"5\r\nhello\rX",
        b"5\r\nhello0\r\n\r\n",
        b"4\r\nhello\r\n0\r\n\r\n",
    ] {
        assert_eq!(refused(bytes).0, ChunkError::DataUnended, "{}", bytes.escape_ascii());
    }
}

#[test]
fn extensions_are_dropped() {
    for extension in [
        ";a",
        ";a=b",
        "; a = b ; c",
        ";a=\"\"",
        ";a=\"b \\\" \u{e4} \\\\\t;\"",
        ";a=\"b\" ;c=d",
        ";a;b;c",
        ";!#$%&'*+-.^_`|~=~",
    ] {
        let bytes = format!("5{extension}\r\nhello\r\n0{extension}\r\n\r\n");
        assert_eq!(body(bytes.as_bytes()).0, "hello", "{extension}");
    }
}

#[test]
fn malformed_extensions_are_refused() {
    for extension in [
        ";\n",
        ";\rXX",
        ";",
        ";;a",
        ";a;",
        "; ",
        ";=b",
        ";a=",
        ";a==b",
        ";a=b=c",
        ";a b",
        ";a ",
        ";a=b ",
        ";a=b c",
        ";a=\"b\" ",
        ";a=\"b\"c",
        ";a=\"\n\"",
        ";a=\"\r\n\"",
        ";a=\"\\\r\"",
        ";a=\"\0\"",
        ";a=\x7f",
        ";a\0",
        ";a\n",
        ";a(b)",
        ";\u{e4}",
    ] {
        let bytes = format!("5{extension}\r\nhello\r\n0\r\n\r\n");
        assert_eq!(refused(bytes.as_bytes()).0, ChunkError::ExtensionInvalid, "{extension:?}");
    }
}

#[test]
fn extensions_of_a_body_have_16_kib_together() {
    let chunk = format!("1;{}\r\nx\r\n", "e".repeat(1022));
    let sixteen = chunk.repeat(16);
    assert_eq!(decode_split(format!("{sixteen}0\r\n\r\n").as_bytes(), &[]).unwrap().unwrap().0.len(), 16);
    let more = format!("{sixteen}1;");
    assert_eq!(decode_split(more.as_bytes(), &[]), Err(ChunkError::ExtensionsTooLong));
}

#[test]
fn trailers_are_passed_on_in_one_shape() {
    let bytes = b"0\r\nX-Sum:abc\r\nEmpty:\r\ngrpc-status: \t0 \t\r\nText: \xe4\tb\r\n\r\n";
    let lines = "X-Sum: abc\\r\\nEmpty: \\r\\ngrpc-status: 0\\r\\nText: \\xe4\\tb\\r\\n";
    assert_eq!(body(bytes), (String::new(), lines.to_owned(), bytes.len()));
}

#[test]
fn trailers_that_frame_route_authorize_or_forward_are_left_out() {
    let names = [
        "Content-Length",
        "transfer-encoding",
        "Trailer",
        "TE",
        "Connection",
        "Host",
        "Authorization",
        "Proxy-Authorization",
        "Cookie",
        "Set-Cookie",
        "Expect",
        "X-Forwarded-For",
        "X-Forwarded-Anything",
        "Forwarded",
        "X-Amzn-Trace-Id",
        "X-Amzn-Oidc-Data",
        "Content_Length",
        "X_Forwarded_For",
        "If-Match",
        "Content-Type",
    ];
    for name in names {
        let bytes = format!("0\r\nA: b\r\n{name}: 9\r\nC: d\r\n\r\n");
        assert_eq!(body(bytes.as_bytes()).1, "A: b\\r\\nC: d\\r\\n", "{name}");
    }
}

#[test]
fn malformed_trailers_are_refused() {
    for line in [
        ": a",
        "a b: c",
        "a : c",
        " a: b",
        "\ta: b",
        "abc",
        "a: b\n",
        "a: \0",
        "a: \x7f",
        "a\n",
        "\u{e4}: b",
        "\n",
    ] {
        let bytes = format!("0\r\n{line}\r\n\r\n");
        assert_eq!(refused(bytes.as_bytes()).0, ChunkError::TrailerInvalid, "{line:?}");
    }
    // Folded below another.
    assert_eq!(refused(b"0\r\na: b\r\n c\r\n\r\n").0, ChunkError::TrailerInvalid);
}

#[test]
fn trailers_have_a_hundred_fields_and_16_kib() {
    let fields = |count: usize, name: &str| format!("0\r\n{}\r\n", format!("{name}: b\r\n").repeat(count));
    for name in ["a", "Host"] {
        assert!(decode_split(fields(100, name).as_bytes(), &[]).unwrap().is_some(), "{name}");
        let more = decode_split(fields(101, name).as_bytes(), &[]);
        assert_eq!(more, Err(ChunkError::TrailersTooLarge), "{name}");
    }
    for name in ["a", "Host"] {
        let long = |bytes: usize| format!("0\r\n{name}:{}\r\n\r\n", "b".repeat(bytes)).into_bytes();
        assert!(decode_split(&long(16_000), &[]).unwrap().is_some(), "{name}");
        assert_eq!(decode_split(&long(17_000), &[]), Err(ChunkError::TrailersTooLarge), "{name}");
        let two = format!("0\r\n{0}:{1}\r\n{0}:{1}\r\n\r\n", name, "b".repeat(9000));
        assert_eq!(decode_split(two.as_bytes(), &[]), Err(ChunkError::TrailersTooLarge), "{name}");
    }
}
