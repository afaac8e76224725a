//! Groups that misbehave on demand, as people ask for it.

use weir_core::health::Health;
use weir_tests::yaml::{OFTEN, application, group, group_of};
use weir_tests::{Binary, FakeTarget, Folder, Weir, wait_until};

/// Exit status, and all that was said.
fn chaos(weir: &Weir, arguments: &[&str]) -> (Option<i32>, String) {
    let admin = format!("http://{}", weir.process().admin().unwrap());
    let output = Binary::run(&[&["chaos", "--admin", &admin], arguments].concat());
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

#[test]
fn a_target_that_was_taken_out_gets_requests_until_the_word_has_travelled() {
    let (folder, leaving) = (Folder::new(), FakeTarget::answering("leaving"));
    let listed =
        format!("[{{ \"targets\": [\"{}\"], \"labels\": {{ \"service\": \"web\" }} }}]", leaving.addr());
    folder.write("targets.json", &listed);
    let groups = [group_of("web", "hold: 0s", "{ file: { service: web } }")];
    let weir = Weir::start_healthy(&format!(
        "discovery: {{ confirm_removals: 0s, file: {{ path: {}/targets.json }} }}\n{}",
        folder.path().display(),
        application(&groups, "", "default_action: { forward: web }")
    ));
    assert_eq!(
        chaos(&weir, &["web", "--deregister-late", "1h"]),
        (Some(0), "web: targets leave 3600 s late\n".into())
    );
    folder.write("targets.json", "[]");
    wait_until("the source has said so", || weir.admin("/api/v1").body.contains("\"tasks\":0"));
    assert_eq!(weir.get("/").body, "leaving");
    assert!(
        weir.admin("/").body.contains("Target group web misbehaves on demand: targets leave 3600 s late")
    );
    assert_eq!(chaos(&weir, &["web", "--off"]), (Some(0), "web: off\n".into()));
    weir.wait_for_health(leaving.addr(), Health::Draining);
    assert!(weir.admin("/api/v1").body.contains("\"chaos\":null"));
}

#[test]
fn a_lost_zone_takes_its_targets_out_and_brings_them_back() {
    let targets = [FakeTarget::answering("a"), FakeTarget::answering("b")];
    let yaml =
        application(&[group("web", OFTEN, &targets.each_ref())], "", "default_action: { forward: web }");
    let at_b = targets[1].yaml();
    let weir = Weir::start_healthy(&yaml.replace(&at_b, &at_b.replace(" }", ", zone: b }")));
    assert_eq!(chaos(&weir, &["web", "--lose-zone", "b"]).0, Some(0));
    wait_until("its target is out", || !weir.member(targets[1].addr()).unwrap().health.is_healthy());
    assert!((0..6).all(|_| weir.get("/").body == "a"));
    assert_eq!(chaos(&weir, &["web", "--off"]).0, Some(0));
    weir.wait_for_health(targets[1].addr(), Health::Healthy);
}

#[test]
fn what_cannot_be_done_is_refused_with_the_remedy() {
    let target = FakeTarget::answering("a");
    let weir = Weir::start_healthy(&application(
        &[group("web", "", &[&target])],
        "",
        "default_action: { forward: web }",
    ));
    for (arguments, status, said) in [
        (&["wed", "--off"][..], Some(1), "there is no target group wed; there are web"),
        (&["web"], Some(2), "Name --deregister-late, --delay-health, --flap or --lose-zone, or --off"),
        (&["web", "--flap", "2h"], Some(1), "flap is 7200; write 0 to 3600 seconds"),
        (&["web", "--flap", "1ms"], Some(1), "flap is 0.001; write 0.1 seconds or more"),
        (&["web", "--lose-zone", "x"], Some(1), "no target of web is in zone x; no target says its zone"),
        (&["web", "--flap", "soon"], Some(2), "invalid value 'soon'"),
    ] {
        let (code, text) = chaos(&weir, arguments);
        assert!(code == status && text.contains(said), "{arguments:?}: {code:?} {text}");
    }
}
