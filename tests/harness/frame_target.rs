//! A target that writes frames of HTTP/2 by hand, whatever they say.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::frames::{ACK, Frame, frame, kind};

/// Length of what a client's connection begins with. Source: RFC 9113 section 3.4.
const PREFACE_BYTES: usize = 24;

/// A target. It answers pings; to all other frames it answers as it was told.
#[derive(Clone, Debug)]
pub struct FrameTarget {
    addr: SocketAddr,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    connections: AtomicUsize,
    requests: AtomicUsize,
}

impl FrameTarget {
    /// A target whose connections begin with `settings`, and answer each frame with the bytes that `behaviour` has for
    /// it. It also gets how many requests have come, this one included.
    ///
    /// # Panics
    /// When loopback has no port left.
    pub fn behaving<B>(settings: &'static [u8], behaviour: B) -> Self
    where
        B: Fn(usize, &Frame) -> Vec<u8> + Clone + Send + 'static,
    {
        Self::serving(usize::MAX, settings, behaviour)
    }

    /// The same, on so many connections; it accepts the others and says nothing.
    ///
    /// # Panics
    /// When loopback has no port left.
    pub fn serving<B>(most: usize, settings: &'static [u8], behaviour: B) -> Self
    where
        B: Fn(usize, &Frame) -> Vec<u8> + Clone + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let addr = listener.local_addr().expect("a bound socket has an address");
        let counts = Arc::<Counts>::default();
        let target = Self { addr, counts: counts.clone() };
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (counts, behaviour) = (counts.clone(), behaviour.clone());
                std::thread::spawn(move || serve(stream, most, settings, &counts, &behaviour));
            }
        });
        target
    }

    /// Where it listens, as a configuration's target.
    pub fn yaml(&self) -> String {
        format!("{{ address: {}, port: {} }}", self.addr.ip(), self.addr.port())
    }

    /// Connections on which HTTP/2 was begun. Health checks by TCP are none.
    pub fn connections(&self) -> usize {
        self.counts.connections.load(Relaxed)
    }

    /// Heads of requests so far.
    pub fn requests(&self) -> usize {
        self.counts.requests.load(Relaxed)
    }
}

/// Serves one connection until its end.
fn serve(
    mut stream: TcpStream,
    most: usize,
    settings: &[u8],
    counts: &Counts,
    behaviour: &impl Fn(usize, &Frame) -> Vec<u8>,
) -> io::Result<()> {
    stream.read_exact(&mut [0; PREFACE_BYTES])?;
    if counts.connections.fetch_add(1, Relaxed) >= most {
        // To its end.
        return io::copy(&mut stream, &mut io::sink()).map(drop);
    }
    stream.write_all(&frame(kind::SETTINGS, 0, 0, settings))?;
    loop {
        let next = read(&mut stream)?;
        let answer = match next.kind {
            kind::PING if next.flags & ACK == 0 => frame(kind::PING, ACK, 0, &next.payload),
            kind::HEADERS => behaviour(counts.requests.fetch_add(1, Relaxed) + 1, &next),
            _ => behaviour(counts.requests.load(Relaxed), &next),
        };
        stream.write_all(&answer)?;
    }
}

fn read(stream: &mut TcpStream) -> io::Result<Frame> {
    let mut head = [0; 9];
    stream.read_exact(&mut head)?;
    let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
    stream.read_exact(&mut payload)?;
    let number = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    Ok(Frame { kind: head[3], flags: head[4], stream: number, payload })
}
