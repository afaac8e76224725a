//! What discovery said last outlives weir.

use std::fs;

use rustix::process::Signal;
use weir_core::health::Health;
use weir_tests::yaml::{application, group_of};
use weir_tests::{Binary, FakeTarget, Folder, Weir, get, loopback, wait_until};

/// A configuration that follows the targets in `folder`, and remembers them there.
fn following(folder: &Folder) -> String {
    let folder = folder.path().display();
    let groups = [group_of("web", "", "{ file: { service: web } }")];
    format!(
        "remember: {folder}/memory\ndiscovery: {{ file: {{ path: {folder}/targets }} }}\n{}",
        application(&groups, "", "default_action: { forward: web }")
    )
}

fn write(folder: &Folder, targets: &[&FakeTarget]) {
    fs::create_dir_all(folder.path().join("targets")).unwrap();
    let listed: Vec<String> = targets.iter().map(|target| format!("\"{}\"", target.addr())).collect();
    let labels = "{ \"service\": \"web\" }";
    folder.write(
        "targets/web.json",
        &format!("[{{ \"targets\": [{}], \"labels\": {labels} }}]", listed.join(", ")),
    );
}

#[test]
fn a_source_that_is_down_when_weir_starts_has_its_last_good_set() {
    let (folder, target) = (Folder::new(), FakeTarget::answering("kept"));
    write(&folder, &[&target]);
    drop(Weir::start_healthy(&following(&folder)));
    fs::remove_dir_all(folder.path().join("targets")).unwrap();
    let weir = Weir::start_healthy(&following(&folder));
    assert_eq!(weir.get("/").body, "kept");
    assert_eq!(weir.admin("/readyz").status, 200, "what is remembered is served");
    let events = weir.admin("/api/v1/events").body;
    assert!(events.contains("web.json remembered"), "{events}");
}

#[test]
fn a_source_that_answers_is_believed_before_what_is_remembered() {
    let folder = Folder::new();
    let (before, after) = (FakeTarget::answering("before"), FakeTarget::answering("after"));
    write(&folder, &[&before, &after]);
    drop(Weir::start_healthy(&following(&folder)));
    write(&folder, &[&after]);
    let weir = Weir::start(&following(&folder));
    weir.wait_for_health(after.addr(), Health::Healthy);
    assert!(weir.member(before.addr()).is_none(), "its port may be a stranger's by now");
}

#[test]
fn a_set_that_is_suddenly_empty_is_not_believed_because_weir_has_just_started() {
    let (folder, target) = (Folder::new(), FakeTarget::answering("kept"));
    write(&folder, &[&target]);
    drop(Weir::start_healthy(&following(&folder)));
    write(&folder, &[]);
    let weir = Weir::start(&following(&folder));
    wait_until("it is withheld", || weir.metric("weir_target_sets_withheld_total") >= 1.0);
    assert_eq!(weir.get("/").body, "kept");
}

#[test]
fn a_file_of_the_memory_that_is_cut_short_is_named_and_does_no_harm() {
    let (folder, target) = (Folder::new(), FakeTarget::answering("seen"));
    write(&folder, &[&target]);
    fs::create_dir_all(folder.path().join("memory")).unwrap();
    folder.write("memory/file.json", "{\"settings\":");
    let weir = Weir::start_healthy(&following(&folder));
    assert_eq!(weir.get("/").body, "seen");
    assert!(weir.admin("/api/v1/events").body.contains("forgotten"));
}

#[test]
fn a_weir_that_was_killed_serves_what_it_knew_without_its_source() {
    let (folder, target) = (Folder::new(), FakeTarget::answering("kept"));
    write(&folder, &[&target]);
    let bind = loopback(weir_tests::free_port());
    let yaml = following(&folder).replace("127.0.0.1:0", &bind.to_string());
    let path = folder.write("weir.yaml", &format!("admin: {{ bind: 127.0.0.1:0 }}\n{yaml}"));
    let start = || Binary::start(&mut Binary::command(&["run", "-c", &path.display().to_string()]));
    let answers = || std::net::TcpStream::connect(bind).is_ok() && get(bind, "/").body == "kept";
    let weir = start();
    wait_until("it serves", answers);
    let kept = folder.path().join("memory/file.json");
    wait_until("it remembers", || {
        fs::read_to_string(&kept).is_ok_and(|text| text.contains(&target.addr().to_string()))
    });
    weir.signal(Signal::KILL);
    weir.wait();
    fs::remove_dir_all(folder.path().join("targets")).unwrap();
    let _weir = start();
    wait_until("it serves again", answers);
}
