//! Non-blocking sockets and level-triggered epoll, shared by the floor relay and the generator.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt};
use rustix::process::{Resource, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};

/// A level-triggered epoll.
pub(crate) struct Epoll {
    fd: OwnedFd,
    events: Vec<Event>,
}

impl Epoll {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { fd: epoll::create(CreateFlags::CLOEXEC)?, events: Vec::with_capacity(256) })
    }

    /// Says `token` whenever `source` can be read.
    pub(crate) fn watch(&self, source: &impl AsFd, token: u64) -> io::Result<()> {
        Ok(epoll::add(&self.fd, source, EventData::new_u64(token), EventFlags::IN)?)
    }

    /// Says `token` whenever `source` has room for more, and no more that it can be read.
    pub(crate) fn watch_room_instead(&self, source: &impl AsFd, token: u64) -> io::Result<()> {
        Ok(epoll::modify(&self.fd, source, EventData::new_u64(token), EventFlags::OUT)?)
    }

    /// Tokens of what can be read now; waits for one at most `millis`.
    pub(crate) fn wait(&mut self, millis: u32) -> io::Result<Vec<u64>> {
        let timeout = rustix::event::Timespec { tv_sec: 0, tv_nsec: i64::from(millis) * 1_000_000 };
        self.events.clear();
        match epoll::wait(&self.fd, rustix::buffer::spare_capacity(&mut self.events), Some(&timeout)) {
            Ok(_) => Ok(self.events.iter().map(|event| event.data.u64()).collect()),
            Err(rustix::io::Errno::INTR) => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }
}

/// A listener that never blocks.
pub(crate) fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(addr)?;
    // The standard library's backlog of 128 is too short for short connections.
    rustix::net::listen(&listener, 4096)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// A socket of datagrams that never blocks.
pub(crate) fn bind_datagrams(addr: SocketAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(addr)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A connection that never blocks once it is made, and sends small writes at once.
pub(crate) fn connect(addr: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(addr)?;
    ready(&stream)?;
    Ok(stream)
}

/// Addresses that clients come from, in turn.
///
/// A port that was used is not free for a second at least, and the kernel looks for one in half of its range first: from
/// one address it looks for ever longer from some ten thousand connections a second on, and every proxy pays for that.
#[derive(Debug, Default)]
pub(crate) struct Sources {
    taken: u32,
}

impl Sources {
    const ADDRESSES: u32 = 32;
    /// Below those that Linux chooses from, which are left to the proxies.
    const PORTS: std::ops::Range<u32> = 2_048..32_768;
    /// Some are listened on by others.
    const ATTEMPTS: usize = 100;

    /// A connection as [`connect`] makes it, from the next address.
    pub(crate) fn connect(&mut self, addr: SocketAddr) -> io::Result<TcpStream> {
        let socket = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        if !(0..Self::ATTEMPTS).any(|_| bind(&socket, &self.next()).is_ok()) {
            return Err(io::ErrorKind::AddrInUse.into());
        }
        rustix::net::connect(&socket, &addr)?;
        let stream = TcpStream::from(socket);
        ready(&stream)?;
        Ok(stream)
    }

    fn next(&mut self) -> SocketAddr {
        let (port, address) = (self.taken / Self::ADDRESSES, self.taken % Self::ADDRESSES);
        self.taken = self.taken.wrapping_add(1);
        let port = Self::PORTS.start + port % Self::PORTS.len() as u32;
        SocketAddr::from((Ipv4Addr::from(u32::from(Ipv4Addr::LOCALHOST) + 1 + address), port as u16))
    }
}

/// Makes an accepted or connected stream fit for epoll.
pub(crate) fn ready(stream: &TcpStream) -> io::Result<()> {
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)
}

/// As many open files as this process may have, and thus every proxy.
pub(crate) fn allow_files() -> io::Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    Ok(setrlimit(Resource::Nofile, limit)?)
}

/// Keeps this process on one core.
pub(crate) fn pin(core: usize) -> io::Result<()> {
    let mut cores = CpuSet::new();
    cores.set(core);
    Ok(sched_setaffinity(None, &cores)?)
}
