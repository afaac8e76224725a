//! What scenario files may say, and what they are told when they say something else.

use std::path::Path;

use weir_core::balance::Draws;

use super::*;
use crate::arrivals::{Process, Rate};
use crate::scenario::{Client, Demand, Discipline, Event, Keys, ServerKind};
use crate::work::{BoundedPareto, Work};

const SECOND: u64 = 1_000_000_000;

/// A scenario of ten servers with these keys besides; what is written replaces what every scenario has to have.
fn scenario_text(keys: &str) -> String {
    let usual = [
        ("algorithms", "[round_robin]"),
        ("arrivals", "{ process: poisson, load: 0.7 }"),
        ("duration", "60s"),
        ("servers", "[{ count: 10 }]"),
        ("work", "{ distribution: exponential, mean: 10ms }"),
    ];
    let is_written = |key: &str| keys.lines().any(|line| line.starts_with(&format!("{key}:")));
    let mut text = String::new();
    for (key, value) in usual {
        if !is_written(key) && (key != "arrivals" || !is_written("users")) {
            text.extend([key, ": ", value, "\n"]);
        }
    }
    text + keys
}

fn experiment(keys: &str) -> Experiment {
    parse(&scenario_text(keys), Path::new("lab/file.yaml")).unwrap_or_else(|told| panic!("{keys}\n{told}"))
}

fn scenario(keys: &str) -> Scenario {
    let experiment = experiment(keys);
    assert!(experiment.warnings.is_empty(), "{keys}: {:?}", experiment.warnings);
    experiment.variants.into_iter().next().unwrap()
}

/// Checks that exactly one mistake is told, with its cause, at what is underlined, and with its remedy.
fn refused(keys: &str, cause: &str, remedy: &str) {
    let text = scenario_text(keys);
    let told = parse(&text, Path::new("lab/file.yaml")).expect_err(keys).0;
    let shown: Vec<String> = told.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), 1, "{keys}\n{}", shown.join("\n"));
    assert_eq!(told[0].cause, cause, "{keys}\n{}", shown[0]);
    assert_eq!(told[0].remedy.as_deref(), Some(remedy), "{keys}\n{}", shown[0]);
    let last = text.lines().count();
    let is_own = told[0].line + keys.lines().count() > last;
    assert!(is_own || cause.contains("missing") || cause.contains("nobody asks"), "{}", shown[0]);
}

fn warned(keys: &str) -> Vec<String> {
    experiment(keys).warnings.iter().map(|warning| format!("{}: {}", warning.line, warning.cause)).collect()
}

#[test]
fn a_scenario_that_says_little_has_the_rest_by_default() {
    let plain = scenario("");
    assert_eq!((plain.name.as_str(), plain.seed, plain.seeds, plain.warm_up), ("file", 1, 5, 0));
    assert_eq!(plain.demand, Demand::Open { process: Process::Poisson, rate: Rate::constant(700.0) });
    let fcfs = Discipline::Fcfs { slots: 1, queue: u32::MAX };
    assert_eq!(plain.servers, [ServerKind::plain(10, fcfs)]);
    assert_eq!(
        (plain.work, plain.client, plain.objective),
        (Work::Exponential(1e7), Client::default(), None)
    );
    assert_eq!(plain.group.name.as_str(), "lab");
}

#[test]
fn every_key_has_its_meaning() {
    let all = scenario(
        "about: >-\n  All that there\n  is.\n\
         seed: 7\nseeds: 3\nduration: 30s\nwarm_up: 5s\nloads: [0.5, 0.7]\nnetwork: 500us\nobjective: 1s\n\
         keys: { count: 100, exponent: 1.1 }\n\
         servers:\n\
         - { count: 2, speed: 2, discipline: fcfs, slots: 3, queue: 9, weight: 5, zone: a, cache: { keys: 7, miss: 20 } }\n\
         - { discipline: processor_sharing, cores: 4, swings: { factor: 0, every: 20s, lasts: 300ms, varies: true } }\n\
         - { cold_start: { cost: 10, lasts: 5s, fades: 30s } }\n\
         target_group: { slow_start: 30s, hash: { balance_factor: 125 }, deregistration_delay: 5s }\n\
         algorithms: [least_outstanding_requests, maglev, power_of_two_choices_with_replacement]\n\
         dispatchers: { count: 8, refresh: 100ms, surge_queue: 4 }\n\
         client: { timeout: 1s, retries: 3, hedge: 20ms }\n\
         events:\n\
         - { at: 20s, stop: [0, 4] }\n\
         - { at: 10s, start: 1 }\n\
         - { at: 15s, errors: 1, share: 0.3, takes: 1ms }\n\
         - { at: 15s, speed: [0], factor: 0.1 }\n",
    );
    assert_eq!((all.about.as_str(), all.seed, all.seeds), ("All that there is.", 7, 3));
    assert_eq!((all.duration, all.warm_up, all.network), (30 * SECOND, 5 * SECOND, 500_000));
    assert_eq!((all.loads, all.objective), (vec![0.5, 0.7], Some(SECOND)));
    assert_eq!(all.keys, Some(Keys { count: 100, exponent: 1.1 }));
    let [first, second, third] = all.servers.as_slice() else { panic!("{:?}", all.servers) };
    assert_eq!((first.count, first.speed, first.weight.get(), first.zone.as_deref()), (2, 2.0, 5, Some("a")));
    assert_eq!(first.discipline, Discipline::Fcfs { slots: 3, queue: 9 });
    assert_eq!(first.cache.map(|cache| (cache.keys, cache.miss)), Some((7, 20.0)));
    assert_eq!(second.discipline, Discipline::ProcessorSharing { cores: 4 });
    let swings = second.swings.unwrap();
    assert_eq!(
        (swings.factor, swings.every, swings.lasts, swings.varies),
        (0.0, 20 * SECOND, 300_000_000, true)
    );
    let cold = third.cold_start.unwrap();
    assert_eq!((cold.cost, cold.lasts, cold.fades), (10.0, 5 * SECOND, 30 * SECOND));
    assert_eq!(all.group.slow_start.as_secs(), 30);
    assert_eq!(all.group.hashing.unwrap().balance_factor, Some(125));
    assert_eq!(all.policies[2], Policy::Weir(Algorithm::PowerOfTwoChoices(Draws::WithReplacement)));
    assert_eq!((all.dispatchers.count, all.dispatchers.refresh), (8, Some(100_000_000)));
    assert_eq!((all.dispatchers.count_apart, all.dispatchers.surge_queue), (false, 4));
    let client = Client { timeout: Some(SECOND), retries: 3, hedge: Some(20_000_000) };
    assert_eq!(all.client, client);
    let events = [
        (10 * SECOND, Event::Start { like: 1 }),
        (15 * SECOND, Event::Errors { servers: vec![1], share: 0.3, takes: 1_000_000 }),
        (15 * SECOND, Event::Speed { servers: vec![0], factor: 0.1 }),
        (20 * SECOND, Event::Stop { servers: vec![0, 4] }),
    ];
    assert_eq!(all.events, events);
}

#[test]
fn every_policy_can_be_named() {
    for policy in Policy::ALL {
        let keys = format!("algorithms: [{}]\nkeys: {{ count: 10 }}", policy.name());
        assert_eq!(scenario(&keys).policies, [policy]);
    }
}

#[test]
fn work_of_every_distribution_is_read() {
    for (written, work) in [
        ("constant, mean: 500us", Work::Constant(5e5)),
        ("normal, mean: 10ms, deviation: 10ms", Work::Normal { mean: 1e7, deviation: 1e7 }),
        ("uniform, least: 162ms, most: 172ms", Work::Uniform { least: 162e6, most: 172e6 }),
        (
            "bounded_pareto, mean: 10ms, alpha: 1.5, spread: 1000",
            Work::BoundedPareto(BoundedPareto::new(1e7, 1.5, 1e3)),
        ),
        (
            "elephants, mean: 10ms, share: 0.01, of_work: 0.8",
            Work::Elephants { mean: 1e7, share: 0.01, of_work: 0.8 },
        ),
    ] {
        assert_eq!(scenario(&format!("work: {{ distribution: {written} }}")).work, work);
    }
}

#[test]
fn arrivals_have_a_load_a_rate_or_steps_of_either() {
    let rate = |keys: &str| match scenario(keys).demand {
        Demand::Open { rate, .. } => rate.steps,
        Demand::Closed { .. } => panic!("{keys}"),
    };
    assert_eq!(rate("arrivals: { process: constant, rate: 250.5/s }"), [(0, 250.5)]);
    assert_eq!(
        rate("arrivals: { steps: [{ at: 0s, load: 0.4 }, { at: 20s, load: 1.3 }, { at: 40s, rate: 0/s }] }"),
        [(0, 400.0), (20 * SECOND, 1300.0), (40 * SECOND, 0.0)]
    );
    assert_eq!(rate("arrivals: { process: poisson }\nloads: [0.5, 0.9]"), [(0, 500.0)]);
    let bursts = scenario("arrivals: { process: mmpp, ratio: 10, high: 1s, low: 4s, load: 0.5 }").demand;
    let Demand::Open { process: Process::Mmpp(mmpp), .. } = bursts else { panic!("{bursts:?}") };
    assert_eq!((mmpp.ratio, mmpp.high, mmpp.low), (10.0, 1.0, 4.0));
    let closed = scenario("users: { count: 10, thinking: 9s }").demand;
    assert_eq!(closed, Demand::Closed { users: 10, thinking: 9 * SECOND });
}

#[test]
fn a_variant_replaces_keys_of_the_file_and_is_called_after_it() {
    let experiment = experiment(
        "about: two\nvariants:\n- { name: fast, work: { distribution: constant, mean: 1ms } }\n\
         - { name: closed, users: { count: 5, thinking: 1s } }",
    );
    assert_eq!((experiment.name.as_str(), experiment.about.as_str()), ("file", "two"));
    assert!(experiment.warnings.is_empty(), "{:?}", experiment.warnings);
    let [fast, closed] = experiment.variants.as_slice() else { panic!("{:?}", experiment.variants) };
    assert_eq!((fast.name.as_str(), closed.name.as_str()), ("file: fast", "file: closed"));
    assert_eq!(fast.work, Work::Constant(1e6));
    assert_eq!(fast.demand, Demand::Open { process: Process::Poisson, rate: Rate::constant(7000.0) });
    assert_eq!(closed.work, Work::Exponential(1e7));
    assert_eq!(closed.demand, Demand::Closed { users: 5, thinking: SECOND });
}

#[test]
fn a_mistake_that_variants_share_is_told_once() {
    refused(
        "objective: 1\nvariants: [{ name: a }, { name: b }]",
        "\"1\" is not a duration",
        "name the unit: `1s`",
    );
    let lacking = "algorithms: [round_robin]\nduration: 1s\nservers: [{ count: 1 }]\n\
                   arrivals: { load: 0.5 }\nvariants: [{ name: a }, { name: b }]";
    let told = parse(lacking, Path::new("file.yaml")).unwrap_err().to_string();
    assert!(told.contains("`work` is missing") && told.ends_with("1 mistake"), "{told}");
    let told = parse(
        &lacking.replace("{ name: b }", "{ name: b, work: { distribution: constant, mean: 1ms } }"),
        Path::new("f"),
    );
    let told = told.unwrap_err();
    assert_eq!((told.0.len(), told.0[0].path.as_str(), told.0[0].line), (1, "variants[0]", 5), "{told}");
}

#[test]
fn mistakes_of_variants_are_told_where_they_are() {
    refused("variants: []", "a scenario has 1 to 64 variants", "write some, or take `variants` out");
    refused("variants: [{ seed: 2 }]", "`name` is missing", "write `name: drain 30 s`");
    refused(
        "variants: [{ name: a }, { name: a }]",
        "another variant is called \"a\"",
        "give each its own name",
    );
    refused(
        "variants: [{ name: a, sede: 2 }]",
        "`sede` is not a key of a variant of a scenario",
        "did you mean `seed`?",
    );
    let both = "variants: [{ name: a, seed: 2 }, { name: b, seed: 3 }]\nseed: 1";
    assert_eq!(warned(both), ["7: every variant has `seed` of its own, so that nobody reads this one"]);
}

#[test]
fn every_mistake_of_a_file_is_told_at_once_with_its_line() {
    let text = "algorithms: [round_robbin]\nduration: 60\nservers: []\nwork: { distribution: normal, mean: 10ms }\nload: 1";
    let told = parse(text, Path::new("lab/file.yaml")).unwrap_err();
    let lines: Vec<usize> = told.0.iter().map(|problem| problem.line).collect();
    assert_eq!(lines, [1, 1, 2, 3, 4, 5], "{told}");
    let shown = told.to_string();
    assert!(
        shown.contains(
            "error: algorithms[0]: \"round_robbin\" is none of round_robin, least_outstanding_requests"
        ) && shown.contains(
            " --> lab/file.yaml:1:14\n  |\n1 | algorithms: [round_robbin]\n  |              ^^^^^^^^^^^^\n  = help: did you mean `round_robin`?"
        ),
        "{shown}"
    );
}

mod files;
mod mistakes;
mod traces;
