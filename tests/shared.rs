//! A configuration that several weirs share, under one key of a real etcd.

use std::fs;

use weir_core::health::Health;
use weir_tests::server::Etcd;
use weir_tests::yaml::forwarding_to;
use weir_tests::{Binary, FakeTarget, Folder, Weir, wait_until};

const KEY: &str = "/weir/configuration";

/// What belongs to one machine.
fn local(etcd: &Etcd, folder: &Folder) -> String {
    format!(
        "remember: {}\nshared: {{ etcd: {{ endpoints: [{}], key: {KEY} }} }}\n",
        folder.path().display(),
        etcd.url()
    )
}

fn has_happened(weir: &Weir, what: &str) -> bool {
    weir.admin("/api/v1/events").body.contains(what)
}

#[test]
fn what_is_written_is_served_by_every_weir_and_a_change_reaches_all() {
    let (etcd, folders) = (Etcd::start(), [Folder::new(), Folder::new()]);
    let targets = [FakeTarget::answering("before"), FakeTarget::answering("after")];
    let weirs = folders.each_ref().map(|folder| Weir::start(&local(&etcd, folder)));
    for weir in &weirs {
        wait_until("it is said that nothing is there", || has_happened(weir, "missing"));
        assert_eq!(weir.admin("/readyz").status, 503, "there is nothing to serve");
    }
    etcd.put(&format!("{KEY}2"), "load_balancers: nonsense");
    for (target, name) in targets.iter().zip(["before", "after"]) {
        etcd.put(KEY, &forwarding_to(&[target]));
        for weir in &weirs {
            wait_until("it is taken in", || weir.member(target.addr()).is_some());
            weir.wait_for_health(target.addr(), Health::Healthy);
            assert_eq!(weir.get("/").body, name);
            assert_eq!(weir.admin("/readyz").status, 200);
        }
    }
}

#[test]
fn a_mistake_is_told_at_its_line_and_the_last_good_one_stays() {
    let (etcd, folder) = (Etcd::start(), Folder::new());
    let target = FakeTarget::answering("good");
    etcd.put(KEY, &forwarding_to(&[&target]));
    let weir = Weir::start(&local(&etcd, &folder));
    wait_until("it is served", || weir.process().listeners().len() == 1);
    for (mistaken, told) in [
        ("load_balancers: []\ntarget_grups: []\n", "etcd /weir/configuration:2:1"),
        ("admin: { bind: 127.0.0.1:1 }\n", "`admin` is not a key of a shared configuration"),
        ("certificates: {}\n", "`certificates` is not supported yet"),
        ("", "has no load balancer, and 1 are being served"),
    ] {
        etcd.put(KEY, mistaken);
        wait_until(told, || has_happened(&weir, told));
        assert_eq!(weir.get("/").body, "good");
    }
    etcd.delete(KEY);
    wait_until("the loss is told", || has_happened(&weir, "missing"));
    assert_eq!(weir.get("/").body, "good");
}

#[test]
fn losing_etcd_changes_nothing_even_for_a_weir_that_starts() {
    let (mut etcd, folder) = (Etcd::start(), Folder::new());
    let targets = [FakeTarget::answering("kept"), FakeTarget::answering("new")];
    etcd.put(KEY, &forwarding_to(&[&targets[0]]));
    let weir = Weir::start(&local(&etcd, &folder));
    wait_until("it is served", || weir.process().listeners().len() == 1);
    etcd.kill();
    wait_until("the loss is told", || has_happened(&weir, "cannot connect"));
    assert_eq!(weir.get("/").body, "kept");
    drop(weir);
    let weir = Weir::start(&local(&etcd, &folder));
    assert_eq!(weir.admin("/readyz").status, 200, "what is remembered is served");
    assert_eq!(weir.get("/").body, "kept");
    etcd.start_again();
    etcd.put(KEY, &forwarding_to(&[&targets[1]]));
    wait_until("the next one is taken in", || weir.member(targets[1].addr()).is_some());
    weir.wait_for_health(targets[1].addr(), Health::Healthy);
    assert_eq!(weir.get("/").body, "new");
}

#[test]
fn a_reload_keeps_what_is_shared_and_refuses_to_end_the_sharing() {
    let (etcd, folder) = (Etcd::start(), Folder::new());
    let target = FakeTarget::answering("shared");
    etcd.put(KEY, &forwarding_to(&[&target]));
    let weir = Weir::start(&local(&etcd, &folder));
    wait_until("it is served", || weir.process().listeners().len() == 1);
    weir.reload(&local(&etcd, &folder)).unwrap();
    assert_eq!(weir.get("/").body, "shared");
    let refused = weir.reload(&forwarding_to(&[&target])).unwrap_err();
    assert!(refused.contains("`shared` comes and goes with the next start"), "{refused}");
}

#[test]
fn the_check_reads_what_is_shared_or_is_going_to_be() {
    let (etcd, folder) = (Etcd::start(), Folder::new());
    let own = folder.write("weir.yaml", &local(&etcd, &folder)).display().to_string();
    let target = FakeTarget::answering("a");
    let check = |arguments: &[&str]| {
        let output = Binary::run(&[&["check", "-c", &own], arguments].concat());
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    };
    let (status, said) = check(&[]);
    assert!(status == Some(2) && said.contains("there is no such key"), "{said}");
    etcd.put(KEY, "load_balancers: 7\n");
    let (status, said) = check(&[]);
    assert!(status == Some(1) && said.contains("--> etcd /weir/configuration:1:17"), "{said}");
    let next = folder.write("shop.yaml", &forwarding_to(&[&target])).display().to_string();
    let (status, said) = check(&["--shared", &next]);
    assert!(status == Some(0) && said.contains("shop.yaml: good, 1 load balancer,"), "{said}");
    fs::write(&own, format!("{}target_groups: []\n", local(&etcd, &folder))).unwrap();
    let (status, said) = check(&[]);
    assert!(
        status == Some(1) && said.contains("`target_groups` is read from the shared configuration"),
        "{said}"
    );
}
