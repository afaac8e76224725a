//! gRPC: calls of every shape to targets that speak it, and what else speaks HTTP/2.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use weir_tests::grpc::{call, message, messages, said, trailers};
use weir_tests::http2::{Answer, answer, piece, request, request_with, send};
use weir_tests::http2_target::Exchange;
use weir_tests::tls::Pair;
use weir_tests::yaml::{application, group, group_of};
use weir_tests::{FakeTarget, Folder, Http2Client, Http2Target, Weir, run, wait_until};

/// A server with a method for each shape of call; what it says is made of what it hears.
fn server() -> Http2Target {
    Http2Target::behaving(async |mut exchange: Exchange| {
        let method = exchange.head.uri().path().to_owned();
        let fields = [("content-type", "application/grpc"), ("x-method", method.as_str())];
        match method.as_str() {
            "/demo.Echo/Unary" | "/demo.Echo/Collect" => {
                let words = messages(&mut exchange.body).await.unwrap();
                let Some(mut stream) = exchange.begin(200, &fields, false) else { return };
                let _ = stream.send_data(message(words.concat().as_bytes()), false);
                let _ = stream.send_trailers(trailers(0, ""));
            }
            "/demo.Echo/Split" => {
                let words = messages(&mut exchange.body).await.unwrap();
                let Some(mut stream) = exchange.begin(200, &fields, false) else { return };
                for letter in words.concat().split("").filter(|letter| !letter.is_empty()) {
                    let _ = stream.send_data(message(letter.as_bytes()), false);
                }
                let _ = stream.send_trailers(trailers(0, ""));
            }
            "/demo.Echo/Chat" => {
                let Some(mut stream) = exchange.begin(200, &fields, false) else { return };
                while let Some(Ok(data)) = piece(&mut exchange.body).await {
                    let _ = stream.send_data(data, false);
                }
                let _ = stream.send_trailers(trailers(0, ""));
            }
            "/demo.Echo/Fail" => {
                // Without a message, the status comes with the head.
                exchange.begin(
                    200,
                    &[fields[0], ("grpc-status", "5"), ("grpc-message", "no%20such%20word")],
                    true,
                );
            }
            "/demo.Echo/FailLate" => {
                let Some(mut stream) = exchange.begin(200, &fields, false) else { return };
                let _ = stream.send_data(message(b"half"), false);
                let _ = stream.send_trailers(trailers(13, "broke"));
            }
            _ => std::future::pending().await,
        }
    })
}

fn weir(target: &Http2Target, settings: &str) -> Weir {
    let settings = format!("http2_prior_knowledge: true{settings}");
    let groups = [group_of("calls", "protocol_version: grpc", &target.yaml())];
    Weir::start_healthy(&application(&groups, &settings, "default_action: { forward: calls }"))
}

fn ended_with(reply: &Answer, status: &str) {
    assert_eq!((reply.status, reply.trailer("grpc-status")), (200, status), "{reply:?}");
    assert_eq!(reply.header("content-type"), "application/grpc");
}

#[test]
fn a_call_with_one_message_each_way() {
    let target = server();
    let weir = weir(&target, "");
    run(async {
        let mut client = Http2Client::connect(weir.listener(0)).await;
        let reply = client.ask(call("Unary"), &message(b"hello")).await;
        ended_with(&reply, "0");
        assert_eq!(said(&reply), ["hello"]);
    });
    let received = &target.received()[0];
    let field = |name: &str| received.headers().get(name).map_or("", |value| value.to_str().unwrap());
    assert_eq!((field("te"), field("content-type")), ("trailers", "application/grpc"));
    assert_eq!(field("x-forwarded-for"), "127.0.0.1");
    assert_eq!(received.uri().host(), Some("a.example"));
}

#[test]
fn a_call_with_many_messages_from_the_client() {
    let target = server();
    let weir = weir(&target, "");
    run(async {
        let mut client = Http2Client::connect(weir.listener(0)).await;
        let (response, mut stream) = client.begin(call("Collect"), false).await;
        for word in ["one ", "two ", "three"] {
            stream.send_data(message(word.as_bytes()), false).unwrap();
        }
        stream.send_data(Bytes::new(), true).unwrap();
        let reply = answer(response).await.unwrap();
        ended_with(&reply, "0");
        assert_eq!(said(&reply), ["one two three"]);
    });
}

#[test]
fn a_call_with_many_messages_from_the_server() {
    let target = server();
    let weir = weir(&target, "");
    run(async {
        let mut client = Http2Client::connect(weir.listener(0)).await;
        let reply = client.ask(call("Split"), &message(b"abc")).await;
        ended_with(&reply, "0");
        assert_eq!(said(&reply), ["a", "b", "c"]);
    });
}

#[test]
fn a_call_in_which_each_word_waits_for_the_one_before() {
    let target = server();
    let weir = weir(&target, "");
    run(async {
        let mut client = Http2Client::connect(weir.listener(0)).await;
        let (response, mut stream) = client.begin(call("Chat"), false).await;
        let mut body = response.await.unwrap().into_body();
        for word in ["ping", "pong", "ping"] {
            stream.send_data(message(word.as_bytes()), false).unwrap();
            assert_eq!(piece(&mut body).await.unwrap().unwrap(), message(word.as_bytes()));
        }
        stream.send_data(Bytes::new(), true).unwrap();
        assert!(piece(&mut body).await.is_none());
        assert_eq!(body.trailers().await.unwrap().unwrap()["grpc-status"], "0");
    });
}

#[test]
fn errors_reach_the_client_with_and_without_a_message_before_them() {
    let target = server();
    let weir = weir(&target, "");
    run(async {
        let mut client = Http2Client::connect(weir.listener(0)).await;
        let reply = client.ask(call("Fail"), &message(b"x")).await;
        assert_eq!((reply.header("grpc-status"), reply.header("grpc-message")), ("5", "no%20such%20word"));
        let reply = client.ask(call("FailLate"), &message(b"x")).await;
        ended_with(&reply, "13");
        assert_eq!((said(&reply), reply.trailer("grpc-message")), (vec!["half".to_owned()], "broke"));
    });
}

#[test]
fn a_deadline_reaches_the_server_and_a_client_that_gives_up_frees_it() {
    let target = server();
    let weir = weir(&target, "");
    run(async {
        let mut client = Http2Client::connect(weir.listener(0)).await;
        let mut never = call("Never");
        never.headers_mut().insert("grpc-timeout", "100m".parse().unwrap());
        let (response, mut stream) = client.begin(never, false).await;
        stream.send_data(message(b"x"), true).unwrap();
        let waited = tokio::time::timeout(Duration::from_millis(100), response).await;
        assert!(waited.is_err(), "the server never answers");
        stream.send_reset(h2::Reason::CANCEL);
        wait_until("the server is free", || weir.metric("weir_target_in_flight") < 0.1);
        assert_eq!(target.received()[0].headers()["grpc-timeout"], "100m");
    });
}

#[test]
fn a_server_that_does_not_answer_in_time_is_unavailable() {
    let target = server();
    let weir = weir(&target, ", idle_timeout: 1s");
    let reply =
        run(async { Http2Client::connect(weir.listener(0)).await.ask(call("Never"), &message(b"x")).await });
    assert_eq!((reply.status, reply.header("grpc-status")), (504, "14"), "{reply:?}");
}

// Conformance: A6.59
#[test]
fn weir_s_own_answers_to_calls_are_errors_that_their_clients_understand() {
    let weir = Weir::start(&application(
        &[group_of("calls", "protocol_version: grpc", "")],
        "http2_prior_knowledge: true",
        "default_action: { forward: calls }",
    ));
    let reply =
        run(async { Http2Client::connect(weir.listener(0)).await.ask(call("Unary"), &message(b"x")).await });
    assert_eq!((reply.status, reply.header("grpc-status"), reply.body.len()), (503, "14", 0), "{reply:?}");
    assert_eq!(reply.header("grpc-message"), "unavailable");
}

#[test]
fn large_messages_arrive_unchanged_in_both_directions() {
    let target = server();
    let weir = weir(&target, "");
    let text = "0123456789".repeat(300_000);
    run(async {
        let mut client = Http2Client::connect(weir.listener(0)).await;
        let (response, mut stream) = client.begin(call("Unary"), false).await;
        let sent = message(text.as_bytes());
        let (_, reply) = tokio::join!(send(&mut stream, &sent, true), answer(response));
        let reply = reply.unwrap();
        ended_with(&reply, "0");
        assert!(said(&reply) == [text.as_str()], "{} bytes came back", reply.body.len());
    });
}

#[test]
fn calls_share_connections_and_get_more_when_a_server_allows_few() {
    let mut few = h2::server::Builder::new();
    few.max_concurrent_streams(4);
    let target = Http2Target::with(few, async |mut exchange: Exchange| {
        if messages(&mut exchange.body).await.is_some() {
            exchange.begin(200, &[("grpc-status", "0")], true);
        }
    });
    let weir = weir(&target, ", idle_timeout: 20s");
    run(async {
        let mut client = Http2Client::connect(weir.listener(0)).await;
        let before = target.connections();
        for _ in 0..20 {
            assert_eq!(client.ask(call("Unary"), &message(b"x")).await.header("grpc-status"), "0");
        }
        assert!(
            target.connections() - before <= 1 + probes_meanwhile(),
            "one after the other on one connection"
        );
        let mut open = Vec::new();
        for _ in 0..10 {
            open.push(client.begin(call("Unary"), false).await);
        }
        wait_until("all are with the server at a time", || target.received().len() == 30);
        for (response, mut stream) in open {
            stream.send_data(message(b"x"), true).unwrap();
            assert_eq!(answer(response).await.unwrap().header("grpc-status"), "0");
        }
    });
}

/// Health checks have connections of their own: at most so many while a test asks.
fn probes_meanwhile() -> usize {
    3
}

/// Amazon's table of what clients speak and targets understand.
// Conformance: A2.1.16, A3.2.1, A3.2.2, A3.2.3, A7.17
#[test]
fn each_protocol_of_a_client_goes_to_the_targets_that_understand_it() {
    let (old, calls) = (FakeTarget::answering("fine"), Http2Target::answering("fine"));
    let groups = [
        group("http1", "", &[&old]),
        group_of("http2", "protocol_version: http2", &calls.yaml()),
        group_of("grpc", "protocol_version: grpc", &calls.yaml()),
    ];
    let rules: Vec<String> = ["http1", "http2", "grpc"]
        .iter()
        .enumerate()
        .map(|(at, name)| format!("{{ priority: {}, conditions: [{{ path_pattern: [/{name}] }}], actions: [{{ forward: {name} }}] }}", at + 1))
        .collect();
    let listener = format!(
        "rules: [{}], default_action: {{ fixed_response: {{ status_code: 404 }} }}",
        rules.join(", ")
    );
    let weir = Weir::start_healthy(&application(&groups, "http2_prior_knowledge: true", &listener));
    run(async {
        let mut client = Http2Client::connect(weir.listener(0)).await;
        for (path, by_http1, by_get, by_post, by_call) in
            [("/http1", 200, 200, 200, 464), ("/http2", 464, 200, 200, 200), ("/grpc", 464, 464, 200, 200)]
        {
            assert_eq!(weir.get(path).status, by_http1, "HTTP/1.1 to {path}");
            assert_eq!(client.get(path).await.status, by_get, "GET by HTTP/2 to {path}");
            assert_eq!(
                client.ask(request("POST", path), b"x").await.status,
                by_post,
                "POST by HTTP/2 to {path}"
            );
            let call =
                request_with("POST", path, &[("content-type", "application/grpc"), ("te", "trailers")]);
            assert_eq!(client.ask(call, b"x").await.status, by_call, "gRPC to {path}");
        }
    });
}

// Conformance: A3.2.4
#[test]
fn a_call_over_tls_reaches_a_server_that_speaks_none() {
    let target = server();
    let folder = Folder::new();
    Pair::new(&["shop.example"]).write(&folder, "shop");
    let groups = [group_of("calls", "protocol_version: grpc", &target.yaml())];
    let listener = "protocol: https, certificates: { certificate: shop.pem, key: shop.key }, default_action: { forward: calls }";
    let weir = Weir::start_in(folder, &application(&groups, "", listener), |_| {});
    weir.wait_until_healthy();
    let reply = run(async {
        let mut client = Http2Client::connect_secure(weir.listener(0), "shop.example").await;
        let mut secure: Request<()> = call("Unary");
        *secure.uri_mut() = "https://shop.example/demo.Echo/Unary".parse().unwrap();
        client.ask(secure, &message(b"hello")).await
    });
    ended_with(&reply, "0");
    assert_eq!(target.received()[0].headers()["x-forwarded-proto"], "https");
}

// Conformance: A11.8
#[test]
fn calls_of_grpc_are_counted() {
    let target = server();
    let weir = weir(&target, "");
    run(async { Http2Client::connect(weir.listener(0)).await.ask(call("Unary"), &message(b"x")).await });
    assert!((weir.metric("weir_requests_grpc_total") - 1.0).abs() < 0.1);
}
