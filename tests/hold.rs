//! What waits while a discovered group has no target.

use std::net::SocketAddr;

use weir_tests::yaml::{application, group_of, network};
use weir_tests::{Client, FakeTarget, Folder, Weir, wait_until};

const FORWARD: &str = "default_action: { forward: web }";

/// A file of targets that a discovered group follows, empty at first.
struct Targets(Folder);

impl Targets {
    fn none() -> Self {
        let folder = Folder::new();
        folder.write("targets.json", "[]");
        Self(folder)
    }

    fn set(&self, addr: SocketAddr) {
        let text = format!("[{{ \"targets\": [\"{addr}\"], \"labels\": {{ \"service\": \"web\" }} }}]");
        self.0.write("targets.json", &text);
    }

    fn yaml(&self, rest: &str) -> String {
        format!("discovery: {{ file: {{ path: {} }} }}\n{rest}", self.0.path().join("targets.json").display())
    }

    fn application(&self, settings: &str) -> Weir {
        let groups = [group_of("web", settings, "{ file: { service: web } }")];
        Weir::start(&self.yaml(&application(&groups, "", FORWARD)))
    }

    fn network(&self) -> Weir {
        let groups = [group_of("db", "protocol: tcp, hold: 20s", "{ file: { service: web } }")];
        Weir::start(&self.yaml(&network(&groups, "")))
    }
}

/// Sends a request that nobody can answer yet.
fn held(weir: &Weir) -> Client {
    let mut client = weir.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    client
}

fn wait_for_holding(weir: &Weir, count: usize) {
    wait_until("as many are held", || weir.metric("weir_holding") as usize == count);
}

#[test]
fn a_request_waits_for_the_first_target_of_a_discovered_group() {
    let (targets, target) = (Targets::none(), FakeTarget::answering("at last"));
    let weir = targets.application("hold: 20s");
    let mut client = held(&weir);
    wait_for_holding(&weir, 1);
    targets.set(target.addr());
    assert_eq!(client.reply().body, "at last");
    wait_for_holding(&weir, 0);
}

// Conformance: A4.4.5
#[test]
fn a_request_that_has_waited_long_enough_is_503() {
    let targets = Targets::none();
    let weir = targets.application("hold: 200ms");
    assert_eq!(weir.get("/").status, 503);
}

// Conformance: A4.4.5
#[test]
fn a_group_that_does_not_hold_answers_503_at_once() {
    let targets = Targets::none();
    let weir = targets.application("hold: 0s");
    assert_eq!(weir.get("/").status, 503);
    assert_eq!(weir.metric("weir_held_total") as u64, 0);
}

#[test]
fn everything_that_waited_is_answered_once_there_is_a_target() {
    let (targets, target) = (Targets::none(), FakeTarget::answering("at last"));
    let weir = targets.application("hold: 20s");
    let mut clients: Vec<Client> = (0..50).map(|_| held(&weir)).collect();
    wait_for_holding(&weir, 50);
    assert!(weir.admin("/").body.contains("50 waiting for a target"), "the page says so");
    targets.set(target.addr());
    for client in &mut clients {
        assert_eq!(client.reply().body, "at last");
    }
    assert_eq!(target.received().len(), 50);
}

#[test]
fn a_client_that_leaves_is_held_no_longer() {
    let (targets, target) = (Targets::none(), FakeTarget::answering("web"));
    let weir = targets.application("hold: 20s");
    let (patient, impatient) = (held(&weir), held(&weir));
    wait_for_holding(&weir, 2);
    drop(impatient);
    wait_for_holding(&weir, 1);
    targets.set(target.addr());
    let mut patient = patient;
    assert_eq!(patient.reply().status, 200);
    assert_eq!(target.received().len(), 1, "the target sees only the patient one");
}

#[test]
fn a_flow_waits_for_the_first_target_unless_its_client_leaves() {
    let (targets, target) = (Targets::none(), FakeTarget::echoing("db"));
    let weir = targets.network();
    let (mut patient, impatient) = (weir.client(), weir.client());
    wait_for_holding(&weir, 2);
    drop(impatient);
    wait_for_holding(&weir, 1);
    targets.set(target.addr());
    assert_eq!(patient.line().unwrap(), "db");
}

#[test]
fn a_flow_whose_client_has_said_all_it_has_to_say_still_waits() {
    let (targets, target) = (Targets::none(), FakeTarget::echoing("db"));
    let weir = targets.network();
    let mut client = weir.client();
    client.send("question");
    client.finish();
    wait_for_holding(&weir, 1);
    targets.set(target.addr());
    assert_eq!(client.line().unwrap(), "db");
    assert_eq!(client.to_end(), b"question");
}
