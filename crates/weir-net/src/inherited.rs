//! Listening sockets that another weir hands over: the same sockets, with every connection that waits in them.
//!
//! A socket says itself what it is and where it listens, so nothing is handed over beside it that could be out of step.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;

use rustix::net::{SocketType, sockopt};
use weir_core::address::ListenAddr;
use weir_core::task::Transports;

use crate::bind::{BindError, Sockets, bind};

/// What has been handed over and not been taken yet. Its sockets are closed when it is dropped.
#[derive(Debug, Default)]
pub struct Inherited {
    tcp: BTreeMap<SocketAddr, Vec<TcpListener>>,
    udp: BTreeMap<SocketAddr, Vec<UdpSocket>>,
}

impl Inherited {
    /// Sorts what was handed over by transport and address.
    ///
    /// # Errors
    /// When a descriptor is no such socket.
    pub fn new(descriptors: Vec<OwnedFd>) -> io::Result<Self> {
        let mut inherited = Self::default();
        for descriptor in descriptors {
            if sockopt::socket_type(&descriptor)? == SocketType::STREAM {
                let socket = TcpListener::from(descriptor);
                inherited.tcp.entry(socket.local_addr()?).or_default().push(socket);
            } else {
                let socket = UdpSocket::from(descriptor);
                inherited.udp.entry(socket.local_addr()?).or_default().push(socket);
            }
        }
        Ok(inherited)
    }

    /// Sockets at an address for `count` workers: those that were handed over, with those at addresses that it covers, and new ones
    /// for a transport of which there is none. The address has a port.
    ///
    /// Every socket goes to some worker, for closing one would reset the connections that wait in it. Workers beyond the
    /// number of sockets accept from the sockets of others. They do not get datagrams: those of one flow have to come to
    /// one worker. Binding more sockets would not do, since connections would be given to them while it may yet turn out
    /// that this weir cannot start.
    ///
    /// # Errors
    /// [`BindError`]; nothing has been taken then.
    pub fn take(
        &mut self,
        addr: ListenAddr,
        transports: Transports,
        count: usize,
    ) -> Result<Vec<Sockets>, BindError> {
        let missing = Transports {
            tcp: transports.tcp && !self.tcp.contains_key(&addr.0),
            udp: transports.udp && !self.udp.contains_key(&addr.0),
        };
        if missing != Transports::NONE
            && let Some(other) = self.addrs().find(|other| *other != addr && other.overlaps(addr))
        {
            return Err(BindError::Overlaps { addr, other });
        }
        let (_, mut all) = bind(addr, missing, count)?;
        let is_covered = |local: &SocketAddr| addr.covers(ListenAddr(*local));
        if transports.tcp {
            for (_, sockets) in self.tcp.extract_if(.., |local, _| is_covered(local)) {
                let shared = share_out(sockets, &mut all);
                shared.map_err(|source| BindError::Failed { addr, source })?;
            }
        }
        if transports.udp {
            for (_, sockets) in self.udp.extract_if(.., |local, _| is_covered(local)) {
                for (number, socket) in sockets.into_iter().enumerate() {
                    all[number % count].udp.push(socket);
                }
            }
        }
        Ok(all)
    }

    fn addrs(&self) -> impl Iterator<Item = ListenAddr> {
        self.tcp.keys().chain(self.udp.keys()).copied().map(ListenAddr)
    }

    /// Whether there is anything at an address.
    pub fn has(&self, addr: ListenAddr) -> bool {
        self.tcp.contains_key(&addr.0) || self.udp.contains_key(&addr.0)
    }
}

/// Gives each worker a socket to accept from, and every socket a worker.
fn share_out(sockets: Vec<TcpListener>, all: &mut [Sockets]) -> io::Result<()> {
    for number in sockets.len()..all.len() {
        all[number].tcp.push(sockets[number % sockets.len()].try_clone()?);
    }
    let count = all.len();
    for (number, socket) in sockets.into_iter().enumerate() {
        all[number % count].tcp.push(socket);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    /// Sockets for `count` workers at a port of the kernel's choice, and other descriptors of them.
    fn handed_over(transports: Transports, count: usize) -> (ListenAddr, Vec<Sockets>, Inherited) {
        let (addr, sockets) = bind(ListenAddr("127.0.0.1:0".parse().unwrap()), transports, count).unwrap();
        let mut descriptors = Vec::new();
        for copy in sockets.iter().map(|sockets| sockets.try_clone().unwrap()) {
            descriptors.extend(copy.tcp.into_iter().map(OwnedFd::from));
            descriptors.extend(copy.udp.into_iter().map(OwnedFd::from));
        }
        (addr, sockets, Inherited::new(descriptors).unwrap())
    }

    #[test]
    fn each_worker_takes_a_socket_of_each_transport() {
        let (addr, _sockets, mut inherited) = handed_over(Transports::BOTH, 3);
        let taken = inherited.take(addr, Transports::BOTH, 3).unwrap();
        assert!(taken.iter().all(|sockets| sockets.tcp.len() == 1 && sockets.udp.len() == 1));
        assert!(!inherited.has(addr));
    }

    #[test]
    fn fewer_workers_take_all_sockets_and_what_waits_in_them() {
        let (addr, sockets, mut inherited) = handed_over(Transports::BOTH, 3);
        let clients: Vec<_> = (0..30).map(|_| TcpStream::connect(addr.0).unwrap()).collect();
        let taken = inherited.take(addr, Transports::BOTH, 2).unwrap();
        assert_eq!(taken.iter().map(|sockets| sockets.tcp.len()).collect::<Vec<_>>(), [2, 1]);
        assert_eq!(taken.iter().map(|sockets| sockets.udp.len()).collect::<Vec<_>>(), [2, 1]);
        drop(sockets);
        let all = taken.iter().flat_map(|sockets| &sockets.tcp);
        let accepted = all.flat_map(|socket| std::iter::from_fn(|| socket.accept().ok())).count();
        assert_eq!(accepted, clients.len());
    }

    #[test]
    fn more_workers_accept_from_sockets_of_others_and_share_no_datagrams() {
        let (addr, _sockets, mut inherited) = handed_over(Transports::BOTH, 2);
        let taken = inherited.take(addr, Transports::BOTH, 3).unwrap();
        assert_eq!(taken.iter().map(|sockets| sockets.tcp.len()).collect::<Vec<_>>(), [1, 1, 1]);
        assert_eq!(taken.iter().map(|sockets| sockets.udp.len()).collect::<Vec<_>>(), [1, 1, 0]);
    }

    #[test]
    fn a_transport_that_is_new_at_an_address_is_bound() {
        let (addr, _sockets, mut inherited) = handed_over(Transports::TCP, 1);
        let taken = inherited.take(addr, Transports::BOTH, 1).unwrap();
        assert_eq!(taken[0].udp[0].local_addr().unwrap(), addr.0);
    }
}
