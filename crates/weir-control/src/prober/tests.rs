//! Targets of every kind, and what a probe makes of them.

use std::cell::RefCell;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;
use weir_core::definition::ProtocolVersion;
use weir_core::health::{StatusMatcher, Thresholds, UnhealthyReason};
use weir_net::stream::Stream;

use super::*;

fn plan(addr: SocketAddr, probe: Probe) -> Plan {
    let check = HealthCheck {
        probe,
        port: None,
        interval: Duration::from_secs(30),
        timeout: Duration::from_millis(500),
        thresholds: Thresholds { healthy: 5, unhealthy: 2 },
    };
    let (tls, reactor) = (TargetSide::new(), Reactor::start().unwrap());
    Plan { addr: TargetAddr(addr), check, begins_with_header: false, tls, reactor }
}

fn http() -> Probe {
    asked(false)
}

fn asked(is_tls: bool) -> Probe {
    Probe::Http {
        is_tls,
        version: ProtocolVersion::Http1,
        path: "/healthz".into(),
        matcher: StatusMatcher::ok(),
        user_agent: "ELB-HealthChecker/2.0",
    }
}

/// A target that gives every connection the same bytes, then closes it or holds it open.
async fn target(bytes: &'static [u8], holds_open: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            stream.write_all(bytes).await.unwrap();
            if holds_open {
                held.push(stream);
            }
        }
    });
    addr
}

// Conformance: A4.1.1, A4.2.2, A4.2.15, A4.3.11
#[tokio::test(flavor = "local")]
async fn an_http_probe_judges_the_status() {
    let well = target(b"HTTP/1.1 200 OK\r\n\r\n", true).await;
    assert_eq!(ask(&plan(well, http())).await.verdict, Ok(()));
    let sick = target(b"HTTP/1.1 503 No\r\n\r\n", true).await;
    assert_eq!(ask(&plan(sick, http())).await.verdict, Err(UnhealthyReason::ResponseCodeMismatch(503)));
}

/// A target that speaks TLS with a certificate that nobody vouches for, and answers each connection the same.
async fn secured_target(bytes: &'static [u8]) -> SocketAddr {
    let tls = crate::certificates::self_signed();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    spawn_local(async move {
        let reactor = Reactor::start().unwrap();
        while let Ok((stream, _)) = listener.accept().await {
            let stream = Stream::accepted(stream.into_std().unwrap(), &reactor);
            if let Ok((mut stream, _)) = tls.accept(stream).await {
                stream.write_all(bytes).await.unwrap();
                stream.read_to_end(&mut Vec::new()).await.ok();
            }
        }
    });
    addr
}

// Conformance: A4.1.1, A4.2.7
#[tokio::test(flavor = "local")]
async fn an_https_probe_judges_the_status_behind_whatever_certificate() {
    let well = secured_target(b"HTTP/1.1 200 OK\r\n\r\n").await;
    assert_eq!(ask(&plan(well, asked(true))).await.verdict, Ok(()));
    let sick = secured_target(b"HTTP/1.1 503 No\r\n\r\n").await;
    assert_eq!(ask(&plan(sick, asked(true))).await.verdict, Err(UnhealthyReason::ResponseCodeMismatch(503)));
    let plain = target(b"HTTP/1.1 200 OK\r\n\r\n", true).await;
    assert_eq!(ask(&plan(plain, asked(true))).await.verdict, Err(UnhealthyReason::FailedHealthChecks));
    assert_eq!(ask(&plan(well, asked(false))).await.verdict, Err(UnhealthyReason::FailedHealthChecks));
}

// Conformance: A4.2.4
#[test]
fn the_host_of_a_probe_has_the_port_unless_it_is_the_usual_one() {
    let host =
        |addr: &str, is_tls| ask::Question::of(TargetAddr(addr.parse().unwrap()), is_tls, "/", "a").host;
    assert_eq!(host("10.0.0.1:443", true), "10.0.0.1");
    assert_eq!(host("10.0.0.1:443", false), "10.0.0.1:443");
    assert_eq!(host("10.0.0.1:80", false), "10.0.0.1");
    assert_eq!(host("10.0.0.1:8443", true), "10.0.0.1:8443");
}

// Conformance: A4.3.11
#[tokio::test(flavor = "local")]
async fn nonsense_and_silence_and_refusal_each_fail_for_their_own_reason() {
    let nonsense = target(b"220 smtp ready\r\n", true).await;
    assert_eq!(ask(&plan(nonsense, http())).await.verdict, Err(UnhealthyReason::FailedHealthChecks));
    let silent = target(b"", true).await;
    assert_eq!(ask(&plan(silent, http())).await.verdict, Err(UnhealthyReason::Timeout));
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_eq!(ask(&plan(closed, http())).await.verdict, Err(UnhealthyReason::ConnectionRefused));
}

#[tokio::test(flavor = "local")]
async fn packets_that_are_swallowed_are_told_from_a_target_that_is_silent() {
    // A full backlog drops what comes: the handshake gets no answer, as behind a filter.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap();
    let addr = listener.local_addr().unwrap();
    let _fills_it = TcpStream::connect(addr).await.unwrap();
    assert_eq!(ask(&plan(addr, http())).await.verdict, Err(UnhealthyReason::ConnectTimeout));
}

#[tokio::test(flavor = "local")]
async fn a_port_that_closes_what_it_accepts_does_not_pass_a_tcp_probe() {
    let proxy_without_task = target(b"", false).await;
    assert_eq!(
        ask(&plan(proxy_without_task, Probe::Tcp)).await.verdict,
        Err(UnhealthyReason::FailedHealthChecks)
    );
    let silent = target(b"", true).await;
    assert_eq!(ask(&plan(silent, Probe::Tcp)).await.verdict, Ok(()));
    let talkative = target(b"220 ready\r\n", true).await;
    assert_eq!(ask(&plan(talkative, Probe::Tcp)).await.verdict, Ok(()));
}

/// A target that answers by HTTP/2 with these statuses: of HTTP, and of gRPC, at once or after an answer.
async fn http2_target(status: u16, grpc: Option<(&'static str, bool)>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut connection) = h2::server::handshake(stream).await else { continue };
            while let Some(Ok((request, mut respond))) = connection.accept().await {
                let is_call =
                    request.headers().get("content-type").is_some_and(|kind| kind == "application/grpc");
                assert_eq!(is_call, grpc.is_some());
                let response = http::Response::builder().status(status);
                match grpc {
                    None => drop(respond.send_response(response.body(()).unwrap(), true)),
                    Some((code, true)) => {
                        let response = response.header("grpc-status", code).body(()).unwrap();
                        respond.send_response(response, true).unwrap();
                    }
                    Some((code, false)) => {
                        let mut body = respond.send_response(response.body(()).unwrap(), false).unwrap();
                        body.send_data(bytes::Bytes::from_static(&[0; 5]), false).unwrap();
                        let mut trailers = http::HeaderMap::new();
                        trailers.insert("grpc-status", code.parse().unwrap());
                        body.send_trailers(trailers).unwrap();
                    }
                }
            }
        }
    });
    addr
}

fn by(version: ProtocolVersion, matcher: StatusMatcher) -> Probe {
    Probe::Http { is_tls: false, version, path: "/AWS.ALB/healthcheck".into(), matcher, user_agent: "a" }
}

// Conformance: A4.2.2
#[tokio::test(flavor = "local")]
async fn an_http_2_probe_judges_the_status() {
    let probe = || by(ProtocolVersion::Http2, StatusMatcher::ok());
    assert_eq!(ask(&plan(http2_target(200, None).await, probe())).await.verdict, Ok(()));
    let sick = http2_target(503, None).await;
    assert_eq!(ask(&plan(sick, probe())).await.verdict, Err(UnhealthyReason::ResponseCodeMismatch(503)));
    let older = target(b"HTTP/1.1 200 OK\r\n\r\n", false).await;
    assert_eq!(ask(&plan(older, probe())).await.verdict, Err(UnhealthyReason::FailedHealthChecks));
}

// Conformance: A4.2.1, A4.2.2, A4.2.15
#[tokio::test(flavor = "local")]
async fn a_grpc_probe_judges_the_status_of_the_call_wherever_it_stands() {
    let probe = || by(ProtocolVersion::Grpc, StatusMatcher::grpc_unimplemented());
    for is_at_once in [true, false] {
        let well = http2_target(200, Some(("12", is_at_once))).await;
        assert_eq!(ask(&plan(well, probe())).await.verdict, Ok(()), "at once: {is_at_once}");
        let sick = http2_target(200, Some(("14", is_at_once))).await;
        assert_eq!(ask(&plan(sick, probe())).await.verdict, Err(UnhealthyReason::ResponseCodeMismatch(14)));
    }
    let strange = http2_target(200, Some(("none", false))).await;
    assert_eq!(ask(&plan(strange, probe())).await.verdict, Err(UnhealthyReason::FailedHealthChecks));
    let refusing = http2_target(404, Some(("12", true))).await;
    assert_eq!(ask(&plan(refusing, probe())).await.verdict, Err(UnhealthyReason::ResponseCodeMismatch(404)));
}

// Conformance: A4.2.8
#[tokio::test(flavor = "local", start_paused = true)]
async fn the_interval_does_not_depend_on_how_long_an_answer_takes() {
    const ANSWERS: [(u64, Verdict); 4] =
        [(1, Ok(())), (4, Ok(())), (5, Err(UnhealthyReason::Timeout)), (2, Ok(()))];
    let (begun, asked) = (Instant::now(), RefCell::new(Vec::new()));
    let slow = async || {
        let (seconds, verdict) = ANSWERS[asked.borrow().len()];
        asked.borrow_mut().push(begun.elapsed().as_secs());
        sleep(Duration::from_secs(seconds)).await;
        Checked { verdict, status: None, latency: Duration::from_secs(seconds) }
    };
    let is_heard = |_: &Checked| asked.borrow().len() < ANSWERS.len();
    watch(Duration::from_secs(30), slow, is_heard, false, Rc::default()).await;
    assert_eq!(asked.into_inner(), [0, 30, 60, 90]);
}
