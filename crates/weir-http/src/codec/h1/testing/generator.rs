//! Requests that are nearly right: written along the grammar, with what clients and attackers do to it.

use fastrand::Rng;

/// Words of which one is taken.
type Words = &'static [&'static str];

const METHODS: Words = &["GET", "POST", "HEAD", "PUT", "OPTIONS", "DELETE", "PURGE"];
const ODD_METHODS: Words =
    &["", "get", "G\0T", "G T", "G\tT", "P@ST", "\r\nGET", "\r\n\r\n\r\nGET", "\nPOST", "!#$%&'*+-.^_`|~"];
const TARGETS: Words = &["/", "/a?b=c", "/a/../b", "*", "http://a/b", "/%00", "/a;b"];
const ODD_TARGETS: Words = &[
    "", "/a#b", "/a b", "/\0", "/\x7f", "/ä", "a", "//", "http://", "/\"<>", "\t/", "/a\rb", "/{}|\\^`",
    "HTTP/1.1",
];
const VERSIONS: Words = &["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0"];
const ODD_VERSIONS: Words = &[
    "",
    "HTTP/1.2",
    "HTTP/0.9",
    "HTTP/2.0",
    "HTTP/1.1 ",
    " HTTP/1.1",
    "HTTP/1.10",
    "HTTP/01.1",
    "http/1.1",
    "HTTP/1,1",
    "HTTP/1.1\t",
    "HTTP /1.1",
    "HTTP/1.1 HTTP/1.1",
];
const ODD_ENDS: Words = &["\n", "\r", "\r\r\n", "\n\r", " \r\n", "\0\r\n", "", "\r\n ", "\r\n\t", "\r\n\r\n"];
const FIELDS: Words = &[
    "Host: a",
    "Accept: */*",
    "X-A: b",
    "Connection: keep-alive",
    "Cookie: a=b; c",
    "X-Empty:",
    "User-Agent:\tme ",
];
const ODD_FIELDS: Words = &[
    ": a",
    "a",
    "a b: c",
    "X_Y: z",
    "X-\u{e4}: a",
    "X: \u{e4}",
    "X: a\0b",
    "X: \x01",
    "X: a\x7f",
    "X : a",
    "X\t: a",
    " X: a",
    "X:a\r\n b",
    "Content-Type: a\r\n b",
    "Host:\r\n a",
    "Connection: close",
    "(X): a",
    "X: a\r b",
    "X: \x0b",
    "X\x08: a",
    "X: \u{a0}",
    "X\r: a",
    "X",
    "X-Forwarded-For: a",
    "X_Forwarded_For: a",
    "\"X\": a",
    "X:\r\n\r\n",
    "X: a\r\n \r\n",
    "Trailer: X",
    "TE: trailers",
];
const LENGTHS: Words = &["0", "1", "3", "5"];
const ODD_LENGTHS: Words = &[
    "",
    "+5",
    "-1",
    "5, 5",
    "0x5",
    "5 5",
    "05",
    "18446744073709551616",
    "18446744073709551615",
    "5\t",
    "five",
    "5\0",
    " 5",
    "5;",
    "\u{b2}",
    "5\r\n ",
    "5_0",
    "\u{b}5",
];
const LENGTH_NAMES: Words = &["Content-Length", "content-length", "CONTENT-LENGTH", "Content-length"];
const ODD_LENGTH_NAMES: Words = &[
    "Content_Length",
    "Content-Length ",
    "Content Length",
    " Content-Length",
    "Content-Length\t",
    "Content--Length",
    "ContentLength",
    "Content-Length\0",
    "Content-Length-",
    "Content-Len\u{131}gth",
    "X-Content-Length",
];
const CODINGS: Words = &["chunked", "Chunked", "chunked", "CHUNKED"];
const ODD_CODINGS: Words = &[
    "identity",
    "gzip",
    "xchunked",
    "chunked, chunked",
    "gzip, chunked",
    "chunked, gzip",
    ",chunked",
    "chunked,",
    "",
    "chunked;a=b",
    "\u{b}chunked",
    "\"chunked\"",
    "chunked\0",
    "chunked\t",
    "chunked\r\n ",
    "chunke",
    "identity, chunked",
    "ch unked",
    "chunked\u{e4}",
];
const CODING_NAMES: Words = &["Transfer-Encoding", "transfer-encoding", "TRANSFER-ENCODING"];
const ODD_CODING_NAMES: Words = &[
    "Transfer_Encoding",
    "Transfer-Encoding ",
    "Transfer---Encoding",
    "Transfer Encoding",
    " Transfer-Encoding",
    "Tran\u{17f}fer-Encoding",
    "Transfer-Encoding\t",
    "Transfer-Encoding-",
    "TransferEncoding",
    "X-Transfer-Encoding",
    "Transfer\0-Encoding",
];
const SIZES: Words = &["5", "05", "005", "0000000000000005"];
const ODD_SIZES: Words = &[
    "0x5",
    "+5",
    " 5",
    "5 ",
    "5\t",
    "-5",
    "5_",
    "00000000000000005",
    "",
    "FFFFFFFFFFFFFFFF5",
    "5;a",
    "5;a=b",
    "5;a=\"b\"",
    "5;",
    "5;;",
    "5; a",
    "5 ;a",
    "5;a=\"\n\"",
    "5;\r",
    "5;a b",
    "5.0",
    "g",
    "4",
    "6",
    "5;a=\"\\\"\"",
    "5;\0",
    "5\n",
    "5\u{e4}",
];
const TRAILERS: Words = &["X-Sum: a", "Host: a", "Content-Length: 5", "a: b", "X-Forwarded-For: a"];
const ODD_TRAILERS: Words = &[
    "a",
    ": a",
    "a : b",
    " a: b",
    "a: \0",
    "a b: c",
    "a: b\n",
    "Content_Length: 5",
    "a: b\r\n c",
    "\u{e4}: a",
    "a: \u{e4}",
];

/// Bytes that matter to parsers.
const BYTES: &[u8] = b"\r\n\t :;,=\"\\\0\x01\x7f\x80\xff/#?05aGHTP.-_+";

/// A connection's worth of bytes: requests upon each other, most of them with something wrong at a few places.
pub(in super::super) fn conversation(seed: u64) -> Vec<u8> {
    let mut rng = Rng::with_seed(seed);
    // Many inputs are clean, or have one thing wrong: several wrong things hide each other.
    let oddness = [0, 20, 60, 120][rng.usize(..4)];
    let mut writer = Writer { rng, oddness, bytes: Vec::with_capacity(256) };
    for _ in 0..writer.rng.usize(1..=2) {
        writer.request();
    }
    if writer.rng.usize(..3) == 0 {
        writer.mutate();
    }
    writer.bytes.extend_from_slice(b"GET /end HTTP/1.1\r\nHost: a\r\n\r\n");
    writer.bytes
}

struct Writer {
    rng: Rng,
    /// Of a thousand choices, those that are odd.
    oddness: u32,
    bytes: Vec<u8>,
}

impl Writer {
    fn is_odd(&mut self) -> bool {
        self.rng.u32(..1000) < self.oddness
    }

    fn word(&mut self, words: Words, odd_words: Words) {
        let words = if self.is_odd() { odd_words } else { words };
        let word = words[self.rng.usize(..words.len())];
        self.bytes.extend_from_slice(word.as_bytes());
    }

    fn text(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
    }

    fn line_end(&mut self) {
        self.word(&["\r\n"], ODD_ENDS);
    }

    fn request(&mut self) {
        self.word(METHODS, ODD_METHODS);
        self.word(&[" "], &["", "  ", "\t", "\u{b}", "\0"]);
        self.word(TARGETS, ODD_TARGETS);
        self.word(&[" "], &["", "  ", "\t", "\u{c}"]);
        self.word(VERSIONS, ODD_VERSIONS);
        self.line_end();
        for _ in 0..self.rng.usize(..3) {
            self.field();
        }
        let framing = self.rng.usize(..8);
        let both = self.is_odd();
        if matches!(framing, 3..=4) || both {
            self.framing_field(LENGTH_NAMES, ODD_LENGTH_NAMES, LENGTHS, ODD_LENGTHS);
        }
        if framing >= 5 || both {
            self.framing_field(CODING_NAMES, ODD_CODING_NAMES, CODINGS, ODD_CODINGS);
        }
        if self.is_odd() {
            self.field();
        }
        self.line_end();
        if self.is_odd() {
            // Bytes beyond ASCII that are no text.
            let at = self.bytes.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
            self.bytes.insert(at, 0xc3);
        }
        match framing {
            3..=4 => {
                let body = ["", "a", "abc", "hello"][self.rng.usize(..4)];
                self.text(body);
            }
            5.. => self.chunks(),
            _ => {}
        }
    }

    fn field(&mut self) {
        self.word(FIELDS, ODD_FIELDS);
        self.line_end();
    }

    fn framing_field(&mut self, names: Words, odd_names: Words, values: Words, odd_values: Words) {
        for _ in 0..=usize::from(self.is_odd()) {
            self.word(names, odd_names);
            self.word(&[": "], &[":", ":\t", " : ", ":  ", ":\r\n ", "", "::", "\0:"]);
            self.word(values, odd_values);
            self.line_end();
        }
    }

    fn chunks(&mut self) {
        for _ in 0..self.rng.usize(..3) {
            self.word(SIZES, ODD_SIZES);
            self.line_end();
            self.word(&["hello", "a\r\nb\0"], &["hell", "hello!", "", "\r\n0\r\n"]);
            self.line_end();
        }
        self.word(&["0"], &["00", "", "0 ", "0;a", "0\n", "00000000000000000", "-0", "0x0"]);
        self.line_end();
        for _ in 0..self.rng.usize(..8).saturating_sub(6) {
            self.word(TRAILERS, ODD_TRAILERS);
            self.line_end();
        }
        self.line_end();
    }

    /// Changes, inserts, removes or repeats a few bytes, or ends early.
    fn mutate(&mut self) {
        for _ in 0..self.rng.usize(1..=2) {
            if self.bytes.is_empty() {
                return;
            }
            let at = self.rng.usize(..self.bytes.len());
            let byte = match self.rng.usize(..8) {
                0 => self.rng.u8(..),
                _ => BYTES[self.rng.usize(..BYTES.len())],
            };
            match self.rng.usize(..6) {
                0 | 1 => self.bytes[at] = byte,
                2 | 3 => self.bytes.insert(at, byte),
                4 => drop(self.bytes.remove(at)),
                _ => {
                    let end = (at + self.rng.usize(1..20)).min(self.bytes.len());
                    let piece = self.bytes[at..end].to_vec();
                    let to = self.rng.usize(..=self.bytes.len());
                    self.bytes.splice(to..to, piece);
                }
            }
        }
    }
}
