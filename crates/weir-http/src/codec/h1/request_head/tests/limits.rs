//! How long heads may be.

use super::*;

/// What becomes of bytes in which `filler` bytes stand between `before` and `after`, whole and without `after`.
fn with_filler(before: &str, filler: usize, after: &str) -> [Result<bool, HeadError>; 2] {
    let part = format!("{before}{}", "a".repeat(filler));
    let parse = |text: String| parse(&mut text.into_bytes(), &mut Vec::new()).map(|head| head.is_some());
    [parse(part.clone()), parse(part + after)]
}

// Conformance: A6.23, A7.14
#[test]
fn lines_have_16_kib_with_their_ends() {
    let (before, after) = ("GET /", " HTTP/1.1\r\n\r\n");
    let most = LINE_BYTES_MAX - before.len() - after.len() + 2;
    assert_eq!(with_filler(before, most, after), [Ok(false), Ok(true)]);
    assert_eq!(with_filler(before, most + 1, after)[1], Err(HeadError::RequestLineTooLong));
    assert_eq!(with_filler(before, LINE_BYTES_MAX, after), [Err(HeadError::RequestLineTooLong); 2]);

    let (before, after) = ("GET / HTTP/1.1\r\nX:", "\r\n\r\n");
    let most = LINE_BYTES_MAX - 4;
    assert_eq!(with_filler(before, most, after), [Ok(false), Ok(true)]);
    assert_eq!(with_filler(before, most + 1, after)[1], Err(HeadError::FieldTooLong));
    assert_eq!(with_filler(before, LINE_BYTES_MAX, after), [Err(HeadError::FieldTooLong); 2]);
    // Folded lines count with the line above them.
    let folded = format!("GET / HTTP/1.1\r\nX: {}\r\n {}", "a".repeat(9000), "a".repeat(9000));
    assert_eq!(with_filler(&folded, 0, after), [Err(HeadError::FieldTooLong); 2]);
}

// Conformance: A6.23
#[test]
fn a_head_has_64_kib_and_100_fields() {
    let fields = |count: usize, bytes: usize| format!("X:{}\r\n", "a".repeat(bytes - 4)).repeat(count);
    let (line, per_field) = ("GET / HTTP/1.1\r\n", 16_000);
    let four = format!("{line}{}X:", fields(4, per_field));
    let most = HEAD_BYTES_MAX - four.len() - 4;
    assert_eq!(with_filler(&four, most, "\r\n\r\n"), [Ok(false), Ok(true)]);
    assert_eq!(with_filler(&four, most + 1, "\r\n\r\n")[1], Err(HeadError::HeadTooLarge));
    assert_eq!(with_filler(&four, most + 4, "\r\n\r\n"), [Err(HeadError::HeadTooLarge); 2]);

    let many = |count| format!("{line}{}\r\n", fields(count, 5));
    assert_eq!(read(many(FIELDS_MAX).as_bytes()).fields.len(), FIELDS_MAX);
    assert_eq!(refused(many(FIELDS_MAX + 1).as_bytes()), HeadError::TooManyFields);
    // Lines that no target sees count, too.
    let left_out = format!("{line}{}\r\n", "a\r\n".repeat(FIELDS_MAX + 1));
    assert_eq!(refused(left_out.as_bytes()), HeadError::TooManyFields);
}
