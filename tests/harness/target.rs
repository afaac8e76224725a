//! Targets that behave as a test wants them to, down to the byte.

use std::io::{Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Header lines of a request that are read.
const HEADER_LINES_MAX: usize = 128;

/// A request as a target received it.
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// `GET /path HTTP/1.1`.
    pub request_line: String,
    /// Its header lines as they came, in order.
    pub headers: Vec<(String, String)>,
    /// The body as far as `Content-Length` says or chunks went; empty when the behaviour did not read it.
    pub body: Vec<u8>,
}

impl Received {
    /// A header's first value, by lower-case name; empty when there is none.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map_or("", |(_, value)| value)
    }

    /// Whether there is such a header.
    pub fn has(&self, name: &str) -> bool {
        self.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name))
    }
}

/// What a target does with a request: the stream is its to write to; `false` closes the connection.
type Behaviour = dyn Fn(&Received, &mut TcpStream) -> bool + Send + Sync;

/// A target. Health checks are answered with [`FakeTarget::set_health`]'s status, everything else by its behaviour.
#[derive(Clone)]
pub struct FakeTarget {
    addr: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    health: AtomicU16,
    /// Accepts, and closes at once without a byte: what docker-proxy does before its container listens.
    is_hollow: AtomicBool,
    is_stopped: AtomicBool,
    connections: AtomicUsize,
    probes: AtomicUsize,
    received: Mutex<Vec<Received>>,
    open: Mutex<Vec<TcpStream>>,
    behaviour: Box<Behaviour>,
}

impl FakeTarget {
    /// A target that answers every request with 200 and this text.
    pub fn answering(text: &str) -> Self {
        let text = text.to_owned();
        Self::behaving(move |_, stream| respond(stream, 200, &text))
    }

    /// A target that does with every request as `behaviour` says.
    ///
    /// # Panics
    /// When loopback has no port left.
    pub fn behaving(behaviour: impl Fn(&Received, &mut TcpStream) -> bool + Send + Sync + 'static) -> Self {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0)), behaviour)
    }

    /// A target at a certain address.
    ///
    /// # Panics
    /// When the address is taken.
    pub fn at(
        addr: SocketAddr,
        behaviour: impl Fn(&Received, &mut TcpStream) -> bool + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(addr).unwrap_or_else(|error| panic!("binding {addr}: {error}"));
        Self::serving(listener, Box::new(behaviour), false)
    }

    /// A TCP target that greets every flow with its name and a line end, and echoes.
    ///
    /// # Panics
    /// When loopback has no port left.
    pub fn echoing(name: &str) -> Self {
        Self::echoing_at(IpAddr::from([127, 0, 0, 1]), name)
    }

    /// The same at a certain address of loopback.
    ///
    /// # Panics
    /// When it has no port left.
    pub fn echoing_at(ip: IpAddr, name: &str) -> Self {
        let listener = TcpListener::bind((ip, 0)).expect("loopback has a free port");
        let greeting = format!("{name}\n");
        let echo = move |_: &Received, stream: &mut TcpStream| {
            let _ = stream.write_all(greeting.as_bytes());
            let mut bytes = [0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut bytes) {
                let _ = stream.write_all(&bytes[..count]);
            }
            false
        };
        Self::serving(listener, Box::new(echo), true)
    }

    fn serving(listener: TcpListener, behaviour: Box<Behaviour>, is_tcp: bool) -> Self {
        let addr = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            health: AtomicU16::new(200),
            is_hollow: AtomicBool::new(false),
            is_stopped: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            probes: AtomicUsize::new(0),
            received: Mutex::default(),
            open: Mutex::default(),
            behaviour,
        });
        let accepting = shared.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if accepting.is_stopped.load(Relaxed) {
                    return;
                }
                accepting.connections.fetch_add(1, Relaxed);
                if accepting.is_hollow.load(Relaxed) {
                    continue;
                }
                if let Ok(copy) = stream.try_clone() {
                    lock(&accepting.open).push(copy);
                }
                let serving = accepting.clone();
                thread::spawn(move || serving.serve(stream, is_tcp));
            }
        });
        Self { addr, shared }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Where it listens, as a configuration's target.
    pub fn yaml(&self) -> String {
        format!("{{ address: {}, port: {} }}", self.addr.ip(), self.addr.port())
    }

    /// The status that health checks get from now on; 0 for none: the connection is closed.
    pub fn set_health(&self, status: u16) {
        self.shared.health.store(status, Relaxed);
    }

    /// Whether connections are accepted and closed at once.
    pub fn set_hollow(&self, is_hollow: bool) {
        self.shared.is_hollow.store(is_hollow, Relaxed);
    }

    /// Closes every connection that is open now.
    pub fn close_connections(&self) {
        for stream in lock(&self.shared.open).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Connections so far, health checks among them.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Relaxed)
    }

    /// Health checks so far.
    pub fn probes(&self) -> usize {
        self.shared.probes.load(Relaxed)
    }

    /// Requests so far, without health checks.
    pub fn received(&self) -> Vec<Received> {
        lock(&self.shared.received).clone()
    }

    /// The last request, without health checks.
    ///
    /// # Panics
    /// When there was none.
    pub fn last(&self) -> Received {
        self.received().pop().expect("the target has received a request")
    }

    /// Stops listening and closes every connection, as a process that is killed.
    pub fn kill(&self) {
        self.shared.is_stopped.store(true, Relaxed);
        // Wakes the thread that accepts, which then drops the listener.
        let _ = TcpStream::connect(self.addr);
        self.close_connections();
        crate::wait_until("a killed target's port is closed", || TcpStream::connect(self.addr).is_err());
    }
}

impl Shared {
    fn serve(&self, mut stream: TcpStream, is_tcp: bool) {
        if is_tcp {
            (self.behaviour)(&Received::default(), &mut stream);
        } else {
            while let Some(received) = read_head(&mut stream) {
                let goes_on = if received.header("user-agent").starts_with("ELB-HealthChecker") {
                    self.probes.fetch_add(1, Relaxed);
                    match self.health.load(Relaxed) {
                        0 => false,
                        status => respond(&mut stream, status, ""),
                    }
                } else {
                    let received = with_body(received, &mut stream);
                    lock(&self.received).push(received.clone());
                    (self.behaviour)(&received, &mut stream)
                };
                if !goes_on {
                    break;
                }
            }
        }
        // Another handle to the socket is kept for `kill`, so dropping this one would not close it.
        let _ = stream.shutdown(Shutdown::Both);
    }
}

/// Writes a whole answer; always `true`: the connection goes on.
pub fn respond(stream: &mut TcpStream, status: u16, body: &str) -> bool {
    let answer = format!("HTTP/1.1 {status} Fine\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    // Whoever asked may have gone.
    let _ = stream.write_all(answer.as_bytes());
    true
}

/// Reads one head, byte by byte, so that nothing after it is taken.
fn read_head(stream: &mut TcpStream) -> Option<Received> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).ok()?;
        bytes.push(byte[0]);
    }
    let mut lines = [httparse::EMPTY_HEADER; HEADER_LINES_MAX];
    let mut request = httparse::Request::new(&mut lines);
    request.parse(&bytes).ok()?;
    let headers = request
        .headers
        .iter()
        .map(|line| (line.name.to_owned(), String::from_utf8_lossy(line.value).into_owned()))
        .collect();
    let request_line = format!("{} {} HTTP/1.{}", request.method?, request.path?, request.version?);
    Some(Received { request_line, headers, body: Vec::new() })
}

/// Reads the body that a head announces. A body that a test wants to watch arriving says `X-Leave-Body`.
fn with_body(mut received: Received, stream: &mut TcpStream) -> Received {
    if received.has("x-leave-body") {
        return received;
    }
    if received.header("transfer-encoding").eq_ignore_ascii_case("chunked") {
        while let Some(chunk) = read_chunk(stream) {
            received.body.extend(chunk);
        }
    } else if let Ok(length) = received.header("content-length").parse() {
        let mut body = vec![0; length];
        if stream.read_exact(&mut body).is_ok() {
            received.body = body;
        }
    }
    received
}

/// Reads one chunk; `None` at the last one.
pub fn read_chunk(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let line = |stream: &mut TcpStream| {
        let (mut line, mut byte) = (Vec::new(), [0]);
        while !line.ends_with(b"\r\n") {
            stream.read_exact(&mut byte).ok()?;
            line.push(byte[0]);
        }
        Some(String::from_utf8_lossy(&line).trim().to_owned())
    };
    let size = usize::from_str_radix(&line(stream)?, 16).ok()?;
    let mut chunk = vec![0; size];
    stream.read_exact(&mut chunk).ok()?;
    line(stream)?;
    (size > 0).then_some(chunk)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
