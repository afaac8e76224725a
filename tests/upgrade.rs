//! Leaving HTTP for another protocol.

use std::io::{Read, Write};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use weir_tests::tls::{Pair, dialled};
use weir_tests::yaml::{application, forwarding_to, group};
use weir_tests::{Client, FakeTarget, Folder, Http2Client, Weir, run, wait_until};
use weir_tls::TargetSide;

use crate::access_log::{fields, lines};

const ASK: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// Agrees to every request to switch, and echoes from then on.
fn agreeing() -> FakeTarget {
    FakeTarget::behaving(|received, stream| {
        assert_eq!(received.header("connection").to_ascii_lowercase(), "upgrade");
        let _ = stream.write_all(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nhello",
        );
        let mut bytes = [0; 1024];
        while let Ok(count @ 1..) = stream.read(&mut bytes) {
            let _ = stream.write_all(&bytes[..count]);
        }
        false
    })
}

fn talk(client: &mut Client, words: &str) {
    client.send(words);
    assert_eq!(client.exactly(words.len()).unwrap(), words.as_bytes());
}

// Conformance: A3.4.19, A6.53
#[test]
fn a_websocket_is_relayed_once_the_target_agrees() {
    let target = agreeing();
    let weir = Weir::start_healthy(&forwarding_to(&[&target]));
    let mut client = weir.client();
    client.send(ASK);
    let head = client.head().unwrap();
    assert_eq!((head.status, head.header("upgrade")), (101, "websocket"));
    assert_eq!(head.header("sec-websocket-accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_eq!(client.exactly(5).unwrap(), b"hello");
    talk(&mut client, "ping");
    assert_eq!(target.last().header("sec-websocket-key"), "dGhlIHNhbXBsZSBub25jZQ==");
    client.finish();
    assert!(client.is_closed());
}

// Conformance: A2.0.11
#[test]
fn a_websocket_survives_a_reload() {
    let target = agreeing();
    let yaml = forwarding_to(&[&target]);
    let port = weir_tests::free_port();
    let yaml = yaml.replace("127.0.0.1:0", &format!("127.0.0.1:{port}"));
    let weir = Weir::start_healthy(&yaml);
    let mut client = weir.client();
    client.send(ASK);
    assert_eq!(client.head().unwrap().status, 101);
    assert_eq!(client.exactly(5).unwrap(), b"hello");
    let reloaded = yaml.replace("default_action: { forward: web }", "rules: [{ priority: 1, conditions: [{ path_pattern: [\"/x\"] }], actions: [{ fixed_response: { status_code: 404 } }] }], default_action: { forward: web }");
    weir.reload(&reloaded).unwrap();
    assert_eq!(weir.get("/x").status, 404, "the reload has taken effect");
    talk(&mut client, "still here");
}

#[test]
fn a_target_that_declines_to_switch_answers_as_it_likes() {
    let target = FakeTarget::answering("no");
    let weir = Weir::start_healthy(&forwarding_to(&[&target]));
    let mut client = weir.client();
    assert_eq!(client.ask(ASK).body, "no");
    assert_eq!(client.get("/").body, "no", "the connection goes on as HTTP");
}

#[test]
fn a_switch_that_nobody_asked_for_is_a_bad_answer() {
    let target = FakeTarget::behaving(|_, stream| {
        let _ = stream.write_all(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        );
        true
    });
    let weir = Weir::start_healthy(&forwarding_to(&[&target]));
    assert_eq!(weir.get("/").status, 502);
    let other = ASK.replace("Upgrade: websocket", "Upgrade: else");
    assert_eq!(weir.client().ask(other).status, 502, "nor one to another protocol than was asked for");
}

#[test]
fn clear_text_http_2_is_not_smuggled_through_an_upgrade() {
    let target = FakeTarget::answering("http/1.1");
    let weir = Weir::start_healthy(&forwarding_to(&[&target]));
    let ask = ASK
        .replace("Connection: Upgrade", "Connection: Upgrade, HTTP2-Settings")
        .replace("websocket\r\nSec", "h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nSec");
    assert_eq!(weir.client().ask(ask).body, "http/1.1");
    assert!(!target.last().has("upgrade") && !target.last().has("http2-settings"));
}

// Conformance: A3.3.8
#[test]
fn a_websocket_is_in_flight_until_it_ends() {
    let target = agreeing();
    let weir = Weir::start_healthy(&forwarding_to(&[&target]));
    let mut client = weir.client();
    client.send(ASK);
    assert_eq!(client.head().unwrap().status, 101);
    assert!((weir.metric("weir_target_in_flight") - 1.0).abs() < 0.1);
    drop(client);
    wait_until("it has ended", || weir.metric("weir_target_in_flight") < 0.1);
}

// Conformance: A6.52, A6.54, A10.2, A10.4
#[test]
fn a_silent_websocket_ends_after_the_idle_timeout_and_has_one_line_in_the_log() {
    let (folder, target) = (Folder::new(), agreeing());
    let path = folder.path().join("access.log");
    let settings = format!("idle_timeout: 1s, access_log: {{ path: {} }}", path.display());
    let groups = [group("web", "", &[&target])];
    let weir = Weir::start_healthy(&application(&groups, &settings, "default_action: { forward: web }"));
    let mut client = weir.client();
    client.send(ASK);
    assert_eq!(client.head().unwrap().status, 101);
    assert_eq!(client.exactly(5).unwrap(), b"hello");
    assert!(client.is_closed());
    let lines = lines(&path, 1);
    assert_eq!(lines.len(), 1);
    assert_eq!(fields(&lines[0])[0], "ws");
}

// Conformance: A10.3
#[test]
fn a_websocket_over_tls_is_wss_in_the_log() {
    let (folder, target) = (Folder::new(), agreeing());
    Pair::new(&["shop.example"]).write(&folder, "shop");
    let path = folder.path().join("access.log");
    let settings = format!("idle_timeout: 1s, access_log: {{ path: {} }}", path.display());
    let listener = "protocol: https, certificates: { certificate: shop.pem, key: shop.key }, default_action: { forward: web }";
    let yaml = application(&[group("web", "", &[&target])], &settings, listener);
    let weir = Weir::start_in(folder, &yaml, |_| {});
    weir.wait_until_healthy();
    let heard = run(async {
        let stream = dialled(weir.listener(0)).await;
        let (mut stream, _) = TargetSide::new().connect(stream, Some("shop.example"), &[]).await.unwrap();
        stream.write_all(ASK.as_bytes()).await.unwrap();
        let mut heard = Vec::new();
        // How a silent one ends does not matter here.
        let _ = stream.read_to_end(&mut heard).await;
        heard
    });
    assert!(heard.ends_with(b"hello"), "{}", String::from_utf8_lossy(&heard));
    assert_eq!(fields(&lines(&path, 1)[0])[0], "wss");
}

#[test]
fn a_stream_of_http_2_is_no_websocket_unless_its_target_has_agreed_to_the_key_that_weir_made() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nevil",
        "HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: eHh4eA==\r\n\r\nevil",
    ] {
        let target = FakeTarget::behaving(move |_, stream| stream.write_all(answer.as_bytes()).is_ok());
        let groups = [group("web", "", &[&target])];
        let weir = Weir::start_healthy(&application(
            &groups,
            "http2_prior_knowledge: true",
            "default_action: { forward: web }",
        ));
        run(async {
            let mut client = Http2Client::connect(weir.listener(0)).await;
            // The listener's settings have come by then.
            client.get("/").await;
            let (response, _stream) = client.begin_tunnel("websocket", "/").await;
            assert_eq!(response.await.unwrap().status(), 502, "{answer}");
        });
    }
}
