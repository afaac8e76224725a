//! Flows whose clients speak TLS with a network listener.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use weir_tests::example::Example;
use weir_tests::program::program;
use weir_tests::target::respond;
use weir_tests::tls::{Pair, TlsClient, dialled};
use weir_tests::yaml::{application, group, group_of, network_listener};
use weir_tests::{Browser, Client, FakeTarget, Folder, Weir, run, wait_until};
use weir_tls::{Alpn, TargetSide};

use crate::access_log::{fields, lines};

/// A weir with a certificate for `shop.example`, whose listener speaks TLS and has these further keys.
fn weir(groups: &[String], listener: &str) -> Weir {
    let folder = Folder::new();
    Pair::new(&["shop.example"]).write(&folder, "shop");
    let keys = format!(
        "protocol: tls, certificates: {{ certificate: shop.pem, key: shop.key }}, {listener} default_action: {{ forward: db }}"
    );
    let weir = Weir::start_in(folder, &network_listener(groups, &keys), |_| {});
    weir.wait_until_healthy();
    weir
}

fn plain(target: &FakeTarget) -> String {
    group("db", "protocol: tcp", &[target])
}

/// A target of HTTP that closes the connection behind its answer.
fn answering_once(text: &'static str) -> FakeTarget {
    FakeTarget::behaving(move |_, stream| {
        respond(stream, 200, text);
        false
    })
}

/// A target that speaks HTTPS, and logs what it was asked: another weir.
fn inner() -> Weir {
    let folder = Folder::new();
    Pair::new(&["inner.example"]).write(&folder, "inner");
    let listener = "protocol: https, certificates: { certificate: inner.pem, key: inner.key }, default_action: { fixed_response: { status_code: 200, message_body: inner } }";
    Weir::start_in(folder, &application(&[], "access_log: { path: inner.log }", listener), |_| {})
}

/// What a client that offers `alpn` agrees on with the listener.
fn agreed(weir: &Weir, alpn: &[Alpn]) -> Option<Alpn> {
    run(async {
        let stream = dialled(weir.listener(0)).await;
        TargetSide::new().connect(stream, Some("shop.example"), alpn).await.unwrap().1
    })
}

// Conformance: B1.5
#[test]
fn what_clients_say_over_tls_reaches_targets_without_it() {
    let target = FakeTarget::echoing("db");
    let weir = weir(&[plain(&target)], "");
    let heard = run(async {
        let stream = dialled(weir.listener(0)).await;
        let (mut stream, _) = TargetSide::new().connect(stream, Some("shop.example"), &[]).await.unwrap();
        let said = vec![b'x'; 300_000];
        stream.write_all(&said).await.unwrap();
        stream.flush().await.unwrap();
        stream.shutdown().await.unwrap();
        let mut heard = Vec::new();
        stream.read_to_end(&mut heard).await.unwrap();
        heard
    });
    assert_eq!(
        heard.len(),
        "db\n".len() + 300_000,
        "all of it came back after the client had ended its side"
    );
}

// Conformance: B9.1
#[test]
fn clients_are_shown_the_certificate_for_the_name_that_they_ask_for() {
    let (folder, target) = (Folder::new(), answering_once("fine"));
    let (shop, blog) = (Pair::new(&["shop.example"]), Pair::new(&["blog.example"]));
    shop.write(&folder, "shop");
    blog.write(&folder, "blog");
    let keys = "protocol: tls, certificates: [{ certificate: shop.pem, key: shop.key }, { certificate: blog.pem, key: blog.key }], default_action: { forward: db }";
    let weir = Weir::start_in(folder, &network_listener(&[plain(&target)], keys), |_| {});
    let shown = |name| TlsClient::default().shake_hands(weir.listener(0), name).unwrap().shown;
    assert_eq!([shown("blog.example"), shown("else.example")], [blog.der.clone(), shop.der.clone()]);
}

// Conformance: B9.4, B9.5
#[test]
fn the_alpn_policy_decides_what_is_agreed_and_refuses_nobody() {
    const BOTH: [Alpn; 2] = [Alpn::Http2, Alpn::Http1];
    let target = FakeTarget::echoing("db");
    for (policy, both, only_http2) in [
        ("None", None, None),
        ("HTTP1Only", Some(Alpn::Http1), None),
        ("HTTP2Only", Some(Alpn::Http2), Some(Alpn::Http2)),
        ("HTTP2Optional", Some(Alpn::Http1), Some(Alpn::Http2)),
        ("HTTP2Preferred", Some(Alpn::Http2), Some(Alpn::Http2)),
    ] {
        let weir = weir(&[plain(&target)], &format!("alpn_policy: {policy},"));
        assert_eq!((agreed(&weir, &BOTH), agreed(&weir, &BOTH[..1])), (both, only_http2), "{policy}");
        assert_eq!(agreed(&weir, &[]), None, "{policy}");
    }
}

#[test]
fn protocols_that_are_named_are_agreed_on_with_clients_and_targets() {
    let (database, echo) = (Alpn::named("postgresql"), FakeTarget::echoing("db"));
    let inner = weir(&[plain(&echo)], "alpn_policy: [postgresql],");
    let target = format!("{{ address: 127.0.0.1, port: {} }}", inner.listener(0).port());
    let folder = Folder::new();
    Pair::new(&["shop.example"]).write(&folder, "shop");
    let listener = "protocol: tls, alpn_policy: [tds/8.0, postgresql, h2], certificates: { certificate: shop.pem, key: shop.key }, default_action: { forward: db }";
    let yaml = network_listener(&[group_of("db", "protocol: tls", &target)], listener)
        .replace("type: network,", "type: network, access_log: { path: flows.log },");
    let outer = Weir::start_in(folder, &yaml, |_| {});
    outer.wait_until_healthy();
    assert_eq!(
        agreed(&outer, &[Alpn::Http2, database.clone()]),
        Some(database),
        "the listener's order decides"
    );
    let line = fields(&lines(&outer.folder.path().join("flows.log"), 1)[0]);
    assert_eq!([line[18].as_str(), &line[19]], ["postgresql"; 2], "{line:?}");
    assert_eq!(agreed(&outer, &[Alpn::named("imap")]), None);
}

// Conformance: B9.3, B9.6
#[test]
fn targets_that_speak_tls_are_spoken_to_with_it_in_the_protocol_of_the_client() {
    let inner = inner();
    let target = format!("{{ address: 127.0.0.1, port: {} }}", inner.listener(0).port());
    let weir = weir(&[group_of("db", "protocol: tls", &target)], "alpn_policy: HTTP2Preferred,");
    assert_eq!(Browser::default().get(weir.listener(0), "shop.example", "/", "").body, "inner");
    assert_eq!(agreed(&weir, &[Alpn::Http2]), Some(Alpn::Http2));
    let line = fields(&lines(&inner.folder.path().join("inner.log"), 1)[0]);
    assert_eq!(line[18], "shop.example", "the target is asked for the client's host");
}

// Conformance: B9.8
#[test]
fn a_line_has_the_fields_of_a_network_load_balancer_s_log() {
    let (folder, target) = (Folder::new(), FakeTarget::echoing("db"));
    Pair::new(&["shop.example"]).write(&folder, "shop");
    let yaml = network_listener(
        &[plain(&target)],
        "protocol: tls, alpn_policy: HTTP2Preferred, certificates: { certificate: shop.pem, key: shop.key }, default_action: { forward: db }",
    )
    .replace("type: network,", "type: network, access_log: { path: flows.log },");
    let weir = Weir::start_in(folder, &yaml, |_| {});
    weir.wait_until_healthy();
    agreed(&weir, &[Alpn::Http2, Alpn::Http1]);
    let line = lines(&weir.folder.path().join("flows.log"), 1).remove(0);
    let line = fields(&line);
    assert_eq!(line.len(), 22, "{line:?}");
    assert_eq!(line[..2], ["tls", "2.0"]);
    assert!(line[2].len() == "2018-12-20T02:59:40".len() && line[21].len() == line[2].len(), "{line:?}");
    assert_eq!((line[3].as_str(), &line[4]), ("net/edge", &weir.listener(0).to_string()));
    assert_eq!(line[6], target.addr().to_string());
    assert!(line[7].parse::<u64>().is_ok() && line[8].parse::<u64>().is_ok(), "milliseconds: {line:?}");
    assert!(line[12].ends_with("shop.pem"), "{line:?}");
    assert_eq!((line[13].as_str(), line[16].as_str()), ("-", "-"));
    assert_eq!(line[14..16], ["TLS_AES_128_GCM_SHA256", "tlsv13"]);
    assert_eq!(line[17..20], ["shop.example", "h2", "-"]);
    assert_eq!(line[20], "h2,http/1.1");
}

// Conformance: B10.6
#[test]
fn a_client_that_speaks_no_tls_is_refused_and_counted() {
    let target = FakeTarget::echoing("db");
    let weir = weir(&[plain(&target)], "");
    let before = target.connections();
    let mut client = Client::connect(weir.listener(0));
    client.send("hello\r\n\r\n");
    assert!(!client.to_end().starts_with(b"db"));
    wait_until("it is counted", || weir.metric("weir_tls_handshake_errors_total{") > 0.5);
    assert_eq!(target.connections(), before, "no target hears of it");
}

// Conformance: B9.7
#[test]
fn a_policy_decides_which_versions_clients_may_speak() {
    let target = FakeTarget::echoing("db");
    for (policy, expected) in [
        ("ELBSecurityPolicy-TLS13-1-2-Res-2021-06", "Some(TLSv1_3)"),
        ("ELBSecurityPolicy-TLS-1-2-2017-01", "Some(TLSv1_2)"),
    ] {
        let weir = weir(&[plain(&target)], &format!("ssl_policy: {policy},"));
        let version = run(async {
            let stream = dialled(weir.listener(0)).await;
            let (stream, _) = TargetSide::new().connect(stream, Some("shop.example"), &[]).await.unwrap();
            format!("{:?}", stream.get_ref().1.protocol_version())
        });
        assert_eq!(version, expected, "{policy}");
    }
}

// Conformance: B9.9
#[test]
fn the_alert_of_a_client_that_trusts_nobody_is_in_the_log() {
    const UNKNOWN_CA: &str = "48";
    let (folder, target) = (Folder::new(), FakeTarget::echoing("db"));
    Pair::new(&["shop.example"]).write(&folder, "shop");
    let yaml = network_listener(
        &[plain(&target)],
        "protocol: tls, certificates: { certificate: shop.pem, key: shop.key }, default_action: { forward: db }",
    )
    .replace("type: network,", "type: network, access_log: { path: flows.log },");
    let weir = Weir::start_in(folder, &yaml, |_| {});
    weir.wait_until_healthy();
    let url = format!("https://{}/", weir.listener(0));
    assert!(program("curl", "curl", &["--silent", "--max-time", "20", &url]).status != 0);
    let line = lines(&weir.folder.path().join("flows.log"), 1).remove(0);
    assert_eq!(fields(&line)[11], UNKNOWN_CA, "{line}");
}

// Conformance: B10.7
#[test]
fn a_target_that_speaks_no_tls_has_the_flow_reset_and_is_counted() {
    let target = FakeTarget::echoing("db");
    let weir = weir(&[group("db", "protocol: tls", &[&target])], "");
    let heard = run(async {
        let stream = dialled(weir.listener(0)).await;
        let (mut stream, _) = TargetSide::new().connect(stream, Some("shop.example"), &[]).await.unwrap();
        stream.read_to_end(&mut Vec::new()).await.is_err()
    });
    assert!(heard, "an end would pass for an empty answer");
    assert!(weir.metric("weir_target_connection_errors_total{") >= 1.0);
}

#[test]
fn the_example_takes_tls_off_for_one_group_and_speaks_it_with_the_other() {
    let inner = inner();
    let mail = answering_once("mail");
    let folder = Folder::new();
    Pair::new(&["mail.example"]).write(&folder, "mail");
    let weir = Example::read("tls.yaml")
        .with("port: 32768", &format!("port: {}", mail.addr().port()))
        .with("port: 32769", &format!("port: {}", inner.listener(0).port()))
        .start_in(folder);
    weir.wait_until_healthy();
    let bodies =
        [0, 1].map(|number| Browser::default().get(weir.listener(number), "mail.example", "/", "").body);
    assert_eq!(bodies, ["mail", "inner"]);
}
