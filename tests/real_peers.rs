//! Servers of others behind a network listener, and their own clients before it: Postgres and iperf3.

use std::fmt::Write;
use std::net::TcpListener;

use serde_json::Value;
use weir_tests::tls::Pair;
use weir_tests::yaml::{group_of, network_listener};
use weir_tests::{Folder, Iperf, Postgres, Weir};

/// Rows of a table that is copied; of 80 bytes each, so that there are 16 MB of them.
const ROWS: usize = 200_000;

/// Connections to a Postgres through a network listener that passes bytes.
fn before(postgres: &Postgres) -> (Weir, u16) {
    let group = group_of("db", "protocol: tcp", &postgres.yaml());
    let weir = Weir::start_healthy(&network_listener(&[group], "default_action: { forward: db }"));
    let port = weir.listener(0).port();
    (weir, port)
}

/// Rows as Postgres writes them: a number, a tab and a text.
fn rows() -> String {
    let mut text = String::new();
    for number in 0..ROWS {
        writeln!(text, "{number}\t{:072}", number * number).expect("writing to a string succeeds");
    }
    text
}

/// As Postgres tells a checksum of bytes.
fn sha256(bytes: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, bytes);
    digest.as_ref().iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// Copies rows into a table and out of it again: the server's checksum of what came, and what came back.
fn copy_both_ways(port: u16, settings: &str, rows: &str) -> (String, String) {
    let folder = Folder::new();
    let (there, back) = (folder.write("there", rows), folder.path().join("back"));
    let copy_in = format!("\\copy big from '{}'", there.display());
    let copy_out = format!("\\copy (select * from big order by id) to '{}'", back.display());
    let checksum = Postgres::ask(
        port,
        settings,
        &[
            "create table big (id int primary key, text text)",
            &copy_in,
            "select encode(sha256(string_agg(id || E'\\t' || text || E'\\n', '' order by id)::bytea), 'hex') from big",
            &copy_out,
        ],
    );
    (checksum, std::fs::read_to_string(back).unwrap())
}

#[test]
fn postgresql_gets_a_copy_whole_and_gives_it_back() {
    let postgres = Postgres::start(None);
    let (_weir, port) = before(&postgres);
    let rows = rows();
    let (checksum, back) = copy_both_ways(port, "sslmode=disable", &rows);
    assert_eq!(checksum, sha256(rows.as_bytes()), "what the server has");
    assert!(back == rows, "{} bytes came back, of {}", back.len(), rows.len());
}

#[test]
fn postgresql_loses_no_transaction_of_many_clients() {
    let postgres = Postgres::start(None);
    let (weir, port) = before(&postgres);
    let settings = "sslmode=disable";
    let bench = |arguments: &[&str]| Postgres::client("pgbench", port, settings, arguments);
    bench(&["-i", "-q", "-s", "1"]);
    let said = bench(&["-n", "-c", "8", "-t", "50"]);
    assert!(said.contains("number of transactions actually processed: 400/400"), "{said}");
    // A connection for each transaction.
    let said = bench(&["-n", "-C", "-c", "4", "-t", "25"]);
    assert!(said.contains("number of transactions actually processed: 100/100"), "{said}");
    assert_eq!(Postgres::ask(port, settings, &["select count(*) from pgbench_history"]), "500");
    assert!(weir.metric("weir_flows_total{") >= 110.0, "every connection came through weir");
}

#[test]
fn postgresql_s_own_tls_is_that_of_its_client() {
    let (pair, folder) = (Pair::new(&["127.0.0.1"]), Folder::new());
    let known = folder.write("known.pem", &pair.certificate);
    let postgres = Postgres::start(Some(&pair));
    let (_weir, port) = before(&postgres);
    // The client takes nobody but the server itself: weir has no key to show.
    let settings = format!("sslmode=verify-full sslrootcert={}", known.display());
    let is_tls = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
    assert_eq!(Postgres::ask(port, &settings, &[is_tls]), "t");
    let rows = rows();
    let (checksum, back) = copy_both_ways(port, "sslmode=require", &rows);
    assert_eq!(checksum, sha256(rows.as_bytes()), "what the server has");
    assert!(back == rows, "{} bytes came back, of {}", back.len(), rows.len());
}

#[test]
fn postgresql_that_speaks_no_tls_serves_clients_that_begin_with_it() {
    let postgres = Postgres::start(None);
    let ask = |alpn_policy: &str| {
        let folder = Folder::new();
        Pair::new(&["127.0.0.1"]).write(&folder, "db");
        let settings = format!(
            "sslmode=verify-full sslnegotiation=direct sslrootcert={}",
            folder.path().join("db.pem").display()
        );
        let listener = format!(
            "protocol: tls, {alpn_policy} certificates: {{ certificate: db.pem, key: db.key }}, default_action: {{ forward: db }}"
        );
        let group = group_of("db", "protocol: tcp", &postgres.yaml());
        let weir = Weir::start_in(folder, &network_listener(&[group], &listener), |_| {});
        weir.wait_until_healthy();
        Postgres::ask_by_psycopg(
            weir.listener(0).port(),
            &settings,
            "select count(*) from generate_series(1, 1000)",
        )
    };
    assert_eq!(ask("alpn_policy: [postgresql],"), Ok("1000".to_owned()));
    // This is why the listener has to name the protocol.
    let refused = ask("").unwrap_err();
    assert!(refused.contains("ALPN"), "{refused}");
}

/// A weir with two listeners, of TCP and of both transports, each before an iperf3 of its own.
struct Measured {
    weir: Weir,
    _servers: [Iperf; 2],
    /// What is asked for health: iperf3 would take whoever asks for a client.
    _healthy: TcpListener,
}

impl Measured {
    fn start() -> Self {
        let servers = [Iperf::start(), Iperf::start()];
        let healthy = TcpListener::bind("127.0.0.1:0").unwrap();
        let check =
            format!("health_check: {{ protocol: tcp, port: {} }}", healthy.local_addr().unwrap().port());
        let groups = [("db", "tcp", 0), ("both", "tcp_udp", 1)].map(|(name, protocol, server)| {
            group_of(name, &format!("protocol: {protocol}, {check}"), &servers[server].yaml())
        });
        let listener = "default_action: { forward: db } }, { bind: \"127.0.0.1:0\", protocol: tcp_udp, default_action: { forward: both }";
        let weir = Weir::start_healthy(&network_listener(&groups, listener));
        Self { weir, _servers: servers, _healthy: healthy }
    }

    /// What came at the receiver, by TCP alone.
    fn tcp(&self, options: &[&str]) -> Value {
        Iperf::client(self.weir.listener(0).port(), options)["sum_received"].take()
    }

    /// What came at the receiver, of datagrams that a connection is about: few enough a second for every buffer.
    fn udp(&self, options: &[&str]) -> Value {
        let rate = ["-u", "-b", "2M", "-l", "1000"];
        let port = self.weir.listener(1).port();
        Iperf::client(port, &[&rate, options].concat())["sum_received"].take()
    }
}

#[test]
fn iperf3_measures_both_transports_at_the_same_time_in_both_directions() {
    let measured = Measured::start();
    for options in [&[][..], &["-R"]] {
        let (tcp, udp) = std::thread::scope(|scope| {
            let tcp = scope.spawn(|| measured.tcp(options));
            let udp = measured.udp(options);
            (tcp.join().unwrap(), udp)
        });
        assert!(tcp["bytes"].as_u64() > Some(0), "{options:?}: {tcp}");
        assert!(udp["bytes"].as_u64() > Some(0), "{options:?}: {udp}");
        assert!(udp["lost_percent"].as_f64().is_some_and(|lost| lost < 5.0), "{options:?}: {udp}");
    }
}
