//! What a target sees, byte for byte, of requests that are not as they should be: never anything unclean.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use weir_tests::Weir;
use weir_tests::yaml::{application, group_of};

/// A target that keeps every byte it gets, and answers each request of a connection.
struct Capture {
    addr: std::net::SocketAddr,
    /// By connection.
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Capture {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (addr, seen) = (listener.local_addr().unwrap(), Arc::<Mutex<Vec<Vec<u8>>>>::default());
        let kept = seen.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let kept = kept.clone();
                std::thread::spawn(move || capture(stream, &kept));
            }
        });
        Self { addr, seen }
    }

    /// What has been seen since this was asked last, without health checks.
    fn take(&self) -> Vec<Vec<u8>> {
        let seen = std::mem::take(&mut *self.seen.lock().unwrap());
        seen.into_iter().filter(|bytes| !bytes.windows(13).any(|w| w == b"HealthChecker")).collect()
    }
}

fn capture(mut stream: TcpStream, kept: &Mutex<Vec<Vec<u8>>>) {
    let mut bytes = Vec::new();
    let mut piece = [0; 8 * 1024];
    loop {
        while let Some(length) = request_length(&bytes) {
            kept.lock().unwrap().push(bytes.drain(..length).collect());
            if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_err() {
                return;
            }
        }
        match stream.read(&mut piece) {
            Ok(count @ 1..) => bytes.extend_from_slice(&piece[..count]),
            Ok(0) | Err(_) => break,
        }
    }
    // What was no whole request has been cut off by its client; it must be clean all the same.
    if !bytes.is_empty() {
        kept.lock().unwrap().push(bytes);
    }
}

/// How long the first request is, if it is there; read as strictly as can be.
fn request_length(bytes: &[u8]) -> Option<usize> {
    let head = find(bytes, b"\r\n\r\n")? + 4;
    let fields = fields(&bytes[..head]);
    if let Some(length) = fields.get("content-length") {
        let whole = head + length.parse::<usize>().ok()?;
        return (bytes.len() >= whole).then_some(whole);
    }
    if !fields.contains_key("transfer-encoding") {
        return Some(head);
    }
    let mut at = head;
    loop {
        let line = find(&bytes[at..], b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[at..at + line]).ok()?, 16).ok()?;
        at += line + 2;
        if size == 0 {
            let trailers = find(&bytes[at - 2..], b"\r\n\r\n")?;
            return Some(at - 2 + trailers + 4);
        }
        at += size + 2;
        bytes.get(..at)?;
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

/// The fields of a head, names in lower case, values of several lines joined by `|`.
fn fields(head: &[u8]) -> BTreeMap<String, String> {
    let mut fields: BTreeMap<String, String> = BTreeMap::new();
    for line in String::from_utf8_lossy(head).split("\r\n").skip(1) {
        if let Some((name, value)) = line.split_once(':') {
            let place = fields.entry(name.to_ascii_lowercase()).or_default();
            *place =
                if place.is_empty() { value.trim().to_owned() } else { format!("{place}|{}", value.trim()) };
        }
    }
    fields
}

/// What is unclean about a request, as a target has seen it.
fn dirt(request: &[u8]) -> Option<&'static str> {
    let head_end = find(request, b"\r\n\r\n").map_or(request.len(), |at| at + 2);
    let head = &request[..head_end];
    let mut lines = head.split_inclusive(|byte| *byte == b'\n');
    let line = lines.next()?;
    let Some(line) = line.strip_suffix(b"\r\n") else { return Some("a line that does not end with CR LF") };
    let words: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
    let [method, target, b"HTTP/1.1"] = words[..] else { return Some("no request line of three words") };
    if method.is_empty() || !method.iter().all(|byte| is_token(*byte)) {
        return Some("a method that is no token");
    }
    if target.is_empty() || target.iter().any(|byte| *byte <= b' ' || *byte == 0x7f || *byte == b'#') {
        return Some("a target with control bytes, spaces or a fragment");
    }
    for line in lines {
        let Some(line) = line.strip_suffix(b"\r\n") else {
            return Some("a line that does not end with CR LF");
        };
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            return Some("a line without a colon");
        };
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
            return Some("a name that is no token");
        }
        if value.iter().any(|byte| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f) {
            return Some("a value with control bytes");
        }
        let letters: String = name
            .iter()
            .filter(|b| b.is_ascii_alphanumeric())
            .map(|b| b.to_ascii_lowercase() as char)
            .collect();
        let is_itself =
            name.eq_ignore_ascii_case(b"content-length") || name.eq_ignore_ascii_case(b"transfer-encoding");
        if matches!(letters.as_str(), "contentlength" | "transferencoding") && !is_itself {
            return Some("a look-alike of a field that frames");
        }
    }
    let fields = fields(head);
    let is_hop = |name: &&str| fields.contains_key(*name);
    if ["keep-alive", "proxy-connection", "http2-settings", "te", "expect"].iter().any(is_hop) {
        return Some("a field of another connection");
    }
    match fields.get("host") {
        Some(host) if !host.is_empty() && !host.contains(['|', ',', '/', '@', ' ']) => {}
        _ => return Some("not one host"),
    }
    match (fields.get("content-length"), fields.get("transfer-encoding")) {
        (Some(_), Some(_)) => Some("two framings"),
        (Some(length), None) if length.parse::<u64>().is_ok_and(|number| number.to_string() == *length) => {
            None
        }
        (Some(_), None) => Some("a length that is not written as one"),
        (None, Some(coding)) if coding == "chunked" => None,
        (None, Some(_)) => Some("another coding than chunked"),
        (None, None) if request.len() > head_end + 2 => Some("a body that nothing frames"),
        (None, None) => None,
    }
}

fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Every request of the codec's own cases: `crates/weir-http/src/codec/h1/cases/*.txt`.
fn corpus() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/weir-http/src/codec/h1/cases");
    let mut corpus = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        for (at, line) in text.lines().enumerate() {
            if !line.starts_with("# ") && !line.starts_with("    ") {
                corpus.push((format!("{name}:{}", at + 1), unescape(line)));
            }
        }
    }
    corpus
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

/// The same request with a host, which most cases leave out.
fn with_host(request: &[u8]) -> Vec<u8> {
    let Some(line) = request.iter().position(|byte| *byte == b'\n') else { return request.to_vec() };
    [&request[..=line], b"Host: a.example\r\n", &request[line + 1..]].concat()
}

/// Sends a request, ends the client's side, and reads what comes until weir ends its own.
fn ask(addr: std::net::SocketAddr, request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(std::time::Duration::from_secs(20))).unwrap();
    // weir may have refused and closed before all was sent.
    let _ = stream.write_all(request);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    answer
}

#[test]
fn no_target_sees_anything_unclean_whatever_the_mode() {
    let corpus = corpus();
    assert!(corpus.len() >= 400, "only {} cases", corpus.len());
    for mode in ["monitor", "defensive", "strictest"] {
        let capture = Capture::start();
        let targets = format!("{{ address: {}, port: {} }}", capture.addr.ip(), capture.addr.port());
        let groups = [group_of("web", "", &targets)];
        let settings = format!("desync_mitigation_mode: {mode}");
        let weir = Weir::start_healthy(&application(&groups, &settings, "default_action: { forward: web }"));
        let mut forwarded = 0;
        for (place, request) in &corpus {
            for request in [request.clone(), with_host(request)] {
                let answer = ask(weir.listener(0), &request);
                assert!(
                    answer.is_empty() || answer.starts_with(b"HTTP/1.1 "),
                    "{mode}, {place}: {}",
                    answer.escape_ascii()
                );
                for seen in capture.take() {
                    forwarded += 1;
                    let unclean = dirt(&seen);
                    assert!(
                        unclean.is_none(),
                        "{mode}, {place}: {}\n{}\nbecame {}",
                        unclean.unwrap_or_default(),
                        request.escape_ascii(),
                        seen.escape_ascii()
                    );
                }
            }
        }
        assert!(forwarded > corpus.len() / 10, "{mode}: only {forwarded} requests reached the target");
    }
}

#[test]
fn the_judge_of_cleanliness_finds_what_is_unclean() {
    let clean = "GET /x?y HTTP/1.1\r\nHost: a\r\nX: b c\r\n\r\n";
    assert_eq!(dirt(clean.as_bytes()), None);
    for (from, to) in [
        ("Host: a\r\n", ""),
        ("Host: a\r\n", "Host: a\r\nHost: b\r\n"),
        ("Host: a\r\n", "Host: u@a\r\n"),
        ("X: b c\r\n", "X: b c\n"),
        ("X: b c\r\n", "X : b\r\n"),
        ("X: b c\r\n", "X: b\rc\r\n"),
        ("X: b c\r\n", "X: b\r\n c\r\n"),
        ("X: b c\r\n", "X: b\0c\r\n"),
        ("X: b c\r\n", "Content_Length: 1\r\n"),
        ("X: b c\r\n", "Content-Length: +1\r\n"),
        ("X: b c\r\n", "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n"),
        ("X: b c\r\n", "Transfer-Encoding: gzip, chunked\r\n"),
        ("X: b c\r\n", "TE: trailers\r\n"),
        ("GET /x?y", "GET /x y"),
        ("GET /x?y", "GET /x#y"),
        ("HTTP/1.1", "HTTP/1.0"),
        ("\r\n\r\n", "\r\n\r\nbody"),
    ] {
        let unclean = clean.replacen(from, to, 1);
        assert!(dirt(unclean.as_bytes()).is_some(), "{}", unclean.escape_debug());
    }
}
