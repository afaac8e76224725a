//! An index over the rules of a listener: what a request costs does not grow with rules for other hosts, or for paths
//! that begin otherwise.
//!
//! A rule stands under the literal end of each host and the literal beginning of each path that it names. A request
//! looks only at the rules under what its own host ends with and its own path begins with, and of those that match takes
//! the first: the one that a look at all of them in order would have found.

use std::collections::BTreeMap;

use super::{Condition, Rule};
use crate::address::ClientAddr;
use crate::head::Head;
use crate::pattern::{PATTERN_BYTES_MAX, Pattern};

/// Where rules stand that may match a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleIndex {
    /// By the ends of hosts, in lower case and back to front; then by the beginnings of paths.
    hosts: Prefixes<Prefixes<Candidates>>,
}

/// Places in the list of rules, ascending.
type Candidates = Vec<u32>;

impl RuleIndex {
    /// An index over `rules`, which are sorted by priority.
    pub fn new<G>(rules: &[Rule<G>]) -> Self {
        let mut hosts: BTreeMap<Vec<u8>, BTreeMap<Vec<u8>, Candidates>> = BTreeMap::new();
        for (at, rule) in rules.iter().enumerate() {
            for host in literals(rule, host_end) {
                let paths = hosts.entry(host).or_default();
                for path in literals(rule, path_start) {
                    paths.entry(path).or_default().push(at as u32);
                }
            }
        }
        let paths_of = |paths| Prefixes::new(paths, |candidates| candidates);
        Self { hosts: Prefixes::new(hosts, paths_of) }
    }

    /// The first of the indexed `rules` that matches.
    pub fn first_match<'r, G>(
        &self,
        rules: &'r [Rule<G>],
        head: &Head<'_>,
        client: ClientAddr,
    ) -> Option<&'r Rule<G>> {
        let mut first = rules.len();
        let mut end = [0; PATTERN_BYTES_MAX];
        self.hosts.each_of(self.back_to_front(head.host, &mut end), |paths| {
            paths.each_of(head.normal_path.as_bytes(), |candidates| {
                let earlier = candidates.iter().map(|at| *at as usize).take_while(|at| *at < first);
                if let Some(at) = earlier.into_iter().find(|at| rules[*at].matches(head, client)) {
                    first = at;
                }
            });
        });
        rules.get(first)
    }

    /// As much of a host's end as patterns can have, back to front in lower case; nothing where no rule asks for a host.
    fn back_to_front<'b>(&self, host: &str, place: &'b mut [u8; PATTERN_BYTES_MAX]) -> &'b [u8] {
        if self.hosts.are_empty() {
            return &[];
        }
        let count = host.len().min(place.len());
        for (byte, of_host) in place.iter_mut().zip(host.bytes().rev()) {
            *byte = of_host.to_ascii_lowercase();
        }
        &place[..count]
    }
}

/// What a request must have for a rule to match, by the condition that `literal_of` knows: one of these, which may be
/// empty. Each once.
fn literals<G>(rule: &Rule<G>, literal_of: fn(&Condition) -> Option<Vec<Vec<u8>>>) -> Vec<Vec<u8>> {
    let mut literals = rule.conditions.iter().find_map(literal_of).unwrap_or_else(|| vec![Vec::new()]);
    literals.sort_unstable();
    literals.dedup();
    literals
}

fn host_end(condition: &Condition) -> Option<Vec<Vec<u8>>> {
    let Condition::HostHeader(patterns) = condition else { return None };
    Some(patterns.iter().map(Pattern::literal_end_reversed).collect())
}

fn path_start(condition: &Condition) -> Option<Vec<Vec<u8>>> {
    let Condition::PathPattern(patterns) = condition else { return None };
    Some(patterns.iter().map(Pattern::literal_start).collect())
}

/// Values by keys, to be found by every key that a text begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Prefixes<T> {
    /// Sorted by key.
    entries: Vec<Entry<T>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry<T> {
    key: Box<[u8]>,
    /// The entry with the longest other key that this key begins with.
    parent: Option<u32>,
    value: T,
}

impl<T> Default for Prefixes<T> {
    fn default() -> Self {
        Self { entries: Vec::new() }
    }
}

impl<T> Prefixes<T> {
    fn new<V>(values: BTreeMap<Vec<u8>, V>, mut value_of: impl FnMut(V) -> T) -> Self {
        let mut entries: Vec<Entry<T>> = Vec::with_capacity(values.len());
        for (key, value) in values {
            let before = entries.len().checked_sub(1).map(|at| at as u32);
            let parent = Self::chain(&entries, before).find(|at| key.starts_with(&entries[*at as usize].key));
            entries.push(Entry { key: key.into(), parent, value: value_of(value) });
        }
        Self { entries }
    }

    /// Visits the value of every key that `text` begins with, the longest first.
    ///
    /// In the order of keys, all that lies between a beginning of a text and the text begins so, too: the keys looked for
    /// are the last one that does not stand behind the text, and beginnings of that.
    fn each_of(&self, text: &[u8], mut visit: impl FnMut(&T)) {
        let behind = self.entries.partition_point(|entry| *entry.key <= *text);
        for at in Self::chain(&self.entries, behind.checked_sub(1).map(|at| at as u32)) {
            let entry = &self.entries[at as usize];
            if text.starts_with(&entry.key) {
                visit(&entry.value);
            }
        }
    }

    /// An entry, its parent, and so on.
    fn chain(entries: &[Entry<T>], from: Option<u32>) -> impl Iterator<Item = u32> {
        std::iter::successors(from, |at| entries[*at as usize].parent)
    }

    /// Whether there is no other key than the empty one.
    fn are_empty(&self) -> bool {
        self.entries.iter().all(|entry| entry.key.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::pattern::Case;
    use crate::rule::{Action, FixedResponse, Priority};

    fn patterns(list: &[String], case: Case) -> Vec<Pattern> {
        list.iter().map(|pattern| Pattern::parse(pattern, case).unwrap()).collect()
    }

    fn regex(path: &str) -> Pattern {
        let text = path.replace('*', ".*").replace('?', ".");
        let anchor = if text.starts_with('/') { "^" } else { "" };
        Pattern::parse_regex(&format!("{anchor}{text}"), Case::Sensitive).unwrap()
    }

    /// A rule for any of these hosts and paths; for any host or path at all where there are none.
    fn rule(at: usize, hosts: &[String], paths: &[String]) -> Rule<()> {
        let host = (!hosts.is_empty()).then(|| Condition::HostHeader(patterns(hosts, Case::Insensitive)));
        // Every third path is a regular expression, anchored where it begins with a slash.
        let path = (!paths.is_empty()).then(|| match at % 3 {
            2 => Condition::PathPattern(paths.iter().map(|path| regex(path)).collect()),
            _ => Condition::PathPattern(patterns(paths, Case::Sensitive)),
        });
        let nothing = FixedResponse { status: 200, content_type: None, body: String::new() };
        Rule {
            priority: Priority::new(at as u16 + 1).unwrap(),
            conditions: host.into_iter().chain(path).collect(),
            action: Action::FixedResponse(nothing.into()),
            transforms: None,
            provenance: None,
        }
    }

    fn head<'a>(host: &'a str, path: &'a str, headers: &'a Vec<(String, String)>) -> Head<'a> {
        Head { scheme: "http", method: "GET", host, port: 80, path, normal_path: path, query: None, headers }
    }

    /// The number of the rule that the index finds, and of the one that a look at all of them finds.
    fn found(rules: &[Rule<()>], host: &str, path: &str) -> (Option<u16>, Option<u16>) {
        let client = ClientAddr("127.0.0.1:9".parse().unwrap());
        let headers = Vec::new();
        let head = head(host, path, &headers);
        let number = |rule: &Rule<()>| rule.priority.get();
        let indexed = RuleIndex::new(rules).first_match(rules, &head, client);
        let naive = rules.iter().find(|rule| rule.matches(&head, client));
        (indexed.map(number), naive.map(number))
    }

    proptest! {
        // Conformance: A2.0.2
        #[test]
        fn the_index_finds_what_a_look_at_every_rule_in_order_finds(
            rules in prop::collection::vec(
                (prop::collection::vec("[aAb.*?]{1,5}", 0..3), prop::collection::vec("[/ab*?]{1,5}", 0..3)),
                0..40,
            ),
            requests in prop::collection::vec(("[aAb.]{0,5}", "/[ab/]{0,5}"), 20),
        ) {
            let rules: Vec<_> = rules.iter().enumerate().map(|(at, (h, p))| rule(at, h, p)).collect();
            for (host, path) in requests {
                let (indexed, naive) = found(&rules, &host, &path);
                prop_assert_eq!(indexed, naive, "{} {}", host, path);
            }
        }
    }

    #[test]
    fn a_host_longer_than_any_pattern_is_found_by_its_end() {
        let rules = [rule(0, &["a.example".into()], &[]), rule(1, &["*.example".into()], &[])];
        let long = format!("{}.EXAMPLE", "x".repeat(300));
        assert_eq!(found(&rules, &long, "/"), (Some(2), Some(2)));
    }

    #[test]
    fn a_request_looks_at_no_rule_of_another_host_or_path() {
        let of_path = |at: usize| rule(at, &[], &[format!("/{at}/*")]);
        let of_host = |at: usize| rule(at, &[format!("h{at}.example")], &["/*".into()]);
        let paths: Vec<_> = (0..1000).map(of_path).collect();
        let hosts: Vec<_> = (0..1000).map(of_host).collect();
        for (rules, host, path) in [(paths, "a.example", "/700/x"), (hosts, "h700.example", "/x")] {
            let index = RuleIndex::new(&rules);
            let mut looked_at = 0;
            let mut end = [0; PATTERN_BYTES_MAX];
            index.hosts.each_of(index.back_to_front(host, &mut end), |paths| {
                paths.each_of(path.as_bytes(), |candidates| looked_at += candidates.len());
            });
            assert_eq!(looked_at, 1, "{host} {path}");
            assert_eq!(found(&rules, host, path), (Some(701), Some(701)));
        }
    }
}
