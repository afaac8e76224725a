//! A target that keeps every byte it gets, and says of each request whether it is clean.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use crate::clean::{self, Clean, Dirt};
use crate::wait_until;

/// What a request gets that a test has no other answer for.
const FINE: &[u8] = b"HTTP/1.1 200 Fine\r\nContent-Length: 4\r\n\r\nfine";

/// What to answer a request with; what has come of it so far is its argument, and an empty answer waits for more.
type Answer = dyn Fn(&Clean) -> Vec<u8> + Send + Sync;

/// A target. Health checks are answered with 200 and not kept.
#[derive(Clone)]
pub struct Capture {
    addr: SocketAddr,
    seen: Arc<Mutex<Vec<Arc<Mutex<Seen>>>>>,
}

/// A connection that had something else on it than health checks.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Every byte that came.
    pub bytes: Vec<u8>,
    /// The clean requests that came whole.
    pub requests: Vec<Clean>,
    /// What was not clean.
    pub dirt: Option<Dirt>,
    /// Whether weir has closed it.
    pub is_closed: bool,
}

impl Capture {
    /// A target that answers every request with 200.
    pub fn new() -> Self {
        Self::answering(|_| FINE.to_vec())
    }

    /// A target that answers with the bytes that `answer` gives.
    ///
    /// # Panics
    /// When loopback has no port left.
    pub fn answering(answer: impl Fn(&Clean) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let addr = listener.local_addr().expect("a bound socket has an address");
        let (seen, answer): (Arc<Mutex<Vec<_>>>, Arc<Answer>) = (Arc::default(), Arc::new(answer));
        let keeping = seen.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, answer) = (keeping.clone(), answer.clone());
                thread::spawn(move || serve(stream, &seen, &*answer));
            }
        });
        Self { addr, seen }
    }

    /// Where it listens, as a configuration's target.
    pub fn yaml(&self) -> String {
        format!("{{ address: {}, port: {} }}", self.addr.ip(), self.addr.port())
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Connections so far.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.seen).iter().map(|seen| lock(seen).clone()).collect()
    }

    /// Whole requests so far, of all connections.
    pub fn requests(&self) -> Vec<Clean> {
        self.seen().into_iter().flat_map(|seen| seen.requests).collect()
    }

    /// What was not clean so far.
    pub fn dirt(&self) -> Vec<Dirt> {
        self.seen()
            .into_iter()
            .filter_map(|seen| Some(format!("{} in {}", seen.dirt?, seen.bytes.escape_ascii())))
            .collect()
    }

    /// Forgets what it has seen so far.
    pub fn forget(&self) {
        lock(&self.seen).retain(|seen| {
            let mut seen = lock(seen);
            let is_closed = seen.is_closed;
            *seen = Seen { is_closed, ..Seen::default() };
            !is_closed
        });
    }

    /// Waits until weir has closed every connection that had a request since the last [`Self::forget`].
    ///
    /// # Panics
    /// When it does not.
    pub fn wait_until_closed(&self, what: &str) {
        wait_until(&format!("{what}: the target's connection is closed"), || {
            self.seen().iter().all(|seen| seen.is_closed || seen.requests.is_empty())
        });
    }
}

impl Default for Capture {
    fn default() -> Self {
        Self::new()
    }
}

fn serve(mut stream: TcpStream, all: &Mutex<Vec<Arc<Mutex<Seen>>>>, answer: &Answer) {
    // A connection gets its place with the first byte that is no health check's.
    let (mut place, mut bytes, mut read) = (None, Vec::new(), 0);
    let mut piece = [0; 16 * 1024];
    loop {
        let count = stream.read(&mut piece).unwrap_or(0);
        let new = &piece[..count];
        bytes.extend_from_slice(new);
        let is_check = bytes.windows(17).any(|window| window == b"ELB-HealthChecker");
        if is_check && place.is_none() {
            if count == 0 {
                return;
            }
            if bytes.ends_with(b"\r\n\r\n") {
                bytes.clear();
                let _ = stream.write_all(FINE);
            }
            continue;
        }
        if count == 0 && place.is_none() {
            return;
        }
        let seen: &Mutex<Seen> = place.get_or_insert_with(|| {
            let seen = Arc::<Mutex<Seen>>::default();
            lock(all).push(seen.clone());
            seen
        });
        lock(seen).bytes.extend_from_slice(new);
        if count == 0 {
            lock(seen).is_closed = true;
            return;
        }
        loop {
            match clean::read(&bytes[read..]) {
                Ok(Some(request)) => {
                    read += request.length;
                    lock(seen).requests.push(request.clone());
                    let answer = answer(&request);
                    if stream.write_all(&answer).is_err() || answer.is_empty() {
                        break;
                    }
                }
                Ok(None) => break,
                Err(dirt) => {
                    lock(seen).dirt = Some(dirt);
                    let _ = stream.shutdown(Shutdown::Both);
                    break;
                }
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
