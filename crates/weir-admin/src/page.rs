//! The page: listeners, rules, groups, targets and what happened, readable without JavaScript.

mod comparison;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use weir_core::load_report::LoadReport;

use crate::view::{
    EventView, GroupView, LoadBalancerView, ReportView, RuleView, SourceView, TargetView, View,
};

/// Events shown; the API has more.
const EVENTS_SHOWN: usize = 60;

/// Seconds between two reloads of the page.
const REFRESH_SECONDS: u32 = 2;

const STYLE: &str = include_str!("page.css");

pub(crate) fn render(view: &View) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="refresh" content=(REFRESH_SECONDS);
                title { "weir" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { "weir" }
                    p {
                        @if view.is_ready { span.healthy { "ready" } } @else { span.unhealthy { "not ready" } }
                        " · generation " (view.generation) " · version " (view.version)
                        " · " a href="/metrics" { "metrics" } " · " a href="/api/v1" { "JSON" }
                    }
                }
                main {
                    @for warning in warnings(view) { p.warning { (warning) } }
                    h2 { "Listeners" }
                    @for load_balancer in &view.load_balancers { (load_balancer_section(load_balancer)) }
                    @if !view.comparisons.is_empty() {
                        h2 { "Comparisons" }
                        @for comparison in &view.comparisons { (comparison::section(comparison)) }
                    }
                    h2 { "Target groups" }
                    @for group in &view.target_groups { (group_section(group)) }
                    @if !view.sources.is_empty() {
                        h2 { "Sources" }
                        (sources_table(&view.sources))
                    }
                    h2 { "What happened" }
                    (events_table(&view.events))
                }
            }
        }
    }
}

fn warnings(view: &View) -> Vec<String> {
    let mut warnings = Vec::new();
    for group in view.target_groups.iter().filter(|group| group.is_used) {
        if group.targets.is_empty() {
            warnings.push(format!("Target group {} has no targets.", group.name));
        } else if group.fails_open {
            warnings
                .push(format!("Target group {} fails open: too few of its targets are healthy.", group.name));
        }
    }
    for group in &view.target_groups {
        if let Some(chaos) = &group.chaos {
            warnings.push(format!("Target group {} misbehaves on demand: {chaos}.", group.name));
        }
    }
    for source in &view.sources {
        if let Some(problem) = &source.problem {
            warnings.push(format!("Source {} is {}: {problem}.", source.name, source.state));
        }
        for left_out in &source.left_out {
            warnings.push(format!("{} is left out: {}.", left_out.owner, left_out.problem));
        }
    }
    warnings
}

fn load_balancer_section(load_balancer: &LoadBalancerView) -> Markup {
    html! {
        section {
            h3 { (load_balancer.name) " " small { (load_balancer.r#type) } }
            @for listener in &load_balancer.listeners {
                p {
                    strong { (listener.protocol) "://" (listener.bind) }
                    " · " (listener.requests) @if listener.protocol == "http" { " requests" } @else { " flows" }
                    " · " (listener.connections) " connections open"
                    @if listener.holding > 0 { " · " (listener.holding) " waiting for a target" }
                    @if listener.protocol == "http" { " · " (listener.errors) " errors of weir's own" }
                    @if let Some(p99) = listener.p99_seconds { " · p99 ≤ " (seconds(p99)) }
                }
                div.scroll {
                    table.rules {
                        thead { tr { th { "Priority" } th { "If" } th { "Then" } } }
                        tbody { @for rule in &listener.rules { (rule_row(rule)) } }
                    }
                }
            }
        }
    }
}

fn rule_row(rule: &RuleView) -> Markup {
    html! {
        tr {
            td { (rule.priority) }
            td { @if rule.conditions.is_empty() { "anything" } @else { (rule.conditions.join(", and ")) } }
            td {
                (rule.action)
                @for (at, (group, weight)) in rule.target_groups.iter().enumerate() {
                    @if at > 0 { "," } " " a href={ "#" (group) } { (group) }
                    @if rule.target_groups.len() > 1 { " (" (weight) ")" }
                }
                @if let Some(provenance) = &rule.provenance { br; small { (provenance) } }
            }
        }
    }
}

fn group_section(group: &GroupView) -> Markup {
    let picked: u64 = group.targets.iter().map(|target| target.picked).sum();
    html! {
        section id=(group.name) {
            h3 {
                (group.name) " " small { (group.algorithm) }
                @if let Some(stickiness) = group.stickiness { " " small { (stickiness) } }
                @if !group.is_used { " " small { "not used by any listener" } }
                @if group.holds { " " small.initial { "requests wait for a target" } }
            }
            @if !group.targets.is_empty() {
                div.scroll {
                    table {
                        thead { tr {
                            th { "Target" } th { "State" } th.number { "In flight" } th.number { "Picked" }
                            th.number { "Share" } th.number { "Failed" } th { "Since" } th { "Because" }
                        } }
                        tbody { @for target in &group.targets { (target_row(target, picked)) } }
                    }
                }
            }
        }
    }
}

fn target_row(target: &TargetView, picked: u64) -> Markup {
    let share = 100.0 * target.picked as f64 / picked.max(1) as f64;
    html! {
        tr {
            td {
                (target.address) br;
                small {
                    @if target.id != target.address { (target.id) " " }
                    @if target.weight != 1 { "weight " (target.weight) " " }
                    @if let Some(zone) = &target.zone { "zone " (zone) }
                }
            }
            td {
                span class=(target.state) { (target.state) }
                @if let Some(description) = &target.description { br; small { (description) } }
                @if target.is_anomalous { br; small { "fails far more often than its peers" } }
                @if target.share < 1.0 { br; small { (format!("has {:.0} % of its weight", target.share * 100.0)) } }
            }
            td.number {
                (target.in_flight)
                @if let Some(report) = &target.load_report { br; small { (says(report)) } }
            }
            td.number { (target.picked) }
            td.number { (format!("{share:.1} %")) }
            td.number { (target.failed) }
            td.since { (ago(target.since_seconds)) }
            td { (target.cause) br; small { (target.provenance) } }
        }
    }
}

/// What a target says of its load, in a few words.
fn says(report: &ReportView) -> String {
    match (report.in_flight, report.latency_seconds) {
        (None, _) if report.unanswered > 0 => "does not say".to_owned(),
        (None, _) => "not asked yet".to_owned(),
        (Some(in_flight), latency) => {
            let said =
                latency.map_or(in_flight.to_string(), |latency| format!("{in_flight}, {}", seconds(latency)));
            match report.age_seconds {
                Some(age) if age > LoadReport::WORTH.as_secs_f64() => format!("said {said}, {}", ago(age)),
                _ => format!("says {said}"),
            }
        }
    }
}

fn sources_table(sources: &[SourceView]) -> Markup {
    html! {
        div.scroll {
            table {
                thead { tr { th { "Source" } th { "State" } th.number { "Tasks" } th.number { "Left out" } } }
                tbody {
                    @for source in sources {
                        tr {
                            td { (source.name) }
                            td {
                                @let class = if source.problem.is_some() { "unhealthy" } else { "healthy" };
                                span class=(class) { (source.state) }
                            }
                            td.number { (source.tasks) }
                            td.number { (source.left_out.len()) }
                        }
                    }
                }
            }
        }
    }
}

fn events_table(events: &[EventView]) -> Markup {
    html! {
        div.scroll {
            table {
                thead { tr { th { "When" } th { "Group" } th { "Target" } th { "Change" } th { "Cause" } } }
                tbody {
                    @for event in events.iter().take(EVENTS_SHOWN) {
                        tr {
                            td { (event.at) }
                            td { (event.group) }
                            td { (event.subject) }
                            td { (event.change) }
                            td { (event.cause) br; small { (event.provenance) } }
                        }
                    }
                }
            }
        }
        @if events.is_empty() { p { "Nothing yet." } }
    }
}

/// How long ago something was, as people say it.
fn ago(elapsed: f64) -> String {
    if elapsed < 1.0 { "just now".to_owned() } else { format!("{} ago", seconds(elapsed)) }
}

/// A duration as people say it: `3 ms`, `12 s`, `5 min`, `2 h`.
fn seconds(seconds: f64) -> String {
    match seconds {
        s if s < 1.0 => format!("{:.3} ms", s * 1e3).replace(".000", ""),
        s if s < 120.0 => format!("{s:.0} s"),
        s if s < 7200.0 => format!("{:.0} min", s / 60.0),
        s => format!("{:.0} h", s / 3600.0),
    }
}
