//! What rules cost: a decision, and a request through all of weir and its peers, by how many rules there are.
//!
//! All rules are for paths that begin otherwise, or for other hosts, and the one that matches is the last: whoever looks
//! at one after the other looks at all of them. nginx has them twice: as prefixes, which it sorts, and as regular
//! expressions, which is what it takes to have any of the conditions that an Application Load Balancer's rules have.

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
use crate::schedule::{Generator, slice};
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

/// CPU time of every proxy per request, for each number of rules.
fn requests(comparison: &Comparison, folder: &Path) -> anyhow::Result<()> {
    let mut generator = Generator::start(Scenario::Http128)?;
    let backends = generator.backends.clone();
    let bench = Bench { scenario: Scenario::Http128, backends: &backends, folder, weir: &comparison.weir };
    let mut columns = Vec::new();
    for kind in [Kind::Weir, Kind::NginxPrefixes, Kind::NginxRegex, Kind::HaproxyAcls] {
        match COUNTS.into_iter().map(|count| kind.start(&bench, count)).collect::<Result<Vec<_>, _>>() {
            Ok(proxies) => {
                columns.push(Column { name: kind.name(), proxies, micros: vec![Vec::new(); COUNTS.len()] });
            }
            Err(error) => say(&format!("left out: {}: {error:#}", kind.name())),
        }
    }
    for round in 0..comparison.rounds {
        for column in &mut columns {
            progress(&format!("round {} of {}, {}", round + 1, comparison.rounds, column.name));
            for (proxy, micros) in column.proxies.iter().zip(&mut column.micros) {
                let slice = slice(&mut generator, proxy, comparison.seconds, Scenario::Http128)?;
                anyhow::ensure!(
                    slice.run.errors == 0,
                    "{}: {} requests failed",
                    column.name,
                    slice.run.errors
                );
                micros.push(slice.cpu_micros);
            }
        }
    }
    say("CPU µs of the proxy per request, and how much more than with the fewest rules in the same round");
    let heads = columns.iter().map(|column| format!("{:>18}", column.name));
    say(&format!("{:>8}{}", "rules", heads.collect::<String>()));
    for (row, count) in COUNTS.iter().enumerate() {
        let cells = columns.iter().map(|column| column.cell(row));
        say(&format!("{count:>8}{}", cells.collect::<String>()));
    }
    Ok(())
}

/// A proxy, and how it has its rules.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Weir,
    NginxPrefixes,
    NginxRegex,
    HaproxyAcls,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Weir => "weir",
            Self::NginxPrefixes => "nginx, prefixes",
            Self::NginxRegex => "nginx, regex",
            Self::HaproxyAcls => "HAProxy, ACLs",
        }
    }

    fn start(self, bench: &Bench<'_>, count: usize) -> anyhow::Result<Proxy> {
        match self {
            Self::Weir => bench.weir_with(&More { rules: written(count), ..More::default() }),
            Self::NginxPrefixes => bench.nginx_with(&locations(count, "^~ ")),
            Self::NginxRegex => bench.nginx_with(&locations(count, "~ ^")),
            Self::HaproxyAcls => bench.haproxy_with(&acls(count)),
        }
    }
}

/// A kind of proxy with each number of rules, and what they cost it in each round.
struct Column {
    name: &'static str,
    proxies: Vec<Proxy>,
    micros: Vec<Vec<f64>>,
}

impl Column {
    fn cell(&self, row: usize) -> String {
        let more = self.micros[row].iter().zip(&self.micros[0]).map(|(each, fewest)| each - fewest);
        format!("{:>9.2} {:>+8.2}", median(self.micros[row].iter().copied()), median(more))
    }
}

/// Rules as nginx has them; `modifier` says what their paths are.
fn locations(count: usize, modifier: &str) -> String {
    lines(count, |path| format!("location {modifier}{path} {{ proxy_pass http://b; }}\n"))
}

/// Rules as HAProxy has them.
fn acls(count: usize) -> String {
    lines(count, |path| format!("  use_backend b if {{ path_beg {path} }}\n"))
}

/// A line for every rule, by what its path begins with.
fn lines(count: usize, line: impl Fn(&str) -> String) -> String {
    let paths = (1..=count).map(|number| path_pattern(number, count));
    paths.map(|path| line(path.trim_end_matches('*'))).collect()
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
