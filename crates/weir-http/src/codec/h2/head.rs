//! Heads of HTTP/2, to and from the form that all codecs share: lines of text with spans over them.

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::super::buffer::Buffer;
use super::super::edits::Edits;
use super::super::fields::{Field, Known, Span};
use super::super::h1::chunks::trailers::is_left_out;
use super::super::h1::request_head::{FIELDS_MAX, HeadError, LINE_BYTES_MAX, is_look_alike};
use super::super::h1::write::PassedOn;
use super::super::head::{Head, borrow_list};

/// A head that is being made.
pub(super) struct Lines {
    bytes: Buffer,
    list: Vec<Field>,
}

impl Lines {
    pub(super) fn new() -> Self {
        Self { bytes: Buffer::borrow(), list: borrow_list() }
    }

    /// Appends a part of the first line.
    pub(super) fn part(&mut self, part: &[u8]) -> Span {
        let start = self.bytes.len();
        self.bytes.append(part);
        Span::new(start, start + part.len())
    }

    /// Appends a field as HTTP/1.1 writes it; the span of its value.
    pub(super) fn field(&mut self, known: Known, name: &[u8], value: &[u8]) -> Span {
        let start = self.bytes.len();
        self.bytes.append_all([name, b": ", value, b"\r\n"]);
        let value_start = start + name.len() + 2;
        let (name, value) =
            (Span::new(start, start + name.len()), Span::new(value_start, value_start + value.len()));
        self.list.push(Field { name, value, known });
        value
    }

    /// Appends all fields of a map that `is_passed` by name. Pieces of `Cookie` become one, and look-alikes of fields that
    /// frame or route are left out, as in HTTP/1.1. Source: RFC 9113 section 8.2.3.
    pub(super) fn fields(&mut self, map: &HeaderMap, is_passed: impl Fn(&[u8]) -> bool) {
        let mut cookies = Vec::new();
        for (name, value) in map {
            match Known::of(name.as_str().as_bytes()) {
                _ if !is_passed(name.as_str().as_bytes()) => {}
                Known::Cookie => {
                    if !cookies.is_empty() {
                        cookies.extend_from_slice(b"; ");
                    }
                    cookies.extend_from_slice(value.as_bytes());
                }
                Known::Other if is_look_alike(name.as_str().as_bytes()) => {}
                // White space around a value is no part of it; what a peer sends is malformed with it.
                known => drop(self.field(known, name.as_str().as_bytes(), value.as_bytes().trim_ascii())),
            }
        }
        if !cookies.is_empty() {
            self.field(Known::Cookie, b"cookie", &cookies);
        }
    }

    pub(super) fn into_head(self) -> Head {
        Head::new(self.bytes.data(), self.list)
    }
}

/// The fields of a head that are passed on, with those that are set.
pub(super) fn field_map(head: Option<&Head>, edits: &Edits) -> HeaderMap {
    let mut map = HeaderMap::with_capacity(16);
    if let Some(head) = head {
        let (fields, passed_on) = (head.fields(), PassedOn::of(head, edits));
        for field in fields.list {
            if passed_on.has(field) {
                append(&mut map, field.name.of(fields.bytes), field.value.of(fields.bytes));
            }
        }
    }
    for lines in edits.preset_lines() {
        append_lines(&mut map, lines);
    }
    for edit in edits.iter() {
        append(&mut map, edit.name.as_bytes(), edit.value.as_bytes());
    }
    map
}

fn append(map: &mut HeaderMap, name: &[u8], value: &[u8]) {
    // Both have been looked at when they came.
    if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
        map.append(name, value);
    }
}

/// Whether fields are within the limits that HTTP/1.1 has, too.
///
/// # Errors
/// [`HeadError`], of a field that is too long, or of too many.
pub(super) fn check_limits(map: &HeaderMap) -> Result<(), HeadError> {
    if map.len() > FIELDS_MAX {
        return Err(HeadError::TooManyFields);
    }
    let is_long =
        |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() > LINE_BYTES_MAX;
    if map.iter().any(is_long) { Err(HeadError::FieldTooLong) } else { Ok(()) }
}

/// Trailers that may be passed on, as lines: none that frames, routes or authorises.
pub(super) fn trailer_lines(map: &HeaderMap) -> Vec<u8> {
    let mut lines = Vec::new();
    for (name, value) in map {
        if !is_left_out(name.as_str().as_bytes()) {
            lines.extend_from_slice(name.as_str().as_bytes());
            lines.extend_from_slice(b": ");
            lines.extend_from_slice(value.as_bytes());
            lines.extend_from_slice(b"\r\n");
        }
    }
    lines
}

/// Trailers from lines; `None` if there are none.
pub(super) fn trailer_map(lines: &[u8]) -> Option<HeaderMap> {
    let mut map = HeaderMap::new();
    append_lines(&mut map, lines);
    (!map.is_empty()).then_some(map)
}

/// Appends fields from whole lines.
fn append_lines(map: &mut HeaderMap, lines: &[u8]) {
    for line in lines.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if let Some(colon) = line.iter().position(|byte| *byte == b':') {
            append(map, &line[..colon], line[colon + 1..].trim_ascii());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_a_cookie_become_one() {
        let mut map = HeaderMap::new();
        map.append("cookie", HeaderValue::from_static("a=1"));
        map.append("accept", HeaderValue::from_static("*/*"));
        map.append("cookie", HeaderValue::from_static("b=2"));
        let mut lines = Lines::new();
        lines.fields(&map, |_| true);
        assert_eq!(lines.into_head().whole(), b"accept: */*\r\ncookie: a=1; b=2\r\n");
    }

    #[test]
    fn trailers_that_frame_route_or_authorise_are_not_passed_on() {
        let mut map = HeaderMap::new();
        for name in
            ["content-length", "content_length", "host", "x-forwarded-for", "authorization", "grpc-status"]
        {
            map.append(name, HeaderValue::from_static("0"));
        }
        let lines = trailer_lines(&map);
        assert_eq!(lines, b"grpc-status: 0\r\n");
        assert_eq!(trailer_map(&lines).unwrap().len(), 1);
    }
}
