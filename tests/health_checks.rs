//! Health: who is asked, what counts, and what happens when nobody is well.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;
use weir_core::health::{Health, InitialReason, UnhealthyReason};
use weir_tests::yaml::{OFTEN, application, group, group_of};
use weir_tests::{FakeTarget, Weir, wait_until};

const FORWARD: &str = "default_action: { forward: web }";

fn state(weir: &Weir, target: &FakeTarget) -> (&'static str, Option<&'static str>) {
    weir.member(target.addr())
        .map_or(("gone", None), |member| (member.health.state(), member.health.reason()))
}

// Conformance: A4.3.3
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

// Conformance: A4.3.3
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

// Conformance: A2.3.5, A4.4.1
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

// Conformance: A4.2.13, A4.3.5
#[test]
fn a_group_that_no_listener_uses_is_not_probed() {
    let (used, unused) = (FakeTarget::answering("used"), FakeTarget::answering("unused"));
    let groups = [group("web", OFTEN, &[&used]), group("spare", OFTEN, &[&unused])];
    let weir = Weir::start(&application(&groups, "", FORWARD));
    wait_until("the used one is probed several times", || used.probes() > 3);
    assert_eq!(unused.probes(), 0);
    assert_eq!(state(&weir, &unused), ("unused", Some("Target.NotInUse")));
}

// Conformance: A4.2.1, A4.2.3, A4.2.5, A4.2.6
#[test]
fn a_check_is_a_get_on_a_connection_of_its_own() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let place = format!("{{ address: 127.0.0.1, port: {} }}", addr.port());
    let _weir = Weir::start(&application(&[group_of("web", OFTEN, &place)], "", FORWARD));
    for _ in 0..3 {
        let (mut stream, _) = listener.accept().unwrap();
        let mut bytes = [0; 4096];
        let count = stream.read(&mut bytes).unwrap();
        let head = String::from_utf8_lossy(&bytes[..count]);
        assert!(head.starts_with("GET /healthz HTTP/1.1\r\n"), "{head}");
        for field in [format!("Host: {addr}"), "User-Agent: ELB-HealthChecker/2.0".to_owned()] {
            assert!(head.contains(&format!("\r\n{field}\r\n")), "{head}");
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").unwrap();
    }
}

// Conformance: A4.3.1, A4.3.2, A4.3.3, A4.3.5, A4.3.7, A4.3.10
#[test]
fn states_reasons_and_descriptions_are_aws_s() {
    for (health, told, description) in [
        (Health::Healthy, "healthy", ""),
        (
            Health::Initial(InitialReason::RegistrationInProgress),
            "initial (Elb.RegistrationInProgress)",
            "Target registration is in progress",
        ),
        (
            Health::Initial(InitialReason::InitialHealthChecking),
            "initial (Elb.InitialHealthChecking)",
            "Initial health checks in progress",
        ),
        (
            Health::Unhealthy(UnhealthyReason::ResponseCodeMismatch(502)),
            "unhealthy (Target.ResponseCodeMismatch)",
            "Health checks failed with these codes: [502]",
        ),
        (Health::Unhealthy(UnhealthyReason::Timeout), "unhealthy (Target.Timeout)", "Request timed out"),
        (
            Health::Unhealthy(UnhealthyReason::FailedHealthChecks),
            "unhealthy (Target.FailedHealthChecks)",
            "Health checks failed",
        ),
        (
            Health::Draining,
            "draining (Target.DeregistrationInProgress)",
            "Target deregistration is in progress",
        ),
    ] {
        assert_eq!(health.to_string(), told);
        assert_eq!(health.description().unwrap_or_default(), description);
    }
    assert_eq!(Health::Unused.to_string(), "unused (Target.NotInUse)");
}

// Conformance: A4.2.8
#[test]
fn checks_begin_an_interval_apart_however_long_answers_take() {
    const INTERVAL: Duration = Duration::from_millis(500);
    let asked = Arc::new(Mutex::new(Vec::new()));
    let asking = asked.clone();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 1024]);
            asking.lock().unwrap().push(Instant::now());
            // Most of the interval.
            std::thread::sleep(INTERVAL * 7 / 10);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let check = "health_check: { interval: 500ms, timeout: 450ms, healthy_threshold: 2 }";
    let targets = format!("{{ address: 127.0.0.1, port: {port} }}");
    let _weir = Weir::start(&application(&[group_of("web", check, &targets)], "", FORWARD));
    wait_until("it has been asked often", || asked.lock().unwrap().len() > 6);
    let asked = asked.lock().unwrap();
    // The median: a busy machine may delay one, and what is late does not make the next one later.
    let mut pauses: Vec<Duration> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
    pauses.sort();
    let median = pauses[pauses.len() / 2];
    assert!(median < INTERVAL * 13 / 10, "{pauses:?}");
}

// Conformance: A4.2.9
#[test]
fn every_weir_checks_for_itself() {
    let target = FakeTarget::answering("web");
    let check = "health_check: { interval: 300s }";
    let yaml = application(&[group("web", check, &[&target])], "", FORWARD);
    let first = Weir::start_healthy(&yaml);
    let before = target.probes();
    let second = Weir::start_healthy(&yaml);
    assert!(before > 0 && target.probes() > before, "the second has not taken the first one's word");
    assert_eq!([first.get("/").status, second.get("/").status], [200, 200]);
}
