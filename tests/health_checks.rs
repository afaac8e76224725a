//! Health: who is asked, what counts, and what happens when nobody is well.

use weir_core::health::Health;
use weir_tests::yaml::{OFTEN, application, group};
use weir_tests::{FakeTarget, Weir, wait_until};

const FORWARD: &str = "default_action: { forward: web }";

fn state(weir: &Weir, target: &FakeTarget) -> (&'static str, Option<&'static str>) {
    weir.member(target.addr())
        .map_or(("gone", None), |member| (member.health.state(), member.health.reason()))
}

#[test]
fn a_target_that_fails_its_checks_gets_nothing_until_it_passes_them_again() {
    let (sick, well) = (FakeTarget::answering("sick"), FakeTarget::answering("well"));
    let weir = Weir::start_healthy(&application(&[group("web", OFTEN, &[&sick, &well])], "", FORWARD));
    sick.set_health(503);
    wait_until("the sick one is out", || {
        state(&weir, &sick) == ("unhealthy", Some("Target.ResponseCodeMismatch"))
    });
    for _ in 0..6 {
        assert_eq!(weir.get("/").body, "well");
    }
    sick.set_health(200);
    weir.wait_for_health(sick.addr(), Health::Healthy);
    let bodies: Vec<String> = (0..8).map(|_| weir.get("/").body).collect();
    assert!(bodies.iter().any(|body| body == "sick"), "{bodies:?}");
}

#[test]
fn a_target_that_refuses_probes_says_so_by_its_reason() {
    let (gone, well) = (FakeTarget::answering("gone"), FakeTarget::answering("well"));
    let weir = Weir::start_healthy(&application(&[group("web", OFTEN, &[&gone, &well])], "", FORWARD));
    gone.kill();
    wait_until("the dead one is out", || {
        state(&weir, &gone) == ("unhealthy", Some("Target.FailedHealthChecks"))
    });
    wait_until("and says why, where people look", || {
        weir.admin("/api/v1").body.contains("Connection refused: nothing listens at that port")
            && weir.admin("/").body.contains("nothing listens")
    });
}

#[test]
fn a_group_in_which_nobody_is_well_uses_everybody() {
    let targets = [FakeTarget::answering("a"), FakeTarget::answering("b")];
    let weir = Weir::start_healthy(&application(&[group("web", OFTEN, &targets.each_ref())], "", FORWARD));
    for target in &targets {
        target.set_health(500);
    }
    wait_until("both are unhealthy", || targets.iter().all(|target| state(&weir, target).0 == "unhealthy"));
    let mut bodies: Vec<String> = (0..8).map(|_| weir.get("/").body).collect();
    bodies.sort();
    bodies.dedup();
    assert_eq!(bodies, ["a", "b"], "fail open");
    assert!(weir.admin("/api/v1").body.contains("\"fails_open\":true"));
}

#[test]
fn a_group_that_no_listener_uses_is_not_probed() {
    let (used, unused) = (FakeTarget::answering("used"), FakeTarget::answering("unused"));
    let groups = [group("web", OFTEN, &[&used]), group("spare", OFTEN, &[&unused])];
    let weir = Weir::start(&application(&groups, "", FORWARD));
    wait_until("the used one is probed several times", || used.probes() > 3);
    assert_eq!(unused.probes(), 0);
    assert_eq!(state(&weir, &unused), ("unused", Some("Target.NotInUse")));
}
