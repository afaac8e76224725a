//! How much a client may ask for that comes to nothing, before its connection is ended.
//!
//! A frame that means nothing costs its sender a few bytes and weir an answer or a look; a stream that is opened and reset
//! costs weir a request. Neither is wrong by itself, and libraries send some for good reasons: pings to measure, resets of
//! what nobody wants any more. So each connection has an allowance, which whatever is of use fills up again: bytes that are
//! sent to the client, and time.
//!
//! Source: CVE-2023-44487 (streams that are reset), CVE-2019-9512 and -9515 (pings and settings), CVE-2019-9513 (priorities),
//! CVE-2019-9518 (frames without content).

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use weir_tls::Socket;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What an allowance is when it is full, in frames.
const FULL: u32 = 400;

/// What a request costs that its client resets before it is answered: so many may be under way in vain as streams are
/// allowed at a time, not many more.
const RESET_COST: u32 = 3;

/// Bytes sent that earn one frame: more than an answer to a ping has, so that pings alone do not pay for themselves.
const BYTES_EARNING: usize = 32;

/// The allowance of one connection.
#[derive(Debug)]
pub(super) struct Patience(Cell<u32>);

impl Patience {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self(Cell::new(FULL)))
    }

    /// Whether nothing is left of it.
    pub(super) fn is_over(&self) -> bool {
        self.0.get() == 0
    }

    /// Time has passed: a client that does a little of this now and then does no harm.
    pub(super) fn restore(&self) {
        if !self.is_over() {
            self.0.set(FULL);
        }
    }

    /// A client has reset a stream that was not answered yet.
    pub(super) fn was_reset(&self) {
        self.spend(RESET_COST);
    }

    fn spend(&self, cost: u32) {
        self.0.set(self.0.get().saturating_sub(cost));
    }

    fn earn(&self, bytes: usize) {
        if !self.is_over() {
            self.0.set((self.0.get() + (bytes / BYTES_EARNING) as u32).min(FULL));
        }
    }
}

/// A client's socket, with a look at the frames that come.
#[derive(Debug)]
pub(super) struct Watched {
    socket: Socket,
    patience: Rc<Patience>,
    frames: Frames,
}

impl Watched {
    pub(super) fn new(socket: Socket, patience: Rc<Patience>) -> Self {
        Self { socket, patience, frames: Frames::behind_preface() }
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.patience.is_over() {
            // Nothing more is read. Whoever drives the connection sees that, and ends it.
            return Poll::Pending;
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(cx, buf))?;
        let vain = self.frames.count_vain(&buf.filled()[before..]);
        self.patience.spend(vain);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let count = ready!(Pin::new(&mut self.socket).poll_write(cx, buf))?;
        self.patience.earn(count);
        Poll::Ready(Ok(count))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// Bytes of a frame's head. Source: RFC 9113 section 4.1.
const HEAD_BYTES: usize = 9;

/// Where the frames of a connection begin, however their bytes come.
#[derive(Debug)]
struct Frames {
    /// Bytes that belong to what came before.
    skipped: usize,
    head: [u8; HEAD_BYTES],
    head_bytes: usize,
}

impl Frames {
    fn behind_preface() -> Self {
        const PREFACE_BYTES: usize = 24;
        Self { skipped: PREFACE_BYTES, head: [0; HEAD_BYTES], head_bytes: 0 }
    }

    /// How many frames begin in `bytes` that mean nothing.
    fn count_vain(&mut self, mut bytes: &[u8]) -> u32 {
        let mut vain = 0;
        loop {
            let skipped = self.skipped.min(bytes.len());
            self.skipped -= skipped;
            bytes = &bytes[skipped..];
            let taken = (HEAD_BYTES - self.head_bytes).min(bytes.len());
            if self.skipped > 0 || taken == 0 {
                return vain;
            }
            self.head[self.head_bytes..self.head_bytes + taken].copy_from_slice(&bytes[..taken]);
            self.head_bytes += taken;
            bytes = &bytes[taken..];
            if self.head_bytes == HEAD_BYTES {
                let [high, middle, low, kind, flags, ..] = self.head;
                let length = u32::from_be_bytes([0, high, middle, low]);
                vain += u32::from(is_vain(kind, flags, length));
                (self.skipped, self.head_bytes) = (length as usize, 0);
            }
        }
    }
}

/// Whether a frame means nothing for any request by itself. `WINDOW_UPDATE` is paid for by the bytes that it lets through.
fn is_vain(kind: u8, flags: u8, length: u32) -> bool {
    const DATA: u8 = 0;
    const PRIORITY: u8 = 2;
    const SETTINGS: u8 = 4;
    const PING: u8 = 6;
    const WINDOW_UPDATE: u8 = 8;
    const CONTINUATION: u8 = 9;
    const END_STREAM: u8 = 1;
    const END_HEADERS: u8 = 4;
    match kind {
        DATA => length == 0 && flags & END_STREAM == 0,
        CONTINUATION => length == 0 && flags & END_HEADERS == 0,
        PRIORITY | SETTINGS | PING | WINDOW_UPDATE => true,
        kind => kind > CONTINUATION,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        [&[0, 0, payload.len() as u8, kind, flags, 0, 0, 0, 1], payload].concat()
    }

    #[test]
    fn frames_are_found_however_their_bytes_come() {
        let bytes = [
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            frame(4, 0, b""),
            frame(1, 4, b"head"),
            frame(0, 0, b"data"),
            frame(0, 0, b""),
            frame(6, 0, b"12345678"),
            frame(8, 0, b"1234"),
            frame(0, 1, b""),
            frame(0xbe, 0, b"grease"),
        ]
        .concat();
        assert_eq!(Frames::behind_preface().count_vain(&bytes), 5);
        for size in 1..40 {
            let mut frames = Frames::behind_preface();
            let vain: u32 = bytes.chunks(size).map(|piece| frames.count_vain(piece)).sum();
            assert_eq!(vain, 5, "in pieces of {size}");
        }
    }

    #[test]
    fn patience_ends_for_good_and_pings_do_not_pay_for_themselves() {
        const ANSWER_BYTES: usize = 17;
        let patience = Patience::new();
        for _ in 0..2 * FULL {
            patience.spend(1);
            patience.earn(ANSWER_BYTES);
        }
        assert!(patience.is_over());
        patience.restore();
        patience.earn(1_000_000);
        assert!(patience.is_over());
    }

    #[test]
    fn what_is_of_use_pays_for_what_is_not() {
        let patience = Patience::new();
        for _ in 0..2 * FULL {
            patience.was_reset();
            patience.earn(100);
        }
        assert!(!patience.is_over());
    }
}
