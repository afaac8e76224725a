//! An end without a farewell.

use std::cell::Cell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::ReadBuf;

use super::*;

/// A connection whose end is that of TLS without a farewell; and whether it was ended like that itself.
struct Abrupt(Stream, Rc<Cell<bool>>);

impl AsyncRead for Abrupt {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        match Pin::new(&mut self.0).poll_read(cx, buf) {
            Poll::Ready(Ok(())) if buf.filled().len() == before => {
                Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()))
            }
            other => other,
        }
    }
}

impl AsyncWrite for Abrupt {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl RelaySide for Abrupt {
    fn poll_end(&mut self, is_cut_short: bool, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.1.set(is_cut_short);
        Pin::new(&mut self.0).poll_shutdown(cx)
    }

    fn reset_at_end(&mut self) {
        self.0.reset_at_end();
    }
}

#[tokio::test(flavor = "local")]
async fn what_was_sent_before_tls_ended_without_a_farewell_arrives_whole() {
    let ((client_far, client), (mut target_far, target)) = (pair().await, pair().await);
    let (buffers, pipes, idle) = (&Buffers::default(), &Pipes::default(), &IdleWatch::default());
    let (target, client_was_cut) = (Abrupt(target, Rc::default()), Rc::new(Cell::new(false)));
    let client = Abrupt(client, client_was_cut.clone());
    let relay = Relay { client, target, buffers, pipes, idle, idle_timeout: LONG };
    let answer = noise(3, 2 * 1024 * 1024);
    let talk = async {
        target_far.write_all(&answer).await.unwrap();
        drop(target_far);
        // Most of it waits in buffers of the kernel's, where a reset would throw it away.
        let (read, write) = client_far.into_split();
        expect(read, &answer).await;
        drop(write);
    };
    let (summary, ()) = tokio::join!(relay.run(std::future::pending()), talk);
    assert_eq!((summary.end, summary.from_target_bytes), (RelayEnd::Closed, answer.len() as u64));
    assert!(client_was_cut.get(), "whoever can tell does not take it for the whole");
}
