//! The floor relay: what any proxy on epoll has to pay at least.
//!
//! One thread, one level-triggered epoll; each client connection gets one connection of its own to a backend, round
//! robin, opened at accept; on readable one `recv` into a 256 KiB buffer and one `send` to the other side. No parsing.
//!
//! Datagrams likewise: a socket of its own toward a backend for each client, one `recvfrom` and one `sendto` for each
//! datagram. Flows never end.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};

use rustix::event::{PollFd, PollFlags, poll};

use crate::sockets::{Epoll, bind_datagrams, connect, listen, pin, ready};

const BUFFER_BYTES: usize = 256 * 1024;

/// The listener's token; connections and flows have those above.
const LISTENER: u64 = 0;

/// Most datagrams of clients that are taken at a time, so that answers are not kept waiting.
const BATCH: usize = 64;

/// Relays until the process is ended.
pub(crate) fn relay(addr: SocketAddr, backends: &[SocketAddr]) -> anyhow::Result<()> {
    pin(0)?;
    let listener = listen(addr)?;
    let mut epoll = Epoll::new()?;
    epoll.watch(&listener, LISTENER)?;
    // Token 2n and 2n+1 are the two ends of pair n; the other end's token is this one's with the last bit flipped.
    let mut ends: HashMap<u64, TcpStream> = HashMap::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut pairs = 0;
    loop {
        for token in epoll.wait(1_000_000 / 1_000)? {
            if token == LISTENER {
                while let Ok((client, _)) = listener.accept() {
                    ready(&client)?;
                    let backend = connect(backends[pairs as usize % backends.len()])?;
                    pairs += 1;
                    epoll.watch(&client, 2 * pairs)?;
                    epoll.watch(&backend, 2 * pairs + 1)?;
                    ends.insert(2 * pairs, client);
                    ends.insert(2 * pairs + 1, backend);
                }
                continue;
            }
            let Some(from) = ends.get_mut(&token) else { continue };
            let read = match from.read(&mut buffer) {
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(_) => 0,
            };
            let is_over = read == 0
                || ends.get_mut(&(token ^ 1)).is_none_or(|to| send_all(to, &buffer[..read]).is_err());
            if is_over {
                let _ = ends.get(&(token ^ 1)).map(|to| to.shutdown(Shutdown::Write));
                ends.remove(&token);
                ends.remove(&(token ^ 1));
            }
        }
    }
}

/// Relays datagrams until the process is ended.
pub(crate) fn relay_datagrams(addr: SocketAddr, backends: &[SocketAddr]) -> anyhow::Result<()> {
    pin(0)?;
    let listener = bind_datagrams(addr)?;
    let mut epoll = Epoll::new()?;
    epoll.watch(&listener, LISTENER)?;
    // The flow at n has token n + 1.
    let mut flows: Vec<(UdpSocket, SocketAddr)> = Vec::new();
    let mut of_client: HashMap<SocketAddr, usize> = HashMap::new();
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        for token in epoll.wait(1_000)? {
            if token != LISTENER {
                let (socket, client) = &flows[token as usize - 1];
                if let Ok(count) = socket.recv(&mut buffer) {
                    // What the kernel has no room for is lost, here and below.
                    let _ = listener.send_to(&buffer[..count], client);
                }
                continue;
            }
            for _ in 0..BATCH {
                let Ok((count, client)) = listener.recv_from(&mut buffer) else { break };
                let flow = if let Some(flow) = of_client.get(&client) {
                    *flow
                } else {
                    let socket = bind_datagrams(SocketAddr::from(([0, 0, 0, 0], 0)))?;
                    socket.connect(backends[flows.len() % backends.len()])?;
                    flows.push((socket, client));
                    epoll.watch(&flows[flows.len() - 1].0, flows.len() as u64)?;
                    of_client.insert(client, flows.len() - 1);
                    flows.len() - 1
                };
                let _ = flows[flow].0.send(&buffer[..count]);
            }
        }
    }
}

/// Sends everything. Bulk may find the peer's buffer full; then waits for that one peer, which costs a floor less than
/// keeping the rest for later.
fn send_all(to: &mut TcpStream, mut bytes: &[u8]) -> std::io::Result<()> {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(sent) => bytes = &bytes[sent..],
            Err(error) if error.kind() == ErrorKind::WouldBlock => wait_for_room(to)?,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn wait_for_room(to: &TcpStream) -> std::io::Result<()> {
    poll(&mut [PollFd::new(to, PollFlags::OUT)], None)?;
    Ok(())
}
