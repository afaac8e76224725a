//! The engine's own health checks have a say in who is picked.

use weir_core::health::{Health, InitialReason, UnhealthyReason};
use weir_tests::docker::HTTP_PORT;
use weir_tests::yaml::{application, group_of};
use weir_tests::{Binary, Engine, Weir, wait_until};

/// The container that answers the first listener.
fn answering(weir: &Weir) -> String {
    weir.get("/").body.split_whitespace().nth(1).unwrap_or_default().to_owned()
}

#[test]
fn a_container_whose_health_check_fails_is_not_picked_until_it_passes_again() {
    let Some(engine) = Engine::find("health") else { return };
    let service = format!("weir.service={}", engine.service());
    let options = ["--label", &service, "-p", "127.0.0.1::8080"];
    engine.run_bare(&engine.image_with_health_check(), "checked", &options, &[]);
    engine.run_bare(&engine.image(), "other", &options, &[]);
    engine.set_health("checked", true);
    let target = format!("{{ docker: {{ service: {}, container_port: {HTTP_PORT} }} }}", engine.service());
    let weir = Weir::start(&format!(
        "discovery: {{ docker: {{}} }}\n{}",
        application(&[group_of("web", "", &target)], "", "default_action: { forward: web }")
    ));
    let checked = engine.addr("checked", HTTP_PORT);
    weir.wait_for_health(engine.addr("other", HTTP_PORT), Health::Healthy);
    weir.wait_for_health(checked, Health::Healthy);
    let serial = weir.member(checked).unwrap().target.serial;

    engine.set_health("checked", false);
    weir.wait_for_health(checked, Health::Unhealthy(UnhealthyReason::EngineHealthCheck));
    assert!((0..6).all(|_| answering(&weir) == "other"));
    let admin = format!("http://{}", weir.process().admin().unwrap());
    let status = Binary::run(&["status", "--admin", &admin]);
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.contains("the engine's health check fails: exit status"), "{status}");
    assert!(weir.admin("/").body.contains("The engine's health check fails"));

    engine.set_health("checked", true);
    weir.wait_for_health(checked, Health::Healthy);
    wait_until("it is picked again", || answering(&weir) == "checked");
    assert_eq!(weir.member(checked).unwrap().target.serial, serial, "it is the same target");
}

#[test]
fn a_container_is_not_picked_before_its_health_check_has_passed() {
    let Some(engine) = Engine::find("starting") else { return };
    let service = format!("weir.service={}", engine.service());
    // As long as its start period lasts, a failing check leaves it `starting`.
    let options = ["--label", &service, "-p", "127.0.0.1::8080", "--health-start-period", "1h"];
    engine.run_bare(&engine.image_with_health_check(), "checked", &options, &[]);
    engine.run_bare(&engine.image(), "other", &options[..4], &[]);
    let target = format!("{{ docker: {{ service: {}, container_port: {HTTP_PORT} }} }}", engine.service());
    let weir = Weir::start(&format!(
        "discovery: {{ docker: {{}} }}\n{}",
        application(&[group_of("web", "", &target)], "", "default_action: { forward: web }")
    ));
    let checked = engine.addr("checked", HTTP_PORT);
    weir.wait_for_health(engine.addr("other", HTTP_PORT), Health::Healthy);
    weir.wait_for_health(checked, Health::Initial(InitialReason::EngineHealthChecking));
    assert!((0..6).all(|_| answering(&weir) == "other"));
    let page = weir.admin("/").body;
    assert!(page.contains("The engine's health check has not passed yet"), "{page}");

    engine.set_health("checked", true);
    weir.wait_for_health(checked, Health::Healthy);
    wait_until("it is picked", || answering(&weir) == "checked");
}
