//! How the body of a request is delimited, and what is odd about how that is said.
//!
//! Source: RFC 9112 section 6.3; RFC 2616 section 4.4 for `identity`, which says nothing.

use super::super::desync::{Oddities, Reason};
use super::look_alike::Likeness;
use super::{Framing, HeadError, Version, scan};

/// A transfer coding that is understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Chunked,
    Identity,
}

/// What the fields of a head say of its body, gathered one by one.
#[derive(Debug, Default)]
pub(super) struct Framer {
    coding: Option<Coding>,
    length: Option<u64>,
    disguised: Disguised,
}

/// What look-alikes say; their values count for the class, and for nothing else.
#[derive(Debug, Default)]
struct Disguised {
    has_coding: bool,
    has_length: bool,
    is_chunked: bool,
    length: Option<u64>,
    oddities: Oddities,
}

/// Whether a field is to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    Yes,
    No,
}

impl Framer {
    /// Takes the value of a `Content-Length`.
    pub(super) fn length(&mut self, value: &[u8], oddities: &mut Oddities) -> Result<Kept, HeadError> {
        let Some(length) = number(value) else {
            return Err(HeadError::Malformed(oddities.with(Reason::BadContentLength)));
        };
        match self.length.replace(length) {
            None => Ok(Kept::Yes),
            Some(before) if before == length => {
                *oddities = oddities.with(Reason::DuplicateContentLength);
                Ok(Kept::No)
            }
            Some(_) => Err(HeadError::Malformed(oddities.with(Reason::MultipleContentLength))),
        }
    }

    /// Takes the value of a `Transfer-Encoding`.
    pub(super) fn coding(&mut self, value: &[u8], oddities: Oddities) -> Result<Kept, HeadError> {
        let coding = coding(value).map_err(|error| match error {
            HeadError::Malformed(more) => HeadError::Malformed(oddities.with_all(more)),
            error => error,
        })?;
        match (self.coding.replace(coding), coding) {
            (None, Coding::Chunked) => Ok(Kept::Yes),
            (None, Coding::Identity) => Ok(Kept::No),
            (Some(Coding::Chunked), Coding::Chunked) => {
                Err(HeadError::Malformed(oddities.with(Reason::MultipleTransferEncodingChunked)))
            }
            (Some(_), _) => Err(HeadError::Malformed(oddities.with(Reason::BadTransferEncoding))),
        }
    }

    /// Takes the value of a field that looks like one that says how the body is delimited.
    pub(super) fn disguised(&mut self, likeness: Likeness, value: &[u8]) {
        let disguised = &mut self.disguised;
        match likeness {
            Likeness::ContentLength => {
                disguised.has_length = true;
                match (number(value), disguised.length) {
                    (None, _) => disguised.note(Reason::BadContentLength),
                    (Some(length), Some(before)) if before != length => {
                        disguised.note(Reason::MultipleContentLength);
                    }
                    (Some(length), _) => disguised.length = Some(length),
                }
            }
            Likeness::TransferEncoding => {
                disguised.has_coding = true;
                match coding(value) {
                    Ok(Coding::Chunked) if disguised.is_chunked => {
                        disguised.note(Reason::MultipleTransferEncodingChunked);
                    }
                    Ok(Coding::Chunked) => disguised.is_chunked = true,
                    Ok(Coding::Identity) => {}
                    Err(error) => disguised.oddities = disguised.oddities.with_all(error.oddities()),
                }
            }
            Likeness::Forwarding => return,
        }
        disguised.note(Reason::SuspiciousHeader);
    }

    /// The framing, once all fields are known.
    pub(super) fn finish(&self, method: &[u8], version: Version, oddities: &mut Oddities) -> Framing {
        if self.coding.is_none() && self.length.is_none() && self.disguised.oddities.is_empty() {
            return Framing::None;
        }
        if self.coding.is_some() && self.length.is_some() {
            *oddities = oddities.with(Reason::BothTeClPresent);
        }
        let is_bodiless = method == b"GET" || method == b"HEAD";
        if self.coding.is_some() && (is_bodiless || version == Version::Http10) {
            *oddities = oddities.with(Reason::UndefinedTransferEncodingSemantics);
        }
        match self.length {
            Some(0) if is_bodiless => *oddities = oddities.with(Reason::GetHeadZeroContentLength),
            Some(_) if is_bodiless => *oddities = oddities.with(Reason::UndefinedContentLengthSemantics),
            _ => {}
        }
        if !self.disguised.oddities.is_empty() {
            *oddities = oddities.with_all(self.unmask(&self.disguised));
        }
        match (self.coding, self.length) {
            (Some(Coding::Chunked), _) => Framing::Chunked,
            (_, None | Some(0)) => Framing::None,
            (_, Some(length)) => Framing::Length(length),
        }
    }

    /// Whether a `Content-Length` counts for nothing, because chunks say where the body ends.
    pub(super) fn overrules_length(&self) -> bool {
        self.coding == Some(Coding::Chunked) && self.length.is_some()
    }

    /// What is odd about look-alikes beside the fields that they look like.
    fn unmask(&self, disguised: &Disguised) -> Oddities {
        let mut oddities = disguised.oddities;
        let has_coding = self.coding.is_some() || disguised.has_coding;
        let has_length = self.length.is_some() || disguised.has_length;
        if has_coding && has_length {
            oddities = oddities.with(Reason::SuspiciousTeClPresent);
        }
        if disguised.is_chunked && self.coding == Some(Coding::Chunked) {
            oddities = oddities.with(Reason::MultipleTransferEncodingChunked);
        }
        if let (Some(ours), Some(theirs)) = (self.length, disguised.length) {
            let is_same = ours == theirs;
            oddities = oddities.with(if is_same {
                Reason::DuplicateContentLength
            } else {
                Reason::MultipleContentLength
            });
        }
        oddities
    }
}

impl Disguised {
    fn note(&mut self, reason: Reason) {
        self.oddities = self.oddities.with(reason);
    }
}

/// A number of digits alone; `None` for anything else, and above `u64`.
fn number(value: &[u8]) -> Option<u64> {
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// The one coding that a value names.
fn coding(value: &[u8]) -> Result<Coding, HeadError> {
    let malformed = |reason| Err(HeadError::Malformed(Oddities::of(reason)));
    if value.eq_ignore_ascii_case(b"chunked") {
        return Ok(Coding::Chunked);
    }
    if value.eq_ignore_ascii_case(b"identity") {
        return Ok(Coding::Identity);
    }
    if !value.is_empty() && scan::token_end(value, 0) == value.len() {
        return Err(HeadError::TransferCodingUnknown);
    }
    let is_chunked = |item: &&[u8]| item.trim_ascii().eq_ignore_ascii_case(b"chunked");
    if value.split(|byte| *byte == b',').filter(is_chunked).count() > 1 {
        return malformed(Reason::MultipleTransferEncodingChunked);
    }
    malformed(Reason::BadTransferEncoding)
}
