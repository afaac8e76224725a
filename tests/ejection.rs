//! Targets whose requests fail one after the other, whatever their probes say.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use weir_core::health::{Health, UnhealthyReason};
use weir_tests::target::respond;
use weir_tests::yaml::{application, group};
use weir_tests::{FakeTarget, Weir, wait_until};

const EJECTED: Health = Health::Unhealthy(UnhealthyReason::Ejected);

/// A target that answers 500 while it is told to; its probes pass.
fn faulty() -> (FakeTarget, Arc<AtomicBool>) {
    let is_bad = Arc::new(AtomicBool::new(true));
    let told = is_bad.clone();
    let target = FakeTarget::behaving(move |_, stream| {
        if told.load(Relaxed) { respond(stream, 500, "bad") } else { respond(stream, 200, "faulty") }
    });
    (target, is_bad)
}

fn weir(targets: &[&FakeTarget], settings: &str) -> Weir {
    Weir::start_healthy(&application(
        &[group("web", settings, targets)],
        "",
        "default_action: { forward: web }",
    ))
}

#[test]
fn a_target_whose_requests_fail_one_after_the_other_is_out_for_a_while_and_comes_back() {
    let (faulty, is_bad) = faulty();
    let good = FakeTarget::answering("good");
    let weir = weir(&[&faulty, &good], "outlier_ejection: { consecutive_failures: 3, ejection_time: 1s }");
    wait_until("it is out", || {
        weir.get("/");
        weir.member(faulty.addr()).unwrap().health == EJECTED
    });
    assert!((0..10).all(|_| weir.get("/").body == "good"), "it gets nothing");
    assert!(weir.admin("/api/v1/events").body.contains("requests failed one after the other"));
    is_bad.store(false, Relaxed);
    weir.wait_for_health(faulty.addr(), Health::Healthy);
    wait_until("it answers again", || weir.get("/").body == "faulty");
    assert_eq!(weir.member(faulty.addr()).unwrap().health, Health::Healthy);
}

#[test]
fn only_as_many_as_may_be_are_out_at_a_time() {
    let [(one, _), (two, _)] = [faulty(), faulty()];
    let weir = weir(&[&one, &two], "outlier_ejection: { consecutive_failures: 1, ejection_time: 1h }");
    let out =
        || [&one, &two].iter().filter(|target| weir.member(target.addr()).unwrap().health == EJECTED).count();
    wait_until("one is out", || {
        weir.get("/");
        out() == 1
    });
    let mut asked = 0;
    wait_until("control has looked several times", || {
        asked += 1;
        assert_eq!((weir.get("/").status, out()), (500, 1), "the other one goes on");
        asked == 200
    });
}

#[test]
fn nobody_is_out_where_it_is_not_wanted_and_a_reload_lets_everybody_in() {
    let (faulty, _is_bad) = faulty();
    let good = FakeTarget::answering("good");
    let yaml = |settings: &str| {
        let groups = [group("web", settings, &[&faulty, &good])];
        application(&groups, "", "default_action: { forward: web }")
    };
    let weir = Weir::start_healthy(&yaml("outlier_ejection: { consecutive_failures: 2, ejection_time: 1h }"));
    wait_until("it is out", || {
        weir.get("/");
        weir.member(faulty.addr()).unwrap().health == EJECTED
    });
    weir.reload(&yaml("")).unwrap();
    weir.wait_for_health(faulty.addr(), Health::Healthy);
    let failed = (0..20).filter(|_| weir.get("/").status == 500).count();
    assert!(failed >= 8, "{failed} of 20: it has its turns, failing or not");
}
