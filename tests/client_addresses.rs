//! Targets that see the address of a client as where a connection comes from, on hosts that the test makes.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::process::{Command, Stdio};

use weir_tests::yaml::{group_of, network_listener};
use weir_tests::{Binary, Client, Folder, Namespaces, Reply, wait_until};

/// Where clients reach weir, where targets are, and how many of those there are.
const LISTENER: &str = "10.79.1.1:5000";
const TARGET: &str = "10.79.2.254:9000";
const TARGET6: &str = "[fd79:2::fe]:9000";

/// Where weir's admin port is on its host.
const ADMIN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9900);

/// Runs weir on this thread's host; its listeners take flows when this returns.
fn run_until_ready(path: &str) -> Binary {
    let weir = Binary::start(&mut Binary::command(&["run", "-c", path]));
    wait_until("weir runs", || std::net::TcpStream::connect(ADMIN).is_ok());
    assert_eq!(ask_admin("/healthz").status, 200);
    weir
}

fn ask_admin(path: &str) -> Reply {
    Client::connect(ADMIN).ask(format!("GET {path} HTTP/1.1\r\nHost: {ADMIN}\r\nConnection: close\r\n\r\n"))
}

/// The client's host, weir's, and that of the target, whose gateway weir's is.
struct Hosts {
    client: Namespaces,
    weir: Namespaces,
    target: Namespaces,
}

impl Hosts {
    /// `None` where hosts cannot be made and that is allowed.
    fn make() -> Option<Self> {
        let mut asked = Command::new("ip");
        let has_ip =
            asked.arg("-V").stdin(Stdio::null()).output().is_ok_and(|output| output.status.success());
        if !has_ip || !rustix::process::geteuid().is_root() {
            assert!(std::env::var_os("CI").is_none(), "CI is set, and root with `ip` is needed");
            return None;
        }
        let hosts = Self {
            client: Namespaces::new("client"),
            weir: Namespaces::new("weir"),
            target: Namespaces::new("target"),
        };
        for (number, host) in [(1, &hosts.client), (2, &hosts.target)] {
            hosts.weir.ip(&format!("link add eth{number} type veth peer name eth0 netns {}", host.id()));
            hosts.weir.ip(&format!("addr add 10.79.{number}.1/24 dev eth{number}"));
            hosts.weir.ip(&format!("addr add fd79:{number}::1/64 dev eth{number} nodad"));
            hosts.weir.ip(&format!("link set eth{number} up"));
            host.ip(&format!("addr add 10.79.{number}.254/24 dev eth0"));
            host.ip(&format!("addr add fd79:{number}::fe/64 dev eth0 nodad"));
            host.ip("link set eth0 up");
            host.ip(&format!("route add default via 10.79.{number}.1"));
            host.ip(&format!("-6 route add default via fd79:{number}::1"));
        }
        // What the target answers to clients is weir's to take, as `docs/client-addresses.md` has it.
        for (family, all) in [("-4", "0.0.0.0/0"), ("-6", "::/0")] {
            for protocol in ["tcp", "udp"] {
                hosts
                    .weir
                    .ip(&format!("{family} rule add iif eth2 ipproto {protocol} sport 9000 lookup 100"));
            }
            hosts.weir.ip(&format!("{family} route add local {all} dev lo table 100"));
        }
        Namespaces::run(&hosts.weir.network(), || {
            for setting in ["all/rp_filter", "eth2/rp_filter"] {
                std::fs::write(format!("/proc/sys/net/ipv4/conf/{setting}"), "0").expect("root may set it");
            }
        });
        Some(hosts)
    }

    /// Runs weir with one group of that target; its listener takes flows when this returns.
    fn run_weir(&self, folder: &Folder, protocol: &str, target: &str, listener: &str) -> Binary {
        let target: SocketAddr = target.parse().unwrap();
        let target = format!("{{ address: \"{}\", port: {} }}", target.ip(), target.port());
        let settings =
            format!("protocol: {protocol}, preserve_client_ip: true, health_check: {{ port: 9001 }}");
        let group = group_of("db", &settings, &target);
        let text =
            network_listener(&[group], &format!("protocol: {protocol}, default_action: {{ forward: db }}"));
        let mut text = text.replace("127.0.0.1:0", listener);
        writeln!(text, "admin: {{ bind: \"{ADMIN}\" }}").unwrap();
        let path = folder.write("weir.yaml", &text).display().to_string();
        Namespaces::run(&self.weir.network(), || run_until_ready(&path))
    }

    /// Runs something that tells every client where it comes from.
    fn run_target(&self, at: &'static str) {
        Namespaces::run(&self.target.network(), || {
            let listener = TcpListener::bind(at).expect("the host has the address");
            let socket = UdpSocket::bind(at).expect("the host has the address");
            std::thread::spawn(move || {
                // Flows go on until their clients end them.
                let mut open = Vec::new();
                for mut stream in listener.incoming().flatten() {
                    let _ = writeln!(stream, "{}", stream.peer_addr().expect("it is connected"));
                    open.push(stream);
                }
            });
            std::thread::spawn(move || {
                while let Ok((_, peer)) = socket.recv_from(&mut [0; 100]) {
                    let _ = socket.send_to(peer.to_string().as_bytes(), peer);
                }
            });
        });
    }
}

// Conformance: B3.11, B5.1
#[test]
fn a_target_of_tcp_sees_the_client_s_address_and_port() {
    let Some(hosts) = Hosts::make() else { return };
    for (target, listener) in [(TARGET, LISTENER), (TARGET6, "[fd79:1::1]:5000")] {
        let folder = Folder::new();
        hosts.run_target(target);
        let _weir = hosts.run_weir(&folder, "tcp", target, listener);
        Namespaces::run(&hosts.client.network(), || {
            for _ in 0..3 {
                let mut client = Client::connect(listener.parse().unwrap());
                assert_eq!(client.line(), Some(client.addr().to_string()));
            }
        });
    }
}

// Conformance: B3.11, B5.1
#[test]
fn a_target_of_udp_sees_the_client_s_address_and_port() {
    let Some(hosts) = Hosts::make() else { return };
    let folder = Folder::new();
    hosts.run_target(TARGET);
    let _weir = hosts.run_weir(&folder, "udp", TARGET, LISTENER);
    Namespaces::run(&hosts.client.network(), || {
        let client = UdpSocket::bind("10.79.1.254:0").unwrap();
        client.connect(LISTENER).unwrap();
        client.set_read_timeout(Some(weir_tests::DEADLINE)).unwrap();
        client.send(b"who am I?").unwrap();
        let mut answer = [0; 100];
        let count = client.recv(&mut answer).expect("the target answers");
        assert_eq!(std::str::from_utf8(&answer[..count]).unwrap(), client.local_addr().unwrap().to_string());
    });
}

#[test]
fn a_client_of_another_family_than_the_target_is_seen_by_weir_s_address() {
    let Some(hosts) = Hosts::make() else { return };
    let folder = Folder::new();
    hosts.run_target(TARGET6);
    let _weir = hosts.run_weir(&folder, "tcp", TARGET6, LISTENER);
    Namespaces::run(&hosts.client.network(), || {
        let mut client = Client::connect(LISTENER.parse().unwrap());
        assert!(client.line().is_some_and(|peer| peer.starts_with("[fd79:2::1]:")));
    });
}

// Conformance: B5.2
#[test]
fn a_target_sees_weir_s_address_unless_something_else_is_written() {
    let target = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = target.local_addr().unwrap();
    let group = group_of(
        "db",
        "protocol: tcp, health_check: { interval: 300s }",
        &format!("{{ address: 127.0.0.1, port: {} }}", addr.port()),
    );
    let weir = weir_tests::Weir::start(&network_listener(&[group], "default_action: { forward: db }"));
    let own = SocketAddr::from(([127, 0, 0, 9], 0));
    let _client = Client::connect_from(own, weir.listener(0));
    // The health check's connection is from there, too.
    for _ in 0..2 {
        assert_eq!(target.accept().unwrap().1.ip().to_string(), "127.0.0.1");
    }
}

#[test]
fn a_process_that_may_not_speak_from_other_addresses_refuses_to_and_says_what_to_do() {
    if !rustix::process::geteuid().is_root() {
        assert!(std::env::var_os("CI").is_none(), "CI is set, and root is needed");
        return;
    }
    let folder = Folder::new();
    let group = group_of("db", "protocol: tcp, preserve_client_ip: true", "{ address: 127.0.0.1, port: 9 }");
    let text = network_listener(&[group], "default_action: { forward: db }");
    let path = folder.write("weir.yaml", &format!("admin: {{ bind: \"127.0.0.1:0\" }}\n{text}"));
    let weir = Binary::path();
    let dropped = ["--bounding-set", "-net_admin,-net_raw", "--inh-caps", "-net_admin,-net_raw"];
    let told = Command::new("setpriv")
        .args(dropped)
        .arg(weir)
        .args(["run", "-c", path.to_str().unwrap()])
        .stdin(Stdio::null())
        .output()
        .expect("setpriv is there");
    let said = String::from_utf8_lossy(&told.stderr);
    assert!(!told.status.success());
    assert!(
        said.contains("target group db: `preserve_client_ip` takes the capability CAP_NET_RAW"),
        "{said}"
    );
    assert!(said.contains("proxy_protocol_v2"), "{said}");
}

// Conformance: B5.3, B10.8
#[test]
fn a_flow_for_which_no_port_is_left_goes_to_another_target_and_is_counted() {
    let Some(hosts) = Hosts::make() else { return };
    let folder = Folder::new();
    Namespaces::run(&hosts.weir.network(), || {
        std::fs::write("/proc/sys/net/ipv4/ip_local_port_range", "40000 40003").expect("root may set it");
    });
    let targets = ["10.79.2.254:9000", "10.79.2.254:9002"];
    for at in targets {
        hosts.run_target(at);
    }
    let members = "{ address: 10.79.2.254, port: 9000 }, { address: 10.79.2.254, port: 9002 }";
    let group = group_of("db", "protocol: tcp, health_check: { interval: 300s }", members);
    let text = network_listener(&[group], "default_action: { forward: db }").replace("127.0.0.1:0", LISTENER);
    let path = folder.write("weir.yaml", &format!("admin: {{ bind: \"{ADMIN}\" }}\n{text}"));
    let _weir = Namespaces::run(&hosts.weir.network(), || {
        let path = path.display().to_string();
        run_until_ready(&path)
    });
    // Four ports lead to each of the two targets; a ninth flow finds none.
    let flows: Vec<Client> = Namespaces::run(&hosts.client.network(), || {
        (0..9).map(|_| Client::connect(LISTENER.parse().unwrap())).collect()
    });
    let greeted: Vec<String> = flows.into_iter().filter_map(|mut client| client.line()).collect();
    assert!(greeted.len() <= 8, "{greeted:?}");
    let page = Namespaces::run(&hosts.weir.network(), || ask_admin("/metrics").body);
    let mut counts = page.lines().filter(|line| line.starts_with("weir_target_connection_errors_total"));
    let count = counts.find(|line| line.contains("step=\"port\"")).and_then(|line| line.rsplit(' ').next());
    assert!(count.is_some_and(|count| count != "0"), "{page}");
}
