//! Requests in our own words, and what becomes of each: `cases/*.txt`.
//!
//! A line that begins at its beginning is what a client sends, `⏎` standing for CR LF; the indented lines below it say
//! what is made of it: each request as a target may see it, with its class and reasons, and how the connection ends.

use std::fmt::Write;

use super::desync::{Class, Oddities};
use super::request_head::HeadError;
use super::testing::{End, Message, read};

/// Every file of cases.
const FILES: [(&str, &str); 8] = [
    ("chunks", include_str!("cases/chunks.txt")),
    ("fields", include_str!("cases/fields.txt")),
    ("folding", include_str!("cases/folding.txt")),
    ("framing", include_str!("cases/framing.txt")),
    ("line_ends", include_str!("cases/line_ends.txt")),
    ("look_alikes", include_str!("cases/look_alikes.txt")),
    ("pipelines", include_str!("cases/pipelines.txt")),
    ("request_line", include_str!("cases/request_line.txt")),
];

/// One case.
pub(super) struct Case {
    /// Where it is written.
    pub(super) place: String,
    /// What the client sends.
    pub(super) bytes: Vec<u8>,
    /// What becomes of it.
    expected: String,
}

/// Every case.
pub(super) fn all() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for (file, text) in FILES {
        for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.starts_with("# ")) {
            match line.strip_prefix("    ") {
                Some(expected) => {
                    let case = cases.last_mut().expect("an expectation stands below its case");
                    case.expected += expected;
                    case.expected += "\n";
                }
                None => cases.push(Case {
                    place: format!("cases/{file}.txt, line {}", at + 1),
                    bytes: unescape(line),
                    expected: String::new(),
                }),
            }
        }
    }
    cases
}

/// The bytes that a line stands for.
fn unescape(line: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '⏎' => bytes.extend_from_slice(b"\r\n"),
            '\\' => match letters.next().expect("something is escaped") {
                'n' => bytes.push(b'\n'),
                'r' => bytes.push(b'\r'),
                't' => bytes.push(b'\t'),
                'x' => {
                    let digits: String = letters.by_ref().take(2).collect();
                    bytes.push(u8::from_str_radix(&digits, 16).expect("two hexadecimal digits"));
                }
                other => bytes.push(other as u8),
            },
            letter => bytes.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}

/// What becomes of a connection's bytes, as the files write it.
fn outcome(bytes: &[u8]) -> String {
    let conversation = read(bytes, &[]);
    let mut text = String::new();
    for message in &conversation.messages {
        writeln!(text, "{}", shown(message)).expect("a string takes everything");
    }
    let end = match conversation.end {
        End::Complete => return text,
        End::InHead => "… within a head".to_owned(),
        End::InBody => "… within a body".to_owned(),
        End::BadBody(error) => format!("refused: {error:?}"),
        End::BadHead(HeadError::Malformed(oddities)) => format!("refused: {}", graded(oddities)),
        End::BadHead(error) => format!("refused: {error:?}"),
    };
    text + &end + "\n"
}

fn graded(oddities: Oddities) -> String {
    let reasons: Vec<&str> = oddities.reasons().collect();
    format!("{:?} {}", oddities.class(), reasons.join(" "))
}

fn shown(message: &Message) -> String {
    let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
    let mut shown = if message.oddities.class() == Class::Compliant {
        "Compliant".to_owned()
    } else {
        graded(message.oddities)
    };
    write!(shown, " | {} {} 1.{}", text(&message.method), text(&message.target), message.minor)
        .expect("a string");
    for (name, value) in &message.fields {
        write!(shown, " | {}: {}", text(name), text(value)).expect("a string");
    }
    if !message.body.is_empty() {
        write!(shown, " || {}", text(&message.body)).expect("a string");
    }
    if !message.trailers.is_empty() {
        write!(shown, " ||| {}", text(&message.trailers)).expect("a string");
    }
    shown.trim_end().to_owned()
}

// Conformance: A8.8, A8.9, A8.10
#[test]
fn each_case_becomes_what_is_written_below_it() {
    let cases = all();
    assert!(cases.len() >= 400, "only {} cases", cases.len());
    for case in cases {
        assert_eq!(outcome(&case.bytes), case.expected, "{}: {}", case.place, case.bytes.escape_ascii());
    }
}

#[test]
fn each_case_becomes_the_same_however_it_is_split() {
    for case in all() {
        let whole = read(&case.bytes, &[]);
        for split in 0..case.bytes.len() {
            assert_eq!(read(&case.bytes, &[split]), whole, "{}, split at {split}", case.place);
        }
    }
}
