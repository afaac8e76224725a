//! The generator with its two backends, in one process on one core, so that it costs no more than the floor relay.
//!
//! It says on standard output where its backends are, then takes lines `ADDR SECONDS SCENARIO` on standard input: it loads
//! that proxy for so long after a warm-up, says `go` when the measured time begins, and a JSON line when it is over.

use std::collections::HashMap;
use std::io::{BufRead, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::ValueEnum;
use rustls::ClientConfig;
use serde::{Deserialize, Serialize};

use crate::bulk;
use crate::client::{Client, Outcome};
use crate::datagrams::Datagrams;
use crate::say;
use crate::scenario::{Front, Scenario};
use crate::sockets::{Epoll, Sources, listen, pin, ready};
use crate::transport::{Transport, client_config};

/// Load before the measured time begins.
pub(crate) const WARM_UP: Duration = Duration::from_millis(300);

pub(crate) const BACKENDS: u64 = 2;

const BUFFER_BYTES: usize = 256 * 1024;

/// Longest wait for something to be heard.
const SILENCE: Duration = Duration::from_secs(10);

/// What one run came to.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Run {
    /// Requests or connections that were answered right, megabytes that have come, or datagrams that were forwarded.
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
    if scenario.front() == Front::Udp {
        let mut datagrams = Datagrams::new(scenario)?;
        return obey(&datagrams.backends()?, |addr, measured, _| datagrams.run(addr, measured));
    }
    let mut generator = Generator::new(scenario)?;
    obey(&generator.backends()?, |addr, measured, scenario| {
        if scenario.is_bulk() {
            bulk::run(&generator.backends, addr, measured, scenario)
        } else {
            generator.run(addr, measured, scenario)
        }
    })
}

/// Says where the backends are, and loads as it is told.
fn obey(
    backends: &[SocketAddr],
    mut load: impl FnMut(SocketAddr, Duration, Scenario) -> anyhow::Result<Run>,
) -> anyhow::Result<()> {
    let addrs: Vec<String> = backends.iter().map(SocketAddr::to_string).collect();
    say(&addrs.join(" "));
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let [addr, seconds, scenario] = words[..] else { continue };
        let scenario = Scenario::from_str(scenario, false).map_err(anyhow::Error::msg)?;
        let (addr, measured) = (addr.parse()?, Duration::from_secs_f64(seconds.parse()?));
        say(&serde_json::to_string(&load(addr, measured, scenario)?)?);
    }
    Ok(())
}

/// Clients and backends on one epoll.
pub(crate) struct Generator {
    /// What backends are asked and answer.
    scenario: Scenario,
    tls: Arc<ClientConfig>,
    epoll: Epoll,
    backends: Vec<TcpListener>,
    sources: Sources,
    streams: HashMap<u64, Stream>,
    next_token: u64,
    buffer: Vec<u8>,
    /// What is to be sent on one stream.
    out: Vec<u8>,
    response: Vec<u8>,
    /// What clients have heard since it was last taken.
    outcomes: Vec<Outcome>,
}

struct Stream {
    transport: Transport,
    end: End,
}

enum End {
    /// A backend's, with the bytes of a request that has not come whole.
    Backend(Vec<u8>),
    Client(Client),
}

impl Generator {
    pub(crate) fn new(scenario: Scenario) -> anyhow::Result<Self> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let backends = (0..BACKENDS).map(|_| listen(any)).collect::<Result<Vec<_>, _>>()?;
        let epoll = Epoll::new()?;
        for (token, backend) in (0..).zip(&backends) {
            epoll.watch(backend, token)?;
        }
        Ok(Self {
            scenario,
            tls: client_config()?,
            epoll,
            backends,
            sources: Sources::default(),
            streams: HashMap::new(),
            next_token: BACKENDS,
            buffer: vec![0; BUFFER_BYTES],
            out: Vec::new(),
            response: scenario.response(),
            outcomes: Vec::new(),
        })
    }

    /// Where the backends are.
    pub(crate) fn backends(&self) -> anyhow::Result<Vec<SocketAddr>> {
        Ok(self.backends.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?)
    }

    /// Connections that proxies keep to the backends, once nothing comes any more.
    pub(crate) fn target_side(&mut self) -> anyhow::Result<usize> {
        loop {
            let tokens = self.epoll.wait(100)?;
            if tokens.is_empty() {
                break;
            }
            for token in tokens {
                self.advance(token)?;
            }
        }
        Ok(self.streams.values().filter(|stream| matches!(stream.end, End::Backend(_))).count())
    }

    /// Closes every client connection.
    pub(crate) fn leave(&mut self) {
        self.streams.retain(|_, stream| matches!(stream.end, End::Backend(_)));
    }

    /// Loads `proxy`; every client connection is closed at the end.
    fn run(&mut self, proxy: SocketAddr, measured: Duration, scenario: Scenario) -> anyhow::Result<Run> {
        self.leave();
        self.outcomes.clear();
        for _ in 0..scenario.connections() {
            self.open_client(proxy, scenario)?;
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
                let heard = self.advance(token)?;
                for outcome in self.outcomes.drain(..) {
                    if let Ok(latency) = outcome {
                        run.requests += 1;
                        latencies.push(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX));
                    } else {
                        run.errors += 1;
                    }
                }
                match heard {
                    Heard::Answers(count) => {
                        if scenario.is_short() || self.has_left(token) {
                            if let Some(stream) = self.streams.remove(&token) {
                                stream.transport.close();
                            }
                            self.open_client(proxy, scenario)?;
                        } else {
                            self.ask(token, count)?;
                        }
                    }
                    Heard::End => self.open_client(proxy, scenario)?,
                    Heard::Nothing => {}
                }
            }
        }
        latencies.sort_unstable();
        self.leave();
        Ok(Run {
            seconds: measured.as_secs_f64(),
            p50_micros: quantile(&latencies, 0.5),
            p99_micros: quantile(&latencies, 0.99),
            ..run
        })
    }

    /// Opens so many clients, a few at a time, and has each ask once; they stay.
    pub(crate) fn gather(&mut self, proxy: SocketAddr, count: usize) -> anyhow::Result<()> {
        const AT_A_TIME: usize = 64;
        for at in (0..count).step_by(AT_A_TIME) {
            let some = AT_A_TIME.min(count - at);
            for _ in 0..some {
                self.open_client(proxy, self.scenario)?;
            }
            self.hear_all(some)?;
        }
        Ok(())
    }

    /// Has every client ask once, all at the same time.
    pub(crate) fn ask_all(&mut self) -> anyhow::Result<()> {
        let clients = self.streams.iter().filter(|(_, stream)| matches!(stream.end, End::Client(_)));
        let clients: Vec<u64> = clients.map(|(token, _)| *token).collect();
        clients.iter().try_for_each(|token| self.ask(*token, 1))?;
        self.hear_all(clients.len())
    }

    /// Hears so many answers, which have to be right.
    fn hear_all(&mut self, count: usize) -> anyhow::Result<()> {
        let mut heard_at = now();
        while self.outcomes.len() < count {
            for token in self.epoll.wait(100)? {
                heard_at = now();
                let is_end = matches!(self.advance(token)?, Heard::End);
                anyhow::ensure!(!is_end, "a client lost its connection");
            }
            anyhow::ensure!(
                now() - heard_at < SILENCE,
                "{} answers are missing",
                count - self.outcomes.len()
            );
        }
        let is_right = self.outcomes.drain(..).all(|outcome| outcome.is_ok());
        anyhow::ensure!(is_right, "answers were wrong");
        Ok(())
    }

    fn open_client(&mut self, proxy: SocketAddr, scenario: Scenario) -> anyhow::Result<()> {
        let tls = (scenario.front() == Front::Https).then_some(&self.tls);
        let transport = Transport::over(self.sources.connect(proxy)?, tls)?;
        let token = self.add(transport, End::Client(Client::new(scenario)))?;
        self.ask(token, scenario.streams())
    }

    fn add(&mut self, transport: Transport, end: End) -> anyhow::Result<u64> {
        let token = self.next_token;
        self.next_token += 1;
        self.epoll.watch(&transport, token)?;
        self.streams.insert(token, Stream { transport, end });
        Ok(token)
    }

    fn has_left(&self, token: u64) -> bool {
        let stream = self.streams.get(&token);
        stream.is_some_and(|stream| matches!(&stream.end, End::Client(client) if client.has_left()))
    }

    /// Has a client ask so many times more.
    fn ask(&mut self, token: u64, count: usize) -> anyhow::Result<()> {
        let stream = self.streams.get_mut(&token).context("a client that asks is there")?;
        let End::Client(client) = &mut stream.end else { return Ok(()) };
        (0..count).for_each(|_| client.ask(&mut self.out));
        // A connection that has just been lost says so when it is read.
        let _ = stream.transport.send(&self.out);
        self.out.clear();
        Ok(())
    }

    /// Reads what has come on one stream: a backend answers, a client notes the outcomes.
    fn advance(&mut self, token: u64) -> anyhow::Result<Heard> {
        if let Some(backend) = self.backends.get(token as usize) {
            let accepted: Vec<_> = std::iter::from_fn(|| backend.accept().ok()).collect();
            for (stream, _) in accepted {
                ready(&stream)?;
                self.add(Transport::Plain(stream), End::Backend(Vec::new()))?;
            }
            return Ok(Heard::Nothing);
        }
        let Some(stream) = self.streams.get_mut(&token) else { return Ok(Heard::Nothing) };
        let bytes = match stream.transport.read(&mut self.buffer) {
            Ok(count) => &self.buffer[..count],
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Heard::Nothing),
            Err(_) => &[],
        };
        let before = self.outcomes.len();
        let is_over = match &mut stream.end {
            _ if bytes.is_empty() => true,
            End::Backend(heard) => {
                heard.extend_from_slice(bytes);
                let is_whole = self.scenario.is_request(heard);
                if is_whole {
                    heard.clear();
                }
                is_whole && stream.transport.send(&self.response).is_err()
            }
            End::Client(client) => {
                client.hear(bytes, &mut self.out, &mut self.outcomes);
                let is_over = !self.out.is_empty() && stream.transport.send(&self.out).is_err();
                self.out.clear();
                is_over
            }
        };
        let is_client = matches!(stream.end, End::Client(_));
        if is_over {
            self.streams.remove(&token);
        }
        Ok(match self.outcomes.len() - before {
            _ if is_over && is_client => {
                self.outcomes.push(Err(()));
                Heard::End
            }
            0 => Heard::Nothing,
            count => Heard::Answers(count),
        })
    }
}

/// What has come on a stream.
enum Heard {
    /// Outcomes of so many requests of a client.
    Answers(usize),
    /// The end of a client's connection, which is an outcome too.
    End,
    /// Nothing that a client waits for.
    Nothing,
}

/// The latency that this share of all stays below, given in order.
pub(crate) fn quantile(latencies: &[u32], share: f64) -> u64 {
    latencies.get((latencies.len() as f64 * share) as usize).copied().map_or(0, u64::from)
}

#[allow(clippy::disallowed_methods, reason = "a benchmark measures real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
