//! What clients and targets can make weir hold: little, however much they send and however slowly they read.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use weir_tests::tls::{Pair, TlsClient};
use weir_tests::yaml::{application, forwarding_to, group};
use weir_tests::{Binary, Client, FakeTarget, Folder, Weir, free_port, loopback, run, wait_until};

/// Bytes of a body that is large beside everything that weir may hold.
const LARGE: usize = 256 * 1024 * 1024;

/// Memory that a large body may cost: some buffers, whatever its size.
const ONE_BODY_MAX: usize = 8 * 1024 * 1024;

/// A target that reads what it is sent and answers with a large body.
fn large() -> FakeTarget {
    FakeTarget::behaving(|received, stream| {
        let mut rest: usize = received.header("content-length").parse().unwrap_or(0);
        let mut piece = vec![0; 256 * 1024];
        while rest > 0 {
            match stream.read(&mut piece) {
                Ok(count @ 1..) => rest -= count,
                _ => return false,
            }
        }
        let _ = write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n");
        for _ in 0..LARGE / piece.len() {
            if stream.write_all(&piece).is_err() {
                return false;
            }
        }
        true
    })
}

/// The program with such a target, and where it listens.
fn program(target: &FakeTarget) -> (Folder, Binary, SocketAddr) {
    let (folder, addr) = (Folder::new(), loopback(free_port()));
    let yaml = forwarding_to(&[target]).replace("127.0.0.1:0", &addr.to_string());
    let path = folder.write("weir.yaml", &format!("admin: {{ bind: \"127.0.0.1:0\" }}\nworkers: 2\n{yaml}"));
    let binary = Binary::start(&mut Binary::command(&["run", "-c", path.to_str().unwrap()]));
    wait_until("weir listens", || TcpStream::connect(addr).is_ok());
    (folder, binary, addr)
}

/// Asks, reading the answer as fast as it comes; bytes of its body.
fn read_all(addr: SocketAddr, request: &str, body: usize) -> usize {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(weir_tests::DEADLINE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let piece = vec![b'x'; 256 * 1024];
    for _ in 0..body / piece.len() {
        stream.write_all(&piece).unwrap();
    }
    let (mut bytes, mut piece) = (0, vec![0; 256 * 1024]);
    while let Ok(count @ 1..) = stream.read(&mut piece) {
        bytes += count;
    }
    bytes
}

// Conformance: A6.21
#[test]
fn a_body_of_any_size_costs_the_same_memory() {
    let target = large();
    let (_folder, weir, addr) = program(&target);
    let small = "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    let mut client = Client::connect(addr);
    client.send(small);
    client.line().unwrap();
    drop(client);
    let before = weir.peak_bytes();
    assert!(read_all(addr, small, 0) > LARGE);
    let upload = format!(
        "POST / HTTP/1.1\r\nHost: h\r\nX-Leave-Body: 1\r\nConnection: close\r\nContent-Length: {LARGE}\r\n\r\n"
    );
    assert!(read_all(addr, &upload, LARGE) > LARGE);
    let grown = weir.peak_bytes() - before;
    assert!(grown < ONE_BODY_MAX, "{grown} bytes more for bodies of {LARGE}");
}

#[test]
fn clients_that_ask_for_much_and_read_nothing_cost_a_buffer_each() {
    const CLIENTS: usize = 200;
    /// A buffer for each side (32 KiB), what belongs to a connection (large without optimization), and the share of what the
    /// allocator keeps in reserve: 55 to 70 KiB have been seen.
    const EACH_MAX: usize = 96 * 1024;
    let target = large();
    let (_folder, weir, addr) = program(&target);
    let before = weir.peak_bytes();
    let clients: Vec<Client> = (0..CLIENTS)
        .map(|_| {
            let mut client = Client::connect(addr);
            client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
            client.line().unwrap();
            client
        })
        .collect();
    // Whoever reads is served meanwhile.
    let reader = "GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    assert!(read_all(addr, reader, 0) > LARGE);
    let each = (weir.peak_bytes() - before) / clients.len();
    assert!(each < EACH_MAX, "{each} bytes for each");
}

/// A listener that speaks TLS, and answers by itself.
fn secure() -> Weir {
    let folder = Folder::new();
    Pair::new(&["shop.example"]).write(&folder, "shop");
    let listener = "protocol: https, certificates: { certificate: shop.pem, key: shop.key }, default_action: { fixed_response: { status_code: 200 } }";
    Weir::start_in(folder, &application(&[], "", listener).replace("target_groups:\n", ""), |_| {})
}

/// The first message of a client, in one record, as it is sent.
fn hello() -> Vec<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let hearing = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 5];
        stream.read_exact(&mut head).unwrap();
        let mut message = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
        stream.read_exact(&mut message).unwrap();
        message
    });
    let _ = TlsClient::default().shake_hands(addr, "shop.example");
    hearing.join().unwrap()
}

fn record(payload: &[u8]) -> Vec<u8> {
    const HANDSHAKE: u8 = 22;
    let length = (payload.len() as u16).to_be_bytes();
    [&[HANDSHAKE, 3, 1, length[0], length[1]], payload].concat()
}

#[test]
fn a_first_message_in_records_of_one_byte_is_understood() {
    let weir = secure();
    let mut client = weir.client();
    let records: Vec<u8> = hello().chunks(1).flat_map(record).collect();
    client.send(&records);
    assert_eq!(client.exactly(1).unwrap(), [22], "a message of the handshake comes back");
}

#[test]
fn a_first_message_that_is_too_large_is_given_up_at_once() {
    let weir = secure();
    let began = tokio::time::Instant::now();
    let mut client = weir.client();
    // A hello of 64 KiB, as it begins.
    client.send(record(&[1, 1, 0, 0, 3, 3]));
    for _ in 0..8 {
        client.send(record(&[b'x'; 8 * 1024]));
    }
    client.to_end();
    assert!(began.elapsed() < Duration::from_secs(5), "long before the deadline of a handshake");
    wait_until("the failure is counted", || weir.metric("weir_tls_handshake_errors_total") >= 1.0);
}

#[test]
fn handshakes_that_stop_halfway_keep_nobody_else_waiting() {
    const HALVES: usize = 500;
    let (weir, hello) = (secure(), record(&hello()));
    let halves: Vec<Client> = (0..HALVES)
        .map(|number| {
            let mut client = weir.client();
            client.send(if number % 2 == 0 { &hello[..] } else { &hello[..hello.len() / 2] });
            client
        })
        .collect();
    for _ in 0..10 {
        TlsClient::default().shake_hands(weir.listener(0), "shop.example").unwrap();
    }
    drop(halves);
}

// Conformance: A5.0.5, A5.0.21, A11.27
#[test]
fn fields_with_other_names_than_letters_are_left_out_where_that_is_asked() {
    for (setting, expected) in [("", "1"), ("drop_invalid_header_fields: true, ", "")] {
        let target = FakeTarget::answering("web");
        let settings = format!("{setting}http2_prior_knowledge: true");
        let weir = Weir::start_healthy(&application(
            &[group("web", "", &[&target])],
            &settings,
            "default_action: { forward: web }",
        ));
        weir.client().ask("GET / HTTP/1.1\r\nHost: h\r\nX_Y: 1\r\nX-Z: 1\r\n\r\n");
        assert_eq!((target.last().header("x_y"), target.last().header("x-z")), (expected, "1"));
        run(async {
            let mut client = weir_tests::Http2Client::connect(weir.listener(0)).await;
            let fields = [("x_y", "1"), ("x-z", "1")];
            client.ask(weir_tests::http2::request_with("GET", "/", &fields), b"").await;
        });
        assert_eq!((target.last().header("x_y"), target.last().header("x-z")), (expected, "1"), "by HTTP/2");
        let fate = if expected.is_empty() { "dropped" } else { "forwarded" };
        let counted = format!(
            "weir_requests_invalid_names_total{{load_balancer=\"edge\",listener=\"{}\",fields=\"{fate}\"}}",
            weir.listener(0)
        );
        assert!((weir.metric(&counted) - 2.0).abs() < 0.1, "{fate}");
    }
}
