//! The generator with its two backends, in one process on one core, so that it costs no more than the floor relay.
//!
//! It says on standard output where its backends are, then takes lines `ADDR SECONDS` on standard input: it loads that
//! proxy for so long after a warm-up, says `go` when the measured time begins, and a JSON line when it is over.

use std::collections::HashMap;
use std::io::{BufRead, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::sockets::{Epoll, connect, listen, pin, ready};
use crate::{Scenario, say};

/// Load before the measured time begins.
const WARM_UP: Duration = Duration::from_millis(300);

const BACKENDS: u64 = 2;

/// What a short connection sends, and gets back.
const ECHO_BYTES: usize = 128;

/// What one run came to.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Run {
    /// Requests or connections that were answered right.
    pub(crate) requests: u64,
    /// Those that were not.
    pub(crate) errors: u64,
    /// Measured seconds.
    pub(crate) seconds: f64,
    /// Median latency in microseconds.
    pub(crate) p50_micros: u64,
    /// 99th percentile in microseconds.
    pub(crate) p99_micros: u64,
}

/// Generates loads as it is told, until standard input ends.
pub(crate) fn generate(scenario: Scenario) -> anyhow::Result<()> {
    pin(1)?;
    let mut generator = Generator::new(scenario)?;
    let addrs: Vec<String> =
        generator.backends.iter().map(|b| b.local_addr().map(|a| a.to_string())).collect::<Result<_, _>>()?;
    say(&addrs.join(" "));
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let mut words = line.split_whitespace();
        let (Some(addr), Some(seconds)) = (words.next(), words.next()) else { continue };
        let run = generator.run(addr.parse()?, Duration::from_secs_f64(seconds.parse()?))?;
        say(&serde_json::to_string(&run)?);
    }
    Ok(())
}

struct Generator {
    scenario: Scenario,
    epoll: Epoll,
    backends: Vec<TcpListener>,
    streams: HashMap<u64, Stream>,
    next_token: u64,
    buffer: Vec<u8>,
    request: Vec<u8>,
    response: Vec<u8>,
}

struct Stream {
    socket: TcpStream,
    side: Side,
    /// Bytes of the present request or response so far.
    read: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Backend,
    Client { sent_at: Instant },
}

impl Generator {
    fn new(scenario: Scenario) -> anyhow::Result<Self> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let backends = (0..BACKENDS).map(|_| listen(any)).collect::<Result<Vec<_>, _>>()?;
        let epoll = Epoll::new()?;
        for (token, backend) in (0..).zip(&backends) {
            epoll.watch(backend, token)?;
        }
        let (request, response) = match scenario {
            Scenario::Http128 | Scenario::Http4k => (http_request(), http_response(scenario)),
            Scenario::TcpShort => (vec![b'x'; ECHO_BYTES], vec![b'y'; ECHO_BYTES]),
        };
        let (streams, buffer) = (HashMap::new(), vec![0; 256 * 1024]);
        Ok(Self { scenario, epoll, backends, streams, next_token: BACKENDS, buffer, request, response })
    }

    fn connections(&self) -> usize {
        match self.scenario {
            Scenario::Http128 | Scenario::Http4k => 64,
            Scenario::TcpShort => 32,
        }
    }

    /// Loads `proxy`; every client connection is closed at the end.
    fn run(&mut self, proxy: SocketAddr, measured: Duration) -> anyhow::Result<Run> {
        self.streams.clear();
        for _ in 0..self.connections() {
            self.open_client(proxy)?;
        }
        let begin = now() + WARM_UP;
        let mut run = Run::default();
        let mut latencies: Vec<u32> = Vec::new();
        let mut is_measured = false;
        loop {
            let at = now();
            if !is_measured && at >= begin {
                is_measured = true;
                (run, latencies) = (Run::default(), Vec::new());
                say("go");
            }
            if at >= begin + measured {
                break;
            }
            for token in self.epoll.wait(100)? {
                if token < BACKENDS {
                    self.accept(token)?;
                } else if let Some(outcome) = self.advance(token) {
                    match outcome {
                        Ok(latency) => {
                            run.requests += 1;
                            latencies.push(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX));
                        }
                        Err(()) => run.errors += 1,
                    }
                    self.continue_client(token, outcome.is_ok(), proxy)?;
                }
            }
        }
        latencies.sort_unstable();
        let quantile =
            |q: f64| latencies.get((latencies.len() as f64 * q) as usize).copied().map_or(0, u64::from);
        self.streams.retain(|_, stream| stream.side == Side::Backend);
        Ok(Run {
            seconds: measured.as_secs_f64(),
            p50_micros: quantile(0.5),
            p99_micros: quantile(0.99),
            ..run
        })
    }

    fn open_client(&mut self, proxy: SocketAddr) -> anyhow::Result<()> {
        let mut stream = connect(proxy)?;
        stream.write_all(&self.request)?;
        self.add(stream, Side::Client { sent_at: now() })?;
        Ok(())
    }

    fn accept(&mut self, backend: u64) -> anyhow::Result<()> {
        while let Ok((stream, _)) = self.backends[backend as usize].accept() {
            ready(&stream)?;
            self.add(stream, Side::Backend)?;
        }
        Ok(())
    }

    fn add(&mut self, stream: TcpStream, side: Side) -> anyhow::Result<()> {
        let token = self.next_token;
        self.next_token += 1;
        self.epoll.watch(&stream, token)?;
        self.streams.insert(token, Stream { socket: stream, side, read: 0 });
        Ok(())
    }

    /// Reads what has come on one stream: a backend answers, a client reports its latency when it has all of its
    /// answer, or an error.
    fn advance(&mut self, token: u64) -> Option<Result<Duration, ()>> {
        let stream = self.streams.get_mut(&token)?;
        let count = match stream.socket.read(&mut self.buffer[stream.read..]) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
            Err(_) => 0,
        };
        if count == 0 {
            let is_client = stream.side != Side::Backend;
            if !is_client {
                self.streams.remove(&token);
            }
            return is_client.then_some(Err(()));
        }
        stream.read += count;
        let message = &self.buffer[..stream.read];
        match stream.side {
            Side::Backend => {
                let is_whole = match self.scenario {
                    Scenario::TcpShort => stream.read >= ECHO_BYTES,
                    Scenario::Http128 | Scenario::Http4k => message.ends_with(b"\r\n\r\n"),
                };
                if is_whole {
                    stream.read = 0;
                    if stream.socket.write_all(&self.response).is_err() {
                        self.streams.remove(&token);
                    }
                }
                None
            }
            Side::Client { sent_at } => match self.scenario {
                Scenario::TcpShort => (stream.read >= ECHO_BYTES).then(|| Ok(now() - sent_at)),
                Scenario::Http128 | Scenario::Http4k => http_outcome(message, self.response.len())
                    .map(|right| if right { Ok(now() - sent_at) } else { Err(()) }),
            },
        }
    }

    /// The next request of a client: on the same connection, or on a new one.
    fn continue_client(&mut self, token: u64, is_fine: bool, proxy: SocketAddr) -> anyhow::Result<()> {
        if is_fine && self.scenario != Scenario::TcpShort {
            let Some(stream) = self.streams.get_mut(&token) else { return Ok(()) };
            stream.read = 0;
            stream.side = Side::Client { sent_at: now() };
            if stream.socket.write_all(&self.request).is_ok() {
                return Ok(());
            }
        }
        self.streams.remove(&token);
        self.open_client(proxy)
    }
}

/// A backend's response.
pub(crate) fn http_response(scenario: Scenario) -> Vec<u8> {
    let bytes = if scenario == Scenario::Http4k { 4096 } else { 128 };
    let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {bytes}\r\n\r\n");
    [head.into_bytes(), vec![b'x'; bytes]].concat()
}

/// A client's request.
pub(crate) fn http_request() -> Vec<u8> {
    b"GET /item?id=42 HTTP/1.1\r\nHost: bench.localhost\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n".to_vec()
}

/// Whether a response is right, once it is whole: status 200 and the body of the backend's response.
pub(crate) fn http_outcome(message: &[u8], backend_response_bytes: usize) -> Option<bool> {
    let head = message.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let backend_head = backend_response_bytes - if backend_response_bytes > 4096 { 4096 } else { 128 };
    let body = backend_response_bytes - backend_head;
    if !message.starts_with(b"HTTP/1.1 200") {
        return Some(false);
    }
    (message.len() >= head + body).then_some(message.len() == head + body)
}

#[allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_right_only_when_it_is_whole_and_200() {
        let backend = "HTTP/1.1 200 OK\r\n\r\n".len() + 128;
        let whole = [b"HTTP/1.1 200 OK\r\nserver: x\r\n\r\n".to_vec(), vec![b'x'; 128]].concat();
        assert_eq!(http_outcome(&whole, backend), Some(true));
        assert_eq!(http_outcome(&whole[..whole.len() - 1], backend), None);
        let wrong = [b"HTTP/1.1 502 No\r\n\r\n".to_vec(), vec![b'x'; 128]].concat();
        assert_eq!(http_outcome(&wrong, backend), Some(false));
    }
}
