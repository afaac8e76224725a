//! The client's side of an exchange: its socket, what has come and not been read, and the body under way.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use super::super::buffer::{Buffer, poll_fill};
use super::super::phase::{ConnectionState, Phase};
use super::body::{BodyError, Decoder, Piece};
use weir_tls::Socket;

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// A client's connection, shared by what reads its requests, what reads a request's body, and what writes responses.
#[derive(Debug)]
pub(crate) struct ClientSide {
    pub(super) socket: RefCell<Socket>,
    /// What has come and has not been read; none while nothing has.
    pub(super) input: RefCell<Option<Buffer>>,
    /// What is to come of the body of the request under way.
    pub(super) body: RefCell<Decoder>,
    /// Bytes of `100 Continue` that the client is still to get before it sends its body.
    owed: Cell<usize>,
    /// Whether the client has ended its side. It may still want the answer to what it asked.
    has_ended: Cell<bool>,
    pub(super) state: Rc<ConnectionState>,
}

impl ClientSide {
    pub(super) fn new(socket: Socket, state: Rc<ConnectionState>) -> Self {
        Self {
            socket: RefCell::new(socket),
            input: RefCell::default(),
            body: RefCell::new(Decoder::NONE),
            owed: Cell::new(0),
            has_ended: Cell::new(false),
            state,
        }
    }

    /// The socket, and what has come and has not been read.
    pub(super) fn into_parts(self) -> (Socket, Option<Buffer>) {
        (self.socket.into_inner(), self.input.into_inner())
    }

    /// A request's head has been read: what follows is its body.
    pub(super) fn begin_body(&self, body: Decoder, expects_continue: bool) {
        self.owed.set(if expects_continue && !body.is_done() { CONTINUE.len() } else { 0 });
        *self.body.borrow_mut() = body;
    }

    /// Whether the client waits to be told that it may send its body.
    pub(super) fn owes_continue(&self) -> bool {
        self.owed.get() > 0
    }

    /// Gives the next bytes of the request's body to `take`. The first call tells a client to send it that waits for
    /// that.
    ///
    /// # Errors
    /// [`BodyError`].
    pub(crate) fn poll_body(
        &self,
        cx: &mut Context<'_>,
        take: &mut dyn FnMut(&[u8]) -> usize,
    ) -> Poll<Result<Piece, BodyError>> {
        let mut body = self.body.borrow_mut();
        if body.is_done() {
            return Poll::Ready(Ok(Piece::End));
        }
        let (mut input, mut socket) = (self.input.borrow_mut(), self.socket.borrow_mut());
        while self.owed.get() > 0 && input.is_none() {
            let rest = &CONTINUE[CONTINUE.len() - self.owed.get()..];
            match ready!(Pin::new(&mut *socket).poll_write(cx, rest)) {
                Ok(count) => self.owed.set(self.owed.get() - count),
                Err(_) => return Poll::Ready(Err(BodyError::Failed)),
            }
        }
        // A client that sends its body unasked is not told any more.
        self.owed.set(0);
        body.poll_piece(&mut input, Pin::new(&mut *socket), cx, &mut |bytes| {
            let taken = take(bytes);
            self.state.received_body(taken);
            taken
        })
    }

    /// Whether all of the request's body has been given, and no trailers are left to be.
    pub(crate) fn body_has_ended(&self) -> bool {
        let body = self.body.borrow();
        body.is_done() && body.trailers().is_empty()
    }

    /// Gives the trailers of the request's body that may be passed on to `then`, once it has ended.
    pub(crate) fn with_trailers(&self, then: impl FnOnce(&[u8])) {
        then(self.body.borrow().trailers());
    }

    /// Reads what comes while a request is answered, for the next one; completes when the client has gone away.
    ///
    /// An end of the client's side is not that: it may have said all it had to say, and wait for the answer. But a
    /// place among those that are held is for clients that may still ask.
    pub(super) fn poll_gone(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut input = self.input.borrow_mut();
        if input.is_none() && !self.has_ended.get() && self.body.borrow().is_done() {
            match poll_fill(&mut input, Pin::new(&mut *self.socket.borrow_mut()), cx) {
                Poll::Ready(Ok(0)) => self.has_ended.set(true),
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(_)) | Poll::Pending => {}
            }
        }
        let is_over = self.has_ended.get() && self.state.phase() == Phase::Held;
        if is_over { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Reads more of a head: how many bytes came, 0 at the end.
    pub(super) fn poll_read(
        &self,
        input: &mut Option<Buffer>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if self.has_ended.get() {
            return Poll::Ready(Ok(0));
        }
        let count = ready!(poll_fill(input, Pin::new(&mut *self.socket.borrow_mut()), cx))?;
        if count > 0 {
            self.state.received();
        }
        Poll::Ready(Ok(count))
    }

    /// Writes until nothing is left.
    pub(super) fn poll_write(&self, output: &mut Buffer, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let before = output.len();
        let written = output.poll_write(Pin::new(&mut *self.socket.borrow_mut()), cx);
        if output.len() < before {
            self.state.sent();
        }
        written
    }

    /// Hands what was encrypted to the kernel.
    pub(super) fn poll_flush(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.socket.borrow_mut()).poll_flush(cx)
    }

    /// Hands what was encrypted to the kernel, and says that nothing more will come.
    pub(super) fn poll_shutdown(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.socket.borrow_mut()).poll_shutdown(cx)
    }
}
