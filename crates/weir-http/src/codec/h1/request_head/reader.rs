//! Where in a head the parser is, and what it has seen until there.

use super::super::desync::{Oddities, Reason};
use super::{HEAD_BYTES_MAX, HeadError, LINE_BYTES_MAX, scan};

/// Why reading stops before the end of a head.
#[derive(Debug)]
pub(super) enum Stop {
    /// The rest has not come.
    Incomplete,
    Refused(HeadError),
}

/// The bytes that there are of a head, and a place in them.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    pub(super) bytes: &'a [u8],
    /// The next line begins here, or the part of a line that is being read.
    pub(super) at: usize,
    /// Where the line being read begins.
    pub(super) line: usize,
    pub(super) oddities: Oddities,
    /// Field lines so far, left out ones among them.
    pub(super) field_lines: usize,
    /// Whether the request line has ended.
    pub(super) is_among_fields: bool,
}

/// A line's text, from where it was looked at, and where the next line begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct LineEnd {
    pub(super) text: usize,
    pub(super) next: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, line: 0, oddities: Oddities::default(), field_lines: 0, is_among_fields: false }
    }

    /// The byte there, once it has come.
    pub(super) fn byte(&self, at: usize) -> Result<u8, Stop> {
        self.bytes.get(at).copied().ok_or(Stop::Incomplete)
    }

    /// Remembers an oddity that reading can go on with.
    pub(super) fn note(&mut self, reason: Reason) {
        self.oddities = self.oddities.with(reason);
    }

    /// Refuses for a reason, and names what was odd before.
    pub(super) fn refuse(&self, reason: Reason) -> Stop {
        Stop::Refused(HeadError::Malformed(self.oddities.with(reason)))
    }

    /// Runs over the rest of a field line, from `at`.
    ///
    /// Refuses NUL and a CR that does not end the line, and for `control` other controls than HT.
    pub(super) fn line_end(&mut self, mut at: usize, control: Reason) -> Result<LineEnd, Stop> {
        loop {
            at = scan::plain_end(self.bytes, at);
            match self.byte(at)? {
                b'\r' if self.byte(at + 1)? == b'\n' => return Ok(LineEnd { text: at, next: at + 2 }),
                b'\n' => {
                    self.note(Reason::NonCrLfLineTermination);
                    return Ok(LineEnd { text: at, next: at + 1 });
                }
                b'\t' => {}
                0x80.. => self.note(Reason::NonCompliantHeader),
                b'\r' | 0 => return Err(self.refuse(Reason::BadHeader)),
                _ => return Err(self.refuse(control)),
            }
            at += 1;
        }
    }

    /// What the bytes are that no head has ended in: the beginning of one, or too much.
    pub(super) fn incomplete(&self) -> Result<(), HeadError> {
        let is_long = self.bytes.len() - self.line > LINE_BYTES_MAX;
        match self.is_among_fields {
            false if is_long => Err(HeadError::RequestLineTooLong),
            true if is_long => Err(HeadError::FieldTooLong),
            _ if self.bytes.len() >= HEAD_BYTES_MAX => Err(HeadError::HeadTooLarge),
            _ => Ok(()),
        }
    }
}
