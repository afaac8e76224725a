//! The head of an HTTP/1 request, from its bytes.

use super::super::fields::{Field, Known, Span};
use super::super::request::Version;

/// Fields that a head may have.
pub(crate) const FIELDS_MAX: usize = 100;

/// Bytes of a request's head. Source: Application Load Balancer quotas: all request headers together at most 64 K.
pub(crate) const HEAD_BYTES_MAX: usize = 64 * 1024;

/// How the body of a message is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// No body.
    None,
    /// As many bytes, at least one.
    Length(u64),
    /// Chunks.
    Chunked,
}

/// A head that is complete. Its fields are in the list that was given to [`parse`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RequestHead {
    pub(crate) method: Span,
    pub(crate) target: Span,
    pub(crate) version: Version,
    pub(crate) framing: Framing,
    /// What is odd about it; see `desync`.
    pub(crate) oddities: Oddities,
    /// Bytes of the head, with the empty line at its end.
    pub(crate) end: usize,
}

/// What is odd about a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Oddities(u32);

/// Why bytes are no head that can be forwarded, whatever the mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    /// Not HTTP, or framed in a way that no one can be sure of.
    Malformed,
    /// A transfer coding other than `chunked`.
    TransferCodingUnknown,
    /// More than [`FIELDS_MAX`] fields.
    TooManyFields,
    /// More than [`HEAD_BYTES_MAX`].
    TooLarge,
    /// A version other than 1.x.
    VersionUnknown,
}

impl HeadError {
    /// The status that the client gets.
    pub(crate) fn status(self) -> u16 {
        match self {
            Self::Malformed | Self::TooLarge | Self::TooManyFields => 400,
            Self::TransferCodingUnknown => 501,
            Self::VersionUnknown => 505,
        }
    }

    /// The name in logs and metric labels.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Self::Malformed => "head_malformed",
            Self::TooLarge => "head_too_large",
            Self::TooManyFields => "head_has_too_many_fields",
            Self::TransferCodingUnknown => "transfer_coding_unknown",
            Self::VersionUnknown => "version_unknown",
        }
    }
}

/// Reads a head from the beginning of `bytes`; `None` while its end has not come. `fields` is emptied first.
///
/// May rewrite bytes in place (folded lines become one).
///
/// # Errors
/// [`HeadError`].
pub(crate) fn parse(bytes: &mut [u8], fields: &mut Vec<Field>) -> Result<Option<RequestHead>, HeadError> {
    fields.clear();
    let mut lines = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut request = httparse::Request::new(&mut lines);
    let start = bytes.as_ptr() as usize;
    let span = |part: &[u8]| {
        let at = part.as_ptr() as usize - start;
        Span::new(at, at + part.len())
    };
    let end = match request.parse(bytes) {
        Ok(httparse::Status::Complete(end)) => end,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(HeadError::TooManyFields),
        Err(_) => return Err(HeadError::Malformed),
    };
    let mut framing = Framing::None;
    for line in request.headers.iter() {
        let known = Known::of(line.name.as_bytes());
        match known {
            Known::ContentLength => {
                let text = std::str::from_utf8(line.value).map_err(|_| HeadError::Malformed)?;
                framing = match text.parse().map_err(|_| HeadError::Malformed)? {
                    0 => Framing::None,
                    bytes => Framing::Length(bytes),
                };
            }
            Known::TransferEncoding if line.value.eq_ignore_ascii_case(b"chunked") => {
                framing = Framing::Chunked;
            }
            Known::TransferEncoding => return Err(HeadError::TransferCodingUnknown),
            _ => {}
        }
        fields.push(Field { name: span(line.name.as_bytes()), value: span(line.value), known });
    }
    Ok(Some(RequestHead {
        method: span(request.method.expect("a complete head has one").as_bytes()),
        target: span(request.path.expect("a complete head has one").as_bytes()),
        version: if request.version == Some(0) { Version::Http10 } else { Version::Http11 },
        framing,
        oddities: Oddities::default(),
        end,
    }))
}
