//! Handshakes with targets, as strange as they come.

use super::*;
use crate::ServerSide;
use crate::testing::{self, Folder, KeyKind, connected, plain, serving};

/// Meets a target; what is said of it, and what protocol was agreed on.
async fn meet(
    side: &TargetSide,
    target: &ServerSide,
    name: Option<&str>,
    alpn: &[Alpn],
) -> (crate::Handshake, Option<Alpn>) {
    let (near, far) = connected().await;
    let (accepted, met) = tokio::join!(target.accept(far), side.connect(near, name, alpn));
    // A ticket is taken from what follows the handshake.
    let (mut far, handshake) = accepted.unwrap();
    let (mut near, agreed) = met.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut far, b"!").await.unwrap();
    tokio::io::AsyncReadExt::read_exact(&mut near, &mut [0]).await.unwrap();
    (handshake, agreed)
}

// Conformance: A1.18, A9.16
#[tokio::test(flavor = "local")]
async fn anyone_is_taken_for_a_target_and_agrees_on_a_protocol() {
    let folder = Folder::new();
    let target = serving(&plain(vec![
        testing::self_signed(&["someone.else"], KeyKind::P384).write(&folder, "a"),
        testing::self_signed(&["api.internal"], KeyKind::Rsa2048).write(&folder, "b"),
    ]));
    let side = TargetSide::new();
    let (handshake, agreed) = meet(&side, &target, None, &[Alpn::Http2]).await;
    assert_eq!((handshake.server_name.as_deref(), agreed), (None, Some(Alpn::Http2)));
    let (handshake, agreed) = meet(&side, &target, Some("api.internal"), &[Alpn::Http1]).await;
    assert_eq!(handshake.server_name.as_deref(), Some("api.internal"));
    assert_eq!(agreed, Some(Alpn::Http1));
    let (handshake, agreed) = meet(&side, &target, Some("not a host"), &[]).await;
    assert_eq!((handshake.server_name.as_deref(), agreed, handshake.alpn), (None, None, None));
}

#[tokio::test(flavor = "local")]
async fn sessions_with_a_target_are_resumed() {
    let folder = Folder::new();
    let target = serving(&plain(vec![testing::self_signed(&["a"], KeyKind::P256).write(&folder, "a")]));
    let side = TargetSide::new();
    assert!(!meet(&side, &target, None, &[Alpn::Http1]).await.0.is_resumed);
    assert!(meet(&side, &target, None, &[Alpn::Http1]).await.0.is_resumed);
    let other = serving(&plain(vec![testing::self_signed(&["a"], KeyKind::P256).write(&folder, "b")]));
    assert!(!meet(&side, &other, None, &[Alpn::Http1]).await.0.is_resumed, "and with another one begun anew");
}

#[tokio::test(flavor = "local")]
async fn a_target_that_breaks_off_or_speaks_plainly_is_told_apart() {
    let side = TargetSide::new();
    let (near, far) = connected().await;
    drop(far);
    assert_eq!(side.connect(near, None, &[]).await.unwrap_err().reason(), "closed");
    let (near, mut far) = connected().await;
    tokio::io::AsyncWriteExt::write_all(&mut far, b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    assert_eq!(side.connect(near, None, &[]).await.unwrap_err().reason(), "not_tls");
}

// Conformance: A7.28
#[tokio::test(flavor = "local", start_paused = true)]
async fn a_target_that_is_silent_is_given_up_after_the_deadline() {
    let (near, _far) = connected().await;
    let begun = tokio::time::Instant::now();
    let refused = TargetSide::new().connect(near, None, &[]).await.unwrap_err();
    assert_eq!(refused.reason(), "deadline");
    assert_eq!(begun.elapsed(), HANDSHAKE_DEADLINE);
}
