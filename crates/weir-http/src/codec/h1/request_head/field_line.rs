//! The field lines, and the empty line behind them.
//!
//! Source: RFC 9112 section 5.

use super::super::super::fields::{Field, Known, Span};
use super::super::desync::Reason;
use super::framing::{Framer, Kept};
use super::look_alike::{Likeness, likeness};
use super::reader::{LineEnd, Reader, Stop};
use super::{FIELDS_MAX, HeadError, LINE_BYTES_MAX, scan};

impl Reader<'_> {
    /// Reads a field with its folded lines; `false` at the empty line, which is read, too.
    pub(super) fn field_line(&mut self, fields: &mut Vec<Field>, framer: &mut Framer) -> Result<bool, Stop> {
        self.line = self.at;
        let (start, end) = (self.at, scan::token_end(self.bytes, self.at));
        let byte = self.byte(end)?;
        if byte != b':' || end == start {
            return self.odd_line(byte, framer);
        }
        let known = Known::of(&self.bytes[start..end]);
        let value = self.value(end + 1, known)?;
        let kept = match known {
            Known::ContentLength => framer.length(value.of(self.bytes), &mut self.oddities),
            Known::TransferEncoding => framer.coding(value.of(self.bytes), self.oddities),
            Known::Other => Ok(match likeness(&self.bytes[start..end]) {
                None => Kept::Yes,
                Some(likeness) => {
                    framer.disguised(likeness, value.of(self.bytes));
                    Kept::No
                }
            }),
            _ => Ok(Kept::Yes),
        };
        if kept.map_err(Stop::Refused)? == Kept::Yes {
            fields.push(Field { name: Span::new(start, end), value, known });
        }
        Ok(true)
    }

    /// Reads a value from behind its colon, and what is folded below it, and goes on to the next line.
    fn value(&mut self, mut start: usize, known: Known) -> Result<Span, Stop> {
        let control = match known {
            Known::ContentLength => Reason::BadContentLength,
            Known::TransferEncoding => Reason::BadTransferEncoding,
            _ => Reason::NonCompliantHeader,
        };
        while matches!(self.byte(start)?, b' ' | b'\t') {
            start += 1;
        }
        let line = self.line_end(start, control)?;
        let is_foldable = !matches!(
            known,
            Known::Connection | Known::ContentLength | Known::Host | Known::TransferEncoding
        );
        let mut end = self.folded(line, is_foldable)?;
        // White space at either end may be where a line was folded.
        let is_space = |at: usize| matches!(self.bytes[at], b' ' | b'\t' | b'\r' | b'\n');
        while start < end && is_space(end - 1) {
            end -= 1;
        }
        while start < end && is_space(start) {
            start += 1;
        }
        Ok(Span::new(start, end))
    }

    /// Reads what is folded below a line, and gives the end of the text.
    fn folded(&mut self, mut line: LineEnd, is_foldable: bool) -> Result<usize, Stop> {
        while matches!(self.byte(line.next)?, b' ' | b'\t') {
            self.note(Reason::MultilineHeader);
            if !is_foldable {
                return Err(self.refuse(Reason::MultilineHeader));
            }
            let start = line.next;
            line = self.line_end(start, Reason::NonCompliantHeader)?;
            // To some, this is a field with white space before its name.
            let (name, _) = split_at_colon(&self.bytes[start..line.text]);
            if matches!(likeness(name), Some(Likeness::ContentLength | Likeness::TransferEncoding)) {
                return Err(self.refuse(Reason::SuspiciousHeader));
            }
        }
        if line.next - self.line > LINE_BYTES_MAX {
            return Err(Stop::Refused(HeadError::FieldTooLong));
        }
        self.field_lines += 1;
        if self.field_lines > FIELDS_MAX {
            return Err(Stop::Refused(HeadError::TooManyFields));
        }
        self.at = line.next;
        Ok(line.text)
    }

    /// Reads a line that does not begin with a token and a colon, `byte` standing behind the token: the empty line, or
    /// one that no target sees.
    fn odd_line(&mut self, byte: u8, framer: &mut Framer) -> Result<bool, Stop> {
        let start = self.at;
        let begins = self.bytes[start] == byte;
        match byte {
            b'\r' if begins && self.byte(start + 1)? == b'\n' => {
                self.at = start + 2;
                return Ok(false);
            }
            b'\n' if begins => {
                self.note(Reason::NonCrLfLineTermination);
                self.at = start + 1;
                return Ok(false);
            }
            // Folded below the request line.
            b' ' | b'\t' if begins => return Err(self.refuse(Reason::MultilineHeader)),
            _ => {}
        }
        let line = self.line_end(start, Reason::NonCompliantHeader)?;
        self.folded(line, true)?;
        let (name, value) = split_at_colon(&self.bytes[start..line.text]);
        match (name, value) {
            (_, None) => self.note(Reason::MissingHeaderColon),
            ([], _) => self.note(Reason::EmptyHeader),
            _ => self.note(Reason::NonCompliantHeader),
        }
        if let Some(likeness) = likeness(name) {
            framer.disguised(likeness, value.unwrap_or_default().trim_ascii());
        }
        Ok(true)
    }
}

/// What stands before and behind the first colon.
fn split_at_colon(line: &[u8]) -> (&[u8], Option<&[u8]>) {
    match line.iter().position(|byte| *byte == b':') {
        Some(at) => (&line[..at], Some(&line[at + 1..])),
        None => (line, None),
    }
}
