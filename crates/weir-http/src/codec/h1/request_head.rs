//! The head of an HTTP/1 request, from its bytes: read, and graded for desync mitigation, in one pass.
//!
//! What Amazon's classes let pass in some mode is read leniently where targets can be sent something clean instead:
//! lines may end without CR, a folded line becomes one, and a line that no target should see is left out of the fields.
//! Everything else is a [`HeadError`], whatever the mode. Limits are those of an Application Load Balancer.
//!
//! Source: RFC 9112 sections 2 to 6; Application Load Balancer, "Desync mitigation mode" and "Quotas".

use super::super::fields::{Field, Known, Span};
pub(crate) use super::super::request::Version;
use super::desync::{Oddities, Reason};
use framing::Framer;
use reader::{Reader, Stop};

mod field_line;
mod framing;
mod look_alike;
mod reader;
mod request_line;
pub(super) mod scan;
#[cfg(test)]
mod tests;

/// Fields that a head may have, left out ones among them.
pub(crate) const FIELDS_MAX: usize = 100;

/// Bytes of a head. Source: "Quotas", "Size of all request headers", 64 K.
pub(crate) const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Bytes of a request line, or of a field with its folded lines, and of the line end. Source: "Quotas", "Size of a
/// request line" and "Size of a single header", 16 K.
pub(crate) const LINE_BYTES_MAX: usize = 16 * 1024;

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
    /// A token.
    pub(crate) method: Span,
    /// At least one byte, without controls, white space and fragment; UTF-8.
    pub(crate) target: Span,
    pub(crate) version: Version,
    pub(crate) framing: Framing,
    /// What is odd about it; see `desync`.
    pub(crate) oddities: Oddities,
    /// Bytes of the head, with what precedes the request line and the empty line at its end.
    pub(crate) end: usize,
}

/// Why bytes are no head that can be forwarded, whatever the mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadError {
    /// A field of more than [`LINE_BYTES_MAX`]: 400.
    FieldTooLong,
    /// More than [`HEAD_BYTES_MAX`]: 400.
    HeadTooLarge,
    /// Not HTTP, or framed in a way that no one can be sure of: 400. What was odd about it until then.
    Malformed(Oddities),
    /// A request line of more than [`LINE_BYTES_MAX`]: 414.
    RequestLineTooLong,
    /// More than [`FIELDS_MAX`] fields: 400.
    TooManyFields,
    /// A transfer coding other than `chunked`: 501.
    TransferCodingUnknown,
    /// A version other than 1.x: 505.
    VersionUnknown,
}

impl HeadError {
    /// What is odd about the head, for the log; nothing where a limit was exceeded.
    pub(crate) fn oddities(self) -> Oddities {
        match self {
            Self::Malformed(oddities) => oddities,
            Self::TransferCodingUnknown => Oddities::of(Reason::BadTransferEncoding),
            Self::VersionUnknown => Oddities::of(Reason::BadVersion),
            Self::FieldTooLong | Self::HeadTooLarge | Self::RequestLineTooLong | Self::TooManyFields => {
                Oddities::default()
            }
        }
    }
}

/// Reads a head from the beginning of `bytes`; `None` while its end has not come. `fields` is emptied first.
///
/// The fields are those that a target may see: names are tokens; values have no control bytes but HT, and no white
/// space around them. There is at most one `Content-Length` or `Transfer-Encoding`, which says `chunked`, and not both.
/// Rewrites bytes in place where lines are folded, once the head is complete.
///
/// # Errors
/// [`HeadError`], as early as the bytes tell.
pub(crate) fn parse(bytes: &mut [u8], fields: &mut Vec<Field>) -> Result<Option<RequestHead>, HeadError> {
    fields.clear();
    let mut reader = Reader::new(bytes);
    let head = match read(&mut reader, fields) {
        Ok(head) if head.end > HEAD_BYTES_MAX => return Err(HeadError::HeadTooLarge),
        Ok(head) => head,
        Err(Stop::Incomplete) => return reader.incomplete().map(|()| None),
        Err(Stop::Refused(error)) => return Err(error),
    };
    if head.oddities.has(Reason::MultilineHeader) {
        unfold(bytes, fields);
    }
    Ok(Some(head))
}

/// Whether some software takes a name for one that frames a message or says where it comes from.
pub(crate) fn is_look_alike(name: &[u8]) -> bool {
    look_alike::likeness(name).is_some()
}

fn read(reader: &mut Reader<'_>, fields: &mut Vec<Field>) -> Result<RequestHead, Stop> {
    let line = reader.request_line()?;
    let mut framer = Framer::default();
    while reader.field_line(fields, &mut framer)? {}
    let method = line.method.of(reader.bytes);
    let framing = framer.finish(method, line.version, &mut reader.oddities);
    if framer.overrules_length() {
        fields.retain(|field| field.known != Known::ContentLength);
    }
    Ok(RequestHead {
        method: line.method,
        target: line.target,
        version: line.version,
        framing,
        oddities: reader.oddities,
        end: reader.at,
    })
}

/// Makes one line of every value that goes over several.
///
/// Source: RFC 9112 section 5.2.
fn unfold(bytes: &mut [u8], fields: &[Field]) {
    for field in fields {
        for byte in &mut bytes[field.value.start as usize..field.value.end as usize] {
            if matches!(byte, b'\r' | b'\n') {
                *byte = b' ';
            }
        }
    }
}
