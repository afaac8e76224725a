//! What rules cost: a decision, and a request through all of weir, by how many rules its listener has.
//!
//! All rules are for paths that begin otherwise, or for other hosts, and the one that matches is the last: whoever looks
//! at one after the other looks at all of them.

use std::fmt::Write as _;
use std::hint::black_box;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use weir_core::address::ClientAddr;
use weir_core::head::Head;
use weir_core::pattern::{Case, Pattern};
use weir_core::rule::{Action, Condition, FixedResponse, Priority, Rule, RuleIndex};

use crate::load::now;
use crate::peers::{Bench, More};
use crate::proxy::Proxy;
use crate::report::median;
use crate::scenario::Scenario;
use crate::schedule::Generator;
use crate::{Comparison, in_folder, progress, say};

/// How many rules.
const COUNTS: [usize; 4] = [10, 100, 1_000, 10_000];

/// Time for which one kind of decision is repeated, and decisions between two looks at the clock.
const DECIDED_FOR: Duration = Duration::from_millis(200);
const BATCH: u32 = 100;

/// What the request asks for; see [`Scenario::request`].
const HOST: &str = "bench.localhost";
const PATH: &str = "/item";

/// Measures decisions, then requests.
pub(crate) fn measure(comparison: &Comparison) -> anyhow::Result<()> {
    say("ns of a decision, by number of rules; the last one matches");
    say(&format!("{:>8}{:>14}{:>14}{:>14}", "rules", "by path", "by host", "one by one"));
    for count in COUNTS {
        let [by_path, by_host] = [list(count, path)?, list(count, host)?];
        let [path_index, host_index] = [RuleIndex::new(&by_path), RuleIndex::new(&by_host)];
        say(&format!(
            "{count:>8}{:>14.0}{:>14.0}{:>14.0}",
            nanos(|head, client| path_index.first_match(&by_path, head, client).is_some()),
            nanos(|head, client| host_index.first_match(&by_host, head, client).is_some()),
            nanos(|head, client| by_path.iter().any(|rule| rule.matches(head, client))),
        ));
    }
    in_folder("rules", |folder| requests(comparison, folder))
}

/// CPU time of weir per request, for each number of rules in turn.
fn requests(comparison: &Comparison, folder: &Path) -> anyhow::Result<()> {
    let mut generator = Generator::start(Scenario::Http128)?;
    let backends = generator.backends.clone();
    let bench = Bench { scenario: Scenario::Http128, backends: &backends, folder, weir: &comparison.weir };
    let start = |count| bench.weir_with(&More { rules: written(count), ..More::default() });
    let proxies: Vec<Proxy> = COUNTS.into_iter().map(start).collect::<Result<_, _>>()?;
    let mut micros = vec![Vec::new(); proxies.len()];
    for round in 0..comparison.rounds {
        progress(&format!("round {} of {}", round + 1, comparison.rounds));
        for (proxy, micros) in proxies.iter().zip(&mut micros) {
            micros.push(generator.worker_micros(proxy, comparison.seconds)?);
        }
    }
    say(
        "CPU µs of weir's worker per request, and how much more than with the fewest rules in the same round",
    );
    say(&format!("{:>8}{:>14}{:>14}", "rules", "median", "more"));
    for (count, each) in COUNTS.iter().zip(&micros) {
        let more = each.iter().zip(&micros[0]).map(|(each, fewest)| each - fewest);
        say(&format!("{count:>8}{:>14.2}{:>14.2}", median(each.iter().copied()), median(more)));
    }
    Ok(())
}

/// Rules as a configuration has them: the last one takes the request, by its path.
pub(crate) fn written(count: usize) -> String {
    let mut text = String::from(", rules: [");
    for number in 1..=count {
        write!(
            text,
            "{{ priority: {number}, conditions: [{{ path_pattern: [\"{}\"] }}], actions: [{{ forward: backends }}] }},\n      ",
            path_pattern(number, count)
        )
        .expect("writing to a string succeeds");
    }
    text.push(']');
    text
}

fn path_pattern(number: usize, count: usize) -> String {
    if number == count { PATH.to_owned() } else { format!("/service-{number}/*") }
}

fn path(number: usize, count: usize) -> anyhow::Result<Condition> {
    Ok(Condition::PathPattern(vec![Pattern::parse(&path_pattern(number, count), Case::Sensitive)?]))
}

fn host(number: usize, count: usize) -> anyhow::Result<Condition> {
    let host = if number == count { HOST.to_owned() } else { format!("service-{number}.localhost") };
    Ok(Condition::HostHeader(vec![Pattern::parse(&host, Case::Insensitive)?]))
}

fn list(
    count: usize,
    condition: fn(usize, usize) -> anyhow::Result<Condition>,
) -> anyhow::Result<Vec<Rule<()>>> {
    let nothing = FixedResponse { status: 200, content_type: None, body: String::new() };
    let action: Action<()> = Action::FixedResponse(nothing.into());
    (1..=count)
        .map(|number| {
            Ok(Rule {
                priority: Priority::new(number as u16).context("more rules than priorities")?,
                conditions: vec![condition(number, count)?],
                action: action.clone(),
                transforms: None,
                provenance: None,
            })
        })
        .collect()
}

/// How long one decision about the request takes.
fn nanos(decide: impl Fn(&Head<'_>, ClientAddr) -> bool) -> f64 {
    let headers = Vec::new();
    let head = Head {
        scheme: "http",
        method: "GET",
        host: HOST,
        port: 80,
        path: PATH,
        normal_path: PATH,
        query: Some("id=42"),
        headers: &headers,
    };
    let client = ClientAddr(([127, 0, 0, 1], 9).into());
    let (began, mut decisions) = (now(), 0);
    loop {
        for _ in 0..BATCH {
            assert!(decide(black_box(&head), client), "the last rule matches");
        }
        decisions += BATCH;
        let passed = now() - began;
        if passed >= DECIDED_FOR {
            return passed.as_nanos() as f64 / f64::from(decisions);
        }
    }
}
