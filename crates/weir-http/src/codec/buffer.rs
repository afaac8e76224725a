//! Buffers, borrowed from a pool of the worker only while bytes are in them: an idle connection owns none.

use std::cell::RefCell;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Size of a buffer. Source: nginx, HAProxy: 16 KiB; a connection whose peer does not read holds two of them.
pub(crate) const BUFFER_BYTES: usize = 16 * 1024;

/// Buffers that one worker keeps for reuse: 4 MiB at most.
const KEPT_MAX: usize = 256;

thread_local! {
    /// The worker's pool. A worker is a thread.
    static POOL: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Bytes that have come and are still to go.
#[derive(Debug)]
pub(crate) struct Buffer {
    /// Initialised to its whole length; what is outside `start..end` is left over from others.
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// An empty buffer of [`BUFFER_BYTES`].
    pub(crate) fn borrow() -> Self {
        let kept = POOL.with_borrow_mut(Vec::pop);
        Self { bytes: kept.unwrap_or_else(|| vec![0; BUFFER_BYTES]), start: 0, end: 0 }
    }

    /// The bytes in it.
    pub(crate) fn data(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// The bytes in it, to be rewritten in place.
    pub(crate) fn data_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.end]
    }

    pub(crate) fn len(&self) -> usize {
        self.end - self.start
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Whether nothing more fits without growing.
    pub(crate) fn is_full(&self) -> bool {
        self.len() == self.bytes.len()
    }

    /// How many more bytes fit without growing.
    pub(crate) fn room(&self) -> usize {
        self.bytes.len() - self.len()
    }

    /// Takes away the first `count` bytes.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start += count;
        debug_assert!(self.start <= self.end);
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        }
    }

    /// Makes it larger, when it is full, up to `limit` bytes; whether there is room now.
    pub(crate) fn make_room(&mut self, limit: usize) -> bool {
        if self.is_full() && self.bytes.len() < limit {
            self.compact();
            let larger = (self.bytes.len() * 2).min(limit);
            self.bytes.resize(larger, 0);
        }
        !self.is_full()
    }

    /// Appends bytes, growing as needed.
    pub(crate) fn append(&mut self, bytes: &[u8]) {
        self.append_all([bytes]);
    }

    /// Appends several pieces, growing as needed.
    #[inline]
    pub(crate) fn append_all<const N: usize>(&mut self, pieces: [&[u8]; N]) {
        let length = pieces.iter().map(|piece| piece.len()).sum();
        if self.bytes.len() - self.end < length {
            self.reserve(length);
        }
        let mut rest = &mut self.bytes[self.end..self.end + length];
        for piece in pieces {
            let (here, after) = rest.split_at_mut(piece.len());
            here.copy_from_slice(piece);
            rest = after;
        }
        self.end += length;
    }

    /// Makes room behind the bytes that are in it.
    #[cold]
    fn reserve(&mut self, length: usize) {
        self.compact();
        let needed = self.end + length;
        if needed > self.bytes.len() {
            self.bytes.resize(needed.next_power_of_two(), 0);
        }
    }

    /// Reads once from `socket`: how many bytes came, 0 at its end. There must be room.
    pub(crate) fn poll_read(
        &mut self,
        socket: Pin<&mut impl AsyncRead>,
        cx: &mut Context<'_>,
    ) -> Poll<std::io::Result<usize>> {
        debug_assert!(!self.is_full());
        if self.end == self.bytes.len() {
            self.compact();
        }
        let mut space = ReadBuf::new(&mut self.bytes[self.end..]);
        ready!(socket.poll_read(cx, &mut space))?;
        let count = space.filled().len();
        self.end += count;
        Poll::Ready(Ok(count))
    }

    /// Writes to `socket` until nothing is left.
    pub(crate) fn poll_write(
        &mut self,
        mut socket: Pin<&mut impl AsyncWrite>,
        cx: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        while !self.is_empty() {
            match ready!(socket.as_mut().poll_write(cx, self.data()))? {
                0 => return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into())),
                count => self.consume(count),
            }
        }
        Poll::Ready(Ok(()))
    }

    fn compact(&mut self) {
        self.bytes.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        // One that has grown for a large head goes back to the allocator.
        if self.bytes.len() == BUFFER_BYTES {
            let bytes = std::mem::take(&mut self.bytes);
            // A thread that ends has no pool any more.
            let _ = POOL.try_with(|pool| {
                let mut pool = pool.borrow_mut();
                if pool.len() < KEPT_MAX {
                    pool.push(bytes);
                }
            });
        }
    }
}

/// Reads into a buffer that is borrowed for it: when nothing comes and nothing is in it, it goes back at once.
///
/// Gives how many bytes came, 0 at the socket's end.
pub(crate) fn poll_fill(
    slot: &mut Option<Buffer>,
    socket: Pin<&mut impl AsyncRead>,
    cx: &mut Context<'_>,
) -> Poll<std::io::Result<usize>> {
    let buffer = slot.get_or_insert_with(Buffer::borrow);
    let came = buffer.poll_read(socket, cx);
    if buffer.is_empty() {
        *slot = None;
    }
    came
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_grows_up_to_its_limit_and_keeps_what_is_in_it() {
        let mut buffer = Buffer::borrow();
        buffer.append(&[b'x'; BUFFER_BYTES]);
        buffer.consume(1);
        assert!(buffer.make_room(2 * BUFFER_BYTES));
        buffer.append(b"y");
        assert!(!buffer.make_room(BUFFER_BYTES));
        assert!(buffer.make_room(2 * BUFFER_BYTES));
        buffer.append(b"z");
        assert_eq!(&buffer.data()[BUFFER_BYTES - 2..], b"xyz");
    }
}
