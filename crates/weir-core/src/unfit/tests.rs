//! What is told of tasks that do not fit their groups.

use std::sync::Arc;

use super::*;
use crate::address::TargetAddr;
use crate::automatic;
use crate::definition::{
    Listener, LoadBalancer, NetworkListener, NetworkProtocol, TargetProtocol, TaskSelector,
};
use crate::name::LoadBalancerName;
use crate::rule::Forward;
use crate::target::Weight;
use crate::task::{Provenance, TaskLabels, TaskPort};

/// A container that publishes its port 53 like that.
fn container(name: &str, transports: &[Transports], server_id: Option<u64>) -> Task {
    let port = |(number, transports): (u16, &Transports)| TaskPort {
        container_port: 53,
        transports: *transports,
        addr: TargetAddr(([127, 0, 0, 1], number).into()),
    };
    Task {
        id: None,
        name: name.to_owned(),
        service: Some("dns".to_owned()),
        project: None,
        ports: (5300..).zip(transports).map(port).collect(),
        labels: TaskLabels { server_id: server_id.map(ServerId), ..TaskLabels::default() },
        state: TaskState::Running,
        provenance: Arc::new(Provenance { source: "docker", origin: format!("container {name}") }),
        cause: "start".to_owned(),
    }
}

/// A group of that protocol that selects the containers of a service.
fn group(name: &str, protocol: TargetProtocol, service: &str) -> TargetGroup {
    let selector = TaskSelector {
        source: SourceKind::Docker,
        service: Some(service.to_owned()),
        project: None,
        container_port: Some(53),
        weight: Weight::ONE,
    };
    let group =
        automatic::target_group(GroupName::parse(name).unwrap(), vec![TargetSelector::Tasks(selector)]);
    TargetGroup { protocol, ..group }
}

/// Who does not fit a group of that protocol that selects all of `tasks`, and why.
fn unfit_for(protocol: TargetProtocol, tasks: &[Task]) -> Vec<(String, String)> {
    let target_groups = vec![group("names", protocol, "dns")];
    told(&Definitions { target_groups, ..Definitions::default() }, tasks)
}

fn told(definitions: &Definitions, tasks: &[Task]) -> Vec<(String, String)> {
    let tasks = Tasks::from([(SourceKind::Docker, tasks.iter().cloned().map(Arc::new).collect())]);
    unfit(definitions, &tasks).into_iter().map(|unfit| (unfit.owner, unfit.error.to_string())).collect()
}

#[test]
fn a_group_of_both_transports_needs_a_port_for_both() {
    let tasks = [
        container("both", &[Transports::BOTH], None),
        container("apart", &[Transports::TCP, Transports::UDP], None),
        container("half", &[Transports::UDP], None),
    ];
    let told = unfit_for(TargetProtocol::TcpUdp, &tasks);
    let owners: Vec<&str> = told.iter().map(|(owner, _)| owner.as_str()).collect();
    assert_eq!(owners, ["container apart", "container half"]);
    assert!(told[0].1.contains("`names` needs a port for tcp+udp"), "{told:?}");
}

#[test]
fn a_group_of_datagrams_needs_a_port_for_them() {
    let tasks = [
        container("both", &[Transports::BOTH], None),
        container("apart", &[Transports::TCP, Transports::UDP], None),
        container("tcp", &[Transports::TCP], None),
    ];
    let told = unfit_for(TargetProtocol::Udp, &tasks);
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].0 == "container tcp" && told[0].1.contains("a port for udp"), "{told:?}");
    assert_eq!(unfit_for(TargetProtocol::Tcp, &tasks), [], "of connections there has never been news");
}

#[test]
fn of_two_servers_with_one_id_the_first_counts_and_one_without_is_told() {
    let udp = &[Transports::UDP];
    let leaving = Task { state: TaskState::Stopping, ..container("leaving", udp, Some(1)) };
    let tasks = [
        leaving,
        container("one", udp, Some(1)),
        container("two", udp, Some(2)),
        container("same", udp, Some(2)),
        container("none", udp, None),
    ];
    let told = unfit_for(TargetProtocol::Quic, &tasks);
    let owners: Vec<&str> = told.iter().map(|(owner, _)| owner.as_str()).collect();
    assert_eq!(owners, ["container same", "container none"]);
    assert!(told[0].1.contains("0x0000000000000002 is the id of container two"), "{told:?}");
    assert!(told[1].1.contains("`weir.quic_server_id`"), "{told:?}");
}

#[test]
fn of_two_servers_of_one_listener_with_one_id_the_first_counts_also_in_two_groups() {
    let udp = &[Transports::UDP];
    let blue = |name, id| Task { service: Some("blue".to_owned()), ..container(name, udp, Some(id)) };
    let tasks =
        [container("one", udp, Some(1)), container("two", udp, Some(2)), blue("three", 2), blue("four", 4)];
    let target_groups = [("names", "dns"), ("blue", "blue"), ("same", "dns")]
        .map(|(name, service)| group(name, TargetProtocol::Quic, service));
    let apart = Definitions { target_groups: target_groups.to_vec(), ..Definitions::default() };
    assert_eq!(told(&apart, &tasks), [], "no listener has both groups");
    let groups = target_groups.iter().map(|group| (group.name.clone(), 1)).collect();
    let listener = Listener {
        bind: crate::address::ListenAddr(([127, 0, 0, 1], 443).into()),
        proxies: None,
        kind: ListenerKind::Network(NetworkListener::new(
            NetworkProtocol::Quic,
            Forward { groups, stickiness: None },
        )),
    };
    let load_balancer = LoadBalancer {
        name: LoadBalancerName::parse("edge").unwrap(),
        idle_timeout: std::time::Duration::from_secs(60),
        logs: crate::logs::Logs::default(),
        http: crate::definition::HttpSettings::default(),
        listeners: vec![listener],
    };
    let together = told(&Definitions { load_balancers: vec![load_balancer], ..apart }, &tasks);
    // Those of `same` are targets of `names`, too: each is one server.
    assert_eq!(together.len(), 1, "{together:?}");
    assert!(
        together[0].0 == "container three" && together[0].1.contains("is the id of container two"),
        "{together:?}"
    );
}
