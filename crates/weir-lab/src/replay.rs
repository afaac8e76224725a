//! What a configuration would have done with requests that were logged: which match another rule, or go to another group or target.
//!
//! A log has no header fields but the host and the client's name for itself, and no cookies: rules that ask for others, and clients
//! that stick, are decided as if there were none.

use std::collections::BTreeMap;
use std::sync::Arc;

use weir_core::address::ClientAddr;
use weir_core::balance::WorkerState;
use weir_core::definition::{Definitions, ListenerKind};
use weir_core::explain::{Explanation, explain};
use weir_core::head::{Head, split_host_port};
use weir_core::path::normal_form;
use weir_core::reconcile::{Event, State, reconcile};
use weir_core::rule::Action;
use weir_core::snapshot::{GroupIndex, Listener, Snapshot};
use weir_core::time::{Moment, Timestamp};

use crate::access_log::Entry;

/// A configuration, as if every target that it names were healthy.
#[derive(Debug)]
pub struct World {
    snapshot: Arc<Snapshot>,
}

/// What is done with a request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Treatment {
    /// `rule 10`, `the default rule`; or why none is looked at.
    pub rule: String,
    /// `forward to api`, `redirect`, `fixed-response`.
    pub action: String,
}

/// Requests that are treated otherwise than they were.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changed {
    /// How many.
    pub count: u64,
    /// The first few of them.
    pub examples: Vec<String>,
}

/// What came of a log.
#[derive(Debug, Default)]
pub struct Replay {
    /// Requests that were compared.
    pub requests: u64,
    /// By what was done and would be done.
    pub treatments: BTreeMap<(Treatment, Treatment), Changed>,
    /// By the target that had them and what would become of that: of requests that are treated as they were.
    pub targets: BTreeMap<(String, String), Changed>,
}

/// Examples that are kept of each change.
const EXAMPLES: usize = 3;

impl World {
    /// What the definitions come to.
    pub fn new(definitions: Definitions) -> Self {
        let mut state = State::new();
        let mut snapshot = Arc::new(Snapshot::default());
        let mut apply = |event| {
            if let Some(next) = reconcile(&mut state, event, Timestamp::default()).snapshot {
                next.groups().flat_map(|group| group.unbuilt()).for_each(|table| table.build());
                snapshot = Arc::new(next);
            }
            snapshot.clone()
        };
        let registered = apply(Event::Definitions(Arc::new(definitions)));
        let passes = registered.members().map(|(_, member)| (member.target.serial, Ok(()))).collect();
        Self { snapshot: apply(Event::Verdicts(passes)) }
    }

    /// The listener that a logged request would have come to: of its load balancer, or of any where that is not there; at the port of
    /// its URL, or the first.
    fn listener(&self, entry: &Entry, port: Option<u16>) -> Option<&Arc<Listener>> {
        let is_http = |listener: &&Arc<Listener>| !matches!(listener.kind, ListenerKind::Network { .. });
        let all: Vec<&Arc<Listener>> = self.snapshot.listeners().filter(is_http).collect();
        let own: Vec<_> = all
            .iter()
            .copied()
            .filter(|listener| listener.load_balancer.to_string() == entry.load_balancer)
            .collect();
        let candidates = if own.is_empty() { all } else { own };
        let at_port = candidates.iter().find(|listener| Some(listener.bind.0.port()) == port);
        at_port.or(candidates.first()).copied()
    }

    /// What becomes of a request, and the target that it would go to where its hash decides.
    fn treat(&self, entry: &Entry) -> (Treatment, Fate) {
        let request = Request::of(entry);
        let Some(listener) = self.listener(entry, request.port) else {
            let treatment = Treatment { rule: "no listener".to_owned(), action: "nothing".to_owned() };
            return (treatment, Fate::Anybody);
        };
        let head = request.head(listener);
        // Seeded alike for each: draws are those of nobody in particular.
        let mut worker = WorkerState::seeded(0);
        let client = ClientAddr(entry.client);
        let explained = explain(&self.snapshot, listener, &head, client, &mut worker, Moment::default());
        let rule = match explained.rule {
            Some(rule) => format!("rule {}", rule.priority.get()),
            None if matches!(listener.kind, ListenerKind::Application { .. }) => {
                "the default rule".to_owned()
            }
            None => "no rules".to_owned(),
        };
        let action = self.action(&explained, entry);
        (Treatment { rule, action }, fate(&explained, entry))
    }

    /// A forward to several groups is to that which the request went to, if it is one of them.
    fn action(&self, explained: &Explanation<'_>, entry: &Entry) -> String {
        let Some(Action::Forward(forward)) = explained.action.map(behind_login) else {
            return match (explained.action, explained.fate.group()) {
                (Some(Action::Redirect(_)), _) => "redirect".to_owned(),
                (Some(Action::FixedResponse(_)), _) => "fixed-response".to_owned(),
                (_, Some(group)) => format!("forward to {}", group.settings.name),
                _ => "forward to nobody".to_owned(),
            };
        };
        let name =
            |index: &GroupIndex| self.snapshot.group(*index).map(|group| group.settings.name.to_string());
        let names: Vec<String> = forward
            .groups
            .iter()
            .filter(|(_, weight)| *weight > 0)
            .filter_map(|(index, _)| name(index))
            .collect();
        match &entry.target_group {
            Some(logged) if names.contains(logged) => format!("forward to {logged}"),
            _ => format!("forward to {}", names.join(" or ")),
        }
    }
}

/// What is done with whoever has logged in.
fn behind_login(action: &Action<GroupIndex>) -> &Action<GroupIndex> {
    match action {
        Action::Authenticate(asked) => behind_login(&asked.then),
        other => other,
    }
}

/// Where a request would go.
enum Fate {
    /// To any target of its group, and the one that had it may be that.
    Anybody,
    /// To that target, for its hash.
    Hashed(String),
    /// Not to the one that had it, which is not in the group.
    Gone,
}

fn fate(explained: &Explanation<'_>, entry: &Entry) -> Fate {
    let (Some(group), Some(logged)) = (explained.fate.group(), entry.target) else { return Fate::Anybody };
    // A group that follows tasks has no targets here.
    if group.members.is_empty() {
        return Fate::Anybody;
    }
    if !group.members.iter().any(|member| member.target.addr.0 == logged) {
        return Fate::Gone;
    }
    match &explained.fate {
        weir_core::explain::Fate::Forward { target, .. } if group.settings.algorithm.hashes() => {
            Fate::Hashed(target.addr.to_string())
        }
        _ => Fate::Anybody,
    }
}

/// A logged request, taken apart.
struct Request<'e> {
    entry: &'e Entry,
    scheme: &'static str,
    host: &'e str,
    port: Option<u16>,
    path: &'e str,
    query: Option<&'e str>,
    normal_path: String,
    headers: Vec<(String, String)>,
}

impl<'e> Request<'e> {
    fn of(entry: &'e Entry) -> Self {
        let (scheme, rest) = entry.url.split_once("://").unwrap_or(("http", &entry.url));
        let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        let (host, port) = split_host_port(authority);
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        let normal_path = normal_form(path.as_bytes()).unwrap_or_else(|| path.to_owned());
        let mut headers = vec![("host".to_owned(), authority.to_owned())];
        if !entry.user_agent.is_empty() {
            headers.push(("user-agent".to_owned(), entry.user_agent.clone()));
        }
        let scheme = if matches!(scheme, "https" | "wss" | "grpcs") { "https" } else { "http" };
        Self { entry, scheme, host, port, path, query, normal_path, headers }
    }

    fn head(&self, listener: &Listener) -> Head<'_> {
        Head {
            scheme: self.scheme,
            method: &self.entry.method,
            host: self.host,
            port: self.port.unwrap_or(listener.bind.0.port()),
            path: self.path,
            normal_path: &self.normal_path,
            query: self.query,
            headers: &self.headers,
        }
    }
}

/// What the log says was done.
fn logged(entry: &Entry) -> Treatment {
    let rule = match entry.rule.as_deref() {
        Some("0") => "the default rule".to_owned(),
        Some(priority) => format!("rule {priority}"),
        None => "no rules".to_owned(),
    };
    let last = entry.actions.rsplit(',').next().unwrap_or_default();
    let action = match (&entry.target_group, last) {
        (Some(group), _) => format!("forward to {group}"),
        (None, "forward" | "waf,forward" | "") => "forward to nobody".to_owned(),
        (None, other) => other.to_owned(),
    };
    Treatment { rule, action }
}

impl Replay {
    /// Compares a request with what `new` would do: with what `old` would have done, or with what the log says.
    pub fn add(&mut self, entry: &Entry, new: &World, old: Option<&World>) {
        let was = old.map_or_else(|| logged(entry), |old| old.treat(entry).0);
        let (is, fate) = new.treat(entry);
        self.requests += 1;
        // A log that has no group, of a Classic Load Balancer say, is silent about it.
        let is_silent = old.is_none() && entry.target_group.is_none() && entry.target.is_some();
        if was.rule != is.rule || (was.action != is.action && !is_silent) {
            note(self.treatments.entry((was, is)).or_default(), entry);
            return;
        }
        let Some(target) = entry.target.map(|target| target.to_string()) else { return };
        match fate {
            Fate::Anybody => {}
            Fate::Hashed(other) if other == target => {}
            Fate::Hashed(other) => note(self.targets.entry((target, other)).or_default(), entry),
            Fate::Gone => note(
                self.targets.entry((target, "another one: it is not in the group".to_owned())).or_default(),
                entry,
            ),
        }
    }

    /// Requests that are treated otherwise, or go to another target.
    pub fn changed(&self) -> u64 {
        self.treatments.values().chain(self.targets.values()).map(|changed| changed.count).sum()
    }
}

fn note(changed: &mut Changed, entry: &Entry) {
    changed.count += 1;
    if changed.examples.len() < EXAMPLES {
        changed.examples.push(format!("{} {} from {}", entry.method, entry.url, entry.client.ip()));
    }
}

#[cfg(test)]
mod tests;
