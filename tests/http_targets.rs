//! Targets from a URL in the shape of Prometheus's `http_sd`.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use weir_core::health::Health;
use weir_tests::target::respond;
use weir_tests::yaml::{application, group_of};
use weir_tests::{FakeTarget, Weir, loopback, wait_until};

/// A server of lists of targets, which tags its answers and counts those that it need not send again.
struct Lister {
    server: FakeTarget,
    list: Arc<Mutex<String>>,
    same: Arc<AtomicUsize>,
}

impl Lister {
    fn at(port: u16, list: &str) -> Self {
        let (list, same) = (Arc::new(Mutex::new(list.to_owned())), Arc::new(AtomicUsize::new(0)));
        let (listed, counted) = (list.clone(), same.clone());
        let server = FakeTarget::at(loopback(port), move |request, stream| {
            let body = listed.lock().unwrap().clone();
            // The list is its own tag, in an alphabet that a tag may have.
            let tag = format!("\"{}\"", body.replace('"', "'"));
            let is_same = request.header("if-none-match") == tag;
            counted.fetch_add(usize::from(is_same), Relaxed);
            let head = if is_same { "304 Not Modified" } else { "200 OK" };
            let body = if is_same { String::new() } else { body };
            let length = body.len();
            let answer = format!("HTTP/1.1 {head}\r\nETag: {tag}\r\nContent-Length: {length}\r\n\r\n{body}");
            std::io::Write::write_all(stream, answer.as_bytes()).is_ok()
        });
        Self { server, list, same }
    }

    fn say(&self, list: &str) {
        list.clone_into(&mut self.list.lock().unwrap());
    }
}

fn entry(target: &FakeTarget, labels: &str) -> String {
    format!(r#"{{"targets":["{}"],"labels":{{"service":"web"{labels}}}}}"#, target.addr())
}

fn following(addr: std::net::SocketAddr) -> Weir {
    Weir::start(&format!(
        "discovery: {{ confirm_removals: 0s, http: {{ url: \"http://{addr}/targets?of=web\", interval: 100ms }} }}\n{}",
        application(
            &[group_of("web", "", "{ http: { service: web } }")],
            "",
            "default_action: { forward: web }"
        )
    ))
}

#[test]
fn targets_come_and_go_with_the_answers_and_the_same_answer_is_not_sent_again() {
    let targets = [FakeTarget::answering("first"), FakeTarget::answering("second")];
    let first = entry(&targets[0], "");
    let lister = Lister::at(0, &format!("[{first}]"));
    let weir = following(lister.server.addr());
    weir.wait_for_health(targets[0].addr(), Health::Healthy);
    let asked = lister.server.received();
    assert_eq!(asked[0].request_line, "GET /targets?of=web HTTP/1.1");
    assert!(!asked[0].has("if-none-match") && asked[0].has("x-prometheus-refresh-interval-seconds"));
    wait_until("the list is not sent again", || lister.same.load(Relaxed) >= 3);
    assert_eq!(weir.get("/").body, "first");

    let second = entry(&targets[1], r#","weir.weight":"3""#);
    lister.say(&format!("[{second}]"));
    weir.wait_for_health(targets[1].addr(), Health::Healthy);
    assert_eq!(weir.member(targets[1].addr()).unwrap().weight.get(), 3);
    weir.wait_for_health(targets[0].addr(), Health::Draining);
}

#[test]
fn a_server_that_fails_or_talks_nonsense_keeps_the_last_good_targets() {
    let targets = [FakeTarget::answering("kept"), FakeTarget::answering("new")];
    let lister = Lister::at(0, &format!("[{}]", entry(&targets[0], "")));
    let addr = lister.server.addr();
    let weir = following(addr);
    weir.wait_for_health(targets[0].addr(), Health::Healthy);
    let told = |what: &str| {
        wait_until(&format!("{what:?} is told"), || weir.admin("/api/v1/events").body.contains(what));
    };
    lister.say("<html>sorry</html>");
    told("not a list of targets in http_sd");
    lister.server.kill();
    told("cannot connect");
    let failing = FakeTarget::at(addr, |_, stream| respond(stream, 503, "[]"));
    told("status 503");
    failing.kill();
    assert_eq!(weir.get("/").body, "kept");

    let _lister = Lister::at(addr.port(), &format!("[{}]", entry(&targets[1], "")));
    weir.wait_for_health(targets[1].addr(), Health::Healthy);
    weir.wait_for_health(targets[0].addr(), Health::Draining);
    told("recovered");
}

#[test]
fn an_element_with_a_mistake_is_left_out_alone() {
    let target = FakeTarget::answering("good");
    let mistaken = r#"{"targets":["web.internal:80"],"labels":{"service":"web"}}"#;
    let lister = Lister::at(0, &format!("[{mistaken},{}]", entry(&target, "")));
    let weir = following(lister.server.addr());
    weir.wait_for_health(target.addr(), Health::Healthy);
    let events = weir.admin("/api/v1/events").body;
    assert!(events.contains("entry 1") && events.contains("web.internal:80"), "{events}");
}
