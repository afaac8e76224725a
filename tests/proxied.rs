//! Proxies in front of weir that say who their clients are.

use std::io::Read as _;
use std::net::SocketAddr;

use weir_core::address::ClientAddr;
use weir_core::definition::ProxyVersion;
use weir_net::proxy_header::{of_client, of_our_own};
use weir_tests::example::Example;
use weir_tests::yaml::{application, classic, group, network_listener};
use weir_tests::{Client, FakeTarget, Weir, loopback, wait_until};

const FROM_LOOPBACK: &str = "proxy_protocol: { from: [127.0.0.1/32], timeout: 200ms }";

/// An address that no connection of this machine comes from.
const CLIENT: &str = "192.0.2.1:4660";

const LINE: &str = "PROXY TCP4 192.0.2.1 198.51.100.2 4660 443\r\n";

fn header() -> Vec<u8> {
    of_client(ProxyVersion::V2, ClientAddr(CLIENT.parse().unwrap()), "198.51.100.2:443".parse().unwrap())
}

fn echoing() -> (FakeTarget, Weir) {
    let target = FakeTarget::echoing("a");
    let listener = format!("{FROM_LOOPBACK}, default_action: {{ forward: db }}");
    let weir = Weir::start_healthy(&network_listener(&[group("db", "protocol: tcp", &[&target])], &listener));
    (target, weir)
}

#[test]
fn both_versions_are_read_and_not_a_byte_more() {
    let (_target, weir) = echoing();
    for header in [header(), LINE.as_bytes().to_vec(), of_our_own(), b"PROXY UNKNOWN\r\n".to_vec()] {
        let mut client = weir.client();
        client.send([&header[..], b"words"].concat());
        assert_eq!(client.line().as_deref(), Some("a"));
        assert_eq!(client.exactly(5).as_deref(), Some(&b"words"[..]));
    }
}

#[test]
fn a_header_may_come_byte_by_byte() {
    let (_target, weir) = echoing();
    for header in [header(), LINE.as_bytes().to_vec()] {
        let mut client = weir.client();
        for byte in &header {
            client.send([*byte]);
        }
        assert_eq!(client.line().as_deref(), Some("a"));
    }
}

#[test]
fn a_proxy_that_does_not_say_who_its_client_is_is_reset_and_counted() {
    let (_target, weir) = echoing();
    let errors = |reason: &str| {
        let page = weir.admin("/metrics").body;
        let mut lines = page.lines().filter(|line| line.starts_with("weir_proxy_header_errors_total"));
        lines.find(|line| line.contains(reason)).and_then(|line| line.rsplit(' ').next()?.parse::<u32>().ok())
    };
    let mut damaged = header();
    damaged[17] ^= 1;
    for (said, reason, count) in [
        (&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], "malformed", 1),
        (&[b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat(), "malformed", 2),
        (&damaged, "damaged", 1),
        (b"PROXY TCP4", "timed_out", 1),
    ] {
        let mut client = weir.client();
        client.send(said);
        assert!(client.is_closed(), "{reason}");
        wait_until("it is counted", || errors(reason) == Some(count));
    }
    let mut client = weir.client();
    client.send(b"PROXY TCP4 ");
    client.finish();
    wait_until("one that ends is counted", || errors("ended") == Some(1));
}

#[test]
fn whoever_is_no_listed_proxy_is_not_believed() {
    let target = FakeTarget::answering("fine");
    let listener = format!("{FROM_LOOPBACK}, default_action: {{ forward: web }}");
    let weir = Weir::start_healthy(&application(&[group("web", "", &[&target])], "", &listener));
    let stranger = || Client::connect_from(SocketAddr::from(([127, 0, 0, 2], 0)), weir.listener(0));
    let request = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
    assert_eq!(stranger().ask(request).status, 200);
    assert_eq!(target.last().header("x-forwarded-for"), "127.0.0.2");
    assert_eq!(stranger().ask([LINE, request].concat()).status, 400);
}

#[test]
fn rules_and_targets_see_the_client_that_the_proxy_names() {
    let target = FakeTarget::answering("fine");
    let rule = "rules: [{ priority: 1, conditions: [{ source_ip: [192.0.2.0/24] }], actions: [{ fixed_response: { status_code: 202 } }] }]";
    let listener = format!("{FROM_LOOPBACK}, {rule}, default_action: {{ forward: web }}");
    let weir = Weir::start_healthy(&application(&[group("web", "", &[&target])], "", &listener));
    let request = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
    assert_eq!(weir.client().ask([LINE, request].concat()).status, 202);
    let other = LINE.replace("192.0.2.1", "198.51.100.7");
    assert_eq!(weir.client().ask([&other, request].concat()).status, 200);
    assert_eq!(target.last().header("x-forwarded-for"), "198.51.100.7");
}

#[test]
fn classic_listeners_believe_proxies_too() {
    let target = FakeTarget::answering("fine");
    let port = target.addr().port();
    let listener = format!("instance_port: {port}, {FROM_LOOPBACK}");
    let weir = Weir::start_healthy(&classic(&["127.0.0.1"], &format!("HTTP:{port}/healthz"), "", &listener));
    let request = "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
    assert_eq!(weir.client().ask([LINE, request].concat()).status, 200);
    assert_eq!(target.last().header("x-forwarded-for"), "192.0.2.1");
}

#[test]
fn the_flow_of_a_client_goes_where_its_address_leads_whichever_proxy_brings_it() {
    let targets = ["a", "b", "c", "d"].map(FakeTarget::echoing);
    let settings = "protocol: tcp, stickiness: { type: source_ip }";
    let listener = "proxy_protocol: { from: [127.0.0.0/8] }, default_action: { forward: db }";
    let weir =
        Weir::start_healthy(&network_listener(&[group("db", settings, &targets.each_ref())], listener));
    let by = |proxy: u8, client: u8| {
        let mut proxy = Client::connect_from(SocketAddr::from(([127, 0, 5, proxy], 0)), weir.listener(0));
        proxy.send(LINE.replace("192.0.2.1", &format!("192.0.2.{client}")));
        proxy.line().expect("a target takes the flow")
    };
    let first: Vec<String> = (1..=20).map(|client| by(1, client)).collect();
    let second: Vec<String> = (1..=20).map(|client| by(2, client)).collect();
    assert_eq!(first, second);
    assert!(first.iter().any(|name| *name != first[0]), "clients are spread");
}

// Conformance: B5.7
#[test]
fn a_tls_listener_takes_no_header_from_clients() {
    let folder = weir_tests::Folder::new();
    weir_tests::tls::Pair::new(&["a.example"]).write(&folder, "a");
    let target = FakeTarget::echoing("a");
    let listener =
        "protocol: tls, certificates: { certificate: a.pem, key: a.key }, default_action: { forward: db }";
    let text = network_listener(&[group("db", "protocol: tcp", &[&target])], listener);
    let weir = Weir::start_in(folder, &text, |_| {});
    let mut client = Client::connect(loopback(weir.listener(0).port()));
    client.send(LINE);
    assert!(client.to_end().first().is_none_or(|kind| *kind == 21), "nothing but an alert of TLS comes");
    wait_until("it is counted", || weir.metric("weir_tls_handshake_errors_total") >= 1.0);
}

#[test]
fn the_example_tells_its_target_of_the_client_that_a_proxy_names() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let weir = Example::read("proxy.yaml").with("port: 32025", &format!("port: {port}")).serve();
    let mut proxy = weir.client();
    proxy.send([LINE, "HELO"].concat());
    let mut told = vec![0; 16];
    for mut stream in listener.incoming().flatten() {
        stream.read_exact(&mut told).unwrap();
        // Health checks name nobody.
        if told[12] == 0x21 {
            let mut rest = vec![0; usize::from(u16::from_be_bytes([told[14], told[15]])) + 4];
            stream.read_exact(&mut rest).unwrap();
            assert_eq!(rest[..4], [192, 0, 2, 1]);
            assert!(rest.ends_with(b"HELO"));
            return;
        }
    }
}
