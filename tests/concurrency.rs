//! How much targets take at a time, and how many requests are tried again.

use std::sync::{Arc, Condvar, Mutex};

use weir_core::health::Health;
use weir_tests::target::respond;
use weir_tests::yaml::{application, group, group_of};
use weir_tests::{Client, FakeTarget, Folder, Weir, wait_until};

const FORWARD: &str = "default_action: { forward: web }";

/// Keeps requests until it is opened.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn wait(&self) {
        let (is_open, opened) = &*self.0;
        drop(opened.wait_while(is_open.lock().unwrap(), |is_open| !*is_open).unwrap());
    }

    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }
}

/// A target that answers once the gate is open.
fn slow(name: &'static str, gate: &Gate) -> FakeTarget {
    let gate = gate.clone();
    FakeTarget::behaving(move |_, stream| {
        gate.wait();
        respond(stream, 200, name)
    })
}

/// Clients that wait for an answer of a target each.
fn waiting(weir: &Weir, count: usize) -> Vec<Client> {
    let clients: Vec<Client> = (0..count)
        .map(|_| {
            let mut client = weir.client();
            client.send("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
            client
        })
        .collect();
    wait_until("all of them are with targets", || {
        let in_flight =
            weir.snapshot().members().map(|(_, member)| member.target.tally.in_flight()).sum::<u32>();
        in_flight as usize == count
    });
    clients
}

#[test]
fn a_target_that_has_as_many_requests_as_it_may_gets_no_more_and_the_last_one_is_503_at_once() {
    let gate = Gate::default();
    let targets = [slow("one", &gate), slow("two", &gate)];
    let groups = [group("web", "concurrency_limits: { per_target: 2 }", &targets.each_ref())];
    let weir = Weir::start_healthy(&application(&groups, "", FORWARD));
    let mut clients = waiting(&weir, 4);
    for target in &targets {
        assert_eq!(weir.member(target.addr()).unwrap().target.tally.in_flight(), 2);
    }
    assert_eq!(weir.get("/").status, 503);
    assert!(weir.admin("/metrics").body.contains("reason=\"targets_busy\""));
    gate.open();
    assert!(clients.iter_mut().all(|client| client.reply().status == 200));
    assert_eq!(weir.get("/").status, 200, "there is room again");
}

#[test]
fn a_group_has_a_limit_of_its_own() {
    let gate = Gate::default();
    let targets = [slow("one", &gate), slow("two", &gate)];
    let groups = [group("web", "concurrency_limits: { per_group: 3 }", &targets.each_ref())];
    let weir = Weir::start_healthy(&application(&groups, "", FORWARD));
    let mut clients = waiting(&weir, 3);
    assert_eq!(weir.get("/").status, 503);
    gate.open();
    assert!(clients.iter_mut().all(|client| client.reply().status == 200));
}

#[test]
fn a_group_without_a_retry_budget_tries_nothing_again() {
    let closing = FakeTarget::behaving(|_, _| false);
    let good = FakeTarget::answering("good");
    let of = |budget: &str| {
        let groups = [group("web", budget, &[&closing, &good])];
        let weir = Weir::start_healthy(&application(&groups, "", FORWARD));
        let failed = (0..12).filter(|_| weir.get("/").status == 502).count();
        (failed, weir.metric("weir_retries_total"))
    };
    let (failed, retries) = of("retry_budget: { percentage: 0, minimum: 0 }");
    assert!(failed > 0 && retries < 0.1, "{failed} failed, {retries} retries");
    let (failed, retries) = of("retry_budget: { percentage: 100, minimum: 10 }");
    assert!(failed == 0 && retries > 0.9, "{failed} failed, {retries} retries");
}

#[test]
fn what_a_target_that_leaves_has_lost_is_tried_again_whatever_the_budget() {
    let gate = Gate::default();
    let held = gate.clone();
    let leaving = FakeTarget::behaving(move |_, _| {
        held.wait();
        false
    });
    let (staying, folder) = (FakeTarget::answering("staying"), Folder::new());
    let list = |targets: &[&FakeTarget]| {
        let addrs: Vec<String> = targets.iter().map(|target| format!("\"{}\"", target.addr())).collect();
        let text = format!(r#"[{{"targets": [{}], "labels": {{"service": "web"}}}}]"#, addrs.join(", "));
        folder.write("t.json", &text);
    };
    list(&[&leaving]);
    let groups =
        [group_of("web", "retry_budget: { percentage: 1, minimum: 0 }", "{ file: { service: web } }")];
    let path = folder.path().display();
    let weir = Weir::start(&format!(
        "discovery: {{ confirm_removals: 0s, file: {{ path: {path} }} }}\n{}",
        application(&groups, "", FORWARD)
    ));
    weir.wait_for_health(leaving.addr(), Health::Healthy);
    let mut clients = waiting(&weir, 5);
    list(&[&staying]);
    weir.wait_for_health(leaving.addr(), Health::Draining);
    weir.wait_for_health(staying.addr(), Health::Healthy);
    gate.open();
    assert!(clients.iter_mut().all(|client| client.reply().body == "staying"));
    assert!(weir.metric("weir_retries_refused_total") < 0.1);
}
