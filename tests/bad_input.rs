//! Bad input at start: a clear word that names its owner, and the right exit status.

use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::process::Output;

use weir_tests::{Binary, Folder, Weir, wait_until};

fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

const ACTION: &str = "default_action: { fixed_response: { status_code: 200 } }";

const GOOD: &str = "admin: { bind: 127.0.0.1:0 }\nload_balancers: [{ name: edge, type: application, listeners: [{ bind: \"127.0.0.1:0\", default_action: { fixed_response: { status_code: 200 } } }] }]\n";

#[test]
fn every_mistake_of_a_file_is_shown_at_its_line_with_cause_and_remedy() {
    let folder = Folder::new();
    let path = folder.write(
        "weir.yaml",
        "\
target_groups:
  - name: web
    deregistration_dealy: 30s
    health_check: { interval: 5 }
    targets: [{ address: localhost, port: 80 }]
load_balancers:
  - name: edge
    type: application
    listeners: [{ bind: \"127.0.0.1:8080\", default_action: { forward: wbe } }]
",
    );
    for command in ["check", "run"] {
        let output = Binary::run(&[command, "-c", path.to_str().unwrap()]);
        let text = complaint(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        for expected in [
            "weir.yaml:3:5",
            "did you mean `deregistration_delay`?",
            "weir.yaml:4:31",
            "name the unit: `5s`",
            "weir.yaml:5:26",
            "\"localhost\" is not an IP address",
            "weir.yaml:9:70",
            "there is no target group \"wbe\"",
            "did you mean `web`?",
            "4 mistakes",
        ] {
            assert!(text.contains(expected), "{command} should say {expected:?}:\n{text}");
        }
    }
}

// Conformance: A2.1.26, A2.1.28
#[test]
fn a_pattern_that_is_none_is_shown_where_it_stands() {
    for (condition, cause) in [
        ("{ path_pattern: { regex_values: [\"^/a(b\"] } }", "unclosed group at character 4"),
        ("{ path_pattern: { regex_values: [\"(?=a)\"] } }", "look-around"),
        ("{ path_pattern: { values: [\"/a\"], regex_values: [\"b\"] } }", "not both"),
        ("{ path_pattern: {} }", "`values`"),
        ("{ http_header: { name: X-Env } }", "`values`"),
        ("{ path_pattern: [\"/\u{e4}\"] }", "only printable ASCII"),
    ] {
        let listener = format!(
            "rules: [{{ priority: 1, conditions: [{condition}], actions: [{{ fixed_response: {{ status_code: 200 }} }}] }}], default_action: {{ fixed_response: {{ status_code: 200 }} }}"
        );
        let folder = Folder::new();
        let path = folder.write("weir.yaml", &GOOD.replace(ACTION, &listener));
        let output = Binary::run(&["check", "-c", path.to_str().unwrap()]);
        let text = complaint(&output);
        assert!(output.status.code() == Some(1) && text.contains(cause), "{condition}:\n{text}");
    }
}

// Conformance: A2.2.1, A2.2.9
#[test]
fn a_transform_that_cannot_be_is_shown_where_it_stands() {
    let forward = "{ forward: web }";
    for (transform, action, cause) in [
        ("{ url_rewrite: { regex: \"^/(a)\", replace: \"/$2\" } }", forward, "has $2"),
        ("{ url_rewrite: { regex: \"(\", replace: \"\" } }", forward, "unclosed group"),
        ("{ url_rewrite: { regex: \"a\" } }", forward, "`replace`"),
        ("{ url_rewrit: {} }", forward, "did you mean `url_rewrite`?"),
        ("{}", forward, "needs something to rewrite"),
        (
            "{ url_rewrite: { regex: a, replace: b } }, { url_rewrite: { regex: a, replace: b } }",
            forward,
            "one url_rewrite",
        ),
        (
            "{ url_rewrite: { regex: a, replace: b } }",
            "{ fixed_response: { status_code: 200 } }",
            "forwards nothing",
        ),
    ] {
        let listener = format!(
            "rules: [{{ priority: 1, conditions: [{{ path_pattern: [\"/a\"] }}], transforms: [{transform}], actions: [{action}] }}], {ACTION}"
        );
        let folder = Folder::new();
        let groups = "target_groups: [{ name: web, targets: [{ address: 127.0.0.1, port: 9 }] }]\n";
        let path = folder.write("weir.yaml", &format!("{groups}{}", GOOD.replace(ACTION, &listener)));
        let output = Binary::run(&["check", "-c", path.to_str().unwrap()]);
        let text = complaint(&output);
        assert!(output.status.code() == Some(1) && text.contains(cause), "{transform}:\n{text}");
    }
}

#[test]
fn a_file_that_is_not_yaml_or_not_there_is_named() {
    let folder = Folder::new();
    let path = folder.write("broken.yaml", "load_balancers: [\n");
    let output = Binary::run(&["check", "-c", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        complaint(&output).contains("broken.yaml:") && complaint(&output).contains("not YAML"),
        "{}",
        complaint(&output)
    );
    let output = Binary::run(&["run", "-c", "/nowhere/weir.yaml"]);
    assert!(complaint(&output).contains("cannot read /nowhere/weir.yaml"), "{}", complaint(&output));
}

#[test]
fn a_good_file_is_good() {
    let folder = Folder::new();
    let path = folder.write("weir.yaml", GOOD);
    let output = Binary::run(&["check", "-c", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&output.stdout).contains("good, 1 load balancer,"));
}

#[test]
fn a_port_in_use_is_named_with_its_holder() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = holder.local_addr().unwrap().to_string();
    let folder = Folder::new();
    for yaml in [
        GOOD.replacen("127.0.0.1:0\"", &format!("{addr}\""), 1),
        GOOD.replacen("127.0.0.1:0 ", &format!("{addr} "), 1),
    ] {
        let path = folder.write("weir.yaml", &yaml);
        let output = Binary::run(&["run", "-c", path.to_str().unwrap()]);
        let text = complaint(&output);
        assert_eq!(output.status.code(), Some(2), "{text}");
        let pid = format!("(process {})", std::process::id());
        assert!(text.contains(&addr) && text.contains("taken") && text.contains(&pid), "{text}");
    }
}

#[test]
fn a_second_weir_steals_no_connections_from_the_first() {
    let folder = Folder::new();
    let port = weir_tests::free_port();
    let yaml = GOOD.replacen("127.0.0.1:0\"", &format!("127.0.0.1:{port}\""), 1);
    let _first = Weir::start(&yaml.replace("admin: { bind: 127.0.0.1:0 }\n", ""));
    let path = folder.write("weir.yaml", &yaml);
    let output = Binary::run(&["run", "-c", path.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(complaint(&output).contains("taken"), "{}", complaint(&output));
}

#[test]
fn an_engine_that_makes_no_sense_is_refused_at_start() {
    let output = Binary::command(&["run"]).env("DOCKER_HOST", "gopher://engine").output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", complaint(&output));
    assert!(complaint(&output).contains("gopher://engine"), "{}", complaint(&output));
}

#[test]
fn an_engine_that_cannot_be_reached_is_named_with_the_remedy_and_everything_else_serves() {
    let folder = Folder::new();
    let socket = folder.path().join("dead.sock");
    drop(UnixListener::bind(&socket).unwrap());
    for path in ["/nowhere/docker.sock".to_owned(), socket.display().to_string()] {
        let yaml = GOOD.replacen("admin: { bind: 127.0.0.1:0 }\n", "", 1);
        let weir =
            Weir::start(&format!("discovery: {{ docker: {{ endpoint: \"unix://{path}\" }} }}\n{yaml}"));
        wait_until("the failure is shown", || weir.admin("/api/v1/events").body.contains("failed"));
        let events = weir.admin("/api/v1/events").body;
        assert!(events.contains(&path) && events.contains("DOCKER_HOST"), "{events}");
        assert_eq!(weir.get("/").status, 200);
        assert_eq!(weir.admin("/readyz").status, 503, "not ready before the source was heard");
    }
}
