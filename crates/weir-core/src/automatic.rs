//! Definitions that nobody wrote: every service that discovery sees, at `http://<service>.localhost`.
//!
//! What `weir run` serves when it has no configuration.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::address::ListenAddr;
use crate::definition::{
    Algorithm, Definitions, Listener, ListenerKind, LoadBalancer, ProtocolVersion, TargetGroup,
    TargetProtocol, TargetSelector, TaskSelector,
};
use crate::health::{HealthCheck, Probe, StatusMatcher, Thresholds};
use crate::name::{GroupName, LoadBalancerName};
use crate::pattern::{Case, Pattern};
use crate::rule::{Action, Condition, FixedResponse, Forward, Priority, Rule};
use crate::target::Weight;
use crate::task::{SourceKind, Task, Transports};

/// The load balancer that serves them.
const LOAD_BALANCER: &str = "auto";

/// One service, and where it is served.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Service {
    project: Option<String>,
    name: String,
}

/// An application listener at `bind` with a rule for every service of `tasks` that publishes a port.
///
/// A service is served at `<service>.localhost`; where two projects have services of one name, each at
/// `<service>.<project>.localhost`. A group never fails open: a port that does not answer HTTP is not served.
pub fn definitions(tasks: &[Arc<Task>], bind: ListenAddr) -> Definitions {
    let services: BTreeSet<Service> = tasks
        .iter()
        .filter(|task| task.labels.enable && task.port(None, Transports::TCP).is_some())
        .filter_map(|task| Some(Service { project: task.project.clone(), name: task.service.clone()? }))
        .collect();
    let mut projects: BTreeMap<&str, usize> = BTreeMap::new();
    for service in &services {
        *projects.entry(&service.name).or_default() += 1;
    }
    let mut target_groups = Vec::new();
    let mut rules = Vec::new();
    for service in &services {
        let is_alone = projects[service.name.as_str()] == 1;
        let host = host(service, is_alone);
        let priority = Priority::new(u16::try_from(rules.len() + 1).unwrap_or(u16::MAX));
        // A name that no host or group can have cannot be served; more services than priorities neither.
        let (Ok(pattern), Ok(group), Some(priority)) = (
            Pattern::parse(&host, Case::Insensitive),
            GroupName::parse(host.trim_end_matches(".localhost")),
            priority,
        ) else {
            continue;
        };
        rules.push(Rule {
            priority,
            conditions: vec![Condition::HostHeader(vec![pattern])],
            action: Action::Forward(Forward::to(group.clone())),
            transforms: None,
            provenance: None,
        });
        target_groups.push(target_group(group, vec![tasks_of(service)]));
    }
    let nothing = FixedResponse {
        status: 404,
        content_type: Some("text/plain"),
        body: format!(
            "weir: no service has this host name. Services are at http://<service>.localhost:{}/\n",
            bind.port()
        ),
    };
    let kind = ListenerKind::Application {
        headers: Arc::default(),
        tls: None,
        rules,
        default_action: Action::FixedResponse(Arc::new(nothing)),
    };
    let load_balancer = LoadBalancer {
        name: LoadBalancerName::parse(LOAD_BALANCER).expect("the name is letters"),
        idle_timeout: Duration::from_secs(60),
        logs: crate::logs::Logs::default(),
        http: crate::definition::HttpSettings::default(),
        listeners: vec![Listener { bind, proxies: None, kind }],
    };
    Definitions { load_balancers: vec![load_balancer], target_groups, ..Definitions::default() }
}

fn host(service: &Service, is_alone: bool) -> String {
    match &service.project {
        Some(project) if !is_alone => format!("{}.{project}.localhost", service.name),
        _ => format!("{}.localhost", service.name),
    }
}

fn tasks_of(service: &Service) -> TargetSelector {
    TargetSelector::Tasks(TaskSelector {
        source: SourceKind::Docker,
        service: Some(service.name.clone()),
        project: service.project.clone(),
        container_port: None,
        weight: Weight::ONE,
    })
}

/// A group that nobody wrote, with settings that suit whatever answers HTTP.
pub(crate) fn target_group(name: GroupName, targets: Vec<TargetSelector>) -> TargetGroup {
    TargetGroup {
        name,
        protocol: TargetProtocol::Http,
        protocol_version: ProtocolVersion::Http1,
        algorithm: Algorithm::RoundRobin,
        comparison: None,
        hashing: None,
        load_probe: None,
        deregistration_delay: Duration::from_secs(30),
        flows: crate::definition::FlowSettings::default(),
        target_tls: crate::tls::TargetTls::default(),
        zone: None,
        hold: Duration::from_secs(10),
        slow_start: Duration::ZERO,
        stickiness: None,
        thresholds: crate::thresholds::Thresholds::CLASSIC,
        mitigates_anomalies: false,
        concurrency: crate::limits::ConcurrencyLimits::default(),
        retries: crate::limits::RetryBudget::default(),
        ejection: None,
        health_check: HealthCheck {
            probe: Probe::Http {
                is_tls: false,
                version: ProtocolVersion::Http1,
                path: "/".into(),
                // Anything that is an answer: a service behind a login or without a front page is served too.
                matcher: StatusMatcher::range(200, 499),
                user_agent: "ELB-HealthChecker/2.0",
            },
            port: None,
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            thresholds: Thresholds { healthy: 2, unhealthy: 2 },
        },
        targets,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::TargetAddr;
    use crate::task::{Provenance, TaskLabels, TaskPort, TaskState};

    fn task(project: Option<&str>, service: &str) -> Task {
        Task {
            id: None,
            name: service.into(),
            service: Some(service.into()),
            project: project.map(Into::into),
            ports: vec![TaskPort {
                container_port: 80,
                transports: Transports::TCP,
                addr: TargetAddr("127.0.0.1:32768".parse().unwrap()),
            }],
            labels: TaskLabels::default(),
            state: TaskState::Running,
            provenance: Arc::new(Provenance { source: "docker", origin: String::new() }),
            cause: "start".into(),
        }
    }

    fn hosts(tasks: &[Task]) -> Vec<String> {
        let tasks: Vec<Arc<Task>> = tasks.iter().cloned().map(Arc::new).collect();
        let definitions = definitions(&tasks, ListenAddr("127.0.0.1:8080".parse().unwrap()));
        let ListenerKind::Application { rules, .. } = &definitions.load_balancers[0].listeners[0].kind else {
            unreachable!()
        };
        rules
            .iter()
            .flat_map(|rule| &rule.conditions)
            .map(|condition| match condition {
                Condition::HostHeader(patterns) => patterns[0].to_string(),
                _ => unreachable!(),
            })
            .collect()
    }

    #[test]
    fn every_service_is_served_at_its_own_host_name() {
        assert_eq!(
            hosts(&[task(None, "web"), task(None, "api"), task(None, "api")]),
            ["api.localhost", "web.localhost"]
        );
    }

    #[test]
    fn two_projects_with_one_service_name_get_names_of_their_own() {
        let tasks = [task(Some("shop"), "api"), task(Some("blog"), "api"), task(Some("shop"), "web")];
        assert_eq!(hosts(&tasks), ["api.blog.localhost", "api.shop.localhost", "web.localhost"]);
    }

    #[test]
    fn a_task_that_opts_out_or_publishes_nothing_is_not_served() {
        let mut out = task(None, "out");
        out.labels.enable = false;
        let closed = Task { ports: Vec::new(), ..task(None, "closed") };
        assert!(hosts(&[out, closed]).is_empty());
    }
}
