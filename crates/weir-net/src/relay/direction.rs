//! One direction of a relay: copied at first, spliced once it has proved bulky.
//!
//! Written as a machine of states, not as a future of its own: what a flow keeps while it waits is then a few words, and all that
//! its task touches when something comes lies together.

use std::future::Future;
use std::io;
use std::ops::Range;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use rustix::io::Errno;
use tokio::io::ReadBuf;

use crate::buffers::{Buffer, Buffers};
use crate::pipes::{Pipe, Pipes};
use crate::relay::{RelayEnd, RelaySide};
use crate::stream::Stream;

/// Bytes that are copied before splicing begins: two splices and the pipe are dearer than a read and a write of little.
/// Arbitrary, as far as what is bulky has megabytes and what is short has hundreds of bytes.
const SPLICE_AFTER_BYTES: usize = 64 * 1024;

/// When splicing brings less than this at a time, the direction is bulky no more, and copied again. Arbitrary: a page.
const SPLICE_WORTH_BYTES: usize = 4 * 1024;

/// Bytes after which the worker's other connections have their turn. tokio's own measure is 128 operations, which may be 64 MB
/// here, or 20 ms.
const TURN_BYTES: u64 = 1024 * 1024;

/// One direction, with what has passed.
#[derive(Debug)]
pub(super) struct Direction<'a> {
    buffers: &'a Buffers,
    pipes: &'a Pipes,
    /// What it means when reading fails, and writing.
    reader_failed: RelayEnd,
    writer_failed: RelayEnd,
    stage: Stage<'a>,
    /// Bytes that were copied since it was last found not to be bulky.
    copied_bytes: usize,
    /// Bytes that the writer has taken.
    passed_bytes: u64,
    /// Others are to have their turn before anything is read again.
    is_turn_over: bool,
    /// The reader has ended TLS without a farewell.
    is_cut_short: bool,
    /// A byte has come or gone since this was last asked.
    has_moved: bool,
}

/// What comes next.
#[derive(Debug)]
enum Stage<'a> {
    /// To read: nothing is under way, and nothing is borrowed.
    Read,
    /// To write what was read, of which a range is left.
    Write(Buffer<'a>, Range<usize>),
    /// To have the writer send everything: bytes that were encrypted may still wait for the kernel.
    Flush,
    /// To drain a pipe, to the last byte before the next fill: what a pipe says that is neither empty nor full is ambiguous. And with
    /// how many bytes it began.
    Drain(Pipe<'a>, usize),
    /// To say that nothing more comes.
    End,
    /// Nothing.
    Ended,
}

impl<'a> Direction<'a> {
    /// A direction in which nothing has passed.
    pub(super) fn new(
        buffers: &'a Buffers,
        pipes: &'a Pipes,
        reader_failed: RelayEnd,
        writer_failed: RelayEnd,
    ) -> Self {
        Self {
            buffers,
            pipes,
            reader_failed,
            writer_failed,
            stage: Stage::Read,
            copied_bytes: 0,
            passed_bytes: 0,
            is_turn_over: false,
            is_cut_short: false,
            has_moved: false,
        }
    }

    /// Bytes that the writer has taken.
    pub(super) fn passed_bytes(&self) -> u64 {
        self.passed_bytes
    }

    /// Whether the reader has ended, and the writer knows.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.stage, Stage::Ended)
    }

    /// Whether a byte has come or gone since this was last asked.
    pub(super) fn has_moved(&mut self) -> bool {
        std::mem::take(&mut self.has_moved)
    }

    /// Passes on what there is, until the reader has ended and the writer knows. `is_last`: the other direction has ended.
    pub(super) fn poll(
        &mut self,
        from: &mut impl RelaySide,
        to: &mut impl RelaySide,
        is_last: bool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), RelayEnd>> {
        loop {
            match self.stage {
                Stage::Read => {
                    let is_plain = from.as_tcp().is_some() && to.as_tcp().is_some();
                    ready!(self.poll_read(from, is_plain, cx)).map_err(|_| self.reader_failed)?;
                    // Behind the last end both sockets are closed, which says the same.
                    if is_plain && is_last && matches!(self.stage, Stage::End) {
                        self.stage = Stage::Ended;
                    }
                }
                Stage::Ended => return Poll::Ready(Ok(())),
                _ => ready!(self.poll_pass_on(to, cx)).map_err(|_| self.writer_failed)?,
            }
        }
    }

    /// Takes in what the reader has; between two `is_plain` sockets by a pipe, if it is much.
    ///
    /// What it is taken into is borrowed only once there is something: an idle flow owns no buffer.
    fn poll_read(
        &mut self,
        from: &mut impl RelaySide,
        is_plain: bool,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        if std::mem::take(&mut self.is_turn_over) {
            // Its first poll puts the task behind all others, and behind what the kernel has to tell.
            return pin!(tokio::task::yield_now()).poll(cx).map(Ok);
        }
        if is_plain && self.copied_bytes >= SPLICE_AFTER_BYTES {
            let from = from.as_tcp().expect("both sides are plain");
            if let Some(pipe) = ready!(poll_fill(from, self.pipes, cx))? {
                let count = pipe.held_bytes();
                self.take(count, Stage::Drain(pipe, count));
                return Poll::Ready(Ok(()));
            }
            self.copied_bytes = 0;
        }
        // A direction that has nothing is asked with every wake of the other: it borrows no buffer for that.
        if let Some(from) = from.as_tcp() {
            ready!(from.poll_readable(cx))?;
        }
        let mut buffer = self.buffers.borrow();
        let mut space = ReadBuf::new(&mut buffer);
        match ready!(Pin::new(from).poll_read(cx, &mut space)) {
            Ok(()) => {}
            // Whoever ends TLS without saying so has ended: many do, and what they have sent is not to be lost for it.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => self.is_cut_short = true,
            Err(error) => return Poll::Ready(Err(error)),
        }
        let count = space.filled().len();
        self.copied_bytes += count;
        self.take(count, Stage::Write(buffer, 0..count));
        Poll::Ready(Ok(()))
    }

    /// So many bytes have come, of which `stage` is the next; none says that the reader has ended.
    fn take(&mut self, count: usize, stage: Stage<'a>) {
        self.has_moved |= count > 0;
        self.stage = if count > 0 { stage } else { Stage::End };
    }

    /// Does what comes next but to read.
    fn poll_pass_on(&mut self, to: &mut impl RelaySide, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let next = match &mut self.stage {
            Stage::Write(buffer, left) => {
                let count = ready!(Pin::new(to).poll_write(cx, &buffer[left.clone()]))?;
                left.start += count;
                let is_done = left.start == left.end;
                self.count_passed(count)?;
                is_done.then_some(Stage::Flush)
            }
            Stage::Flush => {
                ready!(Pin::new(to).poll_flush(cx))?;
                Some(Stage::Read)
            }
            Stage::Drain(pipe, began) => {
                let to = to.as_tcp().expect("both sides are plain");
                let count = ready!(to.poll_writing(cx, |to| pipe.drain(to)))?;
                let (is_done, is_little) = (pipe.held_bytes() == 0, *began < SPLICE_WORTH_BYTES);
                if is_done && is_little {
                    self.copied_bytes = 0;
                }
                self.count_passed(count)?;
                is_done.then_some(Stage::Read)
            }
            Stage::End => {
                match ready!(to.poll_end(self.is_cut_short, cx)) {
                    // The peer has closed both ways already: it needs no telling.
                    Err(error) if error.kind() != io::ErrorKind::NotConnected => {
                        return Poll::Ready(Err(error));
                    }
                    _ => Some(Stage::Ended),
                }
            }
            Stage::Read | Stage::Ended => None,
        };
        if let Some(next) = next {
            self.stage = next;
        }
        Poll::Ready(Ok(()))
    }

    /// Counts what the writer has taken: something, or it never will.
    fn count_passed(&mut self, count: usize) -> io::Result<()> {
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        let turn = self.passed_bytes / TURN_BYTES;
        self.passed_bytes += count as u64;
        self.is_turn_over |= self.passed_bytes / TURN_BYTES != turn;
        self.has_moved = true;
        Ok(())
    }
}

/// Fills a pipe that is borrowed only once there is something to read. Without one, the reader is as it was, and to be read.
fn poll_fill<'a>(
    from: &mut Stream,
    pipes: &'a Pipes,
    cx: &mut Context<'_>,
) -> Poll<io::Result<Option<Pipe<'a>>>> {
    loop {
        ready!(from.poll_readable(cx))?;
        // The kernel does not splice past urgent data.
        if from.has_urgent() {
            return Poll::Ready(Ok(None));
        }
        let Some(mut pipe) = pipes.borrow() else { return Poll::Ready(Ok(None)) };
        match from.try_reading(|from| pipe.fill(from)) {
            // Nothing is spliced at the end, and at urgent data of which nothing was told yet: reading says which it is.
            Ok(count) => return Poll::Ready(Ok((count > 0).then_some(pipe))),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // Not every kernel and sandbox splices every socket.
            Err(error) if is_refusal(&error) => return Poll::Ready(Ok(None)),
            Err(error) => return Poll::Ready(Err(error)),
        }
    }
}

fn is_refusal(error: &io::Error) -> bool {
    let refusals = [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP, Errno::PERM];
    refusals.iter().any(|refusal| error.raw_os_error() == Some(refusal.raw_os_error()))
}
