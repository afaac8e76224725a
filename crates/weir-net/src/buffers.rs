//! A pool of large buffers, borrowed only while bytes are in them.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};
use std::rc::Rc;

/// Size of a relay buffer. Small ones cost four times the CPU per byte on bulk transfers.
pub const BUFFER_BYTES: usize = 256 * 1024;

/// Buffers that one worker keeps for reuse: 4 MiB at most.
const KEPT_MAX: usize = 16;

/// One worker's buffers.
#[derive(Clone, Debug, Default)]
pub struct Buffers(Rc<RefCell<Vec<Box<[u8]>>>>);

impl Buffers {
    /// Borrows a buffer of [`BUFFER_BYTES`]; what is in it is left over from others and must be overwritten.
    pub fn borrow(&self) -> Buffer<'_> {
        let bytes = self.0.borrow_mut().pop();
        Buffer { bytes: bytes.unwrap_or_else(|| vec![0; BUFFER_BYTES].into_boxed_slice()), pool: self }
    }
}

/// A borrowed buffer; goes back to its pool when dropped.
#[derive(Debug)]
pub struct Buffer<'a> {
    bytes: Box<[u8]>,
    pool: &'a Buffers,
}

impl Deref for Buffer<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl DerefMut for Buffer<'_> {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

impl Drop for Buffer<'_> {
    fn drop(&mut self) {
        let mut kept = self.pool.0.borrow_mut();
        if kept.len() < KEPT_MAX {
            kept.push(std::mem::take(&mut self.bytes));
        }
    }
}
