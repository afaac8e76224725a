//! Access logs: one line for each request or flow, in the load balancer's own words.

use std::path::Path;

use weir_tests::yaml::{application, classic, group, network};
use weir_tests::{FakeTarget, Folder, Weir, free_port, wait_until};

/// The lines of a log once it has as many as are wanted.
pub(crate) fn lines(path: &Path, wanted: usize) -> Vec<String> {
    let mut lines = Vec::new();
    wait_until("the lines are written", || {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        lines = text.lines().map(ToOwned::to_owned).collect();
        lines.len() >= wanted && text.ends_with('\n')
    });
    lines
}

/// Splits a line at its spaces, those within quotes left alone.
pub(crate) fn fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let (mut is_quoted, mut is_escaped) = (false, false);
    for c in line.chars() {
        let field = fields.last_mut().unwrap();
        match c {
            '"' if !is_escaped => is_quoted = !is_quoted,
            ' ' if !is_quoted => fields.push(String::new()),
            c => field.push(c),
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    fields
}

// Conformance: A5.0.13, A10.1, A10.2, A10.4, A10.5, A10.6, A10.9, A10.10, A10.11, A10.12
#[test]
fn an_application_line_has_alb_s_fields_in_alb_s_places() {
    let folder = Folder::new();
    let target = FakeTarget::answering("hello");
    let log = format!("access_log: {{ path: {} }}", folder.path().join("access.log").display());
    let listener = "rules: [{ priority: 7, conditions: [{ path_pattern: [\"/go\"] }], actions: [{ redirect: { path: /there, status_code: HTTP_301 } }] }], default_action: { forward: web }";
    let weir = Weir::start_healthy(&application(&[group("web", "", &[&target])], &log, listener));
    let mut client = weir.client();
    client.ask(
        "POST /p?q=1 HTTP/1.1\r\nHost: a.example\r\nUser-Agent: says \"hi\"\r\nContent-Length: 3\r\n\r\nabc",
    );
    client.get("/go");
    let port = weir.listener(0).port();
    let lines = lines(&folder.path().join("access.log"), 2);

    let forwarded = fields(&lines[0]);
    assert_eq!(forwarded.len(), 33, "{forwarded:#?}");
    assert_eq!(forwarded[0], "http");
    assert_eq!(forwarded[2], "app/edge");
    assert_eq!(forwarded[3], client.addr().to_string());
    assert_eq!(forwarded[4], target.addr().to_string());
    assert!(forwarded[5..8].iter().all(|time| time.parse::<f64>().unwrap() >= 0.0), "{forwarded:?}");
    assert_eq!(forwarded[8..12], ["200", "200", "3", "5"]);
    assert_eq!(forwarded[12], format!("POST http://a.example:{port}/p?q=1 HTTP/1.1"));
    assert_eq!(forwarded[13], "says \\\"hi\\\"", "the client's quotes stay within its field");
    assert_eq!(forwarded[16], "web");
    assert!(forwarded[17].starts_with("Root=1-"));
    assert_eq!(forwarded[20], "0", "the default rule");
    assert_eq!(forwarded[22], "forward");
    assert_eq!(forwarded[25..27], [target.addr().to_string(), "200".to_owned()]);

    let redirected = fields(&lines[1]);
    assert_eq!(redirected.len(), 33);
    assert_eq!(redirected[4..10], ["-", "-1", "-1", "-1", "301", "-"]);
    assert_eq!((redirected[20].as_str(), redirected[22].as_str()), ("7", "redirect"));
    assert_eq!(redirected[23], format!("http://a.example:{port}/there"));
}

#[test]
fn a_network_line_has_nlb_s_fields() {
    let folder = Folder::new();
    let target = FakeTarget::echoing("a");
    let log = format!("access_log: {{ path: {} }}", folder.path().join("flows.log").display());
    let weir = Weir::start_healthy(&network(&[group("db", "protocol: tcp", &[&target])], &log));
    let mut client = weir.client();
    client.send("ping");
    client.finish();
    assert_eq!(client.to_end(), b"a\nping");
    let line = lines(&folder.path().join("flows.log"), 1).remove(0);
    let fields = fields(&line);
    assert_eq!(fields.len(), 22, "{line}");
    assert_eq!(fields[0..2], ["tcp", "2.0"]);
    assert_eq!(fields[3], "net/edge");
    assert_eq!(fields[5..7], [client.addr().to_string(), target.addr().to_string()]);
    assert_eq!(fields[9..11], ["4", "6"]);
}

// Conformance: C8.1
#[test]
fn a_classic_line_has_classic_s_fields() {
    let folder = Folder::new();
    let port = free_port();
    let _target = FakeTarget::at(([127, 1, 0, 51], port).into(), |_, stream| {
        weir_tests::target::respond(stream, 200, "hello")
    });
    let log = format!("access_log: {{ path: {} }}", folder.path().join("classic.log").display());
    let yaml = classic(&["127.1.0.51"], &format!("HTTP:{port}/"), &log, &format!("instance_port: {port}"));
    let weir = Weir::start_healthy(&yaml);
    weir.get("/p");
    let line = lines(&folder.path().join("classic.log"), 1).remove(0);
    let fields = fields(&line);
    assert_eq!(fields.len(), 15, "{line}");
    assert_eq!(fields[1], "legacy");
    assert_eq!(fields[3], format!("127.1.0.51:{port}"));
    assert_eq!(fields[7..11], ["200", "200", "0", "5"]);
}

#[test]
fn a_json_line_says_the_same_to_programs() {
    let folder = Folder::new();
    let log = format!("access_log: {{ path: {}, format: json }}", folder.path().join("log.json").display());
    let weir = Weir::start(&application(&[group("web", "", &[])], &log, "default_action: { forward: web }"));
    weir.get("/nobody");
    let line = lines(&folder.path().join("log.json"), 1).remove(0);
    let object: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(object["status"], 503);
    assert_eq!(object["error_reason"], "no_target");
    assert_eq!(object["target"], serde_json::Value::Null);
}

#[test]
fn a_json_line_says_how_many_targets_were_tried() {
    let folder = Folder::new();
    let (bad, good) = (FakeTarget::behaving(|_, _| false), FakeTarget::answering("good"));
    let log = format!("access_log: {{ path: {}, format: json }}", folder.path().join("log.json").display());
    let groups = [group("web", "", &[&bad, &good])];
    let weir = Weir::start_healthy(&application(&groups, &log, "default_action: { forward: web }"));
    for _ in 0..6 {
        weir.get("/");
    }
    let attempts: Vec<u64> = lines(&folder.path().join("log.json"), 6)
        .iter()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["attempts"].as_u64().unwrap())
        .collect();
    assert!(attempts.contains(&2), "some met the bad target first");
    assert_eq!(attempts.iter().sum::<u64>() as usize, bad.received().len() + good.received().len());
}

#[test]
fn a_log_that_was_moved_away_is_begun_anew_when_asked() {
    let folder = Folder::new();
    let path = folder.path().join("access.log");
    let log = format!("access_log: {{ path: {} }}", path.display());
    let weir = Weir::start(&application(&[group("web", "", &[])], &log, "default_action: { forward: web }"));
    weir.get("/1");
    lines(&path, 1);
    std::fs::rename(&path, folder.path().join("access.log.1")).unwrap();
    weir.process().log_writer().reopen();
    weir.get("/2");
    assert!(lines(&path, 1)[0].contains("/2"));
    assert_eq!(lines(&folder.path().join("access.log.1"), 1).len(), 1);
}

/// The only line of a request with these fields.
fn line_of(head: &str) -> Vec<String> {
    let (folder, target) = (Folder::new(), FakeTarget::answering("hello"));
    let path = folder.path().join("access.log");
    let log = format!("access_log: {{ path: {} }}", path.display());
    let groups = [group("web", "", &[&target])];
    let weir = Weir::start_healthy(&application(&groups, &log, "default_action: { forward: web }"));
    weir.client().ask(format!("GET / HTTP/1.1\r\nHost: a\r\n{head}\r\n\r\n"));
    fields(&lines(&path, 1)[0])
}

// Conformance: A8.6
#[test]
fn an_ambiguous_request_is_logged_with_its_class_and_reason() {
    assert_eq!(line_of("nonsense")[27..29], ["Ambiguous", "MissingHeaderColon"]);
    assert_eq!(line_of("X: a")[27..29], ["-", "-"]);
}

// Conformance: A10.7
#[test]
fn a_user_agent_is_cut_at_8_kb() {
    assert_eq!(line_of(&format!("User-Agent: {}", "x".repeat(9000)))[13], "x".repeat(8 * 1024));
}
