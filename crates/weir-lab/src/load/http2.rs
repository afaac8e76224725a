//! As much HTTP/2 as a generator needs: many requests at a time over one connection.
//!
//! It opens windows that no response fills, as h2load does, and has the peer keep no table of fields.
//!
//! Source: RFC 9113.

use super::hpack;
use super::http1::Malformed;
use super::outcome::{Ending, Failure};
use super::tally::{Flight, Names};

/// Window of the connection and of each stream, in bytes. Source: h2load's default.
const WINDOW_BYTES: u32 = (1 << 30) - 1;

/// What a connection's window is before anybody says otherwise. Source: RFC 9113, section 6.9.2.
const INITIAL_WINDOW_BYTES: u32 = 65_535;

const FRAME_HEAD_BYTES: usize = 9;

/// Longest frame that the peer may send. Source: RFC 9113, section 4.2, when nobody says otherwise.
const FRAME_BYTES_MAX: usize = 16_384;

/// Last stream of a client. Source: RFC 9113, section 5.1.1.
const STREAM_MAX: u32 = (1 << 31) - 1;

/// Types of frames. Source: RFC 9113, section 6.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 32;

/// Settings. Source: RFC 9113, section 6.5.2.
const HEADER_TABLE_SIZE: u16 = 1;
const ENABLE_PUSH: u16 = 2;
const MAX_CONCURRENT_STREAMS: u16 = 3;
const INITIAL_WINDOW_SIZE: u16 = 4;

/// Nobody wants the answer any more. Source: RFC 9113, section 7.
const CANCEL: u32 = 8;

/// One client connection.
#[derive(Debug)]
pub(super) struct Http2 {
    /// The beginning of a frame that has not come whole.
    heard: Vec<u8>,
    next_stream: u32,
    /// Streams that wait for the end of their response; few, so that looking through them is cheapest.
    streams: Vec<Stream>,
    /// As many as are wanted, and as the peer allows.
    streams_wanted: usize,
    streams_max: usize,
    /// Whether the peer wants new requests on another connection.
    is_leaving: bool,
    /// Bytes of bodies since the connection's window was last opened.
    unacknowledged: u32,
    /// Strings that are being read.
    scratch: Vec<u8>,
}

#[derive(Debug)]
struct Stream {
    number: u32,
    flight: Flight,
    status: u16,
    target: Option<u32>,
}

/// A request that has ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) flight: Flight,
    pub(super) ending: Ending,
    pub(super) target: Option<u32>,
}

impl Http2 {
    /// A connection for so many requests at a time; what it says first goes to `out`.
    pub(super) fn new(streams_wanted: usize, out: &mut Vec<u8>) -> Self {
        out.extend_from_slice(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        let settings = [
            setting(HEADER_TABLE_SIZE, 0),
            setting(ENABLE_PUSH, 0),
            setting(INITIAL_WINDOW_SIZE, WINDOW_BYTES),
        ];
        say(out, SETTINGS, 0, 0, settings.as_flattened());
        say(out, WINDOW_UPDATE, 0, 0, &(WINDOW_BYTES - INITIAL_WINDOW_BYTES).to_be_bytes());
        Self {
            heard: Vec::new(),
            next_stream: 1,
            streams: Vec::with_capacity(streams_wanted),
            streams_wanted,
            streams_max: streams_wanted,
            is_leaving: false,
            unacknowledged: 0,
            scratch: Vec::new(),
        }
    }

    /// Whether it can take one more request.
    pub(super) fn has_room(&self) -> bool {
        !self.is_leaving && self.streams.len() < self.streams_max
    }

    /// Whether the peer wants no more requests, and has answered all.
    pub(super) fn has_left(&self) -> bool {
        self.is_leaving && self.streams.is_empty()
    }

    /// Appends one more request, of these fields, to `out`.
    pub(super) fn ask(&mut self, fields: &[u8], flight: Flight, out: &mut Vec<u8>) {
        say(out, HEADERS, END_STREAM | END_HEADERS, self.next_stream, fields);
        self.streams.push(Stream { number: self.next_stream, flight, status: 0, target: None });
        self.next_stream += 2;
        self.is_leaving |= self.next_stream >= STREAM_MAX;
    }

    /// Takes what has come: adds what has ended, and appends acknowledgements to `out`.
    pub(super) fn hear(
        &mut self,
        bytes: &[u8],
        names: &mut Names,
        out: &mut Vec<u8>,
        ended: &mut Vec<Ended>,
    ) -> Result<(), Malformed> {
        let mut heard = std::mem::take(&mut self.heard);
        let is_continued = !heard.is_empty();
        if is_continued {
            heard.extend_from_slice(bytes);
        }
        let mut rest = if is_continued { &heard[..] } else { bytes };
        while let Some((frame, after)) = Frame::split(rest)? {
            self.take(&frame, names, out, ended)?;
            rest = after;
        }
        let left = rest.len();
        if is_continued {
            heard.drain(..heard.len() - left);
        } else {
            heard.extend_from_slice(&bytes[bytes.len() - left..]);
        }
        self.heard = heard;
        if self.unacknowledged > WINDOW_BYTES / 2 {
            say(out, WINDOW_UPDATE, 0, 0, &self.unacknowledged.to_be_bytes());
            self.unacknowledged = 0;
        }
        Ok(())
    }

    fn take(
        &mut self,
        frame: &Frame<'_>,
        names: &mut Names,
        out: &mut Vec<u8>,
        ended: &mut Vec<Ended>,
    ) -> Result<(), Malformed> {
        match frame.kind {
            SETTINGS if frame.flags & ACK == 0 => {
                for pair in frame.payload.as_chunks::<6>().0 {
                    let value = u32::from_be_bytes([pair[2], pair[3], pair[4], pair[5]]);
                    if u16::from_be_bytes([pair[0], pair[1]]) == MAX_CONCURRENT_STREAMS {
                        self.streams_max = self.streams_wanted.min(value as usize);
                    }
                }
                say(out, SETTINGS, ACK, 0, &[]);
            }
            PING if frame.flags & ACK == 0 => say(out, PING, ACK, 0, frame.payload),
            GOAWAY => {
                self.is_leaving = true;
                let last = frame.payload.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
                self.end_where(|stream| stream.number > last, Failure::Reset, ended);
            }
            DATA | HEADERS | RST_STREAM => self.take_of_stream(frame, names, ended)?,
            _ => {}
        }
        Ok(())
    }

    fn take_of_stream(
        &mut self,
        frame: &Frame<'_>,
        names: &mut Names,
        ended: &mut Vec<Ended>,
    ) -> Result<(), Malformed> {
        if frame.kind == DATA {
            self.unacknowledged += frame.payload.len() as u32;
        }
        let Some(at) = self.streams.iter().position(|stream| stream.number == frame.stream) else {
            return Ok(());
        };
        if frame.kind == HEADERS {
            let head = hpack::read(frame.block()?, &mut self.scratch)?;
            // Trailers have no status, and one below 200 only informs.
            if head.status >= 200 {
                self.scratch.clear();
                let name = head.target.and_then(|name| name.write(&mut self.scratch));
                let target = name.map(|()| names.number(&self.scratch));
                (self.streams[at].status, self.streams[at].target) = (head.status, target);
            }
        }
        let is_reset = frame.kind == RST_STREAM;
        if is_reset || frame.flags & END_STREAM != 0 {
            let Stream { flight, status, target, .. } = self.streams.swap_remove(at);
            let ending = match status {
                _ if is_reset => Ending::Failed(Failure::Reset),
                0 => Ending::Failed(Failure::Malformed),
                status => Ending::Answered(status),
            };
            ended.push(Ended { flight, ending, target });
        }
        Ok(())
    }

    /// Gives up what was sent at that moment or before.
    pub(super) fn give_up(&mut self, sent: u64, out: &mut Vec<u8>, ended: &mut Vec<Ended>) {
        for stream in self.streams.iter().filter(|stream| stream.flight.sent <= sent) {
            say(out, RST_STREAM, 0, stream.number, &CANCEL.to_be_bytes());
        }
        self.end_where(|stream| stream.flight.sent <= sent, Failure::Timeout, ended);
    }

    /// When the oldest request under way was sent.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.streams.iter().map(|stream| stream.flight.sent).min()
    }

    /// Ends all that is under way.
    pub(super) fn end(&mut self, failure: Failure, ended: &mut Vec<Ended>) {
        self.end_where(|_| true, failure, ended);
    }

    fn end_where(&mut self, is_over: impl Fn(&Stream) -> bool, failure: Failure, ended: &mut Vec<Ended>) {
        self.streams.retain(|stream| {
            let is_over = is_over(stream);
            if is_over {
                ended.push(Ended { flight: stream.flight, ending: Ending::Failed(failure), target: None });
            }
            !is_over
        });
    }
}

/// A frame that has come whole.
struct Frame<'a> {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The first frame and what comes after it.
    fn split(bytes: &'a [u8]) -> Result<Option<(Self, &'a [u8])>, Malformed> {
        let Some((head, after)) = bytes.split_first_chunk::<FRAME_HEAD_BYTES>() else { return Ok(None) };
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        if length > FRAME_BYTES_MAX {
            return Err(Malformed);
        }
        let Some((payload, after)) = after.split_at_checked(length) else { return Ok(None) };
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & STREAM_MAX;
        Ok(Some((Self { kind: head[3], flags: head[4], stream, payload }, after)))
    }

    /// The fields in a frame of headers. Those of continuations are not looked for: no status is there.
    fn block(&self) -> Result<&'a [u8], Malformed> {
        let mut block = self.payload;
        if self.flags & PADDED != 0 {
            let (padding, rest) = block.split_first().ok_or(Malformed)?;
            let end = rest.len().checked_sub(usize::from(*padding)).ok_or(Malformed)?;
            block = &rest[..end];
        }
        if self.flags & PRIORITY != 0 {
            block = block.get(5..).ok_or(Malformed)?;
        }
        Ok(block)
    }
}

fn setting(id: u16, value: u32) -> [u8; 6] {
    let mut bytes = [0; 6];
    bytes[..2].copy_from_slice(&id.to_be_bytes());
    bytes[2..].copy_from_slice(&value.to_be_bytes());
    bytes
}

/// Appends a frame to `out`.
fn say(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A connection that has asked so often, and what it has to say after this was heard in pieces of seven bytes.
    fn heard(asked: u64, bytes: &[u8]) -> (Http2, Vec<u8>, Vec<(u64, Ending)>) {
        let (mut out, mut ended, mut names) = (Vec::new(), Vec::new(), Names::default());
        let mut http2 = Http2::new(10, &mut out);
        for at in 0..asked {
            http2.ask(&[0x82], Flight { at, sent: at }, &mut out);
        }
        out.clear();
        for piece in bytes.chunks(7) {
            http2.hear(piece, &mut names, &mut out, &mut ended).unwrap();
        }
        (http2, out, ended.iter().map(|ended| (ended.flight.at, ended.ending)).collect())
    }

    fn answer(stream: u32, status: u8) -> Vec<u8> {
        let mut bytes = Vec::new();
        say(&mut bytes, HEADERS, END_HEADERS, stream, &[0x20, status]);
        say(&mut bytes, DATA, END_STREAM, stream, b"yes");
        bytes
    }

    #[test]
    fn streams_end_in_any_order_and_in_any_pieces() {
        let mut bytes = [answer(3, 0x88), answer(1, 0x8d)].concat();
        say(&mut bytes, RST_STREAM, 0, 5, &CANCEL.to_be_bytes());
        let reset = Ending::Failed(Failure::Reset);
        assert_eq!(heard(3, &bytes).2, [(1, Ending::Answered(200)), (0, Ending::Answered(404)), (2, reset)]);
    }

    #[test]
    fn what_a_peer_takes_before_it_wants_no_more_is_waited_for() {
        let mut bytes = Vec::new();
        say(&mut bytes, GOAWAY, 0, 0, &[1_u32.to_be_bytes(), 0_u32.to_be_bytes()].concat());
        let (http2, _, ended) = heard(2, &bytes);
        assert_eq!(ended, [(1, Ending::Failed(Failure::Reset))]);
        assert!(!http2.has_room() && !http2.has_left());
        let (http2, ..) = heard(2, &[bytes, answer(1, 0x88)].concat());
        assert!(http2.has_left());
    }

    #[test]
    fn settings_and_pings_are_acknowledged_and_the_peer_says_how_many_at_a_time() {
        let (mut bytes, mut expected) = (Vec::new(), Vec::new());
        say(&mut bytes, SETTINGS, 0, 0, &setting(MAX_CONCURRENT_STREAMS, 2));
        say(&mut bytes, SETTINGS, ACK, 0, &[]);
        say(&mut bytes, PING, 0, 0, b"12345678");
        let (http2, out, _) = heard(2, &bytes);
        say(&mut expected, SETTINGS, ACK, 0, &[]);
        say(&mut expected, PING, ACK, 0, b"12345678");
        assert_eq!(out, expected);
        assert!(!http2.has_room());
    }

    #[test]
    fn what_is_given_up_is_cancelled() {
        let (mut http2, mut out, _) = heard(3, &[]);
        let mut ended = Vec::new();
        http2.give_up(1, &mut out, &mut ended);
        assert_eq!((ended.len(), http2.oldest(), out.len()), (2, Some(2), 2 * (FRAME_HEAD_BYTES + 4)));
    }
}
