//! What happens to servers meanwhile.

use std::collections::BTreeSet;
use std::time::Duration;

use weir_config::document::{Fields, Node, Reader, items};

use super::read::span;
use super::{Event, ServerKind, keys, servers};

/// Most events.
const EVENTS_MAX: usize = 10_000;

/// How many times as fast a server may become.
const FACTOR_MAX: f64 = 1_000.0;

/// How long an error may take.
const TAKES_MAX: Duration = Duration::from_secs(60 * 60);

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What an event is called, and what it has besides.
const KINDS: [(&str, &[&str]); 6] = [
    ("crash", &[]),
    ("errors", &["share", "takes"]),
    ("recover", &[]),
    ("speed", &["factor"]),
    ("start", &[]),
    ("stop", &[]),
];

/// Reads `events`, in the order of their moments. Where the servers are not known, what events name is not checked.
pub(super) fn read(
    fields: Fields<'_>,
    servers: Option<&[ServerKind]>,
    duration: Option<u64>,
    reader: &mut Reader<'_>,
) -> Vec<(u64, Event)> {
    let Some(list) = fields.get("events") else { return Vec::new() };
    let written = items(list);
    if written.len() > EVENTS_MAX {
        let cause = format!("{} events are more than {EVENTS_MAX}", written.len());
        reader.problem(list, &cause, Some("write fewer"));
        return Vec::new();
    }
    let mut events: Vec<(u64, &Node, Event)> =
        written.iter().filter_map(|node| event(node, duration, reader)).collect();
    // Those of one moment stay in the order in which they are written.
    events.sort_by_key(|(at, ..)| *at);
    // What cannot be read may have been a start.
    if let Some(servers) = servers.filter(|_| events.len() == written.len()) {
        let mut there = There::new(servers);
        for (_, node, event) in &events {
            there.check(node, event, reader);
        }
    }
    events.into_iter().map(|(at, _, event)| (at, event)).collect()
}

fn event<'n>(
    node: &'n Node,
    duration: Option<u64>,
    reader: &mut Reader<'_>,
) -> Option<(u64, &'n Node, Event)> {
    let fields = reader.fields(node, &keys::EVENT)?;
    let at = fields.require(reader, "at", "15s").and_then(|node| {
        let at = span(node, Duration::ZERO..=DAY, reader)?;
        if duration.is_some_and(|duration| at >= duration) {
            reader.problem(node, "the scenario is over by then", Some("write less than its `duration`"));
        }
        Some(at)
    });
    let named: Vec<&(&str, &[&str])> = KINDS.iter().filter(|(kind, _)| fields.get(kind).is_some()).collect();
    let [(kind, own)] = named.as_slice() else {
        let kinds: Vec<&str> = KINDS.iter().map(|(kind, _)| *kind).collect();
        let cause = format!("an event has one of {}", kinds.join(", "));
        reader.problem(node, &cause, Some("write one, `crash: [0]` say, and others at the same moment"));
        return None;
    };
    for key in ["factor", "share", "takes"].iter().filter(|key| !own.contains(key)) {
        if let Some(node) = fields.get(key) {
            reader.problem(node, &format!("`{kind}` has no `{key}`"), Some("take it out"));
        }
    }
    let event = match *kind {
        "start" => {
            let like = fields.get("start").and_then(|node| reader.number(node, 0..=servers::SERVERS_MAX));
            Some(Event::Start { like: like? })
        }
        kind => of_servers(kind, fields, reader),
    };
    Some((at?, node, event?))
}

fn of_servers(kind: &str, fields: Fields<'_>, reader: &mut Reader<'_>) -> Option<Event> {
    let list = fields.get(kind)?;
    if items(list).is_empty() {
        reader.problem(
            list,
            "it happens to nobody: the list is empty",
            Some("write numbers of servers: `[0]`"),
        );
        return None;
    }
    let servers: Option<Vec<u32>> =
        items(list).iter().map(|node| reader.number(node, 0..=servers::SERVERS_MAX)).collect();
    Some(match kind {
        "crash" => Event::Crash { servers: servers? },
        "recover" => Event::Recover { servers: servers? },
        "stop" => Event::Stop { servers: servers? },
        "errors" => {
            let share =
                fields.require(reader, "share", "0.3").and_then(|node| reader.decimal(node, 0.0..=1.0));
            let takes = match fields.get("takes") {
                Some(node) => span(node, Duration::ZERO..=TAKES_MAX, reader),
                None => Some(0),
            };
            Event::Errors { servers: servers?, share: share?, takes: takes? }
        }
        _ => {
            let factor = fields.require(reader, "factor", "0.1");
            let factor = factor.and_then(|node| servers::factor(node, FACTOR_MAX, reader));
            Event::Speed { servers: servers?, factor: factor? }
        }
    })
}

/// Who is there at a moment.
struct There {
    at_start: u32,
    count: u32,
    stopped: BTreeSet<u32>,
}

impl There {
    fn new(servers: &[ServerKind]) -> Self {
        let count = servers.iter().map(|kind| kind.count).sum();
        Self { at_start: count, count, stopped: BTreeSet::new() }
    }

    /// Whether those are there to whom something happens; and who is there after it.
    fn check(&mut self, node: &Node, event: &Event, reader: &mut Reader<'_>) {
        let named = |kind: &str| node.get(kind).unwrap_or(node);
        match event {
            Event::Start { like } => {
                self.is_there(named("start"), *like, reader);
                self.count += 1;
                if self.count == servers::SERVERS_MAX + 1 {
                    let cause =
                        format!("with this one there have been more than {} servers", servers::SERVERS_MAX);
                    reader.problem(node, &cause, Some("start fewer"));
                }
            }
            Event::Stop { servers } => {
                for server in servers {
                    self.is_there(named("stop"), *server, reader);
                    if !self.stopped.insert(*server) {
                        let cause = format!("server {server} has been stopped already");
                        reader.problem(named("stop"), &cause, Some("take it out"));
                    }
                }
            }
            Event::Crash { servers } => self.are_there(named("crash"), servers, reader),
            Event::Errors { servers, .. } => self.are_there(named("errors"), servers, reader),
            Event::Recover { servers } => self.are_there(named("recover"), servers, reader),
            Event::Speed { servers, .. } => self.are_there(named("speed"), servers, reader),
        }
    }

    fn are_there(&self, node: &Node, servers: &[u32], reader: &mut Reader<'_>) {
        for server in servers {
            self.is_there(node, *server, reader);
        }
    }

    fn is_there(&self, list: &Node, server: u32, reader: &mut Reader<'_>) {
        if server < self.count {
            return;
        }
        let number = server.to_string();
        let is_it = |node: &&Node| matches!(&node.value, weir_config::document::Value::Scalar(text) if *text == number);
        let node = items(list).iter().find(is_it).unwrap_or(list);
        let remedy = if self.count > self.at_start {
            format!("servers are 0 to {} then, with those that have started", self.count - 1)
        } else {
            format!("servers are 0 to {} then; `start` brings the next one", self.count - 1)
        };
        reader.problem(node, &format!("there is no server {server} at that moment"), Some(&remedy));
    }
}
