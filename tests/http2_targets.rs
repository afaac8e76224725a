//! Targets that speak HTTP/2: what reaches them, what they do wrong, and what that costs.

use bytes::Bytes;
use h2::Reason;
use weir_tests::frame_target::FrameTarget;
use weir_tests::frames::{END_HEADERS, END_STREAM, block, frame, kind};
use weir_tests::http2::{answer, piece, request, request_with, whole};
use weir_tests::http2_target::{Exchange, fields};
use weir_tests::yaml::{application, group_of};
use weir_tests::{Http2Client, Http2Target, Weir, run, wait_until};

fn weir(targets: &[&Http2Target], settings: &str) -> Weir {
    let targets: Vec<String> = targets.iter().map(|target| target.yaml()).collect();
    let groups = [group_of("web", "protocol_version: http2", &targets.join(", "))];
    let settings = format!("http2_prior_knowledge: true{settings}");
    Weir::start_healthy(&application(&groups, &settings, "default_action: { forward: web }"))
}

/// Before one target that writes frames by hand.
fn weir_before(target: &FrameTarget) -> Weir {
    let groups =
        [group_of("web", "protocol_version: http2, health_check: { protocol: tcp }", &target.yaml())];
    let yaml = application(&groups, "http2_prior_knowledge: true", "default_action: { forward: web }");
    Weir::start_healthy(&yaml)
}

#[test]
fn a_request_reaches_a_target_as_it_came_but_for_what_weir_tells() {
    let target = Http2Target::answering("fine");
    let weir = weir(&[&target], "");
    run(async {
        let mut client = Http2Client::connect(weir.listener(0)).await;
        let sent = request_with(
            "PUT",
            "/a?b=c",
            &[("x-mine", "1"), ("cookie", "a=1"), ("cookie", "b=2"), ("te", "trailers")],
        );
        let reply = client.ask(sent, b"hello").await;
        assert_eq!((reply.status, reply.text().as_str()), (200, "fine"));
        client.ask(request("OPTIONS", ""), b"").await;
    });
    let received = target.received();
    let first = &received[0];
    let field = |name: &str| first.headers().get(name).map_or("", |value| value.to_str().unwrap());
    assert_eq!((first.method().as_str(), first.uri().path_and_query().unwrap().as_str()), ("PUT", "/a?b=c"));
    assert_eq!((first.uri().scheme_str(), first.uri().host()), (Some("http"), Some("a.example")));
    assert_eq!(
        ["x-mine", "cookie", "te", "x-forwarded-for"].map(field),
        ["1", "a=1; b=2", "trailers", "127.0.0.1"]
    );
    assert!(!field("x-amzn-trace-id").is_empty());
    for hop in ["connection", "host", "transfer-encoding", "keep-alive"] {
        assert!(!first.headers().contains_key(hop), "{hop}");
    }
}

#[test]
fn bodies_and_trailers_pass_both_ways_as_they_come() {
    let target = Http2Target::behaving(async |mut exchange: Exchange| {
        let Some(mut stream) = exchange.begin(200, &[], false) else { return };
        while let Some(Ok(data)) = piece(&mut exchange.body).await {
            let _ = stream.send_data(data, false);
        }
        let sum = exchange.body.trailers().await.ok().flatten().unwrap_or_default();
        let sum = sum.get("x-sum").map_or("", |sum| sum.to_str().unwrap_or("")).to_owned();
        let _ = stream.send_trailers(fields(&[("x-sum", &sum)]));
    });
    let weir = weir(&[&target], "");
    run(async {
        let mut client = Http2Client::connect(weir.listener(0)).await;
        let (response, mut stream) = client.begin(request("POST", "/"), false).await;
        let mut body = response.await.unwrap().into_body();
        for word in ["first", "second"] {
            stream.send_data(Bytes::from_static(word.as_bytes()), false).unwrap();
            assert_eq!(piece(&mut body).await.unwrap().unwrap(), word);
        }
        stream.send_trailers(fields(&[("x-sum", "2"), ("authorization", "evil")])).unwrap();
        let (rest, trailers) = whole(&mut body).await.unwrap();
        assert_eq!((rest.len(), trailers["x-sum"].to_str().unwrap()), (0, "2"));
    });
}

#[test]
fn a_body_that_the_target_resets_is_a_reset_for_the_client() {
    let target = Http2Target::behaving(async |mut exchange: Exchange| {
        let Some(mut stream) = exchange.begin(200, &[("content-length", "100")], false) else { return };
        let _ = stream.send_data(Bytes::from_static(b"only this"), false);
        tokio::task::yield_now().await;
        stream.send_reset(Reason::INTERNAL_ERROR);
    });
    let weir = weir(&[&target], "");
    run(async {
        let mut client = Http2Client::connect(weir.listener(0)).await;
        let (response, _) = client.begin(request("GET", "/"), true).await;
        let error = answer(response).await.expect_err("not a short whole");
        assert!(error.is_reset(), "{error}");
        assert_eq!(client.streams_max(), 128, "the connection goes on");
    });
    wait_until("the target is free", || weir.metric("weir_target_in_flight") < 0.1);
}

#[test]
fn a_request_that_the_target_refuses_unseen_goes_to_another_whatever_its_method() {
    let refusing = Http2Target::behaving(async |mut exchange: Exchange| {
        exchange.respond.send_reset(Reason::REFUSED_STREAM);
    });
    let good = Http2Target::behaving(async |mut exchange: Exchange| {
        let (body, _) = whole(&mut exchange.body).await.unwrap();
        exchange.answer(200, &String::from_utf8_lossy(&body));
    });
    let weir = weir(&[&refusing, &good], "");
    run(async {
        let mut client = Http2Client::connect(weir.listener(0)).await;
        for _ in 0..6 {
            let reply = client.ask(request("PUT", "/"), b"all of it").await;
            assert_eq!((reply.status, reply.text().as_str()), (200, "all of it"));
            assert_eq!(client.ask(request("POST", "/"), b"").await.status, 200);
        }
    });
    assert!(!refusing.received().is_empty(), "it was tried");
}

#[test]
fn a_request_that_is_refused_unseen_goes_to_another_however_long_its_body_is_to_be() {
    const LENGTH: usize = 100_000;
    let refusing = Http2Target::behaving(async |mut exchange: Exchange| {
        exchange.respond.send_reset(Reason::REFUSED_STREAM);
    });
    let good = Http2Target::behaving(async |mut exchange: Exchange| {
        let (body, _) = whole(&mut exchange.body).await.unwrap();
        exchange.answer(200, &body.len().to_string());
    });
    let weir = weir(&[&refusing, &good], "");
    run(async {
        let mut client = Http2Client::connect(weir.listener(0)).await;
        for _ in 0..6 {
            let sent = request_with("POST", "/", &[("content-length", &LENGTH.to_string())]);
            let answered = good.received().len();
            let (response, mut stream) = client.begin(sent, false).await;
            stream.send_data(Bytes::from(vec![b'x'; 1000]), false).unwrap();
            // The rest when the good one has the request, and so after any refusal.
            while good.received().len() == answered {
                tokio::task::yield_now().await;
            }
            stream.send_data(Bytes::from(vec![b'x'; LENGTH - 1000]), true).unwrap();
            let reply = answer(response).await.unwrap();
            assert_eq!((reply.status, reply.text()), (200, LENGTH.to_string()));
        }
    });
    assert!(!refusing.received().is_empty(), "it was tried");
}

#[test]
fn what_a_target_leaves_behind_when_it_goes_away_is_asked_again_whatever_its_method() {
    let target = FrameTarget::behaving(&[], |requests, received| match received.kind {
        kind::HEADERS if requests == 1 => {
            let last_stream_and_no_error = [0; 8];
            frame(kind::GOAWAY, 0, 0, &last_stream_and_no_error)
        }
        kind::DATA if requests > 1 && received.flags & END_STREAM != 0 => {
            frame(kind::HEADERS, END_HEADERS | END_STREAM, received.stream, &block(&[(":status", b"200")]))
        }
        _ => Vec::new(),
    });
    let weir = weir_before(&target);
    run(async {
        let mut client = Http2Client::connect(weir.listener(0)).await;
        assert_eq!(client.ask(request("POST", "/"), b"all of it").await.status, 200);
    });
    assert_eq!(target.requests(), 2, "once on the connection that went away, once on another");
    assert!(weir.metric("weir_retries_total") < 0.1, "no other target was needed");
    assert!(weir.metric("weir_target_failures_total") < 0.1, "and nothing has failed");
}

#[test]
fn a_request_that_the_target_resets_is_repeated_only_if_that_is_safe() {
    let failing = Http2Target::behaving(async |mut exchange: Exchange| {
        exchange.respond.send_reset(Reason::INTERNAL_ERROR);
    });
    let good = Http2Target::answering("good");
    let weir = weir(&[&failing, &good], "");
    run(async {
        let mut client = Http2Client::connect(weir.listener(0)).await;
        for _ in 0..6 {
            assert_eq!(client.get("/").await.text(), "good");
        }
        let mut statuses = Vec::new();
        for _ in 0..6 {
            statuses.push(client.ask(request("POST", "/"), b"once").await.status);
        }
        assert!(statuses.contains(&502) && statuses.contains(&200), "{statuses:?}");
        let posts = |target: &Http2Target| target.received().iter().filter(|r| r.method() == "POST").count();
        assert_eq!(posts(&failing) + posts(&good), 6, "each was received once");
    });
}

#[test]
fn a_target_that_answers_early_has_its_answer_passed_on() {
    let target = Http2Target::behaving(async |mut exchange: Exchange| {
        // Without a look at the body: h2 then says that it wants no more of it.
        exchange.answer(413, "too much");
    });
    let weir = weir(&[&target], "");
    run(async {
        let mut client = Http2Client::connect(weir.listener(0)).await;
        let (response, mut stream) = client.begin(request("POST", "/"), false).await;
        // Whoever answers so early may have ended the stream by now.
        let _ = stream.send_data(Bytes::from_static(b"some"), false);
        let reply = answer(response).await.unwrap();
        assert_eq!((reply.status, reply.text().as_str()), (413, "too much"));
        assert_eq!(client.get("/").await.status, 413, "the connection goes on");
    });
}

// Conformance: A7.33
#[test]
fn a_target_that_never_answers_is_504_and_its_stream_is_given_up() {
    let target = Http2Target::behaving(async |exchange: Exchange| {
        let _kept = exchange;
        std::future::pending::<()>().await;
    });
    let weir = weir(&[&target], ", idle_timeout: 1s");
    run(async {
        let mut client = Http2Client::connect(weir.listener(0)).await;
        assert_eq!(client.get("/").await.status, 504);
    });
    wait_until("the target is free", || weir.metric("weir_target_in_flight") < 0.1);
}

// Conformance: A7.25
#[test]
fn a_target_that_speaks_another_protocol_is_502() {
    let target = weir_tests::FakeTarget::answering("HTTP/1.1");
    let groups = [group_of("web", "protocol_version: http2", &target.yaml())];
    let weir =
        Weir::start(&application(&groups, "http2_prior_knowledge: true", "default_action: { forward: web }"));
    run(async {
        let mut client = Http2Client::connect(weir.listener(0)).await;
        assert_eq!(client.get("/").await.status, 502);
    });
}

#[test]
fn fields_of_a_target_that_only_concern_its_connection_do_not_reach_the_client() {
    let target = Http2Target::behaving(async |mut exchange: Exchange| {
        exchange.begin(200, &[("x-kept", "1"), ("set-cookie", "a=1"), ("set-cookie", "b=2")], true);
    });
    let weir = weir(&[&target], "");
    let reply = run(async { Http2Client::connect(weir.listener(0)).await.get("/").await });
    assert_eq!(reply.header("x-kept"), "1");
    assert_eq!(reply.headers.get_all("set-cookie").iter().count(), 2, "cookies that are set stay apart");
}
