//! Whatever came of an experiment, its report can be read.

use weir_core::definition::{Algorithm, HashOn, Hashing};

use super::*;
use crate::compare::{Case, simulate_all};
use crate::measure::histogram;
use crate::run::Live;
use crate::scenario::{Demand, Discipline, LaboratoryPolicy, Policy, Scenario, ServerKind};
use crate::work::Work;

const LEAST: Policy = Policy::Weir(Algorithm::LeastOutstandingRequests);
const TURNS: Policy = Policy::Weir(Algorithm::RoundRobin);

fn scenario(name: &str, load: f64) -> Scenario {
    let server = ServerKind::plain(3, Discipline::Fcfs { slots: 1, queue: u32::MAX });
    Scenario {
        name: name.to_owned(),
        duration: 4_000_000_000,
        warm_up: 500_000_000,
        seeds: 3,
        policies: vec![TURNS, LEAST],
        ..Scenario::plain(server, Work::Exponential(1e7), load)
    }
}

fn header() -> Header {
    Header {
        version: "0.1.0 <dirty>".to_owned(),
        cpu: "A & B".to_owned(),
        cores: 2,
        command: "weir lab run \"x\"".to_owned(),
        when: "today".to_owned(),
    }
}

fn results(scenarios: &[Scenario]) -> Results {
    let mut cases = Case::all(scenarios);
    simulate_all(&mut cases, 2, &|_| {});
    Results { name: "experiment".to_owned(), about: "What it shows.".to_owned(), cases }
}

/// The same live, and how late it was, in nanoseconds.
fn add_live(results: &mut Results, late: u64) {
    for case in &mut results.cases {
        case.live.clone_from(&case.simulated);
        for run in case.live.iter_mut().flat_map(|series| &mut series.runs) {
            let mut lag = histogram();
            lag.record_n(late, run.counts.all.max(1)).unwrap();
            let from_sent = run.latencies.clone();
            run.live = Some(Live { lag, from_sent, rates: (100.0, 99.9), is_sound: true });
        }
    }
}

/// The page, after all has been checked that holds for every one.
fn checked(results: &Results) -> String {
    let page = html(results, &header());
    let mut rest = page.as_str();
    while let Some(from) = rest.find("<svg") {
        let to = from + rest[from..].find("</svg>").expect("every figure ends") + "</svg>".len();
        let figure = roxmltree::Document::parse(&rest[from..to]).expect("figures are well-formed");
        for attribute in figure.descendants().flat_map(|node| node.attributes()) {
            let value = attribute.value();
            let is_number = !value.contains("NaN") && !value.contains("inf") && !value.contains("2147483");
            assert!(is_number, "{}: {value}", attribute.name());
        }
        rest = &rest[to..];
    }
    for elsewhere in ["<script", "src=", "@import", "url("] {
        assert!(!page.contains(elsewhere), "{elsewhere}");
    }
    assert!(!page.contains("NaN") && !page.contains(">inf"));
    let json: serde_json::Value = serde_json::from_str(&json(results, &header())).expect("it is JSON");
    assert_eq!(json["cases"].as_array().map(Vec::len), Some(results.cases.len()));
    let runs =
        |case: &Case| case.simulated.iter().chain(&case.live).map(|series| series.runs.len()).sum::<usize>();
    let lines = lines(&csv(results));
    assert_eq!(lines.len(), 1 + results.cases.iter().map(runs).sum::<usize>());
    assert!(lines.iter().all(|line| line.len() == lines[0].len()), "{lines:?}");
    page
}

/// CSV, read as RFC 4180 says.
fn lines(csv: &str) -> Vec<Vec<String>> {
    let (mut lines, mut fields, mut field, mut is_quoted) = (Vec::new(), Vec::new(), String::new(), false);
    let mut letters = csv.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '"' if is_quoted && letters.peek() == Some(&'"') => field.extend(letters.next()),
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => fields.push(std::mem::take(&mut field)),
            '\n' if !is_quoted => {
                fields.push(std::mem::take(&mut field));
                lines.push(std::mem::take(&mut fields));
            }
            _ => field.push(letter),
        }
    }
    lines
}

#[test]
fn several_loads_are_shown_with_what_theory_says_and_what_broke_first() {
    let scenario = Scenario { loads: vec![0.3, 0.6, 0.8], ..scenario("three servers", 0.5) };
    let page = checked(&results(&[scenario]));
    for text in
        ["What broke first", "M/M/c", "E_n/M/1", "Latency against load: p99", "three servers at load 0.60"]
    {
        assert!(page.contains(text), "{text}");
    }
}

#[test]
fn theory_is_silent_where_it_has_no_closed_form() {
    let scenario = Scenario { loads: vec![0.3, 0.6], work: Work::Constant(1e7), ..scenario("constant", 0.5) };
    let page = checked(&results(&[scenario]));
    assert!(page.contains("no closed form") && !page.contains("M/M/c"));
}

#[test]
fn variants_are_a_curve_in_the_order_of_the_file() {
    let names = ["delay: none & nothing", "delay: a little", "delay: a lot"];
    let scenarios: Vec<_> = names.iter().map(|name| scenario(name, 0.5)).collect();
    let page = checked(&results(&scenarios));
    assert!(page.contains("Variants: delay") && page.contains("p99 by variant of delay"));
    // A name of more than one word has as many lines.
    let places =
        ["none &amp;", "a little", "a lot"].map(|text| page.find(text).expect("it is in the figure"));
    assert!(places.is_sorted());
}

#[test]
fn live_runs_stand_beside_simulated_ones() {
    let policies = vec![Policy::Weir(Algorithm::WeightedRandom), LEAST];
    let mut results = results(&[Scenario { policies, seeds: 6, ..scenario("both", 0.7) }]);
    add_live(&mut results, 1_000);
    let page = checked(&results);
    for text in ["(live)", "rank the same live", "From when it was due, and from when it was sent", "lag p50"]
    {
        assert!(page.contains(text), "{text}");
    }
    assert!(!page.contains("INVALID"));
}

#[test]
fn a_report_in_json_has_every_request_in_histograms_that_are_no_larger_than_they_need_be() {
    let results = results(&[scenario("small", 0.7)]);
    let text = json(&results, &header());
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let series = &value["cases"][0]["simulated"][0];
    let runs = &results.cases[0].simulated[0].runs;
    for (name, all) in [
        ("latencies", runs.iter().map(|run| run.latencies.len()).sum::<u64>()),
        ("waits", runs.iter().map(|run| run.waits.len()).sum()),
    ] {
        let pairs = series[name].as_array().unwrap();
        assert_eq!(pairs.iter().map(|pair| pair[1].as_u64().unwrap()).sum::<u64>(), all, "{name}");
        // Two digits: at most a hundred values from one power of two to the next.
        assert!(pairs.len() < 128 * 40, "{}", pairs.len());
    }
    assert_eq!(series["runs"][0]["latency"]["p99"], runs[0].latencies.value_at_quantile(0.99));
    assert_eq!(series["runs"][0]["slices"]["came"].as_array().unwrap().len(), runs[0].slices.len());
}

#[test]
fn a_generator_that_was_late_makes_its_runs_invalid() {
    let mut results = results(&[scenario("late", 0.7)]);
    add_live(&mut results, 1_000_000_000);
    let page = checked(&results);
    assert!(page.contains("INVALID: 6 live runs"));
    assert!(csv(&results).contains(",false\n"));
}

#[test]
fn overload_is_called_unstable_instead_of_showing_percentiles() {
    let page = checked(&results(&[scenario("too much", 1.4)]));
    assert!(page.contains("unstable: in flight grows from"));
    assert!(page.contains("There are not two policies whose simulated percentiles mean something."));
    let page = checked(&results(&[Scenario { loads: vec![1.3, 1.5], ..scenario("a sweep", 1.4) }]));
    assert!(page.contains("No percentile means anything."));
    // Whoever refuses has no queue that grows.
    let mut full = scenario("full", 1.5);
    full.servers[0].discipline = Discipline::Fcfs { slots: 1, queue: 3 };
    assert!(checked(&results(&[full])).contains("answered, others refused or given up"));
}

#[test]
fn what_is_stable_is_not_called_unstable() {
    let closed =
        Scenario { demand: Demand::Closed { users: 20, thinking: 10_000_000 }, ..scenario("closed", 0.5) };
    assert!(!checked(&results(&[scenario("little", 0.6), closed])).contains("unstable:"));
}

#[test]
fn names_are_escaped_everywhere() {
    let mut results = results(&[scenario("a,\"b\" <i>&amp;", 0.5)]);
    results.name = "<script>alert('x')</script>".to_owned();
    let page = checked(&results);
    assert!(page.contains("&lt;script&gt;") && page.contains("A &amp; B") && page.contains("&lt;dirty&gt;"));
    assert_eq!(lines(&csv(&results))[1][1], "a,\"b\" <i>&amp;");
}

#[test]
fn what_is_missing_is_said_in_words() {
    let nothing = Results { name: String::new(), about: String::new(), cases: Vec::new() };
    assert!(checked(&nothing).contains("There are no cases"));
    let unrun = Results { cases: Case::all(&[scenario("unrun", 0.5)]), ..nothing.clone() };
    assert!(checked(&unrun).contains("Nothing was run."));
    let unserved =
        Results { cases: Case::all(&[Scenario { policies: Vec::new(), ..scenario("no", 0.5) }]), ..nothing };
    checked(&unserved);
}

#[test]
fn one_seed_and_one_policy_are_no_comparison() {
    let one = Scenario { seeds: 1, loads: vec![0.4, 0.6], ..scenario("one seed", 0.5) };
    let page = checked(&results(std::slice::from_ref(&one)));
    assert!(page.contains("One seed: there are no confidence intervals") && page.contains("(one seed)"));
    let page = checked(&results(&[Scenario { policies: vec![TURNS], ..one }]));
    assert!(page.contains("There are not two policies"));
}

#[test]
fn runs_without_an_answer_do_not_hide_it() {
    // Nobody is ready within the time that clients wait.
    let mut scenario = Scenario { loads: vec![0.5, 0.7], ..scenario("never", 0.5) };
    scenario.client.timeout = Some(1);
    assert!(checked(&results(&[scenario.clone()])).contains("nothing was answered"));
    // And nobody comes.
    scenario.duration = 1;
    scenario.warm_up = 0;
    let page = checked(&results(&[scenario]));
    assert!(page.contains("nothing was answered") && page.contains("No request ended after the warm-up."));
}

#[test]
fn what_moves_is_shown_where_somebody_hashes() {
    let mut hashing = scenario("hashing", 0.3);
    hashing.group.hashing = Some(Hashing { on: HashOn::Flow, balance_factor: None });
    let algorithms = [Algorithm::Maglev, Algorithm::RingHash, Algorithm::Rendezvous];
    hashing.policies = algorithms.map(Policy::Weir).into();
    hashing.policies.push(Policy::Laboratory(LaboratoryPolicy::JoinIdleQueue));
    let hashing = results(&[hashing]);
    assert!(checked(&hashing).contains("Keys that move without need"));
    let json: serde_json::Value = serde_json::from_str(&json(&hashing, &header())).unwrap();
    let needless = |at: usize| json["moves"][at]["leaving"][0]["needless_part"].as_f64().unwrap();
    assert_eq!(json["moves"].as_array().map(Vec::len), Some(3));
    assert!(needless(0) > 0.0 && needless(1) <= 0.0 && needless(2) <= 0.0, "{json}");
    assert!(!checked(&results(&[scenario("not", 0.3)])).contains("Keys that move without need"));
}

#[test]
fn a_policy_has_the_same_colour_whatever_it_stands_beside() {
    let results = results(&[
        Scenario { policies: vec![LEAST, TURNS], ..scenario("one", 0.4) },
        Scenario { policies: vec![TURNS], ..scenario("other", 0.4) },
    ]);
    let inks = ink::Inks::of(&results);
    assert_ne!(inks.ink(TURNS), inks.ink(LEAST));
    assert_eq!(inks.names(), [LEAST.name(), TURNS.name()]);
    let many: Vec<_> = (0..56).map(ink::Ink::number).collect();
    assert!((0..56).all(|at| many[..at].iter().all(|ink| *ink != many[at])));
}

#[test]
fn files_are_called_as_the_experiment_and_stay_in_their_folder() {
    assert_eq!(file_name("../etc/x y"), "etc-x-y");
    assert_eq!(file_name("…"), "report");
    let folder = std::env::temp_dir().join(format!("weir-lab-report-{}", std::process::id()));
    let results = results(&[scenario("written", 0.4)]);
    let written = write(&results, &header(), &folder).unwrap();
    assert_eq!(fs::read_to_string(&written.csv).unwrap(), csv(&results));
    assert_eq!(fs::read_to_string(&written.html).unwrap(), html(&results, &header()));
    assert_eq!(written.json, folder.join("experiment.json"));
    fs::remove_dir_all(folder).unwrap();
}
