//! Identity: a target is its task, not its port.

use weir_core::health::Health;
use weir_tests::yaml::{application, group_of};
use weir_tests::{FakeTarget, Folder, Weir, wait_until};

fn entry(id: &str, target: &FakeTarget) -> String {
    format!(
        "[{{ \"targets\": [\"{}\"], \"labels\": {{ \"service\": \"web\", \"id\": \"{id}\" }} }}]",
        target.addr()
    )
}

fn following(folder: &Folder) -> Weir {
    Weir::start(&format!(
        "workers: 1\ndiscovery: {{ confirm_removals: 0s, file: {{ path: {} }} }}\n{}",
        folder.path().join("targets.json").display(),
        application(
            &[group_of("web", "deregistration_delay: 0s", "{ file: { service: web } }")],
            "",
            "default_action: { forward: web }"
        )
    ))
}

#[test]
fn a_stranger_on_a_recycled_port_inherits_nothing() {
    let folder = Folder::new();
    let first = FakeTarget::answering("first");
    folder.write("targets.json", &entry("first", &first));
    let weir = following(&folder);
    weir.wait_for_health(first.addr(), Health::Healthy);
    let mut client = weir.client();
    for _ in 0..3 {
        assert_eq!(client.get("/").body, "first");
    }
    let before = weir.member(first.addr()).unwrap().target;
    assert_eq!(before.tally.picked(), 3);

    // The first task dies, and a stranger gets its port before anybody has noticed.
    let addr = first.addr();
    first.kill();
    let stranger = FakeTarget::at(addr, |_, stream| weir_tests::target::respond(stream, 200, "stranger"));
    folder.write("targets.json", &entry("stranger", &stranger));
    wait_until("the stranger is a target of its own", || {
        weir.member(addr).is_some_and(|member| member.target.serial != before.serial)
    });
    weir.wait_for_health(addr, Health::Healthy);
    let after = weir.member(addr).unwrap().target;
    assert_eq!((after.tally.picked(), after.tally.in_flight()), (0, 0), "counts begin anew");
    assert_eq!(client.get("/").body, "stranger");
    assert_eq!(before.tally.picked(), 3, "and the old ones stay with the old target");
}

// Conformance: A3.1.17
#[test]
fn a_task_that_moves_to_another_port_is_followed() {
    let folder = Folder::new();
    let (first, second) = (FakeTarget::answering("at one"), FakeTarget::answering("at another"));
    folder.write("targets.json", &entry("task", &first));
    let weir = following(&folder);
    weir.wait_for_health(first.addr(), Health::Healthy);
    folder.write("targets.json", &entry("task", &second));
    weir.wait_for_health(second.addr(), Health::Healthy);
    wait_until("the old place is gone", || weir.member(first.addr()).is_none());
    assert_eq!(weir.get("/").body, "at another");
}
