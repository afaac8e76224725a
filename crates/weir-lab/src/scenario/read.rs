//! Scenario files: YAML in, an [`Experiment`] or *every* mistake out, each with its line, as in weir's configuration.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use weir_config::document::{Fields, Key, Node, Reader, Value, group_settings, items};
use weir_config::{LoadError, Problem, Problems};
use weir_core::definition::{Algorithm, TargetGroup};

use super::demand::{self, Capacity};
use super::{Policy, Scenario, events, keys, servers, sides, work};

/// The longest that requests may come for.
const DURATION_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The shortest.
const DURATION_MIN: Duration = Duration::from_millis(1);

/// How many seeds are run unless it is said otherwise, and at most. Source: `spec/algorithms.md`, section 4.
const SEEDS: u32 = 5;
const SEEDS_MAX: u32 = 1_000;

/// Most variants of one file.
const VARIANTS_MAX: usize = 64;

/// The longest way between dispatcher and server.
const NETWORK_MAX: Duration = Duration::from_secs(10);

/// What the group is called in reports and in weir.
const GROUP: &str = "lab";

/// What a file of scenarios says.
#[derive(Clone, Debug, PartialEq)]
pub struct Experiment {
    /// The file's name, without what it ends with.
    pub name: String,
    /// What it shows, in a sentence or a few.
    pub about: String,
    /// At least one; where the file has variants, each is called after it.
    pub variants: Vec<Scenario>,
    /// What is allowed, and probably not intended.
    pub warnings: Vec<Problem>,
}

/// Reads a scenario file.
///
/// # Errors
/// [`LoadError`]; all mistakes of the file at once.
pub fn load(path: &Path) -> Result<Experiment, LoadError> {
    Ok(parse(&weir_config::text_of(path)?, path)?)
}

/// Reads scenarios from text; `file` names it in reports, and traces are looked for beside it.
///
/// # Errors
/// All mistakes at once.
pub fn parse(text: &str, file: &Path) -> Result<Experiment, Problems> {
    let folder = file.parent().unwrap_or(Path::new(""));
    let name =
        file.file_stem().map_or_else(|| "scenario".to_owned(), |stem| stem.to_string_lossy().into_owned());
    let read = |root: &Node, reader: &mut Reader<'_>| experiment(root, &name, reader);
    let ((about, variants), warnings) = weir_config::document::read(text, file, folder, read)?;
    Ok(Experiment { name, about, variants, warnings })
}

fn experiment(root: &Node, name: &str, reader: &mut Reader<'_>) -> Option<(String, Vec<Scenario>)> {
    let fields = reader.fields(root, &keys::ROOT)?;
    let about = about(fields, reader);
    let Some(list) = fields.get("variants") else {
        for (key, example) in REQUIRED {
            fields.require(reader, key, example);
        }
        return Some((about, vec![scenario(fields, name.to_owned(), reader)?]));
    };
    let written = items(list);
    if written.is_empty() || written.len() > VARIANTS_MAX {
        let cause = format!("a scenario has 1 to {VARIANTS_MAX} variants");
        reader.problem(list, &cause, Some("write some, or take `variants` out"));
        return None;
    }
    check_keys(fields, written, reader);
    let mut names = BTreeSet::new();
    let mut variants = Vec::new();
    for node in written {
        let Some(its) = reader.fields(node, &keys::VARIANT) else { continue };
        let its_name =
            its.require(reader, "name", "drain 30 s").and_then(|node| Some((node, reader.text(node)?)));
        if let Some((node, text)) = its_name
            && !names.insert(text)
        {
            reader.problem(
                node,
                &format!("another variant is called {text:?}"),
                Some("give each its own name"),
            );
        }
        let its_name = its_name.map_or("", |(_, text)| text);
        let whole = merged(root, node);
        let Some(fields) = reader.fields(&whole, &keys::ROOT) else { continue };
        variants.extend(scenario(fields, format!("{name}: {its_name}"), reader));
    }
    (variants.len() == written.len()).then_some((about, variants))
}

/// What every scenario says, and how.
const REQUIRED: [(&str, &str); 4] = [
    ("algorithms", "[round_robin, least_outstanding_requests]"),
    ("duration", "60s"),
    ("servers", "[{ count: 10 }]"),
    ("work", "{ distribution: exponential, mean: 10ms }"),
];

/// What the file or each variant has to say is said; what the file says is of use to somebody.
fn check_keys(root: Fields<'_>, variants: &[Node], reader: &mut Reader<'_>) {
    for (key, example) in REQUIRED.iter().filter(|(key, _)| root.get(key).is_none()) {
        let lacking: Vec<&Node> = variants.iter().filter(|variant| variant.get(key).is_none()).collect();
        let places = if lacking.len() == variants.len() { vec![root.node()] } else { lacking };
        for place in places {
            reader.problem(place, &format!("`{key}` is missing"), Some(&format!("write `{key}: {example}`")));
        }
    }
    for key in keys::ROOT.keys.iter().filter(|key| **key != "about") {
        if let Some(node) = root.get(key)
            && variants.iter().all(|variant| variant.get(key).is_some())
        {
            let cause = format!("every variant has `{key}` of its own, so that nobody reads this one");
            reader.warning(node, &cause, Some("take it out"));
        }
    }
}

/// The file with what a variant replaces; who has users of its own does without the file's arrivals, and the other way round.
fn merged(root: &Node, variant: &Node) -> Node {
    let replaces = |key: &str| match key {
        "variants" => true,
        "users" => variant.get("users").is_some() || variant.get("arrivals").is_some(),
        "arrivals" => variant.get("arrivals").is_some() || variant.get("users").is_some(),
        "loads" => variant.get("loads").is_some() || variant.get("users").is_some(),
        key => variant.get(key).is_some(),
    };
    let kept = entries(root).iter().filter(|(key, _)| !replaces(&key.name));
    // Others have been reported.
    let is_its_own = |key: &str| key != "name" && keys::VARIANT.keys.contains(&key);
    let own = entries(variant).iter().filter(|(key, _)| is_its_own(&key.name));
    // What is wrong with all of it is told at the file's beginning, once.
    Node { value: Value::Mapping(kept.chain(own).cloned().collect()), ..root.clone() }
}

fn entries(node: &Node) -> &[(Key, Node)] {
    match &node.value {
        Value::Mapping(entries) => entries,
        Value::Sequence(_) | Value::Scalar(_) => &[],
    }
}

fn about(fields: Fields<'_>, reader: &mut Reader<'_>) -> String {
    let text = fields.get("about").and_then(|node| reader.text(node));
    text.unwrap_or_default().trim().to_owned()
}

/// Reads one scenario. What is missing has been reported.
fn scenario(fields: Fields<'_>, name: String, reader: &mut Reader<'_>) -> Option<Scenario> {
    let seed = fields.get("seed").and_then(|node| reader.number(node, 0..=u64::MAX)).unwrap_or(1);
    let seeds = fields.get("seeds").and_then(|node| reader.number(node, 1..=SEEDS_MAX)).unwrap_or(SEEDS);
    let duration = fields.get("duration").and_then(|node| span(node, DURATION_MIN..=DURATION_MAX, reader));
    let warm_up = warm_up(fields, duration, reader);
    let work = fields.get("work").and_then(|node| work::read(node, reader));
    let servers = fields.get("servers").and_then(|node| servers::read(node, fields, reader));
    let policies = fields.get("algorithms").and_then(|node| policies(node, fields, reader));
    let group = group(fields, policies.as_deref(), reader);
    let dispatchers = sides::dispatchers(fields, servers.as_deref(), reader);
    let network = fields.get("network").and_then(|node| span(node, Duration::ZERO..=NETWORK_MAX, reader));
    let client = sides::client(fields, reader);
    let objective = fields.get("objective").and_then(|node| span(node, DURATION_MIN..=DURATION_MAX, reader));
    let events = events::read(fields, servers.as_deref(), duration, reader);
    let capacity = Capacity::of(servers.as_deref(), work.as_ref(), group.as_ref());
    let keys = fields.get("keys").and_then(|node| sides::keys(node, reader));
    let demand = demand::read(fields, capacity, duration, reader);
    let loads = demand::loads(fields, capacity, reader);
    Some(Scenario {
        about: about(fields, reader),
        seed,
        seeds,
        loads,
        duration: duration?,
        warm_up,
        demand: demand?,
        work: work?,
        keys,
        servers: servers?,
        group: group?,
        policies: policies?,
        dispatchers,
        network: network.unwrap_or_default(),
        client,
        objective,
        events,
        name,
    })
}

fn warm_up(fields: Fields<'_>, duration: Option<u64>, reader: &mut Reader<'_>) -> u64 {
    let Some(node) = fields.get("warm_up") else { return 0 };
    let warm_up = span(node, Duration::ZERO..=DURATION_MAX, reader).unwrap_or_default();
    if duration.is_some_and(|duration| warm_up >= duration) {
        let cause = "nothing is left to be measured: it is over before that";
        reader.problem(node, cause, Some("write less than the `duration`"));
    }
    warm_up
}

fn policies(list: &Node, fields: Fields<'_>, reader: &mut Reader<'_>) -> Option<Vec<Policy>> {
    let choices = Policy::ALL.map(|policy| (policy.name(), policy));
    let mut policies = Vec::new();
    if items(list).is_empty() {
        reader.problem(
            list,
            "nobody picks: the list is empty",
            Some("write `[round_robin]`, or more of them"),
        );
        return None;
    }
    for node in items(list) {
        let Some(policy) = reader.choice(node, &choices) else { continue };
        if policies.contains(&policy) {
            reader.problem(node, &format!("{} is written twice", policy.name()), Some("take it out"));
        }
        if policy.needs_keys() && fields.get("keys").is_none() {
            let cause = format!("{} picks by a request's key, and requests have none", policy.name());
            reader.problem(
                node,
                &cause,
                Some("write `keys: { count: 100000, exponent: 1 }`, or take it out"),
            );
        }
        warn_of_ignorance(node, policy, fields, reader);
        policies.push(policy);
    }
    Some(policies)
}

/// Says so where an algorithm does not learn what it goes by.
fn warn_of_ignorance(node: &Node, policy: Policy, fields: Fields<'_>, reader: &mut Reader<'_>) {
    let name = policy.name();
    let is_old = fields.get("dispatchers").is_some_and(|node| node.get("refresh").is_some());
    if is_old && matches!(policy, Policy::Weir(Algorithm::PeakEwma | Algorithm::Prequal)) {
        let cause = format!(
            "{name} goes by response times, of which dispatchers that look only now and then learn nothing"
        );
        reader.warning(node, &cause, Some("take it out, or `refresh`"));
    }
    let comes_or_goes =
        |event: &Node| ["crash", "start", "stop"].iter().any(|kind| event.get(kind).is_some());
    let changes = fields.get("events").is_some_and(|list| items(list).iter().any(comes_or_goes));
    if changes && matches!(policy, Policy::Laboratory(_)) {
        let cause = format!("{name} knows the servers of the start, and nothing of those that come or go");
        reader.warning(node, &cause, Some("take it out, or see to it that it is not judged by that"));
    }
}

/// What the group is told, which one of the policies at least must heed.
fn group(fields: Fields<'_>, policies: Option<&[Policy]>, reader: &mut Reader<'_>) -> Option<TargetGroup> {
    let Some(node) = fields.get("target_group") else {
        return crate::simulator::plain_definitions(GROUP).target_groups.pop();
    };
    let has = |is: &dyn Fn(Policy) -> bool| {
        policies.is_none_or(|policies| policies.iter().any(|policy| is(*policy)))
    };
    if let Some(hash) = node.get("hash").filter(|_| !has(&|policy| policy.needs_keys())) {
        let remedy = "take it out, or compare maglev, rendezvous or ring_hash, too";
        reader.problem(hash, "none of the algorithms picks by a key", Some(remedy));
    }
    let prequal = Policy::Weir(Algorithm::Prequal);
    if let Some(probe) = node.get("load_probe").filter(|_| !has(&|policy| policy == prequal)) {
        let remedy = "take it out, or compare prequal, too";
        reader.problem(probe, "none of the algorithms asks servers for their load", Some(remedy));
    }
    let weighted = Policy::Weir(Algorithm::WeightedRandom);
    let mitigation = node.get("load_balancing_anomaly_mitigation");
    if let Some(mitigation) = mitigation.filter(|_| !has(&|policy| policy == weighted)) {
        let remedy = "take it out, or compare weighted_random, too";
        reader.problem(mitigation, "anomaly mitigation goes with weighted_random", Some(remedy));
    }
    group_settings(node, GROUP, reader)
}

/// A length of time, in nanoseconds.
pub(super) fn span(
    node: &Node,
    range: std::ops::RangeInclusive<Duration>,
    reader: &mut Reader<'_>,
) -> Option<u64> {
    reader.fine_duration(node, range).map(|span| span.as_nanos() as u64)
}

#[cfg(test)]
mod tests;
