//! What is said to etcd's JSON gateway and what it says: 64-bit numbers are text, bytes are base64.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;

/// A key with its value.
#[derive(Debug, Deserialize)]
pub(super) struct Pair {
    pub(super) key: Bytes,
    #[serde(default)]
    pub(super) value: Bytes,
    /// The revision of the store that made the key, before which there was none.
    #[serde(default)]
    pub(super) create_revision: Number,
    /// The lease that it goes with, if it has one.
    #[serde(default)]
    pub(super) lease: Number,
    /// The revision of the store that wrote it last.
    #[serde(default)]
    pub(super) mod_revision: Number,
}

/// Bytes, which JSON has as base64.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Bytes(pub(super) Vec<u8>);

impl TryFrom<String> for Bytes {
    type Error = base64::DecodeError;

    fn try_from(text: String) -> Result<Self, base64::DecodeError> {
        BASE64_STANDARD.decode(text).map(Self)
    }
}

/// A 64-bit number, which JSON has as text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Number(pub(super) i64);

impl TryFrom<String> for Number {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Self, std::num::ParseIntError> {
        text.parse().map(Self)
    }
}

#[derive(Debug, Deserialize)]
struct Header {
    #[serde(default)]
    revision: Number,
}

/// All keys at one revision of the store.
#[derive(Debug)]
pub(super) struct Range {
    pub(super) revision: i64,
    pub(super) pairs: Vec<Pair>,
}

/// The question for at most `limit` keys that begin with `prefix`.
pub(super) fn range_request(prefix: &[u8], limit: usize) -> String {
    let (key, range_end) = bounds(prefix);
    serde_json::json!({ "key": key, "range_end": range_end, "limit": limit.to_string() }).to_string()
}

/// The answer to it.
///
/// # Errors
/// It is none.
pub(super) fn range(body: &[u8]) -> Result<Range, String> {
    #[derive(Deserialize)]
    struct Answer {
        header: Header,
        #[serde(default)]
        kvs: Vec<Pair>,
    }
    let answer: Answer = serde_json::from_slice(body).map_err(|error| not_etcd(&error))?;
    Ok(Range { revision: answer.header.revision.0, pairs: answer.kvs })
}

/// The question for what happens to keys that begin with `prefix`, from this revision of the store on.
pub(super) fn watch_request(prefix: &[u8], revision: i64) -> String {
    let (key, range_end) = bounds(prefix);
    let create =
        serde_json::json!({ "key": key, "range_end": range_end, "start_revision": revision.to_string() });
    serde_json::json!({ "create_request": create }).to_string()
}

/// Writes a key, unless it has that value already: what is written again wakes every reader.
pub(super) fn put_if_differing(key: &[u8], value: &[u8]) -> String {
    let (key, value) = (BASE64_STANDARD.encode(key), BASE64_STANDARD.encode(value));
    let compare = serde_json::json!({ "key": key, "target": "VALUE", "result": "EQUAL", "value": value });
    // A key that there is not compares as different.
    let put = serde_json::json!({ "request_put": { "key": key, "value": value } });
    serde_json::json!({ "compare": [compare], "success": [], "failure": [put] }).to_string()
}

/// Deletes a key.
pub(super) fn delete_request(key: &[u8]) -> String {
    serde_json::json!({ "key": BASE64_STANDARD.encode(key) }).to_string()
}

/// One message of a watch.
#[derive(Debug)]
pub(super) enum Watched {
    /// The watch is over: cancelled, or behind a compaction.
    Ended,
    /// What happened, possibly nothing.
    Events(Vec<Event>),
}

/// What happened to a key.
#[derive(Debug, Deserialize)]
pub(super) struct Event {
    /// Left out by the gateway when it is `PUT`.
    #[serde(default, rename = "type")]
    pub(super) kind: EventKind,
    pub(super) kv: Pair,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum EventKind {
    Delete,
    #[default]
    Put,
}

/// Reads one line of a watch.
///
/// # Errors
/// It is none, or tells of a failure.
pub(super) fn watched(line: &[u8]) -> Result<Watched, String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Line {
        Error(Failure),
        Result(Message),
    }
    #[derive(Deserialize)]
    struct Failure {
        #[serde(default)]
        message: String,
    }
    #[derive(Deserialize)]
    struct Message {
        #[serde(default)]
        canceled: bool,
        #[serde(default)]
        events: Vec<Event>,
    }
    match serde_json::from_slice(line).map_err(|error| not_etcd(&error))? {
        Line::Error(failure) => Err(format!("ended the watch: {}", failure.message)),
        Line::Result(message) if message.canceled => Ok(Watched::Ended),
        Line::Result(message) => Ok(Watched::Events(message.events)),
    }
}

fn not_etcd(error: &serde_json::Error) -> String {
    format!("answered what etcd does not: {error}")
}

/// The first key that begins with `prefix`, and the first after all that do, as JSON has them.
fn bounds(prefix: &[u8]) -> (String, String) {
    let mut end = prefix.to_vec();
    while end.last() == Some(&u8::MAX) {
        end.pop();
    }
    match end.last_mut() {
        Some(last) => *last += 1,
        // Nothing comes after such keys; etcd writes that as a zero.
        None => end.push(0),
    }
    (BASE64_STANDARD.encode(prefix), BASE64_STANDARD.encode(end))
}

/// Lines out of a body that arrives in pieces.
#[derive(Debug)]
pub(super) struct Lines {
    bytes: Vec<u8>,
    /// Bytes at the beginning that are known to have no line end.
    searched: usize,
    bytes_max: usize,
}

impl Lines {
    /// Lines of at most `bytes_max` bytes.
    pub(super) fn new(bytes_max: usize) -> Self {
        Self { bytes: Vec::new(), searched: 0, bytes_max }
    }

    /// Takes in a piece.
    ///
    /// # Errors
    /// A line is too long.
    pub(super) fn push(&mut self, piece: &[u8]) -> Result<(), String> {
        if self.bytes.len() + piece.len() > self.bytes_max {
            return Err(format!("sent a message of more than {} bytes", self.bytes_max));
        }
        self.bytes.extend_from_slice(piece);
        Ok(())
    }

    /// The next line that is whole, without its end.
    pub(super) fn next(&mut self) -> Option<Vec<u8>> {
        let found = self.bytes[self.searched..].iter().position(|byte| *byte == b'\n');
        let Some(length) = found.map(|at| self.searched + at) else {
            self.searched = self.bytes.len();
            return None;
        };
        self.searched = 0;
        let mut line: Vec<u8> = self.bytes.drain(..=length).collect();
        line.pop();
        Some(line)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RANGE: &str = r#"{"header":{"cluster_id":"14841639068965178418","revision":"2","raft_term":"2"},"kvs":[{"key":"L3cvYQ==","create_revision":"2","mod_revision":"2","version":"1","value":"e30="}],"count":"1"}"#;
    const EVENTS: &str = r#"{"result":{"header":{"revision":"3"},"events":[{"type":"DELETE","kv":{"key":"L3cvYQ==","mod_revision":"3"}},{"kv":{"key":"L3cvYg==","create_revision":"4","value":"e30="}}]}}"#;

    #[test]
    fn a_range_is_read_as_etcd_writes_it() {
        let read = range(RANGE.as_bytes()).unwrap();
        let pair = &read.pairs[0];
        assert_eq!((read.revision, pair.create_revision), (2, Number(2)));
        assert_eq!((&*pair.key.0, &*pair.value.0), (&b"/w/a"[..], &b"{}"[..]));
        assert!(range(br#"{"header":{"revision":"7"}}"#).unwrap().pairs.is_empty());
        assert!(range(b"<html>").unwrap_err().contains("answered what etcd does not"));
    }

    #[test]
    fn a_watch_is_read_as_etcd_writes_it() {
        let Watched::Events(events) = watched(EVENTS.as_bytes()).unwrap() else { panic!("events") };
        let kinds: Vec<_> = events.iter().map(|event| event.kind).collect();
        assert_eq!(kinds, [EventKind::Delete, EventKind::Put]);
        let created = br#"{"result":{"header":{"revision":"2"},"created":true}}"#;
        assert!(matches!(watched(created), Ok(Watched::Events(events)) if events.is_empty()));
        let compacted = br#"{"result":{"header":{"raft_term":"2"},"canceled":true,"compact_revision":"4"}}"#;
        assert!(matches!(watched(compacted), Ok(Watched::Ended)));
        let failed = br#"{"error":{"grpc_code":14,"http_code":503,"message":"no leader"}}"#;
        assert!(watched(failed).unwrap_err().contains("no leader"));
    }

    #[test]
    fn the_keys_below_a_prefix_end_before_its_successor() {
        let end = |prefix: &[u8]| BASE64_STANDARD.decode(bounds(prefix).1).unwrap();
        assert_eq!(end(b"/weir/"), b"/weir0");
        assert_eq!(end(b"a\xff\xff"), b"b");
        assert_eq!(end(b"\xff"), [0]);
    }

    #[test]
    fn a_line_that_is_too_long_is_refused() {
        let mut lines = Lines::new(4);
        lines.push(b"abc").unwrap();
        assert!(lines.push(b"de").unwrap_err().contains("more than 4 bytes"));
    }

    proptest! {
        #[test]
        fn lines_are_the_same_however_they_arrive(text in "[a-c\n]{0,40}", size in 1_usize..8) {
            let mut lines = Lines::new(100);
            let mut got = Vec::new();
            for piece in text.as_bytes().chunks(size) {
                lines.push(piece).unwrap();
                while let Some(line) = lines.next() {
                    got.push(String::from_utf8(line).unwrap());
                }
            }
            let mut expected: Vec<&str> = text.split('\n').collect();
            expected.pop();
            prop_assert_eq!(got, expected);
        }

        #[test]
        fn no_bytes_break_the_readers(bytes in prop::collection::vec(any::<u8>(), 0..200), length in 0_usize..200) {
            let _ = (range(&bytes), watched(&bytes));
            let _ = range(&RANGE.as_bytes()[..length.min(RANGE.len())]);
            let _ = watched(&EVENTS.as_bytes()[..length.min(EVENTS.len())]);
        }
    }
}
