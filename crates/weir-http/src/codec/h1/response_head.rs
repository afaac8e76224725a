//! The head of an HTTP/1 response, from its bytes.

use super::super::fields::{Field, Known, Span};
use super::super::head::has_token;
use super::super::response::may_have_body;
use super::body::Decoder;
use super::chunks::Chunks;
use super::request_head::scan;

#[cfg(test)]
mod beside_httparse;

/// Bytes of a response's head.
///
/// Source: Application Load Balancer quotas: all response headers together at most 32 K.
pub(crate) const HEAD_BYTES_MAX: usize = 32 * 1024;

/// Fields that a head may have.
const FIELDS_MAX: usize = 128;

/// A head that is complete. Its fields are in the list that was given to [`parse`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ResponseHead {
    pub(crate) status: u16,
    pub(crate) reason: Span,
    /// How the body is delimited, unless the request or the status forbids one.
    pub(crate) framing: Framing,
    /// Whether the target keeps its connection.
    pub(crate) keeps_alive: bool,
    /// Bytes of the head, with the empty line at its end.
    pub(crate) end: usize,
}

/// How a response's body is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(u64),
    Chunked,
    UntilClose,
}

/// Not a head, or one whose framing is in doubt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

/// Reads a head from the beginning of `bytes`; `None` while its end has not come. `fields` is emptied first.
///
/// # Errors
/// [`Malformed`].
pub(crate) fn parse(bytes: &[u8], fields: &mut Vec<Field>) -> Result<Option<ResponseHead>, Malformed> {
    fields.clear();
    match read(bytes, fields) {
        Ok(head) => Ok(Some(head)),
        Err(Stop::Incomplete) => Ok(None),
        Err(Stop::Malformed) => Err(Malformed),
    }
}

/// Why reading stops before the end of a head.
enum Stop {
    Incomplete,
    Malformed,
}

impl From<Malformed> for Stop {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

fn read(bytes: &[u8], fields: &mut Vec<Field>) -> Result<ResponseHead, Stop> {
    let line = status_line(bytes)?;
    let (mut length, mut is_chunked) = (None, false);
    let (mut says_close, mut says_keep_alive) = (false, false);
    let mut at = line.next;
    while let Some(field) = field_line(bytes, &mut at)? {
        let value = field.value.of(bytes);
        match field.known {
            Known::ContentLength => {
                let told = content_length(value)?;
                if length.is_some_and(|length| length != told) {
                    return Err(Stop::Malformed);
                }
                length = Some(told);
            }
            Known::TransferEncoding
                if !is_chunked && !line.is_http_10 && value.eq_ignore_ascii_case(b"chunked") =>
            {
                is_chunked = true;
            }
            Known::TransferEncoding => return Err(Stop::Malformed),
            Known::Connection => {
                says_close |= has_token(value, "close");
                says_keep_alive |= has_token(value, "keep-alive");
            }
            _ => {}
        }
        if fields.len() == FIELDS_MAX {
            return Err(Stop::Malformed);
        }
        fields.push(field);
    }
    let framing = match (length, is_chunked) {
        (Some(_), true) => return Err(Stop::Malformed),
        (Some(bytes), false) => Framing::Length(bytes),
        (None, true) => Framing::Chunked,
        (None, false) => Framing::UntilClose,
    };
    let keeps_alive = !says_close && (!line.is_http_10 || says_keep_alive);
    Ok(ResponseHead { status: line.status, reason: line.reason, framing, keeps_alive, end: at })
}

struct StatusLine {
    is_http_10: bool,
    status: u16,
    reason: Span,
    /// Where the fields begin.
    next: usize,
}

/// Reads `HTTP/1.1 200 OK`; what follows the status may be missing.
fn status_line(bytes: &[u8]) -> Result<StatusLine, Stop> {
    const VERSION: &[u8] = b"HTTP/1.";
    const REASON_AT: usize = VERSION.len() + "1 200 ".len();
    let known = bytes.len().min(VERSION.len());
    if bytes[..known] != VERSION[..known] {
        return Err(Stop::Malformed);
    }
    let Some([minor, b' ', status @ ..]) = bytes.get(VERSION.len()..REASON_AT - 1) else {
        return Err(if bytes.len() < REASON_AT { Stop::Incomplete } else { Stop::Malformed });
    };
    if !matches!(minor, b'0' | b'1') || !status.iter().all(u8::is_ascii_digit) || status[0] == b'0' {
        return Err(Stop::Malformed);
    }
    let status = status.iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0'));
    let behind = REASON_AT - 1;
    let reason_start = behind + usize::from(bytes.get(behind) == Some(&b' '));
    let (end, next) = line_end(bytes, reason_start)?;
    if end > behind && reason_start == behind {
        return Err(Stop::Malformed);
    }
    Ok(StatusLine { is_http_10: *minor == b'0', status, reason: Span::new(reason_start, end), next })
}

/// Reads a field and goes on to the next line; `None` at the empty line, which is read, too.
#[inline]
fn field_line(bytes: &[u8], at: &mut usize) -> Result<Option<Field>, Stop> {
    let (start, colon) = (*at, scan::token_end(bytes, *at));
    match bytes.get(colon) {
        None => return Err(Stop::Incomplete),
        Some(b':') if colon > start => {}
        Some(b'\r' | b'\n') if colon == start => {
            let (end, next) = line_end(bytes, start)?;
            debug_assert_eq!(end, start);
            *at = next;
            return Ok(None);
        }
        Some(_) => return Err(Stop::Malformed),
    }
    let mut value_start = colon + 1;
    while matches!(bytes.get(value_start), Some(b' ' | b'\t')) {
        value_start += 1;
    }
    let (mut end, next) = line_end(bytes, value_start)?;
    // A line that begins with a space would go on with this one: no target needs that.
    if matches!(bytes.get(next).ok_or(Stop::Incomplete)?, b' ' | b'\t') {
        return Err(Stop::Malformed);
    }
    while end > value_start && matches!(bytes[end - 1], b' ' | b'\t') {
        end -= 1;
    }
    *at = next;
    let (name, value) = (Span::new(start, colon), Span::new(value_start.min(end), end));
    Ok(Some(Field { name, value, known: Known::of(name.of(bytes)) }))
}

/// Where a line's text ends, and where the next line begins. A line may end without CR; it may have no other control
/// byte than HT.
#[inline]
fn line_end(bytes: &[u8], start: usize) -> Result<(usize, usize), Stop> {
    let mut at = scan::plain_end(bytes, start);
    loop {
        match bytes.get(at) {
            Some(b'\r') => match bytes.get(at + 1) {
                Some(b'\n') => return Ok((at, at + 2)),
                Some(_) => return Err(Stop::Malformed),
                None => return Err(Stop::Incomplete),
            },
            Some(b'\n') => return Ok((at, at + 1)),
            Some(b'\t' | 0x80..) => at = scan::plain_end(bytes, at + 1),
            Some(_) => return Err(Stop::Malformed),
            None => return Err(Stop::Incomplete),
        }
    }
}

/// A `Content-Length`: digits and nothing else.
fn content_length(value: &[u8]) -> Result<u64, Malformed> {
    let is_digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(value).ok().filter(|_| is_digits).ok_or(Malformed)?;
    text.parse().map_err(|_| Malformed)
}

impl ResponseHead {
    /// Whether the exchange goes on after it: a response that only informs.
    pub(crate) fn is_interim(&self) -> bool {
        (100..200).contains(&self.status) && self.status != 101
    }

    /// What is to come of its body, as the answer to a request whose method was HEAD or not.
    pub(crate) fn body(&self, is_head: bool) -> Decoder {
        match self.framing {
            _ if !may_have_body(self.status, is_head) => Decoder::NONE,
            Framing::Length(0) => Decoder::NONE,
            Framing::Length(bytes) => Decoder::Length(bytes),
            Framing::Chunked => Decoder::Chunked(Chunks::default(), 0),
            Framing::UntilClose => Decoder::UntilClose,
        }
    }

    /// The length that the head tells, of a body that may not follow.
    pub(crate) fn length(&self) -> Option<u64> {
        match self.framing {
            Framing::Length(bytes) => Some(bytes),
            Framing::Chunked | Framing::UntilClose => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(head: &str) -> Result<ResponseHead, Malformed> {
        parse(head.replace('|', "\r\n").as_bytes(), &mut Vec::new()).map(|head| head.expect("it is complete"))
    }

    #[test]
    fn a_head_says_how_its_body_ends_and_whether_the_connection_is_kept() {
        for (head, framing, keeps_alive) in [
            ("HTTP/1.1 200 OK|Content-Length: 5||", Framing::Length(5), true),
            ("HTTP/1.1 200 OK|content-length: 5|Content-Length: 5||", Framing::Length(5), true),
            ("HTTP/1.1 200 OK|Transfer-Encoding: Chunked||", Framing::Chunked, true),
            ("HTTP/1.1 200 OK|Connection: x, Close||", Framing::UntilClose, false),
            ("HTTP/1.0 200|Content-Length: 5||", Framing::Length(5), false),
            ("HTTP/1.0 200 |Content-Length: 5|Connection: keep-alive||", Framing::Length(5), true),
        ] {
            let parsed = parsed(head).unwrap();
            assert_eq!((parsed.framing, parsed.keeps_alive), (framing, keeps_alive), "{head}");
        }
    }

    #[test]
    fn a_head_whose_framing_is_in_doubt_is_malformed() {
        for head in [
            "HTTP/1.1 200 OK|Content-Length: 5|Transfer-Encoding: chunked||",
            "HTTP/1.1 200 OK|Content-Length: 5|Content-Length: 6||",
            "HTTP/1.1 200 OK|Content-Length: +5||",
            "HTTP/1.1 200 OK|Content-Length:||",
            "HTTP/1.1 200 OK|Content-Length: 5, 5||",
            "HTTP/1.1 200 OK|Transfer-Encoding: gzip, chunked||",
            "HTTP/1.1 200 OK|Transfer-Encoding: chunked|Transfer-Encoding: chunked||",
            "HTTP/1.0 200 OK|Transfer-Encoding: chunked||",
            "HTTP/1.1 200 OK|X: a\rb||",
            "HTTP/1.1 200 OK|X: a\0b||",
            "HTTP/1.1 200 OK|X : a||",
            "HTTP/1.1 200 OK|X: a| b||",
            "ICY 200 OK||",
            "HTTP/2.0 200 OK||",
            "HTTP/1.2 200 OK||",
            "HTTP/1.1 2000 OK||",
            "HTTP/1.1 20 OK||",
            "HTTP/1.1 099 OK||",
            "HTTP/1.1 200OK||",
            "HTTP/1.1 200 O\u{1}K||",
            "HTTP/1.1 200 OK|: a||",
            "HTTP/1.1 200 OK|X||",
        ] {
            assert!(parsed(head).is_err(), "{head:?}");
        }
    }

    #[test]
    fn a_head_in_pieces_is_whole_only_with_its_last_byte() {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: \u{fc}\t1 \r\nY:\r\n\r\n".as_bytes();
        for count in 0..head.len() {
            assert_eq!(parse(&head[..count], &mut Vec::new()), Ok(None), "{count}");
        }
        let mut fields = Vec::new();
        assert_eq!(parse(head, &mut fields).unwrap().unwrap().end, head.len());
        let values: Vec<&[u8]> = fields.iter().map(|field| field.value.of(head)).collect();
        assert_eq!(values, [&b"5"[..], "\u{fc}\t1".as_bytes(), b""]);
    }

    #[test]
    fn a_reason_is_kept() {
        let bytes = b"HTTP/1.1 200 Fine by me\r\n\r\n";
        let head = parse(bytes, &mut Vec::new()).unwrap().unwrap();
        assert_eq!(head.reason.of(bytes), b"Fine by me");
    }
}
