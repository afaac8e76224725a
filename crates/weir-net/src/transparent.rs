//! Sockets that speak to a target from the address of a client, so that the target sees that.
//!
//! What the target answers is addressed to the client: it only comes back to this machine, and to the socket, where routes say
//! so. See `docs/client-addresses.md`.

use std::io;
use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};

/// Whether this process may make them.
///
/// # Errors
/// What the kernel says when it may not: it takes the capability `CAP_NET_RAW`.
pub fn check() -> io::Result<()> {
    transparent(Domain::IPV4, Type::STREAM).map(drop)
}

/// A socket that does not block, bound to the address of `client`. `None` when the target has addresses of another family than
/// the client: nothing can be sent to it from there.
pub(crate) fn bound_to(client: SocketAddr, target: SocketAddr, kind: Type) -> io::Result<Option<Socket>> {
    let client = SocketAddr::new(client.ip().to_canonical(), client.port());
    if client.is_ipv4() != target.is_ipv4() {
        return Ok(None);
    }
    let socket = transparent(Domain::for_address(target), kind)?;
    // A client may have flows to several listeners from one port.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&client.into())?;
    Ok(Some(socket))
}

fn transparent(domain: Domain, kind: Type) -> io::Result<Socket> {
    let socket = Socket::new(domain, kind, None)?;
    if domain == Domain::IPV4 {
        socket.set_ip_transparent_v4(true)?;
    } else {
        socket.set_ip_transparent_v6(true)?;
    }
    Ok(socket)
}
