//! Targets that are told of their clients by the PROXY protocol.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, channel};

use weir_tests::yaml::{group_of, network_listener};
use weir_tests::{Client, DEADLINE, Weir};

const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// The header of a connection, and the first bytes behind it.
type Begun = (Vec<u8>, Vec<u8>);

/// A target that tells how every connection has begun, and answers `ok`.
fn target() -> (SocketAddr, Receiver<Begun>) {
    let (tell, told) = channel();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let tell = tell.clone();
            std::thread::spawn(move || {
                let mut header = vec![0; 16];
                stream.read_exact(&mut header).ok()?;
                let length = u16::from_be_bytes([header[14], header[15]]);
                let mut rest = vec![0; usize::from(length)];
                stream.read_exact(&mut rest).ok()?;
                header.extend(rest);
                let mut said = [0; 100];
                let count = stream.read(&mut said).ok()?;
                tell.send((header, said[..count].to_vec())).ok()?;
                stream.write_all(b"ok").ok()
            });
        }
    });
    (addr, told)
}

fn weir(addr: SocketAddr, settings: &str) -> Weir {
    let target = format!("{{ address: 127.0.0.1, port: {} }}", addr.port());
    let group = group_of("db", &format!("protocol: tcp, proxy_protocol_v2: true{settings}"), &target);
    Weir::start_healthy(&network_listener(&[group], "default_action: { forward: db }"))
}

// Conformance: B3.12, B5.4, B5.6
#[test]
fn a_connection_begins_with_the_client_s_address_and_the_listener_s() {
    let (addr, told) = target();
    let weir = weir(addr, ", health_check: { interval: 300s }");
    let mut client = Client::connect(weir.listener(0));
    // What looks like a header of its own stays behind ours.
    client.send(b"PROXY TCP4 1.2.3.4 5.6.7.8 9 10\r\n");
    assert_eq!(client.exactly(2).unwrap(), b"ok");
    let (header, said) = std::iter::from_fn(|| told.recv_timeout(DEADLINE).ok())
        .find(|(header, _)| header[12] == 0x21)
        .expect("the connection of the client");
    assert_eq!(&header[..12], SIGNATURE);
    assert_eq!(header[13], 0x11);
    assert_eq!(header[16..24], [127, 0, 0, 1, 127, 0, 0, 1]);
    assert_eq!(header[24..26], client.addr().port().to_be_bytes());
    assert_eq!(header[26..28], weir.listener(0).port().to_be_bytes());
    assert_eq!(said, b"PROXY TCP4 1.2.3.4 5.6.7.8 9 10\r\n");
}

// Conformance: B5.5
#[test]
fn health_checks_begin_with_a_header_that_names_nobody() {
    let (addr, told) = target();
    let group = ", health_check: { protocol: http, path: /, interval: 5s, timeout: 2s }";
    let target = format!("{{ address: 127.0.0.1, port: {} }}", addr.port());
    let group = group_of("db", &format!("protocol: tcp, proxy_protocol_v2: true{group}"), &target);
    let _weir = Weir::start(&network_listener(&[group], "default_action: { forward: db }"));
    let (header, said) = told.recv_timeout(DEADLINE).unwrap();
    assert_eq!((&header[..12], header[12..14].to_vec()), (&SIGNATURE[..], vec![0x20, 0]));
    assert!(said.starts_with(b"GET / HTTP/1.1"), "{}", String::from_utf8_lossy(&said));
}
