//! Cookies of several weirs, of several lives of one, and of several secrets.

use std::collections::BTreeSet;

use weir_core::health::Health;
use weir_tests::example::Example;
use weir_tests::yaml::{application, group, group_of};
use weir_tests::{Binary, FakeTarget, Folder, Weir, wait_until};

use crate::stickiness::{BY_LB_COOKIE, Jar, weighted};

const SECRET: &str = "a secret that nobody guesses for a while\n";
const OTHER: &str = "another secret, as long as the first one\n";

/// A weir with secrets of cookies in a file.
fn start(secrets: &str, rest: &str) -> Weir {
    let folder = Folder::new();
    folder.write("cookies.key", secrets);
    let weir = Weir::start_in(folder, &format!("secrets: {{ cookies: cookies.key }}\n{rest}"), |_| {});
    weir.wait_until_healthy();
    weir
}

/// Two weighted groups of two targets each, in this order or the other way round.
fn two_groups(targets: &[FakeTarget; 4], is_turned: bool) -> String {
    let [a, b, c, d] = targets.each_ref();
    let mut groups = [("web", [a, b]), ("api", [c, d])];
    if is_turned {
        groups.reverse();
        for (_, targets) in &mut groups {
            targets.reverse();
        }
    }
    let groups = groups.map(|(name, targets)| group(name, BY_LB_COOKIE, &targets));
    application(&groups, "", &weighted(1, 1))
}

fn four() -> [FakeTarget; 4] {
    ["a", "b", "c", "d"].map(FakeTarget::answering)
}

#[test]
fn two_weirs_with_one_secret_honour_each_other_s_cookies_of_targets_and_groups() {
    let targets = four();
    let weirs = [false, true].map(|is_turned| start(SECRET, &two_groups(&targets, is_turned)));
    let mut seen = BTreeSet::new();
    for _ in 0..20 {
        let mut jar = Jar::default();
        let first = jar.ask(&mut weirs[0].client()).body;
        for weir in weirs.iter().rev().cycle().take(6) {
            assert_eq!(jar.ask(&mut weir.client()).body, first);
        }
        seen.insert(first);
    }
    assert!(seen.len() > 2, "clients are spread: {seen:?}");
}

#[test]
fn a_weir_without_the_secret_honours_no_cookie_of_the_others() {
    let targets = four();
    let first = start(SECRET, &two_groups(&targets, false));
    let strangers = [
        start(OTHER, &two_groups(&targets, false)),
        Weir::start_healthy(&two_groups(&targets, false)),
        Weir::start_healthy(&two_groups(&targets, false)),
    ];
    let mut jar = Jar::default();
    jar.ask(&mut first.client());
    for stranger in strangers {
        let bodies: BTreeSet<String> =
            (0..40).map(|_| jar.clone().ask(&mut stranger.client()).body).collect();
        assert!(bodies.len() > 1, "{bodies:?}");
        jar.ask(&mut stranger.client());
    }
}

#[test]
fn clients_stick_beyond_a_restart_with_a_secret() {
    let targets = four();
    let mut jar = Jar::default();
    let before = start(SECRET, &two_groups(&targets, false));
    let first = jar.ask(&mut before.client()).body;
    before.stop();
    let after = start(SECRET, &two_groups(&targets, true));
    assert_eq!(jar.bodies(&mut after.client(), 40), [first].into());
}

#[test]
fn a_new_secret_before_the_old_one_moves_nobody_and_without_it_all() {
    let targets = ["a", "b", "c", "d"].map(FakeTarget::answering);
    let all = targets.each_ref();
    let yaml = application(&[group("web", BY_LB_COOKIE, &all)], "", "default_action: { forward: web }");
    let weir = start(SECRET, &yaml);
    let (mut client, mut jar) = (weir.client(), Jar::default());
    let first = jar.ask(&mut client).body;
    let old = jar.clone();
    let write = |secrets: &str| {
        let generation = weir.snapshot().generation;
        weir.folder.write("cookies.key", secrets);
        wait_until("other keys are in use", || weir.snapshot().generation > generation);
    };
    write(&format!("{OTHER}{SECRET}"));
    assert_eq!(jar.bodies(&mut client, 9), [first.clone()].into());
    weir.folder.write("cookies.key", "short\n");
    wait_until("it is refused", || weir.metric("weir_certificate_renewals_total{result=\"rejected\"}") > 0.5);
    assert_eq!(jar.bodies(&mut client, 9), [first.clone()].into(), "the last good ones stay");
    write(OTHER);
    assert_eq!(jar.bodies(&mut client, 9), [first].into(), "its cookie is sealed anew meanwhile");
    let bodies: BTreeSet<String> = (0..9).map(|_| old.clone().ask(&mut client).body).collect();
    assert!(bodies.len() > 1, "the old secret is forgotten");
}

#[test]
fn a_task_is_known_by_its_identity_and_not_by_its_port() {
    let (folder, targets) = (Folder::new(), four());
    let list = |ids: [&str; 4]| {
        let elements = ids.iter().zip(&targets).map(|(id, target)| {
            let addr = target.addr();
            format!(r#"{{"targets":["{addr}"],"labels":{{"service":"web","id":"{id}"}}}}"#)
        });
        folder.write("targets.json", &format!("[{}]", elements.collect::<Vec<_>>().join(",")));
    };
    list(["1", "2", "3", "4"]);
    let yaml = format!(
        "discovery: {{ confirm_removals: 0s, file: {{ path: {} }} }}\n{}",
        folder.path().join("targets.json").display(),
        application(
            &[group_of("web", BY_LB_COOKIE, "{ file: { service: web } }")],
            "",
            "default_action: { forward: web }"
        )
    );
    let weirs = [start(SECRET, &yaml), start(SECRET, &yaml)];
    let mut jar = Jar::default();
    let first = jar.ask(&mut weirs[0].client()).body;
    assert_eq!(jar.bodies(&mut weirs[1].client(), 12), [first.clone()].into());
    let non_sticky = || weirs[1].metric("weir_requests_non_sticky_total");
    assert!(non_sticky() < 0.1);
    // Other tasks at the same addresses and ports are strangers, whom no cookie names.
    list(["5", "6", "7", "8"]);
    wait_until("the tasks that leave are beside the new ones", || {
        let snapshot = weirs[1].snapshot();
        let count = |health| snapshot.members().filter(|(_, member)| member.health == health).count();
        (count(Health::Draining), count(Health::Healthy)) == (4, 4)
    });
    jar.ask(&mut weirs[1].client());
    assert!((non_sticky() - 1.0).abs() < 0.1);
}

#[test]
fn a_secret_that_cannot_be_used_is_told_with_its_file_and_line() {
    let folder = Folder::new();
    let target = FakeTarget::answering("web");
    let rest = application(&[group("web", "", &[&target])], "", "default_action: { forward: web }");
    let yaml = format!("secrets: {{ cookies: cookies.key }}\n{rest}");
    let check = || {
        let path = folder.write("weir.yaml", &yaml);
        let output = Binary::run(&["check", "-c", path.to_str().unwrap()]);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    for (secrets, expected) in [
        (None, "cookies.key: cannot be read"),
        (Some("short\n".to_owned()), "cookies.key: has a secret of fewer than 32 characters"),
        (Some(String::new()), "cookies.key: has a secret of fewer than 32 characters"),
        (Some(SECRET.repeat(9)), "cookies.key: has more than 8 secrets"),
    ] {
        if let Some(secrets) = secrets {
            folder.write("cookies.key", &secrets);
        }
        let (status, told) = check();
        assert!(status == Some(1) && told.contains(expected) && told.contains("line 1"), "{told}");
    }
    folder.write("cookies.key", SECRET);
    assert_eq!(check(), (Some(0), String::new()));
}

#[test]
fn the_example_keeps_clients_where_they_were() {
    let targets = ["a", "b", "c", "d", "e", "f"].map(FakeTarget::answering);
    let folder = Folder::new();
    folder.write("cookies.key", SECRET);
    let weir = Example::read("stickiness.yaml").with_targets(&targets).start_in(folder);
    weir.wait_until_healthy();
    let (mut client, mut jar) = (weir.client(), Jar::default());
    let first = jar.ask(&mut client).body;
    assert_eq!(jar.bodies(&mut client, 40), [first].into());
}
