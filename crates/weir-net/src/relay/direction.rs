//! One direction of a relay: copied at first, spliced once it has proved bulky.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, Interest, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

use crate::activity::Activity;
use crate::buffers::{Buffer, Buffers};
use crate::pipes::{Pipe, Pipes};
use crate::relay::RelayEnd;

/// Bytes that are copied before splicing begins: two splices and the pipe are dearer than a read and a write of little.
/// Arbitrary, as far as what is bulky has megabytes and what is short has hundreds of bytes.
const SPLICE_AFTER_BYTES: usize = 64 * 1024;

/// When splicing brings less than this at a time, the direction is bulky no more, and copied again. Arbitrary: a page.
const SPLICE_WORTH_BYTES: usize = 4 * 1024;

/// Bytes after which the worker's other connections have their turn.
const TURN_BYTES: usize = 1024 * 1024;

/// How a stretch of a direction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stretch {
    /// The reader has ended, and the writer has everything.
    Ended,
    /// The other way of passing bytes promises to be cheaper from here.
    GoesOn,
}

/// One direction, with what has passed.
#[derive(Debug)]
pub(super) struct Direction<'a> {
    pub(super) activity: &'a Activity,
    pub(super) buffers: &'a Buffers,
    pub(super) pipes: &'a Pipes,
    /// What it means when reading fails, and writing.
    pub(super) reader_failed: RelayEnd,
    pub(super) writer_failed: RelayEnd,
    /// How many of the two directions have ended.
    pub(super) ended: &'a Cell<u8>,
    /// Bytes that the writer has taken.
    pub(super) passed: Cell<u64>,
}

impl Direction<'_> {
    /// Copies until the reader has ended, then ends the writer.
    pub(super) async fn copy_all(
        &self,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
    ) -> Result<(), RelayEnd> {
        while self.copy(&mut from, &mut to, SPLICE_AFTER_BYTES).await? == Stretch::GoesOn {}
        self.end(&mut to).await
    }

    /// Copies, and splices what is bulky, until the reader has ended, then ends the writer.
    pub(super) async fn pass_all(
        &self,
        mut from: ReadHalf<'_>,
        mut to: WriteHalf<'_>,
    ) -> Result<(), RelayEnd> {
        while self.copy(&mut from, &mut to, SPLICE_AFTER_BYTES).await? == Stretch::GoesOn
            && self.splice(from.as_ref(), to.as_ref()).await? == Stretch::GoesOn
        {}
        // Behind the last end both sockets are closed, which says the same.
        if self.ended.replace(self.ended.get() + 1) > 0 { Ok(()) } else { self.end(&mut to).await }
    }

    /// Copies until the reader has ended or so many bytes have passed: the direction has proved bulky.
    async fn copy(
        &self,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        enough: usize,
    ) -> Result<Stretch, RelayEnd> {
        let mut copied = 0;
        while copied < enough {
            let (buffer, count) = self.read(from).await.map_err(|_| self.reader_failed)?;
            if count == 0 {
                return Ok(Stretch::Ended);
            }
            self.activity.touch();
            self.write(to, &buffer[..count]).await.map_err(|_| self.writer_failed)?;
            drop(buffer);
            copied += count;
            self.take_turns(count).await;
        }
        Ok(Stretch::GoesOn)
    }

    /// Reads into a buffer that is borrowed only once there is something to read: an idle flow owns none.
    ///
    /// Whoever ends TLS without saying so has ended: many do, and what they have sent is not to be lost for it.
    async fn read(&self, from: &mut (impl AsyncRead + Unpin)) -> io::Result<(Buffer<'_>, usize)> {
        poll_fn(|cx| {
            let mut buffer = self.buffers.borrow();
            let mut space = ReadBuf::new(&mut buffer);
            match ready!(Pin::new(&mut *from).poll_read(cx, &mut space)) {
                Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Poll::Ready(Err(error)),
                Ok(()) | Err(_) => {}
            }
            let count = space.filled().len();
            Poll::Ready(Ok((buffer, count)))
        })
        .await
    }

    async fn write(&self, to: &mut (impl AsyncWrite + Unpin), mut rest: &[u8]) -> io::Result<()> {
        while !rest.is_empty() {
            let count = to.write(rest).await?;
            self.count_passed(count)?;
            rest = &rest[count..];
        }
        // Bytes that were encrypted may still wait for the kernel.
        to.flush().await
    }

    /// Splices until the reader has ended, brings little at a time, or there is no pipe to be had.
    async fn splice(&self, from: &TcpStream, to: &TcpStream) -> Result<Stretch, RelayEnd> {
        loop {
            let filled = poll_fn(|cx| self.poll_fill(from, cx)).await.map_err(|_| self.reader_failed)?;
            let Some(mut pipe) = filled else { return Ok(Stretch::GoesOn) };
            let count = pipe.held_bytes();
            if count == 0 {
                return Ok(Stretch::Ended);
            }
            self.activity.touch();
            // To the last byte before the next fill: what a pipe says that is neither empty nor full is ambiguous.
            poll_fn(|cx| self.poll_drain(&mut pipe, to, cx)).await.map_err(|_| self.writer_failed)?;
            drop(pipe);
            self.take_turns(count).await;
            if count < SPLICE_WORTH_BYTES {
                return Ok(Stretch::GoesOn);
            }
        }
    }

    /// Fills a pipe that is borrowed only once there is something to read; nothing in it says that the reader has ended.
    /// Without one, the reader is as it was.
    ///
    /// Waits by polling, since tokio's future for it would cost every idle flow hundreds of bytes.
    fn poll_fill(&self, from: &TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<Option<Pipe<'_>>>> {
        loop {
            ready!(from.poll_read_ready(cx))?;
            let Some(mut pipe) = self.pipes.borrow() else { return Poll::Ready(Ok(None)) };
            match from.try_io(Interest::READABLE, || pipe.fill(from)) {
                Ok(_) => return Poll::Ready(Ok(Some(pipe))),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Not every kernel and sandbox splices every socket.
                Err(error) if is_refusal(&error) => return Poll::Ready(Ok(None)),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Drains a pipe to the last byte.
    fn poll_drain(&self, pipe: &mut Pipe<'_>, to: &TcpStream, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while pipe.held_bytes() > 0 {
            ready!(to.poll_write_ready(cx))?;
            match to.try_io(Interest::WRITABLE, || pipe.drain(to)) {
                Ok(count) => self.count_passed(count)?,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Says that nothing more comes.
    async fn end(&self, to: &mut (impl AsyncWrite + Unpin)) -> Result<(), RelayEnd> {
        match to.shutdown().await {
            // The peer has closed both ways already: it needs no telling.
            Err(error) if error.kind() != io::ErrorKind::NotConnected => Err(self.writer_failed),
            _ => Ok(()),
        }
    }

    /// Counts what the writer has taken: something, or it never will.
    fn count_passed(&self, count: usize) -> io::Result<()> {
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        self.passed.set(self.passed.get() + count as u64);
        self.activity.touch();
        Ok(())
    }

    /// Lets the worker's other connections have their turn with every [`TURN_BYTES`]. tokio's own measure is 128
    /// operations, which may be 64 MB here, or 20 ms.
    async fn take_turns(&self, count: usize) {
        let turn = |passed: u64| passed / TURN_BYTES as u64;
        let passed = self.passed.get();
        if turn(passed) != turn(passed - count as u64) {
            tokio::task::yield_now().await;
        }
    }
}

fn is_refusal(error: &io::Error) -> bool {
    let refusals = [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP, Errno::PERM];
    refusals.iter().any(|refusal| error.raw_os_error() == Some(refusal.raw_os_error()))
}
