//! Datagrams of UDP: received many at a time, answered from the address that they came to.

mod toward_targets;

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSocketState};
use rustix::net::{SendFlags, sendto, sockopt};
use socket2::SockRef;
use tokio::io::Interest;
use weir_core::address::{ClientAddr, TargetAddr};

pub use self::toward_targets::{Answering, TargetSocket, TargetSockets, dial, dial_as};

/// Bytes of the longest datagram, and of as many as the kernel gives in one piece.
pub const DATAGRAM_BYTES_MAX: usize = 65_535;

/// Bytes of the longest datagrams that are sent many at a time: the kernel refuses that for those that need fragments, and Ethernet
/// carries these over IPv4 and IPv6.
const TOGETHER_BYTES_MAX: usize = 1_452;

/// Room for as many datagrams as are received at a time. Only what datagrams have been in is really used.
#[derive(Debug)]
pub struct Batch {
    room: Vec<u8>,
    metas: [RecvMeta; BATCH_SIZE],
    count: usize,
    /// Room for those of one client, one behind the other.
    together: Vec<u8>,
}

/// Datagrams of one sender that came together, all but perhaps the last of one length.
#[derive(Clone, Copy, Debug)]
pub struct Received<'b> {
    /// Who has sent them: a client, where it is not the target of a flow.
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
        Self { room, metas: [RecvMeta::default(); BATCH_SIZE], count: 0, together: Vec::new() }
    }
}

impl Batch {
    /// Gives what has been received to `take`. Datagrams of one sender and one length are given together, and in their order.
    pub fn take(&mut self, mut take: impl FnMut(Received<'_>)) {
        let Self { room, metas, count, together } = self;
        // By their ports alone, as numbers: two clients that have the same one may come between each other's, in the right order still.
        let mut order: [u32; BATCH_SIZE] =
            std::array::from_fn(|n| u32::from(metas[n].addr.port()) << 16 | n as u32);
        let order = &mut order[..*count];
        order.sort_unstable();
        let number = |key: &u32| (key & 0xffff) as usize;
        let bytes = |n: usize| &room[n * DATAGRAM_BYTES_MAX..][..metas[n].len];
        for same in order.chunk_by(|one, next| go_together(&metas[number(one)], &metas[number(next)])) {
            let meta = &metas[number(&same[0])];
            let bytes = if let [one] = same {
                bytes(number(one))
            } else {
                together.clear();
                together.extend(same.iter().flat_map(|key| bytes(number(key))));
                together.as_slice()
            };
            take(Received {
                client: ClientAddr(meta.addr),
                // A kernel that does not say where it came to is asked for none: replies leave from where routes say.
                local: meta.dst_ip.unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)),
                bytes,
                each: meta.stride,
            });
        }
    }
}

/// Whether two datagrams have the same sender and length, and may be sent together with as many as a batch has.
fn go_together(one: &RecvMeta, next: &RecvMeta) -> bool {
    let is_one = |meta: &RecvMeta| meta.len == meta.stride && (1..=TOGETHER_BYTES_MAX).contains(&meta.len);
    (one.addr, one.dst_ip, one.len) == (next.addr, next.dst_ip, next.len) && is_one(one) && is_one(next)
}

impl<'b> Received<'b> {
    /// Each of them.
    pub fn datagrams(&self) -> impl Iterator<Item = &'b [u8]> + use<'b> {
        // An empty datagram is one, too.
        let empty = self.bytes.is_empty().then_some(self.bytes);
        self.bytes.chunks(self.each.max(1)).chain(empty)
    }

    /// All their bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Whether the kernel may be asked to send them all at a time: several, none of them long.
    fn may_go_together(&self) -> bool {
        self.each < self.bytes.len() && self.each <= TOGETHER_BYTES_MAX
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
        // The library forbids fragments and asks for marks of congestion, as QUIC wants it; others send what they like, and nobody
        // here reads the marks.
        match socket.local_addr()? {
            SocketAddr::V4(_) => {
                sockopt::set_ip_mtu_discover(&socket, sockopt::Ipv4PathMtuDiscovery::WANT)?;
                SockRef::from(&socket).set_recv_tos_v4(false)?;
            }
            SocketAddr::V6(_) => {
                sockopt::set_ipv6_mtu_discover(&socket, sockopt::Ipv6PathMtuDiscovery::WANT)?;
                SockRef::from(&socket).set_recv_tclass_v6(false)?;
            }
        }
        let socket = tokio::net::UdpSocket::from_std(socket)?;
        Ok(Self { socket, targets: TargetSockets::new()?, state, ip })
    }

    /// Whether nothing comes to it any more: see [`hear_nobody`](crate::bind::hear_nobody).
    pub fn hears_nobody(&self) -> bool {
        self.socket.peer_addr().is_ok()
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
        self.socket.async_io(Interest::READABLE, || self.receive_now(batch)).await
    }

    /// The same without waiting. The kernel is asked, and not the runtime, which has not heard of what came since it looked last.
    ///
    /// # Errors
    /// The kernel's; [`io::ErrorKind::WouldBlock`] when there are none.
    pub fn receive_now(&self, batch: &mut Batch) -> io::Result<()> {
        let Batch { room, metas, count, .. } = batch;
        let mut rooms = room.chunks_exact_mut(DATAGRAM_BYTES_MAX).map(IoSliceMut::new);
        let mut rooms: [IoSliceMut<'_>; BATCH_SIZE] =
            std::array::from_fn(|_| rooms.next().unwrap_or_else(|| IoSliceMut::new(&mut [])));
        *count = self.state.recv((&self.socket).into(), &mut rooms, metas)?;
        Ok(())
    }

    /// Sends several datagrams to a target at a time. `None` when there is just one or the kernel cannot: then they are to be sent one
    /// by one.
    ///
    /// # Errors
    /// What the kernel knows of an earlier datagram; none has been sent then.
    pub fn try_send_to_target(
        &self,
        socket: &TargetSocket,
        target: TargetAddr,
        received: Received<'_>,
    ) -> io::Result<Option<u64>> {
        if !received.may_go_together() {
            return Ok(None);
        }
        match self.state.try_send(socket.into(), &together(target.0, received)) {
            Ok(()) => Ok(Some(received.bytes())),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Err(error),
            Err(_) => Ok(None),
        }
    }

    /// Sends a datagram to a client, from the address that it has sent to.
    ///
    /// # Errors
    /// The kernel's; [`io::ErrorKind::WouldBlock`] when too much waits already.
    pub fn try_send(&self, client: ClientAddr, local: IpAddr, datagram: &[u8]) -> io::Result<()> {
        // A socket of one address sends from no other.
        if self.ip.is_some() {
            sendto(&self.socket, datagram, SendFlags::empty(), &client.0)?;
            return Ok(());
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

/// Datagrams as the kernel takes several.
fn together(destination: SocketAddr, received: Received<'_>) -> Transmit<'_> {
    let Received { bytes: contents, each, .. } = received;
    Transmit { destination, ecn: None, contents, segment_size: Some(each), src_ip: None }
}

#[cfg(test)]
mod tests {
    use weir_core::address::ListenAddr;
    use weir_core::task::Transports;

    use super::*;
    use crate::bind::{bind, hear_nobody};

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
            batch.take(|received| came.extend(received.datagrams().map(<[u8]>::len)));
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
        batch.take(|received| server.try_send(received.client, received.local, b"!").unwrap());
        let (_, from) = client.recv_from(&mut [0; 9]).unwrap();
        assert_eq!(from, asked);
    }

    #[tokio::test]
    async fn what_comes_for_a_socket_that_hears_nobody_comes_to_others_there_and_it_still_answers() {
        for addr in ["127.0.0.1:0", "0.0.0.0:0"] {
            let (addr, sockets) = bind(ListenAddr(addr.parse().unwrap()), Transports::UDP, 2).unwrap();
            hear_nobody(&sockets[0].udp[0]).unwrap();
            let mut sockets = sockets.into_iter().flat_map(|sockets| sockets.udp);
            let [deaf, other] = [(); 2].map(|()| DatagramSocket::new(sockets.next().unwrap()).unwrap());
            assert!(deaf.hears_nobody() && !other.hears_nobody());
            let asked = SocketAddr::from(([127, 0, 0, 1], addr.port()));
            let clients: Vec<_> = (0..40).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
            for client in &clients {
                client.send_to(b"?", asked).unwrap();
            }
            let (mut batch, mut came) = (Batch::default(), 0);
            while came < clients.len() {
                other.receive(&mut batch).await.unwrap();
                batch.take(|received| came += received.datagrams().count());
            }
            let client = ClientAddr(clients[0].local_addr().unwrap());
            deaf.try_send(client, asked.ip(), b"!").unwrap();
            assert_eq!(clients[0].recv_from(&mut [0; 9]).unwrap().1, asked);
        }
    }

    #[tokio::test]
    async fn datagrams_of_one_client_and_one_length_are_taken_together_and_sent_on_apart() {
        let target = UdpSocket::bind("127.0.0.1:0").unwrap();
        let addr = TargetAddr(target.local_addr().unwrap());
        let server = socket("127.0.0.1:0");
        let server_addr = server.local_addr().unwrap();
        let server = DatagramSocket::new(server).unwrap();
        let [one, other] = [(); 2].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        for (client, datagram) in [(&one, "one"), (&other, "other"), (&one, "two"), (&one, "four")] {
            client.send_to(datagram.as_bytes(), server_addr).unwrap();
        }
        let toward = dial(addr).unwrap();
        let (mut batch, mut came) = (Batch::default(), 0);
        while came < 4 {
            server.receive(&mut batch).await.unwrap();
            batch.take(|received| {
                let sent = server.try_send_to_target(&toward, addr, received).unwrap();
                assert_eq!(sent, (received.datagrams().count() > 1).then_some(received.bytes()));
                came += received.datagrams().count();
            });
        }
        let heard = |socket: &UdpSocket| {
            let mut room = [0; 9];
            let count = socket.recv(&mut room).unwrap();
            String::from_utf8(room[..count].to_vec()).unwrap()
        };
        assert_eq!([heard(&target), heard(&target)], ["one", "two"]);
    }
}
