//! The fields behind a chunked body.
//!
//! Source: RFC 9110 section 6.5, which says what trailers must not carry.

use super::super::super::fields::Known;
use super::super::request_head::is_look_alike;
use super::ChunkError;

/// Fields that trailers may have, left out ones among them: as many as a head.
const FIELDS_MAX: u32 = super::super::request_head::FIELDS_MAX as u32;

/// Bytes of trailers, left out fields among them. Ours: a quarter of what a head may have.
const BYTES_MAX: usize = 16 * 1024;

/// Names beside the [`Known`] ones that are left out: they route, authorize or describe a message that has been
/// acted upon when its trailers come.
const LEFT_OUT: [&[u8]; 16] = [
    b"age",
    b"cache-control",
    b"content-encoding",
    b"content-range",
    b"content-type",
    b"forwarded",
    b"location",
    b"max-forwards",
    b"pragma",
    b"proxy-authenticate",
    b"proxy-authorization",
    b"range",
    b"set-cookie",
    b"via",
    b"www-authenticate",
    b"x-real-ip",
];

/// Beginnings of names that a load balancer writes itself.
const LEFT_OUT_PREFIXES: [&[u8]; 3] = [b"if-", b"x-amzn-", b"x-forwarded-"];

/// The trailer fields of one body that may be passed on, and the line that is being read.
#[derive(Debug, Default)]
pub(super) struct Trailers {
    /// Lines that are passed on, then the bytes of the line that is being read.
    bytes: Vec<u8>,
    /// Where that line begins.
    line: usize,
    fields: u32,
    /// Bytes of lines that were left out.
    left_out: usize,
}

impl Trailers {
    /// The lines that are complete.
    pub(super) fn lines(&self) -> &[u8] {
        &self.bytes[..self.line]
    }

    /// Adds a byte to the line.
    pub(super) fn push(&mut self, byte: u8) -> Result<(), ChunkError> {
        if self.bytes.len() + self.left_out >= BYTES_MAX {
            return Err(ChunkError::TrailersTooLarge);
        }
        self.bytes.push(byte);
        Ok(())
    }

    /// Keeps the line, as `name: value`, or leaves it out.
    pub(super) fn end_line(&mut self) -> Result<(), ChunkError> {
        self.fields += 1;
        if self.fields > FIELDS_MAX {
            return Err(ChunkError::TrailersTooLarge);
        }
        let line = &self.bytes[self.line..];
        let colon = line.iter().position(|byte| *byte == b':').expect("a line ends only behind its colon");
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii().to_vec());
        if is_left_out(name) {
            self.left_out += line.len();
            self.bytes.truncate(self.line);
            return Ok(());
        }
        self.bytes.truncate(self.line + colon);
        self.bytes.extend_from_slice(b": ");
        self.bytes.extend_from_slice(&value);
        self.bytes.extend_from_slice(b"\r\n");
        self.line = self.bytes.len();
        Ok(())
    }
}

/// Whether nobody is to see a trailer of that name.
pub(in super::super::super) fn is_left_out(name: &[u8]) -> bool {
    let begins =
        |prefix: &&[u8]| name.len() >= prefix.len() && name[..prefix.len()].eq_ignore_ascii_case(prefix);
    Known::of(name) != Known::Other
        || LEFT_OUT.iter().any(|left_out| name.eq_ignore_ascii_case(left_out))
        || LEFT_OUT_PREFIXES.iter().any(begins)
        || is_look_alike(name)
}
