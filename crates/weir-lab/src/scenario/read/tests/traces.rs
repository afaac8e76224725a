//! Traces, which are files beside the scenario.

use super::*;

/// What a scenario beside a trace of that text is told, or its arrivals.
fn traced(name: &str, trace: &[u8]) -> Result<Demand, Vec<String>> {
    let folder = std::env::temp_dir().join(format!("weir-lab-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("arrivals.csv"), trace).unwrap();
    let text = scenario_text("arrivals: { process: trace, file: arrivals.csv }");
    let told = parse(&text, &folder.join("file.yaml"));
    std::fs::remove_dir_all(folder).unwrap();
    match told {
        Ok(experiment) => Ok(experiment.variants[0].demand.clone()),
        Err(told) => Err(told.0.into_iter().map(|problem| problem.cause).collect()),
    }
}

#[test]
fn a_trace_is_moments_in_seconds() {
    let demand = traced("right", b"# seconds\n0.5\n\n1\n1.000000001\n").unwrap();
    let moments = [500_000_000, SECOND, SECOND + 1];
    let rate = Rate::constant(3.0 / 60.0);
    assert_eq!(demand, Demand::Open { process: Process::Trace(moments.into()), rate });
}

#[test]
fn a_broken_trace_is_told_by_its_line() {
    let told = |name: &str, trace: &[u8]| traced(name, trace).unwrap_err();
    assert_eq!(
        told("broken", b"0.5\nsoon\n\n-1\n0.25\n"),
        [
            "arrivals.csv, line 2: \"soon\" is not a number of seconds",
            "arrivals.csv, line 4: \"-1\" is not a number of seconds",
            "arrivals.csv, line 5: 0.25 comes after what is later",
        ]
    );
    assert_eq!(told("nan", b"NaN"), ["arrivals.csv, line 1: \"NaN\" is not a number of seconds"]);
    assert_eq!(told("bytes", b"\xff\xfe").len(), 1);
    assert_eq!(told("many", "x\n".repeat(1000).as_bytes()).len(), 10);
    assert_eq!(told("empty", b""), ["arrivals.csv is empty"]);
    assert_eq!(told("late", b"61"), ["the scenario is over before the first of it comes"]);
}

#[test]
fn a_trace_that_is_not_there_is_told_where_it_is_named() {
    let text = scenario_text("arrivals: { process: trace, file: nowhere.csv }");
    let told = parse(&text, Path::new("/nowhere/file.yaml")).unwrap_err();
    assert!(told.0[0].cause.starts_with("cannot read /nowhere/nowhere.csv: "), "{told}");
    assert_eq!(told.0[0].path, "arrivals.file");
}

#[test]
fn a_trace_comes_when_it_came() {
    let told =
        parse(&scenario_text("arrivals: { process: trace, load: 0.7 }"), Path::new("f.yaml")).unwrap_err();
    let causes: Vec<&str> = told.0.iter().map(|problem| problem.cause.as_str()).collect();
    assert_eq!(causes, ["`file` is missing", "a trace has no load: requests come when they came"]);
}
