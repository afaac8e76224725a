//! The first word of a flow: what its client has said by the time that it gets a target.

use std::io;

use rustix::buffer::spare_capacity;
use rustix::net::{RecvFlags, recv};

use crate::stream::Stream;

/// Most bytes of it. Arbitrary: the requests of most protocols are shorter, and a flow that waits for its target holds no more.
const FIRST_WORD_BYTES: usize = 2 * 1024;

/// Takes what the client has said, without waiting for it, behind what `word` has; how much that was.
///
/// # Errors
/// When the client is lost.
pub fn take(client: &mut Stream, word: &mut Vec<u8>) -> io::Result<usize> {
    word.reserve(FIRST_WORD_BYTES);
    match client.try_reading(|client| Ok(recv(client, spare_capacity(word), RecvFlags::empty())?.1)) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(0),
        taken => taken,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::reactor::Reactor;

    #[tokio::test(flavor = "local")]
    async fn what_a_client_has_said_is_taken_and_nobody_waits_for_more() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut far = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        far.write_all(b"question").await.unwrap();
        let client = listener.accept().await.unwrap().0.into_std().unwrap();
        let mut client = Stream::accepted(client, &Reactor::start().unwrap());
        let mut word = b"header ".to_vec();
        assert_eq!(take(&mut client, &mut word).unwrap(), 8);
        assert_eq!((take(&mut client, &mut word).unwrap(), word.as_slice()), (0, &b"header question"[..]));
        drop(far);
        client.readable().await.unwrap();
        assert_eq!(take(&mut client, &mut word).unwrap(), 0, "an end is no word, and comes again");
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
    }
}
