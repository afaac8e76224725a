//! `weir lab compare --live --targets containers`: servers of a scenario behind a real Docker engine, of which nothing is left.

use std::path::Path;

use rustix::process::Signal;
use serde_json::Value;
use weir::image::docker;
use weir_tests::{Binary, Engine, Folder, wait_until};

/// Starts a comparison of two algorithms, each with two servers in containers; how its containers are labelled.
fn start(folder: &Folder, duration: &str) -> (Binary, String) {
    let text = format!(
        "duration: {duration}\nseeds: 1\narrivals: {{ process: constant, load: 0.5 }}\n\
         work: {{ distribution: trace, file: work.csv }}\n\
         servers: [{{ zone: a }}, {{ zone: b, weight: 2 }}]\n\
         events: [{{ at: 0s, errors: [1], share: 1, takes: 200ms }}]\n\
         algorithms: [round_robin, least_outstanding_requests]\n"
    );
    let scenario = folder.write("two.yaml", &text).display().to_string();
    folder.write("work.csv", "0.02\n");
    let out = folder.path().join("report").display().to_string();
    let options = ["--live", "--targets", "containers", "--json", "--out", &out];
    let weir = Binary::start(&mut Binary::command(&[&["lab", "compare", &scenario], &options[..]].concat()));
    let label = format!("label=weir-lab=weir-lab-{}", weir.pid().as_raw_nonzero());
    (weir, label)
}

fn containers(label: &str) -> usize {
    docker(&["ps", "-aq", "--filter", label]).unwrap().split_whitespace().count()
}

fn check_that_nothing_is_left(label: &str, report: &Path) {
    assert_eq!(containers(label), 0);
    let image = label.rsplit('=').next().unwrap();
    assert_eq!(docker(&["images", "-q", image]).unwrap(), "");
    assert!(report.exists());
}

#[test]
fn servers_in_containers_are_found_and_loaded_as_those_on_threads_are() {
    let Some(_engine) = Engine::find("lab-containers") else { return };
    let folder = Folder::new();
    let (weir, label) = start(&folder, "1s");
    let output = weir.wait();
    let told = String::from_utf8_lossy(&output.stderr);
    // A machine that is busy with other tests is late, which it says by 1.
    assert!(matches!(output.status.code(), Some(0 | 1)), "{told}");
    let cases: Value = serde_json::from_slice(&output.stdout).unwrap();
    for algorithm in 0..2 {
        let run = |of: &str| cases[0][of][algorithm]["runs"][0].clone();
        let (simulated, live) = (run("simulated"), run("live"));
        assert_eq!(live["requests"], simulated["requests"], "the same requests");
        let count = |what: &str| live[what].as_u64().unwrap();
        assert!(count("answered") > 0 && count("errors") > 0, "events happen there: {live}");
        assert_eq!(count("answered") + count("errors"), count("requests"), "{told}");
        assert!(live["p50_ns"].as_u64().unwrap() >= 20_000_000, "servers sleep for the work");
    }
    check_that_nothing_is_left(&label, &folder.path().join("report/two.html"));
}

#[test]
fn an_interrupted_comparison_removes_its_containers_and_reports_what_was_over() {
    let Some(_engine) = Engine::find("lab-interrupted") else { return };
    let folder = Folder::new();
    let (weir, label) = start(&folder, "10m");
    wait_until("all containers are there", || containers(&label) == 4);
    weir.signal(Signal::INT);
    let output = weir.wait();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{told}");
    assert!(told.contains("interrupted: 0 of 1 live runs were over"), "{told}");
    check_that_nothing_is_left(&label, &folder.path().join("report/two.html"));
}
