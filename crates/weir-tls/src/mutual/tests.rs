//! Clients with certificates of every kind at listeners of every mode.

use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use weir_core::tls::{MutualAuthentication, TrustStore};

use crate::testing::{self, Authority, Client, Folder, KeyKind, Made, Wish, named, plain, serving};
use crate::{ClientCertificate, ServerSide};

fn listener(folder: &Folder, mutual_authentication: MutualAuthentication) -> ServerSide {
    let pair = testing::self_signed(&["shop.example"], KeyKind::P256).write(folder, "shop");
    serving(&weir_core::tls::Tls { mutual_authentication, ..plain(vec![pair]) })
}

fn store(folder: &Folder, authorities: &str, lists: &[String]) -> TrustStore {
    let lists = lists.iter().enumerate();
    TrustStore {
        authorities: named(&folder.write("authorities.pem", authorities.as_bytes())),
        revocation_lists: lists
            .map(|(at, list)| named(&folder.write(&format!("{at}.crl"), list.as_bytes())))
            .collect(),
        ignore_client_certificate_expiry: false,
        advertise_trust_store_ca_names: false,
    }
}

fn with(certificate: &Made) -> Client {
    Client { certificate: Some(certificate.clone()), ..Client::default() }
}

/// Why a listener that trusts `store` refuses `client`; `None` when it does not.
async fn refusal(folder: &Folder, store: &TrustStore, client: &Client) -> Option<&'static str> {
    let server = listener(folder, MutualAuthentication::Verify(store.clone()));
    client.meet(&server).await.server.err().map(|error| error.reason())
}

// Conformance: A9.19
#[tokio::test(flavor = "local")]
async fn a_verified_client_is_told_of_in_five_headers() {
    let folder = Folder::new();
    let root = Authority::root("rootcamtls.com");
    let client = root.client("client \"one\"", Wish { years: (2023, 2123), ..Wish::default() });
    let server = listener(&folder, MutualAuthentication::Verify(store(&folder, &root.pem, &[])));
    for version in [&TLS12, &TLS13] {
        let handshake = Client { versions: vec![version], ..with(&client) }.greet(&server).await;
        let told = handshake.client_certificate.unwrap();
        let own = client.pem.split_inclusive("-----END CERTIFICATE-----").next().unwrap();
        let leaf = own.replace("\r\n", "\n").replace(' ', "%20").replace('\n', "%0A") + "%0A";
        let expected = [
            ("X-Amzn-Mtls-Clientcert-Serial-Number", "03A5B1"),
            ("X-Amzn-Mtls-Clientcert-Issuer", "CN=rootcamtls.com,O=mTLS,C=US"),
            ("X-Amzn-Mtls-Clientcert-Subject", r#"CN=client \"one\",O=Example\, Inc."#),
            (
                "X-Amzn-Mtls-Clientcert-Validity",
                "NotBefore=2023-01-02T00:00:00Z;NotAfter=2123-03-04T00:00:00Z",
            ),
            ("X-Amzn-Mtls-Clientcert-Leaf", leaf.as_str()),
        ];
        assert_eq!(told.headers(), expected, "{version:?}");
    }
}

// Conformance: A9.18
#[tokio::test(flavor = "local")]
async fn passthrough_passes_on_whatever_is_shown_even_nothing() {
    let folder = Folder::new();
    let server = listener(&folder, MutualAuthentication::Passthrough);
    let stranger = Authority::root("nobody").below("neither");
    let client = stranger.client("expired", Wish { years: (2001, 2002), ..Wish::default() });
    let handshake = with(&client).greet(&server).await;
    let told = handshake.client_certificate.unwrap();
    let encoded = client.pem.replace("\r\n", "\n").replace(' ', "%20").replace('\n', "%0A");
    assert_eq!(told.headers(), [("X-Amzn-Mtls-Clientcert", encoded.as_str())]);
    assert!(matches!(*told, ClientCertificate::Passthrough { .. }));
    assert_eq!(Client::default().greet(&server).await.client_certificate, None);
}

// Conformance: A9.17
#[tokio::test(flavor = "local")]
async fn off_asks_for_nothing() {
    let folder = Folder::new();
    let server = listener(&folder, MutualAuthentication::Off);
    let client = Authority::root("a").client("c", Wish::default());
    assert_eq!(with(&client).greet(&server).await.client_certificate, None);
}

// Conformance: A6.3, A9.20
#[tokio::test(flavor = "local")]
async fn verify_refuses_every_client_that_nobody_vouches_for() {
    let folder = Folder::new();
    let (root, other) = (Authority::root("root"), Authority::root("other"));
    let trusted = store(&folder, &root.pem, &[root.revocation_list(&[66])]);
    let made = |wish: Wish| root.client("client", wish);
    let good = Wish::default();
    for (client, expected) in [
        (with(&made(good)), None),
        (with(&other.client("client", good)), Some("client_certificate_untrusted")),
        (with(&testing::self_signed(&["client"], KeyKind::P256)), Some("client_certificate_untrusted")),
        (with(&made(Wish { years: (2001, 2002), ..good })), Some("client_certificate_expired")),
        (with(&made(Wish { years: (2090, 2099), ..good })), Some("client_certificate_not_yet_valid")),
        (with(&made(Wish { serial: 66, ..good })), Some("client_certificate_revoked")),
        (with(&made(Wish { is_for_servers: true, ..good })), Some("client_certificate_purpose")),
        (Client::default(), Some("client_certificate_missing")),
    ] {
        for version in [&TLS12, &TLS13] {
            let client = Client { versions: vec![version], ..client.clone() };
            assert_eq!(refusal(&folder, &trusted, &client).await, expected, "{version:?}");
        }
    }
}

// Conformance: A9.21
#[tokio::test(flavor = "local")]
async fn keys_of_every_kind_are_taken_from_clients_and_from_those_who_vouch_for_them() {
    let folder = Folder::new();
    for key in [KeyKind::P256, KeyKind::P384, KeyKind::P521, KeyKind::Rsa2048, KeyKind::Rsa4096] {
        let root = Authority::root_with("root", key);
        let client = with(&root.client("client", Wish { key, ..Wish::default() }));
        for version in [&TLS12, &TLS13] {
            let client = Client { versions: vec![version], ..client.clone() };
            let trusted = store(&folder, &root.pem, &[]);
            assert_eq!(refusal(&folder, &trusted, &client).await, None, "{key:?} {version:?}");
        }
    }
}

// Conformance: A9.22
#[tokio::test(flavor = "local")]
async fn four_certificates_lead_to_an_authority_and_five_do_not() {
    let folder = Folder::new();
    let root = Authority::root("root");
    let second = root.below("second");
    let third = second.below("third");
    let fourth = third.below("fourth");
    let trusted = store(&folder, &root.pem, &[]);
    let four = with(&third.client("client", Wish::default()));
    assert_eq!(refusal(&folder, &trusted, &four).await, None);
    let five = with(&fourth.client("client", Wish::default()));
    assert_eq!(refusal(&folder, &trusted, &five).await, Some("client_certificate_too_deep"));
    let nearer = store(&folder, &second.pem, &[]);
    assert_eq!(refusal(&folder, &nearer, &five).await, None, "an authority in between is trusted itself");
}

// Conformance: A9.25
#[tokio::test(flavor = "local")]
async fn an_authority_that_was_revoked_vouches_for_nobody() {
    let folder = Folder::new();
    let root = Authority::root("root");
    let below = root.below("below");
    let serial = crate::certificate::read(&testing::certificates_of(&below.pem)[0]).unwrap().serial_number;
    let serial = serial_bytes(&serial);
    let trusted = store(&folder, &root.pem, &[root.revocation_list_of(&[serial])]);
    let client = with(&below.client("client", Wish::default()));
    assert_eq!(refusal(&folder, &trusted, &client).await, Some("client_certificate_revoked"));
}

fn serial_bytes(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

// Conformance: A9.23
#[tokio::test(flavor = "local")]
async fn a_client_s_own_dates_can_be_ignored_and_nothing_else() {
    let folder = Folder::new();
    let root = Authority::root("root");
    let lists = [root.revocation_list(&[66])];
    let lenient = TrustStore { ignore_client_certificate_expiry: true, ..store(&folder, &root.pem, &lists) };
    for (years, serial, expected) in [
        ((2001, 2002), 1, None),
        ((2090, 2099), 1, None),
        ((2001, 2002), 66, Some("client_certificate_revoked")),
    ] {
        let client = with(&root.client("client", Wish { serial, years, ..Wish::default() }));
        assert_eq!(refusal(&folder, &lenient, &client).await, expected, "{years:?} {serial}");
    }
    let stranger = Authority::root("other").client("client", Wish { years: (2001, 2002), ..Wish::default() });
    assert_eq!(refusal(&folder, &lenient, &with(&stranger)).await, Some("client_certificate_untrusted"));
}

// Conformance: A9.23
#[tokio::test(flavor = "local")]
async fn authorities_are_named_to_clients_only_when_asked_for() {
    let folder = Folder::new();
    let root = Authority::root("root of names");
    for is_advertised in [true, false] {
        let store =
            TrustStore { advertise_trust_store_ca_names: is_advertised, ..store(&folder, &root.pem, &[]) };
        let server = listener(&folder, MutualAuthentication::Verify(store));
        // TLS 1.2 sends the names in the clear, before the client says anything secret.
        let client = Client { versions: vec![&TLS12], ..Client::default() };
        let name = rustls::pki_types::ServerName::try_from("shop.example").unwrap();
        let mut connection = rustls::ClientConnection::new(client.config(), name).unwrap();
        let mut hello = Vec::new();
        connection.write_tls(&mut hello).unwrap();
        let (mut near, far) = testing::connected().await;
        near.write_all(&hello).await.unwrap();
        let accepting = server.accept(far);
        let hearing = async {
            let mut heard = vec![0; 8192];
            let length = near.read(&mut heard).await.unwrap();
            heard.truncate(length);
            heard
        };
        let heard = tokio::select! {
            heard = hearing => heard,
            ended = accepting => panic!("{ended:?}"),
        };
        let is_named = heard.windows(13).any(|window| window == b"root of names");
        assert_eq!(is_named, is_advertised);
    }
}

// Conformance: A9.24
#[tokio::test(flavor = "local")]
async fn sessions_of_clients_with_certificates_are_not_resumed() {
    let folder = Folder::new();
    let root = Authority::root("root");
    let client = root.client("client", Wish::default());
    for mutual in
        [MutualAuthentication::Passthrough, MutualAuthentication::Verify(store(&folder, &root.pem, &[]))]
    {
        let server = listener(&folder, mutual);
        for version in [&TLS12, &TLS13] {
            let config = Client { versions: vec![version], ..with(&client) }.config();
            for _ in 0..2 {
                let meeting = testing::meet(config.clone(), "shop.example", &server).await;
                let ((mut far, handshake), mut near) = (meeting.server.unwrap(), meeting.client.unwrap());
                far.write_all(b"!").await.unwrap();
                near.read_exact(&mut [0]).await.unwrap();
                assert!(!handshake.is_resumed, "{version:?}");
                assert!(handshake.client_certificate.is_some(), "{version:?}");
            }
        }
    }
}
