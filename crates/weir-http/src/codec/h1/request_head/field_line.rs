//! The field lines, and the empty line behind them.
//!
//! Source: RFC 9112 section 5.

use super::super::super::fields::{Field, Known, Span};
use super::super::desync::Reason;
use super::framing::{Framer, Kept};
use super::look_alike::{Likeness, likeness, may_be_look_alike};
use super::reader::{LineEnd, Reader, Stop};
use super::{FIELDS_MAX, HeadError, LINE_BYTES_MAX, scan};

impl Reader<'_> {
    /// Reads a field with its folded lines; `false` at the empty line, which is read, too.
    #[inline]
    pub(super) fn field_line(&mut self, fields: &mut Vec<Field>, framer: &mut Framer) -> Result<bool, Stop> {
        let (start, end) = (self.at, scan::token_end(self.bytes, self.at));
        self.line = start;
        let byte = self.byte(end)?;
        if byte != b':' || end == start {
            if self.bytes[start..].starts_with(b"\r\n") {
                self.at = start + 2;
                return Ok(false);
            }
            return self.odd_line(byte, framer);
        }
        let known = Known::of(&self.bytes[start..end]);
        let value = match self.plain_value(end + 1) {
            Some(value) => value,
            None => self.value(end + 1, known)?,
        };
        self.count()?;
        let is_special = match known {
            Known::ContentLength | Known::TransferEncoding => true,
            Known::Other => may_be_look_alike(&self.bytes[start..end]),
            _ => false,
        };
        let field = Field { name: Span::new(start, end), value, known };
        if !is_special || self.special(field, framer)? == Kept::Yes {
            fields.push(field);
        }
        Ok(true)
    }

    /// Reads a value as nearly all are: a space before it, visible ASCII, CR LF, and another line that has begun.
    /// Goes on to that line; stays, with `None`, where anything is different.
    #[inline]
    fn plain_value(&mut self, at: usize) -> Option<Span> {
        let start = at + usize::from(self.bytes.get(at) == Some(&b' '));
        let end = scan::plain_end(self.bytes, start);
        let [first, .., last] = self.bytes.get(start..end)? else { return None };
        let [b'\r', b'\n', next, ..] = self.bytes[end..] else { return None };
        let is_plain = *first != b' ' && *last != b' ' && next != b' ' && next != b'\t';
        if !is_plain || end + 2 - self.line > LINE_BYTES_MAX {
            return None;
        }
        self.at = end + 2;
        Some(Span::new(start, end))
    }

    /// Takes a field that says how the body is delimited, or may look so.
    #[inline(never)]
    fn special(&mut self, field: Field, framer: &mut Framer) -> Result<Kept, Stop> {
        let value = field.value.of(self.bytes);
        match field.known {
            Known::ContentLength => framer.length(value, &mut self.oddities).map_err(Stop::Refused),
            Known::TransferEncoding => framer.coding(value, self.oddities).map_err(Stop::Refused),
            _ => Ok(match likeness(field.name.of(self.bytes)) {
                None => Kept::Yes,
                Some(likeness) => {
                    framer.disguised(likeness, value);
                    Kept::No
                }
            }),
        }
    }

    /// Counts a field line, whether it is left out or not.
    fn count(&mut self) -> Result<(), Stop> {
        self.field_lines += 1;
        if self.field_lines > FIELDS_MAX {
            return Err(Stop::Refused(HeadError::TooManyFields));
        }
        Ok(())
    }

    /// Reads a value from behind its colon, and what is folded below it, and goes on to the next line.
    #[inline(never)]
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
        self.at = line.next;
        Ok(line.text)
    }

    /// Reads a line that does not begin with a token and a colon, `byte` standing behind the token: the empty line, or
    /// one that no target sees.
    #[inline(never)]
    fn odd_line(&mut self, byte: u8, framer: &mut Framer) -> Result<bool, Stop> {
        let start = self.at;
        let begins = self.bytes[start] == byte;
        match byte {
            b'\r' if begins => {
                // Nothing else may follow it, but it may not have come yet.
                self.byte(start + 1)?;
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
        self.count()?;
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
