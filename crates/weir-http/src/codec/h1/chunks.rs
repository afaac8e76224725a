//! The chunked coding, decoded.

/// A decoder of one chunked body.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chunks {
    state: State,
    trailers: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Size,
    Data(u64),
    DataEnd,
    Trailers,
    Done,
}

/// What comes next in a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// As many bytes of the body, as far as they have come.
    Data(usize),
    /// Nothing that can be told yet.
    More,
    /// The end of the body.
    End,
}

/// Why a body is not chunked as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChunkError;

impl Chunks {
    /// Looks at the next bytes: how many of them are framing, and what follows those.
    ///
    /// # Errors
    /// [`ChunkError`].
    pub(crate) fn decode(&mut self, bytes: &[u8]) -> Result<(usize, Step), ChunkError> {
        let mut at = 0;
        loop {
            let rest = &bytes[at..];
            match self.state {
                State::Size => {
                    let Some(end) = rest.iter().position(|b| *b == b'\n') else {
                        return if rest.len() > 64 { Err(ChunkError) } else { Ok((at, Step::More)) };
                    };
                    let line = rest[..end].strip_suffix(b"\r").ok_or(ChunkError)?;
                    let digits = line.split(|b| *b == b';').next().unwrap_or(b"");
                    let is_size =
                        (1..=16).contains(&digits.len()) && digits.iter().all(u8::is_ascii_hexdigit);
                    let text = std::str::from_utf8(digits).map_err(|_| ChunkError)?;
                    let size = u64::from_str_radix(text, 16).ok().filter(|_| is_size).ok_or(ChunkError)?;
                    at += end + 1;
                    self.state = if size == 0 { State::Trailers } else { State::Data(size) };
                }
                State::Data(left) => {
                    let here = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    return Ok((at, if here == 0 { Step::More } else { Step::Data(here) }));
                }
                State::DataEnd => match rest {
                    [b'\r', b'\n', ..] => {
                        at += 2;
                        self.state = State::Size;
                    }
                    [] | [b'\r'] => return Ok((at, Step::More)),
                    _ => return Err(ChunkError),
                },
                State::Trailers => {
                    let Some(end) = rest.iter().position(|b| *b == b'\n') else {
                        return Ok((at, Step::More));
                    };
                    at += end + 1;
                    if rest[..end] == *b"\r" {
                        self.state = State::Done;
                    }
                }
                State::Done => return Ok((at, Step::End)),
            }
        }
    }

    /// As many bytes of the body, which [`Step::Data`] told of, have been taken.
    pub(crate) fn taken(&mut self, count: usize) {
        if let State::Data(left) = self.state {
            let left = left - count as u64;
            self.state = if left == 0 { State::DataEnd } else { State::Data(left) };
        }
    }

    /// The trailers that may be passed on, as lines, once the body has ended.
    pub(crate) fn take_trailers(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.trailers)
    }
}
