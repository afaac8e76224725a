//! A client that writes frames of HTTP/2 by hand, whatever they say.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::DEADLINE;

/// Types of frames. Source: RFC 9113 section 6.
pub mod kind {
    /// A piece of a body.
    pub const DATA: u8 = 0;
    /// The fields of a head, or trailers.
    pub const HEADERS: u8 = 1;
    /// What a stream depends on; of no effect any more.
    pub const PRIORITY: u8 = 2;
    /// The end of a stream, out of order.
    pub const RST_STREAM: u8 = 3;
    /// How a peer wants to be spoken to.
    pub const SETTINGS: u8 = 4;
    /// Whether the peer is there.
    pub const PING: u8 = 6;
    /// No new streams any more.
    pub const GOAWAY: u8 = 7;
    /// Room for more.
    pub const WINDOW_UPDATE: u8 = 8;
    /// More of the fields of a head.
    pub const CONTINUATION: u8 = 9;
}

/// The last frame of a stream's side.
pub const END_STREAM: u8 = 1;
/// The last frame of a head.
pub const END_HEADERS: u8 = 4;
/// An answer to settings or to a ping.
pub const ACK: u8 = 1;

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream; 0 for the connection.
    pub stream: u32,
    /// What it says.
    pub payload: Vec<u8>,
}

/// One connection.
#[derive(Debug)]
pub struct Frames(TcpStream);

impl Frames {
    /// Connects, and begins with the preface and no settings.
    ///
    /// # Panics
    /// When nobody listens there.
    pub fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).unwrap_or_else(|error| panic!("connecting to {addr}: {error}"));
        stream.set_read_timeout(Some(DEADLINE)).expect("a timeout can be set");
        stream.set_write_timeout(Some(DEADLINE)).expect("a timeout can be set");
        let mut frames = Self(stream);
        frames.send_bytes(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        frames.send(kind::SETTINGS, 0, 0, &[]);
        frames
    }

    /// Sends a frame; whether the peer still took it.
    pub fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        self.send_bytes(&frame(kind, flags, stream, payload))
    }

    /// Sends bytes; whether the peer still took them.
    pub fn send_bytes(&mut self, bytes: &[u8]) -> bool {
        self.0.write_all(bytes).is_ok()
    }

    /// Sends a head in one frame.
    pub fn head(&mut self, stream: u32, flags: u8, fields: &[(&str, &[u8])]) -> bool {
        self.send(kind::HEADERS, flags | END_HEADERS, stream, &block(fields))
    }

    /// Whether the peer still answers a ping. Frames before its answer are thrown away.
    pub fn is_there(&mut self) -> bool {
        self.send(kind::PING, 0, 0, b"is there");
        while let Some(frame) = self.next_frame() {
            match frame.kind {
                kind::PING if frame.payload == b"is there" => return true,
                kind::GOAWAY => return false,
                _ => {}
            }
        }
        false
    }

    /// The next frame; `None` when the connection has ended.
    ///
    /// # Panics
    /// When nothing comes.
    pub fn next_frame(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.fill(&mut head)?;
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        let mut payload = vec![0; length];
        self.fill(&mut payload)?;
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// The next frame of that type.
    pub fn next_of(&mut self, kind: u8) -> Option<Frame> {
        std::iter::from_fn(|| self.next_frame()).find(|frame| frame.kind == kind)
    }

    /// How the peer ended a stream: the first head or reset on it, or the end of the connection.
    pub fn outcome(&mut self, stream: u32) -> Outcome {
        while let Some(frame) = self.next_frame() {
            match frame.kind {
                kind::HEADERS if frame.stream == stream => return Outcome::Answered(status(&frame.payload)),
                kind::RST_STREAM if frame.stream == stream => return Outcome::Reset,
                kind::GOAWAY => return Outcome::Closed,
                _ => {}
            }
        }
        Outcome::Closed
    }

    /// Reads to the end of the connection: the frames that came.
    pub fn to_end(&mut self) -> Vec<Frame> {
        std::iter::from_fn(|| self.next_frame()).collect()
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Option<()> {
        match self.0.read_exact(bytes) {
            Ok(()) => Some(()),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("nothing came within {DEADLINE:?}")
            }
            Err(_) => None,
        }
    }
}

/// What became of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A head came, with this status.
    Answered(u16),
    /// The stream was reset.
    Reset,
    /// The connection was.
    Closed,
}

/// The bytes of a frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend_from_slice(&stream.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// Fields as HPACK writes them without table and without Huffman's code: any bytes. Source: RFC 7541 section 6.2.2.
pub fn block(fields: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0);
        for text in [name.as_bytes(), value] {
            length(&mut bytes, text.len());
            bytes.extend_from_slice(text);
        }
    }
    bytes
}

/// A length in seven bits and as many more bytes as it takes. Source: RFC 7541 section 5.1.
fn length(bytes: &mut Vec<u8>, mut length: usize) {
    const PREFIX: usize = 127;
    if length < PREFIX {
        bytes.push(length as u8);
        return;
    }
    bytes.push(PREFIX as u8);
    length -= PREFIX;
    while length >= 128 {
        bytes.push((length % 128 + 128) as u8);
        length /= 128;
    }
    bytes.push(length as u8);
}

/// The status of a head, where it comes first: from the static table, or three digits in Huffman's code, in which those
/// have five or six bits. Source: RFC 7541, appendices A and B.
fn status(block: &[u8]) -> u16 {
    const IN_TABLE: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    match block {
        [indexed @ 0x88..=0x8e, ..] => IN_TABLE[usize::from(indexed - 0x88)],
        // `:status` from the table, and a value of its own.
        [_, length, rest @ ..] if length & 0x80 != 0 => digits(&rest[..usize::from(length & 0x7f)]),
        [_, length, rest @ ..] => {
            rest[..usize::from(*length)].iter().fold(0, |n, d| n * 10 + u16::from(d - b'0'))
        }
        _ => 0,
    }
}

fn digits(code: &[u8]) -> u16 {
    let mut bits = code.iter().flat_map(|byte| (0..8).rev().map(move |bit| u16::from(byte >> bit & 1)));
    let mut number = 0;
    for _ in 0..3 {
        let five = bits.by_ref().take(5).fold(0, |n, bit| n * 2 + bit);
        // 0, 1 and 2 are the codes 0, 1 and 2 of five bits; 3 to 9 are 25 to 31 of six.
        let digit = if five < 3 { five } else { five * 2 + bits.next().unwrap_or(0) - 22 };
        number = number * 10 + digit;
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_however_it_is_written() {
        assert_eq!(status(&[0x8c]), 400);
        assert_eq!(status(&[0x48, 3, b'4', b'0', b'5']), 405);
        // 302, in the example of RFC 7541 appendix C.6.1.
        assert_eq!(status(&[0x48, 0x82, 0x64, 0x02]), 302);
    }
}
