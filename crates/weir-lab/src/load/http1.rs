//! As much HTTP/1.1 as a generator needs: where a response ends, its status, and who says that it is theirs.

use super::tally::Names;

/// Most bytes of a response's head.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// The answer is none that HTTP/1.1 knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// How far a response has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    /// So many bytes of the body are to come.
    Length(u64),
    /// The body ends with the connection.
    UntilClose,
    Size(u64),
    Extension(u64),
    Chunk(u64),
    ChunkEnd,
    /// A line of trailers, and whether it is empty so far.
    Trailer(bool),
    Whole,
}

/// Reads one response after another of a connection.
#[derive(Debug)]
pub(super) struct Reader {
    state: State,
    /// The beginning of a head that has not come whole.
    head: Vec<u8>,
    /// Of the response that has come whole last.
    pub(super) status: u16,
    /// Number of the name in `x-lab-target`.
    pub(super) target: Option<u32>,
    /// Whether the connection may be used again.
    pub(super) is_kept: bool,
}

/// What a head says.
#[derive(Debug, PartialEq, Eq)]
struct Head<'a> {
    status: u16,
    is_http_10: bool,
    length: Option<u64>,
    is_chunked: bool,
    is_kept: bool,
    target: Option<&'a [u8]>,
}

impl Reader {
    pub(super) fn new() -> Self {
        Self { state: State::Head, head: Vec::new(), status: 0, target: None, is_kept: true }
    }

    /// Takes what has come, and says whether the response is whole now.
    pub(super) fn hear(&mut self, mut bytes: &[u8], names: &mut Names) -> Result<bool, Malformed> {
        if self.state == State::Whole {
            self.state = State::Head;
        }
        while self.state == State::Head {
            let Some(rest) = self.take_head(bytes, names)? else { return Ok(false) };
            bytes = rest;
        }
        while let Some(&byte) = bytes.first() {
            let (state, taken) = self.advance(byte, bytes.len())?;
            (self.state, bytes) = (state, &bytes[taken..]);
            if state == State::Whole {
                break;
            }
        }
        // Nobody has asked for what follows.
        if self.state == State::Whole && !bytes.is_empty() {
            Err(Malformed)
        } else {
            Ok(self.state == State::Whole)
        }
    }

    /// Whether the end of the connection is the end of the response.
    pub(super) fn ends_with_connection(&self) -> bool {
        self.state == State::UntilClose
    }

    /// Takes a head; what comes after it, once it has come whole.
    fn take_head<'a>(&mut self, bytes: &'a [u8], names: &mut Names) -> Result<Option<&'a [u8]>, Malformed> {
        if self.head.is_empty() {
            let Some((head, length)) = read_head(bytes)? else {
                self.head.extend_from_slice(bytes);
                return Ok(None);
            };
            (self.state, self.status, self.is_kept) = (state_after(&head), head.status, head.is_kept);
            self.target = head.target.map(|name| names.number(name));
            return Ok(Some(&bytes[length..]));
        }
        let earlier = self.head.len();
        self.head.extend_from_slice(bytes);
        let mut all = std::mem::take(&mut self.head);
        let Some((head, length)) = read_head(&all)? else {
            self.head = all;
            return if self.head.len() > HEAD_BYTES_MAX { Err(Malformed) } else { Ok(None) };
        };
        (self.state, self.status, self.is_kept) = (state_after(&head), head.status, head.is_kept);
        self.target = head.target.map(|name| names.number(name));
        all.clear();
        self.head = all;
        Ok(Some(&bytes[length - earlier..]))
    }

    /// The state after so many bytes of which this is the first, and how many of them that took.
    fn advance(&self, byte: u8, count: usize) -> Result<(State, usize), Malformed> {
        let part = |left: u64| left.min(count as u64);
        Ok(match self.state {
            State::Length(left) if part(left) == left => (State::Whole, left as usize),
            State::Length(left) => (State::Length(left - part(left)), count),
            State::UntilClose => (State::UntilClose, count),
            State::Chunk(left) if part(left) == left => (State::ChunkEnd, left as usize),
            State::Chunk(left) => (State::Chunk(left - part(left)), count),
            State::ChunkEnd => match byte {
                b'\r' => (State::ChunkEnd, 1),
                b'\n' => (State::Size(0), 1),
                _ => return Err(Malformed),
            },
            State::Size(size) | State::Extension(size) if byte == b'\n' => {
                (if size == 0 { State::Trailer(true) } else { State::Chunk(size) }, 1)
            }
            State::Extension(size) => (State::Extension(size), 1),
            State::Size(size) => match (byte as char).to_digit(16) {
                Some(digit) => (State::Size(size.checked_mul(16).ok_or(Malformed)? + u64::from(digit)), 1),
                None => (State::Extension(size), 1),
            },
            State::Trailer(true) if byte == b'\n' => (State::Whole, 1),
            State::Trailer(is_empty) => (State::Trailer(byte == b'\n' || (is_empty && byte == b'\r')), 1),
            State::Head | State::Whole => return Err(Malformed),
        })
    }
}

/// What follows a head; after one that only informs, the next head.
fn state_after(head: &Head<'_>) -> State {
    match head.status {
        100..=199 => State::Head,
        204 | 304 => State::Whole,
        _ if head.is_chunked => State::Size(0),
        _ => match head.length {
            Some(0) => State::Whole,
            Some(length) => State::Length(length),
            None => State::UntilClose,
        },
    }
}

/// The head at the beginning, and its bytes; `None` before it has come whole.
fn read_head(bytes: &[u8]) -> Result<Option<(Head<'_>, usize)>, Malformed> {
    let mut head =
        Head { status: 0, is_http_10: false, length: None, is_chunked: false, is_kept: true, target: None };
    let mut at = 0;
    while let Some(end) = bytes[at..].iter().position(|byte| *byte == b'\n') {
        let line = &bytes[at..at + end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        at += end + 1;
        if head.status == 0 {
            (head.status, head.is_http_10) = read_status(line)?;
            head.is_kept = !head.is_http_10;
        } else if line.is_empty() {
            head.is_kept &=
                head.length.is_some() || head.is_chunked || matches!(head.status, 100..=199 | 204 | 304);
            return Ok(Some((head, at)));
        } else {
            read_field(line, &mut head)?;
        }
    }
    Ok(None)
}

/// The status, and whether the server speaks HTTP/1.0.
fn read_status(line: &[u8]) -> Result<(u16, bool), Malformed> {
    let digits = match line {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0' | b'1', b' ', digits @ ..] => digits.get(..3),
        _ => None,
    };
    let digits = digits.and_then(|digits| std::str::from_utf8(digits).ok()).ok_or(Malformed)?;
    let status: u16 = digits.parse().map_err(|_| Malformed)?;
    if status < 100 { Err(Malformed) } else { Ok((status, line[7] == b'0')) }
}

fn read_field<'a>(line: &'a [u8], head: &mut Head<'a>) -> Result<(), Malformed> {
    // Most fields are none of these, and their first letter says so.
    if !matches!(line[0], b'c' | b'C' | b't' | b'T' | b'x' | b'X') {
        return Ok(());
    }
    let colon = line.iter().position(|byte| *byte == b':').ok_or(Malformed)?;
    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    if name.eq_ignore_ascii_case(b"content-length") {
        let digits = std::str::from_utf8(value).map_err(|_| Malformed)?;
        head.length = Some(digits.parse().map_err(|_| Malformed)?);
    } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
        head.is_chunked = value.to_ascii_lowercase().ends_with(b"chunked");
    } else if name.eq_ignore_ascii_case(b"connection") {
        let is_close = value.eq_ignore_ascii_case(b"close");
        head.is_kept = !is_close && (!head.is_http_10 || value.eq_ignore_ascii_case(b"keep-alive"));
    } else if name.eq_ignore_ascii_case(b"x-lab-target") {
        head.target = Some(value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    type Heard = (bool, u16, Option<String>, bool);

    /// What comes of these pieces: whole or not, the status, the target's name, and whether the connection is kept.
    fn heard(pieces: &[&[u8]]) -> Heard {
        let (mut reader, mut names) = (Reader::new(), Names::default());
        let mut is_whole = false;
        for piece in pieces {
            is_whole = reader.hear(piece, &mut names).unwrap();
        }
        let name = reader.target.map(|number| names.name(number).to_string());
        (is_whole, reader.status, name, reader.is_kept)
    }

    #[test]
    fn responses_end_where_they_say_in_any_pieces() {
        let target = || Some("a".to_owned());
        let cases: [(&str, Heard); 8] = [
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nX-Lab-Target: a\r\n\r\nabc",
                (true, 200, target(), true),
            ),
            ("HTTP/1.1 503 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", (true, 503, None, false)),
            ("HTTP/1.1 204 None\r\n\r\n", (true, 204, None, true)),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n1\r\nd\r\n0\r\nTrailer: 1\r\n\r\n",
                (true, 200, None, true),
            ),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 404 No\r\nContent-Length: 1\r\n\r\nx",
                (true, 404, None, true),
            ),
            ("HTTP/1.1 200 OK\r\n\r\nabc", (false, 200, None, false)),
            ("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", (true, 200, None, false)),
            (
                "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx",
                (true, 200, None, true),
            ),
        ];
        for (response, expected) in cases {
            assert_eq!(heard(&[response.as_bytes()]), expected, "{response}");
            let pieces: Vec<&[u8]> = response.as_bytes().chunks(1).collect();
            assert_eq!(heard(&pieces), expected, "{response} in pieces");
        }
    }

    #[test]
    fn what_is_no_response_or_more_than_one_is_malformed() {
        for response in [
            "SSH-2.0-OpenSSH\r\n",
            "HTTP/1.1 2x0 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxy",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
        ] {
            let heard = Reader::new().hear(response.as_bytes(), &mut Names::default());
            assert_eq!(heard, Err(Malformed), "{response}");
        }
    }
}
