//! What is counted of flows, by what Amazon counts.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use rustix::net::sockopt::set_socket_linger;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use weir_tests::tls::{Pair, dialled};
use weir_tests::udp_target::{UdpClient, UdpTarget};
use weir_tests::yaml::{group, group_of, network_listener};
use weir_tests::{Client, FakeTarget, Folder, Weir, run, wait_until};
use weir_tls::TargetSide;

const FORWARD: &str = "default_action: { forward: db }";

/// Flows that have ended for this reason.
fn ends(weir: &Weir, reason: &str) -> f64 {
    let page = weir.admin("/metrics").body;
    let lines = page.lines().filter(|line| line.starts_with("weir_flow_ends_total"));
    let of_reason = lines.filter(|line| line.contains(&format!("reason=\"{reason}\"")));
    of_reason.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

fn is(value: f64, expected: f64) -> bool {
    (value - expected).abs() < 0.1
}

// Conformance: B4.12, B10.5
#[test]
fn a_reset_is_passed_on_and_counted_by_who_has_sent_it() {
    let target = FakeTarget::echoing("a");
    let weir = Weir::start_healthy(&network_listener(&[group("db", "protocol: tcp", &[&target])], FORWARD));
    // Dropped it resets.
    let own = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut resetting = Client::connect_from(own, weir.listener(0));
    assert_eq!(resetting.line().as_deref(), Some("a"));
    drop(resetting);
    wait_until("that of the client is counted", || is(ends(&weir, "client_failed"), 1.0));
    let mut orderly = weir.client();
    assert_eq!(orderly.line().as_deref(), Some("a"));
    orderly.finish();
    orderly.to_end();
    wait_until("an end in order is no reset", || is(ends(&weir, "closed"), 1.0));
    assert!(is(ends(&weir, "target_failed"), 0.0));
}

// Conformance: B4.12, B10.5
#[test]
fn a_target_s_reset_is_the_client_s_too() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("{{ address: 127.0.0.1, port: {} }}", listener.local_addr().unwrap().port());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(b"a\n");
            let mut said = [0; 1];
            if std::io::Read::read_exact(&mut stream, &mut said).is_ok() {
                set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
            }
        }
    });
    let group = group_of("db", "protocol: tcp, health_check: { interval: 300s }", &target);
    let weir = Weir::start_healthy(&network_listener(&[group], FORWARD));
    let mut client = weir.client();
    assert_eq!(client.line().as_deref(), Some("a"));
    client.send("x");
    assert!(client.is_closed());
    wait_until("it is counted", || is(ends(&weir, "target_failed"), 1.0));
    assert!(is(ends(&weir, "client_failed"), 0.0));
}

// Conformance: B4.12, B10.5
#[test]
fn resets_of_weir_s_own_are_those_of_flows_that_it_cuts() {
    let target = FakeTarget::echoing("a");
    let port = weir_tests::free_port();
    let text = |weight: u8| {
        let forward =
            format!("default_action: {{ forward: {{ target_groups: [{{ name: db, weight: {weight} }}] }} }}");
        let text = network_listener(&[group("db", "protocol: tcp", &[&target])], &forward);
        text.replace("127.0.0.1:0", &format!("127.0.0.1:{port}"))
    };
    let weir = Weir::start_healthy(&text(1));
    let mut client = weir.client();
    assert_eq!(client.line().as_deref(), Some("a"));
    weir.reload(&text(0)).unwrap();
    assert!(client.is_closed());
    wait_until("it is counted", || is(ends(&weir, "cut"), 1.0));
}

// Conformance: B10.9
#[test]
fn a_flow_that_no_target_takes_is_counted_as_rejected() {
    let weir = Weir::start(&network_listener(&[group("db", "protocol: tcp", &[])], FORWARD));
    for _ in 0..3 {
        assert!(weir.client().is_closed());
    }
    wait_until("all are counted", || is(ends(&weir, "no_target"), 3.0));
    assert!(is(weir.metric("weir_flows_open{"), 0.0));
}

/// A count of the flows of a listener.
fn count(weir: &Weir, name: &str, listener: usize) -> f64 {
    weir.metric(&format!("{name}{{load_balancer=\"edge\",listener=\"{}\"", weir.listener(listener)))
}

// Conformance: B10.1, B10.2
#[test]
fn flows_and_bytes_of_each_protocol_are_counted() {
    let folder = Folder::new();
    Pair::new(&["shop.example"]).write(&folder, "shop");
    let (tcp, udp) = (FakeTarget::echoing("a"), UdpTarget::named("a"));
    let groups = [group("db", "protocol: tcp", &[&tcp]), group_of("dns", "protocol: udp", &udp.yaml())];
    let secured = "protocol: tls, certificates: { certificate: shop.pem, key: shop.key }";
    let more = format!(
        "listeners: [{{ bind: \"127.0.0.1:0\", {secured}, {FORWARD} }}, {{ bind: \"127.0.0.1:0\", protocol: udp, default_action: {{ forward: dns }} }}, "
    );
    let text = network_listener(&groups, FORWARD).replace("listeners: [", &more);
    let weir = Weir::start_in(folder, &text, |_| {});
    weir.wait_until_healthy();
    let [tls, udp, tcp] = [0, 1, 2];
    let mut clients = [Client::connect(weir.listener(tcp)), Client::connect(weir.listener(tcp))];
    for client in &mut clients {
        client.send("1234");
        assert_eq!(client.exactly(6).unwrap(), b"a\n1234");
    }
    run(async {
        let stream = dialled(weir.listener(tls)).await;
        let (mut stream, _) = TargetSide::new().connect(stream, None, &[]).await.unwrap();
        stream.write_all(b"1234").await.unwrap();
        stream.read_exact(&mut [0; 6]).await.unwrap();
    });
    let datagrams = UdpClient::of(weir.listener(udp));
    datagrams.ask("123");
    assert!(is(count(&weir, "weir_flows_open", tcp), 2.0) && is(count(&weir, "weir_flows_open", udp), 1.0));
    assert!(is(count(&weir, "weir_flows_total", tcp), 2.0) && is(count(&weir, "weir_flows_total", udp), 1.0));
    assert!(is(count(&weir, "weir_flows_total", tls), 1.0));
    drop(clients);
    wait_until("their bytes are counted", || {
        is(count(&weir, "weir_flow_bytes_total", tcp), 2.0 * (4.0 + 6.0))
    });
    wait_until("those over TLS, too, as they were before", || {
        is(count(&weir, "weir_flow_bytes_total", tls), 4.0 + 6.0)
    });
}

#[test]
fn what_a_change_of_targets_does_to_new_flows_is_measured() {
    let port = weir_tests::free_port();
    let text = |count: u16| {
        let targets: Vec<String> =
            (1..=count).map(|n| format!("{{ address: 127.0.0.1, port: {} }}", 20_000 + n)).collect();
        let group = group_of("db", "protocol: tcp, health_check: { interval: 300s }", &targets.join(", "));
        network_listener(&[group], FORWARD).replace("127.0.0.1:0", &format!("127.0.0.1:{port}"))
    };
    let weir = Weir::start(&text(50));
    assert!(is(weir.metric("weir_flow_table_moved_ratio"), 0.0));
    weir.reload(&text(45)).unwrap();
    // Those that drain are registered no more.
    wait_until("a tenth and little more has moved", || {
        let moved = weir.metric("weir_flow_table_moved_ratio");
        let needless = weir.metric("weir_flow_table_moved_needlessly_ratio");
        (0.08..0.13).contains(&moved) && needless < 0.02
    });
}
