//! How long something may be waited for: a silent client, and a target that cannot be reached.

use std::io::Read;
use std::net::TcpStream;
use std::time::Duration;

use rustix::net::sockopt;
use weir_tests::yaml::{application, group, group_of};
use weir_tests::{DEADLINE, FakeTarget, Weir, free_port, run};

// Conformance: A5.0.16
#[test]
fn probes_of_tcp_that_it_is_alive_do_not_keep_a_connection_that_asks_for_nothing() {
    let target = FakeTarget::answering("web");
    let yaml =
        application(&[group("web", "", &[&target])], "idle_timeout: 3s", "default_action: { forward: web }");
    let weir = Weir::start_healthy(&yaml);
    let mut client = TcpStream::connect(weir.listener(0)).unwrap();
    // Two of them before its time is over.
    sockopt::set_socket_keepalive(&client, true).unwrap();
    sockopt::set_tcp_keepidle(&client, Duration::from_secs(1)).unwrap();
    sockopt::set_tcp_keepintvl(&client, Duration::from_secs(1)).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap(), 0, "weir closes it");
}

// Conformance: A5.0.20
#[test]
fn another_idle_timeout_is_for_connections_that_come_later() {
    let target = FakeTarget::answering("web");
    let yaml = |time: &str| {
        application(&[group("web", "", &[&target])], time, "default_action: { forward: web }")
            .replace("127.0.0.1:0", &format!("127.0.0.1:{}", free_port()))
    };
    let short = yaml("idle_timeout: 2s");
    let weir = Weir::start_healthy(&short);
    let mut before = weir.client();
    // With an answer it has surely been accepted by now.
    assert_eq!(before.get("/").status, 200);
    weir.reload(&short.replace("2s", "4000s")).unwrap();
    let mut after = weir.client();
    assert_eq!(after.get("/").status, 200);
    assert!(before.is_closed(), "its time is that with which it came");
    assert_eq!(after.get("/").status, 200, "still there");
}

// Conformance: A7.32
#[test]
fn a_target_that_no_connection_reaches_within_ten_seconds_is_504() {
    // A full backlog drops what comes: the handshake gets no answer, as behind a filter.
    let (addr, _full) = run(async {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(0).unwrap();
        let addr = listener.local_addr().unwrap();
        (addr, (tokio::net::TcpStream::connect(addr).await.unwrap(), listener))
    });
    let target = format!("{{ address: 127.0.0.1, port: {} }}", addr.port());
    let groups = [group_of("web", "health_check: { interval: 300s }", &target)];
    let weir = Weir::start(&application(&groups, "idle_timeout: 60s", "default_action: { forward: web }"));
    let began = tokio::time::Instant::now();
    assert_eq!(weir.get("/").status, 504);
    let waited = tokio::time::Instant::now() - began;
    assert!((9..20).contains(&waited.as_secs()), "{waited:?}");
}
