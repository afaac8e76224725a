//! The model of a Swarm, from documents as a manager writes them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bollard::models::{Node, Service, Task as Document};
use weir_core::target::Weight;
use weir_core::task::{Task, TaskState};

use super::model::Model;
use crate::elements::Mistake;

/// The ports of a task, as its node writes them: twice, for IPv4 and for IPv6.
const PORTS: &str = r#"{"Ports":[
    {"Protocol":"tcp","TargetPort":8080,"PublishedPort":32775,"PublishMode":"host"},
    {"Protocol":"udp","TargetPort":53,"PublishedPort":32001,"PublishMode":"host"},
    {"Protocol":"tcp","TargetPort":8080,"PublishedPort":32775,"PublishMode":"host"}]}"#;

fn document(id: &str, node: &str, states: (&str, &str), ports: &str, container_labels: &str) -> Document {
    let (state, desired) = states;
    let text = format!(
        r#"{{"ID":"{id}","CreatedAt":"2026-01-01T00:00:00Z","Labels":{{}},"ServiceID":"s1","Slot":1,"NodeID":"{node}",
            "Spec":{{"ContainerSpec":{{"Image":"a","Labels":{{{container_labels}}},"Isolation":"default"}},
                "Networks":[{{"Target":"net-1"}}],"ForceUpdate":0}},
            "Status":{{"Timestamp":"2026-01-01T00:00:01Z","State":"{state}","Message":"started",
                "ContainerStatus":{{"ContainerID":"c-{id}","PID":1,"ExitCode":0}},"PortStatus":{ports}}},
            "DesiredState":"{desired}"}}"#
    );
    serde_json::from_str(&text).unwrap()
}

fn running(id: &str, node: &str) -> Document {
    document(id, node, ("running", "running"), PORTS, "")
}

fn service(labels: &str, published: &str) -> Vec<Service> {
    let text = format!(
        r#"[{{"ID":"s1","Spec":{{"Name":"shop_api","Labels":{{{labels}}},"TaskTemplate":{{"ForceUpdate":0}}}},
            "Endpoint":{{"Spec":{{"Mode":"vip"}},"Ports":[{published}]}}}}]"#
    );
    serde_json::from_str(&text).unwrap()
}

fn nodes() -> Vec<Node> {
    let text = r#"[
        {"ID":"n1","Description":{"Hostname":"node1"},"Status":{"State":"ready","Addr":"0.0.0.0"},
            "ManagerStatus":{"Leader":true,"Reachability":"reachable","Addr":"10.77.0.1:2377"}},
        {"ID":"n2","Description":{"Hostname":"node2"},"Status":{"State":"ready","Addr":"10.77.0.2"}},
        {"ID":"n3","Description":{"Hostname":"node3"},"Status":{"State":"ready","Addr":"127.0.0.1"}}]"#;
    serde_json::from_str(text).unwrap()
}

const STACK: &str = r#""com.docker.stack.namespace":"shop""#;

fn read_with(
    services: Vec<Service>,
    addresses: &[(&str, &str)],
    own: &str,
    tasks: &[Document],
) -> (Vec<Task>, BTreeSet<Mistake>) {
    let address = |(node, ip): &(&str, &str)| ((*node).to_owned(), ip.parse().unwrap());
    let addresses: BTreeMap<String, IpAddr> = addresses.iter().map(address).collect();
    let mut model = Model::new(addresses, "127.0.0.1".parse().unwrap());
    model.introduce(Some(own.to_owned()), Some("net-host".to_owned()));
    model.refresh(services, nodes(), tasks);
    model.read(tasks)
}

fn read(tasks: &[Document]) -> (Vec<Task>, BTreeSet<Mistake>) {
    read_with(service(STACK, ""), &[], "n1", tasks)
}

fn targets(tasks: &[Task]) -> Vec<String> {
    let ports = tasks.iter().flat_map(|task| &task.ports);
    ports.map(|port| format!("{}/{} at {}", port.container_port, port.transports, port.addr)).collect()
}

#[test]
fn a_task_is_reached_at_its_node_once_at_the_port_that_it_was_given() {
    let (tasks, mistakes) = read(&[running("t2", "n2"), running("t1", "n1")]);
    let expected = |ip: &str| [format!("53/udp at {ip}:32001"), format!("8080/tcp at {ip}:32775")];
    assert_eq!(targets(&tasks), [expected("10.77.0.1"), expected("10.77.0.2")].concat());
    assert!(mistakes.is_empty(), "{mistakes:?}");
    let task = &tasks[1];
    assert_eq!((task.service.as_deref(), task.project.as_deref()), (Some("api"), Some("shop")));
    assert_eq!(task.name, "shop_api.1");
    assert_eq!(task.provenance.to_string(), "swarm: task shop_api.1 (t2) on node2");
    assert_eq!(task.id.as_ref().map(|id| &*id.generation), Some("c-t2"));
}

#[test]
fn a_task_serves_when_it_runs_and_shall_run_and_drains_when_it_shall_not() {
    for (state, desired, expected) in [
        ("running", "running", Some(TaskState::Running)),
        ("running", "shutdown", Some(TaskState::Stopping)),
        ("running", "remove", Some(TaskState::Stopping)),
        ("starting", "running", None),
        ("preparing", "running", None),
        ("ready", "ready", None),
        ("complete", "shutdown", None),
        ("failed", "shutdown", None),
        ("rejected", "shutdown", None),
        ("shutdown", "shutdown", None),
        ("orphaned", "remove", None),
    ] {
        let (tasks, _) = read(&[document("t1", "n1", (state, desired), PORTS, "")]);
        assert_eq!(tasks.first().map(|task| task.state), expected, "{state}, {desired}");
    }
}

#[test]
fn labels_of_the_container_win_over_those_of_the_service() {
    let labels = r#""weir.weight":"2","weir.service":"front""#;
    let of_container = r#""weir.weight":"3""#;
    let document = document("t1", "n1", ("running", "running"), PORTS, of_container);
    let (tasks, _) = read_with(service(labels, ""), &[], "n1", &[document]);
    assert_eq!(tasks[0].labels.weight.map(Weight::get), Some(3));
    assert_eq!((tasks[0].service.as_deref(), tasks[0].project.as_deref()), (Some("front"), None));
}

#[test]
fn a_mistaken_label_leaves_out_its_service_and_is_named_once() {
    let services = service(r#""weir.prot":"80""#, "");
    let (tasks, mistakes) = read_with(services, &[], "n1", &[running("t1", "n1"), running("t2", "n2")]);
    assert!(tasks.is_empty());
    let mistakes: Vec<Mistake> = mistakes.into_iter().collect();
    assert_eq!((mistakes.len(), mistakes[0].owner.as_str()), (1, "service shop_api"));
}

#[test]
fn a_port_of_the_ingress_network_is_left_out_with_the_remedy() {
    let published = r#"{"Protocol":"tcp","TargetPort":8080,"PublishedPort":80,"PublishMode":"ingress"}"#;
    let document = document("t1", "n1", ("running", "running"), "{}", "");
    let (tasks, mistakes) = read_with(service(STACK, published), &[], "n1", &[document]);
    assert!(tasks.is_empty());
    let mistake = mistakes.first().unwrap();
    assert_eq!(mistake.owner, "service shop_api");
    assert!(mistake.problem.contains("--publish mode=host,target=8080"), "{}", mistake.problem);
}

#[test]
fn a_task_in_its_node_s_own_network_is_reached_at_the_port_that_its_label_names() {
    let mut document = document("t1", "n2", ("running", "running"), "{}", r#""weir.port":"9000""#);
    assert!(read(std::slice::from_ref(&document)).0.is_empty(), "in another network it is not reached");
    let networks = document.spec.as_mut().and_then(|spec| spec.networks.as_mut()).unwrap();
    networks[0].target = Some("net-host".to_owned());
    assert_eq!(targets(&read(&[document]).0), ["9000/tcp+udp at 10.77.0.2:9000"]);
}

#[test]
fn a_node_whose_address_is_of_no_use_here_is_named_unless_the_configuration_or_the_engine_says_more() {
    let tasks = [running("t3", "n3"), running("t2", "n2")];
    let (found, mistakes) = read(&tasks);
    assert_eq!(targets(&found)[1..], ["8080/tcp at 10.77.0.2:32775"]);
    let mistake = mistakes.first().unwrap();
    assert_eq!(mistake.owner, "node node3");
    assert!(mistake.problem.contains("addresses: { node3: 10.0.0.1 }"), "{}", mistake.problem);
    for name in ["node3", "n3"] {
        let (found, _) = read_with(service(STACK, ""), &[(name, "192.0.2.3")], "n1", &tasks);
        assert_eq!(targets(&found)[3], "8080/tcp at 192.0.2.3:32775");
    }
    let (found, _) = read_with(service(STACK, ""), &[], "n3", &tasks);
    assert_eq!(targets(&found)[3], "8080/tcp at 127.0.0.1:32775");
}

#[test]
fn a_service_that_was_removed_is_known_while_its_tasks_stop() {
    let tasks = [document("t1", "n1", ("running", "remove"), PORTS, "")];
    let mut model = Model::new(BTreeMap::new(), "127.0.0.1".parse().unwrap());
    assert!(!model.knows_what_they_refer_to(&tasks));
    model.refresh(service(STACK, ""), nodes(), &tasks);
    assert!(model.knows_what_they_refer_to(&tasks));
    model.refresh(Vec::new(), nodes(), &tasks);
    assert_eq!(model.read(&tasks).0.len(), 1);
    model.refresh(Vec::new(), nodes(), &[]);
    assert!(model.read(&tasks).0.is_empty());
}
