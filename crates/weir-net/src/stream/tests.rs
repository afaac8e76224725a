//! Streams over loopback.

use std::cell::Cell;
use std::net::{TcpListener, TcpStream};
use std::rc::Rc;

use rustix::net::sockopt::tcp_nodelay;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::spawn_local;

use super::*;

/// Both ends of a connection, of which the far one was accepted.
fn pair() -> (Stream, Stream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let far = listener.accept().unwrap().0;
    for socket in [&near, &far] {
        socket.set_nonblocking(true).unwrap();
    }
    let reactor = Reactor::start().unwrap();
    (Stream::dialled(near, &reactor), Stream::accepted(far, &reactor))
}

#[tokio::test(flavor = "local")]
async fn what_came_with_an_accepted_connection_is_read_before_it_is_watched() {
    let (mut near, mut far) = pair();
    near.write_all(b"question").await.unwrap();
    let mut question = [0; 9];
    assert_eq!(far.read(&mut question).await.unwrap(), 8);
    assert!(!far.registration.has_begun());
    near.write_all(b"?").await.unwrap();
    assert_eq!(far.read(&mut question).await.unwrap(), 1);
    assert!(far.registration.has_begun());
}

#[tokio::test(flavor = "local")]
async fn who_waits_for_room_hears_of_what_comes_too() {
    let (mut near, mut far) = pair();
    let much = vec![7; 16 * 1024 * 1024];
    // Reading waits first, then writing does, in one task; and something comes before there is room.
    let mut begun = 0;
    let mut answer = [0; 6];
    let talk = async {
        let mut is_asked = false;
        poll_fn(|cx| {
            let mut space = ReadBuf::new(&mut answer);
            if Pin::new(&mut near).poll_read(cx, &mut space)?.is_ready() {
                return Poll::Ready(io::Result::Ok(()));
            }
            while let Poll::Ready(count) = Pin::new(&mut near).poll_write(cx, &much)? {
                begun += count;
            }
            if !std::mem::replace(&mut is_asked, true) {
                let sent = Pin::new(&mut far).poll_write(cx, b"answer")?;
                assert!(matches!(sent, Poll::Ready(6)));
            }
            Poll::Pending
        })
        .await
    };
    talk.await.unwrap();
    assert!(begun > 0 && near.registration.is_for_writing());
    assert_eq!(&answer, b"answer");
    // And when there is room it goes on.
    let rest = async { near.write_all(&much).await.unwrap() };
    let read = async {
        let mut got = vec![0; begun + much.len()];
        far.read_exact(&mut got).await.unwrap();
    };
    tokio::join!(rest, read);
}

#[tokio::test(flavor = "local")]
async fn the_kernel_holds_no_write_back_behind_another() {
    let (mut near, mut far) = pair();
    near.write_all(b"head").await.unwrap();
    assert!(!tcp_nodelay(&near).unwrap(), "one write alone is not held back");
    let body = [IoSlice::new(b"bo"), IoSlice::new(b"dy")];
    assert_eq!(near.write_vectored(&body).await.unwrap(), 4);
    assert!(tcp_nodelay(&near).unwrap());
    let mut all = [0; 8];
    far.read_exact(&mut all).await.unwrap();
    assert_eq!(&all, b"headbody");
}

#[tokio::test(flavor = "local")]
async fn a_reset_is_told_to_who_waits_for_a_failure() {
    let (near, mut far) = pair();
    near.set_zero_linger().unwrap();
    drop(near);
    far.failed().await;
    assert_eq!(far.try_read(&mut [0]).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test(flavor = "local")]
async fn what_comes_behind_urgent_data_is_read() {
    let (mut near, mut far) = pair();
    far.readable().await.unwrap();
    assert!(far.try_read(&mut [0]).is_err());
    near.write_all(b"ab").await.unwrap();
    send(&near, b"!", SendFlags::OOB).unwrap();
    near.write_all(b"cd").await.unwrap();
    let (mut room, mut came) = ([0; 9], Vec::new());
    while came.len() < 4 {
        let count = far.read(&mut room).await.unwrap();
        came.extend_from_slice(&room[..count]);
    }
    assert_eq!(came, b"abcd");
}

#[tokio::test(flavor = "local")]
async fn others_have_a_turn_while_a_connection_always_has_something() {
    let (mut near, mut far) = pair();
    let much = vec![7; 16 * 1024];
    near.write_all(&much).await.unwrap();
    // From the second read on it is watched, and nothing makes its reader wait.
    far.read_exact(&mut [0; 2]).await.unwrap();
    far.read_exact(&mut [0]).await.unwrap();
    let (reads, at_turn) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(None)));
    let other = {
        let (reads, at_turn) = (reads.clone(), at_turn.clone());
        spawn_local(async move { at_turn.set(Some(reads.get())) })
    };
    for _ in &much[3..] {
        far.read_exact(&mut [0]).await.unwrap();
        reads.set(reads.get() + 1);
    }
    other.await.unwrap();
    assert!(at_turn.get().unwrap() < 1_000, "after {:?} reads", at_turn.get());
}
