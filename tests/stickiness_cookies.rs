//! Cookies that clients bring in all shapes, over HTTP/1.1, HTTP/2 and WebSocket.

use std::collections::BTreeSet;

use weir_tests::http2::request_with;
use weir_tests::target::respond;
use weir_tests::yaml::{application, group, group_of};
use weir_tests::{FakeTarget, Http2Client, Http2Target, Weir, run};

use crate::stickiness::{BY_LB_COOKIE, FORWARD, Jar, names, three, weir};

// Conformance: A3.4.8, A3.4.15
#[test]
fn a_cookie_that_is_not_as_it_was_set_is_none_and_never_an_error() {
    let targets = three();
    let weir = weir(&targets, BY_LB_COOKIE);
    let (mut client, mut jar) = (weir.client(), Jar::default());
    jar.ask(&mut client);
    let good = jar.0["AWSALB"].clone();
    let changed = format!("{}{}", if good.starts_with('A') { "B" } else { "A" }, &good[1..]);
    let encoded = good.bytes().map(|byte| format!("%{byte:02X}")).collect::<Vec<_>>().concat();
    let long = "A".repeat(8 * 1024);
    for bad in [&changed, &good[..127], &good[1..], &encoded, &format!("\"{good}\""), "", "x", &long] {
        let bodies: BTreeSet<String> = (0..9)
            .map(|_| {
                let reply = Jar::of("AWSALB", bad).ask(&mut client);
                assert_eq!((reply.status, names(&reply)), (200, vec!["AWSALB", "AWSALBCORS"]), "{bad}");
                reply.body
            })
            .collect();
        assert_eq!(bodies.len(), 3, "{bad}");
    }
    assert_eq!(Jar::of("AWSALB", &good).bodies(&mut client, 9).len(), 1);
}

// Conformance: A3.4.3
#[test]
fn the_cookie_for_other_sites_wins_and_every_line_of_cookies_is_looked_at() {
    let targets = three();
    let weir = weir(&targets, BY_LB_COOKIE);
    let mut client = weir.client();
    let [(one, by_one), (two, by_two)] = [0, 1].map(|_| {
        let mut jar = Jar::default();
        (jar.ask(&mut client).body, jar.0["AWSALB"].clone())
    });
    assert_ne!(one, two, "they went round");
    for _ in 0..9 {
        let mut both = Jar::of("AWSALB", &by_one);
        both.0.insert("AWSALBCORS".to_owned(), by_two.clone());
        assert_eq!(both.ask(&mut client).body, two);
        let lines = format!("Cookie: a=b\r\nCookie: c=d; AWSALB={by_one}; e=f");
        assert_eq!(client.ask(format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n")).body, one);
    }
}

#[test]
fn a_client_of_http_2_sends_its_cookies_in_several_fields() {
    let targets = three();
    let targets = [&targets[0], &targets[1], &targets[2]];
    let groups = [group("web", BY_LB_COOKIE, &targets)];
    let weir = Weir::start_healthy(&application(&groups, "http2_prior_knowledge: true", FORWARD));
    run(async {
        let mut client = Http2Client::connect(weir.listener(0)).await;
        let first = client.ask(request_with("GET", "/", &[]), b"").await;
        let set: Vec<&str> =
            first.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap()).collect();
        assert_eq!(set.len(), 2, "{set:?}");
        let pair = set[1].split(';').next().unwrap();
        assert!(pair.starts_with("AWSALBCORS="), "{pair}");
        for _ in 0..9 {
            let fields = [("cookie", "a=b"), ("cookie", pair), ("cookie", "c=d")];
            let again = client.ask(request_with("GET", "/", &fields), b"").await;
            assert_eq!(again.text(), first.text());
        }
    });
}

#[test]
fn a_websocket_is_led_to_its_client_s_target_and_its_answer_sets_cookies() {
    let agreeing = |name: &'static str| {
        FakeTarget::behaving(move |received, stream| {
            use std::io::Write as _;
            if received.header("upgrade").is_empty() {
                return respond(stream, 200, name);
            }
            let head = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
            let _ = write!(stream, "{head}X-Target: {name}\r\n\r\n");
            false
        })
    };
    let weir = weir(&["one", "two", "three"].map(agreeing), BY_LB_COOKIE);
    let mut jar = Jar::default();
    let first = jar.ask(&mut weir.client()).body;
    for _ in 0..6 {
        let mut client = weir.client();
        let cookie = jar.line();
        client.send(format!(
            "GET / HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        ));
        let head = client.head().unwrap();
        assert_eq!((head.status, head.header("x-target")), (101, first.as_str()));
        assert_eq!(names(&head), ["AWSALB", "AWSALBCORS"]);
    }
}

#[test]
fn clients_stick_to_targets_that_speak_http_2_too() {
    let targets = ["one", "two"].map(Http2Target::answering);
    let listed = targets.each_ref().map(Http2Target::yaml).join(", ");
    let settings = format!("{BY_LB_COOKIE}, protocol_version: http2");
    let groups = [group_of("web", &settings, &listed)];
    let weir = Weir::start_healthy(&application(&groups, "http2_prior_knowledge: true", FORWARD));
    run(async {
        let mut client = Http2Client::connect(weir.listener(0)).await;
        let first = client.ask(request_with("GET", "/", &[]), b"").await;
        let cookie = first.header("set-cookie").split(';').next().unwrap();
        assert!(cookie.starts_with("AWSALB="), "{cookie}");
        for _ in 0..9 {
            let again = client.ask(request_with("GET", "/", &[("cookie", cookie)]), b"").await;
            assert_eq!(again.text(), first.text());
        }
    });
}
