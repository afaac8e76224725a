//! Dialling a target.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvFlags, recv, sockopt};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::timeout;
use weir_core::address::{ClientAddr, TargetAddr};

use crate::transparent;

/// Longest time a connection to a target may take to be established.
///
/// Source: Application Load Balancer, HTTP 504: "failed to establish a connection … before the connection timeout
/// expired (10 seconds)".
pub const DIAL_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a target was not reached.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The kernel refused: nobody listens, no route, no descriptor left.
    #[error("connection failed")]
    Failed(#[source] io::Error),
    /// The connection reached weir's own dialling socket instead of a target: see [`dial`].
    #[error("connection reached itself: nobody listens on the port")]
    SelfConnected,
    /// No answer within [`DIAL_TIMEOUT`].
    #[error("no answer within {} seconds", DIAL_TIMEOUT.as_secs())]
    TimedOut,
}

impl DialError {
    /// Whether no port is left to speak to the target from.
    pub fn has_no_port(&self) -> bool {
        matches!(self, Self::Failed(error) if error.kind() == io::ErrorKind::AddrNotAvailable)
    }
}

/// Who has the first word on a new connection to a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirstWord {
    /// Weir sends something as soon as the connection is there. That acknowledges the handshake, too, which saves a packet. Once
    /// it is sent, [`acknowledge_at_once`] has to be called.
    Ours,
    /// It may be the target's.
    Anybodys,
}

impl FirstWord {
    /// Of a flow: weir's, as soon as its client has said something.
    pub fn for_client(client: &TcpStream) -> Self {
        match recv(client, &mut [0], RecvFlags::PEEK | RecvFlags::DONTWAIT) {
            Ok((1.., _)) => Self::Ours,
            _ => Self::Anybodys,
        }
    }
}

/// Has the kernel acknowledge at once again what a target sends. A connection whose handshake the first word has acknowledged
/// is taken for a dialogue, where answers acknowledge: a target that waits for its first piece to be acknowledged before it sends
/// the second would wait 40 ms.
pub fn acknowledge_at_once(target: &TcpStream) {
    // When it cannot be said, it is only slower.
    let _ = sockopt::set_tcp_quickack(target, true);
}

/// Connects to a target, without delay for small writes.
///
/// On loopback, dialling a dead port of the ephemeral range can connect the dialling socket to itself (a TCP
/// simultaneous open); the connection would echo requests and block the port for the next task. Such a connection is
/// reset and reported as nobody listening.
///
/// # Errors
/// [`DialError`], by step.
pub async fn dial(addr: TargetAddr, first_word: FirstWord) -> Result<TcpStream, DialError> {
    let socket = Socket::new(Domain::for_address(addr.0), Type::STREAM.nonblocking(), Some(Protocol::TCP));
    connect(socket.map_err(DialError::Failed)?, addr, first_word).await
}

/// The same in the name of a client, whose address the target sees; of weir's own where one of the two has IPv4 and the other
/// IPv6.
///
/// # Errors
/// [`DialError`], by step.
pub async fn dial_as(
    client: ClientAddr,
    addr: TargetAddr,
    first_word: FirstWord,
) -> Result<TcpStream, DialError> {
    match transparent::bound_to(client.0, addr.0, Type::STREAM).map_err(DialError::Failed)? {
        Some(socket) => connect(socket, addr, first_word).await,
        None => dial(addr, first_word).await,
    }
}

async fn connect(socket: Socket, addr: TargetAddr, first_word: FirstWord) -> Result<TcpStream, DialError> {
    let stream = begin(socket, addr, first_word).map_err(DialError::Failed)?;
    let connected = timeout(DIAL_TIMEOUT, stream.ready(Interest::WRITABLE | Interest::ERROR)).await;
    let ready = connected.map_err(|_| DialError::TimedOut)?.map_err(DialError::Failed)?;
    // The kernel is asked only when it has something to say.
    if ready.is_error()
        && let Some(error) = stream.take_error().map_err(DialError::Failed)?
    {
        return Err(DialError::Failed(error));
    }
    if addr.ip().is_loopback() && is_self_connected(stream.local_addr().map_err(DialError::Failed)?, addr) {
        // A reset leaves no TIME_WAIT behind that would keep the port from its next owner.
        stream.set_zero_linger().map_err(DialError::Failed)?;
        return Err(DialError::SelfConnected);
    }
    Ok(stream)
}

fn begin(socket: Socket, addr: TargetAddr, first_word: FirstWord) -> io::Result<TcpStream> {
    socket.set_tcp_nodelay(true)?;
    if first_word == FirstWord::Ours {
        sockopt::set_tcp_quickack(&socket, false)?;
    }
    match socket.connect(&addr.0.into()) {
        Err(error) if error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error()) => Err(error),
        _ => TcpStream::from_std(socket.into()),
    }
}

fn is_self_connected(local: SocketAddr, addr: TargetAddr) -> bool {
    local == addr.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_refused_connection_says_so() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = TargetAddr(listener.local_addr().unwrap());
        drop(listener);
        assert!(matches!(
            dial(addr, FirstWord::Ours).await,
            Err(DialError::Failed(_) | DialError::SelfConnected)
        ));
    }

    #[test]
    fn a_socket_that_dials_its_own_port_is_connected_to_itself_and_recognised() {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.bind(&"127.0.0.1:0".parse::<SocketAddr>().unwrap().into()).unwrap();
        let own = socket.local_addr().unwrap();
        // The kernel does allow it: this is why `dial` looks.
        socket.connect(&own).unwrap();
        let local = socket.local_addr().unwrap().as_socket().unwrap();
        assert!(is_self_connected(local, TargetAddr(own.as_socket().unwrap())));
    }

    #[tokio::test]
    async fn dialling_a_dead_port_of_the_ephemeral_range_never_succeeds() {
        // Every dial may draw the very port it dials as its source; thousands of dials meet that case.
        let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
        let low: u16 = range.split_whitespace().next().unwrap().parse().unwrap();
        for n in 0..4_000 {
            let addr = TargetAddr(([127, 9, 8, 7], low + 1 + (n % 7)).into());
            assert!(dial(addr, FirstWord::Anybodys).await.is_err());
        }
    }
}
