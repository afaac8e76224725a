//! Binding listeners: one socket per worker, and a clear word when somebody else has the port.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpListener};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use weir_core::address::ListenAddr;

/// Connections that may wait to be accepted, per socket.
const BACKLOG: i32 = 4096;

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
    /// Somebody else listens there.
    #[error("cannot listen on {addr}: the port is taken by {holder}; stop it or choose another port")]
    InUse {
        /// The address.
        addr: ListenAddr,
        /// Who has it, as far as that can be known.
        holder: String,
    },
}

/// Binds `count` sockets to one address, for as many workers to share it with `SO_REUSEPORT`.
///
/// Port 0 takes any free port, the same for all. The address is first bound without `SO_REUSEPORT`: with it, a second
/// weir of the same user would be let in and silently take half of the connections.
///
/// # Errors
/// [`BindError`] naming the address and, where it can be known, who holds the port.
pub fn bind(addr: ListenAddr, count: usize) -> Result<Vec<TcpListener>, BindError> {
    let failed = |source: io::Error| BindError::Failed { addr, source };
    let probe = socket(addr.0).map_err(failed)?;
    probe.bind(&addr.0.into()).and_then(|()| probe.listen(1)).map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => BindError::InUse { addr, holder: holder(addr.0) },
        _ => failed(source),
    })?;
    let bound = probe.local_addr().map_err(failed)?;
    drop(probe);
    share(addr, &bound, count).map_err(failed)
}

/// Binds `count` more sockets to an address that this process listens on already, for another load balancer to take
/// it over.
///
/// # Errors
/// [`BindError::Failed`].
pub fn bind_beside(addr: ListenAddr, count: usize) -> Result<Vec<TcpListener>, BindError> {
    share(addr, &addr.0.into(), count).map_err(|source| BindError::Failed { addr, source })
}

fn share(addr: ListenAddr, bound: &SockAddr, count: usize) -> io::Result<Vec<TcpListener>> {
    let listen = || {
        let socket = socket(addr.0)?;
        socket.set_reuse_port(true)?;
        socket.bind(bound)?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok(socket.into())
    };
    (0..count).map(|_| listen()).collect()
}

fn socket(addr: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of an earlier weir in TIME_WAIT must not keep this one from starting.
    socket.set_reuse_address(true)?;
    if addr.is_ipv6() {
        // One socket, one family: `[::]:80` beside `0.0.0.0:80` are two listeners.
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// Who listens on a port, from `/proc`: name and process id, or as much as may be seen.
fn holder(addr: SocketAddr) -> String {
    let inode = ["/proc/net/tcp", "/proc/net/tcp6"]
        .into_iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .find_map(|table| listening_inode(&table, addr.port()));
    inode
        .and_then(|inode| process_with_socket(&inode))
        .unwrap_or_else(|| "another process (which one, only its owner or root may see)".to_owned())
}

/// The inode of a listening socket on `port`, from a table in the form of `/proc/net/tcp`.
fn listening_inode(table: &str, port: u16) -> Option<String> {
    const LISTEN: &str = "0A";
    let port = format!(":{port:04X}");
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let is_it = fields.get(1)?.ends_with(&port) && *fields.get(3)? == LISTEN;
        is_it.then(|| fields.get(9).map(|inode| (*inode).to_owned()))?
    })
}

fn process_with_socket(inode: &str) -> Option<String> {
    let wanted = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.flatten();
    processes.filter(|entry| entry.file_name().as_encoded_bytes()[0].is_ascii_digit()).find_map(|entry| {
        let has_it = fs::read_dir(entry.path().join("fd")).ok()?.flatten().any(|descriptor| {
            fs::read_link(descriptor.path()).is_ok_and(|link| link.as_os_str() == wanted.as_str())
        });
        let name = fs::read_to_string(entry.path().join("comm")).ok()?;
        let id = entry.file_name();
        has_it.then(|| format!("{} (process {})", name.trim(), id.to_string_lossy()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn any_port() -> ListenAddr {
        ListenAddr("127.0.0.1:0".parse().unwrap())
    }

    #[test]
    fn every_worker_gets_a_socket_on_the_same_port() {
        let sockets = bind(any_port(), 3).unwrap();
        let ports: Vec<u16> = sockets.iter().map(|s| s.local_addr().unwrap().port()).collect();
        assert!(ports[0] != 0 && ports.iter().all(|port| *port == ports[0]));
    }

    #[test]
    fn a_port_that_a_weir_shares_among_its_workers_is_taken_for_a_second_weir() {
        let first = bind(any_port(), 2).unwrap();
        let addr = ListenAddr(first[0].local_addr().unwrap());
        let error = bind(addr, 2).unwrap_err().to_string();
        let me = std::process::id().to_string();
        assert!(error.contains(&format!("process {me}")), "{error}");
    }
}
