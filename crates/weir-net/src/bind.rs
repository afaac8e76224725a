//! Binding listeners: one socket per worker, and a clear word when somebody else has the port.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::Path;

use socket2::{Domain, Protocol, Socket, Type};
use weir_core::address::ListenAddr;
use weir_core::task::Transports;

/// Connections that may wait to be accepted, per socket.
pub(crate) const BACKLOG: i32 = 4096;

/// Bytes of datagrams that may wait to be received, per socket, with what the kernel needs for them.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;

/// Why a listener could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The kernel refused.
    #[error("cannot listen on {addr}: {source}")]
    Failed {
        /// The address.
        addr: ListenAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// The weir that this one is to replace listens at an address that overlaps. Connections would go to the new sockets before it
    /// is sure that this weir can serve them.
    #[error(
        "cannot listen on {addr}: the process that is to be replaced listens on {other}; reload before the restart"
    )]
    Overlaps {
        /// The address.
        addr: ListenAddr,
        /// That of the other.
        other: ListenAddr,
    },
    /// Somebody else listens there.
    #[error("cannot listen on {addr}: the port is taken by {holder}; stop it or choose another port")]
    InUse {
        /// The address.
        addr: ListenAddr,
        /// Who has it, as far as that can be known.
        holder: String,
    },
}

/// The sockets of one listener in one worker: one of each wanted transport, unless they were inherited from a weir that
/// had another number of workers, or the listener has moved to every address and has those of the one before, too.
#[derive(Debug, Default)]
pub struct Sockets {
    /// Where connections come.
    pub tcp: Vec<TcpListener>,
    /// Where datagrams come.
    pub udp: Vec<UdpSocket>,
}

impl Sockets {
    /// Other descriptors of the same sockets.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            tcp: self.tcp.iter().map(TcpListener::try_clone).collect::<io::Result<_>>()?,
            udp: self.udp.iter().map(UdpSocket::try_clone).collect::<io::Result<_>>()?,
        })
    }

    /// Adds the sockets of another.
    pub fn extend(&mut self, others: Self) {
        self.tcp.extend(others.tcp);
        self.udp.extend(others.udp);
    }

    /// Keeps those of `transports` that listen at addresses which `addr` covers.
    pub fn retain_covered(&mut self, addr: ListenAddr, transports: Transports) {
        let is_covered =
            |local: io::Result<SocketAddr>| local.is_ok_and(|local| addr.covers(ListenAddr(local)));
        self.tcp.retain(|socket| transports.tcp && is_covered(socket.local_addr()));
        self.udp.retain(|socket| transports.udp && is_covered(socket.local_addr()));
    }

    /// Which transports there are among some, at addresses for which `is_wanted` is true.
    pub fn transports(some: &[Self], is_wanted: impl Fn(ListenAddr) -> bool) -> Transports {
        let counts = |local: io::Result<SocketAddr>| local.is_ok_and(|local| is_wanted(ListenAddr(local)));
        Transports {
            tcp: some.iter().flat_map(|one| &one.tcp).any(|socket| counts(socket.local_addr())),
            udp: some.iter().flat_map(|one| &one.udp).any(|socket| counts(socket.local_addr())),
        }
    }
}

/// Has datagrams that come to a socket's address go to other sockets there, if there are any; this one may still send, whoever has it. The
/// kernel gives a connected socket only what its peer sends, and this one is connected to itself.
///
/// # Errors
/// The kernel's.
pub fn hear_nobody(socket: &UdpSocket) -> io::Result<()> {
    Ok(rustix::net::connect(socket, &socket.local_addr()?)?)
}

/// Binds sockets to one address for `count` workers to share it with `SO_REUSEPORT`; the address, and a set for each worker.
///
/// Port 0 takes any free port, the same for all. The address is first bound without `SO_REUSEPORT`: with it, a second
/// weir of the same user would be let in and silently take half of the connections.
///
/// # Errors
/// [`BindError`] naming the address and, where it can be known, who holds the port.
pub fn bind(
    addr: ListenAddr,
    transports: Transports,
    count: usize,
) -> Result<(ListenAddr, Vec<Sockets>), BindError> {
    let mut bound = addr;
    for (kind, is_wanted) in [(Kind::Tcp, transports.tcp), (Kind::Udp, transports.udp)] {
        if is_wanted {
            bound = probe(bound, kind)?;
        }
    }
    Ok((bound, bind_beside(bound, transports, count)?))
}

/// Binds sockets for `count` workers to an address that overlaps one which this process listens on already, for another
/// listener to take it over.
///
/// # Errors
/// [`BindError::Failed`].
pub fn bind_beside(
    addr: ListenAddr,
    transports: Transports,
    count: usize,
) -> Result<Vec<Sockets>, BindError> {
    let sockets = || {
        Ok(Sockets {
            tcp: transports
                .tcp
                .then(|| share(addr, Kind::Tcp))
                .transpose()?
                .into_iter()
                .map(Into::into)
                .collect(),
            udp: transports
                .udp
                .then(|| share(addr, Kind::Udp))
                .transpose()?
                .into_iter()
                .map(Into::into)
                .collect(),
        })
    };
    let all = (0..count).map(|_| sockets()).collect::<io::Result<_>>();
    all.map_err(|source| BindError::Failed { addr, source })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Tcp,
    Udp,
}

/// Whether nobody else has the address; which it is.
fn probe(addr: ListenAddr, kind: Kind) -> Result<ListenAddr, BindError> {
    let failed = |source: io::Error| BindError::Failed { addr, source };
    let probe = socket(addr.0, kind).map_err(failed)?;
    let listens = || {
        probe.bind(&addr.0.into())?;
        if kind == Kind::Tcp { probe.listen(1) } else { Ok(()) }
    };
    listens().map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse { addr, holder: holder(addr.0, kind) },
        _ => failed(source),
    })?;
    let bound = probe.local_addr().map_err(failed)?.as_socket();
    Ok(bound.map_or(addr, ListenAddr))
}

fn share(addr: ListenAddr, kind: Kind) -> io::Result<Socket> {
    let socket = socket(addr.0, kind)?;
    socket.set_reuse_port(true)?;
    socket.bind(&addr.0.into())?;
    match kind {
        Kind::Tcp => {
            // Connections have it from their listener. Without it small responses wait for the client's delayed
            // acknowledgement.
            socket.set_tcp_nodelay(true)?;
            socket.listen(BACKLOG)?;
        }
        // As much as the system allows: what does not fit is lost.
        Kind::Udp => drop(socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)),
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn socket(addr: SocketAddr, kind: Kind) -> io::Result<Socket> {
    let (shape, protocol) = match kind {
        Kind::Tcp => (Type::STREAM, Protocol::TCP),
        Kind::Udp => (Type::DGRAM, Protocol::UDP),
    };
    let socket = Socket::new(Domain::for_address(addr), shape, Some(protocol))?;
    if kind == Kind::Tcp {
        // Connections of an earlier weir in TIME_WAIT must not keep this one from starting. For UDP it would let anybody in.
        socket.set_reuse_address(true)?;
    }
    if addr.is_ipv6() {
        // One socket, one family: `[::]:80` beside `0.0.0.0:80` are two listeners.
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// Whether this process itself has a socket of one of `transports` at a port, whatever the address: one that it listens on, or has
/// listened on and not closed yet, since flows still speak through it.
pub fn is_own(port: u16, transports: Transports) -> bool {
    let is_own = |kind| inodes(port, kind).any(|inode| has_socket(Path::new("/proc/self"), &inode));
    transports.tcp && is_own(Kind::Tcp) || transports.udp && is_own(Kind::Udp)
}

/// Who listens on a port, from `/proc`: name and process id, or as much as may be seen.
fn holder(addr: SocketAddr, kind: Kind) -> String {
    let process = inodes(addr.port(), kind).find_map(|inode| process_with_socket(&inode));
    process.unwrap_or_else(|| "another process (which one, only its owner or root may see)".to_owned())
}

/// The inodes of sockets that have `port` for themselves, from `/proc`.
fn inodes(port: u16, kind: Kind) -> impl Iterator<Item = String> {
    // The states of TCP's LISTEN, and of sockets of UDP that anybody may send to, or just one.
    let (tables, states) = match kind {
        Kind::Tcp => (["/proc/net/tcp", "/proc/net/tcp6"], &["0A"][..]),
        Kind::Udp => (["/proc/net/udp", "/proc/net/udp6"], &["07", "01"][..]),
    };
    let port = format!(":{port:04X}");
    let listening = move |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_it = fields.get(1)?.ends_with(&port) && states.contains(fields.get(3)?);
        is_it.then(|| fields.get(9).map(|inode| (*inode).to_owned()))?
    };
    let tables = tables.into_iter().filter_map(|table| fs::read_to_string(table).ok());
    tables.flat_map(move |table| table.lines().skip(1).filter_map(&listening).collect::<Vec<_>>())
}

fn process_with_socket(inode: &str) -> Option<String> {
    let processes = fs::read_dir("/proc").ok()?.flatten();
    processes.filter(|entry| entry.file_name().as_encoded_bytes()[0].is_ascii_digit()).find_map(|entry| {
        let has_it = has_socket(&entry.path(), inode);
        let name = fs::read_to_string(entry.path().join("comm")).ok()?;
        let id = entry.file_name();
        has_it.then(|| format!("{} (process {})", name.trim(), id.to_string_lossy()))
    })
}

/// Whether a process, by its folder in `/proc`, has a socket.
fn has_socket(process: &Path, inode: &str) -> bool {
    let wanted = format!("socket:[{inode}]");
    fs::read_dir(process.join("fd")).is_ok_and(|descriptors| {
        descriptors.flatten().any(|descriptor| {
            fs::read_link(descriptor.path()).is_ok_and(|link| link.as_os_str() == wanted.as_str())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any_port() -> ListenAddr {
        ListenAddr("127.0.0.1:0".parse().unwrap())
    }

    #[test]
    fn connections_are_without_delay_from_their_first_byte() {
        let (addr, mut sockets) = bind(any_port(), Transports::BOTH, 1).unwrap();
        let listener = sockets.remove(0).tcp.remove(0);
        let _client = std::net::TcpStream::connect(addr.0).unwrap();
        listener.set_nonblocking(false).unwrap();
        assert!(listener.accept().unwrap().0.nodelay().unwrap());
    }

    #[test]
    fn every_worker_gets_sockets_on_the_same_port_for_both_transports() {
        let (addr, sockets) = bind(any_port(), Transports::BOTH, 3).unwrap();
        assert!(addr.port() != 0 && sockets.len() == 3);
        for Sockets { tcp, udp } in sockets {
            assert_eq!(tcp.iter().map(|tcp| tcp.local_addr().unwrap()).collect::<Vec<_>>(), [addr.0]);
            assert_eq!(udp.iter().map(|udp| udp.local_addr().unwrap()).collect::<Vec<_>>(), [addr.0]);
        }
    }

    #[test]
    fn a_port_that_a_weir_shares_among_its_workers_is_taken_for_a_second_weir() {
        for transports in [Transports::TCP, Transports::UDP] {
            let (addr, _sockets) = bind(any_port(), transports, 2).unwrap();
            let error = bind(addr, transports, 2).unwrap_err().to_string();
            let me = std::process::id().to_string();
            assert!(error.contains(&format!("process {me}")), "{error}");
        }
    }
}
