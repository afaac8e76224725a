//! What one client connection says and hears, without a socket.

use std::time::{Duration, Instant};

use crate::http2::Http2;
use crate::load::now;
use crate::scenario::{Front, Scenario};

/// How a request ended: its latency, or whatever was wrong.
pub(crate) type Outcome = Result<Duration, ()>;

/// One end of a client's connection.
#[derive(Debug)]
pub(crate) enum Client {
    /// One request after another, in plain TCP or HTTP/1.1.
    InTurn(InTurn),
    /// Several at a time.
    Http2(Http2),
}

/// A client with one request under way.
#[derive(Debug)]
pub(crate) struct InTurn {
    request: Vec<u8>,
    is_http: bool,
    body_bytes: usize,
    heard: Vec<u8>,
    asked_at: Instant,
}

impl Client {
    pub(crate) fn new(scenario: Scenario) -> Self {
        let body_bytes = scenario.body_bytes();
        match scenario.front() {
            Front::Http2 => Self::Http2(Http2::new(body_bytes)),
            front => Self::InTurn(InTurn {
                request: scenario.request(),
                is_http: front != Front::Tcp,
                body_bytes,
                heard: Vec::new(),
                asked_at: now(),
            }),
        }
    }

    /// Appends one more request to `out`.
    pub(crate) fn ask(&mut self, out: &mut Vec<u8>) {
        match self {
            Self::InTurn(client) => {
                client.asked_at = now();
                out.extend_from_slice(&client.request);
            }
            Self::Http2(client) => client.ask(out),
        }
    }

    /// Whether its connection is over, because of HTTP/2's orderly end.
    pub(crate) fn has_left(&self) -> bool {
        matches!(self, Self::Http2(client) if client.has_left())
    }

    /// Takes what has come: adds the outcomes of requests that have ended, and appends to `out` what the protocol wants
    /// said about it.
    pub(crate) fn hear(&mut self, bytes: &[u8], out: &mut Vec<u8>, outcomes: &mut Vec<Outcome>) {
        match self {
            Self::InTurn(client) => outcomes.extend(client.hear(bytes)),
            Self::Http2(client) => client.hear(bytes, out, outcomes),
        }
    }
}

impl InTurn {
    fn hear(&mut self, bytes: &[u8]) -> Option<Outcome> {
        self.heard.extend_from_slice(bytes);
        let is_right = if self.is_http {
            http_outcome(&self.heard, self.body_bytes)?
        } else {
            (self.heard.len() >= self.body_bytes).then_some(self.heard.len() == self.body_bytes)?
        };
        self.heard.clear();
        Some(if is_right { Ok(now() - self.asked_at) } else { Err(()) })
    }
}

/// Whether a response is right, once it is whole: status 200 and a body of that length.
fn http_outcome(message: &[u8], body_bytes: usize) -> Option<bool> {
    let head = message.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    if !message.starts_with(b"HTTP/1.1 200") {
        return Some(false);
    }
    (message.len() >= head + body_bytes).then_some(message.len() == head + body_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_right_only_when_it_is_whole_and_200() {
        let whole = [b"HTTP/1.1 200 OK\r\nserver: x\r\n\r\n".to_vec(), vec![b'x'; 128]].concat();
        assert_eq!(http_outcome(&whole, 128), Some(true));
        assert_eq!(http_outcome(&whole[..whole.len() - 1], 128), None);
        let wrong = [b"HTTP/1.1 502 No\r\n\r\n".to_vec(), vec![b'x'; 128]].concat();
        assert_eq!(http_outcome(&wrong, 128), Some(false));
    }

    #[test]
    fn a_response_may_come_in_pieces() {
        let mut client = Client::new(Scenario::Http128);
        let (mut out, mut outcomes) = (Vec::new(), Vec::new());
        client.ask(&mut out);
        assert_eq!(out, Scenario::Http128.request());
        for piece in Scenario::Http128.response().chunks(50) {
            assert!(outcomes.is_empty());
            client.hear(piece, &mut out, &mut outcomes);
        }
        assert!(matches!(outcomes[..], [Ok(_)]));
    }
}
