//! Sockets toward targets, one for each flow, and which of them have answers.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::net::{RecvFlags, SendFlags, recv, send};
use socket2::Type;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use weir_core::address::{ClientAddr, TargetAddr};

use crate::reactor::watch;
use crate::transparent;

/// Sockets of which is told at a time that they have answers.
const ANSWERING_MAX: usize = 64;

/// A socket toward one target. It never blocks.
#[derive(Debug)]
pub struct TargetSocket(UdpSocket);

impl TargetSocket {
    /// Sends a datagram.
    ///
    /// # Errors
    /// The kernel's: [`io::ErrorKind::ConnectionRefused`] when nobody took an earlier one, [`io::ErrorKind::WouldBlock`] when too
    /// much waits already.
    pub fn try_send(&self, datagram: &[u8]) -> io::Result<()> {
        send(&self.0, datagram, SendFlags::empty())?;
        Ok(())
    }

    /// Receives an answer into `room`: how long it is.
    ///
    /// # Errors
    /// The kernel's: [`io::ErrorKind::WouldBlock`] when there is none.
    pub fn try_receive(&self, room: &mut [u8]) -> io::Result<usize> {
        Ok(recv(&self.0, room, RecvFlags::empty())?.1)
    }
}

impl AsFd for TargetSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A socket toward one target, from a port of its own.
///
/// # Errors
/// When there is no descriptor or no port left, or no way to the target.
pub fn dial(target: TargetAddr) -> io::Result<TargetSocket> {
    let any = if target.0.is_ipv4() { IpAddr::from([0; 4]) } else { IpAddr::from([0_u16; 8]) };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
    socket.set_nonblocking(true)?;
    socket.connect(target.0)?;
    Ok(TargetSocket(socket))
}

/// The same in the name of a client, whose address the target sees; of weir's own where one of the two has IPv4 and the other
/// IPv6.
///
/// # Errors
/// When the kernel has no descriptor left, the client's port is in use for that target, or there is no way to it.
pub fn dial_as(client: ClientAddr, target: TargetAddr) -> io::Result<TargetSocket> {
    let Some(bound) = transparent::bound_to(client.0, target.0, Type::DGRAM)? else {
        return dial(target);
    };
    bound.connect(&target.0.into())?;
    Ok(TargetSocket(bound.into()))
}

/// Sockets toward targets, and which of them have answers.
///
/// One wait tells of all of them: a task and a registration with the runtime for each cost more than passing an answer on.
#[derive(Debug)]
pub struct TargetSockets {
    epoll: AsyncFd<OwnedFd>,
}

/// Which sockets have answers, by the numbers that they were given.
pub struct Answering(Vec<Event>);

impl Default for Answering {
    fn default() -> Self {
        Self(Vec::with_capacity(ANSWERING_MAX))
    }
}

impl fmt::Debug for Answering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.numbers()).finish()
    }
}

impl Answering {
    /// Their numbers.
    pub fn numbers(&self) -> impl Iterator<Item = usize> {
        self.0.iter().filter_map(|event| usize::try_from(event.data.u64()).ok())
    }
}

impl TargetSockets {
    /// None yet.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub fn new() -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        Ok(Self { epoll: watch(epoll, Interest::READABLE)? })
    }

    /// Adds a socket by a number; it leaves when it is closed.
    ///
    /// # Errors
    /// When the kernel watches as many as it may.
    pub fn add(&self, socket: &TargetSocket, number: usize) -> io::Result<()> {
        Ok(epoll::add(self.epoll.get_ref(), socket, EventData::new_u64(number as u64), EventFlags::IN)?)
    }

    /// Waits until some have answers, or errors to tell, and says which. One that keeps some is named again.
    ///
    /// # Errors
    /// The runtime's, when it ends.
    pub async fn answering(&self, answering: &mut Answering) -> io::Result<()> {
        loop {
            let mut ready = self.epoll.readable().await?;
            answering.0.clear();
            let at_once = Timespec { tv_sec: 0, tv_nsec: 0 };
            let waited = ready.try_io(|epoll| {
                match epoll::wait(epoll, spare_capacity(&mut answering.0), Some(&at_once))? {
                    0 => Err(io::ErrorKind::WouldBlock.into()),
                    _ => Ok(()),
                }
            });
            if let Ok(waited) = waited {
                return waited;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sockets_are_named_while_they_have_answers_and_leave_when_they_are_closed() {
        let target = UdpSocket::bind("127.0.0.1:0").unwrap();
        let addr = TargetAddr(target.local_addr().unwrap());
        let sockets = TargetSockets::new().unwrap();
        let [one, other] = [7, 9].map(|number| {
            let socket = dial(addr).unwrap();
            sockets.add(&socket, number).unwrap();
            socket
        });
        let mut answering = Answering::default();
        for socket in [&one, &other] {
            target.send_to(b"!", socket.0.local_addr().unwrap()).unwrap();
        }
        drop(one);
        for _ in 0..2 {
            sockets.answering(&mut answering).await.unwrap();
            assert_eq!(answering.numbers().collect::<Vec<_>>(), [9]);
        }
        other.try_receive(&mut [0; 9]).unwrap();
        let never = tokio::time::timeout(std::time::Duration::ZERO, sockets.answering(&mut answering));
        assert!(never.await.is_err(), "it has none any more");
    }
}
