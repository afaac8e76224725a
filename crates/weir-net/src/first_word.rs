//! The first word of a flow: what its client has said by the time that it gets a target.

use std::io;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

/// Most bytes of it. Arbitrary: the requests of most protocols are shorter, and a flow that waits for its target holds no more.
const FIRST_WORD_BYTES: usize = 2 * 1024;

/// Takes what the client has said, without waiting for it, behind what `word` has; how much that was.
///
/// # Errors
/// When the client is lost.
pub fn take(client: &mut TcpStream, word: &mut Vec<u8>) -> io::Result<usize> {
    word.reserve(FIRST_WORD_BYTES);
    // By the runtime, which tries at once on a connection that was just accepted, and knows afterwards that there is no more.
    match pin!(client.read_buf(word)).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(taken) => taken,
        Poll::Pending => Ok(0),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn what_a_client_has_said_is_taken_and_nobody_waits_for_more() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut far = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        far.write_all(b"question").await.unwrap();
        let mut client = listener.accept().await.unwrap().0;
        client.readable().await.unwrap();
        let mut word = b"header ".to_vec();
        assert_eq!(take(&mut client, &mut word).unwrap(), 8);
        assert_eq!((take(&mut client, &mut word).unwrap(), word.as_slice()), (0, &b"header question"[..]));
        drop(far);
        client.readable().await.unwrap();
        assert_eq!(take(&mut client, &mut word).unwrap(), 0, "an end is no word, and comes again");
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    }
}
