//! A client that speaks as much HTTP/2 as a load needs: the same request again and again, on many streams.
//!
//! Like h2load it opens windows that no response fills, has names and values indexed by its peer after the first request
//! of a connection, and writes what it has to say about one piece of what it heard at once.

use std::time::Instant;

use crate::client::Outcome;
use crate::load::now;

/// Window of the connection and of each stream, in bytes. Source: h2load's default.
const WINDOW_BYTES: u32 = (1 << 30) - 1;

/// What a connection's window is before anybody says otherwise. Source: RFC 9113, section 6.9.2.
const INITIAL_WINDOW_BYTES: u32 = 65_535;

const FRAME_HEAD_BYTES: usize = 9;

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

/// One client connection.
#[derive(Debug)]
pub(crate) struct Http2 {
    body_bytes: usize,
    /// The beginning of a frame that has not come whole.
    heard: Vec<u8>,
    next_stream: u32,
    /// Streams that wait for the end of their response; few, so that looking through them is cheapest.
    asked: Vec<Asked>,
    /// Whether the peer wants new requests on another connection.
    is_leaving: bool,
    /// Bytes of bodies since the connection's window was last opened.
    unacknowledged_bytes: u32,
}

#[derive(Debug)]
struct Asked {
    stream: u32,
    at: Instant,
    is_ok: bool,
    body_bytes: usize,
}

impl Http2 {
    pub(crate) fn new(body_bytes: usize) -> Self {
        Self {
            body_bytes,
            heard: Vec::new(),
            next_stream: 1,
            asked: Vec::new(),
            is_leaving: false,
            unacknowledged_bytes: 0,
        }
    }

    /// Whether the peer wants new requests on another connection, and has answered all on this one.
    pub(crate) fn has_left(&self) -> bool {
        self.is_leaving && self.asked.is_empty()
    }

    /// Appends one more request to `out`, and before the first one the preface; nothing once the peer wants no more.
    pub(crate) fn ask(&mut self, out: &mut Vec<u8>) {
        if self.is_leaving {
            return;
        }
        let is_first = self.next_stream == 1;
        if is_first {
            out.extend_from_slice(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
            let settings = [setting(2, 0), setting(4, WINDOW_BYTES)].concat();
            say(out, SETTINGS, 0, 0, &settings);
            say(out, WINDOW_UPDATE, 0, 0, &(WINDOW_BYTES - INITIAL_WINDOW_BYTES).to_be_bytes());
        }
        say(out, HEADERS, END_STREAM | END_HEADERS, self.next_stream, &request(is_first));
        self.asked.push(Asked { stream: self.next_stream, at: now(), is_ok: false, body_bytes: 0 });
        self.next_stream += 2;
    }

    /// Takes what has come: adds outcomes of streams that have ended, and appends acknowledgements to `out`.
    pub(crate) fn hear(&mut self, bytes: &[u8], out: &mut Vec<u8>, outcomes: &mut Vec<Outcome>) {
        let mut heard = std::mem::take(&mut self.heard);
        heard.extend_from_slice(bytes);
        let mut rest = &heard[..];
        while let Some((frame, after)) = Frame::split(rest) {
            self.take(&frame, out, outcomes);
            rest = after;
        }
        let rest_bytes = rest.len();
        heard.drain(..heard.len() - rest_bytes);
        self.heard = heard;
        if self.unacknowledged_bytes > WINDOW_BYTES / 2 {
            say(out, WINDOW_UPDATE, 0, 0, &self.unacknowledged_bytes.to_be_bytes());
            self.unacknowledged_bytes = 0;
        }
    }

    fn take(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>, outcomes: &mut Vec<Outcome>) {
        match frame.kind {
            SETTINGS if frame.flags & ACK == 0 => say(out, SETTINGS, ACK, 0, &[]),
            PING if frame.flags & ACK == 0 => say(out, PING, ACK, 0, frame.payload),
            GOAWAY => {
                self.is_leaving = true;
                let last = frame.payload.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes));
                let asked = self.asked.len();
                self.asked.retain(|asked| asked.stream <= last);
                outcomes.extend((self.asked.len()..asked).map(|_| Err(())));
            }
            DATA | HEADERS | RST_STREAM => {
                let Some(at) = self.asked.iter().position(|asked| asked.stream == frame.stream) else {
                    return;
                };
                let asked = &mut self.asked[at];
                match frame.kind {
                    HEADERS => asked.is_ok = is_status_200(frame.payload),
                    DATA => {
                        asked.body_bytes += frame.payload.len();
                        self.unacknowledged_bytes += frame.payload.len() as u32;
                    }
                    _ => asked.is_ok = false,
                }
                if frame.kind == RST_STREAM || frame.flags & END_STREAM != 0 {
                    let asked = self.asked.swap_remove(at);
                    let is_right = asked.is_ok && asked.body_bytes == self.body_bytes;
                    outcomes.push(if is_right { Ok(now() - asked.at) } else { Err(()) });
                }
            }
            _ => {}
        }
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
    fn split(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (head, after) = bytes.split_at_checked(FRAME_HEAD_BYTES)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let (payload, after) = after.split_at_checked(length)?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & !(1 << 31);
        Some((Self { kind: head[3], flags: head[4], stream, payload }, after))
    }
}

/// Whether a header block begins with status 200, the eighth entry of the static table; a peer may first say how large
/// its own table is.
fn is_status_200(block: &[u8]) -> bool {
    block.iter().find(|byte| **byte & 0xe0 != 0x20) == Some(&0x88)
}

fn setting(id: u16, value: u32) -> Vec<u8> {
    [&id.to_be_bytes()[..], &value.to_be_bytes()].concat()
}

/// Appends a frame to `out`.
fn say(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// The header block of the same request as in HTTP/1.1. The first one of a connection enters what it says into the peer's table,
/// but for the path, which others would rarely repeat.
///
/// Source: RFC 7541, section 6 and appendix A; nghttp2 keeps paths out of the table too.
fn request(is_first: bool) -> Vec<u8> {
    let text = |first: u8, value: &str| [&[first, value.len() as u8], value.as_bytes()].concat();
    let path = text(0x04, "/item?id=42");
    // GET and http are entries of the static table.
    let mut block = vec![0x82, 0x86];
    if is_first {
        block.extend(text(0x41, "bench.localhost"));
        block.extend(path);
        block.extend([text(0x7a, "bench"), text(0x53, "*/*")].concat());
    } else {
        // Entries 64, 63 and 62 of the table, of which the latest has the lowest number.
        block.push(0xc0);
        block.extend(path);
        block.extend([0xbf, 0xbe]);
    }
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(stream: u32, status: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        say(&mut bytes, HEADERS, END_HEADERS, stream, &[0x20, status]);
        say(&mut bytes, DATA, END_STREAM, stream, body);
        bytes
    }

    #[test]
    fn streams_end_in_any_order_and_in_any_pieces() {
        let mut client = Http2::new(128);
        let (mut out, mut outcomes) = (Vec::new(), Vec::new());
        (0..3).for_each(|_| client.ask(&mut out));
        let body = [b'y'; 128];
        let bytes = [answer(3, 0x88, &body), answer(1, 0x8d, &body), answer(5, 0x88, &body[1..])].concat();
        for piece in bytes.chunks(7) {
            client.hear(piece, &mut out, &mut outcomes);
        }
        // 404, and a body that is too short, are wrong.
        assert!(matches!(outcomes[..], [Ok(_), Err(()), Err(())]));
    }

    #[test]
    fn what_a_peer_takes_before_it_wants_no_more_is_waited_for() {
        let mut client = Http2::new(128);
        let (mut out, mut outcomes) = (Vec::new(), Vec::new());
        (0..2).for_each(|_| client.ask(&mut out));
        let mut heard = Vec::new();
        say(&mut heard, GOAWAY, 0, 0, &[1_u32.to_be_bytes(), 0_u32.to_be_bytes()].concat());
        client.hear(&heard, &mut out, &mut outcomes);
        assert!(matches!(outcomes[..], [Err(())]) && !client.has_left());
        out.clear();
        client.ask(&mut out);
        client.hear(&answer(1, 0x88, &[b'y'; 128]), &mut out, &mut outcomes);
        assert!(matches!(outcomes[..], [Err(()), Ok(_)]) && client.has_left());
        assert!(out.is_empty());
    }

    #[test]
    fn settings_and_pings_are_acknowledged() {
        let (mut client, mut heard, mut out) = (Http2::new(128), Vec::new(), Vec::new());
        say(&mut heard, SETTINGS, 0, 0, &setting(3, 100));
        say(&mut heard, SETTINGS, ACK, 0, &[]);
        say(&mut heard, PING, 0, 0, b"12345678");
        client.hear(&heard, &mut out, &mut Vec::new());
        let mut expected = Vec::new();
        say(&mut expected, SETTINGS, ACK, 0, &[]);
        say(&mut expected, PING, ACK, 0, b"12345678");
        assert_eq!(out, expected);
    }
}
