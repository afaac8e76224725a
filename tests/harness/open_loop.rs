//! Load that does not wait for its answers before it sends more, so that a stall cannot hide.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::DEADLINE;

/// Connections that the kept half of the requests share.
const KEPT_CONNECTIONS: usize = 16;

/// Failures that are kept to be shown.
const FAILURES_KEPT: usize = 10;

/// What a request is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Without a body.
    Get,
    /// With one.
    Post,
}

/// What came of a load.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Requests sent.
    pub sent: u64,
    /// GETs that were not answered with 200.
    pub gets_lost: u64,
    /// POSTs that were not answered with 200.
    pub posts_lost: u64,
    /// The first few failures, in words.
    pub failures: Vec<String>,
}

impl Outcome {
    /// Requests that were not answered with 200.
    pub fn lost(&self) -> u64 {
        self.gets_lost + self.posts_lost
    }
}

/// A load under way.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Outcome>,
}

impl Load {
    /// Stops sending, waits for what is under way, and counts.
    ///
    /// # Panics
    /// When the load did.
    pub fn stop(self) -> Outcome {
        self.stop.store(true, Relaxed);
        self.thread.join().expect("the load ends in order")
    }
}

/// Sends `rate` requests a second to `addr`, the methods in turn, every second pair on a new connection.
///
/// # Panics
/// When no runtime can be made.
pub fn start(addr: SocketAddr, rate: u32, methods: &[Method]) -> Load {
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, methods) = (stop.clone(), methods.to_vec());
    let thread = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime can be made").block_on(run(addr, rate, &methods, &stopped))
    });
    Load { stop, thread }
}

async fn run(addr: SocketAddr, rate: u32, methods: &[Method], stopped: &AtomicBool) -> Outcome {
    let outcome = Arc::new(Mutex::new(Outcome::default()));
    let kept: Vec<_> = (0..KEPT_CONNECTIONS).map(|_| Arc::new(AsyncMutex::new(None))).collect();
    let mut ticks = interval(Duration::from_secs(1) / rate);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut requests = tokio::task::JoinSet::new();
    for number in 0.. {
        ticks.tick().await;
        if stopped.load(Relaxed) {
            break;
        }
        let method = methods[number % methods.len()];
        let connection =
            (number / methods.len()).is_multiple_of(2).then(|| kept[number % KEPT_CONNECTIONS].clone());
        let outcome = outcome.clone();
        requests.spawn(async move {
            let sent = timeout(DEADLINE, send(addr, method, connection)).await;
            let sent = sent.unwrap_or_else(|_| Err("no answer".to_owned()));
            let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
            outcome.sent += 1;
            if let Err(problem) = sent {
                match method {
                    Method::Get => outcome.gets_lost += 1,
                    Method::Post => outcome.posts_lost += 1,
                }
                if outcome.failures.len() < FAILURES_KEPT {
                    outcome.failures.push(format!("{method:?}: {problem}"));
                }
            }
        });
    }
    while requests.join_next().await.is_some() {}
    Arc::try_unwrap(outcome)
        .expect("every request has ended")
        .into_inner()
        .unwrap_or_else(PoisonError::into_inner)
}

/// One request on a new connection, or on a kept one whose turn it is. Never sent twice.
async fn send(
    addr: SocketAddr,
    method: Method,
    kept: Option<Arc<AsyncMutex<Option<TcpStream>>>>,
) -> Result<(), String> {
    let words = |error: std::io::Error| error.to_string();
    match kept {
        None => {
            let mut stream = TcpStream::connect(addr).await.map_err(words)?;
            exchange(&mut stream, method, "close").await.map(drop)
        }
        Some(slot) => {
            let mut slot = slot.lock().await;
            let mut stream = match slot.take() {
                Some(stream) => stream,
                None => TcpStream::connect(addr).await.map_err(words)?,
            };
            if exchange(&mut stream, method, "keep-alive").await? {
                *slot = Some(stream);
            }
            Ok(())
        }
    }
}

/// Whether the connection may be used again.
async fn exchange(stream: &mut TcpStream, method: Method, connection: &str) -> Result<bool, String> {
    let request = match method {
        Method::Get => format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: {connection}\r\n\r\n"),
        Method::Post => {
            format!("POST / HTTP/1.1\r\nHost: a\r\nConnection: {connection}\r\nContent-Length: 4\r\n\r\nbody")
        }
    };
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
                let status = response.code.unwrap_or(0);
                let goes_on = !value("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
                return if status == 200 { Ok(goes_on) } else { Err(format!("status {status}")) };
            }
        }
        if stream.read_buf(&mut bytes).await.map_err(|error| format!("reading: {error}"))? == 0 {
            return Err(format!("closed after {} bytes of an answer", bytes.len()));
        }
    }
}
