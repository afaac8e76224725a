//! Targets from the keys of a real etcd.

use weir_core::health::Health;
use weir_tests::server::Etcd;
use weir_tests::yaml::{application, group_of};
use weir_tests::{FakeTarget, Weir, wait_until};

fn element(target: &FakeTarget, labels: &str) -> String {
    format!(r#"{{"targets":["{}"],"labels":{{"service":"web"{labels}}}}}"#, target.addr())
}

/// A weir that follows this cluster, of which another member is down.
fn following(etcd: &Etcd) -> Weir {
    following_with(etcd, "0s")
}

/// As sure of sharply smaller sets as `confirm_removals` asks for.
fn following_with(etcd: &Etcd, confirm_removals: &str) -> Weir {
    Weir::start(&format!(
        "discovery: {{ confirm_removals: {confirm_removals}, etcd: {{ endpoints: [http://127.0.0.1:1, {}], prefix: /weir/targets/ }} }}\n{}",
        etcd.url(),
        application(
            &[group_of("web", "", "{ etcd: { service: web } }")],
            "",
            "default_action: { forward: web }"
        )
    ))
}

#[test]
fn targets_come_and_go_with_their_keys() {
    let etcd = Etcd::start();
    let targets = [
        FakeTarget::answering("before"),
        FakeTarget::answering("lone"),
        FakeTarget::answering("listed"),
        FakeTarget::answering("elsewhere"),
    ];
    etcd.put("/weir/targets/before", &element(&targets[0], ""));
    etcd.put("/weir/targetz", &element(&targets[3], ""));
    let weir = following(&etcd);
    weir.wait_for_health(targets[0].addr(), Health::Healthy);
    etcd.put("/weir/targets/web/1", &element(&targets[1], r#","weir.weight":"3""#));
    weir.wait_for_health(targets[1].addr(), Health::Healthy);
    assert_eq!(weir.member(targets[1].addr()).unwrap().weight.get(), 3);
    etcd.put("/weir/targets/web/2", &format!("[{}]", element(&targets[2], "")));
    weir.wait_for_health(targets[2].addr(), Health::Healthy);
    etcd.delete("/weir/targets/before");
    weir.wait_for_health(targets[0].addr(), Health::Draining);
    etcd.put("/weir/targets/before", &element(&targets[0], ""));
    wait_until("a key that is made again is another target, beside the one that drains", || {
        let snapshot = weir.snapshot();
        let members = snapshot.members().filter(|(_, member)| member.target.addr.0 == targets[0].addr());
        let healths: Vec<Health> = members.map(|(_, member)| member.health).collect();
        healths.contains(&Health::Healthy) && healths.contains(&Health::Draining)
    });
    assert!(weir.member(targets[3].addr()).is_none(), "a key beside the prefix is none below it");
    let events = weir.admin("/api/v1/events").body;
    assert!(events.contains("/weir/targets/web/1 put"), "{events}");
}

#[test]
fn a_value_that_cannot_be_read_leaves_out_its_key_and_nothing_else() {
    let etcd = Etcd::start();
    let targets = [FakeTarget::answering("good"), FakeTarget::answering("mistaken")];
    etcd.put("/weir/targets/good", &element(&targets[0], ""));
    etcd.put("/weir/targets/mistaken", &element(&targets[1], ""));
    let weir = following(&etcd);
    weir.wait_until_healthy();
    etcd.put("/weir/targets/mistaken", "{ \"targets\": [");
    weir.wait_for_health(targets[1].addr(), Health::Draining);
    assert_eq!(weir.member(targets[0].addr()).unwrap().health, Health::Healthy);
    wait_until("the key is named", || {
        let events = weir.admin("/api/v1/events").body;
        events.contains("/weir/targets/mistaken") && events.contains("left out")
    });
}

#[test]
fn an_etcd_that_is_lost_keeps_its_targets_and_is_followed_again_when_it_returns() {
    let mut etcd = Etcd::start();
    let targets = [FakeTarget::answering("kept"), FakeTarget::answering("new")];
    etcd.put("/weir/targets/kept", &element(&targets[0], ""));
    let weir = following(&etcd);
    weir.wait_for_health(targets[0].addr(), Health::Healthy);
    etcd.kill();
    wait_until("the loss is told", || weir.admin("/api/v1/events").body.contains("cannot connect"));
    assert_eq!(weir.get("/").body, "kept");
    assert_eq!(weir.member(targets[0].addr()).unwrap().health, Health::Healthy);
    etcd.start_again();
    etcd.put("/weir/targets/new", &element(&targets[1], ""));
    weir.wait_for_health(targets[1].addr(), Health::Healthy);
    assert_eq!(weir.member(targets[0].addr()).unwrap().health, Health::Healthy);
    wait_until("the return is told", || weir.admin("/api/v1/events").body.contains("recovered"));
}

#[test]
fn the_last_key_that_somebody_deletes_drains_its_target_without_doubt() {
    let (etcd, target) = (Etcd::start(), FakeTarget::answering("last"));
    etcd.put("/weir/targets/last", &element(&target, ""));
    let weir = following_with(&etcd, "1h");
    weir.wait_for_health(target.addr(), Health::Healthy);
    etcd.delete("/weir/targets/last");
    weir.wait_for_health(target.addr(), Health::Draining);
}
