//! A connection of TCP, as a worker serves it.
//!
//! The runtime's own has its socket watched for reading and writing from the first moment, and the event loop tells of a new one that it
//! can be written to, for which nobody waits. Here a socket is watched, by the worker's reactor, once something is awaited, and for
//! writing only once it was full. What that saves is in `docs/decisions/0029-streams.md`.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::sockopt::set_tcp_nodelay;
use rustix::net::{
    RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, getpeername, getsockname, recv, send, sendmsg,
    shutdown,
};
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::task::coop;

use crate::reactor::{READABLE, Reactor, Registration, WRITABLE};

/// A connection of TCP that never blocks. One task at a time reads it and writes to it.
#[derive(Debug)]
pub struct Stream {
    registration: Registration,
    /// Something may have come already: the kernel is asked once before the socket is watched.
    is_untried: bool,
    held_back: HeldBack,
    socket: OwnedFd,
}

/// What the kernel holds back while what was written before is not acknowledged yet (Nagle's algorithm).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HeldBack {
    /// Nothing: nothing has been written.
    Nothing,
    /// What is little and written next, unless the kernel is told otherwise first. Many connections have one question only, and
    /// need not tell it.
    NextWrite,
    /// Never anything.
    Never,
}

impl Stream {
    /// A connection that was accepted, on which something may have come with it. The socket must not block, nor hold small writes back.
    pub fn accepted(socket: impl Into<OwnedFd>, reactor: &Reactor) -> Self {
        Self {
            registration: Registration::new(reactor.clone()),
            is_untried: true,
            held_back: HeldBack::Never,
            socket: socket.into(),
        }
    }

    /// A connection that was, or is being, made: nobody has been asked anything yet. The socket must not block.
    pub fn dialled(socket: impl Into<OwnedFd>, reactor: &Reactor) -> Self {
        Self { is_untried: false, held_back: HeldBack::Nothing, ..Self::accepted(socket, reactor) }
    }

    /// Waits until a connection that is being made is there.
    ///
    /// # Errors
    /// Why it could not be made.
    pub async fn connected(&mut self) -> io::Result<()> {
        self.registration.begin_for_writing(&self.socket)?;
        poll_fn(|cx| self.registration.poll_ready(WRITABLE, cx)).await;
        // The kernel is asked only when it has something to say.
        if self.registration.is_ready(EventFlags::ERR)
            && let Some(error) = SockRef::from(&self.socket).take_error()?
        {
            return Err(error);
        }
        Ok(())
    }

    /// Completes when something may have come, or the end.
    ///
    /// # Errors
    /// When the kernel watches as many sockets as it may.
    pub async fn readable(&mut self) -> io::Result<()> {
        poll_fn(|cx| self.poll_readable(cx)).await
    }

    /// Ready when something may have come, or the end.
    pub(crate) fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_untried {
            return Poll::Ready(Ok(()));
        }
        self.registration.begin(&self.socket)?;
        self.registration.poll_ready(READABLE, cx).map(Ok)
    }

    /// Whether urgent data has come, ever: the kernel cuts what is read there.
    pub(crate) fn has_urgent(&self) -> bool {
        self.registration.is_ready(EventFlags::PRI)
    }

    /// Takes what has come with `read`, which is called unless the event loop knows that there is nothing.
    ///
    /// # Errors
    /// Those of `read`; [`io::ErrorKind::WouldBlock`] when there is nothing.
    pub(crate) fn try_reading<R>(
        &mut self,
        read: impl FnOnce(BorrowedFd<'_>) -> io::Result<R>,
    ) -> io::Result<R> {
        if std::mem::take(&mut self.is_untried) {
            return read(self.socket.as_fd());
        }
        if !self.registration.is_ready(READABLE) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let read = read(self.socket.as_fd());
        if matches!(&read, Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
            self.registration.clear(EventFlags::IN);
        }
        read
    }

    /// Reads what has come; none says that it was all.
    ///
    /// # Errors
    /// The socket's; [`io::ErrorKind::WouldBlock`] when nothing has come.
    pub fn try_read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.try_reading(|socket| Ok(recv(socket, bytes, RecvFlags::empty())?.0))
    }

    /// Waits for bytes and reads them, but leaves them to be read again; none says that it was all.
    ///
    /// # Errors
    /// The socket's.
    pub async fn peek(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            self.readable().await?;
            match self.try_reading(|socket| Ok(recv(socket, &mut *bytes, RecvFlags::PEEK)?.0)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                peeked => return peeked,
            }
        }
    }

    /// Completes when the connection has failed: a reset, usually.
    pub async fn failed(&mut self) {
        if self.registration.begin(&self.socket).is_ok() {
            poll_fn(|cx| self.registration.poll_ready(EventFlags::ERR, cx)).await;
        }
    }

    /// Sends a first word at once, as far as the connection is there and takes it: how much of it.
    ///
    /// # Errors
    /// The socket's.
    pub(crate) fn try_first_word(&mut self, word: &[u8]) -> io::Result<usize> {
        match send(&self.socket, word, SendFlags::NOSIGNAL) {
            Err(Errno::AGAIN) => Ok(0),
            sent => {
                self.held_back = HeldBack::NextWrite;
                Ok(sent?)
            }
        }
    }

    /// Gives something with `write`, which is called until there is room for it.
    ///
    /// # Errors
    /// Those of `write`.
    pub(crate) fn poll_writing<R>(
        &mut self,
        cx: &mut Context<'_>,
        mut write: impl FnMut(BorrowedFd<'_>) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        if self.held_back == HeldBack::NextWrite {
            set_tcp_nodelay(&self.socket, true)?;
            self.held_back = HeldBack::Never;
        }
        loop {
            let is_watched = self.registration.is_for_writing();
            if is_watched {
                ready!(self.registration.poll_ready(WRITABLE, cx));
            }
            match write(self.socket.as_fd()) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && is_watched => {
                    self.registration.clear(EventFlags::OUT);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.registration.begin_for_writing(&self.socket)?;
                }
                written => {
                    if self.held_back == HeldBack::Nothing {
                        self.held_back = HeldBack::NextWrite;
                    }
                    return Poll::Ready(written);
                }
            }
        }
    }

    /// Makes its end a reset: the peer can tell that from an orderly one.
    ///
    /// # Errors
    /// The kernel's.
    pub fn set_zero_linger(&self) -> io::Result<()> {
        SockRef::from(&self.socket).set_linger(Some(Duration::ZERO))
    }

    /// This end's address.
    ///
    /// # Errors
    /// The kernel's.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(SocketAddr::try_from(getsockname(&self.socket)?)?)
    }
}

/// The address of a connection's other end.
///
/// # Errors
/// The kernel's; when the connection has ended.
pub fn peer_addr(socket: impl AsFd) -> io::Result<SocketAddr> {
    let addr = getpeername(socket)?.ok_or(io::ErrorKind::NotConnected)?;
    Ok(SocketAddr::try_from(addr)?)
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        space: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            let is_untried = std::mem::take(&mut this.is_untried);
            if !is_untried {
                this.registration.begin(&this.socket)?;
                ready!(this.registration.poll_ready(READABLE, cx));
            }
            // Others have a turn even when bytes never end.
            let turn = ready!(coop::poll_proceed(cx));
            let bytes = space.initialize_unfilled();
            let most = bytes.len();
            match recv(&this.socket, bytes, RecvFlags::empty()) {
                Ok((count, _)) => {
                    turn.made_progress();
                    // Less than there was room for is all that there was, but before urgent data: asking again would be in vain.
                    if !is_untried && (1..most).contains(&count) && !this.has_urgent() {
                        this.registration.clear(EventFlags::IN);
                    }
                    space.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(Errno::AGAIN) if is_untried => {}
                Err(Errno::AGAIN) => this.registration.clear(EventFlags::IN),
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_writing(cx, |socket| Ok(send(socket, bytes, SendFlags::NOSIGNAL)?))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.poll_writing(cx, |socket| {
            Ok(sendmsg(socket, pieces, &mut SendAncillaryBuffer::default(), SendFlags::NOSIGNAL)?)
        })
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(match shutdown(&self.socket, Shutdown::Write) {
            // The peer has closed both ways already: it needs no telling.
            Err(Errno::NOTCONN) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        })
    }
}

#[cfg(test)]
mod tests;
