//! Classic listeners and their instances over TLS, and what instances are told of clients.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::channel;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use weir_core::health::{Health, UnhealthyReason};
use weir_tests::target::respond;
use weir_tests::tls::{Pair, TlsClient, dialled};
use weir_tests::yaml::{application, classic};
use weir_tests::{Client, DEADLINE, FakeTarget, Folder, Weir, loopback, run, wait_until};
use weir_tls::TargetSide;

use crate::access_log::{fields, lines};

const SECURED: &str = "certificates: { certificate: shop.pem, key: shop.key }";

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n";

/// An instance that speaks HTTPS, and so SSL, and logs what it was asked: another weir.
struct Instance {
    weir: Weir,
    folder: std::path::PathBuf,
    pair: Pair,
}

impl Instance {
    fn new() -> Self {
        let (folder, pair) = (Folder::new(), Pair::new(&["instance.example"]));
        pair.write(&folder, "instance");
        let listener = "protocol: https, certificates: { certificate: instance.pem, key: instance.key }, default_action: { fixed_response: { status_code: 200, message_body: inner } }";
        let path = folder.path().to_owned();
        let text = application(&[], "access_log: { path: instance.log }", listener);
        Self { weir: Weir::start_in(folder, &text, |_| {}), folder: path, pair }
    }

    fn addr(&self) -> SocketAddr {
        self.weir.listener(0)
    }
}

/// A weir with a certificate for `shop.example` and a classic load balancer of loopback.
fn weir(check: &str, settings: &str, listener: &str) -> Weir {
    let folder = Folder::new();
    Pair::new(&["shop.example"]).write(&folder, "shop");
    Weir::start_in(folder, &classic(&["127.0.0.1"], check, settings, listener), |_| {})
}

/// What comes of [`REQUEST`], said to a listener with or without TLS.
fn answer(weir: &Weir, over_tls: bool) -> String {
    if !over_tls {
        let mut client = weir.client();
        client.send(REQUEST);
        return String::from_utf8(client.to_end()).unwrap();
    }
    run(async {
        let stream = dialled(weir.listener(0)).await;
        let (mut stream, _) = TargetSide::new().connect(stream, Some("shop.example"), &[]).await.unwrap();
        stream.write_all(REQUEST.as_bytes()).await.unwrap();
        let mut heard = String::new();
        // Not every target says at the end that it is one.
        let _ = stream.read_to_string(&mut heard).await;
        heard
    })
}

// Conformance: C1.1, C1.2, C1.3, C3.2
#[test]
fn listeners_and_instances_speak_tls_or_not_in_every_legal_combination() {
    let plain = FakeTarget::behaving(|_, stream| {
        respond(stream, 200, "plain");
        false
    });
    let secure = Instance::new();
    let (plain_port, secure_port) = (plain.addr().port(), secure.addr().port());
    for (front, back) in [
        ("http", ""),
        ("http", "https"),
        ("https", "http"),
        ("https", ""),
        ("tcp", ""),
        ("tcp", "ssl"),
        ("ssl", "tcp"),
        ("ssl", ""),
    ] {
        let spoken = if back.is_empty() { front } else { back };
        let is_secure = |word: &str| matches!(word, "https" | "ssl");
        let (port, expected) = if is_secure(spoken) { (secure_port, "inner") } else { (plain_port, "plain") };
        let check = match spoken {
            "http" => format!("HTTP:{port}/healthz"),
            "https" => format!("HTTPS:{port}/healthz"),
            "ssl" => format!("SSL:{port}"),
            _ => format!("TCP:{port}"),
        };
        let certificates = if is_secure(front) { format!(", {SECURED}") } else { String::new() };
        let instance = if back.is_empty() { String::new() } else { format!(", instance_protocol: {back}") };
        let weir =
            weir(&check, "", &format!("protocol: {front}, instance_port: {port}{instance}{certificates}"));
        weir.wait_until_healthy();
        let answer = answer(&weir, is_secure(front));
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with(expected), "{front} {back}: {answer}");
    }
}

// Conformance: C2.12
#[test]
fn instances_are_told_that_clients_speak_https() {
    let instance = FakeTarget::answering("plain");
    let port = instance.addr().port();
    let listener = format!("protocol: https, instance_protocol: http, instance_port: {port}, {SECURED}");
    let weir = weir(&format!("HTTP:{port}/healthz"), "", &listener);
    weir.wait_until_healthy();
    answer(&weir, true);
    assert_eq!(instance.last().header("x-forwarded-proto"), "https");
    assert_eq!(instance.last().header("x-forwarded-port"), weir.listener(0).port().to_string());
}

// Conformance: C6.4
#[test]
fn no_name_is_asked_for_toward_instances() {
    let instance = Instance::new();
    let port = instance.addr().port();
    for listener in [
        format!("protocol: http, instance_protocol: https, instance_port: {port}"),
        format!("protocol: ssl, instance_port: {port}, {SECURED}"),
    ] {
        let weir = weir(&format!("TCP:{port}"), "", &listener);
        weir.wait_until_healthy();
        assert!(answer(&weir, listener.contains("ssl")).ends_with("inner"));
    }
    for line in lines(&instance.folder.join("instance.log"), 2) {
        assert_eq!(fields(&line)[18], "-", "the name that was asked for");
    }
}

// Conformance: C6.5
#[test]
fn a_classic_listener_speaks_no_tls_1_3_and_has_one_certificate() {
    let instance = FakeTarget::answering("plain");
    let port = instance.addr().port();
    let listener = format!("protocol: https, instance_protocol: http, instance_port: {port}, {SECURED}");
    let weir = weir(&format!("HTTP:{port}/healthz"), "", &listener);
    let version = run(async {
        let stream = dialled(weir.listener(0)).await;
        let (stream, _) = TargetSide::new().connect(stream, Some("shop.example"), &[]).await.unwrap();
        format!("{:?}", stream.get_ref().1.protocol_version())
    });
    assert_eq!(version, "Some(TLSv1_2)");
    let other = TlsClient::default().shake_hands(weir.listener(0), "else.example").unwrap();
    assert_eq!(
        other.shown,
        TlsClient::default().shake_hands(weir.listener(0), "shop.example").unwrap().shown
    );
}

// Conformance: C6.3
#[test]
fn instances_have_to_hold_one_of_the_keys_that_are_written() {
    let (instance, stranger) = (Instance::new(), Pair::new(&["else.example"]));
    let port = instance.addr().port();
    // As `openssl x509 -pubkey` prints it.
    let pem = |pair: &Pair| rcgen::KeyPair::from_pem(&pair.key).unwrap().public_key_pem();
    let body = |pair: &Pair| pem(pair).lines().filter(|line| !line.starts_with('-')).collect::<String>();
    for (front, back) in [("http", "https"), ("tcp", "ssl")] {
        for (keys, is_known) in [(vec![&stranger, &instance.pair], true), (vec![&stranger], false)] {
            let keys: Vec<String> = keys.into_iter().map(|pair| format!("\"{}\"", body(pair))).collect();
            let ports = format!("instance_ports: [{{ port: {port}, public_keys: [{}] }}]", keys.join(", "));
            let listener = format!("protocol: {front}, instance_protocol: {back}, instance_port: {port}");
            let weir = weir(&format!("TCP:{port}"), &ports, &listener);
            weir.wait_until_healthy();
            let answer = answer(&weir, false);
            if is_known {
                assert!(answer.ends_with("inner"), "{front}: {answer}");
            } else {
                let refused =
                    if front == "http" { answer.starts_with("HTTP/1.1 502") } else { answer.is_empty() };
                assert!(refused, "{front}: {answer}");
            }
        }
    }
}

// Conformance: C3.2
#[test]
fn an_instance_that_does_not_shake_hands_fails_a_check_of_ssl() {
    let instance = FakeTarget::echoing("no TLS");
    let port = instance.addr().port();
    let weir = weir(&format!("SSL:{port}"), "", &format!("protocol: tcp, instance_port: {port}"));
    weir.wait_for_health(instance.addr(), Health::Unhealthy(UnhealthyReason::FailedHealthChecks));
}

// Conformance: C6.1, C6.2
#[test]
fn instances_are_told_of_clients_by_a_line_in_front_of_what_they_say() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, told) = channel();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let tell = tell.clone();
            std::thread::spawn(move || {
                let mut said = String::new();
                while !said.ends_with("end") {
                    let mut bytes = [0; 200];
                    let count = stream.read(&mut bytes).ok().filter(|count| *count > 0)?;
                    said.push_str(std::str::from_utf8(&bytes[..count]).ok()?);
                }
                tell.send(said).ok()?;
                stream.write_all(b"ok").ok()
            });
        }
    });
    let ports = format!("instance_ports: [{{ port: {port}, proxy_protocol: true }}]");
    for front in ["tcp", "ssl"] {
        let certificates = if front == "ssl" { format!(", {SECURED}") } else { String::new() };
        let listener =
            format!("protocol: {front}, instance_protocol: tcp, instance_port: {port}{certificates}");
        let weir = weir(&format!("TCP:{port}"), &ports, &listener);
        weir.wait_until_healthy();
        let bind = loopback(weir.listener(0).port());
        let said = "PROXY TCP4 1.2.3.4 5.6.7.8 9 10\r\nend";
        let client = if front == "tcp" {
            let mut client = Client::connect(bind);
            client.send(said);
            assert_eq!(client.exactly(2).unwrap(), b"ok");
            client.addr()
        } else {
            run(async {
                let stream = dialled(bind).await;
                let addr = stream.local_addr().unwrap();
                let (mut stream, _) = TargetSide::new().connect(stream, None, &[]).await.unwrap();
                stream.write_all(said.as_bytes()).await.unwrap();
                stream.read_exact(&mut [0; 2]).await.unwrap();
                addr
            })
        };
        let heard = told.recv_timeout(DEADLINE).unwrap();
        let line = format!("PROXY TCP4 127.0.0.1 127.0.0.1 {} {}\r\n", client.port(), bind.port());
        assert_eq!(heard, line + said, "{front}: what had come stays behind it");
    }
}

#[test]
fn a_failed_handshake_with_an_instance_is_counted() {
    let instance = FakeTarget::echoing("no TLS");
    let port = instance.addr().port();
    let listener = format!("protocol: tcp, instance_protocol: ssl, instance_port: {port}");
    let weir = weir(&format!("TCP:{port}"), "", &listener);
    weir.wait_until_healthy();
    assert!(weir.client().is_closed());
    wait_until("it is counted", || {
        let page = weir.admin("/metrics").body;
        let mut lines = page.lines().filter(|line| line.starts_with("weir_target_connection_errors_total"));
        lines.any(|line| line.contains("step=\"tls\"") && !line.ends_with(" 0"))
    });
}
