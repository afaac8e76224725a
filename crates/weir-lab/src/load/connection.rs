//! One connection of a generator, or one socket of datagrams.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

use super::http1::Reader;
use super::http2::Http2;
use super::outcome::Failure;
use super::tally::Flight;

/// One socket and what is under way on it.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) socket: OwnedFd,
    /// Tells it from those that had its place before.
    pub(super) generation: u32,
    pub(super) is_connecting: bool,
    /// Whether it stands in the line of those that can take a request.
    pub(super) is_in_line: bool,
    pub(super) opened: u64,
    /// When the generator knew that it could take a request.
    pub(super) ready: u64,
    /// The request under way, but for HTTP/2.
    pub(super) flight: Option<Flight>,
    /// What the kernel had no room for.
    out: Vec<u8>,
    pub(super) talk: Talk,
}

/// What is spoken.
#[derive(Debug)]
pub(super) enum Talk {
    Http1(Reader),
    Http2(Box<Http2>),
    /// An echo in TCP, of which so much has come.
    Echo(usize),
    /// An echo of the datagram of this number.
    Datagram(u64),
}

impl Connection {
    /// Begins to connect.
    pub(super) fn open(addr: SocketAddr, is_stream: bool, talk: Talk, opened: u64) -> Result<Self, Failure> {
        let family = if addr.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let kind = if is_stream { SocketType::STREAM } else { SocketType::DGRAM };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = rustix::net::socket_with(family, kind, flags, None).map_err(failure)?;
        if is_stream {
            sockopt::set_tcp_nodelay(&socket, true).map_err(failure)?;
        }
        let is_connecting = match rustix::net::connect(&socket, &addr) {
            Ok(()) => false,
            Err(Errno::INPROGRESS) => true,
            Err(error) => return Err(failure(error)),
        };
        Ok(Self {
            socket,
            generation: 0,
            is_connecting,
            is_in_line: false,
            opened,
            ready: opened,
            flight: None,
            out: Vec::new(),
            talk,
        })
    }

    /// Whether an attempt to connect is over, and how.
    pub(super) fn connected(&self) -> Result<(), Failure> {
        match sockopt::socket_error(&self.socket) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) | Err(error) => Err(failure(error)),
        }
    }

    /// Sends what there is room for, and keeps the rest for [`Self::flush`].
    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        if !self.out.is_empty() {
            self.out.extend_from_slice(bytes);
            return Ok(());
        }
        let count = self.write(bytes)?;
        self.out.extend_from_slice(&bytes[count..]);
        Ok(())
    }

    /// Keeps what [`Self::flush`] shall send.
    pub(super) fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Sends what is kept, as far as there is room.
    pub(super) fn flush(&mut self) -> Result<(), Failure> {
        if !self.out.is_empty() {
            let count = self.write(&self.out)?;
            self.out.drain(..count);
        }
        Ok(())
    }

    fn write(&self, bytes: &[u8]) -> Result<usize, Failure> {
        let mut sent = 0;
        while sent < bytes.len() {
            match rustix::net::send(&self.socket, &bytes[sent..], SendFlags::NOSIGNAL) {
                Ok(count) => sent += count,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(error) => return Err(failure(error)),
            }
        }
        Ok(sent)
    }

    /// Reads once; `None` when nothing has come, zero at the end.
    pub(super) fn read(&self, buffer: &mut [u8]) -> Result<Option<usize>, Failure> {
        loop {
            match rustix::net::recv(&self.socket, &mut *buffer, RecvFlags::empty()) {
                Ok((count, _)) => return Ok(Some(count)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(error) => return Err(failure(error)),
            }
        }
    }

    /// Whether it can take one more request.
    pub(super) fn has_room(&self) -> bool {
        match &self.talk {
            Talk::Http2(http2) => http2.has_room(),
            Talk::Http1(_) | Talk::Datagram(_) | Talk::Echo(_) => {
                !self.is_connecting && self.flight.is_none()
            }
        }
    }
}

/// What an error of the kernel means for the request.
fn failure(error: Errno) -> Failure {
    match error {
        Errno::CONNREFUSED | Errno::NETUNREACH | Errno::HOSTUNREACH => Failure::Refused,
        Errno::TIMEDOUT => Failure::Timeout,
        Errno::ADDRNOTAVAIL | Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM | Errno::ACCESS => {
            Failure::Local
        }
        _ => Failure::Reset,
    }
}
