//! `weir lab`: one scenario file, simulated and live, and what is wrong with it told as of any configuration.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;

use serde_json::Value;
use weir_tests::{Binary, Folder};

/// Exit status, what was said on standard output, and on standard error.
fn lab(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Binary::run(&[&["lab"], arguments].concat());
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

/// A scenario of four servers and so much work for each request.
fn scenario(folder: &Folder, more: &str, work: &str) -> String {
    let text = format!(
        "about: four servers\nduration: 2s\nseeds: 2\narrivals: {{ process: poisson, load: 0.6 }}\n\
         work: {{ distribution: constant, mean: {work} }}\nservers: [{{ count: 4 }}]\n\
         algorithms: [round_robin, least_outstanding_requests]\n{more}\n"
    );
    let path = folder.path().join("four.yaml");
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn a_scenario_comes_out_the_same_whenever_it_is_simulated() {
    let folder = Folder::new();
    let file = scenario(&folder, "", "10ms");
    let (code, first, _) = lab(&["simulate", &file, "--json"]);
    assert_eq!(code, Some(0));
    assert_eq!(lab(&["simulate", &file, "--json"]).1, first);
    let cases: Value = serde_json::from_str(&first).unwrap();
    let runs = |algorithm: usize| cases[0]["simulated"][algorithm]["runs"].as_array().unwrap().clone();
    let requests = |run: &Value| run["requests"].as_u64().unwrap();
    assert!(runs(0).len() == 2 && runs(0).iter().zip(runs(1)).all(|(a, b)| requests(a) == requests(&b)));
}

#[test]
fn options_go_before_what_the_scenario_says() {
    let folder = Folder::new();
    let file = scenario(&folder, "", "10ms");
    let (_, said, _) = lab(&[
        "simulate",
        &file,
        "--algorithms",
        "prequal,c3",
        "--loads",
        "0.3,0.5",
        "--seeds",
        "1",
        "--json",
    ]);
    let cases: Value = serde_json::from_str(&said).unwrap();
    let load = |at: usize| cases[at]["load"].as_f64().unwrap();
    assert!((load(0) - 0.3).abs() < 1e-9 && (load(1) - 0.5).abs() < 1e-9);
    assert_eq!(cases[0]["simulated"][1]["algorithm"], "c3");
    let (code, _, told) = lab(&["simulate", &file, "--algorithms", "fastest"]);
    assert!(code == Some(2) && told.contains("\"fastest\" is none of round_robin"), "{told}");
    let (code, _, told) = lab(&["simulate", &file, "--algorithms", "maglev"]);
    assert!(
        code == Some(2) && told.contains("those of four have none; leave it out, or write `keys:"),
        "{told}"
    );
    let (code, _, told) = lab(&["simulate", &file, "--loads", "NaN"]);
    assert!(code == Some(2) && told.contains("--loads: a load is a part of the capacity"), "{told}");
}

#[test]
fn every_mistake_of_a_scenario_is_told_at_its_line() {
    let folder = Folder::new();
    let file = scenario(&folder, "wram_up: 1s\nnetwork: -1ms", "10ms");
    let (code, said, told) = lab(&["simulate", &file]);
    assert_eq!((code, said.as_str()), (Some(2), ""));
    assert!(told.contains("warm_up") && told.contains("-1ms") && told.contains(":8:"), "{told}");
}

#[test]
fn a_scenario_runs_live_through_a_weir_and_its_report_has_both() {
    let folder = Folder::new();
    let file = scenario(&folder, "", "20ms");
    let out = folder.path().join("report");
    let (code, said, told) =
        lab(&["compare", &file, "--live", "--seeds", "1", "--json", "--out", &out.display().to_string()]);
    // A machine that is busy with other tests is late, which it says by 1.
    assert!(matches!(code, Some(0 | 1)), "{told}");
    let cases: Value = serde_json::from_str(&said).unwrap();
    for algorithm in 0..2 {
        let run = |of: &str| cases[0][of][algorithm]["runs"][0].clone();
        let (simulated, live) = (run("simulated"), run("live"));
        assert_eq!(simulated["requests"], live["requests"], "the same requests");
        assert_eq!(live["answered"], live["requests"]);
        assert!(live["p50_ns"].as_u64().unwrap() >= 20_000_000, "servers sleep for the work");
        assert_eq!(live["answers"].as_array().unwrap().len(), 4, "all servers took part");
    }
    let page = std::fs::read_to_string(out.join("four.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("live") && page.contains("least_outstanding_requests"));
    assert!(out.join("four.csv").exists() && out.join("four.json").exists());
}

#[test]
fn what_cannot_be_run_live_is_refused_before_anything_runs() {
    let folder = Folder::new();
    let file = scenario(&folder, "dispatchers: { count: 2, counts: apart }", "20ms");
    let out = folder.path().join("report");
    let (code, _, told) = lab(&["compare", &file, "--live", "--out", &out.display().to_string()]);
    assert!(code == Some(2) && told.contains("dispatchers that count apart cannot be run live"), "{told}");
    assert!(!out.exists());
}

#[test]
fn a_report_that_cannot_be_written_is_told_before_anything_runs() {
    let folder = Folder::new();
    let file = scenario(&folder, "", "10ms");
    let (code, said, told) = lab(&["compare", &file, "--out", &format!("{file}/report")]);
    assert_eq!((code, said.as_str()), (Some(2), ""));
    assert!(told.contains("--out: cannot write to"), "{told}");
}

#[test]
fn a_server_of_a_scenario_can_be_run_by_itself() {
    let folder = Folder::new();
    let file = scenario(&folder, "", "10ms");
    let (code, _, told) = lab(&["target", &file, "--server", "4"]);
    assert!(code == Some(2) && told.contains("there is no server 4; they are 0 to 3"), "{told}");
    let (code, _, told) = lab(&["target", &file, "--variant", "five"]);
    assert!(code == Some(2) && told.contains("none of \"four\""), "{told}");
    let mut command = Binary::command(&["lab", "target", &file, "--server", "3"]);
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let mut stream = TcpStream::connect(line.trim()).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nx-lab-work: 10000000\r\n\r\n").unwrap();
    let mut answer = [0; 64];
    let count = stream.read(&mut answer).unwrap();
    let answer = String::from_utf8_lossy(&answer[..count]).into_owned();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("x-lab-target: 3"), "{answer}");
}

#[test]
fn the_laboratory_checks_itself() {
    let (code, said, _) = lab(&["validate", "--quick", "--item", "4,20,23"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("Maglev of 3 members") && said.contains("lines are as expected"), "{said}");
    let (code, _, told) = lab(&["validate", "--item", "99"]);
    assert!(code == Some(2) && told.contains("there is none of these"), "{told}");
}

const LINE: &str = r#"http 2026-11-27T13:00:00.250000Z app/edge 127.0.0.1:5000 127.0.0.1:9002 0.001 0.120 0.000 200 200 34 366 "GET http://a.example:80/api HTTP/1.1" "curl/8" - - api "Root=1-2" "-" "-" 10 2026-11-27T13:00:00.125000Z "forward" "-" "-" "127.0.0.1:9002" "200" "-" "-" TID_1 "-" "-" "-""#;

fn configuration(folder: &Folder, name: &str, rules: &str) -> String {
    let path = folder.path().join(name);
    let text = format!(
        "load_balancers: [{{ name: edge, type: application, listeners: [{{ bind: \"127.0.0.1:80\", rules: [{rules}], \
         default_action: {{ forward: web }} }}] }}]\n\
         target_groups: [{{ name: web, targets: [{{ address: 127.0.0.1, port: 9001 }}] }}, \
         {{ name: api, targets: [{{ address: 127.0.0.1, port: 9002 }}] }}]\n"
    );
    std::fs::write(&path, text).unwrap();
    path.display().to_string()
}

#[test]
fn a_log_is_replayed_against_another_configuration() {
    let folder = Folder::new();
    let log = folder.path().join("access.log");
    std::fs::write(&log, format!("{LINE}\nbroken\n{LINE}\n")).unwrap();
    let log = log.display().to_string();
    let same = "{ priority: 10, conditions: [{ path_pattern: [\"/api*\"] }], actions: [{ forward: api }] }";
    let (same, other) = (configuration(&folder, "same.yaml", same), configuration(&folder, "other.yaml", ""));
    let (code, said, told) = lab(&["replay", &log, "--config", &same]);
    assert!(code == Some(0) && said.starts_with("2 requests, 0 of which"), "{said}");
    assert!(told.contains("line 2: it has 1 fields"), "{told}");
    let (code, said, _) = lab(&["replay", &log, "--config", &other]);
    assert_eq!(code, Some(1));
    assert!(said.contains("rule 10, forward to api  →  the default rule, forward to web"), "{said}");
    let (code, said, _) = lab(&["replay", &log, "--config", &other, "--against", &same, "--json"]);
    let changes: Value = serde_json::from_str(&said).unwrap();
    assert!(code == Some(1) && changes["changed"] == 2, "{said}");
}

#[test]
fn a_log_becomes_a_trace_that_a_scenario_reads() {
    let folder = Folder::new();
    let log = folder.path().join("access.log");
    std::fs::write(&log, format!("{}\n{LINE}\n", LINE.replace("00.125000Z", "01.125000Z"))).unwrap();
    let log = log.display().to_string();
    assert_eq!(lab(&["trace", &log]).1, "0.000000\n1.000000\n");
    assert_eq!(lab(&["trace", &log, "--work"]).1, "0.120000\n0.120000\n");
    std::fs::write(folder.path().join("came.csv"), lab(&["trace", &log]).1).unwrap();
    std::fs::write(folder.path().join("work.csv"), lab(&["trace", &log, "--work"]).1).unwrap();
    let traced = "duration: 2s\nseeds: 1\narrivals: { process: trace, file: came.csv }\n\
                  work: { distribution: trace, file: work.csv }\nservers: [{ count: 1 }]\nalgorithms: [round_robin]\n";
    let file = folder.path().join("traced.yaml");
    std::fs::write(&file, traced).unwrap();
    let (code, said, told) = lab(&["simulate", &file.display().to_string(), "--json"]);
    let cases: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (code, &cases[0]["simulated"][0]["runs"][0]["requests"]),
        (Some(0), &Value::from(2)),
        "{told}"
    );
}
