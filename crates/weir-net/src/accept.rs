//! Accepting connections, within limits.

use std::future::{Future, poll_fn};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::task::{Poll, ready};
use std::time::Duration;

use rustix::net::{SocketFlags, acceptfrom_with};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use weir_core::address::ClientAddr;

use crate::bind::BACKLOG;
use crate::reactor::{Reactor, watch};
use crate::stream::Stream;

/// Pause before accepting again when descriptors or connections have run out. Arbitrary: long enough to cost nothing,
/// short enough that a freed place is taken at once.
const BACK_OFF: Duration = Duration::from_millis(20);

/// The limit on client connections of the whole process.
#[derive(Clone, Debug)]
pub struct ConnectionLimit {
    open: Arc<AtomicUsize>,
    most: usize,
}

impl ConnectionLimit {
    /// At most `most` connections at a time, over all listeners and workers.
    pub fn new(most: usize) -> Self {
        Self { open: Arc::default(), most }
    }

    /// Connections open now.
    pub fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// A place, if there is one left.
    pub fn admit(&self) -> Option<Admission> {
        let admitted =
            self.open.fetch_update(Relaxed, Relaxed, |open| (open < self.most).then_some(open + 1));
        admitted.is_ok().then(|| Admission(self.open.clone()))
    }
}

/// A place among the open connections; given back when dropped.
#[derive(Debug)]
pub struct Admission(Arc<AtomicUsize>);

impl Drop for Admission {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// A socket that connections come to.
#[derive(Debug)]
pub struct ListeningSocket {
    socket: AsyncFd<TcpListener>,
    /// What tells of its connections.
    reactor: Reactor,
}

/// A connection that was accepted.
#[derive(Debug)]
pub struct Accepted {
    /// The connection, without delay for small writes, as its listener is.
    pub stream: Stream,
    /// Its other end.
    pub client: ClientAddr,
    /// Its place among the open connections.
    pub admission: Admission,
}

impl ListeningSocket {
    /// Takes over a socket that listens and does not block, of whose connections `reactor` tells.
    ///
    /// # Errors
    /// When the kernel watches as many sockets as it may.
    pub fn new(socket: TcpListener, reactor: &Reactor) -> io::Result<Self> {
        Ok(Self { socket: watch(socket, Interest::READABLE)?, reactor: reactor.clone() })
    }

    async fn accept(&self) -> io::Result<(Stream, SocketAddr)> {
        poll_fn(|cx| {
            loop {
                let mut ready = ready!(self.socket.poll_read_ready(cx))?;
                if let Ok(accepted) = ready.try_io(|_| self.accept_now()) {
                    return Poll::Ready(accepted);
                }
            }
        })
        .await
    }

    /// Accepts what waits in the queue at this moment. The kernel is asked, and not the runtime, which has not heard of what came
    /// since it looked last.
    fn accept_now(&self) -> io::Result<(Stream, SocketAddr)> {
        let (socket, client) =
            acceptfrom_with(self.socket.get_ref(), SocketFlags::NONBLOCK | SocketFlags::CLOEXEC)?;
        let client = client.and_then(|client| SocketAddr::try_from(client).ok());
        Ok((Stream::accepted(socket, &self.reactor), client.ok_or(io::ErrorKind::ConnectionAborted)?))
    }
}

/// Accepts connections and gives each to `serve`, until `stop` completes.
///
/// At the limit one connection waits here for its place, so that no idle listener keeps a place from a busy one, and
/// further ones wait in the kernel's queue, as they do without descriptors; existing ones go on unharmed. What
/// happened is logged once per stretch. When `stop` completes, what already waits in the queue is still served,
/// so that closing the socket resets nobody. When it `is_shared` with another process by then, whose share never ends, that is
/// no more than can have waited.
pub async fn accept(
    listener: ListeningSocket,
    limit: ConnectionLimit,
    stop: impl Future<Output = ()>,
    is_shared: impl Fn() -> bool,
    mut serve: impl FnMut(Accepted),
) {
    let mut is_short = false;
    let mut is_stopped = false;
    tokio::pin!(stop);
    let mut waiting = BACKLOG;
    while waiting > 0 {
        if is_shared() {
            waiting -= 1;
        }
        let accepted = if is_stopped {
            match listener.accept_now() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                accepted => accepted,
            }
        } else {
            tokio::select! {
                biased;
                accepted = listener.accept() => accepted,
                () = &mut stop => {
                    is_stopped = true;
                    continue;
                }
            }
        };
        match accepted {
            Ok((stream, client)) => {
                let admission = loop {
                    match limit.admit() {
                        Some(admission) => break admission,
                        None => {
                            let cause = format!("{} connections are open, the limit", limit.most);
                            note_shortage(&mut is_short, &cause);
                            tokio::time::sleep(BACK_OFF).await;
                        }
                    }
                };
                is_short = false;
                serve(Accepted { stream, client: ClientAddr(client), admission });
            }
            Err(error) if is_about_one_connection(&error) => {}
            Err(error) => {
                note_shortage(&mut is_short, &error.to_string());
                tokio::time::sleep(BACK_OFF).await;
            }
        }
    }
}

/// Whether a failed accept concerns only the connection that was to be accepted.
fn is_about_one_connection(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}

fn note_shortage(is_short: &mut bool, cause: &str) {
    if !*is_short {
        *is_short = true;
        tracing::warn!("accepting pauses: {cause}; new connections wait in the kernel's queue");
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::net::TcpStream;

    use super::*;

    fn listener() -> (ListeningSocket, SocketAddr) {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let addr = socket.local_addr().unwrap();
        (ListeningSocket::new(socket, &Reactor::start().unwrap()).unwrap(), addr)
    }

    #[tokio::test(flavor = "local")]
    async fn connections_beyond_the_limit_wait_until_a_place_is_free() {
        let (listener, addr) = listener();
        let held = RefCell::new(Vec::new());
        let limit = ConnectionLimit::new(1);
        let (served, mut serving) = tokio::sync::mpsc::unbounded_channel();
        let loops = accept(
            listener,
            limit.clone(),
            std::future::pending(),
            || false,
            |accepted| {
                held.borrow_mut().push(accepted);
                served.send(()).unwrap();
            },
        );
        let story = async {
            let _first = TcpStream::connect(addr).unwrap();
            serving.recv().await.unwrap();
            let _second = TcpStream::connect(addr).unwrap();
            assert_eq!(limit.open(), 1);
            held.borrow_mut().clear();
            serving.recv().await.unwrap();
            assert_eq!(limit.open(), 1);
        };
        tokio::select! {
            () = loops => unreachable!("nobody stops it"),
            () = story => {}
        }
    }

    #[tokio::test(flavor = "local")]
    async fn a_connection_that_the_runtime_has_not_heard_of_is_served_when_accepting_ends() {
        let (listener, addr) = listener();
        // Nobody lets the runtime look between this and the end.
        let clients: Vec<_> = (0..3).map(|_| TcpStream::connect(addr).unwrap()).collect();
        let served = RefCell::new(Vec::new());
        let note = |accepted: Accepted| served.borrow_mut().push(accepted.client.0);
        accept(listener, ConnectionLimit::new(9), std::future::ready(()), || false, note).await;
        let expected: Vec<SocketAddr> = clients.iter().map(|client| client.local_addr().unwrap()).collect();
        assert_eq!(*served.borrow(), expected);
    }
}
