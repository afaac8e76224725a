//! What a source sees is written to a real etcd, for weirs elsewhere.

use std::collections::BTreeSet;

use weir_core::health::Health;
use weir_tests::server::Etcd;
use weir_tests::yaml::{application, group_of};
use weir_tests::{FakeTarget, Folder, Weir, wait_until};

/// What a watched file has: each target under its id.
fn listed(targets: &[(&str, &FakeTarget)]) -> String {
    let element = |(id, target): &(&str, &FakeTarget)| {
        format!(
            r#"{{"targets":["{}"],"labels":{{"service":"web","id":"{id}","weir.weight":"3","weir.target_group":"web"}}}}"#,
            target.addr()
        )
    };
    format!("[{}]", targets.iter().map(element).collect::<Vec<_>>().join(","))
}

fn weir(discovery: &str, source: &str) -> Weir {
    let group = group_of("web", "", &format!("{{ {source}: {{ service: web }} }}"));
    Weir::start(&format!(
        "discovery: {{ confirm_removals: 0s, {discovery} }}\n{}",
        application(&[group], "", "default_action: { forward: web }")
    ))
}

fn cluster(etcd: &Etcd) -> String {
    format!("endpoints: [{}], prefix: /weir/targets/", etcd.url())
}

/// A weir that follows the file and publishes what it says.
fn publishing(etcd: &Etcd, folder: &Folder) -> Weir {
    let file = folder.path().join("targets.json");
    let etcd = cluster(etcd);
    weir(&format!("file: {{ path: \"{}\" }}, etcd: {{ {etcd}, publish: [file] }}", file.display()), "file")
}

/// The ids of the targets that are healthy.
fn healthy(weir: &Weir) -> BTreeSet<String> {
    let snapshot = weir.snapshot();
    let healthy = snapshot.members().filter(|(_, member)| member.health == Health::Healthy);
    healthy.map(|(_, member)| member.target.id.to_string()).collect()
}

fn wait_for(weir: &Weir, ids: &[&str]) {
    wait_until(&format!("{ids:?} are healthy"), || {
        let healthy = healthy(weir);
        healthy.len() == ids.len()
            && ids.iter().all(|id| healthy.iter().any(|found| found.starts_with(&format!("{id}:"))))
    });
}

#[test]
fn what_two_weirs_publish_is_served_elsewhere_and_outlives_them() {
    let (etcd, folder) = (Etcd::start(), Folder::new());
    let targets =
        [FakeTarget::answering("one"), FakeTarget::answering("two"), FakeTarget::answering("three")];
    folder.write("targets.json", &listed(&[("one", &targets[0]), ("two", &targets[1])]));
    let elsewhere = weir(&format!("etcd: {{ {} }}", cluster(&etcd)), "etcd");
    let first = publishing(&etcd, &folder);
    wait_for(&elsewhere, &["one", "two"]);
    let second = publishing(&etcd, &folder);
    wait_for(&second, &["one", "two"]);
    assert_eq!(first.snapshot().members().count(), 2, "what weir publishes it does not read back");
    assert_eq!(elsewhere.member(targets[0].addr()).unwrap().weight.get(), 3);

    folder.write("targets.json", &listed(&[("two", &targets[1]), ("three", &targets[2])]));
    wait_for(&elsewhere, &["two", "three"]);
    let member = elsewhere.member(targets[0].addr());
    assert!(member.is_none_or(|member| member.health == Health::Draining), "what is taken out drains");

    first.stop();
    second.stop();
    wait_for(&elsewhere, &["two", "three"]);
    assert_eq!(elsewhere.get("/").status, 200, "publishers come and go");
}

#[test]
fn a_publisher_writes_again_what_is_missing_and_deletes_what_is_left_behind() {
    let (mut etcd, folder) = (Etcd::start(), Folder::new());
    let targets = [FakeTarget::answering("one"), FakeTarget::answering("two"), FakeTarget::answering("left")];
    let left = format!(r#"{{"targets":["{}"],"labels":{{"service":"web","id":"left"}}}}"#, targets[2].addr());
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    etcd.put(&format!("/weir/targets/file/{}/left", host.trim()), &left);
    etcd.put("/weir/targets/files-of-others", &left.replace("left", "others"));
    folder.write("targets.json", &listed(&[("one", &targets[0])]));
    let elsewhere = weir(&format!("etcd: {{ {} }}", cluster(&etcd)), "etcd");
    wait_for(&elsewhere, &["left", "others"]);
    let publisher = publishing(&etcd, &folder);
    wait_for(&elsewhere, &["one", "others"]);

    etcd.kill();
    folder.write("targets.json", &listed(&[("one", &targets[0]), ("two", &targets[1])]));
    wait_for(&publisher, &["one", "two"]);
    assert_eq!(healthy(&elsewhere).len(), 2, "without etcd nothing changes");
    etcd.start_again();
    wait_for(&elsewhere, &["one", "two", "others"]);
}
