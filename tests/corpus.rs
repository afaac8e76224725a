//! Every case of the codec's own tables, sent through a whole weir in every mode: what a target gets is clean, and it is
//! what the tables say.

use weir_tests::yaml::{application, group_of};
use weir_tests::{Capture, Client, Weir};

/// The tables of `weir-http`: what a client sends, and below it, indented, what is made of it.
const TABLES: [(&str, &str); 8] = [
    ("chunks", include_str!("../crates/weir-http/src/codec/h1/cases/chunks.txt")),
    ("fields", include_str!("../crates/weir-http/src/codec/h1/cases/fields.txt")),
    ("folding", include_str!("../crates/weir-http/src/codec/h1/cases/folding.txt")),
    ("framing", include_str!("../crates/weir-http/src/codec/h1/cases/framing.txt")),
    ("line_ends", include_str!("../crates/weir-http/src/codec/h1/cases/line_ends.txt")),
    ("look_alikes", include_str!("../crates/weir-http/src/codec/h1/cases/look_alikes.txt")),
    ("pipelines", include_str!("../crates/weir-http/src/codec/h1/cases/pipelines.txt")),
    ("request_line", include_str!("../crates/weir-http/src/codec/h1/cases/request_line.txt")),
];

/// Fewest cases that deserve the name.
const CASES_MIN: usize = 400;

#[derive(Debug, Default)]
struct Case {
    place: String,
    written: Vec<u8>,
    /// The same with a host.
    sent: Vec<u8>,
    /// Whether it is about hosts, which this file does not judge.
    has_host: bool,
    expected: Vec<Expected>,
}

/// A request as the tables see it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Expected {
    /// `Compliant` to `Severe`; `Refused` when it is no request in any mode.
    class: &'static str,
    method: String,
    target: String,
    body: String,
}

fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for (table, text) in TABLES {
        for (at, line) in text.lines().enumerate().filter(|(_, line)| !line.starts_with("# ")) {
            match (line.strip_prefix("    "), cases.last_mut()) {
                (Some(expected), Some(case)) => case.expected.push(Expected::of(expected)),
                _ => {
                    let (place, written) = (format!("{table}.txt, line {}", at + 1), unescape(line));
                    let has_host = has_host(&written);
                    let sent = if has_host { written.clone() } else { with_host(written.clone()) };
                    cases.push(Case { place, written, sent, has_host, expected: Vec::new() });
                }
            }
        }
    }
    cases
}

impl Expected {
    /// `Class reasons | METHOD target 1.1 | fields || body ||| trailers`.
    fn of(line: &str) -> Self {
        let (head, rest) = line.split_once(" | ").unwrap_or((line, ""));
        let class = ["Compliant", "Acceptable", "Ambiguous", "Severe"].into_iter();
        let class = class.into_iter().find(|class| head.starts_with(class)).unwrap_or("Refused");
        let words: Vec<&str> = rest.split(" | ").next().unwrap_or("").split(' ').collect();
        let body = rest.split_once(" || ").map_or("", |(_, body)| body.split(" ||| ").next().unwrap_or(""));
        let target = words.get(1).copied().unwrap_or("");
        Self {
            class,
            method: words[0].to_owned(),
            target: relative(target).to_owned(),
            body: body.to_owned(),
        }
    }

    /// Whether a target gets it at all, whatever the mode: it is HTTP, and nothing that weir never forwards.
    fn is_forwardable(&self) -> bool {
        let is_target = self.target.starts_with('/') || self.target == "*" && self.method == "OPTIONS";
        self.class != "Refused" && is_target && !matches!(self.method.as_str(), "CONNECT" | "TRACE")
    }
}

/// What a target is sent of an absolute URI.
fn relative(target: &str) -> &str {
    match target.split_once("://") {
        None | Some((_, "")) => target,
        Some((_, rest)) => rest.find('/').map_or("/", |at| &rest[at..]),
    }
}

fn has_host(sent: &[u8]) -> bool {
    let text = String::from_utf8_lossy(sent).to_ascii_lowercase();
    text.split("\r\n\r\n").next().is_some_and(|head| head.contains("\nhost"))
}

/// With a host, which the tables leave out: it is another matter.
fn with_host(mut sent: Vec<u8>) -> Vec<u8> {
    if let Some(line) = sent.windows(7).position(|window| window.starts_with(b"HTTP/1."))
        && let Some(end) = sent[line..].iter().position(|byte| *byte == b'\n')
    {
        let at = line + end + 1;
        sent.splice(at..at, *b"Host: a.example\r\n");
    }
    sent
}

fn unescape(line: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '⏎' => bytes.extend_from_slice(b"\r\n"),
            '\\' => match letters.next().unwrap() {
                'n' => bytes.push(b'\n'),
                'r' => bytes.push(b'\r'),
                't' => bytes.push(b'\t'),
                'x' => {
                    let digits: String = letters.by_ref().take(2).collect();
                    bytes.push(u8::from_str_radix(&digits, 16).unwrap());
                }
                other => bytes.push(other as u8),
            },
            letter => bytes.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}

/// What a mode lets pass of what a client sends: requests up to the first that it refuses, or after which it closes.
fn passed<'a>(mode: &str, expected: &'a [Expected]) -> Vec<&'a Expected> {
    let mut passed = Vec::new();
    for request in expected {
        let is_refused = match (mode, request.class) {
            (_, "Refused") | ("defensive", "Severe") => true,
            ("strictest", class) => class != "Compliant",
            _ => false,
        };
        if is_refused || !request.is_forwardable() {
            break;
        }
        passed.push(request);
        if mode == "defensive" && request.class == "Ambiguous" {
            break;
        }
    }
    passed
}

/// Sends bytes, ends the client's side, and hears weir out.
fn ask(weir: &Weir, bytes: &[u8]) -> String {
    let mut client = Client::connect(weir.listener(0));
    client.send(bytes);
    client.finish();
    String::from_utf8_lossy(&client.to_end()).into_owned()
}

fn judge(mode: &str) {
    let target = Capture::new();
    let groups = [group_of("web", "", &target.yaml())];
    let settings = format!("desync_mitigation_mode: {mode}");
    let weir = Weir::start_healthy(&application(&groups, &settings, "default_action: { forward: web }"));
    let cases = cases();
    assert!(cases.len() >= CASES_MIN, "{} cases", cases.len());
    let mut mistakes = Vec::new();
    for case in &cases {
        let answer = ask(&weir, &case.sent);
        let expected = passed(mode, &case.expected);
        let first_closes = expected.first().is_some_and(|first| first.class == "Ambiguous");
        if first_closes && mode == "defensive" {
            target.wait_until_closed(&case.place);
        }
        let (seen, dirt) = (target.requests(), target.dirt());
        target.forget();
        let mut wrong = |what: &str| {
            mistakes.push(format!(
                "{}: {what}\n  sent {}\n  answered {:?}\n  the target got {seen:?} {dirt:?}",
                case.place,
                case.sent.escape_ascii(),
                answer.lines().next().unwrap_or("")
            ));
        };
        if !dirt.is_empty() {
            wrong("a dirty forward");
        }
        if seen.len() > expected.len() {
            wrong("more requests than there are");
        }
        for (got, expected) in seen.iter().zip(&expected) {
            let [method, target, body] = [got.method.as_bytes(), got.target.as_bytes(), &got.body]
                .map(|part| part.escape_ascii().to_string());
            if (&method, &target, &body) != (&expected.method, &expected.target, &expected.body) {
                wrong(&format!("another request than {expected:?}"));
            }
        }
        let answered = answer.get(9..12).unwrap_or("");
        match expected.first() {
            Some(_) if case.has_host && answered == "400" => {}
            Some(_) if answered != "200" || seen.is_empty() => wrong("a request that passes was refused"),
            Some(_) if first_closes && mode == "defensive" && !answer.contains("Connection: close\r\n") => {
                wrong("an ambiguous request was left open");
            }
            None if !seen.is_empty() => wrong("a request that is refused was forwarded"),
            None if answered == "200" => wrong("a request that is refused was answered"),
            _ => {}
        }
    }
    // As they stand, most have no host; what passes nevertheless is clean, too.
    for case in cases {
        ask(&weir, &case.written);
        assert_eq!(target.dirt(), Vec::<String>::new(), "{}: {}", case.place, case.written.escape_ascii());
        target.forget();
    }
    assert!(mistakes.is_empty(), "{} mistakes in mode {mode}:\n{}", mistakes.len(), mistakes.join("\n"));
    assert_eq!(weir.get("/").status, 200, "weir goes on");
}

// Conformance: A5.0.22, A8.4
#[test]
fn nothing_dirty_reaches_a_target_in_monitor_mode() {
    judge("monitor");
}

// Conformance: A7.3, A8.3, A8.4
#[test]
fn in_defensive_mode_severe_requests_are_refused_and_ambiguous_ones_end_both_connections() {
    judge("defensive");
}

// Conformance: A7.4, A8.1, A8.2
#[test]
fn in_strictest_mode_only_compliant_requests_pass() {
    judge("strictest");
}
