//! The scenario files of `config/lab`: each of them is read, and runs.

use std::path::{Path, PathBuf};

use crate::scenario::{self, Experiment, OBJECTS, Policy};
use crate::simulator::{Ended, Observer, Outcome, Simulator, simulate};
use weir_config::document::group_keys;

/// Requests of a run here: enough to meet every server, little enough to run all of them.
const REQUESTS: u64 = 2_000;

/// The workloads that ship. Source: `spec/algorithms.md`, section 4.
const WORKLOADS: [&str; 14] = [
    "elephants",
    "flash-crowd",
    "gc-brownout",
    "gray-failure",
    "heavy-tail",
    "homogeneous",
    "keep-alive-skew",
    "many-dispatchers",
    "noisy-neighbours",
    "one-slow",
    "rolling-deploy",
    "scale-out",
    "two-speed",
    "zipf-keys",
];

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn experiments() -> Vec<Experiment> {
    let entries = std::fs::read_dir(root().join("config/lab")).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "yaml"));
    paths.sort();
    let read = |path: &PathBuf| scenario::load(path).unwrap_or_else(|error| panic!("{error}"));
    paths.iter().map(read).collect()
}

#[derive(Debug, Default)]
struct Count {
    ended: u64,
    answered: u64,
    in_time: u64,
    objective: u64,
}

impl Observer for Count {
    fn ended(&mut self, ended: &Ended) {
        self.ended += 1;
        if ended.outcome == Outcome::Answered {
            self.answered += 1;
            self.in_time += u64::from(ended.ended - ended.came <= self.objective);
        }
    }
}

#[test]
fn every_workload_has_a_file_that_says_what_it_shows_and_warns_of_nothing() {
    let experiments = experiments();
    let names: Vec<&str> = experiments.iter().map(|experiment| experiment.name.as_str()).collect();
    // And two that are no workloads of the list: to begin with, and to run live.
    let listed: Vec<&str> =
        names.iter().copied().filter(|name| !matches!(*name, "live" | "my-service")).collect();
    assert_eq!(listed, WORKLOADS);
    for experiment in experiments {
        assert!(experiment.about.len() > 80, "{}: {:?}", experiment.name, experiment.about);
        assert!(experiment.warnings.is_empty(), "{}: {:?}", experiment.name, experiment.warnings);
        let first = &experiment.variants[0];
        assert!(first.seeds >= 5, "{}: one seed is an anecdote", experiment.name);
    }
}

#[test]
fn every_file_runs_under_every_algorithm_that_it_names() {
    for scenario in experiments().iter().flat_map(|experiment| &experiment.variants) {
        for policy in &scenario.policies {
            let run = Simulator::new(scenario, *policy, scenario.seed, Count::default()).at_most(REQUESTS);
            let count = run.run();
            let shown = format!("{}, {}: {count:?}", scenario.name, policy.name());
            assert_eq!(count.ended, REQUESTS, "{shown}");
            assert!(count.answered > REQUESTS / 2, "{shown}");
        }
    }
}

#[test]
fn one_slow_shows_what_was_published_of_it() {
    // Source: `spec/algorithms.md`, item 28: the part that is answered within a second, in hundredths.
    let scenario = &scenario::load(&root().join("config/lab/one-slow.yaml")).unwrap().variants[0];
    let objective = scenario.objective.unwrap();
    for (algorithm, published) in [
        ("round_robin", 95.455),
        ("power_of_two_choices", 99.50),
        ("least_outstanding_requests", 99.56),
        ("peak_ewma", 99.93),
    ] {
        let policy = scenario.policies.iter().find(|policy| policy.name() == algorithm).unwrap();
        let count = simulate(scenario, *policy, scenario.seed, Count { objective, ..Count::default() });
        let part = 100.0 * count.in_time as f64 / count.ended as f64;
        assert!((part - published).abs() < 0.1, "{algorithm}: {part}");
    }
}

#[test]
fn the_reference_has_every_key_and_only_those() {
    let reference = std::fs::read_to_string(root().join("docs/lab-scenarios.md")).unwrap();
    let rows: Vec<&str> =
        reference.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    let policies = Policy::ALL.map(Policy::name);
    let keys = OBJECTS.iter().flat_map(|object| object.keys).copied();
    let known: Vec<&str> = keys.chain(group_keys().iter().copied()).chain(policies).collect();
    for key in &known {
        assert!(rows.contains(key), "docs/lab-scenarios.md lacks `{key}`");
    }
    for row in &rows {
        assert!(known.contains(row), "docs/lab-scenarios.md has `{row}`, which no scenario knows");
    }
}

#[test]
fn the_scenario_of_the_reference_is_taken_without_a_warning() {
    let reference = std::fs::read_to_string(root().join("docs/lab-scenarios.md")).unwrap();
    let blocks = reference.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let whole: Vec<&str> = blocks.filter(|block| block.contains("algorithms:")).collect();
    assert!(!whole.is_empty());
    for text in whole {
        let experiment = scenario::parse(text, &root().join("docs/lab-scenarios.md"));
        let experiment = experiment.unwrap_or_else(|told| panic!("{told}"));
        assert!(experiment.warnings.is_empty(), "{:?}", experiment.warnings);
    }
}

/// What somebody may write where something else belongs.
const SILLY: [&str; 14] = [
    "",
    "-1",
    "0",
    "0s",
    "1",
    "NaN",
    "1e308",
    "24h",
    "10000",
    "18446744073709551616",
    "[]",
    "{}",
    "[[0]]",
    "nobody",
];

/// How many of them are tried in one place: the next place gets the ones that follow.
const TRIED: usize = 3;

/// Texts that come of replacing one value of this one by something silly.
fn spoilt(text: &str) -> Vec<String> {
    let is_value = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '_' || c == '/';
    let starts = text.match_indices(": ").map(|(at, _)| at + 2);
    let values = starts.map(|at| (at, at + text[at..].find(|c| !is_value(c)).unwrap_or(text.len() - at)));
    let values = values.filter(|(start, end)| end > start);
    let silly = SILLY.iter().cycle();
    let places = values.flat_map(|place| std::iter::repeat_n(place, TRIED));
    places
        .zip(silly)
        .map(|((start, end), silly)| format!("{}{silly}{}", &text[..start], &text[end..]))
        .collect()
}

#[test]
fn whatever_is_written_is_told_of_or_runs() {
    let mut count = 0;
    for name in WORKLOADS {
        let path = root().join(format!("config/lab/{name}.yaml"));
        let text = std::fs::read_to_string(&path).unwrap();
        // Where it stops in the middle, too.
        let cut = (0..text.len()).step_by(397).filter_map(|at| text.get(..at)).map(ToOwned::to_owned);
        for text in spoilt(&text).into_iter().chain(cut) {
            count += 1;
            match scenario::parse(&text, &path) {
                Err(told) => assert!(!told.0.is_empty(), "{text}"),
                Ok(experiment) => {
                    let first = &experiment.variants[0];
                    Simulator::new(first, first.policies[0], 1, Count::default()).at_most(20).run();
                }
            }
        }
    }
    assert!(count > 1_000, "{count}");
}
