//! Many targets that say who they are, over TCP and over UDP, for thousands of flows at a time.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::runtime::Runtime;

/// Ports that are tried at an address until one is free for both transports.
const ATTEMPTS: usize = 100;

/// Each answers a byte with that byte and its own number, over both transports at the same port. Ended when dropped.
///
/// A target has an address of its own on loopback, two sockets, and one more for each connection; all share one thread.
#[derive(Debug)]
pub struct ManyTargets {
    addrs: Vec<SocketAddr>,
    /// What they run on, which ends with them.
    _runtime: Runtime,
}

impl ManyTargets {
    /// As many targets, numbered from zero.
    ///
    /// # Panics
    /// When they are more than 250, or loopback has no port left.
    pub fn start(count: u8) -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_all().build().expect("a runtime can be made");
        let addrs = (0..count).map(|number| runtime.block_on(listen(number))).collect();
        Self { addrs, _runtime: runtime }
    }

    /// Some of them, as a configuration's targets.
    pub fn yaml(&self, numbers: impl IntoIterator<Item = u8>) -> String {
        let addrs = numbers.into_iter().map(|number| self.addrs[usize::from(number)]);
        let targets: Vec<String> =
            addrs.map(|addr| format!("{{ address: {}, port: {} }}", addr.ip(), addr.port())).collect();
        targets.join(", ")
    }
}

/// Serves as this target from now on; where.
async fn listen(number: u8) -> SocketAddr {
    let ip = Ipv4Addr::new(127, 77, 0, number.checked_add(1).expect("at most 250 targets"));
    for _ in 0..ATTEMPTS {
        let udp = UdpSocket::bind((ip, 0)).await.expect("loopback has a free port");
        let addr = udp.local_addr().expect("a bound socket has an address");
        if let Ok(tcp) = TcpListener::bind(addr).await {
            tokio::spawn(answer_datagrams(udp, number));
            tokio::spawn(accept(tcp, number));
            return addr;
        }
    }
    panic!("no port of {ip} is free for both transports")
}

async fn answer_datagrams(socket: UdpSocket, number: u8) {
    let mut byte = [0];
    loop {
        // An error is that of an earlier answer.
        if let Ok((_, client)) = socket.recv_from(&mut byte).await {
            let _ = socket.send_to(&[byte[0], number], client).await;
        }
    }
}

async fn accept(listener: TcpListener, number: u8) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(answer_connection(stream, number));
    }
}

async fn answer_connection(mut stream: TcpStream, number: u8) {
    while let Ok(byte) = stream.read_u8().await {
        if stream.write_all(&[byte, number]).await.is_err() {
            return;
        }
    }
}
