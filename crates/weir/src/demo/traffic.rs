//! The demo's clients: plain HTTP/1.1 and TCP, without retries.

use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::score::{Attempt, Score};
use super::task::WORK_PATH;

/// Clients, each sending at a pace of its own.
const CLIENTS: usize = 16;

/// Time between two requests of one client.
const PACE: Duration = Duration::from_millis(25);

/// Longest time that an answer may take.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(15);

/// Requests that a client sends on one connection before it opens another.
const REQUESTS_PER_CONNECTION: u64 = 2;

/// Bytes of a POST's body.
const POST_BYTES: usize = 2_000;

/// Where the load balancers listen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Endpoints {
    pub(super) application: SocketAddr,
    pub(super) network: SocketAddr,
    pub(super) classic: SocketAddr,
}

/// Clients at work.
pub(super) struct Traffic {
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

impl Traffic {
    /// Stops the clients and waits for what is under way.
    pub(super) fn stop(self) {
        self.stop.send_replace(true);
        // A panic in a client has been reported by the runtime.
        let _ = self.thread.join();
    }
}

/// Starts the clients on a thread of their own.
pub(super) fn start(endpoints: Endpoints, score: Arc<Score>) -> Traffic {
    let (stop, stopped) = watch::channel(false);
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let Ok(runtime) = runtime else { return };
        runtime.block_on(async {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|number| tokio::spawn(client(number as u64, endpoints, score.clone(), stopped.clone())))
                .collect();
            for client in clients {
                let _ = client.await;
            }
        });
    });
    Traffic { stop, thread }
}

/// One client: in turn GET and POST to the application's two services and to the classic listener, and a flow.
async fn client(number: u64, endpoints: Endpoints, score: Arc<Score>, stopped: watch::Receiver<bool>) {
    let mut ticks = interval(PACE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut connections = Connections::default();
    for n in number.. {
        ticks.tick().await;
        if *stopped.borrow() {
            return;
        }
        let began = Instant::now();
        let (attempt, exchanged) = match n % 6 {
            0 => (Attempt::Get, connections.ask(endpoints.application, "web", "GET", "/").await),
            1 => (Attempt::Post, connections.ask(endpoints.application, "api", "POST", "/api/orders").await),
            2 => (Attempt::Get, connections.ask(endpoints.application, "api", "GET", "/api/orders").await),
            3 => (Attempt::Work, connections.ask(endpoints.application, "web", "POST", WORK_PATH).await),
            4 => (Attempt::Get, connections.ask(endpoints.classic, "legacy", "GET", "/").await),
            _ => (Attempt::Flow, flow(endpoints.network).await),
        };
        score.record(attempt, began.elapsed(), exchanged);
    }
}

/// One client's open connections.
#[derive(Default)]
struct Connections(Vec<(SocketAddr, TcpStream, u64)>);

impl Connections {
    /// One request; the task that answered, if it was one of `service`.
    async fn ask(
        &mut self,
        addr: SocketAddr,
        service: &str,
        method: &str,
        path: &str,
    ) -> Result<String, String> {
        let describe = |problem: String| format!("{method} http://{addr}{path}: {problem}");
        let kept = self.0.iter().position(|(to, _, _)| *to == addr).map(|at| self.0.remove(at));
        let exchange = async {
            let (mut stream, used) = match kept {
                Some((_, stream, used)) => (stream, used),
                None => (TcpStream::connect(addr).await.map_err(|error| error.to_string())?, 0),
            };
            let is_last = used + 1 == REQUESTS_PER_CONNECTION;
            let answer = exchange(&mut stream, method, path, is_last).await?;
            if !is_last && !answer.closes {
                self.0.push((addr, stream, used + 1));
            }
            Ok(answer)
        };
        let answer = timeout(ANSWER_TIMEOUT, exchange).await.unwrap_or_else(|_| Err("no answer".to_owned()));
        let answer = answer.map_err(describe)?;
        if answer.status != 200 {
            return Err(describe(format!("status {}", answer.status)));
        }
        from_service(&answer.body, service).map_err(describe)
    }
}

struct Answer {
    status: u16,
    body: String,
    closes: bool,
}

async fn exchange(stream: &mut TcpStream, method: &str, path: &str, is_last: bool) -> Result<Answer, String> {
    let connection = if is_last { "close" } else { "keep-alive" };
    let body = if method == "POST" { "x".repeat(POST_BYTES) } else { String::new() };
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: demo.localhost\r\nConnection: {connection}\r\n{length}\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.map_err(|error| format!("sending: {error}"))?;
    let mut bytes = Vec::new();
    loop {
        if let Some(answer) = parse(&bytes)? {
            return Ok(answer);
        }
        let read = stream.read_buf(&mut bytes).await.map_err(|error| format!("reading: {error}"))?;
        if read == 0 {
            return Err(format!("closed after {} bytes of an answer", bytes.len()));
        }
    }
}

/// A whole answer, once all of its bytes are there.
fn parse(bytes: &[u8]) -> Result<Option<Answer>, String> {
    let mut lines = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut lines);
    let head = match response.parse(bytes).map_err(|error| format!("not HTTP: {error}"))? {
        httparse::Status::Complete(head) => head,
        httparse::Status::Partial => return Ok(None),
    };
    let status = response.code.unwrap_or(0);
    let value = |name: &str| {
        let line = response.headers.iter().find(|line| line.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(line.value).ok()
    };
    let length: usize = value("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let closes = value("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    let body = bytes.get(head..head + length);
    Ok(body.map(|body| Answer { status, body: String::from_utf8_lossy(body).into_owned(), closes }))
}

/// One flow: a line there and its echo back, with the task's name before it.
async fn flow(addr: SocketAddr) -> Result<String, String> {
    let talk = async {
        let mut stream = TcpStream::connect(addr).await?;
        stream.write_all(b"hello\n").await?;
        stream.shutdown().await?;
        let mut echo = String::new();
        stream.read_to_string(&mut echo).await?;
        std::io::Result::Ok(echo)
    };
    let echo = match timeout(ANSWER_TIMEOUT, talk).await {
        Ok(Ok(echo)) => echo,
        Ok(Err(error)) => return Err(format!("flow to {addr}: {error}")),
        Err(_) => return Err(format!("flow to {addr}: no answer")),
    };
    if !echo.ends_with("hello\n") {
        return Err(format!("flow to {addr}: {echo:?} is no echo"));
    }
    from_service(&echo, "echo")
}

/// The task's name, from an answer that begins `service task`.
fn from_service(answer: &str, service: &str) -> Result<String, String> {
    let mut words = answer.split_whitespace();
    match (words.next(), words.next()) {
        (Some(from), Some(task)) if from == service => Ok(task.to_owned()),
        _ => Err(format!("an answer of {service} was expected, not {answer:?}")),
    }
}
