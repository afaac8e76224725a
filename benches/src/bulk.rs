//! Bulk over TCP: backends send without end, and clients throw away what comes.
//!
//! The ends are as cheap as can be, so that the proxy is saturated before them: `sendfile` out of memory, and `recv` with
//! `MSG_TRUNC`, which copies nothing.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::fs::{MemfdFlags, ftruncate, memfd_create, sendfile};
use rustix::net::{RecvFlags, recv};

use crate::load::{Run, WARM_UP, now};
use crate::say;
use crate::scenario::Scenario;
use crate::sockets::{Epoll, connect, ready};

/// Bytes that are sent or thrown away at a time.
const PIECE_BYTES: usize = 1024 * 1024;

/// Bytes that count as one request.
const UNIT_BYTES: u64 = 1_000_000;

/// One end of a stream.
struct End {
    stream: TcpStream,
    role: Role,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// A backend that has not been asked yet.
    Backend,
    Client,
    /// A backend that was asked.
    Sender,
}

/// Loads `proxy` with the streams of a scenario; requests are megabytes that have come.
pub(crate) fn run(
    backends: &[TcpListener],
    proxy: SocketAddr,
    measured: Duration,
    scenario: Scenario,
) -> anyhow::Result<Run> {
    let mut ends = Ends::new(backends)?;
    for _ in 0..scenario.connections() {
        let client = connect(proxy)?;
        (&client).write_all(&scenario.request())?;
        ends.add(client, Role::Client)?;
    }
    let begin = now() + WARM_UP;
    let (mut received, mut errors, mut is_measured) = (0, 0, false);
    while now() < begin + measured {
        if !is_measured && now() >= begin {
            (received, is_measured) = (0, true);
            say("go");
        }
        for token in ends.epoll.wait(100)? {
            match ends.advance(backends, token) {
                Ok(count) => received += count,
                Err(_) => errors += 1,
            }
        }
    }
    Ok(Run { requests: received / UNIT_BYTES, errors, seconds: measured.as_secs_f64(), ..Run::default() })
}

struct Ends {
    epoll: Epoll,
    open: HashMap<u64, End>,
    next_token: u64,
    /// What backends send.
    memory: OwnedFd,
    buffer: Vec<u8>,
}

impl Ends {
    fn new(backends: &[TcpListener]) -> anyhow::Result<Self> {
        let epoll = Epoll::new()?;
        for (token, backend) in (0..).zip(backends) {
            epoll.watch(backend, token)?;
        }
        let memory = memfd_create("bulk", MemfdFlags::CLOEXEC)?;
        ftruncate(&memory, PIECE_BYTES as u64)?;
        let buffer = vec![0; PIECE_BYTES];
        Ok(Self { epoll, open: HashMap::new(), next_token: backends.len() as u64, memory, buffer })
    }

    fn add(&mut self, stream: TcpStream, role: Role) -> anyhow::Result<()> {
        let token = self.next_token;
        self.next_token += 1;
        self.epoll.watch(&stream, token)?;
        self.open.insert(token, End { stream, role });
        Ok(())
    }

    /// Does what can be done on one stream: bytes that have come to a client, or the loss of its connection.
    fn advance(&mut self, backends: &[TcpListener], token: u64) -> anyhow::Result<u64> {
        if let Some(backend) = backends.get(token as usize) {
            while let Ok((stream, _)) = backend.accept() {
                ready(&stream)?;
                self.add(stream, Role::Backend)?;
            }
            return Ok(0);
        }
        let Some(end) = self.open.get_mut(&token) else { return Ok(0) };
        let moved = match end.role {
            Role::Backend => end.stream.read(&mut self.buffer),
            Role::Client => {
                let received = recv(&end.stream, &mut self.buffer[..], RecvFlags::TRUNC);
                received.map(|(_, count)| count).map_err(io::Error::from)
            }
            Role::Sender => {
                let sent = sendfile(&end.stream, &self.memory, Some(&mut 0), PIECE_BYTES);
                sent.map_err(io::Error::from)
            }
        };
        match (moved, end.role) {
            (Ok(count @ 1..), Role::Client) => return Ok(count as u64),
            (Ok(1..), Role::Backend) => {
                self.epoll.watch_room_instead(&end.stream, token)?;
                end.role = Role::Sender;
            }
            (Ok(1..), Role::Sender) => {}
            (Err(error), _) if error.kind() == ErrorKind::WouldBlock => {}
            (_, role) => {
                self.open.remove(&token);
                anyhow::ensure!(role != Role::Client, "a client lost its connection");
            }
        }
        Ok(0)
    }
}
