//! Programs of others as clients: curl, h2load, testssl.sh, slowhttptest, and a library for WebSocket.

use std::io::Write;

use futures_util::{SinkExt, StreamExt};
use tokio_tungstenite::tungstenite::Message;
use weir_tests::program::Said;
use weir_tests::target::respond;
use weir_tests::tls::{Pair, dialled};
use weir_tests::yaml::{application, group};
use weir_tests::{FakeTarget, Folder, Http2Client, Tunnel, Weir, program, run};

/// Where the certificate of a listener is said to be.
const NAME: &str = "shop.example";

/// A weir whose two listeners forward to a target that tells what it got; the second speaks TLS.
struct Edge {
    target: FakeTarget,
    weir: Weir,
}

impl Edge {
    fn start(settings: &str) -> Self {
        let target = FakeTarget::behaving(|received, stream| match received.request_line.split(' ').nth(1) {
            Some("/range") => {
                let _ = stream.write_all(b"HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 2-4/10\r\nContent-Length: 3\r\n\r\n234");
                true
            }
            Some("/chunks") => {
                let _ = stream.write_all(
                    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
                );
                true
            }
            Some("/big") => respond(stream, 200, &"x".repeat(3_000_000)),
            Some("/head") => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n");
                true
            }
            _ => {
                let line = format!("{} {}", received.request_line, received.body.len());
                respond(stream, 200, &line)
            }
        });
        let folder = Folder::new();
        Pair::new(&[NAME]).write(&folder, "shop");
        let yaml = application(&[group("web", "", &[&target])], settings, "default_action: { forward: web }");
        let secure = "bind: \"127.0.0.1:0\", protocol: https, certificates: { certificate: shop.pem, key: shop.key }, default_action: { forward: web }";
        let yaml = yaml.replace("listeners: [", &format!("listeners: [{{ {secure} }}, "));
        let weir = Weir::start_in(folder, &yaml, |_| {});
        weir.wait_until_healthy();
        Self { target, weir }
    }

    /// `http://a.example:PORT` and how curl finds it.
    fn clear(&self) -> (String, String) {
        let port = self.weir.listener(1).port();
        (format!("http://a.example:{port}"), format!("a.example:{port}:127.0.0.1"))
    }

    fn secure(&self) -> (String, String) {
        let port = self.weir.listener(0).port();
        (format!("https://{NAME}:{port}"), format!("{NAME}:{port}:127.0.0.1"))
    }
}

/// Asks with curl; the body that it prints, and the status and version that it saw.
fn curl((base, place): &(String, String), path: &str, options: &[&str]) -> (String, String) {
    let url = format!("{base}{path}");
    let mut arguments =
        vec!["--silent", "--show-error", "--insecure", "--max-time", "60", "--resolve", place];
    arguments.extend(["--write-out", "\n%{http_code} %{http_version}"]);
    arguments.extend(options);
    arguments.push(&url);
    let Said { status, out, err } = program("curl", "curl", &arguments);
    assert_eq!((status, err.as_str()), (0, ""), "curl {arguments:?}: {out}");
    let (body, seen) = out.rsplit_once('\n').unwrap();
    (body.to_owned(), seen.to_owned())
}

#[test]
fn curl_is_served_in_every_version() {
    let edge = Edge::start("http2_prior_knowledge: true");
    for (base, options, version) in [
        (edge.clear(), &["--http1.1"][..], "1.1"),
        (edge.clear(), &["--http1.0"], "1.1"),
        (edge.clear(), &["--http2-prior-knowledge"], "2"),
        (edge.clear(), &["--http2"], "1.1"),
        (edge.secure(), &["--http1.1"], "1.1"),
        (edge.secure(), &["--http2"], "2"),
        (edge.secure(), &["--tlsv1.3"], "2"),
        (edge.secure(), &["--tls-max", "1.2"], "2"),
    ] {
        let (body, seen) = curl(&base, "/a?b=c", options);
        assert_eq!((body.as_str(), seen), ("GET /a?b=c HTTP/1.1 0", format!("200 {version}")), "{options:?}");
    }
}

#[test]
fn curl_sends_and_gets_bodies_of_every_kind() {
    let edge = Edge::start("http2_prior_knowledge: true");
    let file = edge.weir.folder.write("upload", &"0123456789".repeat(200_000));
    let data = format!("@{}", file.display());
    let upload = file.display().to_string();
    for (base, version) in [
        (edge.clear(), "--http1.1"),
        (edge.clear(), "--http2-prior-knowledge"),
        (edge.secure(), "--http1.1"),
        (edge.secure(), "--http2"),
    ] {
        let ask = |path: &str, options: &[&str]| curl(&base, path, &[&[version], options].concat()).0;
        assert_eq!(ask("/", &["--data-binary", "hello"]), "POST / HTTP/1.1 5", "{version}");
        // curl waits for 100 Continue with a body of this size.
        assert_eq!(ask("/", &["--data-binary", &data]), "POST / HTTP/1.1 2000000", "{version}");
        assert_eq!(ask("/", &["--upload-file", &upload]), "PUT /upload HTTP/1.1 2000000", "{version}");
        assert_eq!(
            ask("/", &["--header", "Expect: 100-continue", "--data-binary", "x"]),
            "POST / HTTP/1.1 1",
            "{version}"
        );
        assert_eq!(ask("/range", &["--range", "2-4"]), "234", "{version}");
        assert_eq!(edge.target.last().header("range"), "bytes=2-4", "{version}");
        assert_eq!(ask("/chunks", &[]), "hello", "{version}");
        assert_eq!(ask("/big", &[]).len(), 3_000_000, "{version}");
        assert!(ask("/head", &["--head"]).to_ascii_lowercase().contains("content-length: 1234"), "{version}");
    }
    let (body, _) = curl(
        &edge.clear(),
        "/",
        &["--http1.1", "--header", "Transfer-Encoding: chunked", "--data-binary", &data],
    );
    assert_eq!(body, "POST / HTTP/1.1 2000000");
    assert_eq!(edge.target.last().header("transfer-encoding"), "chunked");
}

#[test]
fn curl_uses_its_connection_again() {
    let edge = Edge::start("");
    let (base, place) = edge.secure();
    let urls: Vec<String> = (0..20).map(|number| format!("{base}/{number}")).collect();
    let mut arguments =
        vec!["--silent", "--insecure", "--resolve", &place, "--write-out", "%{num_connects}\n"];
    for url in &urls {
        arguments.extend(["--output", "/dev/null", url]);
    }
    let said = program("curl", "curl", &arguments);
    let connects: Vec<&str> = said.out.lines().collect();
    assert_eq!((connects.len(), connects[0]), (20, "1"), "{said:?}");
    assert!(connects[1..].iter().all(|connects| *connects == "0"), "{connects:?}");
}

/// Loads a listener; every request must succeed.
fn h2load(url: &str, options: &[&str]) {
    const REQUESTS: &str = "4000";
    let mut arguments = vec!["-n", REQUESTS, "-c", "10"];
    arguments.extend(options);
    arguments.push(url);
    let said = program("h2load", "nghttp2-client", &arguments);
    let expected = format!(
        "{REQUESTS} total, {REQUESTS} started, {REQUESTS} done, {REQUESTS} succeeded, 0 failed, 0 errored, 0 timeout"
    );
    assert!(said.out.contains(&expected), "{options:?}: {} {}", said.out, said.err);
}

#[test]
fn h2load_loses_no_request() {
    let edge = Edge::start("http2_prior_knowledge: true");
    let clear = format!("http://{}/", edge.weir.listener(1));
    let secure = format!("https://{}/", edge.weir.listener(0));
    let body = edge.weir.folder.write("body", &"x".repeat(10_000)).display().to_string();
    h2load(&clear, &["-m", "10"]);
    h2load(&clear, &["-m", "100", "-d", &body]);
    h2load(&clear, &["--h1"]);
    h2load(&clear, &["--h1", "-d", &body]);
    h2load(&secure, &["-m", "10"]);
    h2load(&secure, &["--h1"]);
    h2load(&format!("{clear}chunks"), &["-m", "10"]);
}

#[test]
fn h2load_gets_bodies_of_megabytes_on_many_streams() {
    let edge = Edge::start("http2_prior_knowledge: true");
    let url = format!("http://{}/big", edge.weir.listener(1));
    let said = program("h2load", "nghttp2-client", &["-n", "40", "-c", "2", "-m", "10", &url]);
    assert!(said.out.contains("40 succeeded, 0 failed"), "{}", said.out);
    assert!(said.out.contains("(120000000) data"), "all bytes: {}", said.out);
}

#[test]
fn testssl_finds_nothing_wrong_but_who_vouches() {
    /// What a certificate that nobody vouches for, on no public address, is blamed for.
    const OF_THE_CERTIFICATE: [&str; 8] =
        ["cert", "DNS_CAArecord", "OCSP_stapling", "overall_grade", "trust", "chain", "intermediate", "HSTS"];
    let edge = Edge::start("");
    let addr = edge.weir.listener(0).to_string();
    let report = edge.weir.folder.path().join("report.json").display().to_string();
    let scan = [
        "--quiet",
        "--color",
        "0",
        "--warnings",
        "off",
        "--nodns",
        "none",
        "--protocols",
        "--server-defaults",
        "--server-preference",
        "--pfs",
        "--vulnerable",
        "--jsonfile",
        &report,
        &addr,
    ];
    let said = program("testssl", "testssl.sh", &scan);
    let findings: serde_json::Value = serde_json::from_str(
        &std::fs::read_to_string(&report).unwrap_or_else(|error| panic!("{error}: {said:?}")),
    )
    .unwrap();
    let findings = findings.as_array().unwrap();
    let text = |finding: &serde_json::Value, key: &str| finding[key].as_str().unwrap_or("").to_owned();
    let found = |id: &str| {
        findings
            .iter()
            .find(|finding| text(finding, "id") == id)
            .map(|f| text(f, "finding"))
            .unwrap_or_default()
    };
    assert!(found("TLS1_3").starts_with("offered") && found("TLS1_2").starts_with("offered"), "{findings:?}");
    for old in ["SSLv2", "SSLv3", "TLS1", "TLS1_1"] {
        assert!(found(old).starts_with("not offered"), "{old}: {}", found(old));
    }
    assert!(findings.len() > 40, "only {} findings", findings.len());
    for finding in findings {
        let (id, severity) = (text(finding, "id"), text(finding, "severity"));
        let is_bad = ["MEDIUM", "HIGH", "CRITICAL", "WARN", "FATAL"].contains(&severity.as_str());
        let is_certificate_s = OF_THE_CERTIFICATE.iter().any(|known| id.starts_with(known));
        // What it lacks itself, and a client of its own that leaves before it has heard of the session that it is to resume.
        let is_scanner_s = id == "engine_problem"
            || (id.starts_with("sessionresumption") && text(finding, "finding").contains("connect problem"));
        assert!(!is_bad || is_certificate_s || is_scanner_s, "{finding}");
    }
}

/// Slows a listener down with many connections for a while; others must be served as if nothing were.
fn slowhttptest(options: &[&str]) -> Said {
    const CONNECTIONS: &str = "200";
    let edge = Edge::start("idle_timeout: 2s");
    let url = format!("http://{}/big", edge.weir.listener(1));
    let mut arguments =
        vec!["-c", CONNECTIONS, "-r", CONNECTIONS, "-l", "8", "-i", "1", "-p", "3", "-u", &url];
    arguments.extend(options);
    std::thread::scope(|scope| {
        let slowing = scope.spawn(|| program("slowhttptest", "slowhttptest", &arguments));
        while !slowing.is_finished() {
            let reply = edge.weir.process().listeners()[1].3.0;
            assert_eq!(weir_tests::get(reply, "/").status, 200, "{options:?}: others are served");
        }
        slowing.join().unwrap()
    })
}

/// What slowhttptest counts, at its end.
fn counted(said: &Said, what: &str) -> usize {
    let lines = said.out.lines().rev().chain(said.err.lines().rev());
    let line = lines.into_iter().find_map(|line| line.strip_prefix(what).map(ToOwned::to_owned));
    let digits: String = line.unwrap_or_default().chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|_| panic!("no {what:?} in {said:?}"))
}

#[test]
fn heads_that_drip_disturb_nobody_and_are_closed() {
    let said = slowhttptest(&["-H", "-x", "10"]);
    assert!(plain(&said).contains("YES"), "service available: {said:?}");
    assert_eq!(counted(&plain_said(&said), "connected:"), 0, "{said:?}");
}

#[test]
fn bodies_that_drip_disturb_nobody() {
    let said = slowhttptest(&["-B", "-s", "8192", "-x", "10"]);
    assert!(plain(&said).contains("YES"), "service available: {said:?}");
}

#[test]
fn readers_that_dawdle_disturb_nobody() {
    let said = slowhttptest(&["-X", "-w", "10", "-y", "20", "-n", "5", "-z", "32", "-k", "3"]);
    assert!(plain(&said).contains("YES"), "service available: {said:?}");
}

fn plain(said: &Said) -> String {
    plain_said(said).out
}

/// Without colours and columns.
fn plain_said(said: &Said) -> Said {
    let mut out = String::new();
    let mut is_escape = false;
    for letter in said.out.chars() {
        match letter {
            '\x1b' => is_escape = true,
            letter if is_escape => is_escape = !letter.is_ascii_alphabetic(),
            letter => out.push(letter),
        }
    }
    let out = out.lines().map(str::trim).collect::<Vec<_>>().join("\n");
    Said { out, ..said.clone() }
}

/// Agrees to every WebSocket, and echoes frames as their bytes come; masks are taken off by hand.
fn echoing() -> FakeTarget {
    FakeTarget::behaving(|received, stream| {
        let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(
            received.header("sec-websocket-key").as_bytes(),
        );
        let _ = write!(
            stream,
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
        );
        let mut socket = tokio_tungstenite::tungstenite::WebSocket::from_raw_socket(
            stream,
            tokio_tungstenite::tungstenite::protocol::Role::Server,
            None,
        );
        while let Ok(message) = socket.read() {
            if (message.is_text() || message.is_binary()) && socket.send(message).is_err() {
                break;
            }
        }
        false
    })
}

async fn talk(
    mut socket: impl SinkExt<Message>
    + StreamExt<Item = Result<Message, tokio_tungstenite::tungstenite::Error>>
    + Unpin,
) {
    let large = Message::binary(vec![7; 300_000]);
    for message in [Message::text("hello"), Message::binary(vec![0, 1, 2]), large, Message::text("")] {
        assert!(socket.send(message.clone()).await.is_ok(), "the tunnel is open");
        assert!(socket.next().await.unwrap().unwrap() == message, "an echo");
    }
    assert!(socket.close().await.is_ok(), "the tunnel is open");
    while let Some(Ok(message)) = socket.next().await {
        assert!(message.is_close(), "{message:?}");
    }
}

// Conformance: A6.51
#[test]
fn a_websocket_client_talks_through_weir_with_and_without_tls() {
    let target = echoing();
    let folder = Folder::new();
    Pair::new(&[NAME]).write(&folder, "shop");
    let listener = "protocol: https, certificates: { certificate: shop.pem, key: shop.key }, default_action: { forward: web }";
    let secure = Weir::start_in(folder, &application(&[group("web", "", &[&target])], "", listener), |_| {});
    let clear = Weir::start(&weir_tests::yaml::forwarding_to(&[&target]));
    secure.wait_until_healthy();
    clear.wait_until_healthy();
    run(async {
        let stream = tokio::net::TcpStream::connect(clear.listener(0)).await.unwrap();
        let (socket, _) = tokio_tungstenite::client_async("ws://a.example/chat", stream).await.unwrap();
        talk(socket).await;
        let stream = dialled(secure.listener(0)).await;
        let (stream, _) =
            weir_tls::TargetSide::new().connect(stream, Some(NAME), &[weir_tls::Alpn::Http1]).await.unwrap();
        let (socket, _) =
            tokio_tungstenite::client_async(format!("wss://{NAME}/chat"), stream).await.unwrap();
        talk(socket).await;
    });
    assert_eq!(target.received().len(), 2);
}

// Conformance: A6.13
#[test]
fn a_websocket_goes_through_a_stream_of_http_2() {
    let target = echoing();
    let settings = "http2_prior_knowledge: true";
    let groups = [group("web", "", &[&target])];
    let weir = Weir::start_healthy(&application(&groups, settings, "default_action: { forward: web }"));
    run(async {
        let mut client = Http2Client::connect(weir.listener(0)).await;
        client.get("/first").await;
        assert!(client.has_tunnels(), "the listener allows extended CONNECT");
        let (response, stream) = client.begin_tunnel("websocket", "/chat").await;
        let response = response.await.unwrap();
        assert_eq!(response.status(), 200);
        assert!(!response.headers().contains_key("sec-websocket-accept"), "{response:?}");
        let tunnel = Tunnel::new(response.into_body(), stream);
        let role = tokio_tungstenite::tungstenite::protocol::Role::Client;
        talk(tokio_tungstenite::WebSocketStream::from_raw_socket(tunnel, role, None).await).await;
    });
    let received = target.last();
    assert_eq!(
        (received.request_line.as_str(), received.header("upgrade")),
        ("GET /chat HTTP/1.1", "websocket")
    );
}
