//! Rules and their conditions.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use ipnet::IpNet;
use weir_core::name::GroupName;
use weir_core::path::normal_form;
use weir_core::pattern::{Case, Pattern, PatternError};
use weir_core::rule::{Action, Condition, Priority, QueryPattern, Rewrite, Rule, Transforms};

use super::{Groups, action, list};
use crate::keys;
use crate::read::{Fields, Reader, items};
use crate::tree::{Node, Value};

/// AWS's quotas, which weir only notes.
const RULES_QUOTA: usize = 100;
const VALUES_QUOTA: usize = 5;

/// Longest name of a header, or of a method.
const TOKEN_BYTES_MAX: usize = 40;

/// Reads all rules of a listener, sorted by priority.
pub(super) fn read_all(
    nodes: &[Node],
    is_tls: bool,
    groups: &mut Groups<'_>,
    reader: &mut Reader<'_>,
) -> Vec<Rule<GroupName>> {
    let mut lines: BTreeMap<Priority, usize> = BTreeMap::new();
    let mut rules: Vec<(&Node, Rule<GroupName>)> = Vec::new();
    for node in nodes {
        let Some((at, rule)) = read(node, is_tls, groups, reader) else { continue };
        if let Some(line) = lines.insert(rule.priority, at.position.line) {
            let cause =
                format!("another rule of this listener has priority {}, on line {line}", rule.priority);
            reader.problem(at, &cause, Some("a priority is unique within its listener"));
        }
        rules.push((node, rule));
    }
    if let (true, Some(first)) = (nodes.len() > RULES_QUOTA, nodes.first()) {
        let cause = format!("this listener has {} rules; AWS's quota is {RULES_QUOTA}", nodes.len());
        reader.warning(first, &cause, None);
    }
    rules.sort_by_key(|(_, rule)| rule.priority);
    warn_of_shadows(&rules, reader);
    rules.into_iter().map(|(_, rule)| rule).collect()
}

/// A rule that stands behind one with the same conditions, or behind one that matches every path, never matches.
fn warn_of_shadows(rules: &[(&Node, Rule<GroupName>)], reader: &mut Reader<'_>) {
    let mut first_with = HashMap::new();
    let mut of_any_path = None;
    for entry @ (node, rule) in rules {
        let same = *first_with.entry(format!("{:?}", rule.conditions)).or_insert(entry);
        let shadow = of_any_path.or((same.1.priority != rule.priority).then_some(same));
        if let Some((first, before)) = shadow {
            let cause = format!(
                "this rule never matches: rule {} on line {} takes everything first",
                before.priority, first.position.line
            );
            reader.warning(node, &cause, Some("change its priority or its conditions"));
        }
        if matches!(rule.conditions.as_slice(), [only] if is_any_path(only)) {
            of_any_path = of_any_path.or(Some(entry));
        }
    }
}

fn is_any_path(condition: &Condition) -> bool {
    matches!(condition, Condition::PathPattern(patterns)
        if patterns.iter().any(|pattern| matches!(pattern.as_str(), "*" | "/*")))
}

fn read<'n>(
    node: &'n Node,
    is_tls: bool,
    groups: &mut Groups<'_>,
    reader: &mut Reader<'_>,
) -> Option<(&'n Node, Rule<GroupName>)> {
    let fields = reader.fields(node, &keys::RULE)?;
    let priority_node = fields.require(reader, "priority", "10");
    let priority =
        priority_node.and_then(|node| reader.number(node, 1..=Priority::MAX)).and_then(Priority::new);
    let mut conditions = Vec::new();
    for node in list(fields, "conditions") {
        conditions.extend(condition(node, reader));
    }
    if fields.get("conditions").is_none_or(|node| items(node).is_empty()) {
        let remedy = "what should match everything is the listener's `default_action`";
        reader.problem(fields.node(), "a rule needs a condition", Some(remedy));
    }
    let unique: fn(&Condition) -> bool =
        |c| !matches!(c, Condition::HttpHeader { .. } | Condition::QueryString(_));
    for (at, repeated) in conditions.iter().enumerate().filter(|(_, c)| unique(c)) {
        if conditions[..at].iter().any(|c| std::mem::discriminant(c) == std::mem::discriminant(repeated)) {
            let cause = format!("a rule has one {} condition", repeated.as_str());
            reader.problem(fields.node(), &cause, Some("put all values into one"));
        }
    }
    let actions = fields.require(reader, "actions", "[{ forward: web }]");
    let action = actions.and_then(|node| action::read_all(node, is_tls, groups, reader));
    let transforms = fields.get("transforms").and_then(|node| transforms(node, action.as_ref(), reader));
    let (priority, action) = (priority?, action?);
    Some((priority_node?, Rule { priority, conditions, action, transforms, provenance: None }))
}

/// At most one rewrite of each kind, of what a rule forwards.
fn transforms(
    node: &Node,
    action: Option<&Action<GroupName>>,
    reader: &mut Reader<'_>,
) -> Option<Arc<Transforms>> {
    let (mut host, mut url) = (None, None);
    for node in items(node) {
        let Some(fields) = reader.fields(node, &keys::TRANSFORM) else { continue };
        let kinds = [("host_header_rewrite", &mut host), ("url_rewrite", &mut url)];
        if fields.is_empty() {
            let remedy = "write `url_rewrite` or `host_header_rewrite`";
            reader.problem(node, "a transform needs something to rewrite", Some(remedy));
        }
        for (key, place) in kinds {
            let Some(node) = fields.get(key) else { continue };
            if place.is_some() {
                reader.problem(node, &format!("a rule has one {key}"), Some("make one expression of them"));
            }
            *place = rewrite(node, reader);
        }
    }
    let routes = action.map(|action| match action {
        Action::Authenticate(asked) => &asked.then,
        action => action,
    });
    if routes.is_some_and(|action| !matches!(action, Action::Forward(_))) {
        let cause = "transforms change what targets are asked for, and this rule forwards nothing";
        reader.problem(node, cause, Some("leave them out, or forward"));
    }
    (host.is_some() || url.is_some()).then(|| Arc::new(Transforms { host, url }))
}

fn rewrite(node: &Node, reader: &mut Reader<'_>) -> Option<Rewrite> {
    let fields = reader.fields(node, &keys::REWRITE)?;
    let regex = fields.require(reader, "regex", "\"^/old/(.*)$\"");
    let replacement = fields.require(reader, "replace", "\"/new/$1\"");
    // In place of what is to go: nothing.
    let replacement = match &replacement?.value {
        Value::Scalar(text) => text,
        Value::Mapping(_) | Value::Sequence(_) => reader.text(replacement?)?,
    };
    let rewrite = Rewrite::new(reader.text(regex?)?, replacement);
    rewrite.map_err(|error| reader.problem(node, &format!("the rewrite cannot be: {error}"), None)).ok()
}

fn condition(node: &Node, reader: &mut Reader<'_>) -> Vec<Condition> {
    let Some(fields) = reader.fields(node, &keys::CONDITION) else { return Vec::new() };
    let mut conditions = Vec::new();
    if let Some(node) = fields.get("host_header") {
        conditions.push(Condition::HostHeader(patterns(node, Case::Insensitive, reader)));
        for node in with_wildcards(node) {
            warn_of_port(node, reader);
        }
    }
    if let Some(node) = fields.get("path_pattern") {
        conditions.push(Condition::PathPattern(patterns(node, Case::Sensitive, reader)));
        for node in with_wildcards(node) {
            warn_of_path(node, reader);
        }
    }
    if let Some(node) = fields.get("http_header") {
        conditions.extend(http_header(node, reader));
    }
    if let Some(node) = fields.get("http_request_method") {
        conditions.push(Condition::HttpRequestMethod(values(node, reader, method)));
    }
    if let Some(node) = fields.get("query_string") {
        conditions.push(Condition::QueryString(values(node, reader, query_pair)));
    }
    if let Some(node) = fields.get("source_ip") {
        conditions.push(Condition::SourceIp(values(node, reader, network)));
    }
    if fields.is_empty() {
        let remedy = format!("write one of {}", keys::CONDITION.keys.join(", "));
        reader.problem(node, "a condition needs something to look at", Some(&remedy));
    }
    conditions
}

/// The values of a condition; at least one.
fn values<T>(
    node: &Node,
    reader: &mut Reader<'_>,
    read: impl Fn(&Node, &mut Reader<'_>) -> Option<T>,
) -> Vec<T> {
    let nodes = items(node);
    if nodes.is_empty() {
        reader.problem(node, "a condition needs a value", None);
    }
    if nodes.len() > VALUES_QUOTA {
        let cause =
            format!("this condition has {} values; AWS's quota is {VALUES_QUOTA} for a rule", nodes.len());
        reader.warning(node, &cause, None);
    }
    nodes.iter().filter_map(|node| read(node, reader)).collect()
}

/// A list of patterns, or a mapping with either kind of them.
fn patterns(node: &Node, case: Case, reader: &mut Reader<'_>) -> Vec<Pattern> {
    match &node.value {
        Value::Mapping(_) => match reader.fields(node, &keys::PATTERNS) {
            Some(fields) => either_patterns(fields, case, reader),
            None => Vec::new(),
        },
        Value::Sequence(_) | Value::Scalar(_) => {
            values(node, reader, |node, reader| pattern(node, case, Pattern::parse, reader))
        }
    }
}

/// Patterns with wildcards from `values`, or regular expressions from `regex_values`.
fn either_patterns(fields: Fields<'_>, case: Case, reader: &mut Reader<'_>) -> Vec<Pattern> {
    let (parse, node): (Parse, _) = match (fields.get("values"), fields.get("regex_values")) {
        (Some(_), Some(node)) => {
            let both = "a condition has `values` or `regex_values`, not both";
            reader.problem(node, both, Some("write all of them as regular expressions, or two rules"));
            return Vec::new();
        }
        (None, Some(node)) => (Pattern::parse_regex, Some(node)),
        (_, None) => (Pattern::parse, fields.require(reader, "values", "[blue]")),
    };
    let read = |node: &Node, reader: &mut Reader<'_>| pattern(node, case, parse, reader);
    node.map(|node| values(node, reader, read)).unwrap_or_default()
}

/// The patterns of a condition that have wildcards: those that are no regular expressions.
fn with_wildcards(node: &Node) -> &[Node] {
    match &node.value {
        Value::Mapping(entries) => {
            let values = entries.iter().find(|(key, _)| key.name == "values");
            values.map(|(_, node)| items(node)).unwrap_or_default()
        }
        Value::Sequence(_) | Value::Scalar(_) => items(node),
    }
}

/// Says so of a path that no request has: rules see paths in their normal form.
fn warn_of_path(node: &Node, reader: &mut Reader<'_>) {
    let Value::Scalar(text) = &node.value else { return };
    if let Some(normal) = normal_form(text.as_bytes()) {
        let cause = format!("no path is like {text:?}: rules see paths in their normal form");
        reader.warning(node, &cause, Some(&format!("write {normal:?}")));
    } else if !text.starts_with(['/', '*', '?']) {
        let cause = format!("no path is like {text:?}: every path begins with `/`");
        reader.warning(node, &cause, Some(&format!("write \"/{text}\"")));
    }
}

/// Says so of a host with a port, which hosts are compared without.
fn warn_of_port(node: &Node, reader: &mut Reader<'_>) {
    let Value::Scalar(text) = &node.value else { return };
    if let Some((host, port)) = text.rsplit_once(':')
        && port.bytes().all(|byte| byte.is_ascii_digit())
        && !text.ends_with(']')
    {
        let cause = format!("no host is like {text:?}: hosts are compared without their port");
        reader.warning(node, &cause, Some(&format!("write {host:?}")));
    }
}

/// How a pattern is compiled.
type Parse = fn(&str, Case) -> Result<Pattern, PatternError>;

fn pattern(node: &Node, case: Case, parse: Parse, reader: &mut Reader<'_>) -> Option<Pattern> {
    let text = reader.text(node)?;
    match parse(text, case) {
        Ok(pattern) => Some(pattern),
        Err(error) => {
            reader.problem(node, &format!("the pattern {error}"), None);
            None
        }
    }
}

fn http_header(node: &Node, reader: &mut Reader<'_>) -> Option<Condition> {
    let fields = reader.fields(node, &keys::HTTP_HEADER)?;
    let name_node = fields.require(reader, "name", "X-Env");
    let name = name_node.and_then(|node| reader.text(node)).map(str::to_ascii_lowercase);
    if let (Some(name), Some(node)) = (&name, name_node) {
        if !is_token(name) {
            reader.problem(node, &format!("{name:?} is not a header's name"), Some("write it like `X-Env`"));
        } else if name == "host" {
            reader.problem(node, "the host is matched by host_header", Some("use `host_header: [...]`"));
        }
    }
    let values = either_patterns(fields, Case::Insensitive, reader);
    Some(Condition::HttpHeader { name: name?, values })
}

fn is_token(text: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    text.len() <= TOKEN_BYTES_MAX && text.bytes().all(allowed)
}

fn method(node: &Node, reader: &mut Reader<'_>) -> Option<String> {
    let text = reader.text(node)?;
    let is_method = text.len() <= TOKEN_BYTES_MAX
        && text.bytes().all(|b| b.is_ascii_uppercase() || matches!(b, b'-' | b'_'));
    if !is_method {
        reader.problem(node, &format!("{text:?} is not a method"), Some("methods are upper case: GET"));
    }
    is_method.then(|| text.to_owned())
}

/// `{ key: k, value: v }`, or `k=v`, or a bare value under any key.
fn query_pair(node: &Node, reader: &mut Reader<'_>) -> Option<QueryPattern> {
    if let Value::Scalar(text) = &node.value {
        let (key, value) = match text.split_once('=') {
            Some((key, value)) => (Some(key), value),
            None => (None, text.as_str()),
        };
        let mut part = |text: &str| match Pattern::parse(text, Case::Insensitive) {
            Ok(pattern) => Some(pattern),
            Err(error) => {
                reader.problem(node, &format!("the pattern {text:?} {error}"), None);
                None
            }
        };
        let key = match key {
            Some(key) => Some(part(key)?),
            None => None,
        };
        return Some(QueryPattern { key, value: part(value)? });
    }
    let fields = reader.fields(node, &keys::QUERY_PAIR)?;
    let key = fields.get("key").map(|node| pattern(node, Case::Insensitive, Pattern::parse, reader));
    let value = fields
        .require(reader, "value", "\"1\"")
        .and_then(|node| pattern(node, Case::Insensitive, Pattern::parse, reader));
    match key {
        Some(key) => Some(QueryPattern { key: Some(key?), value: value? }),
        None => Some(QueryPattern { key: None, value: value? }),
    }
}

fn network(node: &Node, reader: &mut Reader<'_>) -> Option<IpNet> {
    reader.parsed(node, "a network", "10.0.0.0/8")
}
