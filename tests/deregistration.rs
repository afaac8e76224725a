//! A target that leaves: nothing new, and time to finish what it has.

use std::sync::Mutex;
use std::sync::mpsc::{Sender, channel};

use weir_core::health::Health;
use weir_tests::target::respond;
use weir_tests::yaml::{application, group_of};
use weir_tests::{Client, FakeTarget, Folder, Weir, wait_until};

/// A weir that follows a file with a slow target in it, and what lets that target answer.
struct Story {
    weir: Weir,
    folder: Folder,
    slow: FakeTarget,
    other: FakeTarget,
    answer: Sender<()>,
}

impl Story {
    fn begin(delay: &str) -> Self {
        let (answer, may_answer) = channel();
        let may_answer = Mutex::new(may_answer);
        let slow = FakeTarget::behaving(move |received, stream| {
            if received.request_line.contains("/slow") {
                let _ = may_answer.lock().unwrap().recv();
            }
            respond(stream, 200, "slow")
        });
        let (folder, other) = (Folder::new(), FakeTarget::answering("other"));
        folder.write("targets.json", &Self::entries(&[&slow]));
        let settings = format!("deregistration_delay: {delay}");
        let yaml = format!(
            "discovery: {{ confirm_removals: 0s, file: {{ path: {} }} }}\n{}",
            folder.path().join("targets.json").display(),
            application(
                &[group_of("web", &settings, "{ file: { service: web } }")],
                "",
                "default_action: { forward: web }"
            )
        );
        let weir = Weir::start(&yaml);
        weir.wait_for_health(slow.addr(), Health::Healthy);
        Self { weir, folder, slow, other, answer }
    }

    fn entries(targets: &[&FakeTarget]) -> String {
        let addrs: Vec<String> = targets.iter().map(|target| format!("\"{}\"", target.addr())).collect();
        format!("[{{ \"targets\": [{}], \"labels\": {{ \"service\": \"web\" }} }}]", addrs.join(", "))
    }

    /// Sends a request that the slow target keeps, then replaces that target by the other.
    fn replace_during_a_request(&self) -> Client {
        let mut client = self.weir.client();
        client.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
        wait_until("the slow target has the request", || self.slow.received().len() == 1);
        self.folder.write("targets.json", &Self::entries(&[&self.other]));
        self.weir.wait_for_health(self.other.addr(), Health::Healthy);
        client
    }
}

// Conformance: A3.5.2, A3.5.3
#[test]
fn a_draining_target_gets_nothing_new_and_finishes_what_it_has() {
    let story = Story::begin("60s");
    let mut client = story.replace_during_a_request();
    assert_eq!(story.weir.member(story.slow.addr()).unwrap().health, Health::Draining);
    for _ in 0..6 {
        assert_eq!(story.weir.get("/").body, "other");
    }
    story.answer.send(()).unwrap();
    assert_eq!(client.reply().body, "slow");
}

// Conformance: A3.5.5, A7.29
#[test]
fn a_request_that_outlives_the_delay_is_cut_off_with_502_unless_it_may_be_repeated() {
    let story = Story::begin("0s");
    let mut client = story.replace_during_a_request();
    assert_eq!(client.reply().body, "other", "a GET goes to another target");
    let story = Story::begin("0s");
    let mut client = story.weir.client();
    client.send("POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
    wait_until("the slow target has the request", || story.slow.received().len() == 1);
    story.folder.write("targets.json", &Story::entries(&[&story.other]));
    assert_eq!(client.reply().status, 502);
    assert!(story.weir.admin("/metrics").body.contains("deregistered_mid_request"));
}

// Conformance: A3.5.7, A3.5.8
#[test]
fn a_target_that_comes_back_while_it_drains_is_used_again() {
    let story = Story::begin("60s");
    let mut client = story.replace_during_a_request();
    story.folder.write("targets.json", &Story::entries(&[&story.slow, &story.other]));
    story.weir.wait_for_health(story.slow.addr(), Health::Healthy);
    story.answer.send(()).unwrap();
    assert_eq!(client.reply().body, "slow");
    let bodies: Vec<String> = (0..6).map(|_| story.weir.get("/").body).collect();
    assert!(bodies.contains(&"slow".to_owned()), "{bodies:?}");
}
