//! Two algorithms in one group, side by side, until one of them is clearly worse.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::Value;
use weir_core::address::ClientAddr;
use weir_core::comparison::statistics::BUCKETS_MIN;
use weir_core::health::Health;
use weir_tests::client::Client;
use weir_tests::example::Example;
use weir_tests::target::respond;
use weir_tests::yaml::{OFTEN, application, group};
use weir_tests::{Binary, FakeTarget, Weir, wait_until};

/// What the slow target takes: by far more than the fast one, however busy the machine is.
const SLOW: Duration = Duration::from_millis(40);

const OWN: &str = "round_robin";

const OTHER: &str = "least_outstanding_requests";

fn yaml(targets: &[&FakeTarget], comparison: &str, settings: &str) -> String {
    let settings = format!("comparison: {{ algorithm: {OTHER}, {comparison} }}, {settings}");
    let settings = settings.trim_end_matches(", ");
    application(&[group("web", settings, targets)], "", "default_action: { forward: web }")
}

fn slow() -> FakeTarget {
    FakeTarget::behaving(|_, stream| {
        thread::sleep(SLOW);
        respond(stream, 200, "slow")
    })
}

/// The comparison of the only group that has one.
fn comparison(weir: &Weir) -> Value {
    let all: Value = serde_json::from_str(&weir.admin("/api/v1/comparisons").body).unwrap();
    let [comparison] = &all.as_array().unwrap()[..] else { panic!("one, not {all}") };
    comparison.clone()
}

fn requests(weir: &Weir) -> [u64; 2] {
    [0, 1].map(|arm| comparison(weir)["arms"][arm]["requests"].as_u64().unwrap())
}

fn percentages(weir: &Weir) -> [u64; 2] {
    [0, 1].map(|arm| comparison(weir)["arms"][arm]["percentage"].as_u64().unwrap())
}

/// The name of the arm that a connection of that client is in.
fn arm_of(weir: &Weir, client: &Client) -> Option<&'static str> {
    let snapshot = weir.snapshot();
    let arm = snapshot.groups().next().unwrap().arm(ClientAddr(client.addr()))?;
    Some(arm.algorithm.as_str())
}

/// So many connections of each arm, each in a bucket of its own.
fn clients(weir: &Weir, of_each: usize) -> Vec<Client> {
    let mut found = [BTreeMap::new(), BTreeMap::new()];
    while found.iter().any(|arm| arm.len() < of_each) {
        let client = weir.client();
        let arm = weir.snapshot().groups().next().unwrap().arm(ClientAddr(client.addr())).unwrap();
        found[usize::from(arm.algorithm.as_str() == OTHER)].insert(arm.bucket, client);
    }
    found.into_iter().flat_map(|arm| arm.into_values().take(of_each)).collect()
}

/// Connections of both arms that ask one time after the other.
struct Load(Arc<AtomicBool>, Vec<JoinHandle<()>>);

impl Load {
    fn start(weir: &Weir) -> Self {
        let is_over = Arc::new(AtomicBool::new(false));
        let ask = |mut client: Client| {
            let is_over = is_over.clone();
            thread::spawn(move || {
                while !is_over.load(Relaxed) {
                    client.get("/");
                }
            })
        };
        let asking = clients(weir, BUCKETS_MIN + 2).into_iter().map(ask).collect();
        Self(is_over, asking)
    }

    fn end(self) {
        self.0.store(true, Relaxed);
        self.1.into_iter().for_each(|asking| asking.join().unwrap());
    }
}

#[test]
fn connections_are_split_as_it_is_written_and_counted_for_their_arms() {
    const CONNECTIONS: u64 = 400;
    let targets = ["a", "b"].map(FakeTarget::answering);
    let weir = Weir::start_healthy(&yaml(&targets.each_ref(), "percentage: 25", ""));
    let mut expected = [0; 2];
    for _ in 0..CONNECTIONS {
        let mut client = weir.client();
        expected[usize::from(arm_of(&weir, &client) == Some(OTHER))] += 1;
        assert_eq!(client.get("/").status, 200);
    }
    wait_until("all are counted", || requests(&weir) == expected);
    // Four standard deviations of what ports that the kernel draws come to.
    assert!((65..=135).contains(&expected[1]), "{} of {CONNECTIONS}, not a quarter", expected[1]);
    assert_eq!(percentages(&weir), [75, 25]);
    let series = |name: &str, algorithm: &str| {
        weir.metric(&format!("weir_comparison_{name}{{target_group=\"web\",algorithm=\"{algorithm}\"}}"))
    };
    let counted = [OWN, OTHER].map(|algorithm| series("requests_total", algorithm) as u64);
    assert_eq!(counted, expected);
    assert!((series("share_ratio", OTHER) - 0.25).abs() < 1e-9);
    assert!(series("failures_total", OWN) + series("failures_total", OTHER) < 0.5);
    assert_eq!(comparison(&weir)["verdict"], "too_few");
    assert!(weir.admin("/").body.contains("round_robin against least_outstanding_requests"));
}

#[test]
fn the_arm_that_is_clearly_slower_is_stopped_and_a_changed_comparison_begins_anew() {
    let (fast, slow) = (FakeTarget::answering("fast"), slow());
    let all = [&fast, &slow];
    let weir = Weir::start_healthy(&yaml(&all, "percentage: 50", ""));
    let load = Load::start(&weir);
    wait_until("it is stopped", || comparison(&weir)["stopped"].is_object());
    load.end();
    let stopped = comparison(&weir);
    assert_eq!(stopped["stopped"]["algorithm"], OWN, "{stopped}");
    assert_eq!(stopped["verdict"], "b_is_better");
    let [low, high] = [0, 1].map(|end| stopped["latency_difference_ms"]["interval"][end].as_f64().unwrap());
    assert!(low < high && high < 0.0, "B is faster: {stopped}");
    assert_eq!(percentages(&weir), [0, 100]);
    let group = weir.snapshot().groups().next().unwrap().clone();
    assert_eq!(group.algorithm(None).as_str(), OTHER);
    assert!(weir.admin("/api/v1/events").body.contains("least_outstanding_requests takes everything"));
    assert!(weir.admin("/").body.contains("round_robin stopped"));
    // What comes now is in no arm, and a reload of the same changes nothing.
    let counted = requests(&weir);
    weir.reload(&yaml(&all, "percentage: 50", "deregistration_delay: 9s")).unwrap();
    assert_eq!(weir.get("/").status, 200);
    assert_eq!((requests(&weir), percentages(&weir)), (counted, [0, 100]));
    weir.reload(&yaml(&all, "percentage: 40", "")).unwrap();
    let anew = comparison(&weir);
    assert!(anew["stopped"].is_null() && requests(&weir) == [0, 0], "{anew}");
    assert_eq!(percentages(&weir), [60, 40]);
    assert_eq!(weir.get("/").status, 200);
    wait_until("it is counted", || requests(&weir).iter().sum::<u64>() == 1);
}

#[test]
fn the_arm_whose_requests_fail_more_often_is_stopped() {
    // Who answers 500 at once has always less to do.
    let failing = FakeTarget::behaving(|_, stream| respond(stream, 500, "bad"));
    let weir = Weir::start_healthy(&yaml(&[&failing, &slow()], "percentage: 50", ""));
    let load = Load::start(&weir);
    wait_until("it is stopped", || comparison(&weir)["stopped"].is_object());
    load.end();
    let stopped = comparison(&weir);
    assert_eq!(stopped["stopped"]["algorithm"], OTHER, "{stopped}");
    assert!(stopped["stopped"]["cause"].as_str().unwrap().contains("of its requests fail, against"));
    assert!(stopped["failure_ratio_difference"]["interval"][0].as_f64().unwrap() > 0.0);
    assert_eq!(percentages(&weir), [100, 0]);
}

#[test]
fn what_is_clearly_worse_goes_on_where_that_is_wanted() {
    let weir = Weir::start_healthy(&yaml(
        &[&FakeTarget::answering("fast"), &slow()],
        "percentage: 50, stop_when_worse: false",
        "",
    ));
    let load = Load::start(&weir);
    wait_until("it is known", || comparison(&weir)["verdict"] == "b_is_better");
    // Control has looked often enough to stop it.
    let mut seen = requests(&weir)[0];
    wait_until("much more is counted", || {
        seen = requests(&weir)[0].max(seen);
        seen > 2_500
    });
    load.end();
    assert!(comparison(&weir)["stopped"].is_null());
    assert_eq!(percentages(&weir), [50, 50]);
}

#[test]
fn the_example_compares_in_both_of_its_groups() {
    let targets = ["a", "b", "c", "d"].map(FakeTarget::answering);
    let weir = Example::read("comparison.yaml").with_targets(&targets).serve();
    assert!((0..8).all(|_| weir.get("/").status == 200 && weir.get("/search/x").status == 200));
    let sums = || -> Vec<(Value, u64)> {
        let all: Value = serde_json::from_str(&weir.admin("/api/v1/comparisons").body).unwrap();
        let sum = |of: &Value| [0, 1].map(|arm| of["arms"][arm]["requests"].as_u64().unwrap()).iter().sum();
        all.as_array().unwrap().iter().map(|of| (of["target_group"].clone(), sum(of))).collect()
    };
    wait_until("all are counted", || sums() == [("shop".into(), 8), ("search".into(), 8)]);
    let admin = weir.process().admin().unwrap().to_string();
    let status = String::from_utf8(Binary::run(&["status", "--admin", &admin]).stdout).unwrap();
    let row = status.lines().find(|line| line.starts_with("shop") && line.contains("peak_ewma")).unwrap();
    assert!(row.contains("B ") && row.contains("20 %") && row.contains("too_few"), "{status}");
}

#[test]
fn health_is_shared_by_both_arms() {
    let [well, ill] = ["well", "ill"].map(FakeTarget::answering);
    let weir = Weir::start_healthy(&yaml(&[&well, &ill], "percentage: 50", OFTEN));
    let mut clients = clients(&weir, 3);
    ill.set_health(500);
    wait_until("one is out", || weir.member(ill.addr()).unwrap().health != Health::Healthy);
    for client in &mut clients {
        assert!((0..4).all(|_| client.get("/").body == "well"));
    }
}

#[test]
fn a_request_that_is_tried_again_counts_once_for_its_arm() {
    let [there, gone] = ["there", "gone"].map(FakeTarget::answering);
    let weir = Weir::start_healthy(&yaml(&[&there, &gone], "percentage: 50", ""));
    gone.set_hollow(true);
    gone.close_connections();
    for mut client in clients(&weir, 3) {
        assert!((0..5).all(|_| client.get("/").body == "there"));
    }
    wait_until("all are counted", || requests(&weir) == [15, 15]);
    let failed = [0, 1].map(|arm| comparison(&weir)["arms"][arm]["failures"].as_u64());
    assert_eq!(failed, [Some(0); 2]);
    assert!(weir.metric("weir_retries_total") >= 1.0);
}
