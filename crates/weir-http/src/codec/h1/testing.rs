//! What tests of the codec share: a connection's bytes as the codec reads them, and requests that nobody sent.

use std::ops::Range;

use super::super::fields::Field;
use super::chunks::{ChunkError, Chunks, Step};
use super::desync::Oddities;
use super::request_head::{Framing, HeadError, RequestHead, Version, parse};

pub(super) mod generator;

/// A request as targets may see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) method: Vec<u8>,
    pub(super) target: Vec<u8>,
    /// Of HTTP/1.x, the x.
    pub(super) minor: u8,
    pub(super) fields: Vec<(Vec<u8>, Vec<u8>)>,
    pub(super) is_chunked: bool,
    pub(super) oddities: Oddities,
    pub(super) body: Vec<u8>,
    pub(super) trailers: Vec<u8>,
}

/// How the bytes of a connection end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With a request.
    Complete,
    /// Within a head.
    InHead,
    /// Within a body.
    InBody,
    BadHead(HeadError),
    BadBody(ChunkError),
}

/// Everything that a connection carries, and where each request ends in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Conversation {
    pub(super) messages: Vec<Message>,
    pub(super) ends: Vec<usize>,
    pub(super) end: End,
}

/// Reads a connection whose bytes come in pieces that end at `splits`, which are sorted, and at the end.
pub(super) fn read(bytes: &[u8], splits: &[usize]) -> Conversation {
    let mut reader = Reader::default();
    let mut begin = 0;
    for end in splits.iter().copied().chain([bytes.len()]) {
        reader.buffer.extend_from_slice(&bytes[begin..end]);
        begin = end;
        if let Err(end) = reader.go_on() {
            return Conversation { messages: reader.messages, ends: reader.ends, end };
        }
    }
    let end = match reader.body {
        Some(_) => End::InBody,
        None if reader.buffer.is_empty() => End::Complete,
        None => End::InHead,
    };
    if reader.body.is_some() {
        reader.messages.pop();
    }
    Conversation { messages: reader.messages, ends: reader.ends, end }
}

/// A connection in the middle of something.
#[derive(Default)]
struct Reader {
    /// What has come and is not read.
    buffer: Vec<u8>,
    /// Bytes before it.
    read: usize,
    fields: Vec<Field>,
    messages: Vec<Message>,
    ends: Vec<usize>,
    /// The body of the last message, while it has not ended.
    body: Option<Body>,
}

enum Body {
    Length(u64),
    Chunked(Chunks),
}

impl Reader {
    /// Reads as far as the buffer goes.
    fn go_on(&mut self) -> Result<(), End> {
        while !self.buffer.is_empty() {
            match self.body.take() {
                None => {
                    let parsed = parse(&mut self.buffer, &mut self.fields);
                    let Some(head) = parsed.map_err(End::BadHead)? else { return Ok(()) };
                    self.messages.push(message(&self.buffer, &head, &self.fields));
                    self.consume(head.end);
                    match head.framing {
                        Framing::None => self.ends.push(self.read),
                        Framing::Length(length) => self.body = Some(Body::Length(length)),
                        Framing::Chunked => self.body = Some(Body::Chunked(Chunks::default())),
                    }
                }
                Some(Body::Length(left)) => {
                    let here =
                        usize::try_from(left).map_or(self.buffer.len(), |left| left.min(self.buffer.len()));
                    self.take(here);
                    match left - here as u64 {
                        0 => self.ends.push(self.read),
                        left => self.body = Some(Body::Length(left)),
                    }
                }
                Some(Body::Chunked(mut chunks)) => {
                    let decoded = chunks.decode(&self.buffer);
                    let (consumed, step) = decoded.map_err(|error| {
                        self.messages.pop();
                        End::BadBody(error)
                    })?;
                    self.consume(consumed);
                    match step {
                        Step::Data(length) => self.take(length),
                        Step::More => {}
                        Step::End => {
                            let message = self.messages.last_mut().expect("a body has a head");
                            message.trailers = chunks.trailers().to_vec();
                            self.ends.push(self.read);
                            continue;
                        }
                    }
                    self.body = Some(Body::Chunked(chunks));
                }
            }
        }
        Ok(())
    }

    /// Takes data of the last message.
    fn take(&mut self, length: usize) {
        let message = self.messages.last_mut().expect("a body has a head");
        message.body.extend_from_slice(&self.buffer[..length]);
        self.consume(length);
    }

    fn consume(&mut self, length: usize) {
        self.buffer.drain(..length);
        self.read += length;
    }
}

fn message(bytes: &[u8], head: &RequestHead, fields: &[Field]) -> Message {
    let text = |field: &Field| (field.name.of(bytes).to_vec(), field.value.of(bytes).to_vec());
    Message {
        method: head.method.of(bytes).to_vec(),
        target: head.target.of(bytes).to_vec(),
        minor: u8::from(head.version == Version::Http11),
        fields: fields.iter().map(text).collect(),
        is_chunked: head.framing == Framing::Chunked,
        oddities: head.oddities,
        ..Message::default()
    }
}

/// The seeds of a run's inputs: `count` from 1 on, unless `WEIR_FUZZ_MILLIONS` and `WEIR_FUZZ_SEED` say otherwise.
pub(super) fn seeds(count: u64) -> Range<u64> {
    let setting = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let first = setting("WEIR_FUZZ_SEED").unwrap_or(1);
    first..first + setting("WEIR_FUZZ_MILLIONS").map_or(count, |millions| millions * 1_000_000)
}

/// The smallest part of `bytes`, found by leaving out pieces, for which `fails` still holds.
pub(super) fn smallest(bytes: &[u8], fails: impl Fn(&[u8]) -> bool) -> Vec<u8> {
    let mut smallest = bytes.to_vec();
    let mut piece = bytes.len();
    while piece > 0 {
        let mut at = 0;
        while at < smallest.len() {
            let mut fewer = smallest.clone();
            fewer.drain(at..(at + piece).min(smallest.len()));
            if fails(&fewer) {
                smallest = fewer;
            } else {
                at += piece;
            }
        }
        piece /= 2;
    }
    smallest
}
