//! Promises of rules made by labels.

use super::*;
use crate::address::{ListenAddr, TargetAddr};
use crate::definition::{Algorithm, Listener, LoadBalancer, TargetSelector, TaskSelector};
use crate::name::LoadBalancerName;
use crate::pattern::{Case, Pattern};
use crate::rule::{Condition, FixedResponse};
use crate::snapshot::testing::settings;
use crate::target::Weight;
use crate::task::{TaskId, TaskLabels, TaskPort, Transports};

fn path(path: &str) -> Condition {
    Condition::PathPattern(vec![Pattern::parse(path, Case::Sensitive).unwrap()])
}

fn name(text: &str) -> GroupName {
    GroupName::parse(text).unwrap()
}

/// The load balancer `edge` with a listener at each port, each with a written rule of priority 10, and the group
/// `written` of the service `chosen`.
fn written(ports: &[u16]) -> Definitions {
    let fixed = FixedResponse { status: 404, content_type: None, body: String::new() };
    let rule = Rule {
        priority: Priority::new(10).unwrap(),
        conditions: vec![path("/written")],
        action: Action::Forward(Forward::to(name("written"))),
        transforms: None,
        provenance: None,
    };
    let listener = |port: &u16| Listener {
        bind: ListenAddr(([127, 0, 0, 1], *port).into()),
        proxies: None,
        kind: ListenerKind::Application {
            headers: Arc::default(),
            tls: None,
            rules: vec![rule.clone()],
            default_action: Action::FixedResponse(Arc::new(fixed.clone())),
        },
    };
    let mut group = settings("written", Algorithm::RoundRobin);
    group.targets = vec![TargetSelector::Tasks(TaskSelector {
        source: SourceKind::Docker,
        service: Some("chosen".into()),
        project: None,
        container_port: None,
        weight: Weight::ONE,
    })];
    Definitions {
        load_balancers: vec![LoadBalancer {
            name: LoadBalancerName::parse("edge").unwrap(),
            idle_timeout: std::time::Duration::from_secs(60),
            logs: crate::logs::Logs::default(),
            http: crate::definition::HttpSettings::default(),
            listeners: ports.iter().map(listener).collect(),
        }],
        target_groups: vec![group],
        ..Definitions::default()
    }
}

/// A task of `service` with the rule `priority`: `pattern` at `edge:8080`, started at second `started`.
fn task(service: &str, started: u8, priority: u16, pattern: &str) -> Task {
    let id = format!("{service}-{started}");
    Task {
        id: Some(TaskId {
            id: id.as_str().into(),
            generation: format!("2026-01-01T00:00:{started:02}Z").into(),
        }),
        name: id.clone(),
        service: Some(service.into()),
        project: Some("shop".into()),
        ports: vec![TaskPort {
            container_port: 80,
            transports: Transports::TCP,
            addr: TargetAddr(([127, 0, 0, 1], 32768).into()),
        }],
        labels: TaskLabels {
            rule: Some(LabelRule {
                load_balancer: LoadBalancerName::parse("edge").unwrap(),
                port: Some(8080),
                priority: Priority::new(priority).unwrap(),
                conditions: vec![path(pattern)],
            }),
            ..TaskLabels::default()
        },
        state: TaskState::Running,
        provenance: Arc::new(Provenance { source: "docker", origin: format!("container {id}") }),
        cause: "start".into(),
    }
}

fn added(tasks: &[Task]) -> Labelled {
    added_to(written(&[8080]), tasks)
}

fn added_to(definitions: Definitions, tasks: &[Task]) -> Labelled {
    let tasks = tasks.iter().cloned().map(Arc::new).collect();
    add(&Arc::new(definitions), Tasks::from([(SourceKind::Docker, tasks)]), &[])
}

/// The rules of the first listener: priority and group.
fn rules(labelled: &Labelled) -> Vec<(u16, String)> {
    let ListenerKind::Application { rules, .. } = &labelled.definitions.load_balancers[0].listeners[0].kind
    else {
        unreachable!()
    };
    let group = |rule: &Rule<GroupName>| match &rule.action {
        Action::Forward(forward) => forward.groups[0].0.to_string(),
        _ => unreachable!(),
    };
    rules.iter().map(|rule| (rule.priority.get(), group(rule))).collect()
}

/// The names of the tasks that are put into the group.
fn members(labelled: &Labelled, group: &str) -> Vec<String> {
    let tasks = labelled.tasks.values().flatten();
    let tasks = tasks.filter(|task| task.labels.target_group.as_ref() == Some(&name(group)));
    tasks.map(|task| task.name.clone()).collect()
}

/// Who is left out, and why.
fn left_out(labelled: &Labelled) -> Vec<(String, String)> {
    labelled.quarantined.iter().map(|q| (q.owner.clone(), q.error.to_string())).collect()
}

fn check_left_out(labelled: &Labelled, owner: &str, words: &[&str]) {
    let [(who, why)] = left_out(labelled).try_into().expect("one is left out");
    assert_eq!(who, owner, "{why}");
    assert!(words.iter().all(|word| why.contains(word)), "{why}");
}

fn ten(group: &str) -> (u16, String) {
    (10, group.to_owned())
}

#[test]
fn a_label_adds_a_rule_that_forwards_to_a_group_of_its_service() {
    let labelled = added(&[task("api", 1, 20, "/api/*"), task("web", 1, 5, "/web/*")]);
    assert_eq!(rules(&labelled), [(5, "web".into()), ten("written"), (20, "api".into())]);
    assert_eq!(
        (members(&labelled, "api"), members(&labelled, "web")),
        (vec!["api-1".into()], vec!["web-1".into()])
    );
    let groups: Vec<&str> =
        labelled.definitions.target_groups.iter().map(|group| group.name.as_str()).collect();
    assert_eq!(groups, ["written", "api", "web"], "the oldest first");
    assert!(labelled.quarantined.is_empty());
}

#[test]
fn tasks_of_one_service_share_their_rule() {
    let labelled = added(&[task("api", 1, 20, "/api/*"), task("api", 2, 20, "/api/*")]);
    assert_eq!(rules(&labelled).len(), 2);
    assert_eq!(members(&labelled, "api"), ["api-1", "api-2"]);
    assert!(labelled.quarantined.is_empty());
}

#[test]
fn without_labels_and_tasks_what_is_written_stays_as_it_is() {
    let mut plain = task("api", 1, 20, "/api/*");
    plain.labels.rule = None;
    let mut hidden = task("web", 1, 20, "/web/*");
    hidden.labels.enable = false;
    for tasks in [vec![], vec![plain, hidden]] {
        assert_eq!(*added(&tasks).definitions, written(&[8080]));
    }
}

#[test]
fn a_written_rule_of_that_priority_wins() {
    let labelled = added(&[task("api", 1, 10, "/api/*")]);
    assert_eq!(rules(&labelled), [ten("written")]);
    assert!(members(&labelled, "api").is_empty());
    let words = ["the configuration has priority 10 at edge:8080", "choose another `weir.priority`"];
    check_left_out(&labelled, "container api-1", &words);
}

#[test]
fn the_older_of_two_labels_wins_whatever_their_order() {
    let (older, newer) = (task("api", 1, 20, "/a"), task("web", 2, 20, "/b"));
    for tasks in [[older.clone(), newer.clone()], [newer, older]] {
        let labelled = added(&tasks);
        assert_eq!(rules(&labelled), [ten("written"), (20, "api".into())]);
        check_left_out(&labelled, "container web-2", &["labels of service api in project shop"]);
    }
}

#[test]
fn a_fraction_of_a_second_is_older_than_a_longer_one() {
    let started = |service: &str, time: &str| {
        let mut task = task(service, 0, 20, "/x");
        task.id.as_mut().unwrap().generation = format!("2026-01-01T00:00:{time}Z").into();
        task
    };
    for (older, newer) in [("01", "01.5"), ("01.1", "01.12"), ("01.5", "02")] {
        let labelled = added(&[started("newer", newer), started("older", older)]);
        assert_eq!(rules(&labelled)[1].1, "older", "{older} and {newer}");
    }
}

#[test]
fn a_changed_rule_waits_until_the_task_that_had_it_leaves() {
    let old = task("api", 1, 20, "/v1/*");
    let new = task("api", 2, 20, "/v2/*");
    check_left_out(&added(&[old.clone(), new.clone()]), "container api-2", &["priority 20"]);
    let stopping = Task { state: TaskState::Stopping, ..old };
    let labelled = added(&[stopping, new]);
    assert_eq!(members(&labelled, "api"), ["api-2"]);
    assert!(labelled.quarantined.is_empty(), "who leaves has made no mistake");
}

#[test]
fn a_rule_stays_while_its_last_task_drains_and_a_while_longer() {
    let stopping = Task { state: TaskState::Stopping, ..task("api", 1, 20, "/api/*") };
    assert_eq!(rules(&added(std::slice::from_ref(&stopping))).len(), 2);
    assert_eq!(rules(&added(&[])).len(), 1);
    let gone = [(SourceKind::Docker, Arc::new(stopping))];
    let labelled = add(&Arc::new(written(&[8080])), Tasks::new(), &gone);
    assert_eq!(rules(&labelled), [ten("written"), (20, "api".into())]);
    let other = task("web", 9, 20, "/web/*");
    let labelled =
        add(&Arc::new(written(&[8080])), Tasks::from([(SourceKind::Docker, vec![Arc::new(other)])]), &gone);
    assert_eq!(
        rules(&labelled),
        [ten("written"), (20, "web".into())],
        "whoever is there has the right of way"
    );
    assert!(labelled.quarantined.is_empty());
}

#[test]
fn a_listener_is_named_by_its_load_balancer_and_port() {
    let mut unknown = task("api", 1, 20, "/api/*");
    unknown.labels.rule.as_mut().unwrap().port = Some(9090);
    let labelled = added(&[unknown.clone(), task("web", 2, 30, "/web/*")]);
    check_left_out(&labelled, "container api-1", &["no application listener `edge:9090`", "edge:8080"]);
    assert_eq!(rules(&labelled).len(), 2, "the other is not disturbed");

    let mut alone = unknown;
    alone.labels.rule.as_mut().unwrap().port = None;
    assert_eq!(rules(&added(&[alone.clone()])).len(), 2);
    let two = added_to(written(&[8080, 8081]), &[alone]);
    check_left_out(&two, "container api-1", &["edge:8080, edge:8081"]);
}

#[test]
fn a_network_listener_takes_no_rules() {
    let mut definitions = written(&[8080]);
    definitions.load_balancers[0].listeners[0].kind =
        ListenerKind::Network(crate::definition::NetworkListener::new(
            crate::definition::NetworkProtocol::Tcp,
            Forward::to(name("written")),
        ));
    let tasks = [task("api", 1, 20, "/api/*")];
    check_left_out(&added_to(definitions, &tasks), "container api-1", &["name one of none"]);
}

#[test]
fn a_configured_group_takes_the_task_if_it_selects_it_or_is_named_by_the_label() {
    let mut named = task("api", 1, 20, "/api/*");
    named.labels.target_group = Some(name("written"));
    let labelled = added(&[named]);
    assert_eq!(rules(&labelled), [ten("written"), (20, "written".into())]);
    assert_eq!(members(&labelled, "written"), ["api-1"]);

    let labelled = added(&[task("written", 1, 20, "/api/*")]);
    check_left_out(&labelled, "container written-1", &["weir.target_group=written"]);
    let mut definitions = written(&[8080]);
    definitions.target_groups[0].name = name("chosen");
    assert!(added_to(definitions, &[task("chosen", 1, 20, "/api/*")]).quarantined.is_empty());
}

#[test]
fn two_projects_with_one_service_name_do_not_share_a_group() {
    let older = task("api", 1, 20, "/shop/*");
    let newer = Task { project: Some("blog".into()), ..task("api", 2, 30, "/blog/*") };
    let labelled = added(&[newer.clone(), older.clone()]);
    assert_eq!(members(&labelled, "api"), ["api-1"]);
    check_left_out(&labelled, "container api-2", &["service api in project shop", "weir.target_group"]);
    let mut named = newer;
    named.labels.target_group = Some(name("blog"));
    let labelled = added(&[named, older]);
    assert!(labelled.quarantined.is_empty());
    assert_eq!(rules(&labelled), [ten("written"), (20, "api".into()), (30, "blog".into())]);
}

#[test]
fn a_task_without_a_port_or_a_usable_service_is_left_out() {
    let closed = Task { ports: Vec::new(), ..task("api", 1, 20, "/api/*") };
    check_left_out(&added(&[closed]), "container api-1", &["publishes no TCP port"]);
    let odd = Task { service: Some("a b".into()), ..task("api", 1, 20, "/api/*") };
    check_left_out(&added(&[odd]), "container api-1", &["name one with `weir.target_group`"]);
}
