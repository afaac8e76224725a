//! How connections of HTTP/2 end: in order, after as long as they may, or when a client overdoes it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use weir_control::Origin;
use weir_tests::frames::{ACK, END_HEADERS, END_STREAM, Outcome, block, frame, kind};
use weir_tests::http2::{answer, request};
use weir_tests::target::respond;
use weir_tests::{FakeTarget, Folder, Frames, Http2Client, Weir, run, wait_until};

use crate::http2::forwarding;

/// Frames that a flood sends at most.
const FLOOD: u32 = 5000;

/// Frames after which a connection that floods must have been ended. Source: no client has a reason to send as many
/// that mean nothing.
const FLOOD_MAX: u32 = 1000;

/// Requests of a flood that may reach targets: as many as streams are allowed at a time.
const REACHED_MAX: usize = 128;

const HEAD: [(&str, &[u8]); 4] =
    [(":method", b"GET"), (":scheme", b"http"), (":authority", b"a"), (":path", b"/")];

fn weir(target: &FakeTarget) -> Weir {
    Weir::start_healthy(&forwarding(target, ""))
}

/// How many of a flood's frames the listener takes before it ends the connection; it must still serve others.
fn flood(weir: &Weir, frames: impl IntoIterator<Item = Vec<u8>>) -> u32 {
    let mut client = Frames::connect(weir.listener(0));
    let mut taken = 0;
    for frame in frames {
        if !client.send_bytes(&frame) {
            break;
        }
        taken += 1;
        // In step with a listener that answers at all, so that what the kernel holds is not counted as taken.
        if taken % 50 == 0 && !client.is_there() {
            break;
        }
    }
    run(async { assert_eq!(Http2Client::connect(weir.listener(0)).await.get("/").await.status, 200) });
    taken
}

// Conformance: A5.0.18
#[test]
fn a_connection_that_has_lasted_as_long_as_it_may_is_replaced_after_what_is_under_way() {
    let target = FakeTarget::answering("web");
    // Shorter than a configuration may have it.
    let weir = Weir::start_in(Folder::new(), &forwarding(&target, "idle_timeout: 1s"), |setup| {
        if let Origin::Configuration { config, .. } = &mut setup.origin {
            for balancer in &mut Arc::make_mut(config).definitions.load_balancers {
                balancer.http.client_keep_alive = Duration::from_millis(300);
            }
        }
    });
    weir.wait_until_healthy();
    run(async {
        let mut client = Http2Client::connect(weir.listener(0)).await;
        let (response, mut upload) = client.begin(request("POST", "/"), false).await;
        upload.send_data(Bytes::from_static(b"some"), false).unwrap();
        while let Ok((response, _)) = client.try_begin(request("GET", "/"), true).await {
            // One that was begun as the listener said so is refused, and may be asked again elsewhere.
            let _ = answer(response).await;
        }
        upload.send_data(Bytes::from_static(b"more"), true).unwrap();
        assert_eq!(answer(response).await.unwrap().text(), "web", "what is under way ends in order");
        client.ended().await.expect("the connection ends in order");
    });
}

#[test]
fn a_process_that_ends_says_so_and_finishes_what_is_under_way() {
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let target = FakeTarget::behaving(move |received, stream| {
        if received.request_line.contains("/held") {
            let _ = wait.lock().unwrap().recv();
        }
        respond(stream, 200, "whole")
    });
    let weir = weir(&target);
    let addr = weir.listener(0);
    run(async {
        let mut client = Http2Client::connect(addr).await;
        let (response, _) = client.begin(request("GET", "/held"), true).await;
        wait_until("the target has the request", || !target.received().is_empty());
        let ending = weir.stop_in_background();
        while let Ok((response, _)) = client.try_begin(request("GET", "/"), true).await {
            // One that was begun as the listener said so is refused, and may be asked again elsewhere.
            let _ = answer(response).await;
        }
        go.send(()).unwrap();
        assert_eq!(answer(response).await.unwrap().text(), "whole");
        client.ended().await.expect("the connection ends in order");
        ending.join().unwrap();
    });
}

#[test]
fn a_connection_without_streams_is_closed_after_the_idle_timeout() {
    let target = FakeTarget::answering("web");
    let weir = Weir::start_healthy(&forwarding(&target, "idle_timeout: 1s"));
    run(async {
        let mut client = Http2Client::connect(weir.listener(0)).await;
        assert_eq!(client.get("/").await.text(), "web");
        client.ended().await.expect("the connection ends in order");
    });
}

// Conformance: A5.0.16
#[test]
fn pings_do_not_keep_a_connection_that_asks_for_nothing() {
    let target = FakeTarget::answering("web");
    let weir = Weir::start_healthy(&forwarding(&target, "idle_timeout: 1s"));
    let (mut client, began) = (Frames::connect(weir.listener(0)), tokio::time::Instant::now());
    wait_until("the connection is closed", || {
        let passed = tokio::time::Instant::now() - began;
        assert!(passed < Duration::from_secs(10), "pings keep it open");
        !client.is_there()
    });
}

// Conformance: A6.11
#[test]
fn nothing_is_pushed_to_a_client_that_would_take_it() {
    const PUSH_PROMISE: u8 = 5;
    let target = FakeTarget::behaving(|_, stream| {
        let head =
            b"HTTP/1.1 200 OK\r\nLink: </style.css>; rel=preload; as=style\r\nContent-Length: 2\r\n\r\nok";
        std::io::Write::write_all(stream, head).is_ok()
    });
    let weir = Weir::start_healthy(&forwarding(&target, "idle_timeout: 1s"));
    let mut client = Frames::connect(weir.listener(0));
    // ENABLE_PUSH is 1.
    client.send(kind::SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 1]);
    client.head(1, END_STREAM, &HEAD);
    let frames = client.to_end();
    assert!(frames.iter().any(|frame| frame.kind == kind::DATA && frame.payload == b"ok"), "{frames:?}");
    assert!(frames.iter().all(|frame| frame.kind != PUSH_PROMISE), "{frames:?}");
}

#[test]
fn a_client_that_says_nothing_at_all_is_closed_after_one_idle_timeout() {
    let target = FakeTarget::answering("web");
    let weir = Weir::start_healthy(&forwarding(&target, "idle_timeout: 2s"));
    let began = tokio::time::Instant::now();
    assert!(weir.client().is_closed());
    let waited = tokio::time::Instant::now() - began;
    assert!(waited < Duration::from_secs(4), "not after two: {waited:?}");
}

// Conformance: A6.10
#[test]
fn more_streams_than_are_allowed_wait_for_those_before_them() {
    let target = FakeTarget::answering("web");
    let weir = weir(&target);
    run(async {
        let mut client = Http2Client::connect(weir.listener(0)).await;
        client.get("/").await;
        assert_eq!(client.streams_max(), REACHED_MAX);
        let mut waiting = Vec::new();
        for _ in 0..3 * REACHED_MAX {
            waiting.push(client.begin(request("GET", "/"), true).await.0);
        }
        for response in waiting {
            assert_eq!(answer(response).await.unwrap().text(), "web");
        }
    });
}

#[test]
fn streams_that_are_opened_and_reset_end_the_connection() {
    let target = FakeTarget::behaving(|_, stream| {
        let _ = std::io::Read::read(stream, &mut [0]);
        false
    });
    let quick = FakeTarget::answering("web");
    let rule = "rules: [{ priority: 1, conditions: [{ path_pattern: [/slow] }], actions: [{ forward: slow }] }], default_action: { forward: web }";
    let groups =
        [weir_tests::yaml::group("slow", "", &[&target]), weir_tests::yaml::group("web", "", &[&quick])];
    let weir =
        Weir::start_healthy(&weir_tests::yaml::application(&groups, "http2_prior_knowledge: true", rule));
    let head = block(&[HEAD[0], HEAD[1], HEAD[2], (":path", b"/slow")]);
    let taken = flood(
        &weir,
        (0..FLOOD).map(|number| {
            let stream = number * 2 + 1;
            let mut frames = frame(kind::HEADERS, END_HEADERS | END_STREAM, stream, &head);
            frames.extend(frame(kind::RST_STREAM, 0, stream, &u32::from(Reason::CANCEL).to_be_bytes()));
            frames
        }),
    );
    assert!(taken <= FLOOD_MAX, "{taken} streams opened and reset");
    let reached = target.received().len();
    assert!(reached <= REACHED_MAX, "{reached} of {taken} requests reached a target");
}

#[test]
fn streams_that_make_the_listener_reset_them_end_the_connection() {
    let target = FakeTarget::answering("web");
    let weir = weir(&target);
    let head = block(&HEAD);
    let taken = flood(
        &weir,
        (0..FLOOD).map(|number| {
            let stream = number * 2 + 1;
            let mut frames = frame(kind::HEADERS, END_HEADERS, stream, &head);
            // No room at all is a mistake of the stream.
            frames.extend(frame(kind::WINDOW_UPDATE, 0, stream, &0_u32.to_be_bytes()));
            frames
        }),
    );
    assert!(taken <= FLOOD_MAX, "{taken} streams");
}

#[test]
fn a_head_that_never_ends_ends_the_connection() {
    let target = FakeTarget::answering("web");
    let weir = weir(&target);
    let begun = std::iter::once(frame(kind::HEADERS, END_STREAM, 1, &block(&HEAD)));
    let more = frame(kind::CONTINUATION, 0, 1, &block(&[("x", &[b'x'; 4000])]));
    let taken = flood(&weir, begun.chain((1..FLOOD).map(|_| more.clone())));
    assert!(taken <= FLOOD_MAX, "{taken} frames");
    assert_eq!(target.received().len(), 1, "only the one of whoever came after");
    let empty = frame(kind::CONTINUATION, 0, 1, b"");
    let begun = std::iter::once(frame(kind::HEADERS, END_STREAM, 1, &block(&HEAD)));
    let taken = flood(&weir, begun.chain((1..FLOOD).map(|_| empty.clone())));
    assert!(taken <= FLOOD_MAX, "{taken} frames without a byte");
}

#[test]
fn a_head_that_unpacks_to_more_than_it_may_is_refused() {
    let target = FakeTarget::answering("web");
    let weir = weir(&target);
    // A field of 3.9 KB goes into the table, and is then named 8,000 times by one byte.
    let mut bomb = block(&HEAD);
    let mut planted = block(&[("x-bomb", &[b'x'; 3900])]);
    planted[0] = 0x40;
    bomb.extend(planted);
    bomb.extend([0xbe; 8000]);
    let mut client = Frames::connect(weir.listener(0));
    client.send(kind::HEADERS, END_HEADERS | END_STREAM, 1, &bomb);
    let outcome = client.outcome(1);
    assert_ne!(outcome, Outcome::Answered(200));
    assert!(target.received().is_empty(), "it reached the target; {outcome:?}");
    let taken = flood(
        &weir,
        (0..200).map(|number| frame(kind::HEADERS, END_HEADERS | END_STREAM, number * 2 + 1, &bomb)),
    );
    assert!(taken <= 200);
}

#[test]
fn frames_that_mean_nothing_end_the_connection() {
    let target = FakeTarget::answering("web");
    let weir = weir(&target);
    for (what, frame) in [
        ("settings", frame(kind::SETTINGS, 0, 0, &[])),
        ("pings", frame(kind::PING, 0, 0, &[0; 8])),
        ("acknowledged pings", frame(kind::PING, ACK, 0, &[0; 8])),
        ("priorities", frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 0, 16])),
        ("windows", frame(kind::WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes())),
        ("unknown frames", frame(0xbe, 0, 0, b"")),
    ] {
        let taken = flood(&weir, (0..FLOOD).map(|_| frame.clone()));
        assert!(taken <= FLOOD_MAX, "{taken} {what}");
    }
    let begun = std::iter::once(frame(kind::HEADERS, END_HEADERS, 1, &block(&HEAD)));
    let empty = frame(kind::DATA, 0, 1, b"");
    let taken = flood(&weir, begun.chain((1..FLOOD).map(|_| empty.clone())));
    assert!(taken <= FLOOD_MAX, "{taken} pieces of a body without a byte");
}

// Conformance: A6.12
#[test]
fn a_connection_of_very_many_requests_is_replaced_without_losing_one() {
    /// Requests of one connection. Source: Application Load Balancer, a GOAWAY after 10,000 requests.
    const REQUESTS: usize = 10_000;
    let target = FakeTarget::answering("web");
    let fixed = "default_action: { fixed_response: { status_code: 200 } }";
    let weir = Weir::start(&weir_tests::yaml::application(
        &[weir_tests::yaml::group("web", "", &[&target])],
        "http2_prior_knowledge: true",
        fixed,
    ));
    run(async {
        let mut client = Http2Client::connect(weir.listener(0)).await;
        let (mut answered, mut waiting) = (0, Vec::new());
        while let Ok((response, _)) = client.try_begin(request("GET", "/"), true).await {
            waiting.push(response);
            if waiting.len() == 50 {
                for response in waiting.drain(..) {
                    match answer(response).await {
                        Ok(reply) => {
                            assert_eq!(reply.status, 200);
                            answered += 1;
                        }
                        // One that was never looked at may be asked again elsewhere.
                        Err(error) => {
                            assert!(error.is_go_away() && answered >= REQUESTS, "{answered}: {error}");
                        }
                    }
                }
            }
        }
        assert!((REQUESTS..REQUESTS + 200).contains(&answered), "{answered} were answered");
        client.ended().await.expect("the connection ends in order");
    });
}

// Conformance: A6.19
#[test]
fn a_client_that_waits_for_100_continue_gets_it_and_another_expectation_is_417() {
    let target = FakeTarget::answering("web");
    let weir = weir(&target);
    let head = |expectation: &'static [u8]| -> [(&str, &[u8]); 6] {
        [
            (":method", b"POST"),
            (":scheme", b"http"),
            (":authority", b"a"),
            (":path", b"/"),
            ("content-length", b"3"),
            ("expect", expectation),
        ]
    };
    let mut client = Frames::connect(weir.listener(0));
    client.head(1, 0, &head(b"100-continue"));
    assert_eq!(client.outcome(1), Outcome::Answered(100));
    client.send(kind::DATA, END_STREAM, 1, b"abc");
    assert_eq!(client.outcome(1), Outcome::Answered(200));
    assert_eq!((target.last().body.as_slice(), target.last().has("expect")), (&b"abc"[..], false));
    client.head(3, 0, &head(b"foo"));
    assert_eq!(client.outcome(3), Outcome::Answered(417));
}
