//! Relays over loopback, copying and splicing.

use std::io;

use rustix::net::SendFlags;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::reactor::Reactor;

mod last;

const LONG: Duration = Duration::from_secs(60);

/// Enough that a direction is spliced.
const BULK_BYTES: usize = 24 * 1024 * 1024;

async fn pair() -> (TcpStream, Stream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let far = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let near = listener.accept().await.unwrap().0;
    (far, Stream::accepted(near.into_std().unwrap(), &Reactor::start().unwrap()))
}

/// A relay with a far end on each side.
async fn start(
    pipes: &Pipes,
    idle_timeout: Duration,
) -> (TcpStream, TcpStream, impl Future<Output = RelaySummary> + use<>) {
    let ((client_far, client), (target_far, target)) = (pair().await, pair().await);
    let pipes = pipes.clone();
    let relay = async move {
        let (buffers, idle) = (Buffers::default(), IdleWatch::default());
        let relay = Relay { client, target, buffers: &buffers, pipes: &pipes, idle: &idle, idle_timeout };
        tokio::select! {
            summary = relay.run(std::future::pending()) => summary,
            () = idle.look() => unreachable!("it goes on"),
        }
    };
    (client_far, target_far, relay)
}

/// Bytes that look alike nowhere.
fn noise(seed: u64, count: usize) -> Vec<u8> {
    let mut state = seed;
    let mut bytes = Vec::with_capacity(count + 8);
    while bytes.len() < count {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_ne_bytes());
    }
    bytes.truncate(count);
    bytes
}

/// Sends everything, and ends.
async fn send(mut to: OwnedWriteHalf, bytes: &[u8]) {
    to.write_all(bytes).await.unwrap();
    to.shutdown().await.unwrap();
}

/// Everything until the end is just `bytes`.
async fn expect(mut from: OwnedReadHalf, bytes: &[u8]) {
    let mut got = Vec::with_capacity(bytes.len());
    from.read_to_end(&mut got).await.unwrap();
    assert!(got == bytes, "{} bytes came, of {}, or others", got.len(), bytes.len());
}

/// Sends noise until the far end is lost.
async fn flood(to: &mut TcpStream) {
    let bytes = noise(9, 1024 * 1024);
    while to.write_all(&bytes).await.is_ok() {}
}

/// Passes `bytes` both ways at once.
async fn exchange(
    client: TcpStream,
    target: TcpStream,
    relay: impl Future<Output = RelaySummary>,
    bytes: usize,
) {
    let (question, answer) = (noise(1, bytes), noise(2, bytes));
    let ((client_read, client_write), (target_read, target_write)) =
        (client.into_split(), target.into_split());
    let (summary, (), (), (), ()) = tokio::join!(
        relay,
        send(client_write, &question),
        send(target_write, &answer),
        expect(client_read, &answer),
        expect(target_read, &question)
    );
    let bytes = bytes as u64;
    let expected = RelaySummary { from_client_bytes: bytes, from_target_bytes: bytes, end: RelayEnd::Closed };
    assert_eq!(summary, expected);
}

#[tokio::test(flavor = "local")]
async fn a_half_close_passes_while_the_other_direction_goes_on() {
    let (mut client, mut target, relay) = start(&Pipes::default(), LONG).await;
    let talk = async {
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        let mut question = String::new();
        target.read_to_string(&mut question).await.unwrap();
        target.write_all(b"long answer").await.unwrap();
        drop(target);
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        (question, answer)
    };
    let (summary, (question, answer)) = tokio::join!(relay, talk);
    assert_eq!((question.as_str(), answer.as_str()), ("question", "long answer"));
    let expected = RelaySummary { from_client_bytes: 8, from_target_bytes: 11, end: RelayEnd::Closed };
    assert_eq!(summary, expected);
}

#[tokio::test(flavor = "local")]
async fn bulk_behind_urgent_data_passes_whole() {
    let bytes = noise(3, BULK_BYTES);
    for urgent_at in [BULK_BYTES / 2, BULK_BYTES - 9] {
        let (mut client, target, relay) = start(&Pipes::default(), LONG).await;
        let talk = async {
            client.write_all(&bytes[..urgent_at]).await.unwrap();
            let urgent = || Ok(rustix::net::send(&client, b"!", SendFlags::OOB)?);
            client.async_io(Interest::WRITABLE, urgent).await.unwrap();
            client.write_all(&bytes[urgent_at..]).await.unwrap();
            client.shutdown().await.unwrap();
            assert_eq!(client.read_to_end(&mut Vec::new()).await.unwrap(), 0);
        };
        let listen = async {
            let (read, mut write) = target.into_split();
            expect(read, &bytes).await;
            write.shutdown().await.unwrap();
        };
        let (summary, (), ()) = tokio::join!(relay, talk, listen);
        assert_eq!((summary.from_client_bytes, summary.end), (BULK_BYTES as u64, RelayEnd::Closed));
    }
}

#[tokio::test(flavor = "local")]
async fn bulk_is_spliced_and_passes_unchanged_in_both_directions_at_once() {
    let pipes = Pipes::default();
    let (client, target, relay) = start(&pipes, LONG).await;
    exchange(client, target, relay, BULK_BYTES).await;
    let (kept, open) = pipes.counts();
    assert!(open > 0, "pipes were borrowed");
    assert_eq!(kept, open, "and given back");
}

#[tokio::test(flavor = "local")]
async fn little_is_copied_and_needs_no_pipe() {
    let pipes = Pipes::default();
    let (client, target, relay) = start(&pipes, LONG).await;
    exchange(client, target, relay, 10_000).await;
    assert_eq!(pipes.counts(), (0, 0));
}

#[tokio::test(flavor = "local")]
async fn bulk_is_copied_where_there_are_no_pipes() {
    let (client, target, relay) = start(&Pipes::at_most(0), LONG).await;
    exchange(client, target, relay, BULK_BYTES).await;
}

#[tokio::test(flavor = "local")]
async fn more_flows_than_pipes_are_all_relayed() {
    let pipes = Pipes::at_most(3);
    let flows = tokio::task::LocalSet::new();
    for _ in 0..8 {
        let pipes = pipes.clone();
        flows.spawn_local(async move {
            let (client, target, relay) = start(&pipes, LONG).await;
            exchange(client, target, relay, BULK_BYTES / 8).await;
        });
    }
    flows.await;
    let (kept, open) = pipes.counts();
    assert!(kept == open && (1..=3).contains(&open), "{kept} of {open} pipes were given back");
}

/// A pipe has room for so many pieces, however small. Once it is full of pieces it says just what it says when the socket
/// is empty; who takes the one for the other waits for bytes that have come already.
#[tokio::test(flavor = "local")]
async fn fragments_that_fill_a_pipe_s_slots_before_its_bytes_all_pass() {
    const FRAGMENT_BYTES: usize = 100;
    let bytes = noise(3, 500 * FRAGMENT_BYTES);
    let (client, mut target, relay) = start(&Pipes::default(), LONG).await;
    let (elsewhere, _far) = pair().await;
    for socket in [&client, &elsewhere] {
        socket.set_nodelay(true).unwrap();
    }
    let talk = async move {
        let mut client = client;
        let mut bulk = noise(4, 1024 * 1024);
        client.write_all(&bulk).await.unwrap();
        target.read_exact(&mut bulk).await.unwrap();
        // The relay finds that nothing is left, and waits.
        for _ in 0..16 {
            tokio::task::yield_now().await;
        }
        // All without a pause, so that all have come before the relay has its turn. What one thread sends lies together
        // in memory, and would become one piece; so it sends elsewhere in between.
        for fragment in bytes.chunks(FRAGMENT_BYTES) {
            assert_eq!(client.try_write(fragment).unwrap(), FRAGMENT_BYTES);
            assert_eq!(elsewhere.try_write(fragment).unwrap(), FRAGMENT_BYTES);
        }
        let mut got = vec![0; bytes.len()];
        let read = target.read_exact(&mut got);
        tokio::time::timeout(LONG, read).await.expect("nothing is stuck").unwrap();
        assert!(got == bytes);
    };
    tokio::join!(relay, talk);
}

#[tokio::test(flavor = "local")]
async fn an_end_in_either_direction_passes_while_the_other_is_spliced() {
    for is_client_first in [true, false] {
        let pipes = Pipes::default();
        let (client, target, relay) = start(&pipes, LONG).await;
        let (quiet, loud) = if is_client_first { (client, target) } else { (target, client) };
        let ((quiet_read, quiet_write), (mut loud_read, mut loud_write)) =
            (quiet.into_split(), loud.into_split());
        let bytes = noise(4, BULK_BYTES);
        let (before, after) = bytes.split_at(BULK_BYTES / 2);
        let talk = async {
            loud_write.write_all(before).await.unwrap();
            send(quiet_write, b"that is all").await;
            let mut words = String::new();
            loud_read.read_to_string(&mut words).await.unwrap();
            assert_eq!(words, "that is all");
            send(loud_write, after).await;
        };
        let (summary, (), ()) = tokio::join!(relay, talk, expect(quiet_read, &bytes));
        assert_eq!(summary.end, RelayEnd::Closed);
        assert_ne!(pipes.counts(), (0, 0), "it was spliced");
    }
}

#[tokio::test(flavor = "local")]
async fn a_reset_passes_as_a_reset() {
    let (client, mut target, relay) = start(&Pipes::default(), LONG).await;
    client.set_zero_linger().unwrap();
    drop(client);
    let summary = relay.await;
    assert_eq!(summary.end, RelayEnd::ClientFailed);
    let error = target.read(&mut [0; 8]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
}

#[tokio::test(flavor = "local")]
async fn a_reset_by_who_is_spliced_to_passes_as_a_reset() {
    let pipes = Pipes::default();
    let (mut client, mut target, relay) = start(&pipes, LONG).await;
    let lose = async move {
        client.read_exact(&mut vec![0; BULK_BYTES]).await.unwrap();
        client.set_zero_linger().unwrap();
    };
    // The flood ends when it hits the reset.
    let (summary, (), ()) = tokio::join!(relay, lose, flood(&mut target));
    assert_eq!(summary.end, RelayEnd::ClientFailed);
    assert!(summary.from_target_bytes >= BULK_BYTES as u64);
    let (kept, open) = pipes.counts();
    assert_eq!(kept, open, "the dead flow's pipe is closed or empty");
}

#[tokio::test(flavor = "local")]
async fn a_reset_by_who_is_spliced_from_passes_as_a_reset() {
    let (mut client, mut target, relay) = start(&Pipes::default(), LONG).await;
    let lose = async {
        let mut some = vec![0; BULK_BYTES];
        tokio::select! {
            () = flood(&mut target) => {},
            read = client.read_exact(&mut some) => drop(read.unwrap()),
        }
        target.set_zero_linger().unwrap();
        drop(target);
        let error = client.read_to_end(&mut some).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    };
    let (summary, ()) = tokio::join!(relay, lose);
    assert_eq!(summary.end, RelayEnd::TargetFailed);
}

// Conformance: B4.1
#[tokio::test(flavor = "local", start_paused = true)]
async fn a_silent_flow_ends_after_its_idle_timeout() {
    let (_client, _target, relay) = start(&Pipes::default(), Duration::from_secs(350)).await;
    let began = tokio::time::Instant::now();
    assert_eq!(relay.await.end, RelayEnd::Idle);
    let silent = began.elapsed();
    // A look comes at most a second late.
    assert!((350_000..=351_100).contains(&silent.as_millis()), "{silent:?}");
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_peer_that_reads_nothing_is_idle_however_much_waits_for_it() {
    let pipes = Pipes::default();
    let (client, mut target, relay) = start(&pipes, LONG).await;
    let (summary, ()) = tokio::join!(relay, flood(&mut target));
    assert_eq!(summary.end, RelayEnd::Idle);
    assert!(summary.from_target_bytes > 64 * 1024, "it was spliced");
    assert_eq!(pipes.counts(), (0, 0), "a pipe with a dead flow's bytes is closed");
    drop(client);
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_peer_that_reads_slowly_is_not_idle() {
    let (mut client, mut target, relay) = start(&Pipes::default(), LONG).await;
    let read = async move {
        let mut got = vec![0; 1024 * 1024];
        for _ in 0..32 {
            tokio::time::sleep(LONG / 8).await;
            client.read_exact(&mut got).await.unwrap();
        }
        client.set_zero_linger().unwrap();
    };
    let (summary, (), ()) = tokio::join!(relay, read, flood(&mut target));
    assert_eq!(summary.end, RelayEnd::ClientFailed, "not idle");
}

#[tokio::test(flavor = "local")]
async fn a_bulky_flow_lets_others_have_their_turn() {
    let pipes = Pipes::default();
    let ((client_far, client), (target_far, target)) = (pair().await, pair().await);
    let bytes = noise(5, BULK_BYTES);
    let expected = bytes.clone();
    // Ends in threads of their own, so that the relay always finds something to do.
    let ends = std::thread::spawn(move || {
        use std::io::{Read, Write};
        let [mut from, mut to] = [target_far, client_far].map(|end| {
            let end = end.into_std().unwrap();
            end.set_nonblocking(false).unwrap();
            end
        });
        let reader = std::thread::spawn(move || {
            let mut got = Vec::new();
            to.read_to_end(&mut got).unwrap();
            assert!(got == expected);
        });
        from.write_all(&bytes).unwrap();
        drop(from);
        reader.join().unwrap();
    });
    let buffers = Buffers::default();
    let mut direction = Direction::new(&buffers, &pipes, RelayEnd::TargetFailed, RelayEnd::ClientFailed);
    let (mut client, mut target) = (client, target);
    let mut most = 0;
    poll_fn(|cx| {
        let before = direction.passed_bytes();
        let outcome = direction.poll(&mut target, &mut client, false, cx);
        most = most.max(direction.passed_bytes() - before);
        if outcome.is_ready() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    ends.join().unwrap();
    // A turn, and what was filled before it was over.
    assert!(most <= 2 * 1024 * 1024, "{most} bytes at a turn");
}

#[tokio::test(flavor = "local")]
async fn a_flow_that_waits_is_small() {
    let (_client, _target, relay) = start(&Pipes::default(), LONG).await;
    let bytes = size_of_val(&relay);
    assert!(bytes <= 1500, "{bytes} bytes of a relay, with its harness");
}
