//! The channel between a weir and the one that is to take its place.
//!
//! The old one gives its listening sockets; the new one says that it is ready, or why it cannot be; the old one tells it to
//! serve. So it is the old one that decides: until it has said so, the new one accepts nothing and may be ended unharmed.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use tokio::io::Interest;
use tokio::net::UnixStream;

/// Descriptors in one message; the kernel takes 253.
const DESCRIPTORS_MAX: usize = 64;

/// Bytes of the longest message: a refused configuration with every mistake. What is longer is cut.
const MESSAGE_BYTES_MAX: usize = 16 * 1024;

/// Some of the sockets.
const SOCKETS: u8 = b's';
/// There are no more sockets; what else is handed over follows.
const ALL: u8 = b'a';
/// The new weir can serve.
const READY: u8 = b'r';
/// The new weir cannot serve; why follows.
const FAILED: u8 = b'f';
/// The new weir shall serve.
const SERVE: u8 = b'v';

/// The end of the weir that is replaced.
#[derive(Debug)]
pub struct Predecessor(Channel);

/// The end of the weir that takes its place.
#[derive(Debug)]
pub struct Successor(Channel);

/// Messages both ways. The kernel keeps each whole, unlike what is usual for the type, which only waits here.
#[derive(Debug)]
struct Channel(UnixStream);

/// A message.
struct Message {
    kind: Option<u8>,
    content: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

impl Predecessor {
    /// A channel: the old weir's end, and a descriptor for the new one to begin with. Must be called on a runtime.
    ///
    /// # Errors
    /// When there is no descriptor left.
    pub fn new() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self(Channel::new(ours)?), theirs))
    }

    /// Hands sockets over, and a few `words` that nobody else may know. The sockets stay open here.
    ///
    /// # Errors
    /// When the new weir has ended.
    pub async fn give(&self, sockets: &[OwnedFd], words: &[u8]) -> io::Result<()> {
        for some in sockets.chunks(DESCRIPTORS_MAX) {
            let some: Vec<BorrowedFd<'_>> = some.iter().map(AsFd::as_fd).collect();
            self.0.send(SOCKETS, b"", &some).await?;
        }
        self.0.send(ALL, words, &[]).await
    }

    /// Waits until the new weir is ready; otherwise why it is not, or `None` when it has ended without a word.
    ///
    /// # Errors
    /// Why it cannot serve.
    pub async fn readiness(&self) -> Result<(), Option<String>> {
        let message = self.0.receive().await.map_err(|_| None)?;
        match message.kind {
            Some(READY) => Ok(()),
            Some(FAILED) => Err(Some(String::from_utf8_lossy(&message.content).into_owned())),
            _ => Err(None),
        }
    }

    /// Tells the new weir to serve.
    ///
    /// # Errors
    /// When it has ended.
    pub async fn let_serve(&self) -> io::Result<()> {
        self.0.send(SERVE, b"", &[]).await
    }
}

impl Successor {
    /// The new weir's end, from its descriptor. Must be called on a runtime.
    ///
    /// # Errors
    /// The kernel's.
    pub fn new(descriptor: OwnedFd) -> io::Result<Self> {
        Ok(Self(Channel::new(descriptor)?))
    }

    /// Receives every socket that is handed over, and the words with them.
    ///
    /// # Errors
    /// When the old weir has ended, or there are not enough descriptors left.
    pub async fn take(&self) -> io::Result<(Vec<OwnedFd>, Vec<u8>)> {
        let mut sockets = Vec::new();
        loop {
            let message = self.0.receive().await?;
            sockets.extend(message.descriptors);
            match message.kind {
                Some(SOCKETS) => {}
                Some(ALL) => return Ok((sockets, message.content)),
                _ => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
    }

    /// Says that this weir can serve, and waits until it shall.
    ///
    /// # Errors
    /// When it shall not: the old weir has ended.
    pub async fn ready(&self) -> io::Result<()> {
        self.0.send(READY, b"", &[]).await?;
        match self.0.receive().await?.kind {
            Some(SERVE) => Ok(()),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Says why this weir cannot serve.
    pub async fn fail(&self, why: &str) {
        // An old weir that has gone need not know.
        let _ = self.0.send(FAILED, why.as_bytes(), &[]).await;
    }
}

impl Channel {
    fn new(descriptor: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&descriptor, true)?;
        Ok(Self(UnixStream::from_std(descriptor.into())?))
    }

    async fn send(&self, kind: u8, content: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        let content = &content[..content.len().min(MESSAGE_BYTES_MAX - 1)];
        let send = || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
            let mut rights = SendAncillaryBuffer::new(&mut space);
            if !descriptors.is_empty() {
                rights.push(SendAncillaryMessage::ScmRights(descriptors));
            }
            let parts = [IoSlice::new(std::slice::from_ref(&kind)), IoSlice::new(content)];
            Ok(sendmsg(&self.0, &parts, &mut rights, SendFlags::NOSIGNAL)?)
        };
        self.0.async_io(Interest::WRITABLE, send).await.map(drop)
    }

    /// The next message; one of no kind when the other end has been closed.
    async fn receive(&self) -> io::Result<Message> {
        let mut bytes = vec![0; MESSAGE_BYTES_MAX];
        let receive = || {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
            let mut rights = RecvAncillaryBuffer::new(&mut space);
            let mut parts = [IoSliceMut::new(&mut bytes)];
            let received = recvmsg(&self.0, &mut parts, &mut rights, RecvFlags::CMSG_CLOEXEC)?;
            if received.flags.contains(ReturnFlags::CTRUNC) {
                return Err(io::Error::other("not all descriptors could be received: too many are open"));
            }
            let rights = rights.drain().filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
                _ => None,
            });
            Ok((received.bytes, rights.flatten().collect()))
        };
        let (length, descriptors) = self.0.async_io(Interest::READABLE, receive).await?;
        let received = &bytes[..length];
        let content = received.get(1..).unwrap_or_default().to_owned();
        Ok(Message { kind: received.first().copied(), content, descriptors })
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    fn channel() -> (Predecessor, Successor) {
        let (old, descriptor) = Predecessor::new().unwrap();
        (old, Successor::new(descriptor).unwrap())
    }

    #[tokio::test]
    async fn sockets_arrive_in_any_number_with_what_waits_in_them() {
        let (old, new) = channel();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let sockets: Vec<OwnedFd> = (0..150).map(|_| listener.try_clone().unwrap().into()).collect();
        let (given, received) = tokio::join!(old.give(&sockets, b"hush"), new.take());
        given.unwrap();
        drop((listener, sockets));
        let (received, words) = received.unwrap();
        assert_eq!((received.len(), &words[..]), (150, &b"hush"[..]));
        let listener = TcpListener::from(received.into_iter().next_back().unwrap());
        assert_eq!(listener.accept().unwrap().1, client.local_addr().unwrap());
    }

    #[tokio::test]
    async fn the_new_one_serves_when_it_is_ready_and_the_old_one_says_so() {
        let (old, new) = channel();
        let decide = async {
            old.readiness().await.unwrap();
            old.let_serve().await.unwrap();
        };
        let ((), served) = tokio::join!(decide, new.ready());
        served.unwrap();
    }

    #[tokio::test]
    async fn the_old_one_hears_why_the_new_one_cannot_serve_and_that_it_has_ended() {
        let (old, new) = channel();
        new.fail("the port is taken").await;
        assert_eq!(old.readiness().await, Err(Some("the port is taken".to_owned())));
        drop(new);
        assert_eq!(old.readiness().await, Err(None));
    }

    #[tokio::test]
    async fn the_new_one_does_not_serve_when_the_old_one_has_ended() {
        let (old, new) = channel();
        drop(old);
        assert!(new.take().await.is_err());
        assert!(new.ready().await.is_err());
    }
}
