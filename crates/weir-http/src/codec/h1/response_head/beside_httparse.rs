//! Response heads beside httparse, over heads that are nearly right.

use super::super::super::fields::Field;
use super::{Malformed, parse};

/// Heads that are tried.
const ROUNDS: u64 = 20_000;

/// What heads are put together from.
const PIECES: [&str; 30] = [
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.0 404 Not Found\r\n",
    "HTTP/1.1 204\r\n",
    "HTTP/1.1 100 \r\n",
    "Content-Length: 5\r\n",
    "content-length:6\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Connection: close\r\n",
    "Connection: keep-alive, x\r\n",
    "Server: a b\tc\r\n",
    "X:\r\n",
    "X: \u{fc}\r\n",
    "X-Long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n",
    "Set-Cookie: a=b; Path=/; Expires=Thu, 01 Jan 1970 00:00:00 GMT\r\n",
    "\r\n",
    "\r\n",
    "\n",
    "\r",
    " ",
    "\t",
    ":",
    "\0",
    "\u{7f}",
    "a",
    ",",
    "X : 1\r\n",
    " folded\r\n",
    "HTTP/1.",
    "200",
    "OK",
];

fn head(random: &mut fastrand::Rng) -> Vec<u8> {
    let mut head = PIECES[random.usize(..4)].as_bytes().to_vec();
    for _ in 0..random.usize(..8) {
        head.extend_from_slice(PIECES[random.usize(4..PIECES.len())].as_bytes());
    }
    head.extend_from_slice(b"\r\n\r\n");
    if random.bool() {
        let at = random.usize(..head.len());
        head[at] = random.u8(..);
    }
    head
}

/// A name and a value.
type Line = (Vec<u8>, Vec<u8>);

/// Status, lines and length as httparse finds them.
fn reference(head: &[u8]) -> Result<(u16, Vec<Line>, usize), httparse::Error> {
    let mut lines = [httparse::EMPTY_HEADER; 128];
    let mut response = httparse::Response::new(&mut lines);
    let end = match response.parse(head)? {
        httparse::Status::Complete(end) => end,
        httparse::Status::Partial => unreachable!("every head ends with an empty line"),
    };
    let fields = response.headers.iter().map(|line| (line.name.as_bytes().to_vec(), line.value.to_vec()));
    Ok((response.code.unwrap(), fields.collect(), end))
}

#[test]
fn what_is_taken_is_what_httparse_takes_and_every_part_of_a_head_is_only_unfinished() {
    let mut taken = 0;
    for seed in 0..ROUNDS {
        let head = head(&mut fastrand::Rng::with_seed(seed));
        let mut fields: Vec<Field> = Vec::new();
        let shown = || format!("seed {seed}: {:?}", String::from_utf8_lossy(&head));
        let own = match parse(&head, &mut fields) {
            Ok(own) => own.unwrap_or_else(|| panic!("{} is whole", shown())),
            // Stricter is allowed: framing in doubt, folded lines, control bytes.
            Err(Malformed) => continue,
        };
        taken += 1;
        let (status, lines, end) = reference(&head).unwrap_or_else(|error| panic!("{}: {error}", shown()));
        let own_lines: Vec<_> = fields
            .iter()
            .map(|field| (field.name.of(&head).to_vec(), field.value.of(&head).to_vec()))
            .collect();
        assert_eq!((own.status, own.end, own_lines), (status, end, lines), "{}", shown());
        for count in 0..own.end {
            assert_eq!(parse(&head[..count], &mut fields), Ok(None), "{count} bytes of {}", shown());
        }
    }
    assert!(taken > ROUNDS / 20, "only {taken} heads were whole: the test has lost its sense");
}
