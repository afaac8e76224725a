//! Configurations in a few words.

use std::fmt::Write;

use crate::FakeTarget;

/// A health check that is asked often, for promises about health.
pub const OFTEN: &str = "health_check: { path: /healthz, interval: 150ms, timeout: 100ms, healthy_threshold: 2, unhealthy_threshold: 2 }";

/// A target group of these targets; `settings` are further keys, in YAML's flow style.
pub fn group(name: &str, settings: &str, targets: &[&FakeTarget]) -> String {
    let targets: Vec<String> = targets.iter().map(|target| target.yaml()).collect();
    group_of(name, settings, &targets.join(", "))
}

/// A target group whose targets are written as they are.
pub fn group_of(name: &str, settings: &str, targets: &str) -> String {
    let settings = if settings.is_empty() { String::new() } else { format!("{settings}, ") };
    format!("  - {{ name: {name}, {settings}targets: [{targets}] }}\n")
}

/// An application load balancer called `edge` with one listener; `listener` are its keys besides `bind`.
pub fn application(groups: &[String], settings: &str, listener: &str) -> String {
    load_balancer("application", groups, settings, listener)
}

/// An application load balancer that forwards everything to these targets.
pub fn forwarding_to(targets: &[&FakeTarget]) -> String {
    application(&[group("web", "", targets)], "", "default_action: { forward: web }")
}

/// A network load balancer called `edge` with one listener that forwards to the first group.
pub fn network(groups: &[String], settings: &str) -> String {
    load_balancer("network", groups, settings, "default_action: { forward: db }")
}

/// A network load balancer called `edge` with one listener; `listener` are its keys besides `bind`.
pub fn network_listener(groups: &[String], listener: &str) -> String {
    load_balancer("network", groups, "", listener)
}

fn load_balancer(kind: &str, groups: &[String], settings: &str, listener: &str) -> String {
    let mut text =
        if groups.is_empty() { String::new() } else { format!("target_groups:\n{}", groups.concat()) };
    let settings = if settings.is_empty() { String::new() } else { format!("{settings}, ") };
    write!(
        text,
        "load_balancers:\n  - {{ name: edge, type: {kind}, {settings}listeners: [{{ bind: \"127.0.0.1:0\", {listener} }}] }}\n"
    )
    .expect("writing to a string succeeds");
    text
}

/// A classic load balancer called `legacy` on loopback instances; `check` is its health-check target.
pub fn classic(instances: &[&str], check: &str, settings: &str, listener: &str) -> String {
    let settings = if settings.is_empty() { String::new() } else { format!("{settings}, ") };
    format!(
        "load_balancers:\n  - {{ name: legacy, type: classic, instances: [{}], {settings}health_check: {{ target: \"{check}\", interval: 150ms, timeout: 100ms, healthy_threshold: 2, unhealthy_threshold: 2 }}, listeners: [{{ bind: \"127.0.0.1:0\", {listener} }}] }}\n",
        instances.join(", ")
    )
}
