//! What the admin port shows: the snapshot with its counts, as plain values.

use serde::Serialize;
use weir_control::Handle;
use weir_control::sources::Source;
use weir_core::definition::ListenerKind;
use weir_core::load_report::Reported;
use weir_core::rule::{Action, Condition};
use weir_core::snapshot::{Group, GroupIndex, Listener, Member, Snapshot};
use weir_core::task::SourceKind;
use weir_core::time::Timestamp;

use crate::comparison::{self, ComparisonView};

/// Everything that is, at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct View {
    /// Version of weir.
    pub version: &'static str,
    /// Generation of the snapshot.
    pub generation: u64,
    /// Whether weir is ready for traffic.
    pub is_ready: bool,
    /// Load balancers with their listeners and rules.
    pub load_balancers: Vec<LoadBalancerView>,
    /// Target groups with their targets.
    pub target_groups: Vec<GroupView>,
    /// Algorithms that groups compare.
    pub comparisons: Vec<ComparisonView>,
    /// Where tasks are seen.
    pub sources: Vec<SourceView>,
    /// What happened lately, the latest first.
    pub events: Vec<EventView>,
}

/// A load balancer.
#[derive(Clone, Debug, Serialize)]
pub struct LoadBalancerView {
    /// Its name.
    pub name: String,
    /// `application`, `network` or `classic`.
    pub r#type: &'static str,
    /// Its listeners.
    pub listeners: Vec<ListenerView>,
}

/// A listener.
#[derive(Clone, Debug, Serialize)]
pub struct ListenerView {
    /// Where it accepts connections.
    pub bind: String,
    /// `http` or `tcp`.
    pub protocol: &'static str,
    /// Requests or flows so far.
    pub requests: u64,
    /// Requests that weir answered with an error of its own.
    pub errors: u64,
    /// Client connections open now.
    pub connections: u64,
    /// Requests or flows that wait for a target now.
    pub holding: u64,
    /// 99th percentile of the request duration in seconds since start, as a bucket's upper bound.
    pub p99_seconds: Option<f64>,
    /// Its rules in order, the default rule last; a network or classic listener has only that.
    pub rules: Vec<RuleView>,
}

/// A rule.
#[derive(Clone, Debug, Serialize)]
pub struct RuleView {
    /// Its priority, or `default`.
    pub priority: String,
    /// Its conditions, readable.
    pub conditions: Vec<String>,
    /// Its action, readable.
    pub action: String,
    /// The groups it can forward to, with their weights.
    pub target_groups: Vec<(String, u16)>,
    /// Whose labels it is made of; `None` when it is written in the configuration.
    pub provenance: Option<String>,
}

/// A target group.
#[derive(Clone, Debug, Serialize)]
pub struct GroupView {
    /// Its name.
    pub name: String,
    /// Its algorithm.
    pub algorithm: &'static str,
    /// By which cookie clients stick to its targets: `lb_cookie` or `app_cookie`, if they do.
    pub stickiness: Option<&'static str>,
    /// Whether some listener can send traffic to it.
    pub is_used: bool,
    /// Whether too few targets are healthy, so that all are used.
    pub fails_open: bool,
    /// Whether requests wait for a target.
    pub holds: bool,
    /// What it does wrong on demand.
    pub chaos: Option<String>,
    /// Its targets.
    pub targets: Vec<TargetView>,
}

/// A target.
#[derive(Clone, Debug, Serialize)]
pub struct TargetView {
    /// Its id within its group.
    pub id: String,
    /// Where it takes traffic.
    pub address: String,
    /// Its share relative to the others.
    pub weight: u16,
    /// The zone that it is in, where that is known.
    pub zone: Option<String>,
    /// Its state in AWS's words.
    pub state: &'static str,
    /// AWS's reason code.
    pub reason: Option<&'static str>,
    /// The reason, for people.
    pub description: Option<String>,
    /// What gave it this state.
    pub cause: String,
    /// Seconds since it has this state.
    pub since_seconds: f64,
    /// Whether it may be picked.
    pub is_eligible: bool,
    /// Whether it fails far more often than its peers.
    pub is_anomalous: bool,
    /// The part of its weight that it has: less than 1 where its failures are mitigated.
    pub share: f64,
    /// Where it comes from.
    pub provenance: String,
    /// Requests or flows in flight.
    pub in_flight: u32,
    /// Requests or flows it was picked for.
    pub picked: u64,
    /// Attempts that ended without an answer.
    pub failed: u64,
    /// What it says of its load, where its group asks it.
    pub load_report: Option<ReportView>,
}

/// What a target says of its load.
#[derive(Clone, Debug, Serialize)]
pub struct ReportView {
    /// Requests that it has under way, whoever sent them; `None` when it has never said.
    pub in_flight: Option<u32>,
    /// Seconds that one more would take, where it says that.
    pub latency_seconds: Option<f64>,
    /// Seconds since it was said.
    pub age_seconds: Option<f64>,
    /// Probes that it has answered.
    pub answered: u64,
    /// Probes that it has not answered, or not in a way that weir understands.
    pub unanswered: u64,
}

/// A source of tasks.
#[derive(Clone, Debug, Serialize)]
pub struct SourceView {
    /// Its name.
    pub name: &'static str,
    /// `awaited`, `failing`, `remembered`, `withheld` or `working`.
    pub state: &'static str,
    /// What is wrong with it.
    pub problem: Option<String>,
    /// Tasks that it is believed to see.
    pub tasks: usize,
    /// What of it is left out.
    pub left_out: Vec<LeftOutView>,
}

/// A container, file or entry that is left out for a mistake of its own.
#[derive(Clone, Debug, Serialize)]
pub struct LeftOutView {
    /// Which one.
    pub owner: String,
    /// What is wrong with it.
    pub problem: String,
}

/// Something that happened.
#[derive(Clone, Debug, Serialize)]
pub struct EventView {
    /// When, RFC 3339.
    pub at: String,
    /// The target group, or `-`.
    pub group: String,
    /// What it is about.
    pub subject: String,
    /// What happened.
    pub change: String,
    /// What caused it.
    pub cause: String,
    /// Where the target comes from.
    pub provenance: String,
}

impl View {
    /// What is now.
    pub fn of(handle: &Handle) -> Self {
        let snapshot = handle.snapshot();
        let mut load_balancers: Vec<LoadBalancerView> = Vec::new();
        for listener in snapshot.listeners() {
            let name = listener.load_balancer.to_string();
            let view = listener_view(listener, &snapshot, handle);
            match load_balancers.iter_mut().find(|known| known.name == name) {
                Some(known) => known.listeners.push(view),
                None => load_balancers.push(LoadBalancerView {
                    name,
                    r#type: listener.kind.load_balancer_type(),
                    listeners: vec![view],
                }),
            }
        }
        let events = handle.timeline.latest_first().into_iter().map(|entry| EventView {
            at: humantime::format_rfc3339_millis(entry.at).to_string(),
            group: entry.group,
            subject: entry.subject,
            change: entry.change,
            cause: entry.cause,
            provenance: entry.provenance,
        });
        Self {
            version: env!("CARGO_PKG_VERSION"),
            generation: snapshot.generation,
            is_ready: handle.readiness.is_ready(),
            load_balancers,
            target_groups: snapshot.groups().map(|group| group_view(group, handle)).collect(),
            comparisons: snapshot.groups().filter_map(|group| comparison::view(group, handle)).collect(),
            sources: handle.sources.all().into_iter().map(source_view).collect(),
            events: events.collect(),
        }
    }
}

fn source_view((kind, source): (SourceKind, Source)) -> SourceView {
    let left_out = source.unreadable.into_iter().chain(source.unfit);
    SourceView {
        name: kind.as_str(),
        state: source.state.as_str(),
        problem: source.state.problem().map(ToOwned::to_owned),
        tasks: source.tasks,
        left_out: left_out
            .map(|mistake| LeftOutView { owner: mistake.owner, problem: mistake.problem })
            .collect(),
    }
}

fn listener_view(listener: &Listener, snapshot: &Snapshot, handle: &Handle) -> ListenerView {
    let totals = handle.telemetry.totals(listener);
    ListenerView {
        bind: listener.bind.to_string(),
        protocol: listener.kind.protocol(),
        requests: totals.requests + totals.flows,
        errors: totals.request_errors,
        connections: totals.connections_open,
        holding: totals.holding,
        p99_seconds: totals.request_duration.quantile(0.99).map(|p99| p99.as_secs_f64()),
        rules: rules(&listener.kind, snapshot),
    }
}

fn rules(kind: &ListenerKind<GroupIndex>, snapshot: &Snapshot) -> Vec<RuleView> {
    let name =
        |index: GroupIndex| snapshot.group(index).map_or("?".to_owned(), |g| g.settings.name.to_string());
    let rule = |priority: String, conditions: &[Condition], action: &Action<GroupIndex>| {
        let (before, action) = match action {
            Action::Authenticate(asked) => (format!("{}, ", asked.by.as_str()), &asked.then),
            action => (String::new(), action),
        };
        let (text, target_groups) = match action {
            Action::Authenticate(asked) => (asked.by.as_str().to_owned(), Vec::new()),
            Action::FixedResponse(fixed) => (format!("respond {}", fixed.status), Vec::new()),
            Action::Redirect(redirect) => (format!("redirect {}", redirect.status), Vec::new()),
            Action::Forward(forward) => {
                let groups = forward.groups.iter().map(|(index, weight)| (name(*index), *weight)).collect();
                let text = match forward.stickiness {
                    Some(time) => format!("forward, clients stay for {} s", time.as_secs()),
                    None => "forward".to_owned(),
                };
                (text, groups)
            }
        };
        let conditions = conditions.iter().map(ToString::to_string).collect();
        RuleView { priority, conditions, action: before + &text, target_groups, provenance: None }
    };
    match kind {
        ListenerKind::Application { rules, default_action, .. } => rules
            .iter()
            .map(|r| {
                let view = rule(r.priority.to_string(), &r.conditions, &r.action);
                let action = match &r.transforms {
                    Some(transforms) => format!("{}, rewrite {transforms}", view.action),
                    None => view.action.clone(),
                };
                RuleView { action, provenance: r.provenance.as_ref().map(ToString::to_string), ..view }
            })
            .chain([rule("default".to_owned(), &[], default_action)])
            .collect(),
        ListenerKind::Network(network) => {
            vec![rule("default".to_owned(), &[], &Action::Forward(network.forward.clone()))]
        }
        ListenerKind::Classic(classic) => vec![RuleView {
            priority: "default".to_owned(),
            conditions: Vec::new(),
            action: "forward".to_owned(),
            target_groups: vec![(name(classic.group), 1)],
            provenance: None,
        }],
    }
}

fn group_view(group: &Group, handle: &Handle) -> GroupView {
    let now = handle.clock.now();
    GroupView {
        name: group.settings.name.to_string(),
        algorithm: group.algorithm(None).as_str(),
        stickiness: group.stickiness().map(|stickiness| stickiness.kind.as_str()),
        is_used: group.is_used,
        fails_open: group.fails_open(),
        holds: group.holds(),
        chaos: handle.chaos.all().get(&group.settings.name).map(ToString::to_string),
        targets: (0..).zip(&group.members).map(|(at, member)| target_view(group, at, member, now)).collect(),
    }
}

pub(crate) fn target_view(group: &Group, position: usize, member: &Member, now: Timestamp) -> TargetView {
    let target = &member.target;
    TargetView {
        id: target.id.to_string(),
        address: target.addr.to_string(),
        weight: member.weight.get(),
        zone: member.zone.as_deref().map(ToOwned::to_owned),
        state: member.state(),
        reason: member.health.reason(),
        description: member.health.description(),
        cause: member.cause.to_string(),
        since_seconds: now.since(member.since).as_secs_f64(),
        is_eligible: group.is_eligible(position),
        is_anomalous: member.opinion.is_anomalous,
        share: if group.settings.mitigates_anomalies {
            f64::from(member.opinion.share.per_mille()) / 1000.0
        } else {
            1.0
        },
        provenance: member.provenance.to_string(),
        in_flight: target.tally.in_flight(),
        picked: target.tally.picked(),
        failed: target.tally.failed(),
        load_report: group.settings.load_probe.is_some().then(|| report_view(&target.reported, now)),
    }
}

fn report_view(reported: &Reported, now: Timestamp) -> ReportView {
    let last = reported.last(now);
    ReportView {
        in_flight: last.map(|(report, _)| report.in_flight),
        latency_seconds: last.and_then(|(report, _)| report.latency).map(|latency| latency.as_secs_f64()),
        age_seconds: last.map(|(_, age)| age.as_secs_f64()),
        answered: reported.answered(),
        unanswered: reported.unanswered(),
    }
}
