//! Why a request goes where it goes, as plain values.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use weir_control::Handle;
use weir_core::address::ClientAddr;
use weir_core::balance::WorkerState;
use weir_core::comparison::Arm;
use weir_core::definition::ListenerKind;
use weir_core::explain::{Candidate, Explanation, Fate, Hashed, Tried, candidates, explain};
use weir_core::head::{Head, split_host_port};
use weir_core::path::normal_form;
use weir_core::rule::Action;
use weir_core::snapshot::{Group, GroupIndex, Listener, Snapshot};
use weir_core::sticky::StickinessKind;
use weir_core::time::{Moment, Timestamp};

use crate::view::{TargetView, target_view};

/// A request that is asked about.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// Its method, as sent.
    pub method: String,
    /// An absolute URL, or a path.
    pub url: String,
    /// Its header fields. A `Host` goes before the URL's host.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
    /// Where it comes from; loopback if it is not said.
    pub client: Option<IpAddr>,
    /// The listener, `edge:8080` or its address, where the URL does not say it.
    pub listener: Option<String>,
}

/// What becomes of it, and why.
#[derive(Clone, Debug, Serialize)]
pub struct Explained {
    /// The request as rules see it: method, URL and client.
    pub request: String,
    /// The path that rules match, where it is written otherwise than in the request.
    pub normal_path: Option<String>,
    /// The load balancer and its listener.
    pub load_balancer: String,
    /// Where that accepts connections.
    pub listener: String,
    /// The rules that were tried, by priority.
    pub rules: Vec<TriedView>,
    /// Rules behind the one that matched, at which nobody looks.
    pub untried_rules: usize,
    /// The priority of the rule that matched, or `default`.
    pub rule: String,
    /// How the rule asks who it is before its action: `jwt_validation` or `authenticate_oidc`, if it does. What follows is
    /// what becomes of a request that passes.
    pub authentication: Option<&'static str>,
    /// `forward`, `redirect`, `fixed-response`, or `authenticate` for the end of a login.
    pub action: &'static str,
    /// What the target is asked for instead.
    pub transforms: Option<String>,
    /// The groups of a forward, with their weights and what part of the requests each gets.
    pub target_groups: Vec<ShareView>,
    /// What the request's cookies came to; `None` where clients stick to nothing.
    pub stickiness: Option<&'static str>,
    /// What of the request is hashed, where that decides.
    pub hash: Option<String>,
    /// The algorithm of the group.
    pub algorithm: Option<&'static str>,
    /// Every target of the group, as its algorithm sees it.
    pub targets: Vec<CandidateView>,
    /// The id of the target that would be picked now.
    pub picked: Option<String>,
    /// What that means for the client, in a sentence.
    pub outcome: String,
}

/// A rule that was tried.
#[derive(Clone, Debug, Serialize)]
pub struct TriedView {
    /// Its priority.
    pub priority: String,
    /// Whether it matches.
    pub matches: bool,
    /// Its conditions, and whether each matches.
    pub conditions: Vec<(String, bool)>,
    /// Whose labels it is made of; `None` when it is written in the configuration.
    pub provenance: Option<String>,
}

/// A group of a forward.
#[derive(Clone, Debug, Serialize)]
pub struct ShareView {
    /// Its name.
    pub name: String,
    /// Its weight.
    pub weight: u16,
    /// Its part of all weights: 0 to 1.
    pub share: f64,
    /// Whether it was drawn this time.
    pub is_drawn: bool,
}

/// A target of the group.
#[derive(Clone, Debug, Serialize)]
pub struct CandidateView {
    /// The target.
    #[serde(flatten)]
    pub target: TargetView,
    /// The part of its turns that it takes while it starts slowly.
    pub share_of_turns: Option<f64>,
    /// Whether it may have one more request.
    pub has_room: bool,
    /// Whether it has no more under way than what is hashed to it may have.
    pub is_within_bounds: bool,
    /// Requests in flight relative to its weight, with this one, where that decides.
    pub load: Option<f64>,
    /// Seconds that one more request would take by what weir counts, where probes decide and that is known.
    pub estimate_seconds: Option<f64>,
}

/// Answers a question that was posted.
pub(crate) async fn answer(State(handle): State<Handle>, Json(question): Json<Question>) -> Response {
    let now = handle.clock.now();
    let moment = Moment { now, wall_seconds: handle.clock.wall_seconds(now) };
    let seed = handle.snapshot().generation ^ now.as_nanos();
    match Explained::of(&question, &handle.snapshot(), moment, seed) {
        Ok(explained) => Json(explained).into_response(),
        Err(problem) => (StatusCode::UNPROCESSABLE_ENTITY, problem).into_response(),
    }
}

impl Explained {
    /// What becomes of a request now. `seed` draws where a draw decides.
    ///
    /// # Errors
    /// When no listener, or more than one, is asked for.
    pub fn of(question: &Question, snapshot: &Snapshot, moment: Moment, seed: u64) -> Result<Self, String> {
        let url = Url::parse(&question.url)?;
        let listener = listener(question, &url, snapshot)?;
        let own = question.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("host"));
        let (host, _) = split_host_port(own.map_or(url.authority, |(_, host)| host));
        let normal = normal_form(url.path.as_bytes());
        let head = Head {
            scheme: if listener.kind.tls().is_some() { "https" } else { "http" },
            method: &question.method,
            host,
            port: listener.bind.port(),
            path: url.path,
            normal_path: normal.as_deref().unwrap_or(url.path),
            query: url.query,
            headers: &question.headers,
        };
        let client = question.client.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let address = ClientAddr(SocketAddr::new(client, 0));
        let mut worker = WorkerState::seeded(seed);
        let explanation = explain(snapshot, listener, &head, address, &mut worker, moment);
        let query = url.query.map(|query| format!("?{query}")).unwrap_or_default();
        let request = format!("{head:?}{query} from {client}");
        Ok(Self::new(&explanation, snapshot, listener, request, moment.now).with_normal_path(normal))
    }

    fn with_normal_path(self, normal_path: Option<String>) -> Self {
        Self { normal_path, ..self }
    }

    fn new(
        explanation: &Explanation<'_>,
        snapshot: &Snapshot,
        listener: &Listener,
        request: String,
        now: Timestamp,
    ) -> Self {
        let Explanation {
            tried,
            untried,
            rule,
            authentication,
            action,
            transforms,
            affinity,
            arm,
            hashed,
            fate,
        } = explanation;
        let group = fate.group();
        let picked = match fate {
            Fate::Forward { target, .. } => Some(target),
            _ => None,
        };
        let stickiness = affinity.map(|affinity| match (affinity.pinned(), picked) {
            (Some(pinned), Some(target)) if pinned == target.fingerprint => "sent where its cookie says",
            (Some(_), _) => "its cookie names a target that may not be picked",
            (None, _) if affinity.has_unreadable_group_cookie() => "its cookie can be opened by no key",
            (None, _) => match group.and_then(|group| group.stickiness()).map(|sticky| &sticky.kind) {
                Some(
                    StickinessKind::LoadBalancerCookie
                    | StickinessKind::ClassicCookie(_)
                    | StickinessKind::ClassicApplicationCookie(_),
                ) => "no cookie of a target: one is set with the response",
                Some(StickinessKind::ApplicationCookie(_)) => {
                    "no cookies of a target: one is set as soon as the application sets its own"
                }
                None => "clients stay in the group: its cookie is set with the response",
            },
        });
        Self {
            request,
            normal_path: None,
            load_balancer: listener.load_balancer.to_string(),
            listener: listener.bind.to_string(),
            rules: tried.iter().map(tried_view).collect(),
            untried_rules: *untried,
            rule: rule.map_or("default".to_owned(), |rule| rule.priority.to_string()),
            authentication: *authentication,
            action: match fate {
                Fate::Busy { .. } | Fate::Forward { .. } | Fate::Hold { .. } | Fate::NoTarget { .. } => {
                    "forward"
                }
                Fate::Callback => "authenticate",
                Fate::Redirect { .. } => "redirect",
                Fate::Respond(_) => "fixed-response",
            },
            transforms: transforms.as_ref().map(ToString::to_string),
            target_groups: action.map(|action| shares(action, group, snapshot)).unwrap_or_default(),
            stickiness,
            hash: hashed.map(|hashed| match hashed {
                Hashed { on, is_there: true } => on.to_string(),
                Hashed { on, is_there: false } => {
                    format!("{on}, which the request does not have: any target")
                }
            }),
            algorithm: group.map(|group| group.algorithm(*arm).as_str()),
            targets: group.map(|group| candidate_views(group, *arm, now)).unwrap_or_default(),
            picked: picked.map(|target| target.id.to_string()),
            outcome: outcome(fate),
        }
    }
}

fn tried_view(tried: &Tried<'_>) -> TriedView {
    let conditions = tried.rule.conditions.iter().map(ToString::to_string);
    TriedView {
        priority: tried.rule.priority.to_string(),
        matches: tried.matches(),
        conditions: conditions.zip(tried.conditions.iter().copied()).collect(),
        provenance: tried.rule.provenance.as_ref().map(ToString::to_string),
    }
}

fn shares(action: &Action<GroupIndex>, drawn: Option<&Arc<Group>>, snapshot: &Snapshot) -> Vec<ShareView> {
    let Action::Forward(forward) = action else { return Vec::new() };
    let total: u32 = forward.groups.iter().map(|(_, weight)| u32::from(*weight)).sum();
    let share = |(index, weight): &(GroupIndex, u16)| ShareView {
        name: snapshot.group(*index).map_or("?".to_owned(), |group| group.settings.name.to_string()),
        weight: *weight,
        share: if total == 0 { 0.0 } else { f64::from(*weight) / f64::from(total) },
        is_drawn: drawn.is_some_and(|group| group.index == *index),
    };
    forward.groups.iter().map(share).collect()
}

fn candidate_views(group: &Group, arm: Option<Arm>, now: Timestamp) -> Vec<CandidateView> {
    let view = |(at, candidate): (usize, Candidate<'_>)| CandidateView {
        target: target_view(group, at, candidate.member, now),
        share_of_turns: candidate.share_of_turns,
        has_room: candidate.has_room,
        is_within_bounds: candidate.is_within_bounds,
        load: candidate.load,
        estimate_seconds: candidate.estimate.map(|estimate| estimate.as_secs_f64()),
    };
    candidates(group, arm, now).enumerate().map(view).collect()
}

fn outcome(fate: &Fate<'_>) -> String {
    match fate {
        Fate::Busy { group } => {
            format!("503: targets of {} have as many requests as they may have", group.settings.name)
        }
        Fate::Callback => "a client comes back from its login".to_owned(),
        Fate::Forward { group, target } => {
            let open = if group.fails_open() { "; too few are healthy, so all are used" } else { "" };
            let (id, addr) = (target.id.to_string(), target.addr.to_string());
            let at = if id == addr { String::new() } else { format!(" at {addr}") };
            format!("forwarded to {id}{at}{open}")
        }
        Fate::Hold { group, limit } => format!(
            "waits up to {} s for a target of {}: none is there, or none has been probed yet",
            limit.as_secs_f64(),
            group.settings.name
        ),
        Fate::NoTarget { group: Some(group) } => {
            format!("503: no target of {} may be picked", group.settings.name)
        }
        Fate::NoTarget { group: None } => "503: every group of the action has weight 0".to_owned(),
        Fate::Redirect { status, location: Some(location) } => format!("{status} to {location}"),
        Fate::Redirect { location: None, .. } => "507: the redirect's location is too long".to_owned(),
        Fate::Respond(fixed) => format!("{} by weir itself", fixed.status),
    }
}

/// The listener that a question is about: the one it names, else those of its URL's port, else the only one.
fn listener<'s>(question: &Question, url: &Url<'_>, snapshot: &'s Snapshot) -> Result<&'s Listener, String> {
    let all: Vec<&Listener> = snapshot
        .listeners()
        .map(AsRef::as_ref)
        .filter(|listener| match &listener.kind {
            ListenerKind::Application { .. } => true,
            ListenerKind::Classic(classic) => classic.protocol.is_http(),
            ListenerKind::Network(_) => false,
        })
        .collect();
    let name = |listener: &&Listener| format!("{}:{}", listener.load_balancer, listener.bind.port());
    let found: Vec<&Listener> = all
        .iter()
        .copied()
        .filter(|listener| match (&question.listener, url.port()) {
            (Some(wanted), _) => *wanted == name(listener) || *wanted == listener.bind.to_string(),
            (None, Some(port)) => listener.bind.port() == port,
            (None, None) => true,
        })
        .collect();
    match found.as_slice() {
        [listener] => Ok(listener),
        _ => {
            let known: Vec<String> = all.iter().map(name).collect();
            let what = if found.is_empty() { "no listener" } else { "more than one listener" };
            Err(format!(
                "{what} is asked for; name one of {} as `listener`, or by the URL's port",
                if known.is_empty() { "none that speaks HTTP".to_owned() } else { known.join(", ") }
            ))
        }
    }
}

/// A URL in its parts.
#[derive(Debug)]
struct Url<'a> {
    /// Empty where only a path is asked for.
    authority: &'a str,
    path: &'a str,
    query: Option<&'a str>,
}

impl<'a> Url<'a> {
    fn parse(url: &'a str) -> Result<Self, String> {
        let url = url.split('#').next().unwrap_or(url);
        let (authority, rest) = match url.split_once("://") {
            Some(("http" | "https", rest)) => rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len())),
            Some((scheme, _)) => return Err(format!("{scheme}:// is neither http:// nor https://")),
            None if url.starts_with('/') => ("", url),
            None => {
                return Err(format!("{url} is neither a URL nor a path; write http://host/path or /path"));
            }
        };
        let (path, query) = match rest.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (rest, None),
        };
        Ok(Self { authority, path: if path.is_empty() { "/" } else { path }, query })
    }

    fn port(&self) -> Option<u16> {
        split_host_port(self.authority).1
    }
}
