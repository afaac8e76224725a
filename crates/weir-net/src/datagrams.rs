//! Datagrams of UDP: received many at a time, answered from the address that they came to.

mod toward_targets;

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};
use rustix::net::sockopt;
use tokio::io::Interest;
use weir_core::address::ClientAddr;

pub use self::toward_targets::{Answering, TargetSockets, dial, dial_as};

/// Bytes of the longest datagram, and of as many as the kernel gives in one piece.
pub const DATAGRAM_BYTES_MAX: usize = 65_535;

/// Answers of one flow that are received at a time.
pub const ANSWERS_MAX: usize = 4;

/// Room for as many datagrams as are received at a time. Only what datagrams have been in is really used.
#[derive(Debug)]
pub struct Batch {
    room: Vec<u8>,
    metas: [RecvMeta; BATCH_SIZE],
    count: usize,
}

/// Datagrams of one client that came together, all but perhaps the last of one length.
#[derive(Clone, Copy, Debug)]
pub struct Received<'b> {
    /// Who has sent them.
    pub client: ClientAddr,
    /// Which of this machine's addresses they were sent to.
    pub local: IpAddr,
    bytes: &'b [u8],
    each: usize,
}

/// A socket that any client may send to, and those toward the targets of its flows.
#[derive(Debug)]
pub struct DatagramSocket {
    socket: tokio::net::UdpSocket,
    targets: TargetSockets,
    state: UdpSocketState,
    /// The address that it is bound to, unless that is every one.
    ip: Option<IpAddr>,
}

impl Default for Batch {
    fn default() -> Self {
        let room = vec![0; BATCH_SIZE * DATAGRAM_BYTES_MAX];
        Self { room, metas: [RecvMeta::default(); BATCH_SIZE], count: 0 }
    }
}

impl Batch {
    /// What has been received.
    pub fn received(&self) -> impl Iterator<Item = Received<'_>> {
        let filled = self.room.chunks_exact(DATAGRAM_BYTES_MAX).zip(&self.metas[..self.count]);
        filled.map(|(room, meta)| Received {
            client: ClientAddr(meta.addr),
            // A kernel that does not say where it came to is asked for none: replies leave from where routes say.
            local: meta.dst_ip.unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)),
            bytes: &room[..meta.len],
            each: meta.stride,
        })
    }
}

impl<'b> Received<'b> {
    /// Each of them.
    pub fn datagrams(&self) -> impl Iterator<Item = &'b [u8]> + use<'b> {
        // An empty datagram is one, too.
        let empty = self.bytes.is_empty().then_some(self.bytes);
        self.bytes.chunks(self.each.max(1)).chain(empty)
    }
}

impl DatagramSocket {
    /// Takes over a socket that is bound.
    ///
    /// # Errors
    /// When the kernel does not tell where datagrams came to, or there is no descriptor left.
    pub fn new(socket: UdpSocket) -> io::Result<Self> {
        let ip = Some(socket.local_addr()?.ip()).filter(|ip| !ip.is_unspecified());
        let state = UdpSocketState::new((&socket).into())?;
        // The library forbids fragments, as QUIC wants it; others send what they like.
        match socket.local_addr()? {
            SocketAddr::V4(_) => sockopt::set_ip_mtu_discover(&socket, sockopt::Ipv4PathMtuDiscovery::WANT)?,
            SocketAddr::V6(_) => {
                sockopt::set_ipv6_mtu_discover(&socket, sockopt::Ipv6PathMtuDiscovery::WANT)?;
            }
        }
        let socket = tokio::net::UdpSocket::from_std(socket)?;
        Ok(Self { socket, targets: TargetSockets::new()?, state, ip })
    }

    /// The sockets toward targets.
    pub fn targets(&self) -> &TargetSockets {
        &self.targets
    }

    /// Waits for datagrams and receives as many as there are, and as there is room for.
    ///
    /// # Errors
    /// The kernel's. They say nothing about later datagrams.
    pub async fn receive(&self, batch: &mut Batch) -> io::Result<()> {
        let Batch { room, metas, count } = batch;
        let mut rooms = room.chunks_exact_mut(DATAGRAM_BYTES_MAX).map(IoSliceMut::new);
        let mut rooms: [IoSliceMut<'_>; BATCH_SIZE] =
            std::array::from_fn(|_| rooms.next().unwrap_or_else(|| IoSliceMut::new(&mut [])));
        let receive = || self.state.recv((&self.socket).into(), &mut rooms, metas);
        *count = self.socket.async_io(Interest::READABLE, receive).await?;
        Ok(())
    }

    /// Receives what has come to a socket toward a target, up to [`ANSWERS_MAX`].
    ///
    /// # Errors
    /// The kernel's; [`io::ErrorKind::WouldBlock`] when there are none.
    pub fn try_receive_answers(&self, socket: &UdpSocket, batch: &mut Batch) -> io::Result<()> {
        let Batch { room, metas, count } = batch;
        let mut rooms = room.chunks_exact_mut(DATAGRAM_BYTES_MAX).map(IoSliceMut::new);
        let mut rooms: [IoSliceMut<'_>; ANSWERS_MAX] =
            std::array::from_fn(|_| rooms.next().unwrap_or_else(|| IoSliceMut::new(&mut [])));
        *count = 0;
        *count = self.state.recv(socket.into(), &mut rooms, metas)?;
        Ok(())
    }

    /// Sends a datagram to a client, from the address that it has sent to.
    ///
    /// # Errors
    /// The kernel's; [`io::ErrorKind::WouldBlock`] when too much waits to be sent.
    pub fn try_send(&self, client: ClientAddr, local: IpAddr, datagram: &[u8]) -> io::Result<()> {
        if self.ip.is_some() {
            // A socket of one address sends from no other.
            return self.socket.try_send_to(datagram, client.0).map(drop);
        }
        let transmit = Transmit {
            destination: client.0,
            ecn: None,
            contents: datagram,
            segment_size: None,
            src_ip: Some(local),
        };
        self.socket.try_io(Interest::WRITABLE, || self.state.try_send((&self.socket).into(), &transmit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(addr: &str) -> UdpSocket {
        let socket = UdpSocket::bind(addr).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    }

    #[tokio::test]
    async fn datagrams_of_every_length_come_whole_and_in_order() {
        let server = socket("127.0.0.1:0");
        let addr = server.local_addr().unwrap();
        let server = DatagramSocket::new(server).unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        let lengths = [0, 1, 1_400, 65_507];
        for length in lengths {
            client.send_to(&vec![7; length], addr).unwrap();
        }
        let (mut batch, mut came) = (Batch::default(), Vec::new());
        while came.len() < lengths.len() {
            server.receive(&mut batch).await.unwrap();
            came.extend(batch.received().flat_map(|r| r.datagrams()).map(<[u8]>::len));
        }
        assert_eq!(came, lengths);
    }

    #[tokio::test]
    async fn an_answer_comes_from_the_address_that_was_asked() {
        let server = DatagramSocket::new(socket("0.0.0.0:0")).unwrap();
        let port = server.socket.local_addr().unwrap().port();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        let asked = SocketAddr::from(([127, 0, 0, 5], port));
        client.send_to(b"?", asked).unwrap();
        let mut batch = Batch::default();
        server.receive(&mut batch).await.unwrap();
        let received = batch.received().next().unwrap();
        server.try_send(received.client, received.local, b"!").unwrap();
        let (_, from) = client.recv_from(&mut [0; 9]).unwrap();
        assert_eq!(from, asked);
    }
}
