//! Clients that speak HTTP/2: every stream is a request of its own, and none disturbs another.

use std::io::{Read, Write};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use h2::Reason;
use weir_tests::http2::{answer, piece, request, request_with, send, whole};
use weir_tests::target::{read_chunk, respond};
use weir_tests::tls::Pair;
use weir_tests::yaml::{application, group};
use weir_tests::{Capture, FakeTarget, Folder, Http2Client, Weir, run, wait_until};

/// Clear-text HTTP/2 by prior knowledge, with an idle timeout that tests can wait for.
const SETTINGS: &str = "http2_prior_knowledge: true";

pub(crate) fn forwarding(target: &FakeTarget, settings: &str) -> String {
    let settings = if settings.is_empty() { SETTINGS.to_owned() } else { format!("{SETTINGS}, {settings}") };
    application(&[group("web", "", &[target])], &settings, "default_action: { forward: web }")
}

fn weir(target: &FakeTarget) -> Weir {
    Weir::start_healthy(&forwarding(target, ""))
}

/// A target that waits with every answer until the test lets it go on.
fn held() -> (FakeTarget, Arc<Mutex<Vec<Sender<()>>>>) {
    let doors: Arc<Mutex<Vec<Sender<()>>>> = Arc::default();
    let opening = doors.clone();
    let target = FakeTarget::behaving(move |received, stream| {
        if received.request_line.contains("/held") {
            let (sender, receiver) = channel();
            opening.lock().unwrap().push(sender);
            let _ = receiver.recv();
        }
        respond(stream, 200, &received.request_line)
    });
    (target, doors)
}

fn side_by_side(
    connect: impl AsyncFnOnce(&Weir) -> Http2Client,
    weir: &Weir,
    doors: &Mutex<Vec<Sender<()>>>,
) {
    const STREAMS: usize = 20;
    run(async {
        let mut client = connect(weir).await;
        let mut waiting = Vec::new();
        for number in 0..STREAMS {
            waiting.push(client.begin(request("GET", &format!("/held/{number}")), true).await.0);
        }
        wait_until("all are with the target at a time", || doors.lock().unwrap().len() == STREAMS);
        assert_eq!(client.get("/now").await.text(), "GET /now HTTP/1.1", "none of them holds up another");
        doors.lock().unwrap().clear();
        for (number, response) in waiting.into_iter().enumerate() {
            assert_eq!(answer(response).await.unwrap().text(), format!("GET /held/{number} HTTP/1.1"));
        }
    });
}

#[test]
fn streams_are_answered_side_by_side_without_tls() {
    let (target, doors) = held();
    let weir = weir(&target);
    side_by_side(async |weir: &Weir| Http2Client::connect(weir.listener(0)).await, &weir, &doors);
}

// Conformance: A1.15, A3.2.5, A6.6
#[test]
fn streams_are_answered_side_by_side_over_tls() {
    let (target, doors) = held();
    let folder = Folder::new();
    Pair::new(&["shop.example"]).write(&folder, "shop");
    let listener = "protocol: https, certificates: { certificate: shop.pem, key: shop.key }, default_action: { forward: web }";
    let weir = Weir::start_in(folder, &application(&[group("web", "", &[&target])], "", listener), |_| {});
    weir.wait_until_healthy();
    let connect = async |weir: &Weir| Http2Client::connect_secure(weir.listener(0), "shop.example").await;
    side_by_side(connect, &weir, &doors);
    assert_eq!(target.last().header("x-forwarded-proto"), "https");
}

// Conformance: A3.2.4
#[test]
fn clear_text_http_2_is_an_option() {
    let target = FakeTarget::answering("web");
    let weir = Weir::start_healthy(&weir_tests::yaml::forwarding_to(&[&target]));
    let mut client = weir.client();
    client.send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    assert_eq!(client.reply().status, 505);
    assert!(target.received().is_empty());
}

// Conformance: A6.5
#[test]
fn a_client_of_http_1_1_is_served_where_http_2_is_allowed() {
    let target = FakeTarget::answering("web");
    let weir = weir(&target);
    assert_eq!(weir.get("/").body, "web");
    let mut dripping = weir.client();
    for letter in "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n".split_inclusive("") {
        dripping.send(letter);
    }
    assert_eq!(dripping.reply().body, "web", "a method that begins like the preface");
}

// Conformance: A3.2.2, A3.2.5, A6.34
#[test]
fn a_target_sees_a_request_of_http_2_as_one_of_http_1_1() {
    let target = Capture::new();
    let groups = [weir_tests::yaml::group_of("web", "", &target.yaml())];
    let weir = Weir::start_healthy(&application(&groups, SETTINGS, "default_action: { forward: web }"));
    let fields = [
        ("cookie", "a=1"),
        ("accept", "*/*"),
        ("cookie", "b=2"),
        ("te", "trailers"),
        ("x-forwarded-for", "192.0.2.1"),
    ];
    run(async {
        let mut client = Http2Client::connect(weir.listener(0)).await;
        let reply = client.ask(request_with("GET", "/a?b=c", &fields), b"").await;
        assert_eq!((reply.status, reply.text().as_str()), (200, "fine"));
        client.ask(request_with("POST", "/", &[("content-length", "5")]), b"hello").await;
        client.ask(request("POST", "/"), b"hello").await;
        client.ask(request("POST", "/"), b"").await;
        client.ask(request("OPTIONS", ""), b"").await;
    });
    assert_eq!(target.dirt(), Vec::<String>::new());
    let requests = target.requests();
    let first = &requests[0];
    assert_eq!((first.method.as_str(), first.target.as_str()), ("GET", "/a?b=c"));
    assert_eq!(first.values("cookie"), ["a=1; b=2"], "RFC 9113 section 8.2.3");
    assert_eq!(first.field("x-forwarded-for"), "192.0.2.1, 127.0.0.1");
    assert!(first.fields.iter().any(|(name, _)| name == "Host") && first.values("te").is_empty());
    let framing = |at: usize| {
        (
            requests[at].field("content-length"),
            requests[at].field("transfer-encoding"),
            requests[at].body.as_slice(),
        )
    };
    assert_eq!(framing(1), ("5", "", &b"hello"[..]));
    assert_eq!(framing(2), ("", "chunked", &b"hello"[..]));
    assert_eq!(framing(3), ("0", "", &b""[..]));
}

// Conformance: A6.8, A6.9
#[test]
fn methods_that_are_not_for_targets_are_refused() {
    let target = FakeTarget::answering("reached");
    let weir = weir(&target);
    run(async {
        let mut client = Http2Client::connect(weir.listener(0)).await;
        let connect = http::Request::builder().method("CONNECT").uri("127.0.0.1:22").body(()).unwrap();
        assert_eq!(client.ask(connect, b"").await.status, 405);
        assert_eq!(client.ask(request("TRACE", "/"), b"").await.status, 405);
        assert!(target.received().is_empty());
        assert_eq!(client.get("/").await.text(), "reached", "the connection goes on");
    });
}

#[test]
fn a_host_that_is_not_the_authority_is_refused() {
    let target = FakeTarget::answering("reached");
    let weir = weir(&target);
    run(async {
        let mut client = Http2Client::connect(weir.listener(0)).await;
        let reply = client.ask(request_with("GET", "/", &[("host", "b.example")]), b"").await;
        assert_eq!(reply.status, 400);
        assert!(target.received().is_empty());
        let reply = client.ask(request_with("GET", "/", &[("host", "A.example")]), b"").await;
        assert_eq!(reply.text(), "reached", "the same by another spelling");
        assert_eq!(
            target.last().headers.iter().filter(|(name, _)| name.eq_ignore_ascii_case("host")).count(),
            1
        );
    });
}

#[test]
fn bodies_of_megabytes_arrive_unchanged_in_both_directions() {
    let target = FakeTarget::behaving(|received, stream| {
        respond(stream, 200, &String::from_utf8_lossy(&received.body))
    });
    let weir = weir(&target);
    let body = (0..400_000).map(|number| format!("{number:06} ")).collect::<Vec<_>>().concat();
    run(async {
        let mut client = Http2Client::connect(weir.listener(0)).await;
        let (response, mut stream) = client.begin(request("POST", "/"), false).await;
        let (sent, reply) = tokio::join!(send(&mut stream, body.as_bytes(), true), answer(response));
        assert!(sent);
        let reply = reply.unwrap();
        assert!(reply.text() == body, "{} of {} bytes came back", reply.body.len(), body.len());
    });
}

#[test]
fn a_stalled_upload_and_a_reader_that_takes_nothing_hold_up_nobody() {
    let big = "x".repeat(8 * 1024 * 1024);
    let target = FakeTarget::behaving(move |received, stream| match &*received.request_line {
        "GET /big HTTP/1.1" => respond(stream, 200, &big),
        _ => respond(stream, 200, "quick"),
    });
    let weir = weir(&target);
    run(async {
        // A client whose own room for all streams is taken by one holds itself up.
        let mut settings = h2::client::Builder::new();
        settings.initial_connection_window_size(16 * 1024 * 1024);
        let mut client = Http2Client::connect_as(&settings, weir.listener(0)).await;
        let (_stalled, mut upload) = client.begin(request("POST", "/stalled"), false).await;
        upload.send_data(Bytes::from_static(b"some"), false).unwrap();
        let (unread, _) = client.begin(request("GET", "/big"), true).await;
        let mut unread = unread.await.unwrap().into_body();
        unread.data().await.unwrap().unwrap();
        for _ in 0..50 {
            assert_eq!(client.get("/quick").await.text(), "quick");
        }
    });
}

#[test]
fn a_target_that_does_not_read_holds_its_client_up_and_nobody_s_memory() {
    /// What may lie between a client and a target that takes nothing: the stream's window, weir's buffers, and those of
    /// the kernel, which are the largest.
    const BETWEEN_MAX: usize = 16 * 1024 * 1024;
    let (go, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let target = FakeTarget::behaving(move |_, stream| {
        let _ = wait.lock().unwrap().recv();
        while read_chunk(stream).is_some() {}
        respond(stream, 200, "all")
    });
    let weir = weir(&target);
    run(async {
        let mut client = Http2Client::connect(weir.listener(0)).await;
        let (response, mut stream) =
            client.begin(request_with("POST", "/", &[("x-leave-body", "1")]), false).await;
        let (mut sent, block) = (0, vec![b'x'; 64 * 1024]);
        while let Ok(true) =
            tokio::time::timeout(weir_tests::http2::STALL, send(&mut stream, &block, false)).await
        {
            sent += block.len();
            assert!(sent < BETWEEN_MAX, "the client is never told to wait");
        }
        drop(go);
        send(&mut stream, b"end", true).await;
        assert_eq!(answer(response).await.unwrap().text(), "all");
    });
}

#[test]
fn trailers_pass_both_ways() {
    let trailers = Arc::new(Mutex::new(String::new()));
    let seen = trailers.clone();
    let target = FakeTarget::behaving(move |_, stream| {
        let mut bytes = Vec::new();
        while !bytes.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if stream.read_exact(&mut byte).is_err() {
                return false;
            }
            bytes.push(byte[0]);
        }
        *seen.lock().unwrap() = String::from_utf8(bytes).unwrap();
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 2\r\nContent-Length: 9\r\n\r\n");
        true
    });
    let weir = weir(&target);
    let reply = run(async {
        let mut client = Http2Client::connect(weir.listener(0)).await;
        let fields = [("x-leave-body", "1"), ("te", "trailers")];
        let (response, mut stream) = client.begin(request_with("POST", "/", &fields), false).await;
        stream.send_data(Bytes::from_static(b"hello"), false).unwrap();
        stream
            .send_trailers(weir_tests::http2_target::fields(&[
                ("x-sum", "1"),
                ("x-forwarded-for", "1.1.1.1"),
            ]))
            .unwrap();
        answer(response).await.unwrap()
    });
    assert_eq!(*trailers.lock().unwrap(), "5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n");
    assert_eq!((reply.text().as_str(), reply.trailer("x-sum")), ("ok", "2"));
    assert!(!reply.trailers.contains_key("content-length"), "one that frames is dropped");
}

#[test]
fn a_body_that_breaks_off_is_a_reset_and_never_a_short_whole() {
    let target = FakeTarget::behaving(|received, stream| {
        let answer: &[u8] = match &*received.request_line {
            "GET /length HTTP/1.1" => b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this",
            "GET /chunks HTTP/1.1" => {
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n"
            }
            _ => b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\nnonsense\r\n",
        };
        let _ = stream.write_all(answer);
        false
    });
    let weir = weir(&target);
    run(async {
        let mut client = Http2Client::connect(weir.listener(0)).await;
        for path in ["/length", "/chunks", "/nonsense"] {
            let (response, _) = client.begin(request("GET", path), true).await;
            let error = answer(response).await.expect_err("not the whole body");
            assert!(error.is_reset() && error.is_remote(), "{path}: {error}");
        }
    });
}

// Conformance: A3.3.7
#[test]
fn a_client_that_resets_its_stream_frees_the_target() {
    let (began, ended) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (counting, closing) = (began.clone(), ended.clone());
    let target = FakeTarget::behaving(move |_, stream| {
        counting.fetch_add(1, Relaxed);
        // Until weir hangs up.
        let _ = stream.read(&mut [0]);
        closing.fetch_add(1, Relaxed);
        false
    });
    let weir = weir(&target);
    run(async {
        let mut client = Http2Client::connect(weir.listener(0)).await;
        let (response, mut stream) = client.begin(request("GET", "/"), true).await;
        wait_until("the target has the request", || began.load(Relaxed) == 1);
        assert!((weir.metric("weir_target_in_flight") - 1.0).abs() < 0.1);
        stream.send_reset(Reason::CANCEL);
        wait_until("the target is free", || weir.metric("weir_target_in_flight") < 0.1);
        wait_until("its connection is closed", || ended.load(Relaxed) == 1);
        assert!(response.await.is_err());
        let (response, mut upload) =
            client.begin(request_with("POST", "/", &[("x-leave-body", "1")]), false).await;
        upload.send_data(Bytes::from_static(b"half"), false).unwrap();
        wait_until("the target has half of an upload", || began.load(Relaxed) == 2);
        drop((response, upload));
        wait_until("the target is free again", || weir.metric("weir_target_in_flight") < 0.1);
    });
}

#[test]
fn a_stream_that_takes_too_long_is_answered_alone() {
    let (go, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let target = FakeTarget::behaving(move |received, stream| {
        if received.request_line.contains("/silent") {
            let _ = wait.lock().unwrap().recv();
        }
        respond(stream, 200, "web")
    });
    let weir = Weir::start_healthy(&forwarding(&target, "idle_timeout: 1s"));
    run(async {
        let mut client = Http2Client::connect(weir.listener(0)).await;
        let (silent, _) = client.begin(request("GET", "/silent"), true).await;
        let (stopped, mut upload) =
            client.begin(request_with("POST", "/", &[("content-length", "9")]), false).await;
        upload.send_data(Bytes::from_static(b"half"), false).unwrap();
        let (silent, stopped) = tokio::join!(answer(silent), answer(stopped));
        assert_eq!(silent.unwrap().status, 504, "the target was silent");
        assert_eq!(stopped.unwrap().status, 408, "the client was");
        assert_eq!(client.get("/").await.text(), "web", "the connection goes on");
    });
    drop(go);
}

#[test]
fn a_body_comes_piece_by_piece_as_the_target_sends_it() {
    let (go, wait) = channel::<&'static str>();
    let wait = Mutex::new(wait);
    let target = FakeTarget::behaving(move |_, stream| {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        while let Ok(word) = wait.lock().unwrap().recv() {
            let _ = write!(stream, "{:x}\r\n{word}\r\n", word.len());
        }
        let _ = stream.write_all(b"0\r\n\r\n");
        true
    });
    let weir = weir(&target);
    run(async {
        let mut client = Http2Client::connect(weir.listener(0)).await;
        let (response, _) = client.begin(request("GET", "/"), true).await;
        let mut body = response.await.unwrap().into_body();
        for word in ["first", "second"] {
            go.send(word).unwrap();
            assert_eq!(piece(&mut body).await.unwrap().unwrap(), word);
        }
        drop(go);
        assert!(whole(&mut body).await.unwrap().0.is_empty());
    });
}
