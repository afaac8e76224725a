//! The request line.
//!
//! Source: RFC 9112 sections 2.2 and 3.

use super::super::super::fields::Span;
use super::super::desync::Reason;
use super::reader::{Reader, Stop};
use super::{HeadError, LINE_BYTES_MAX, Version, scan};

/// Bytes of empty lines before a request line: two lines, which is one more than the RFC asks to forgive.
const EMPTY_LINES_BYTES_MAX: usize = 4;

/// What a request line says.
#[derive(Clone, Copy, Debug)]
pub(super) struct RequestLine {
    pub(super) method: Span,
    pub(super) target: Span,
    pub(super) version: Version,
}

impl Reader<'_> {
    /// Reads the request line, and goes on to the next.
    pub(super) fn request_line(&mut self) -> Result<RequestLine, Stop> {
        self.skip_empty_lines()?;
        self.line = self.at;
        let method = self.method()?;
        let target = self.target()?;
        let version = self.version()?;
        if self.at - self.line > LINE_BYTES_MAX {
            return Err(Stop::Refused(HeadError::RequestLineTooLong));
        }
        self.is_among_fields = true;
        self.line = self.at;
        Ok(RequestLine { method, target, version })
    }

    /// Some clients end a body with an empty line that does not belong to it.
    fn skip_empty_lines(&mut self) -> Result<(), Stop> {
        while self.at < EMPTY_LINES_BYTES_MAX {
            match self.byte(self.at)? {
                b'\r' if self.byte(self.at + 1)? == b'\n' => self.at += 2,
                b'\n' => {
                    self.note(Reason::NonCrLfLineTermination);
                    self.at += 1;
                }
                _ => break,
            }
        }
        Ok(())
    }

    /// Reads the method and the space behind it.
    fn method(&mut self) -> Result<Span, Stop> {
        let (start, end) = (self.at, scan::token_end(self.bytes, self.at));
        match self.byte(end)? {
            b' ' if end > start => {}
            b'\n' => return Err(self.refuse(Reason::MissingUri)),
            b'\r' if self.byte(end + 1)? == b'\n' => return Err(self.refuse(Reason::MissingUri)),
            _ => return Err(self.refuse(Reason::BadMethod)),
        }
        self.at = end + 1;
        Ok(Span::new(start, end))
    }

    /// Reads the target and the space behind it.
    fn target(&mut self) -> Result<Span, Stop> {
        let (start, mut end, mut is_ascii) = (self.at, self.at, true);
        loop {
            end = scan::target_end(self.bytes, end);
            match self.byte(end)? {
                b' ' if end > start => break,
                // `GET  / HTTP/1.1` has a target that begins with a space; `GET  HTTP/1.1` has none.
                b' ' => return Err(self.refuse(self.reason_of_space(end + 1)?)),
                0x80.. => is_ascii = false,
                b'\r' if self.byte(end + 1)? != b'\n' => return Err(self.refuse(Reason::BadUri)),
                b'\r' | b'\n' if end == start || self.bytes[start..end].starts_with(b"HTTP/") => {
                    return Err(self.refuse(Reason::MissingUri));
                }
                // HTTP/0.9 has no version.
                b'\r' | b'\n' => return Err(self.refuse(Reason::NonCompliantVersion)),
                0 => return Err(self.refuse(Reason::BadUri)),
                _ => return Err(self.refuse(Reason::AmbiguousUri)),
            }
            end += 1;
        }
        // Rules match on text; software that decodes other bytes does not agree on what they say.
        if !is_ascii && std::str::from_utf8(&self.bytes[start..end]).is_err() {
            return Err(self.refuse(Reason::AmbiguousUri));
        }
        self.at = end + 1;
        Ok(Span::new(start, end))
    }

    /// Reads the version and the end of the line.
    fn version(&mut self) -> Result<Version, Stop> {
        let rest = &self.bytes[self.at..];
        if rest.starts_with(b"HTTP/1.1\r\n") {
            self.at += 10;
            return Ok(Version::Http11);
        }
        let Some(length) = rest.iter().position(|byte| *byte == b'\n') else { return Err(Stop::Incomplete) };
        let text = match rest[..length].strip_suffix(b"\r") {
            Some(text) => text,
            None => {
                self.note(Reason::NonCrLfLineTermination);
                &rest[..length]
            }
        };
        let version = self.version_of(text)?;
        self.at += length + 1;
        Ok(version)
    }

    fn version_of(&mut self, text: &[u8]) -> Result<Version, Stop> {
        let trimmed = trim_end(text);
        if trimmed.len() < text.len() {
            self.note(Reason::NonCompliantVersion);
        }
        match trimmed {
            b"HTTP/1.0" => Ok(Version::Http10),
            b"HTTP/1.1" => Ok(Version::Http11),
            [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'2'..=b'9'] => {
                self.note(Reason::NonCompliantVersion);
                Ok(Version::Http11)
            }
            [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
                Err(Stop::Refused(HeadError::VersionUnknown))
            }
            [] => Err(self.refuse(Reason::NonCompliantVersion)),
            // A space in the target: the version comes later.
            [.., b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0'..=b'9'] if trimmed.contains(&b' ') => {
                Err(self.refuse(Reason::SpaceInUri))
            }
            _ => Err(self.refuse(Reason::BadVersion)),
        }
    }

    /// What two spaces behind a method mean.
    fn reason_of_space(&self, at: usize) -> Result<Reason, Stop> {
        let rest = &self.bytes[at..];
        let Some(length) = rest.iter().position(|byte| *byte == b'\n') else { return Err(Stop::Incomplete) };
        let is_missing = rest[..length].starts_with(b"HTTP/") || rest[..length].trim_ascii().is_empty();
        Ok(if is_missing { Reason::MissingUri } else { Reason::SpaceInUri })
    }
}

/// Without the white space at its end.
fn trim_end(mut text: &[u8]) -> &[u8] {
    while let [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}
