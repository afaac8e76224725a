//! The first word of a flow, and an end without a farewell.

use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustix::net::sockopt;
use tokio::io::ReadBuf;
use weir_core::address::TargetAddr;

use super::*;
use crate::dial::dial;

#[tokio::test]
async fn a_target_is_acknowledged_at_once_though_weir_had_the_first_word() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = TargetAddr(listener.local_addr().unwrap());
    let (mut client_far, client) = pair().await;
    client_far.write_all(b"question").await.unwrap();
    client.readable().await.unwrap();
    let first_word = FirstWord::for_client(&client);
    assert_eq!(first_word, FirstWord::Ours);
    let target = dial(addr, first_word).await.unwrap();
    let kernel = target.as_fd().try_clone_to_owned().unwrap();
    let (buffers, pipes, clock) = (Buffers::default(), Pipes::default(), Clock::start());
    let (buffers, pipes) = (&buffers, &pipes);
    let relay = Relay { client, target, first_word, buffers, pipes, clock, idle_timeout: LONG };
    let talk = async {
        let (mut target_far, _) = listener.accept().await.unwrap();
        target_far.read_exact(&mut [0; 8]).await.unwrap();
        // The relay has had its turn once it passes an answer on.
        target_far.write_all(b"answer").await.unwrap();
        client_far.read_exact(&mut [0; 6]).await.unwrap();
        let is_quick = sockopt::tcp_quickack(&kernel).unwrap();
        drop((target_far, client_far, kernel));
        is_quick
    };
    let (_, is_quick) = tokio::join!(relay.run(std::future::pending()), talk);
    assert!(is_quick);
}

/// A connection whose end is that of TLS without a farewell.
struct Abrupt(TcpStream);

struct AbruptRead<R>(R);

impl<R: AsyncRead + Unpin> AsyncRead for AbruptRead<R> {
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

impl RelaySide for Abrupt {
    fn halves(&mut self) -> (impl AsyncRead + Unpin, impl AsyncWrite + Unpin) {
        let (read, write) = self.0.split();
        (AbruptRead(read), write)
    }

    fn reset_at_end(&mut self) {
        self.0.reset_at_end();
    }
}

#[tokio::test]
async fn what_was_sent_before_tls_ended_without_a_farewell_arrives_whole() {
    let ((client_far, client), (mut target_far, target)) = (pair().await, pair().await);
    let (buffers, pipes, clock) = (Buffers::default(), Pipes::default(), Clock::start());
    let (buffers, pipes, first_word) = (&buffers, &pipes, FirstWord::Anybodys);
    let target = Abrupt(target);
    let relay = Relay { client, target, first_word, buffers, pipes, clock, idle_timeout: LONG };
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
}
