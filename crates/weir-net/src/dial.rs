//! Dialling a target.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::time::timeout;
use weir_core::address::{ClientAddr, TargetAddr};

use crate::reactor::Reactor;
use crate::stream::Stream;
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

/// Has the kernel acknowledge at once again what a target sends. A connection whose handshake the first word has acknowledged
/// is taken for a dialogue, where answers acknowledge: a target that waits for its first piece to be acknowledged before it sends
/// the second would wait 40 ms.
pub fn acknowledge_at_once(target: &Stream) {
    // When it cannot be said, it is only slower.
    let _ = sockopt::set_tcp_quickack(target, true);
}

/// Connects to a target. Small writes are not delayed.
///
/// # Errors
/// [`DialError`], by step.
pub async fn dial(addr: TargetAddr, reactor: &Reactor) -> Result<Stream, DialError> {
    Ok(dial_saying(addr, &[], reactor).await?.0)
}

/// Connects to a target, and sends it `first_word` where the connection is there at once; how much of it was sent. The rest is to be
/// sent next, and once there is none, [`acknowledge_at_once`] has to be called.
///
/// The first word acknowledges the handshake, too, which saves a packet. Without one this is [`dial`].
///
/// On loopback, dialling a dead port of the ephemeral range can connect the dialling socket to itself (a TCP
/// simultaneous open); the connection would echo requests and block the port for the next task. Such a connection is
/// reset and reported as nobody listening.
///
/// # Errors
/// [`DialError`], by step.
pub async fn dial_saying(
    addr: TargetAddr,
    first_word: &[u8],
    reactor: &Reactor,
) -> Result<(Stream, usize), DialError> {
    let socket = Socket::new(Domain::for_address(addr.0), Type::STREAM.nonblocking(), Some(Protocol::TCP));
    connect(socket.map_err(DialError::Failed)?, addr, first_word, reactor).await
}

/// The same in the name of a client, whose address the target sees; of weir's own where one of the two has IPv4 and the other
/// IPv6.
///
/// # Errors
/// [`DialError`], by step.
pub async fn dial_as(
    client: ClientAddr,
    addr: TargetAddr,
    first_word: &[u8],
    reactor: &Reactor,
) -> Result<(Stream, usize), DialError> {
    match transparent::bound_to(client.0, addr.0, Type::STREAM).map_err(DialError::Failed)? {
        Some(socket) => connect(socket, addr, first_word, reactor).await,
        None => dial_saying(addr, first_word, reactor).await,
    }
}

async fn connect(
    socket: Socket,
    addr: TargetAddr,
    first_word: &[u8],
    reactor: &Reactor,
) -> Result<(Stream, usize), DialError> {
    let (mut stream, sent) = begin(socket, addr, first_word, reactor).map_err(DialError::Failed)?;
    // What has taken something is connected.
    if sent == 0 {
        // In a box: who is connected at once needs no room for it.
        Box::pin(until_connected(&mut stream)).await?;
    }
    if addr.ip().is_loopback() && is_self_connected(stream.local_addr().map_err(DialError::Failed)?, addr) {
        // A reset leaves no TIME_WAIT behind that would keep the port from its next owner.
        stream.set_zero_linger().map_err(DialError::Failed)?;
        return Err(DialError::SelfConnected);
    }
    Ok((stream, sent))
}

/// Begins to connect; how much of the first word was sent.
fn begin(
    socket: Socket,
    addr: TargetAddr,
    first_word: &[u8],
    reactor: &Reactor,
) -> io::Result<(Stream, usize)> {
    if !first_word.is_empty() {
        sockopt::set_tcp_quickack(&socket, false)?;
    }
    if let Err(error) = socket.connect(&addr.0.into())
        && error.raw_os_error() != Some(Errno::INPROGRESS.raw_os_error())
    {
        return Err(error);
    }
    let mut stream = Stream::dialled(socket, reactor);
    // On loopback the connection is there by now, though the kernel calls it in progress: then nothing has to wake the task.
    let sent = if first_word.is_empty() { 0 } else { stream.try_first_word(first_word)? };
    Ok((stream, sent))
}

async fn until_connected(stream: &mut Stream) -> Result<(), DialError> {
    let connected = timeout(DIAL_TIMEOUT, stream.connected()).await;
    connected.map_err(|_| DialError::TimedOut)?.map_err(DialError::Failed)
}

fn is_self_connected(local: SocketAddr, addr: TargetAddr) -> bool {
    local == addr.0
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test(flavor = "local")]
    async fn a_refused_connection_says_so() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = TargetAddr(listener.local_addr().unwrap());
        drop(listener);
        let reactor = Reactor::start().unwrap();
        for first_word in [&b""[..], b"hello"] {
            assert!(matches!(
                dial_saying(addr, first_word, &reactor).await,
                Err(DialError::Failed(_) | DialError::SelfConnected)
            ));
        }
    }

    #[tokio::test(flavor = "local")]
    async fn the_first_word_is_sent_with_the_connection_and_the_target_is_acknowledged_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = TargetAddr(listener.local_addr().unwrap());
        let (mut target, sent) = dial_saying(addr, b"question", &Reactor::start().unwrap()).await.unwrap();
        assert_eq!(sent, 8);
        acknowledge_at_once(&target);
        let mut far = listener.accept().await.unwrap().0;
        let mut question = [0; 8];
        far.read_exact(&mut question).await.unwrap();
        far.write_all(b"answer").await.unwrap();
        target.readable().await.unwrap();
        assert_eq!(&question, b"question");
        assert!(sockopt::tcp_quickack(&target).unwrap());
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

    #[tokio::test(flavor = "local")]
    async fn dialling_a_dead_port_of_the_ephemeral_range_never_succeeds() {
        // Every dial may draw the very port it dials as its source; thousands of dials meet that case.
        let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap();
        let low: u16 = range.split_whitespace().next().unwrap().parse().unwrap();
        let reactor = Reactor::start().unwrap();
        for n in 0..4_000 {
            let addr = TargetAddr(([127, 9, 8, 7], low + 1 + (n % 7)).into());
            let first_word: &[u8] = if n % 2 == 0 { b"" } else { b"to nobody" };
            assert!(dial_saying(addr, first_word, &reactor).await.is_err());
        }
    }
}
