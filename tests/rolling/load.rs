//! Open-loop load on one weir: requests on a schedule that waits for nobody, and flows that live on.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite::{Error, Message};

/// Requests a second.
const RATE: u32 = 400;

/// Bytes of a POST's body.
const BODY_BYTES: usize = 4096;

/// Flows and WebSockets open at a time, and how often each says something.
const FLOWS: usize = 8;
const SOCKETS: usize = 8;
const FLOW_PAUSE: Duration = Duration::from_millis(50);

/// Longest time for an answer: longer than any hold.
const ANSWER_MAX: Duration = Duration::from_secs(20);

/// Failures that are shown.
const SHOWN_MAX: usize = 5;

/// What came of a load.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) sent: u64,
    /// GETs without an answer of 200.
    pub(crate) gets_failed: u64,
    /// POSTs without one.
    pub(crate) posts_failed: u64,
    /// Answers of another service than was asked.
    pub(crate) wrong_service: u64,
    /// Of all that were answered.
    pub(crate) latencies: Vec<Duration>,
    pub(crate) flows: Talks,
    pub(crate) sockets: Talks,
    pub(crate) failures: Vec<String>,
}

/// Flows or WebSockets.
#[derive(Debug, Default)]
pub(crate) struct Talks {
    pub(crate) opened: u64,
    /// The containers on which they broke, one name for each.
    broken: Vec<String>,
}

impl Talks {
    /// How many broke whose container was still there.
    pub(crate) fn broken_on_survivors(&self, gone: &BTreeSet<String>) -> usize {
        self.broken.iter().filter(|name| !gone.contains(*name)).count()
    }
}

impl Outcome {
    /// The latency that 99 of 100 answers did not exceed.
    pub(crate) fn p99(&mut self) -> Duration {
        self.latencies.sort_unstable();
        let at = self.latencies.len().saturating_sub(1) * 99 / 100;
        self.latencies.get(at).copied().unwrap_or_default()
    }

    fn fail(&mut self, what: String) {
        if self.failures.len() < SHOWN_MAX {
            self.failures.push(what);
        }
    }
}

/// Where to send it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Endpoints {
    /// `/<service>/…` goes to that service, `/sockets` to WebSockets.
    pub(crate) http: SocketAddr,
    pub(crate) tcp: SocketAddr,
}

/// A load under way.
#[derive(Debug)]
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Outcome>,
}

impl Load {
    /// Begins to send; the services are asked in turn.
    pub(crate) fn start(endpoints: Endpoints, services: &'static [&'static str]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime can be made").block_on(run(endpoints, services, stopped))
        });
        Self { stop, thread }
    }

    /// Stops sending, waits for what is under way, and counts.
    pub(crate) fn stop(self) -> Outcome {
        self.stop.store(true, Relaxed);
        self.thread.join().expect("the load ends in order")
    }
}

type Shared = Arc<Mutex<Outcome>>;

/// Connections without a request on them. One that needs a connection takes the one used last, or opens another: no
/// request waits behind another.
type Idle = Arc<Mutex<Vec<TcpStream>>>;

fn with(shared: &Shared, change: impl FnOnce(&mut Outcome)) {
    change(&mut shared.lock().unwrap_or_else(PoisonError::into_inner));
}

async fn run(endpoints: Endpoints, services: &'static [&'static str], stopped: Arc<AtomicBool>) -> Outcome {
    let shared = Shared::default();
    let idle = Idle::default();
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..FLOWS {
        tasks.spawn(flow(endpoints.tcp, shared.clone(), stopped.clone()));
    }
    for _ in 0..SOCKETS {
        tasks.spawn(socket(endpoints.http, shared.clone(), stopped.clone()));
    }
    let mut ticks = interval(Duration::from_secs(1) / RATE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for number in 0.. {
        let due = ticks.tick().await;
        if stopped.load(Relaxed) {
            break;
        }
        let service = services[number % services.len()];
        let is_post = (number / services.len()) % 2 == 1;
        let is_kept = (number / services.len() / 2).is_multiple_of(2);
        let idle = is_kept.then(|| idle.clone());
        tasks.spawn(request(endpoints.http, service, is_post, idle, due, shared.clone()));
    }
    while tasks.join_next().await.is_some() {}
    std::mem::take(&mut shared.lock().unwrap_or_else(PoisonError::into_inner))
}

/// One request, never sent twice, its latency counted from when it was due.
async fn request(
    addr: SocketAddr,
    service: &str,
    is_post: bool,
    idle: Option<Idle>,
    due: Instant,
    shared: Shared,
) {
    let method = if is_post { "POST" } else { "GET" };
    let kind = if idle.is_some() { "kept alive" } else { "on a new connection" };
    let answer = timeout(ANSWER_MAX, ask(addr, service, is_post, idle)).await;
    let answer = answer.unwrap_or_else(|_| Err("no answer".to_owned()));
    with(&shared, |outcome| {
        outcome.sent += 1;
        match answer {
            // Containers are called after their service.
            Ok(body) if body.split(' ').nth(1).is_some_and(|name| name.starts_with(service)) => {
                outcome.latencies.push(due.elapsed());
            }
            Ok(body) => {
                outcome.wrong_service += 1;
                outcome.fail(format!("{method} of {service} answered by {body:?}"));
            }
            Err(problem) => {
                if is_post {
                    outcome.posts_failed += 1;
                } else {
                    outcome.gets_failed += 1;
                }
                outcome.fail(format!("{method} {service} {kind}: {problem}"));
            }
        }
    });
}

async fn ask(addr: SocketAddr, service: &str, is_post: bool, idle: Option<Idle>) -> Result<String, String> {
    let body = if is_post { "x".repeat(BODY_BYTES) } else { String::new() };
    let framing = if is_post { format!("Content-Length: {BODY_BYTES}\r\n") } else { String::new() };
    let method = if is_post { "POST" } else { "GET" };
    let connection = if idle.is_some() { "keep-alive" } else { "close" };
    let text = format!(
        "{method} /{service}/x HTTP/1.1\r\nHost: weir\r\nConnection: {connection}\r\n{framing}\r\n{body}"
    );
    let words = |error: std::io::Error| error.to_string();
    let found = idle.as_ref().and_then(|idle| idle.lock().unwrap_or_else(PoisonError::into_inner).pop());
    let mut stream = match found {
        Some(stream) => stream,
        None => TcpStream::connect(addr).await.map_err(words)?,
    };
    let (body, goes_on) = exchange(&mut stream, &text).await?;
    if let Some(idle) = idle.filter(|_| goes_on) {
        idle.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
    }
    Ok(body)
}

/// The body of the answer, and whether the connection may be used again.
async fn exchange(stream: &mut TcpStream, request: &str) -> Result<(String, bool), String> {
    stream.write_all(request.as_bytes()).await.map_err(|error| format!("sending: {error}"))?;
    let mut bytes = Vec::new();
    loop {
        let mut lines = [httparse::EMPTY_HEADER; 32];
        let mut response = httparse::Response::new(&mut lines);
        if let Ok(httparse::Status::Complete(head)) = response.parse(&bytes) {
            let value = |name: &str| {
                let line = response.headers.iter().find(|line| line.name.eq_ignore_ascii_case(name))?;
                std::str::from_utf8(line.value).ok()
            };
            let length: usize = value("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
            if bytes.len() >= head + length {
                let body = String::from_utf8_lossy(&bytes[head..]).trim_end().to_owned();
                let goes_on = !value("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
                return match response.code {
                    Some(200) => Ok((body, goes_on)),
                    status => Err(format!("status {}", status.unwrap_or(0))),
                };
            }
        }
        if stream.read_buf(&mut bytes).await.map_err(|error| format!("reading: {error}"))? == 0 {
            return Err(format!("closed after {} bytes of an answer", bytes.len()));
        }
    }
}

/// Flows one after another, each for as long as it holds.
async fn flow(addr: SocketAddr, shared: Shared, stopped: Arc<AtomicBool>) {
    while !stopped.load(Relaxed) {
        with(&shared, |outcome| outcome.flows.opened += 1);
        let mut served_by = None;
        if talk(addr, &stopped, &mut served_by).await.is_err() {
            with(&shared, |outcome| outcome.flows.broken.push(name(served_by)));
            sleep(FLOW_PAUSE).await;
        }
    }
}

/// WebSockets one after another, each for as long as it holds.
async fn socket(addr: SocketAddr, shared: Shared, stopped: Arc<AtomicBool>) {
    while !stopped.load(Relaxed) {
        with(&shared, |outcome| outcome.sockets.opened += 1);
        let mut served_by = None;
        if let Err(problem) = talk_in_messages(addr, &stopped, &mut served_by).await {
            with(&shared, |outcome| {
                if served_by.is_none() {
                    outcome.fail(format!("WebSocket: {problem}"));
                }
                outcome.sockets.broken.push(name(served_by));
            });
            sleep(FLOW_PAUSE).await;
        }
    }
}

fn name(served_by: Option<String>) -> String {
    served_by.unwrap_or_else(|| "nobody".to_owned())
}

/// Sends words and reads them back until told to stop. The first answer says who it is.
async fn talk(addr: SocketAddr, stopped: &AtomicBool, served_by: &mut Option<String>) -> std::io::Result<()> {
    let mut stream = BufReader::new(TcpStream::connect(addr).await?);
    let mut line = String::new();
    while !stopped.load(Relaxed) {
        stream.write_all(b"word\n").await?;
        line.clear();
        let answer = timeout(ANSWER_MAX, stream.read_line(&mut line));
        if answer.await.map_err(|_| std::io::ErrorKind::TimedOut)?? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if served_by.is_none() {
            *served_by = line.split_whitespace().nth(1).map(ToOwned::to_owned);
        }
        sleep(FLOW_PAUSE).await;
    }
    Ok(())
}

/// The same over a WebSocket.
async fn talk_in_messages(
    addr: SocketAddr,
    stopped: &AtomicBool,
    served_by: &mut Option<String>,
) -> Result<(), Error> {
    let stream = TcpStream::connect(addr).await?;
    let (mut socket, _) = client_async("ws://weir/sockets", stream).await?;
    while !stopped.load(Relaxed) {
        socket.send(Message::text("word")).await?;
        let answer = timeout(ANSWER_MAX, socket.next()).await;
        let answer = answer.map_err(|_| std::io::Error::from(std::io::ErrorKind::TimedOut))?;
        let message = answer.ok_or(Error::ConnectionClosed)??;
        if served_by.is_none() {
            *served_by = message.to_text()?.split_whitespace().nth(1).map(ToOwned::to_owned);
        }
        sleep(FLOW_PAUSE).await;
    }
    socket.close(None).await
}
