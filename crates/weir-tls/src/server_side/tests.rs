//! Handshakes of real clients with a listener.

use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weir_core::ssl_policy::TlsVersion;
use weir_core::tls::Tls;

use super::*;
use crate::Alpn;
use crate::testing::{self, Client, Folder, KeyKind, connected, loaded, meet, plain, serving};

fn shop(folder: &Folder) -> ServerSide {
    serving(&plain(vec![testing::self_signed(&["shop.example"], KeyKind::P256).write(folder, "shop")]))
}

// Conformance: A6.6
#[tokio::test(flavor = "local")]
async fn a_handshake_says_what_was_settled_and_bytes_go_both_ways() {
    let server = shop(&Folder::new());
    let client = Client { alpn: vec![b"h2", b"http/1.1"], ..Client::default() };
    let meeting = client.meet(&server).await;
    let ((mut far, handshake), mut near) = (meeting.server.unwrap(), meeting.client.unwrap());
    assert_eq!(handshake.version.as_str(), "TLSv1.3");
    assert_eq!(handshake.suite, "TLS_AES_128_GCM_SHA256", "the listener's order decides");
    assert_eq!(handshake.key_exchange, Some("X25519MLKEM768"));
    assert_eq!(handshake.alpn, Some(Alpn::Http2));
    assert_eq!(handshake.server_name.as_deref(), Some("shop.example"));
    assert!(!handshake.is_resumed && handshake.client_certificate.is_none());
    near.write_all(b"question").await.unwrap();
    let mut read = [0; 8];
    far.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"question");
    far.write_all(b"answered").await.unwrap();
    near.read_exact(&mut read).await.unwrap();
    assert_eq!(&read, b"answered");
}

// Conformance: A6.43, A9.5
#[tokio::test(flavor = "local")]
async fn suites_of_tls_1_2_have_openssl_s_names_and_the_listener_s_order() {
    let server = shop(&Folder::new());
    let handshake = Client { versions: vec![&TLS12], ..Client::default() }.greet(&server).await;
    assert_eq!(handshake.version, TlsVersion::V1_2);
    assert_eq!(handshake.suite, "ECDHE-ECDSA-AES128-GCM-SHA256");
    assert_eq!(handshake.alpn, None, "it asked for none");
}

// Conformance: A1.16, A9.1
#[tokio::test(flavor = "local")]
async fn a_client_is_shown_the_certificate_for_its_name_or_the_default() {
    let folder = Folder::new();
    let pair =
        |name: &str| testing::self_signed(&[name], KeyKind::P256).write(&folder, &name.replace('*', "any"));
    let server = serving(&plain(vec![pair("default.test"), pair("*.example"), pair("shop.example")]));
    for (name, chosen) in [
        ("shop.example", "shop.example"),
        ("blog.example", "*.example"),
        ("a.blog.example", "default.test"),
        ("127.0.0.1", "default.test"),
    ] {
        let meeting = Client { name, ..Client::default() }.meet(&server).await;
        let shown = meeting.client.unwrap().get_ref().1.peer_certificates().unwrap()[0].clone();
        assert_eq!(crate::certificate::read(&shown).unwrap().names, [chosen], "{name}");
        assert_eq!(meeting.server.unwrap().1.certificate.names, [chosen], "{name}");
    }
}

// Conformance: A9.2
#[tokio::test(flavor = "local")]
async fn clients_that_can_are_shown_ecdsa_and_others_rsa() {
    let folder = Folder::new();
    let rsa = testing::self_signed(&["shop.example"], KeyKind::Rsa2048).write(&folder, "rsa");
    let ecdsa = testing::self_signed(&["shop.example"], KeyKind::P256).write(&folder, "ecdsa");
    let server = serving(&plain(vec![rsa.clone(), ecdsa.clone()]));
    let modern = Client::default().greet(&server).await;
    assert_eq!(modern.certificate.file, ecdsa.certificate.path);
    for version in [&TLS12, &TLS13] {
        let schemes = vec![SignatureScheme::RSA_PSS_SHA256];
        let old = Client { schemes, versions: vec![version], ..Client::default() }.greet(&server).await;
        assert_eq!(old.certificate.file, rsa.certificate.path, "{version:?}");
    }
}

// Conformance: A9.6, A9.7
#[tokio::test(flavor = "local")]
async fn a_policy_decides_versions_and_groups() {
    let folder = Folder::new();
    let pair = testing::self_signed(&["shop.example"], KeyKind::P256).write(&folder, "shop");
    let with = |name| serving(&Tls { policy: SslPolicy::named(name).unwrap(), ..plain(vec![pair.clone()]) });
    let old = Client { versions: vec![&TLS12], ..Client::default() };
    let refused = old.meet(&with("TLS13-1-3-2021-06")).await.server.unwrap_err();
    assert_eq!(refused.reason(), "no_shared_version");
    let new = Client { versions: vec![&TLS13], ..Client::default() };
    assert_eq!(new.meet(&with("2016-08")).await.server.unwrap_err().reason(), "no_shared_version");
    let classical = new.greet(&with("TLS13-1-2-2021-06")).await;
    assert_eq!(classical.key_exchange, Some("X25519"));
    let cnsa = new.greet(&with("TLS13-1-3-RFC9151-FIPS-2023-07")).await;
    assert_eq!((cnsa.suite, cnsa.key_exchange), ("TLS_AES_256_GCM_SHA384", Some("secp384r1")));
}

// Conformance: B9.10
#[tokio::test(flavor = "local")]
async fn what_a_client_would_like_to_speak_is_told_in_256_bytes_at_most() {
    let server = shop(&Folder::new());
    let client = Client { alpn: vec![b"h2"; 60], ..Client::default() };
    let (_, handshake) = client.meet(&server).await.server.unwrap();
    let told = handshake.alpn_preferences.unwrap();
    assert!(told.len() == 256 && told.starts_with("\"h2\",\"h2\","), "{told}");
}

#[tokio::test(flavor = "local")]
async fn a_client_without_a_common_protocol_or_signature_is_refused() {
    let server = shop(&Folder::new());
    let client = Client { alpn: vec![b"spdy/3"], ..Client::default() };
    assert_eq!(client.meet(&server).await.server.unwrap_err().reason(), "no_shared_protocol");
    let client = Client { schemes: vec![SignatureScheme::RSA_PSS_SHA256], ..Client::default() };
    assert_eq!(client.meet(&server).await.server.unwrap_err().reason(), "no_shared_suite");
}

/// Meets `first`, then `second` with what was learnt; whether the session was resumed.
async fn is_resumed(client: &Client, first: &ServerSide, second: &ServerSide) -> bool {
    let config = client.config();
    learn(config.clone(), client.name, first).await;
    meet(config, client.name, second).await.server.unwrap().1.is_resumed
}

/// Meets a listener and hears from it: tickets of TLS 1.3 come after the handshake, with the first bytes.
async fn learn(config: Arc<ClientConfig>, name: &'static str, server: &ServerSide) {
    let meeting = meet(config, name, server).await;
    let ((mut far, _), mut near) = (meeting.server.unwrap(), meeting.client.unwrap());
    far.write_all(b"!").await.unwrap();
    near.read_exact(&mut [0]).await.unwrap();
}

// Conformance: A6.27
#[tokio::test(flavor = "local")]
async fn a_client_that_comes_back_may_not_ask_before_the_handshake_is_over() {
    let (server, client) = (shop(&Folder::new()), Client::default());
    let mut config = Arc::unwrap_or_clone(client.config());
    config.enable_early_data = true;
    let config = Arc::new(config);
    learn(config.clone(), client.name, &server).await;
    let again = meet(config.clone(), client.name, &server).await.server.unwrap().1;
    assert!(again.is_resumed, "there was a ticket, which is used once");
    learn(config.clone(), client.name, &server).await;
    let name = rustls::pki_types::ServerName::try_from(client.name).unwrap();
    let mut connection = rustls::ClientConnection::new(config, name).unwrap();
    assert!(connection.early_data().is_none(), "the ticket allows none");
}

// Conformance: A6.26
#[tokio::test(flavor = "local")]
async fn sessions_are_resumed_wherever_the_secret_is_the_same() {
    let folder = Folder::new();
    let pair = testing::self_signed(&["shop.example"], KeyKind::P256).write(&folder, "shop");
    let tickets = |secret: &[u8]| {
        let file = testing::named(&folder.write("tickets", secret));
        crate::load_tickets(&file, &mut crate::Files::new()).unwrap()
    };
    let weir = |secret: &[u8]| ServerSide::new(loaded(&plain(vec![pair.clone()]), &tickets(secret)));
    let (old, new) =
        ("an old secret that nobody guesses, really\n", "a new secret that nobody guesses, either\n");
    for version in [&TLS12, &TLS13] {
        let client = Client { versions: vec![version], ..Client::default() };
        let first = weir(old.as_bytes());
        assert!(is_resumed(&client, &first, &first).await, "{version:?}: at another worker");
        assert!(is_resumed(&client, &first, &weir(old.as_bytes())).await, "{version:?}: at another weir");
        let after = weir(format!("{new}{old}").as_bytes());
        assert!(is_resumed(&client, &first, &after).await, "{version:?}: after a change of the secret");
        assert!(!is_resumed(&client, &first, &weir(new.as_bytes())).await, "{version:?}: without the secret");
    }
}

#[tokio::test(flavor = "local", start_paused = true)]
async fn a_client_that_is_silent_in_either_phase_is_given_up_after_the_deadline() {
    let server = shop(&Folder::new());
    let begun = tokio::time::Instant::now();
    let (_silent, far) = connected().await;
    assert_eq!(server.accept(far).await.unwrap_err().reason(), "deadline");
    assert_eq!(begun.elapsed().as_secs(), HANDSHAKE_DEADLINE.as_secs());
    let (near, far) = connected().await;
    let hello = hello();
    let (begun, mut near) = (tokio::time::Instant::now(), near);
    near.write_all(&hello).await.unwrap();
    assert_eq!(server.accept(far).await.unwrap_err().reason(), "deadline");
    assert_eq!(begun.elapsed().as_secs(), HANDSHAKE_DEADLINE.as_secs());
}

/// Bytes before what a record holds.
const RECORD_HEAD_BYTES: usize = 5;

/// The first message of a client.
fn hello() -> Vec<u8> {
    let name = rustls::pki_types::ServerName::try_from("shop.example").unwrap();
    let mut client = rustls::ClientConnection::new(Client::default().config(), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

#[tokio::test(flavor = "local")]
async fn a_first_message_is_read_in_whatever_records_it_comes() {
    let server = shop(&Folder::new());
    let (mut near, far) = connected().await;
    let crumbs: Vec<u8> =
        hello()[RECORD_HEAD_BYTES..].iter().flat_map(|byte| [0x16, 3, 1, 0, 1, *byte]).collect();
    let asking = async {
        near.write_all(&crumbs).await.unwrap();
        let mut kind = [0];
        near.read_exact(&mut kind).await.unwrap();
        kind[0]
    };
    tokio::select! {
        kind = asking => assert_eq!(kind, 0x16, "a handshake record, and no alert"),
        ended = server.accept(far) => panic!("{ended:?}"),
    }
}

#[tokio::test(flavor = "local")]
async fn a_first_message_beyond_the_bound_is_refused() {
    let server = shop(&Folder::new());
    let (mut near, far) = connected().await;
    // A client's first message of 64 KB, as far as its head says.
    let mut begun = vec![0x16, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff];
    begun.resize(5 + 0x4000, 0);
    let more: Vec<u8> = [&[0x16, 3, 1, 0x40, 0][..], &[0; 0x4000]].concat();
    let flooding = async {
        // It may be refused before all is written.
        let _ = near.write_all(&begun).await;
        let _ = near.write_all(&more).await;
        near
    };
    let (_near, refused) = tokio::join!(flooding, server.accept(far));
    assert_eq!(refused.unwrap_err().reason(), "hello_too_large");
}

#[tokio::test(flavor = "local")]
async fn plain_http_is_answered_with_an_alert_and_an_early_end_is_one() {
    let server = shop(&Folder::new());
    let (mut near, far) = connected().await;
    near.write_all(b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n").await.unwrap();
    assert_eq!(server.accept(far).await.unwrap_err().reason(), "not_tls");
    let mut answer = Vec::new();
    let _ = near.read_to_end(&mut answer).await;
    assert_eq!(answer.first(), Some(&0x15), "an alert");
    let (near, far) = connected().await;
    drop(near);
    assert_eq!(server.accept(far).await.unwrap_err().reason(), "closed");
}

#[tokio::test(flavor = "local")]
async fn certificates_change_under_clients_without_one_failed_handshake() {
    const HANDSHAKES: usize = 60;
    let folder = Folder::new();
    let made = [1, 2].map(|_| testing::self_signed(&["shop.example"], KeyKind::P256));
    let tls = |at: usize| plain(vec![made[at % 2].write(&folder, &format!("shop{at}"))]);
    let server = serving(&tls(0));
    let mut seen = std::collections::BTreeSet::new();
    for at in 0..HANDSHAKES {
        let (near, far) = connected().await;
        let connector = tokio_rustls::TlsConnector::from(Client::default().config());
        let name = rustls::pki_types::ServerName::try_from("shop.example").unwrap();
        let swapping = async { server.swap(loaded(&tls(at), &Tickets::random())) };
        let (accepted, met, ()) = tokio::join!(server.accept(far), connector.connect(name, near), swapping);
        accepted.unwrap();
        seen.insert(met.unwrap().get_ref().1.peer_certificates().unwrap()[0].to_vec());
    }
    assert_eq!(seen.len(), 2, "both were shown");
}
