//! A connection of TCP, as a worker serves it.
//!
//! The runtime's own has its socket watched for reading and writing from the first moment, and the event loop tells of a new one that it
//! can be written to, for which nobody waits. Here a socket is watched once something is awaited, and for writing only once it was
//! full. What that saves is in `docs/decisions/0029-streams.md`.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::set_tcp_nodelay;
use rustix::net::{
    RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown, getpeername, getsockname, recv, send, sendmsg,
    shutdown,
};
use socket2::SockRef;
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};

/// A connection of TCP that never blocks. One task at a time reads it and writes to it.
#[derive(Debug)]
pub struct Stream {
    // Before the socket: it leaves the event loop while it is open.
    watch: Option<AsyncFd<RawFd>>,
    is_watched_for_writing: bool,
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

/// Has the runtime's event loop watch a socket that its owner keeps open for as long.
///
/// # Errors
/// When the kernel watches as many as it may.
#[allow(deprecated, reason = "safe for what stays open; what is advised instead is unsafe to call")]
pub(crate) fn watch<S: AsRawFd>(socket: S, interest: Interest) -> io::Result<AsyncFd<S>> {
    AsyncFd::with_interest(socket, interest)
}

impl Stream {
    /// A connection that was accepted, on which something may have come with it. The socket must not block, nor hold small writes back.
    pub fn accepted(socket: impl Into<OwnedFd>) -> Self {
        Self {
            watch: None,
            is_watched_for_writing: false,
            is_untried: true,
            held_back: HeldBack::Never,
            socket: socket.into(),
        }
    }

    /// A connection that was, or is being, made: nobody has been asked anything yet. The socket must not block.
    pub fn dialled(socket: impl Into<OwnedFd>) -> Self {
        Self { is_untried: false, held_back: HeldBack::Nothing, ..Self::accepted(socket) }
    }

    /// Waits until a connection that is being made is there.
    ///
    /// # Errors
    /// Why it could not be made.
    pub async fn connected(&mut self) -> io::Result<()> {
        let watch = self.watch_for_writing()?;
        // The kernel is asked only when it has something to say.
        if watch.ready(Interest::WRITABLE | Interest::ERROR).await?.ready().is_error()
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
        ready!(self.watch()?.poll_read_ready(cx))?.retain_ready();
        Poll::Ready(Ok(()))
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
        match &self.watch {
            Some(watch) => watch.try_io(Interest::READABLE, |_| read(self.socket.as_fd())),
            None => Err(io::ErrorKind::WouldBlock.into()),
        }
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
        if let Ok(watch) = self.watch() {
            let _ = watch.ready(Interest::ERROR).await;
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
            let ready = match &self.watch {
                Some(watch) if self.is_watched_for_writing => Some(ready!(watch.poll_write_ready(cx))?),
                _ => None,
            };
            match (write(self.socket.as_fd()), ready) {
                (Err(error), ready) if error.kind() == io::ErrorKind::WouldBlock => match ready {
                    Some(mut ready) => ready.clear_ready(),
                    // The task may have waited for something to read already.
                    None => drop(self.watch_for_writing()?.poll_read_ready(cx)?),
                },
                (written, _) => {
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

    /// The other end's address.
    ///
    /// # Errors
    /// The kernel's; when the connection has ended.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        let addr = getpeername(&self.socket)?.ok_or(io::ErrorKind::NotConnected)?;
        Ok(SocketAddr::try_from(addr)?)
    }

    /// Its place in the event loop, which it has from now on if it had none.
    fn watch(&mut self) -> io::Result<&AsyncFd<RawFd>> {
        match self.watch {
            Some(ref watch) => Ok(watch),
            None => Ok(self.watch.insert(watch(self.socket.as_raw_fd(), Interest::READABLE)?)),
        }
    }

    /// Has it watched for writing, too.
    fn watch_for_writing(&mut self) -> io::Result<&AsyncFd<RawFd>> {
        // One behind the other: the kernel takes a socket once.
        self.watch = None;
        let watch = watch(self.socket.as_raw_fd(), Interest::READABLE | Interest::WRITABLE)?;
        self.is_watched_for_writing = true;
        Ok(self.watch.insert(watch))
    }
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
            let ready = match &this.watch {
                _ if std::mem::take(&mut this.is_untried) => None,
                Some(watch) => Some(ready!(watch.poll_read_ready(cx))?),
                None => {
                    this.watch()?;
                    continue;
                }
            };
            let bytes = space.initialize_unfilled();
            let most = bytes.len();
            let count = match recv(&this.socket, bytes, RecvFlags::empty()) {
                Ok((count, _)) => Some(count),
                Err(Errno::AGAIN) => None,
                Err(error) => return Poll::Ready(Err(error.into())),
            };
            // Less than there was room for is all that there was: asking again would be in vain.
            if let Some(mut ready) = ready.filter(|_| count.is_none_or(|count| (1..most).contains(&count))) {
                ready.clear_ready();
            }
            if let Some(count) = count {
                space.advance(count);
                return Poll::Ready(Ok(()));
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
