//! Heads and chunks as they are written: framing is made anew, never copied.

use super::super::buffer::Buffer;
use super::super::edits::Edits;
use super::super::fields::{Field, Known, KnownSet};
use super::super::head::Head;
use super::super::request::Parts;
use super::super::request_target::Target;
use super::super::{date, response};
use super::request_head::Framing;

/// Fields that concern one connection, or frame a message on it. Source: RFC 9110 section 7.6.1.
const OF_THE_CONNECTION: KnownSet = KnownSet::of(&[
    Known::Connection,
    Known::ContentLength,
    Known::Expect,
    Known::Http2Settings,
    Known::KeepAlive,
    Known::ProxyConnection,
    Known::Te,
    Known::Trailer,
    Known::TransferEncoding,
    Known::Upgrade,
    // Only weir may say this, and says it anew.
    Known::XAmznMtls,
]);

/// Fields that a sender must not be able to take away by naming them in `Connection`.
const NEVER_NOMINATED: KnownSet = KnownSet::of(&[
    Known::Authorization,
    Known::Cookie,
    Known::Host,
    Known::XForwardedFor,
    Known::XForwardedPort,
    Known::XForwardedProto,
]);

/// The longest framing of one chunk: sixteen digits and two line ends.
const CHUNK_FRAMING_BYTES_MAX: usize = 16 + 2 + 2;

/// How many bytes of a body still fit into `output` beside their framing; `None` when it should be written first.
pub(super) fn room_for_data(output: &Buffer) -> Option<usize> {
    const LEAST: usize = 512;
    output.room().checked_sub(CHUNK_FRAMING_BYTES_MAX).filter(|room| *room >= LEAST)
}

/// Appends as much of a body's bytes as there is `room` for, in a chunk of their own or as they are; how many those were.
pub(super) fn append_data(output: &mut Buffer, bytes: &[u8], room: usize, is_chunked: bool) -> usize {
    let taken = bytes.len().min(room);
    if is_chunked {
        append_chunk(output, &bytes[..taken]);
    } else {
        output.append(&bytes[..taken]);
    }
    taken
}

/// Appends one chunk.
fn append_chunk(output: &mut Buffer, data: &[u8]) {
    output.append_all([hexadecimal(data.len(), &mut [0; 16]), b"\r\n", data, b"\r\n"]);
}

/// Appends the end of a chunked body, with `trailers` as whole lines.
pub(super) fn append_last_chunk(output: &mut Buffer, trailers: &[u8]) {
    output.append_all([b"0\r\n", trailers, b"\r\n"]);
}

/// Appends a request's head toward its target.
pub(super) fn append_request_head(output: &mut Buffer, request: &Parts) {
    let head = &request.head;
    let method = head.bytes(request.method);
    let (path, mark, query): (&[u8], &[u8], &[u8]) = match (&request.rewritten_url, request.target) {
        (Some(url), _) => (url.as_bytes(), b"", b""),
        (None, Target::Asterisk) => (b"*", b"", b""),
        // Refused before; what is not a path is no target's.
        (None, Target::Invalid) => (b"/", b"", b""),
        (None, Target::Resource { path, query, .. }) => {
            let (mark, query) = query.map_or((&b""[..], &b""[..]), |query| (b"?", head.bytes(query)));
            (path.map_or(b"/", |path| head.bytes(path)), mark, query)
        }
    };
    output.append_all([method, b" ", path, mark, query, b" HTTP/1.1\r\n"]);
    // With `Host` in front, as RFC 9110 section 7.2 would have it.
    append_edits(output, &request.edits);
    append_fields(output, head, &request.edits);
    match request.body.framing() {
        Framing::Length(bytes) => append_length(output, bytes),
        Framing::Chunked => output.append(b"Transfer-Encoding: chunked\r\n"),
        // A method that usually has a body says that it has none.
        Framing::None if matches!(method, b"POST" | b"PUT" | b"PATCH") => {
            append_length(output, 0);
        }
        Framing::None => {}
    }
    if let Some(protocol) = request.upgrade {
        append_field(output, b"Upgrade", head.bytes(protocol));
        output.append(b"Connection: upgrade\r\n");
    }
    output.append(b"\r\n");
}

/// What of a head is passed on.
pub(in super::super) struct PassedOn<'a> {
    head: &'a Head,
    edits: &'a Edits,
    /// Whether `Connection` may name other fields as its own.
    has_nominated: bool,
}

impl<'a> PassedOn<'a> {
    pub(in super::super) fn of(head: &'a Head, edits: &'a Edits) -> Self {
        Self { head, edits, has_nominated: head.nominates() }
    }

    /// Whether a field is: it concerns not only the connection it came on, and is not replaced.
    pub(in super::super) fn has(&self, field: &Field) -> bool {
        let name = self.head.bytes(field.name);
        !(OF_THE_CONNECTION.has(field.known)
            || self.edits.replaces(field.known, name)
            || (self.has_nominated && is_nominated(self.head, field.known, name)))
    }
}

/// Appends the fields that are passed on.
pub(super) fn append_fields(output: &mut Buffer, head: &Head, edits: &Edits) {
    let (fields, passed_on) = (head.fields(), PassedOn::of(head, edits));
    // Fields that follow each other, and are written as they came, are copied in one go.
    let (mut run_start, mut run_end) = (0, 0);
    for field in fields.list {
        if !passed_on.has(field) {
            continue;
        }
        let (start, end) = (field.name.start as usize, field.value.end as usize + 2);
        let is_as_written = field.value.start == field.name.end + 2
            && fields.bytes.get(field.name.end as usize..field.value.start as usize) == Some(b": ")
            && fields.bytes.get(end - 2..end) == Some(b"\r\n");
        if is_as_written && start == run_end {
            run_end = end;
            continue;
        }
        output.append(&fields.bytes[run_start..run_end]);
        if is_as_written {
            (run_start, run_end) = (start, end);
        } else {
            (run_start, run_end) = (0, 0);
            append_field(output, field.name.of(fields.bytes), field.value.of(fields.bytes));
        }
    }
    output.append(&fields.bytes[run_start..run_end]);
}

/// Appends the fields that are set.
pub(super) fn append_edits(output: &mut Buffer, edits: &Edits) {
    for edit in edits.iter() {
        append_field(output, edit.name.as_bytes(), edit.value.as_bytes());
    }
    output.append_all(edits.preset_lines());
}

/// Appends one field.
pub(super) fn append_field(output: &mut Buffer, name: &[u8], value: &[u8]) {
    output.append_all([name, b": ", value, b"\r\n"]);
}

/// Appends a `Content-Length`.
pub(super) fn append_length(output: &mut Buffer, bytes: u64) {
    output.append_all([b"Content-Length: ", decimal(bytes, &mut [0; 20]), b"\r\n"]);
}

/// A number in decimal digits.
fn decimal(mut number: u64, digits: &mut [u8; 20]) -> &[u8] {
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &digits[at..];
        }
    }
}

/// A number in hexadecimal digits.
fn hexadecimal(mut number: usize, digits: &mut [u8; 16]) -> &[u8] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = DIGITS[number & 15];
        number >>= 4;
        if number == 0 {
            return &digits[at..];
        }
    }
}

/// Whether `Connection` names a field as its own.
fn is_nominated(head: &Head, known: Known, name: &[u8]) -> bool {
    !NEVER_NOMINATED.has(known)
        && head.fields().values(Known::Connection).any(|value| {
            value.split(|byte| *byte == b',').any(|token| token.trim_ascii().eq_ignore_ascii_case(name))
        })
}

/// How a response's body is delimited toward the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Delimiter {
    /// No body follows.
    Nothing,
    /// Its length is in the head.
    Length,
    /// Chunks.
    Chunks,
    /// The end of the connection, for a client that knows no chunks.
    Close,
}

/// Appends a response's head toward its client.
pub(super) fn append_response_head(
    output: &mut Buffer,
    response: &response::Parts,
    delimiter: Delimiter,
    connection: Option<&'static [u8]>,
    wall_seconds: impl FnOnce() -> u64,
) {
    let reason = match (&response.head, response.reason) {
        (Some(head), Some(reason)) => head.bytes(reason),
        _ => response::reason_phrase(response.status).as_bytes(),
    };
    output.append_all([
        b"HTTP/1.1 ",
        decimal(u64::from(response.status), &mut [0; 20]),
        b" ",
        reason,
        b"\r\n",
    ]);
    if let Some(head) = &response.head {
        append_fields(output, head, &response.edits);
    }
    append_edits(output, &response.edits);
    if response.head.as_ref().is_none_or(|head| head.first(Known::Date).is_none()) {
        date::with(wall_seconds(), |date| append_field(output, b"Date", date.as_bytes()));
    }
    match delimiter {
        Delimiter::Chunks => output.append(b"Transfer-Encoding: chunked\r\n"),
        Delimiter::Nothing | Delimiter::Length => {
            if let Some(bytes) = response.length.filter(|_| may_have_length(response.status)) {
                append_length(output, bytes);
            }
        }
        Delimiter::Close => {}
    }
    if response.status == response::SWITCHING_PROTOCOLS {
        if let Some(protocol) = response.head.as_ref().and_then(|head| head.first(Known::Upgrade)) {
            append_field(output, b"Upgrade", protocol);
        }
        output.append(b"Connection: upgrade\r\n");
    } else if let Some(connection) = connection {
        append_field(output, b"Connection", connection);
    }
    output.append(b"\r\n");
}

/// Whether a response with this status may tell a length. Source: RFC 9110 section 8.6.
fn may_have_length(status: u16) -> bool {
    status >= 200 && status != 204
}
