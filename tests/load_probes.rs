//! Targets that are asked for their load: who says that it has much to do is left alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering::Relaxed};

use weir_tests::example::Example;
use weir_tests::http2_target::Exchange;
use weir_tests::target::{Received, respond};
use weir_tests::yaml::{application, group, group_of};
use weir_tests::{Binary, FakeTarget, Http2Client, Http2Target, Weir, run, wait_until};

/// A target that says what it has under way, which is what a test says.
struct Telling {
    target: FakeTarget,
    in_flight: Arc<AtomicU32>,
    /// Requests so far, without probes.
    asked: Arc<AtomicUsize>,
}

fn is_probe(received: &Received) -> bool {
    received.request_line == "GET /load HTTP/1.1"
}

impl Telling {
    fn new(in_flight: u32) -> Self {
        let (in_flight, asked) = (Arc::new(AtomicU32::new(in_flight)), Arc::new(AtomicUsize::new(0)));
        let (says, counts) = (in_flight.clone(), asked.clone());
        let target = FakeTarget::behaving(move |received, stream| {
            if !is_probe(received) {
                counts.fetch_add(1, Relaxed);
                return respond(stream, 200, "an answer");
            }
            let in_flight = says.load(Relaxed);
            let load = format!(
                "TEXT named_metrics.in_flight={in_flight},named_metrics.latency_ms={}",
                5 + in_flight
            );
            let head =
                format!("HTTP/1.1 200 OK\r\nEndpoint-Load-Metrics: {load}\r\nContent-Length: 2\r\n\r\nok");
            std::io::Write::write_all(stream, head.as_bytes()).is_ok()
        });
        Self { target, in_flight, asked }
    }

    /// Probes so far.
    fn probes(&self) -> Vec<Received> {
        self.target.received().into_iter().filter(is_probe).collect()
    }
}

const ASKED: &str = "load_balancing_algorithm: prequal, load_probe: { path: /load }";

/// One worker: several would each have to be told.
fn serve(targets: &[&FakeTarget]) -> Weir {
    let text = application(&[group("web", ASKED, targets)], "", "default_action: { forward: web }");
    Weir::start_healthy(&format!("workers: 1\n{text}"))
}

/// Asks until weir has heard from each so often.
fn until_all_are_heard(weir: &Weir, targets: &[Telling], times: u64) {
    for telling in targets {
        until_heard(weir, telling, times);
    }
}

fn until_heard(weir: &Weir, telling: &Telling, times: u64) {
    let heard = || weir.member(telling.target.addr()).unwrap().target.reported.answered();
    let before = heard();
    wait_until("a target is asked for its load", || {
        weir.get("/");
        heard() >= before + times
    });
}

#[test]
fn whoever_says_that_it_has_much_to_do_is_left_alone_until_it_says_otherwise() {
    let targets = [0, 50, 0].map(Telling::new);
    let weir = serve(&targets.each_ref().map(|telling| &telling.target));
    until_all_are_heard(&weir, &targets, 3);
    let before = targets[1].asked.load(Relaxed);
    (0..40).for_each(|_| assert_eq!(weir.get("/").status, 200));
    // Now and then nobody else is known.
    let busy = targets[1].asked.load(Relaxed) - before;
    assert!(busy <= 4, "{busy} of 40");
    let admin = format!("http://{}", weir.process().admin().unwrap());
    let said = Binary::run(&["explain", "--admin", &admin, "GET", "/"]);
    let said = String::from_utf8(said.stdout).unwrap();
    assert!(said.contains("50 under way, 55.0 ms") && said.contains("half of them at most"), "{said}");
    let loads = [50, 0, 50];
    for (telling, load) in targets.iter().zip(loads) {
        telling.in_flight.store(load, Relaxed);
    }
    until_all_are_heard(&weir, &targets, 3);
    let before = targets[1].asked.load(Relaxed);
    (0..60).for_each(|_| assert_eq!(weir.get("/").status, 200));
    let idle = targets[1].asked.load(Relaxed) - before;
    assert!(idle > 20, "{idle} of 60 go to the only one that is idle");
}

#[test]
fn a_probe_is_a_request_of_weir_s_own_that_counts_nowhere() {
    let targets = [0, 0].map(Telling::new);
    let weir = serve(&targets.each_ref().map(|telling| &telling.target));
    until_all_are_heard(&weir, &targets, 2);
    let probe = targets[0].probes().pop().unwrap();
    assert_eq!(probe.header("host"), targets[0].target.addr().to_string());
    assert_eq!(probe.header("user-agent"), "weir");
    assert!(["x-forwarded-for", "x-amzn-trace-id"].iter().all(|name| !probe.has(name)), "no client sent it");
    let asked: usize = targets.iter().map(|telling| telling.asked.load(Relaxed)).sum();
    let count = |name: &str| weir.metric(name) as usize;
    assert_eq!(count("weir_target_picks_total"), asked);
    assert_eq!(count("weir_requests_total"), asked);
    assert!(count("weir_target_load_probes_total") >= 4);
    wait_until("nothing is under way", || count("weir_target_in_flight") == 0);
}

#[test]
fn targets_that_say_nothing_are_balanced_by_what_weir_counts_and_are_told_of() {
    let targets = ["a", "b"].map(FakeTarget::answering);
    let weir = serve(&targets.each_ref());
    let member = |target: &FakeTarget| weir.member(target.addr()).unwrap();
    wait_until("both are asked", || {
        assert_eq!(weir.get("/").status, 200);
        targets.iter().all(|target| member(target).target.reported.unanswered() > 0)
    });
    (0..40).for_each(|_| assert_eq!(weir.get("/").status, 200));
    for target in &targets {
        assert!(target.received().iter().any(|received| !is_probe(received)), "both get requests");
    }
    assert!(weir.metric("weir_target_load_probes_total") >= 2.0);
    assert!(weir.admin("/").body.contains("does not say"), "the page tells of it");
}

#[test]
fn what_a_target_says_counts_though_the_body_of_its_answer_never_comes() {
    let targets = [(); 2].map(|()| {
        FakeTarget::behaving(|received, stream| {
            if !is_probe(received) {
                return respond(stream, 200, "an answer");
            }
            let load = "Endpoint-Load-Metrics: TEXT named_metrics.in_flight=7";
            let head = format!("HTTP/1.1 200 OK\r\n{load}\r\nContent-Length: 2\r\n\r\n");
            std::io::Write::write_all(stream, head.as_bytes()).is_ok()
        })
    });
    let weir = serve(&targets.each_ref());
    let reported = |target: &FakeTarget| {
        weir.member(target.addr()).unwrap().target.reported.last(weir.process().handle().clock.now())
    };
    wait_until("both have said what they have under way", || {
        assert_eq!(weir.get("/").status, 200);
        targets.iter().all(|target| reported(target).is_some_and(|(report, _)| report.in_flight == 7))
    });
}

#[test]
fn a_target_that_speaks_http2_is_asked_on_the_connection_that_it_has() {
    let behaviour = |mut exchange: Exchange| async move {
        if exchange.head.uri().path() == "/load" {
            exchange.begin(
                204,
                &[("endpoint-load-metrics", "JSON {\"named_metrics\": {\"in_flight\": 2}}")],
                true,
            );
        } else {
            exchange.answer(200, "an answer");
        }
    };
    let targets = [Http2Target::behaving(behaviour), Http2Target::behaving(behaviour)];
    let settings =
        format!("protocol_version: http2, {ASKED}, health_check: {{ protocol: http, matcher: 200-599 }}");
    let list = targets.each_ref().map(Http2Target::yaml).join(", ");
    let groups = [group_of("web", &settings, &list)];
    let weir = Weir::start_healthy(&application(
        &groups,
        "http2_prior_knowledge: true",
        "default_action: { forward: web }",
    ));
    let mut client = run(Http2Client::connect(weir.listener(0)));
    let reported = |target: &Http2Target| {
        weir.member(target.addr()).unwrap().target.reported.last(weir.process().handle().clock.now())
    };
    wait_until("both have said what they have under way", || {
        run(client.get("/"));
        targets.iter().all(|target| reported(target).is_some_and(|(report, _)| report.in_flight == 2))
    });
}

#[test]
fn the_example_of_algorithms_asks_targets_and_keeps_sessions_as_its_comments_say() {
    let shop = [0, 0, 0].map(Telling::new);
    let carts = ["a", "b"].map(FakeTarget::answering);
    let all: Vec<FakeTarget> = shop.iter().map(|telling| telling.target.clone()).chain(carts).collect();
    let weir = Example::read("algorithms.yaml").with_targets(&all).serve();
    until_all_are_heard(&weir, &shop, 1);
    let cart = |session: u32| {
        let head = format!("GET /cart/1 HTTP/1.1\r\nHost: a\r\nCookie: session={session}\r\n\r\n");
        weir.client().ask(head).body
    };
    let first: Vec<String> = (0..20).map(cart).collect();
    assert_eq!((0..20).map(cart).collect::<Vec<_>>(), first);
    assert!(["a", "b"].iter().all(|name| first.iter().any(|answer| answer == name)));
}
