//! The head of an HTTP/1 response, from its bytes.

use super::super::fields::{Field, Known, Span};
use super::super::head::has_token;
use super::super::response::may_have_body;
use super::body::Decoder;
use super::chunks::Chunks;

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
    let mut lines = [const { std::mem::MaybeUninit::uninit() }; FIELDS_MAX];
    let mut response = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let end = match config.parse_response_with_uninit_headers(&mut response, bytes, &mut lines) {
        Ok(httparse::Status::Complete(end)) => end,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(Malformed),
    };
    let start = bytes.as_ptr() as usize;
    let span = |part: &[u8]| {
        // A part that the parser made up, such as an empty reason, is nowhere in the bytes.
        let at = (part.as_ptr() as usize).wrapping_sub(start);
        if at + part.len() > bytes.len() { Span::default() } else { Span::new(at, at + part.len()) }
    };
    let is_http_10 = response.version == Some(0);
    let (mut length, mut is_chunked) = (None, false);
    let (mut says_close, mut says_keep_alive) = (false, false);
    for line in response.headers.iter() {
        let known = Known::of(line.name.as_bytes());
        match known {
            Known::ContentLength => {
                let bytes = content_length(line.value)?;
                if length.is_some_and(|length| length != bytes) {
                    return Err(Malformed);
                }
                length = Some(bytes);
            }
            Known::TransferEncoding if is_chunked || is_http_10 => return Err(Malformed),
            Known::TransferEncoding if line.value.eq_ignore_ascii_case(b"chunked") => is_chunked = true,
            Known::TransferEncoding => return Err(Malformed),
            Known::Connection => {
                says_close |= has_token(line.value, "close");
                says_keep_alive |= has_token(line.value, "keep-alive");
            }
            _ => {}
        }
        fields.push(Field { name: span(line.name.as_bytes()), value: span(line.value), known });
    }
    let framing = match (length, is_chunked) {
        (Some(_), true) => return Err(Malformed),
        (Some(bytes), false) => Framing::Length(bytes),
        (None, true) => Framing::Chunked,
        (None, false) => Framing::UntilClose,
    };
    Ok(Some(ResponseHead {
        status: response.code.ok_or(Malformed)?,
        reason: span(response.reason.unwrap_or("").as_bytes()),
        framing,
        keeps_alive: !says_close && (!is_http_10 || says_keep_alive),
        end,
    }))
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
        ] {
            assert!(parsed(head).is_err(), "{head:?}");
        }
    }

    #[test]
    fn a_reason_is_kept() {
        let bytes = b"HTTP/1.1 200 Fine by me\r\n\r\n";
        let head = parse(bytes, &mut Vec::new()).unwrap().unwrap();
        assert_eq!(head.reason.of(bytes), b"Fine by me");
    }
}
