//! A pool of pipes, through which bytes pass from socket to socket without leaving the kernel.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};

/// What a pipe holds at most: the most that an unprivileged process may have by default (`pipe-max-size`).
///
/// CPU per byte over that of a relay that copies, one stream and eight: 0.51 and 0.82 with the kernel's default of 64 KiB,
/// 0.46 and 0.54 with 256 KiB, 0.38 and 0.50 with this.
pub const PIPE_BYTES: usize = 1024 * 1024;

/// Pipes that one worker keeps for reuse. An empty one costs two descriptors and 10 KiB of the kernel's memory.
const KEPT_MAX: usize = 16;

/// Pipes that one worker has at most, so that peers who do not read cannot take all descriptors: flows beyond copy.
const OPEN_MAX: usize = 256;

/// One worker's pipes.
#[derive(Clone, Debug)]
pub struct Pipes(Rc<Pool>);

#[derive(Debug)]
struct Pool {
    kept: RefCell<Vec<Ends>>,
    /// Pipes that are borrowed or kept; `open <= open_max`.
    open: Cell<usize>,
    open_max: usize,
}

#[derive(Debug)]
struct Ends {
    read: OwnedFd,
    write: OwnedFd,
}

impl Default for Pipes {
    fn default() -> Self {
        Self::at_most(OPEN_MAX)
    }
}

impl Pipes {
    /// A pool that has so many pipes open at most.
    pub(crate) fn at_most(open_max: usize) -> Self {
        Self(Rc::new(Pool { kept: RefCell::default(), open: Cell::new(0), open_max }))
    }

    /// Borrows an empty pipe of [`PIPE_BYTES`]; none when the pool has its most, or the kernel has no descriptors or no
    /// pages left for it.
    pub fn borrow(&self) -> Option<Pipe<'_>> {
        let kept = self.0.kept.borrow_mut().pop();
        let ends = kept.or_else(|| self.0.open())?;
        Some(Pipe { ends: Some(ends), held_bytes: 0, pool: &self.0 })
    }

    /// Pipes that wait for reuse, and pipes that are open at all.
    #[cfg(test)]
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.0.kept.borrow().len(), self.0.open.get())
    }
}

impl Pool {
    fn open(&self) -> Option<Ends> {
        if self.open.get() == self.open_max {
            return None;
        }
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        // Beyond `pipe-user-pages-soft` the kernel refuses, and a pipe that small is dearer than a copy.
        fcntl_setpipe_size(&write, PIPE_BYTES).ok()?;
        self.open.set(self.open.get() + 1);
        Some(Ends { read, write })
    }
}

/// A borrowed pipe. It goes back to its pool when it is dropped empty; with bytes in it it is closed, since they would
/// come out in somebody else's flow.
#[derive(Debug)]
pub struct Pipe<'a> {
    /// Taken only by `drop`.
    ends: Option<Ends>,
    held_bytes: usize,
    pool: &'a Pool,
}

impl Pipe<'_> {
    /// Bytes in it.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Takes in what a socket has; how many bytes, 0 at the socket's end and, it may be, at urgent data. The pipe has to be empty.
    ///
    /// # Errors
    /// The socket's. `WouldBlock` means that the socket has nothing: a pipe that has as many pieces as it can hold,
    /// however small, says the same, but this one is empty.
    pub fn fill(&mut self, from: impl AsFd) -> io::Result<usize> {
        debug_assert_eq!(self.held_bytes, 0, "the kernel's answer is ambiguous otherwise");
        self.held_bytes = splice(from, None, &self.ends().write, None, PIPE_BYTES, flags())?;
        Ok(self.held_bytes)
    }

    /// Gives a socket as much as that takes; how many bytes.
    ///
    /// # Errors
    /// The socket's. `WouldBlock` means that the socket is full: the pipe has something.
    pub fn drain(&mut self, to: impl AsFd) -> io::Result<usize> {
        debug_assert_ne!(self.held_bytes, 0, "the kernel's answer is ambiguous otherwise");
        let count = splice(&self.ends().read, None, to, None, self.held_bytes, flags())?;
        self.held_bytes -= count;
        Ok(count)
    }

    fn ends(&self) -> &Ends {
        self.ends.as_ref().expect("only drop takes them")
    }
}

fn flags() -> SpliceFlags {
    SpliceFlags::NONBLOCK | SpliceFlags::MOVE
}

impl Drop for Pipe<'_> {
    fn drop(&mut self) {
        let mut kept = self.pool.kept.borrow_mut();
        if self.held_bytes == 0 && kept.len() < KEPT_MAX {
            kept.extend(self.ends.take());
        } else {
            self.pool.open.set(self.pool.open.get() - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    /// A socket with something to read, and the one that it came from.
    fn with_bytes(bytes: &[u8]) -> (UnixStream, UnixStream) {
        let (near, mut far) = UnixStream::pair().unwrap();
        far.write_all(bytes).unwrap();
        (near, far)
    }

    #[test]
    fn bytes_come_out_as_they_went_in() {
        let (from, _far) = with_bytes(b"through a pipe");
        let (to, mut reader) = UnixStream::pair().unwrap();
        let pipes = Pipes::default();
        let mut pipe = pipes.borrow().unwrap();
        assert_eq!(pipe.fill(&from).unwrap(), 14);
        assert_eq!(pipe.drain(&to).unwrap(), 14);
        let mut got = [0; 14];
        reader.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"through a pipe");
    }

    #[test]
    fn an_empty_pipe_is_reused() {
        let pipes = Pipes::default();
        drop(pipes.borrow().unwrap());
        assert_eq!(pipes.counts(), (1, 1));
        let _pipe = pipes.borrow().unwrap();
        assert_eq!(pipes.counts(), (0, 1));
    }

    #[test]
    fn a_pipe_that_holds_bytes_is_never_reused() {
        let (from, _far) = with_bytes(b"of a flow that died");
        let pipes = Pipes::default();
        let mut pipe = pipes.borrow().unwrap();
        pipe.fill(&from).unwrap();
        drop(pipe);
        assert_eq!(pipes.counts(), (0, 0));
    }

    #[test]
    fn no_more_pipes_are_open_than_a_worker_may_have_and_few_are_kept() {
        let pipes = Pipes::at_most(KEPT_MAX + 4);
        let borrowed: Vec<_> = std::iter::from_fn(|| pipes.borrow()).collect();
        assert_eq!(borrowed.len(), KEPT_MAX + 4);
        drop(borrowed);
        assert_eq!(pipes.counts(), (KEPT_MAX, KEPT_MAX));
    }
}
