//! The stall test: whether a generator charges a server that stands still with everybody who would have come meanwhile.
//!
//! With requests at equal distances over a time T and one freeze of S, a request that was due x after the freeze began has to
//! wait S - x. So the share of requests that wait longer than y is (S - y) / T, and the p99 is S - 0.01·T, plus what the server
//! needs to work off those who waited. From the moment of sending only as many requests are slow as there are connections.
//!
//! Source: wrk2's README, the second example: 2000/s, 39,500 samples, a freeze of 1.413 s; p99 1.27 s corrected, 6.04 ms not.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use super::poll::{Poll, now};
use super::{Endpoint, LoadError, Onlookers, Outcome, Plan, Protocol, run};
use crate::arrivals::{Arrivals, Process, Rate};
use crate::load::Planned;

/// What a null server says.
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// How often a null server looks whether it shall end, in nanoseconds.
const LOOK: u64 = 20_000_000;

/// Bytes of requests that are read at a time.
const BUFFER_BYTES: usize = 16 * 1024;

/// How large a stall test is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scale {
    /// Requests per second, at equal distances.
    pub rate: f64,
    /// Requests in all.
    pub requests: usize,
    /// How long the server stands still, once, when it has answered half of them.
    pub freeze: Duration,
    /// Connections, and no more of them.
    pub connections: usize,
}

impl Scale {
    /// The example of wrk2's README: 20 s.
    pub const WRK2: Self =
        Self { rate: 2000.0, requests: 39_500, freeze: Duration::from_millis(1413), connections: 100 };

    /// The p99 that a correct generator finds, in seconds, without what the server needs to catch up.
    pub fn expected_p99(&self) -> f64 {
        self.freeze.as_secs_f64() - 0.01 * self.requests as f64 / self.rate
    }
}

/// Loads a server that stands still once.
///
/// # Errors
/// What [`run`] and the server's sockets say.
pub fn stall_test(scale: Scale) -> Result<Outcome, LoadError> {
    let freeze = Freeze { after: scale.requests as u64 / 2, time: scale.freeze };
    let server = NullServer::start(Some(freeze))?;
    let addr = server.addr();
    let target =
        Endpoint { protocol: Protocol::Http1, addr, authority: addr.to_string(), path: "/".to_owned() };
    let plan =
        Plan { connections: scale.connections, connections_max: scale.connections, ..Plan::new(target) };
    let arrivals = Arrivals::new(Process::Constant, Rate::constant(scale.rate), 0);
    let requests = arrivals.take(scale.requests).map(|at| Planned { at, ..Planned::default() });
    run(&plan, &requests, &Onlookers::default())
}

/// When a server stands still, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freeze {
    /// After so many answers.
    pub after: u64,
    /// For so long.
    pub time: Duration,
}

/// A server on loopback that answers every request of HTTP/1.1 at once with two bytes; ends when dropped.
#[derive(Debug)]
pub struct NullServer {
    addr: SocketAddr,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl NullServer {
    /// Starts it on a port that the kernel chooses.
    ///
    /// # Errors
    /// When there is no socket or epoll for it.
    pub fn start(freeze: Option<Freeze>) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        // The standard library's backlog of 128 is less than a generator's first connections.
        rustix::net::listen(&listener, 4096)?;
        listener.set_nonblocking(true)?;
        let addr = listener.local_addr()?;
        let poll = Poll::new()?;
        poll.watch(&listener, 0)?;
        let is_over = Arc::new(AtomicBool::new(false));
        let serving = Serving { listener, poll, freeze, clients: Vec::new(), answered: 0 };
        let ends = Arc::clone(&is_over);
        let thread = std::thread::spawn(move || serving.serve(&ends));
        Ok(Self { addr, is_over, thread: Some(thread) })
    }

    /// Where it is.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for NullServer {
    fn drop(&mut self) {
        self.is_over.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            // What it panicked with has been said.
            let _ = thread.join();
        }
    }
}

struct Serving {
    listener: TcpListener,
    poll: Poll,
    freeze: Option<Freeze>,
    /// By token, less one; places are not used again, since a test has few clients.
    clients: Vec<Option<Client>>,
    answered: u64,
}

struct Client {
    stream: TcpStream,
    /// How much of the end of a head has come.
    end: usize,
}

impl Serving {
    fn serve(mut self, is_over: &AtomicBool) {
        let mut buffer = vec![0; BUFFER_BYTES];
        while !is_over.load(Relaxed) {
            let at = now();
            if self.poll.wait(Some(at + LOOK), at).is_err() {
                return;
            }
            let mut next = 0;
            while let Some(happened) = self.poll.happened(next) {
                next += 1;
                if happened.token == 0 {
                    self.accept();
                } else {
                    self.answer((happened.token - 1) as usize, &mut buffer);
                }
            }
        }
    }

    fn accept(&mut self) {
        while let Ok((stream, _)) = self.listener.accept() {
            let token = self.clients.len() as u64 + 1;
            let is_ready = stream.set_nonblocking(true).is_ok() && stream.set_nodelay(true).is_ok();
            if is_ready && self.poll.watch(&stream, token).is_ok() {
                self.clients.push(Some(Client { stream, end: 0 }));
            }
        }
    }

    /// Answers what has come; a client that went away, or does not read, is forgotten.
    fn answer(&mut self, place: usize, buffer: &mut [u8]) {
        let Some(Some(client)) = self.clients.get_mut(place) else { return };
        loop {
            let count = match client.stream.read(buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => break,
            };
            for byte in &buffer[..count] {
                client.end = if *byte == b"\r\n\r\n"[client.end] {
                    client.end + 1
                } else {
                    usize::from(*byte == b'\r')
                };
                if client.end == 4 {
                    client.end = 0;
                    if self.freeze.is_some_and(|freeze| freeze.after == self.answered) {
                        std::thread::sleep(self.freeze.map(|freeze| freeze.time).unwrap_or_default());
                    }
                    self.answered += 1;
                    if client.stream.write_all(ANSWER).is_err() {
                        self.clients[place] = None;
                        return;
                    }
                }
            }
        }
        self.clients[place] = None;
    }
}
