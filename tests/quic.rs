//! QUIC passed through: real connections between quinn's endpoints, and where they go.

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    ClientConfig, Connection, ConnectionId, ConnectionIdGenerator, Endpoint, EndpointConfig, ServerConfig,
    TokioRuntime,
};
use rustls::RootCertStore;
use rustls::pki_types::{PrivateKeyDer, pem::PemObject as _};
use weir_tests::example::Example;
use weir_tests::target::respond;
use weir_tests::tls::Pair;
use weir_tests::udp_target::{UdpClient, UdpTarget};
use weir_tests::yaml::{group_of, network_listener};
use weir_tests::{DEADLINE, FakeTarget, Weir, free_port, loopback, run};

const NAME: &str = "video.example";

/// Connection ids as servers behind a load balancer make them: a byte of configuration, the server's id, a nonce.
#[derive(Debug)]
struct Naming(u64);

impl ConnectionIdGenerator for Naming {
    fn generate_cid(&mut self) -> ConnectionId {
        let mut id = [0; 16];
        id[1..9].copy_from_slice(&self.0.to_be_bytes());
        id[9..].copy_from_slice(&fastrand::u64(..).to_be_bytes()[..7]);
        ConnectionId::new(&id)
    }

    fn cid_len(&self) -> usize {
        16
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// Endpoints of one certificate: servers that answer every stream with their names, and a client that trusts them.
struct World {
    pair: Pair,
    health: FakeTarget,
    servers: Vec<(Endpoint, u64)>,
}

impl World {
    /// With a server for each id.
    fn new(ids: &[u64]) -> Self {
        let health = FakeTarget::behaving(|_, stream| respond(stream, 200, ""));
        let mut world = Self { pair: Pair::new(&[NAME]), health, servers: Vec::new() };
        for id in ids {
            world.add(*id);
        }
        world
    }

    fn add(&mut self, id: u64) {
        self.add_at(id, 0);
    }

    fn add_at(&mut self, id: u64, port: u16) {
        let certificate = self.pair.der.clone().into();
        let key = PrivateKeyDer::from_pem_slice(self.pair.key.as_bytes()).unwrap();
        let crypto = rustls::ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        let crypto = QuicServerConfig::try_from(crypto).unwrap();
        let mut settings = EndpointConfig::default();
        settings.cid_generator(move || Box::new(Naming(id)));
        let socket = UdpSocket::bind(loopback(port)).unwrap();
        let config = ServerConfig::with_crypto(Arc::new(crypto));
        let server = Endpoint::new(settings, Some(config), socket, Arc::new(TokioRuntime)).unwrap();
        self.servers.push((server.clone(), id));
        tokio::spawn(async move {
            while let Some(incoming) = server.accept().await {
                tokio::spawn(async move {
                    let Ok(connection) = incoming.await else { return };
                    while let Ok((mut answer, mut question)) = connection.accept_bi().await {
                        let said = question.read_to_end(1000).await.unwrap_or_default();
                        let text = format!("{id} heard {}", String::from_utf8_lossy(&said));
                        let _ = answer.write_all(text.as_bytes()).await;
                        let _ = answer.finish();
                    }
                });
            }
        });
    }

    /// A listener in front of those of the servers.
    fn yaml(&self, listener: SocketAddr, ids: &[u64]) -> String {
        let members = self.servers.iter().filter(|(_, id)| ids.contains(id)).map(|(server, id)| {
            let port = server.local_addr().unwrap().port();
            format!("{{ address: 127.0.0.1, port: {port}, quic_server_id: \"{id:#018x}\" }}")
        });
        let check = format!(
            "health_check: {{ protocol: http, path: /, port: {}, interval: 1s }}",
            self.health.addr().port()
        );
        let members: Vec<String> = members.collect();
        let group = group_of("video", &format!("protocol: quic, {check}"), &members.join(", "));
        network_listener(&[group], "protocol: quic, default_action: { forward: video }")
            .replace("127.0.0.1:0", &listener.to_string())
    }

    fn client(&self) -> Endpoint {
        let mut roots = RootCertStore::empty();
        roots.add(self.pair.der.clone().into()).unwrap();
        let crypto = rustls::ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut client = Endpoint::client(loopback(0)).unwrap();
        let crypto = QuicClientConfig::try_from(crypto).unwrap();
        client.set_default_client_config(ClientConfig::new(Arc::new(crypto)));
        client
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

async fn connect(client: &Endpoint, listener: SocketAddr) -> Connection {
    let connecting = client.connect(listener, NAME).unwrap();
    tokio::time::timeout(DEADLINE, connecting).await.expect("hands are shaken in time").unwrap()
}

/// Says something on a stream of its own: which server has heard it.
async fn ask(connection: &Connection, words: &str) -> u64 {
    let asked = async {
        let (mut question, mut answer) = connection.open_bi().await.unwrap();
        question.write_all(words.as_bytes()).await.unwrap();
        question.finish().unwrap();
        String::from_utf8(answer.read_to_end(1000).await.unwrap()).unwrap()
    };
    let answer = tokio::time::timeout(DEADLINE, asked).await.expect("an answer comes in time");
    let (id, heard) = answer.split_once(" heard ").unwrap();
    assert_eq!(heard, words);
    id.parse().unwrap()
}

// Conformance: B1.2, B2.4
#[test]
fn a_client_that_moves_stays_with_its_server() {
    run(async {
        let (world, listener) = (World::new(&[1, 2, 3]), loopback(free_port()));
        let _weir = Weir::start_healthy(&world.yaml(listener, &[1, 2, 3]));
        let mut servers = BTreeSet::new();
        for _ in 0..12 {
            let client = world.client();
            let connection = connect(&client, listener).await;
            let server = ask(&connection, "before").await;
            assert_eq!(ask(&connection, "once more").await, server);
            client.rebind(UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
            assert_eq!(ask(&connection, "from elsewhere").await, server);
            servers.insert(server);
        }
        assert_eq!(servers.len(), 3, "connections are spread");
    });
}

/// The id that stands behind the first two bytes of a short header, as text.
fn id_of(text: &str) -> String {
    let bytes: [u8; 8] = text.as_bytes().try_into().expect("8 letters");
    format!("{:#018x}", u64::from_be_bytes(bytes))
}

// Conformance: B2.4
#[test]
fn datagrams_of_one_client_that_name_several_servers_go_to_each() {
    let targets = ["a", "b", "c"].map(UdpTarget::named);
    let members: Vec<String> = ["server-a", "server-b", "server-c"]
        .iter()
        .zip(&targets)
        .map(|(id, target)| target.yaml().replace(" }", &format!(", quic_server_id: \"{}\" }}", id_of(id))))
        .collect();
    let group = group_of("video", "protocol: quic, health_check: { interval: 300s }", &members.join(", "));
    let weir = Weir::start_healthy(&network_listener(
        &[group],
        "protocol: quic, default_action: { forward: video }",
    ));
    let client = UdpClient::of(weir.listener(0));
    for name in ["a", "b", "a", "c", "b", "a"] {
        assert_eq!(client.ask(&format!("@#server-{name} and more")), name);
    }
    assert_eq!(client.ask("@#server-x, whom nobody knows"), "a", "that is of the first connection");
    assert!((weir.metric("weir_flows_total{") - 3.0).abs() < 0.1, "a flow for each server");
}

// Conformance: B2.4
#[test]
fn targets_that_come_and_go_move_no_connection_even_when_its_client_moves() {
    run(async {
        let (mut world, listener) = (World::new(&[1, 2]), loopback(free_port()));
        let weir = Weir::start_healthy(&world.yaml(listener, &[1, 2]));
        let mut connections = Vec::new();
        for _ in 0..12 {
            let client = world.client();
            let connection = connect(&client, listener).await;
            let server = ask(&connection, "before").await;
            connections.push((client, connection, server));
        }
        world.add(3);
        for ids in [&[1, 2, 3][..], &[2, 3]] {
            let text = world.yaml(listener, ids);
            // A thread that waits in a runtime may not begin another one.
            std::thread::scope(|scope| scope.spawn(|| weir.reload(&text)).join().unwrap()).unwrap();
            for (client, connection, server) in &connections {
                client.rebind(UdpSocket::bind("127.0.0.1:0").unwrap()).unwrap();
                // Also where its server is leaving: it keeps what it has for the deregistration delay.
                assert_eq!(ask(connection, "still").await, *server);
            }
        }
    });
}

// Conformance: B2.4
#[test]
fn a_datagram_that_names_nobody_is_placed_as_one_of_udp() {
    let targets = ["a", "b", "c", "d"].map(UdpTarget::named);
    let members: Vec<String> = (0..)
        .zip(&targets)
        .map(|(n, target)| target.yaml().replace(" }", &format!(", quic_server_id: \"{n:#018x}\" }}")))
        .collect();
    let group = group_of("video", "protocol: quic, health_check: { interval: 300s }", &members.join(", "));
    let listener = "protocol: quic, default_action: { forward: video }";
    let weir = Weir::start_healthy(&network_listener(&[group], listener));
    // As it was before there was a server id in it: bytes of anything else.
    let clients: Vec<UdpClient> = (0..40).map(|_| UdpClient::of(weir.listener(0))).collect();
    let first: Vec<String> = clients.iter().map(|client| client.ask("no connection id at all")).collect();
    let again: Vec<String> = clients.iter().map(|client| client.ask("nor here, as is plain")).collect();
    assert_eq!(first, again);
    assert_eq!(first.into_iter().collect::<BTreeSet<_>>().len(), 4);
}

// Conformance: B1.2
#[test]
fn tcp_and_quic_are_served_at_one_port() {
    run(async {
        let mut world = World::new(&[]);
        let tcp = FakeTarget::answering("over TCP");
        world.add_at(1, tcp.addr().port());
        let listener = loopback(free_port());
        let text = world.yaml(listener, &[1]).replace("protocol: quic", "protocol: tcp_quic");
        let weir = Weir::start_healthy(&text);
        assert_eq!(ask(&connect(&world.client(), listener).await, "over QUIC").await, 1);
        assert_eq!(weir.get("/").body, "over TCP");
    });
}

// Conformance: B2.11
#[test]
fn each_target_of_quic_has_an_id_of_its_own() {
    let text = |protocol: &str, targets: &str| {
        let listener = if protocol == "udp" { "udp" } else { "quic" };
        let group = group_of("video", &format!("protocol: {protocol}"), targets);
        network_listener(&[group], &format!("protocol: {listener}, default_action: {{ forward: video }}"))
    };
    let one = "{ address: 127.0.0.1, port: 1, quic_server_id: \"0x0000000000000001\" }";
    for (protocol, targets, expected) in [
        ("quic", "{ address: 127.0.0.1, port: 1 }".to_owned(), "has no `quic_server_id`"),
        (
            "quic",
            format!("{one}, {}", one.replace("port: 1", "port: 2")),
            "two targets have the `quic_server_id`",
        ),
        ("quic", one.replace("0x0000000000000001", "7"), "is not a server id"),
        ("udp", one.to_owned(), "have no `quic_server_id`"),
    ] {
        let told = weir_config::parse(&text(protocol, &targets), std::path::Path::new("weir.yaml"))
            .unwrap_err()
            .to_string();
        assert!(told.contains(expected), "{told}");
    }
}

#[test]
fn the_example_passes_quic_through() {
    run(async {
        let world = World::new(&[1, 2]);
        let port = |at: usize| world.servers[at].0.local_addr().unwrap().port();
        let weir = Example::read("quic.yaml")
            .with("14433", &port(0).to_string())
            .with("14434", &port(1).to_string())
            .with("9443", &world.health.addr().port().to_string())
            .serve();
        assert!([1, 2].contains(&ask(&connect(&world.client(), weir.listener(0)).await, "hello").await));
    });
}
