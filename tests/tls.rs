//! Listeners that speak TLS: their files, and who is shown what.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use weir_tests::example::Example;
use weir_tests::tls::{Pair, TlsClient, dialled};
use weir_tests::{Binary, Client, Folder, Weir, free_port, run, wait_until};

/// A listener with these keys, and nothing behind it.
fn listener(keys: &str) -> String {
    format!(
        "load_balancers:\n  - {{ name: edge, type: application, listeners: [{{ bind: \"127.0.0.1:0\", protocol: https, \
         {keys}, default_action: {{ fixed_response: {{ status_code: 200 }} }} }}] }}\n"
    )
}

const SHOP: &str = "certificates: { certificate: shop.pem, key: shop.key }";

#[test]
fn certificates_are_replaced_under_clients_without_one_failed_handshake() {
    const ROTATIONS: usize = 8;
    let folder = Folder::new();
    let mut pairs = vec![Pair::new(&["shop.example"])];
    pairs[0].write(&folder, "shop");
    let weir = Weir::start_in(folder, &listener(SHOP), |_| {});
    let addr = weir.listener(0);
    let is_over = AtomicBool::new(false);
    let shaken = std::thread::scope(|scope| {
        let clients = [0, 1].map(|_| {
            scope.spawn(|| {
                let mut shown = Vec::new();
                while !is_over.load(Relaxed) {
                    shown.push(TlsClient::default().shake_hands(addr, "shop.example"));
                }
                shown
            })
        });
        for _ in 0..ROTATIONS {
            let pair = Pair::new(&["shop.example"]);
            pair.write(&weir.folder, "shop");
            wait_until("the new certificate is shown", || {
                let shaken = TlsClient::default().shake_hands(addr, "shop.example");
                shaken.is_ok_and(|shaken| shaken.shown == pair.der)
            });
            pairs.push(pair);
        }
        is_over.store(true, Relaxed);
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect::<Vec<_>>()
    });
    assert!(shaken.len() > ROTATIONS, "{} handshakes", shaken.len());
    for shaken in shaken {
        let shown = shaken.unwrap().shown;
        assert!(pairs.iter().any(|pair| pair.der == shown), "a certificate that nobody wrote");
    }
    assert!((weir.metric("weir_tls_handshake_errors_total") - 0.0).abs() < 0.1);
}

#[test]
fn a_reload_with_a_bad_pair_is_refused_with_its_file_and_line() {
    let folder = Folder::new();
    let shop = Pair::new(&["shop.example"]);
    shop.write(&folder, "shop");
    Pair::new(&["blog.example"]).write(&folder, "blog");
    let weir = Weir::start_in(folder, &listener(SHOP), |_| {});
    for (keys, expected) in [
        ("certificates: { certificate: shop.pem, key: blog.key }", "blog.key: is not the key of"),
        ("certificates: { certificate: shop.pem, key: gone.key }", "gone.key: cannot be read"),
        ("certificates: { certificate: shop.key, key: shop.key }", "shop.key: has no certificate"),
        ("certificates: { certificate: shop.pem, key: shop.pem }", "shop.pem: has no private key"),
        (
            "certificates: { certificate: shop.pem, key: shop.key }, mutual_authentication: { mode: verify, trust_store: shop.key }",
            "shop.key: has no certificate of an authority",
        ),
    ] {
        let refused = weir.reload(&listener(keys)).unwrap_err();
        assert!(refused.contains(expected) && refused.contains("line 4 of the configuration"), "{refused}");
    }
    let shaken = TlsClient::default().shake_hands(weir.listener(0), "shop.example").unwrap();
    assert_eq!(shaken.shown, shop.der, "the last good one serves on");
}

#[test]
fn the_check_reads_the_files_that_a_configuration_names() {
    let folder = Folder::new();
    Pair::new(&["shop.example"]).write(&folder, "shop");
    let check = |yaml: &str| {
        let path = folder.write("weir.yaml", yaml);
        let output = Binary::run(&["check", "-c", path.to_str().unwrap()]);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(check(&listener(SHOP)), (Some(0), String::new()));
    let mistaken = format!(
        "secrets: {{ tls_tickets: shop.short }}\n{}",
        listener(&SHOP.replace("shop.key", "gone.key"))
    );
    folder.write("shop.short", "short");
    let (status, told) = check(&mistaken);
    assert_eq!(status, Some(1));
    assert!(
        told.contains("gone.key: cannot be read") && told.contains("shop.short: has a secret of fewer"),
        "{told}"
    );
}

#[test]
fn a_reload_brings_names_and_takes_them_away() {
    let folder = Folder::new();
    let (shop, blog) = (Pair::new(&["shop.example"]), Pair::new(&["*.blog.example"]));
    shop.write(&folder, "shop");
    blog.write(&folder, "blog");
    let port = free_port();
    let listener = |keys: &str| listener(keys).replace("127.0.0.1:0", &format!("127.0.0.1:{port}"));
    let weir = Weir::start_in(folder, &listener(SHOP), |_| {});
    let shown = || TlsClient::default().shake_hands(weir.listener(0), "my.blog.example").unwrap().shown;
    assert_eq!(shown(), shop.der, "the default");
    let both =
        "certificates: [{ certificate: shop.pem, key: shop.key }, { certificate: blog.pem, key: blog.key }]";
    let reloaded = weir.reload(&listener(both)).unwrap();
    assert_eq!(shown(), blog.der);
    assert_eq!((reloaded.opened.len(), reloaded.closed.len()), (0, 0), "the listener stays as it is");
    weir.reload(&listener(SHOP)).unwrap();
    assert_eq!(shown(), shop.der);
}

// Conformance: A6.26
#[test]
fn sessions_go_on_at_another_weir_and_after_a_restart() {
    let pair = Pair::new(&["shop.example"]);
    let start = |secret: &str| {
        let folder = Folder::new();
        pair.write(&folder, "shop");
        folder.write("tickets.key", secret);
        let yaml = format!("secrets: {{ tls_tickets: tickets.key }}\n{}", listener(SHOP));
        Weir::start_in(folder, &yaml, |_| {})
    };
    let (secret, other) =
        ("a secret that nobody guesses for a while\n", "another secret, as long as the first one\n");
    let client = TlsClient::default();
    let is_resumed = |weir: &Weir| client.shake_hands(weir.listener(0), "shop.example").unwrap().is_resumed;
    let first = start(secret);
    assert!(!is_resumed(&first));
    assert!(is_resumed(&first));
    drop(first);
    let second = start(secret);
    assert!(is_resumed(&second));
    let stranger = start(other);
    assert!(!is_resumed(&stranger));
}

// Conformance: A11.5
#[test]
fn what_is_not_tls_is_counted() {
    let folder = Folder::new();
    Pair::new(&["shop.example"]).write(&folder, "shop");
    let weir = Weir::start_in(folder, &listener(SHOP), |_| {});
    let mut client = Client::connect(weir.listener(0));
    client.send("GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n");
    wait_until("the failure is counted", || {
        (weir.metric("weir_tls_handshake_errors_total{") - 1.0).abs() < 0.1
            && weir.admin("/metrics").body.contains("reason=\"not_tls\"")
    });
}

#[test]
fn the_example_serves_with_the_files_that_it_asks_for() {
    let folder = Folder::new();
    let (shop, partners) = (Pair::new(&["shop.example"]), Pair::new(&["partners.example"]));
    shop.write(&folder, "shop");
    partners.write(&folder, "partners");
    folder.write("tickets.key", "a secret that nobody guesses for a while\n");
    folder.write("partners-authorities.pem", &partners.certificate);
    folder.write("partners.crl", &revoking_nothing());
    let weir = Example::read("https.yaml").start_in(folder);
    let shown = |name| TlsClient::default().shake_hands(weir.listener(0), name).unwrap().shown;
    assert_eq!(shown("shop.example"), shop.der);
    assert_eq!(shown("partners.example"), partners.der);
    assert_eq!(shown("someone.else"), shop.der, "the default");
    let _refused = TlsClient::default().shake_hands(weir.listener(1), "partners.example");
    wait_until("a client without a certificate is refused", || {
        weir.admin("/metrics").body.contains("reason=\"client_certificate_missing\"")
    });
}

/// A revocation list of an authority that has revoked nothing.
fn revoking_nothing() -> String {
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.key_usages = vec![rcgen::KeyUsagePurpose::CrlSign];
    let issuer = rcgen::Issuer::new(params, rcgen::KeyPair::generate().unwrap());
    let list = rcgen::CertificateRevocationListParams {
        this_update: rcgen::date_time_ymd(2021, 1, 1),
        next_update: rcgen::date_time_ymd(2031, 1, 1),
        crl_number: rcgen::SerialNumber::from(1_u64),
        issuing_distribution_point: None,
        revoked_certs: Vec::new(),
        key_identifier_method: rcgen::KeyIdMethod::Sha256,
    };
    list.signed_by(&issuer).unwrap().pem().unwrap()
}

// Conformance: A5.0.10
#[test]
fn http_2_can_be_switched_off() {
    for (setting, agreed) in [("true", Some(weir_tls::Alpn::Http2)), ("false", Some(weir_tls::Alpn::Http1))] {
        let folder = Folder::new();
        Pair::new(&["shop.example"]).write(&folder, "shop");
        let yaml = listener(SHOP)
            .replace("type: application", &format!("type: application, enable_http2: {setting}"));
        assert!(yaml.contains("enable_http2"), "{yaml}");
        let weir = Weir::start_in(folder, &yaml, |_| {});
        run(async {
            let stream = dialled(weir.listener(0)).await;
            let both = [weir_tls::Alpn::Http2, weir_tls::Alpn::Http1];
            let shaken = weir_tls::TargetSide::new().connect(stream, Some("shop.example"), &both).await;
            assert_eq!(shaken.unwrap().1, agreed, "{setting}");
        });
    }
}
