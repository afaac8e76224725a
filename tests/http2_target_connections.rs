//! Connections to targets that speak HTTP/2: how many there are, and what a target may do to them.

use std::sync::Arc;

use futures_util::future::join_all;
use h2::client::Builder;
use weir_tests::frame_target::FrameTarget;
use weir_tests::frames::{END_HEADERS, END_STREAM, Frame, block, frame, kind};
use weir_tests::http2::{answer, request};
use weir_tests::http2_target::Exchange;
use weir_tests::yaml::{application, group_of};
use weir_tests::{Http2Client, Http2Target, Weir, run, wait_until};

/// Name and value.
type Field<'a> = (&'a str, &'a [u8]);

const OK: Field<'_> = (":status", b"200");

fn weir(target: &FrameTarget) -> Weir {
    let groups =
        [group_of("web", "protocol_version: http2, health_check: { protocol: tcp }", &target.yaml())];
    let yaml = application(&groups, "http2_prior_knowledge: true", "default_action: { forward: web }");
    Weir::start_healthy(&yaml)
}

/// A whole answer without a body.
fn head(stream: u32, fields: &[Field<'_>]) -> Vec<u8> {
    frame(kind::HEADERS, END_HEADERS | END_STREAM, stream, &block(fields))
}

/// A target that does this to every request.
fn answering(bytes: impl Fn(&Frame) -> Vec<u8> + Clone + Send + 'static) -> FrameTarget {
    FrameTarget::behaving(&[], move |_, received| match received.kind {
        kind::HEADERS => bytes(received),
        _ => Vec::new(),
    })
}

#[test]
fn requests_that_come_while_a_connection_is_opened_share_it() {
    const REQUESTS: usize = 60;
    let target = answering(|received| head(received.stream, &[OK]));
    let weir = weir(&target);
    run(async {
        let mut client = Http2Client::connect(weir.listener(0)).await;
        let mut responses = Vec::new();
        for _ in 0..REQUESTS {
            responses.push(client.begin(request("GET", "/"), true).await.0);
        }
        for response in responses {
            assert_eq!(answer(response).await.unwrap().status, 200);
        }
    });
    assert_eq!((target.connections(), target.requests()), (1, REQUESTS));
}

#[test]
fn a_connection_gets_as_many_streams_as_its_target_allows_and_the_rest_get_others() {
    const REQUESTS: usize = 35;
    const TEN_STREAMS: &[u8] = &[0, 3, 0, 0, 0, 10];
    let silent = FrameTarget::behaving(TEN_STREAMS, |_, _| Vec::new());
    let weir = weir(&silent);
    run(async {
        let mut client = Http2Client::connect(weir.listener(0)).await;
        let mut responses = Vec::new();
        for _ in 0..REQUESTS {
            responses.push(client.begin(request("GET", "/"), true).await);
        }
        wait_until("each has reached the target", || silent.requests() == REQUESTS);
    });
    assert_eq!(silent.connections(), 4);
}

#[test]
fn a_stream_that_ends_serves_those_that_wait_for_a_connection_that_never_comes() {
    const REQUESTS: usize = 20;
    const ONE_STREAM: &[u8] = &[0, 3, 0, 0, 0, 1];
    let target = FrameTarget::serving(1, ONE_STREAM, |_, received| match received.kind {
        kind::HEADERS => head(received.stream, &[OK]),
        _ => Vec::new(),
    });
    let weir = weir(&target);
    run(async {
        let mut client = Http2Client::connect(weir.listener(0)).await;
        assert_eq!(client.get("/").await.status, 200);
        let mut responses = Vec::new();
        for _ in 0..REQUESTS {
            responses.push(client.begin(request("POST", "/"), true).await.0);
        }
        for response in responses {
            assert_eq!(answer(response).await.unwrap().status, 200);
        }
    });
    assert_eq!(target.requests(), REQUESTS + 1);
}

#[test]
fn a_target_that_allows_no_stream_is_502_and_not_dialled_again_and_again() {
    const NO_STREAM: &[u8] = &[0, 3, 0, 0, 0, 0];
    let target = FrameTarget::behaving(NO_STREAM, |_, _| Vec::new());
    let weir = weir(&target);
    run(async {
        let mut client = Http2Client::connect(weir.listener(0)).await;
        assert_eq!(client.get("/").await.status, 502);
    });
    assert!(target.connections() <= 8, "{} connections", target.connections());
}

#[test]
fn clients_that_do_not_read_stop_nobody_else_s_answers() {
    const STALLED: usize = 90;
    let large = Arc::new("x".repeat(400_000));
    let told = large.clone();
    let target = Http2Target::behaving(move |mut exchange: Exchange| {
        let large = told.clone();
        async move { exchange.answer(200, &large) }
    });
    let groups = [group_of("web", "protocol_version: http2", &target.yaml())];
    let yaml = application(&groups, "http2_prior_knowledge: true", "default_action: { forward: web }");
    let weir = Weir::start_healthy(&format!("workers: 1\n{yaml}"));
    run(async {
        let mut settings = Builder::new();
        settings.initial_window_size(0);
        let mut stalled = Http2Client::connect_as(&settings, weir.listener(0)).await;
        let mut heads = Vec::new();
        for _ in 0..STALLED {
            let (response, _) = stalled.begin(request("GET", "/"), true).await;
            heads.push(response.await.unwrap());
        }
        let mut client = Http2Client::connect(weir.listener(0)).await;
        assert_eq!(client.get("/").await.text().len(), large.len());
        drop(heads);
    });
}

#[test]
fn a_connection_that_cannot_be_opened_fails_all_who_wait_for_it() {
    const REQUESTS: usize = 20;
    // A stream of its own is no place for settings.
    let target = FrameTarget::behaving(&[0], |_, _| Vec::new());
    let weir = weir(&target);
    run(async {
        let mut client = Http2Client::connect(weir.listener(0)).await;
        let mut responses = Vec::new();
        for _ in 0..REQUESTS {
            responses.push(client.begin(request("POST", "/"), true).await.0);
        }
        for response in join_all(responses.into_iter().map(answer)).await {
            assert_eq!(response.unwrap().status, 502);
        }
    });
    assert!(target.connections() < REQUESTS / 2, "{} connections", target.connections());
    assert_eq!(target.requests(), 0);
}

/// How often a target is asked that answers a GET with this, if the client gets 502.
fn asked(what: &str, bytes: impl Fn(&Frame) -> Vec<u8> + Clone + Send + 'static) -> usize {
    let target = answering(bytes);
    let weir = weir(&target);
    run(async {
        let mut client = Http2Client::connect(weir.listener(0)).await;
        assert_eq!(client.get("/").await.status, 502, "{what}");
        assert_eq!(client.streams_max(), 128, "the client's connection goes on");
    });
    wait_until("the target is free", || weir.metric("weir_target_in_flight") < 0.1);
    target.requests()
}

#[test]
fn an_answer_that_is_none_is_final() {
    let cases: [(&str, &[Field<'_>]); 7] = [
        ("no status", &[("x-a", b"1")]),
        ("a status that is no number", &[(":status", b"abc")]),
        ("a status of two digits", &[(":status", b"20")]),
        ("two statuses", &[OK, OK]),
        ("a status after a field", &[("x-a", b"1"), OK]),
        ("a field of another connection", &[OK, ("transfer-encoding", b"chunked")]),
        ("a name in capitals", &[OK, ("X-A", b"1")]),
    ];
    for (what, fields) in cases {
        assert_eq!(asked(what, |received| head(received.stream, fields)), 1, "{what}");
    }
}

#[test]
fn a_head_that_is_too_large_is_final() {
    let long = vec![b'a'; 14_000];
    let large = move |received: &Frame| {
        let fields: [Field<'_>; 4] = [OK, ("x-a", &long), ("x-b", &long), ("x-c", &long)];
        let block = block(&fields);
        let (first, rest) = block.split_at(16_000);
        let mut bytes = frame(kind::HEADERS, END_STREAM, received.stream, first);
        let (second, third) = rest.split_at(16_000);
        bytes.extend(frame(kind::CONTINUATION, 0, received.stream, second));
        bytes.extend(frame(kind::CONTINUATION, END_HEADERS, received.stream, third));
        bytes
    };
    assert_eq!(asked("a large head", large), 1);
}

#[test]
fn switching_protocols_unasked_is_final() {
    assert_eq!(asked("101", |received| head(received.stream, &[(":status", b"101")])), 1);
}

#[test]
fn bytes_that_end_the_connection_are_answered_with_502() {
    let crlf = |received: &Frame| head(received.stream, &[OK, ("x-a", b"1\r\nx-b: 2")]);
    let push = |received: &Frame| {
        const PUSH_PROMISE: u8 = 5;
        let mut promise = 2_u32.to_be_bytes().to_vec();
        promise.extend(block(&[(":method", b"GET")]));
        frame(PUSH_PROMISE, END_HEADERS, received.stream, &promise)
    };
    assert_eq!(asked("a line end in a value", crlf), 1);
    assert_eq!(asked("a promise", push), 1);
}
