//! Targets from watched files.

use weir_core::health::Health;
use weir_tests::yaml::{application, group_of};
use weir_tests::{Binary, FakeTarget, Folder, Weir, wait_until};

fn following(folder: &Folder) -> Weir {
    following_with(folder, "10m")
}

/// As sure of sharply smaller sets as `confirm_removals` asks for.
fn following_with(folder: &Folder, confirm_removals: &str) -> Weir {
    Weir::start(&format!(
        "discovery: {{ confirm_removals: {confirm_removals}, file: {{ path: {} }} }}\n{}",
        folder.path().display(),
        application(
            &[group_of("web", "", "{ file: { service: web } }")],
            "",
            "default_action: { forward: web }"
        )
    ))
}

#[test]
fn targets_come_and_go_with_the_files_of_a_folder_in_json_and_yaml() {
    let folder = Folder::new();
    let targets = [FakeTarget::answering("json"), FakeTarget::answering("yaml")];
    let weir = following_with(&folder, "0s");
    folder.write(
        "one.json",
        &format!("[{{ \"targets\": [\"{}\"], \"labels\": {{ \"service\": \"web\" }} }}]", targets[0].addr()),
    );
    weir.wait_for_health(targets[0].addr(), Health::Healthy);
    folder.write(
        "two.yaml",
        &format!("- targets: ['{}']\n  labels: {{ service: web, weir.weight: '3' }}\n", targets[1].addr()),
    );
    weir.wait_for_health(targets[1].addr(), Health::Healthy);
    assert_eq!(weir.member(targets[1].addr()).unwrap().weight.get(), 3);
    std::fs::remove_file(folder.path().join("one.json")).unwrap();
    weir.wait_for_health(targets[0].addr(), Health::Draining);
}

/// A file with these targets.
fn write(folder: &Folder, targets: &[&FakeTarget]) {
    let listed: Vec<String> = targets.iter().map(|target| format!("\"{}\"", target.addr())).collect();
    let labels = "{ \"service\": \"web\" }";
    folder.write("a.json", &format!("[{{ \"targets\": [{}], \"labels\": {labels} }}]", listed.join(", ")));
}

#[test]
fn a_file_that_suddenly_lists_nobody_is_not_believed_and_said_so() {
    let folder = Folder::new();
    let (stays, new) = (FakeTarget::answering("stays"), FakeTarget::answering("new"));
    write(&folder, &[&stays]);
    let weir = following(&folder);
    weir.wait_for_health(stays.addr(), Health::Healthy);
    write(&folder, &[]);
    wait_until("it is withheld", || weir.metric("weir_target_sets_withheld_total") >= 1.0);
    assert_eq!(weir.get("/").body, "stays");
    assert!(weir.admin("/").body.contains("1 of 1 tasks are missing at once"), "the page says so");
    write(&folder, &[&new]);
    weir.wait_for_health(new.addr(), Health::Healthy);
    assert_eq!(weir.member(stays.addr()).unwrap().health, Health::Healthy, "what is new counts at once");
}

#[test]
fn a_file_that_keeps_listing_nobody_is_believed() {
    let folder = Folder::new();
    let target = FakeTarget::answering("leaves");
    write(&folder, &[&target]);
    let weir = following_with(&folder, "200ms");
    weir.wait_for_health(target.addr(), Health::Healthy);
    write(&folder, &[]);
    weir.wait_for_health(target.addr(), Health::Draining);
}

#[test]
fn a_garbage_file_keeps_its_last_good_targets_and_disturbs_no_other_file() {
    let folder = Folder::new();
    let targets = [FakeTarget::answering("kept"), FakeTarget::answering("other")];
    let entry = |target: &FakeTarget| {
        format!("[{{ \"targets\": [\"{}\"], \"labels\": {{ \"service\": \"web\" }} }}]", target.addr())
    };
    folder.write("a.json", &entry(&targets[0]));
    let weir = following(&folder);
    weir.wait_for_health(targets[0].addr(), Health::Healthy);
    folder.write("a.json", "[{ \"targets\": [\"");
    folder.write("b.json", &entry(&targets[1]));
    weir.wait_for_health(targets[1].addr(), Health::Healthy);
    assert_eq!(weir.member(targets[0].addr()).unwrap().health, Health::Healthy);
    wait_until("the mistake is shown with its owner", || {
        let events = weir.admin("/api/v1/events").body;
        events.contains("a.json") && events.contains("left out")
    });
    let status = || {
        let admin = format!("http://{}", weir.process().admin().unwrap());
        String::from_utf8(Binary::run(&["status", "--admin", &admin]).stdout).unwrap()
    };
    let shown = status();
    assert!(shown.contains("file    working  2      1") && shown.contains("a.json  EOF"), "{shown}");
    folder.write("a.json", &entry(&targets[0]));
    wait_until("it is shown no longer when it is mended", || !status().contains("a.json"));
}

#[test]
fn a_pipe_among_the_files_is_left_out_and_holds_nobody_up() {
    let folder = Folder::new();
    let target = FakeTarget::answering("late");
    let made = std::process::Command::new("mkfifo").arg(folder.path().join("pipe.json")).status();
    assert!(made.unwrap().success());
    let weir = following(&folder);
    write(&folder, &[&target]);
    weir.wait_for_health(target.addr(), Health::Healthy);
    assert!(weir.admin("/api/v1/events").body.contains("is not a regular file"));
}

#[test]
fn an_entry_with_a_mistaken_label_is_left_out_alone() {
    let folder = Folder::new();
    let targets = [FakeTarget::answering("good"), FakeTarget::answering("mistaken")];
    folder.write(
        "a.json",
        &format!(
            "[{{ \"targets\": [\"{}\"], \"labels\": {{ \"service\": \"web\" }} }}, {{ \"targets\": [\"{}\"], \"labels\": {{ \"service\": \"web\", \"weir.wieght\": \"2\" }} }}]",
            targets[0].addr(),
            targets[1].addr()
        ),
    );
    let weir = following(&folder);
    weir.wait_for_health(targets[0].addr(), Health::Healthy);
    assert!(weir.member(targets[1].addr()).is_none());
    let events = weir.admin("/api/v1/events").body;
    assert!(events.contains("weir.wieght") && events.contains("did you mean `weir.weight`"), "{events}");
}
