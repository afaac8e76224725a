//! Chunked bodies, decoded in whatever pieces they come.
//!
//! Stricter than the RFC asks for, because what one side forgives another reads differently: every line ends with CR LF,
//! a size is hexadecimal digits alone, and extensions are checked before they are dropped. Nothing of a chunk line is
//! ever copied to the other side.
//!
//! Source: RFC 9112 section 7.1.

use trailers::Trailers;

use super::request_head::scan;

#[cfg(test)]
mod tests;
pub(in super::super) mod trailers;

/// Digits of a chunk's size: those of a `u64`.
const SIZE_DIGITS_MAX: u8 = 16;

/// Bytes of extensions in one body. Source: as many as Go and hyper take; CVE-2023-39326.
const EXTENSION_BYTES_MAX: u32 = 16 * 1024;

/// Why bytes are no chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ChunkError {
    /// Something else than CR LF behind the data of a chunk.
    #[error("a chunk is longer than its size says")]
    DataUnended,
    /// No extension by the RFC's grammar.
    #[error("a chunk extension is malformed")]
    ExtensionInvalid,
    /// More than [`EXTENSION_BYTES_MAX`].
    #[error("chunk extensions are longer than 16 KiB")]
    ExtensionsTooLong,
    /// A CR without LF.
    #[error("a line of a chunked body does not end with CR LF")]
    LineUnended,
    /// Something else than 1 to [`SIZE_DIGITS_MAX`] hexadecimal digits.
    #[error("the size of a chunk is malformed")]
    SizeInvalid,
    /// No field: a name that is no token, a control byte in a value, a folded line.
    #[error("a trailer field is malformed")]
    TrailerInvalid,
    /// More fields or bytes than trailers may have.
    #[error("there are too many trailer fields, or they are too long")]
    TrailersTooLarge,
}

/// What comes next in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// So many bytes of data follow those that were consumed, at least one. The decoder counts them as taken.
    Data(usize),
    /// Nothing more follows; what was consumed belongs to the message.
    End,
    /// All bytes were consumed, and the body goes on.
    More,
}

/// A decoder of one chunked body. Nothing needs to be kept for it between calls.
#[derive(Debug, Default)]
pub(crate) struct Chunks {
    state: State,
    /// The size as far as it is read, then the bytes of data that are still to come.
    left: u64,
    /// Bytes of extensions so far.
    extensions: u32,
    trailers: Trailers,
}

/// What the next byte belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// The size, of which this many digits are read.
    Size(u8),
    /// The LF of a size's line, behind its CR.
    SizeLf,
    Extension(Extension),
    Data,
    /// The CR behind data.
    DataCr,
    DataLf,
    /// The first byte of a trailer field, or the empty line.
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    /// The LF of the empty line.
    EndLf,
    End,
    #[default]
    /// The first digit of a size.
    Start,
}

/// A part of an extension, `;name`, `;name=value` or `;name="value"`, with white space around names and values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extension {
    BeforeName,
    Name,
    BehindName,
    BeforeValue,
    Value,
    Quoted,
    /// The byte behind a backslash.
    Escaped,
    /// Behind the closing quote.
    Closed,
    BehindValue,
}

impl Chunks {
    /// Looks at the next bytes of the body: how many of them are no data and done with, and what follows them.
    ///
    /// Whoever cannot take all data that follows gives fewer bytes.
    ///
    /// # Errors
    /// [`ChunkError`], at the first byte that is wrong. A decoder that has failed is not to be asked again.
    pub(crate) fn decode(&mut self, bytes: &[u8]) -> Result<(usize, Step), ChunkError> {
        let mut at = 0;
        loop {
            match (self.state, bytes.get(at)) {
                (State::End, _) => return Ok((at, Step::End)),
                (_, None) => return Ok((at, Step::More)),
                (State::Data, Some(_)) => return Ok((at, Step::Data(self.take(bytes.len() - at)))),
                (state, Some(byte)) => self.state = self.next(state, *byte)?,
            }
            at += 1;
        }
    }

    /// The trailer fields that may be passed on, as lines `name: value` that end with CR LF; complete with the end of the
    /// body. Those that frame, route, authorize or say where a request comes from are left out.
    pub(crate) fn trailers(&self) -> &[u8] {
        self.trailers.lines()
    }

    /// Takes as many bytes of data as there are and belong to the chunk.
    fn take(&mut self, here: usize) -> usize {
        let taken = usize::try_from(self.left).map_or(here, |left| left.min(here));
        self.left -= taken as u64;
        if self.left == 0 {
            self.state = State::DataCr;
        }
        taken
    }

    fn next(&mut self, state: State, byte: u8) -> Result<State, ChunkError> {
        match (state, byte) {
            (State::Start, _) => {
                self.left = 0;
                self.digit(byte, 0)
            }
            (State::Size(_), b'\r') => Ok(State::SizeLf),
            (State::Size(_), b';') => self.extension(State::Extension(Extension::BeforeName)),
            (State::Size(digits), _) => self.digit(byte, digits),
            (State::SizeLf, b'\n') if self.left == 0 => Ok(State::TrailerStart),
            (State::SizeLf, b'\n') => Ok(State::Data),
            (State::Extension(part), _) => {
                self.extension(part.next(byte).ok_or(ChunkError::ExtensionInvalid)?)
            }
            (State::DataCr, b'\r') => Ok(State::DataLf),
            (State::DataLf, b'\n') => Ok(State::Start),
            (State::TrailerStart, b'\r') => Ok(State::EndLf),
            (State::TrailerStart | State::TrailerName, _) if scan::is_token(byte) => {
                self.trailers.push(byte)?;
                Ok(State::TrailerName)
            }
            (State::TrailerValue, b'\r') => Ok(State::TrailerLf),
            (State::TrailerName, b':') | (State::TrailerValue, b'\t' | b' '..=b'~' | 0x80..) => {
                self.trailers.push(byte)?;
                Ok(State::TrailerValue)
            }
            (State::TrailerLf, b'\n') => {
                self.trailers.end_line()?;
                Ok(State::TrailerStart)
            }
            (State::EndLf, b'\n') => Ok(State::End),
            (State::DataCr | State::DataLf, _) => Err(ChunkError::DataUnended),
            (State::SizeLf | State::TrailerLf | State::EndLf, _) => Err(ChunkError::LineUnended),
            (State::TrailerStart | State::TrailerName | State::TrailerValue, _) => {
                Err(ChunkError::TrailerInvalid)
            }
            (State::Data | State::End, _) => unreachable!("data and what follows the end are not looked at"),
        }
    }

    /// Adds a digit to a size that has so many.
    fn digit(&mut self, byte: u8, digits: u8) -> Result<State, ChunkError> {
        let digit = char::from(byte).to_digit(16).filter(|_| digits < SIZE_DIGITS_MAX);
        let digit = digit.ok_or(ChunkError::SizeInvalid)?;
        self.left = self.left << 4 | u64::from(digit);
        Ok(State::Size(digits + 1))
    }

    /// Counts a byte of an extension, behind which `state` is.
    fn extension(&mut self, state: State) -> Result<State, ChunkError> {
        self.extensions += 1;
        if self.extensions > EXTENSION_BYTES_MAX {
            return Err(ChunkError::ExtensionsTooLong);
        }
        Ok(state)
    }
}

impl Extension {
    /// Where a byte leads: to another part, or to the end of the line. `None` for a byte that cannot be there.
    fn next(self, byte: u8) -> Option<State> {
        use Extension::{
            BeforeName, BeforeValue, BehindName, BehindValue, Closed, Escaped, Name, Quoted, Value,
        };
        let is_text = matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
        Some(State::Extension(match (self, byte) {
            (Quoted, b'"') => Closed,
            (Quoted, b'\\') => Escaped,
            (Quoted | Escaped, _) if is_text => Quoted,
            (BeforeName | BeforeValue | BehindName | BehindValue, b' ' | b'\t') => self,
            (BeforeName | Name, _) if scan::is_token(byte) => Name,
            (BeforeValue | Value, _) if scan::is_token(byte) => Value,
            (BeforeValue, b'"') => Quoted,
            (Name, b' ' | b'\t') => BehindName,
            (Value | Closed, b' ' | b'\t') => BehindValue,
            (Name | BehindName, b'=') => BeforeValue,
            (Name | BehindName | Value | Closed | BehindValue, b';') => BeforeName,
            (Name | Value | Closed, b'\r') => return Some(State::SizeLf),
            _ => return None,
        }))
    }
}
