//! A target that takes datagrams, with a TCP port of the same number for health checks.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

/// Ports that are tried until one is free for both transports.
const ATTEMPTS: usize = 100;

/// How soon a target that is ended notices.
const NOTICED_WITHIN: Duration = Duration::from_millis(20);

/// How long an answer is waited for that may have been lost.
const LITTLE: Duration = Duration::from_millis(200);

/// Answers each datagram with its name, a space and what came; `silence` it does not answer, and `patience` when `go on` comes from
/// anybody. Ended when dropped.
#[derive(Debug)]
pub struct UdpTarget {
    addr: SocketAddr,
    is_over: Arc<AtomicBool>,
    serving: Option<thread::JoinHandle<()>>,
}

impl UdpTarget {
    /// A target of this name.
    ///
    /// # Panics
    /// When loopback has no port left.
    pub fn named(name: &str) -> Self {
        let free = || {
            let udp = UdpSocket::bind("127.0.0.1:0").ok()?;
            let tcp = TcpListener::bind(udp.local_addr().ok()?).ok()?;
            Some((udp, tcp))
        };
        let (udp, tcp) = (0..ATTEMPTS).find_map(|_| free()).expect("a port is free for both transports");
        udp.set_read_timeout(Some(NOTICED_WITHIN)).expect("a socket has a timeout");
        let (addr, is_over) = (udp.local_addr().expect("it is bound"), Arc::new(AtomicBool::new(false)));
        let (over, name) = (is_over.clone(), name.to_owned());
        let serving = thread::spawn(move || {
            // Whoever checks its health finds somebody who listens.
            let _tcp = tcp;
            let (mut bytes, mut patient) = (vec![0; 65_536], Vec::new());
            while !over.load(Relaxed) {
                let Ok((count, client)) = udp.recv_from(&mut bytes) else { continue };
                let answer = |words: &[u8], client| {
                    let _ = udp.send_to(&[name.as_bytes(), b" ", words].concat(), client);
                };
                match &bytes[..count] {
                    b"silence" => {}
                    b"patience" => patient.push(client),
                    b"go on" => patient.drain(..).for_each(|client| answer(b"patience", client)),
                    words => answer(words, client),
                }
            }
        });
        Self { addr, is_over, serving: Some(serving) }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where it listens, as a configuration's target.
    pub fn yaml(&self) -> String {
        format!("{{ address: {}, port: {} }}", self.addr.ip(), self.addr.port())
    }

    /// Closes its ports.
    pub fn kill(&mut self) {
        self.is_over.store(true, Relaxed);
        if let Some(serving) = self.serving.take() {
            let _ = serving.join();
        }
    }
}

impl Drop for UdpTarget {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A client with a port of its own.
#[derive(Debug)]
pub struct UdpClient(UdpSocket);

impl UdpClient {
    /// A client of that listener.
    ///
    /// # Panics
    /// When loopback has no port left.
    pub fn of(listener: SocketAddr) -> Self {
        let socket = UdpSocket::bind((listener.ip(), 0)).expect("loopback has a free port");
        socket.connect(listener).expect("a socket can be connected");
        socket.set_read_timeout(Some(crate::DEADLINE)).expect("a socket has a timeout");
        Self(socket)
    }

    /// Sends a datagram.
    pub fn send(&self, datagram: &[u8]) {
        // A refusal is that of an earlier one.
        let _ = self.0.send(datagram);
    }

    /// The next answer.
    ///
    /// # Panics
    /// When none comes in time.
    pub fn answer(&self) -> Vec<u8> {
        let mut bytes = vec![0; 65_536];
        let count = self.0.recv(&mut bytes).expect("an answer comes");
        bytes.truncate(count);
        bytes
    }

    /// Sends a datagram and waits for the answer: who has given it, as text.
    ///
    /// # Panics
    /// When none comes in time, or it is not that of a target.
    pub fn ask(&self, datagram: &str) -> String {
        self.send(datagram.as_bytes());
        let answer = String::from_utf8(self.answer()).expect("an answer is text");
        let (name, said) = answer.split_once(' ').expect("an answer has a name");
        assert_eq!(said, datagram);
        name.to_owned()
    }

    /// Sends a datagram and waits a little for its answer: who has given it. Earlier answers do not count.
    ///
    /// # Panics
    /// When a timeout is refused.
    pub fn try_ask(&self, datagram: &str) -> Option<String> {
        self.0.set_read_timeout(Some(LITTLE)).expect("a socket has a timeout");
        self.send(datagram.as_bytes());
        let mut bytes = vec![0; 65_536];
        let answers = std::iter::from_fn(|| {
            let count = self.0.recv(&mut bytes).ok()?;
            Some(String::from_utf8_lossy(&bytes[..count]).into_owned())
        });
        let mut names =
            answers.filter_map(|answer| answer.strip_suffix(datagram).map(|name| name.trim_end().to_owned()));
        let name = names.next();
        self.0.set_read_timeout(Some(crate::DEADLINE)).expect("a socket has a timeout");
        name
    }
}
