//! Documents in the shapes of AWS's API reference, of the ECS agent and of Cloud Map, and what weir makes of them.

use std::net::{IpAddr, Ipv4Addr};

use proptest::prelude::*;
use serde_json::{Value, json};
use weir_core::task::TaskState;

use super::documents::{DefinitionDocument, DescribedTasks};
use super::model::{Instance, Known};
use super::*;

const HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const INSTANCE: &str = "arn:aws:ecs:eu-central-1:1:container-instance/shop/c1";
const DEFINITION: &str = "arn:aws:ecs:eu-central-1:1:task-definition/web:8";

fn arn(id: &str) -> String {
    format!("arn:aws:ecs:eu-central-1:1:task/shop/{id}")
}

/// A task of service `api` in bridge mode, as `DescribeTasks` gives it.
fn bridge(id: &str, version: i64) -> Value {
    json!({
        "taskArn": arn(id), "clusterArn": "arn:aws:ecs:eu-central-1:1:cluster/shop",
        "taskDefinitionArn": DEFINITION, "containerInstanceArn": INSTANCE,
        "group": "service:api", "lastStatus": "RUNNING", "desiredStatus": "RUNNING", "version": version,
        "startedAt": 1_440_938_160.5, "connectivity": "CONNECTED", "attachments": [],
        "tags": [{ "key": "weir.weight", "value": "3" }, { "key": "team", "value": "blue" }],
        "containers": [{
            "name": "app", "runtimeId": format!("runtime-{id}"), "lastStatus": "RUNNING", "healthStatus": "UNKNOWN",
            "networkBindings": [
                { "bindIP": "0.0.0.0", "containerPort": 80, "hostPort": 32769, "protocol": "tcp" },
                { "bindIP": "::", "containerPort": 80, "hostPort": 32769, "protocol": "tcp" },
            ],
            "networkInterfaces": [],
        }],
    })
}

/// A Fargate task: no container instance, no bindings.
fn fargate(id: &str) -> Value {
    let mut task = bridge(id, 1);
    task["containerInstanceArn"] = Value::Null;
    task["containers"][0]["networkBindings"] = json!([]);
    task["containers"][0]["networkInterfaces"] =
        json!([{ "attachmentId": "a", "privateIpv4Address": "10.0.1.9", "ipv6Address": "fd00::9" }]);
    task
}

/// What is known of a cluster that has the instance, and the definition with one port.
fn known(network_mode: &str) -> Known {
    let mut known = Known::default();
    let definition = json!({
        "networkMode": network_mode,
        "containerDefinitions": [{
            "name": "app", "dockerLabels": { "weir.weight": "2", "weir.project": "lab" },
            "portMappings": [{ "containerPort": 8080, "hostPort": 8080, "protocol": "tcp" },
                             { "containerPort": 53, "protocol": "udp" }],
        }],
    });
    let definition: DefinitionDocument = serde_json::from_value(definition).unwrap();
    known.definitions.insert(DEFINITION.to_owned(), definition);
    known.instances.insert(INSTANCE.to_owned(), Instance { id: "i-1".to_owned(), address: Some(HOST) });
    known
}

fn described(tasks: &[Value]) -> DescribedTasks {
    api::parse(json!({ "tasks": tasks, "failures": [] }).to_string().as_bytes()).unwrap()
}

/// What weir follows once these tasks are described to it.
fn followed(mut known: Known, tasks: &[Value]) -> (Vec<Task>, BTreeSet<Mistake>) {
    // An answer drops what no task refers to.
    let kept = (known.definitions.clone(), known.instances.clone());
    let mut mistakes = known.take_in(described(tasks));
    (known.definitions, known.instances) = kept;
    (known.tasks("shop", &mut mistakes), mistakes)
}

fn addrs(tasks: &[Task]) -> Vec<String> {
    let ports = tasks.iter().flat_map(|task| &task.ports);
    ports.map(|port| format!("{}/{}={}", port.container_port, port.transports, port.addr)).collect()
}

// Conformance: A3.1.17
#[test]
fn a_task_in_bridge_mode_is_at_its_host_port_of_the_instance() {
    let (tasks, mistakes) = followed(known("bridge"), &[bridge("1", 1)]);
    assert_eq!((addrs(&tasks), mistakes), (vec!["80/tcp=10.0.0.1:32769".to_owned()], BTreeSet::new()));
    let task = &tasks[0];
    let id = task.id.as_ref().unwrap();
    assert_eq!((&*id.id, &*id.generation), (format!("{} app", arn("1")).as_str(), "runtime-1"));
    // The label of the definition names the project, and the task's own tag the weight.
    assert_eq!((task.service.as_deref(), task.project.as_deref()), (Some("api"), Some("lab")));
    assert_eq!(task.labels.weight.map(weir_core::target::Weight::get), Some(3));
}

#[test]
fn a_task_with_an_interface_of_its_own_is_at_its_container_port() {
    let (tasks, _) = followed(known("awsvpc"), &[fargate("1")]);
    assert_eq!(addrs(&tasks), ["53/udp=10.0.1.9:53", "8080/tcp=10.0.1.9:8080"]);
    let mut attached = fargate("1");
    attached["containers"][0]["networkInterfaces"] = json!([]);
    attached["attachments"] = json!([{ "type": "ElasticNetworkInterface", "details": [
        { "name": "subnetId", "value": "subnet-1" }, { "name": "privateIPv4Address", "value": "10.0.1.10" },
    ] }]);
    assert_eq!(
        addrs(&followed(known("awsvpc"), &[attached]).0),
        ["53/udp=10.0.1.10:53", "8080/tcp=10.0.1.10:8080"]
    );
}

#[test]
fn a_task_in_the_host_s_network_is_at_its_container_port_of_the_instance() {
    let mut task = bridge("1", 1);
    task["containers"][0]["networkBindings"] = json!([]);
    assert_eq!(
        addrs(&followed(known("host"), std::slice::from_ref(&task)).0),
        ["53/udp=10.0.0.1:53", "8080/tcp=10.0.0.1:8080"]
    );
    let (tasks, _) = followed(known("bridge"), &[task]);
    assert!(tasks.is_empty(), "in bridge mode a port that is not known yet is none: {tasks:?}");
}

// Conformance: A3.1.17
#[test]
fn two_containers_of_a_task_are_two_identities() {
    let mut task = bridge("1", 1);
    let mut second = task["containers"][0].clone();
    second["name"] = json!("metrics");
    second["networkBindings"] = json!([{ "containerPort": 80, "hostPort": 32770 }]);
    task["containers"].as_array_mut().unwrap().push(second);
    let (tasks, _) = followed(known("bridge"), &[task]);
    assert_eq!(addrs(&tasks), ["80/tcp=10.0.0.1:32769", "80/tcp=10.0.0.1:32770"]);
    assert_ne!(tasks[0].id, tasks[1].id);
}

#[test]
fn only_what_runs_and_shall_run_serves_and_what_shall_stop_drains() {
    let with = |last: &str, desired: &str| {
        let mut task = bridge("1", 1);
        task["lastStatus"] = json!(last);
        task["desiredStatus"] = json!(desired);
        followed(known("bridge"), &[task]).0.first().map(|task| task.state)
    };
    assert_eq!(with("RUNNING", "RUNNING"), Some(TaskState::Running));
    assert_eq!(with("RUNNING", "STOPPED"), Some(TaskState::Stopping));
    for lingering in ["DEPROVISIONING", "STOPPED", "PENDING"] {
        assert_eq!(with(lingering, "STOPPED"), None, "{lingering}");
    }
}

#[test]
fn a_container_that_has_ended_is_gone_and_an_unhealthy_one_is_said_to_be() {
    let with = |field: &str, value: &str| {
        let mut task = bridge("1", 1);
        task["containers"][0][field] = json!(value);
        followed(known("bridge"), &[task]).0.first().map(|task| task.state)
    };
    assert_eq!(with("lastStatus", "STOPPED"), None);
    assert_eq!(with("healthStatus", "UNHEALTHY"), Some(TaskState::Failing));
}

#[test]
fn of_two_descriptions_the_higher_version_counts() {
    let mut stopping = bridge("1", 5);
    stopping["desiredStatus"] = json!("STOPPED");
    for order in [[stopping.clone(), bridge("1", 4)], [bridge("1", 4), stopping.clone()]] {
        let (tasks, _) = followed(known("bridge"), &order);
        assert_eq!(tasks.iter().map(|task| task.state).collect::<Vec<_>>(), [TaskState::Stopping]);
    }
}

#[test]
fn a_disconnected_agent_keeps_its_tasks_and_a_missing_task_is_gone() {
    let mut known = known("bridge");
    let mut disconnected = bridge("1", 2);
    disconnected["connectivity"] = json!("DISCONNECTED");
    known.take_in(described(&[disconnected, bridge("2", 1)]));
    // Neither described nor missing: half an answer takes nothing away.
    known.take_in(described(&[]));
    assert_eq!(known.tasks("shop", &mut BTreeSet::new()).len(), 2);
    let missing = json!({ "failures": [{ "arn": arn("2"), "reason": "MISSING" }] });
    known.take_in(api::parse(missing.to_string().as_bytes()).unwrap());
    assert_eq!(known.tasks("shop", &mut BTreeSet::new()).len(), 1);
}

#[test]
fn a_task_with_a_mistake_is_left_out_alone() {
    let mut mislabelled = bridge("1", 1);
    mislabelled["tags"] = json!([{ "key": "weir.prot", "value": "80" }]);
    let mut shapeless = bridge("2", 1);
    shapeless["containers"] = json!("none");
    let mut astray = bridge("3", 1);
    astray["containerInstanceArn"] = json!("arn:aws:ecs:eu-central-1:1:container-instance/shop/c2");
    let (tasks, mistakes) = followed(known("bridge"), &[mislabelled, shapeless, astray, bridge("4", 1)]);
    assert_eq!(tasks.len(), 1);
    let told: Vec<String> = mistakes.into_iter().map(|m| format!("{} {}", m.owner, m.problem)).collect();
    assert!(told.iter().any(|m| m.contains("did you mean `weir.port`")), "{told:?}");
    assert!(told.iter().any(|m| m.contains("another shape")), "{told:?}");
    assert!(told.iter().any(|m| m.contains("`instance_addresses: { c2:")), "{told:?}");
}

#[test]
fn an_ec2_instance_is_at_its_primary_private_address() {
    let xml = "<reservationSet><item><instancesSet><item><instanceId>i-1</instanceId><privateDnsName>a</privateDnsName>\
        <privateIpAddress>10.0.0.1</privateIpAddress><networkInterfaceSet><item><privateIpAddress>10.0.0.9\
        </privateIpAddress></item></networkInterfaceSet></item><item><instanceId>i-2</instanceId></item>\
        <item><instanceId>i-3</instanceId><privateIpAddress/></item></instancesSet></item></reservationSet>";
    assert_eq!(cluster::ec2_addresses(xml), [("i-1", HOST)].into());
}

/// An agent's answer with one task.
fn agent(task: Value) -> Value {
    let mut whole = json!({
        "Arn": arn("1"), "DesiredStatus": "RUNNING", "KnownStatus": "RUNNING", "Family": "web", "Version": "8",
        "Containers": [{
            "DockerId": "d1", "DockerName": "ecs-web-8-app-1", "Name": "app",
            "Ports": [{ "ContainerPort": 80, "Protocol": "tcp", "HostPort": 32769 }],
            "Networks": [{ "NetworkMode": "bridge", "IPv4Addresses": ["172.17.0.2"] }],
        }],
    });
    if let Value::Object(fields) = task {
        for (name, value) in fields {
            whole[name.as_str()] = value;
        }
    }
    json!({ "Tasks": [whole] })
}

#[test]
fn an_agent_s_tasks_are_at_the_instance() {
    let read = |document: Value| introspection::read(document.to_string().as_bytes(), HOST).map(|a| a.tasks);
    let tasks = read(agent(json!({}))).unwrap();
    assert_eq!(addrs(&tasks), ["80/tcp=10.0.0.1:32769"]);
    assert_eq!((tasks[0].service.as_deref(), tasks[0].project.as_deref()), (Some("web"), Some("shop")));
    let stopping = read(agent(json!({ "DesiredStatus": "STOPPED" }))).unwrap();
    assert_eq!(stopping[0].state, TaskState::Stopping);
    for lingering in [
        json!({ "KnownStatus": "STOPPED", "DesiredStatus": "STOPPED" }),
        json!({ "KnownStatus": "STOPPED", "DesiredStatus": null }),
        json!({ "KnownStatus": "PENDING" }),
        // Old agents say no ports, and new ones not which until they know.
        json!({ "Containers": [{ "DockerId": "d", "Name": "app" }] }),
        json!({ "Containers": [{ "DockerId": "d", "Name": "app", "Ports": [{ "ContainerPort": 80 }] }] }),
    ] {
        assert!(read(agent(lingering.clone())).unwrap().is_empty(), "{lingering}");
    }
    let own = json!({ "Containers": [{
        "DockerId": "d", "Name": "app", "Ports": [{ "ContainerPort": 80, "HostPort": 80 }],
        "Networks": [{ "NetworkMode": "awsvpc", "IPv4Addresses": ["10.0.1.9"] }],
    }] });
    assert_eq!(addrs(&read(agent(own)).unwrap()), ["80/tcp=10.0.1.9:80"]);
    assert!(read(json!({ "Jobs": [] })).unwrap_err().contains("not an ECS agent's list"));
}

fn instances(instances: &Value) -> Answer {
    let answer = json!({ "Instances": instances, "InstancesRevision": 1 });
    cloud_map::read(&api::parse(answer.to_string().as_bytes()).unwrap(), "api")
}

#[test]
fn an_instance_of_cloud_map_that_is_gone_drains_and_may_return() {
    let both = instances(&json!([
        { "InstanceId": "1", "Attributes": { "AWS_INSTANCE_IPV4": "10.0.0.1", "AWS_INSTANCE_PORT": "32769",
          "ECS_SERVICE_NAME": "web", "ECS_CLUSTER_NAME": "shop" } },
        { "InstanceId": "2", "Attributes": { "AWS_INSTANCE_IPV4": "10.0.0.2", "AWS_INSTANCE_PORT": "80" } },
        { "InstanceId": "3", "Attributes": { "AWS_INSTANCE_IPV4": "10.0.0.3" } },
    ]));
    assert_eq!(addrs(&both.tasks), ["32769/tcp+udp=10.0.0.1:32769", "80/tcp+udp=10.0.0.2:80"]);
    let services: Vec<_> = both.tasks.iter().filter_map(|task| task.service.as_deref()).collect();
    assert_eq!(services, ["web", "api"]);
    assert!(both.mistakes.first().unwrap().problem.contains("AWS_INSTANCE_PORT"));

    let (mut departures, now) = (cloud_map::Departures::default(), Instant::now());
    let mut states = |tasks: &[Task], seconds| {
        let told = departures.add(tasks.to_vec(), now + Duration::from_secs(seconds));
        told.into_iter().map(|task| task.state).collect::<Vec<_>>()
    };
    let (running, stopping) = (TaskState::Running, TaskState::Stopping);
    assert_eq!(states(&both.tasks, 0), [running, running]);
    assert_eq!(states(&both.tasks[..1], 1), [running, stopping]);
    assert_eq!(states(&both.tasks, 2), [running, running]);
    assert_eq!(states(&[], 3), [stopping, stopping]);
    assert_eq!(states(&[], 3602), [stopping, stopping]);
    assert_eq!(states(&[], 3603), []);
}

#[test]
fn an_answer_that_takes_away_everything_is_believed_when_it_is_repeated() {
    let (full, empty) = (
        Answer { tasks: followed(known("bridge"), &[bridge("1", 1)]).0, ..Answer::default() },
        Answer::default(),
    );
    let mut doubt = Doubt::default();
    assert!(!doubt.is_cast_on(&empty), "nothing was there that it could take away");
    assert!(!doubt.is_cast_on(&full));
    assert!(doubt.is_cast_on(&empty));
    assert!(!doubt.is_cast_on(&full));
    assert!(doubt.is_cast_on(&empty));
    assert!(!doubt.is_cast_on(&empty));
    assert!(!doubt.is_cast_on(&empty));
}

/// Replaces the value at `at`, counted from above, by another.
fn mutate(value: &mut Value, at: &mut usize, other: &Value) {
    if *at == 0 {
        *value = other.clone();
    }
    *at = at.wrapping_sub(1);
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| mutate(item, at, other)),
        Value::Object(fields) => fields.values_mut().for_each(|field| mutate(field, at, other)),
        _ => {}
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        Just(json!([])),
        Just(json!([{}])),
        Just(json!({})),
    ]
}

proptest! {
    #[test]
    fn no_mutation_breaks_a_reader_nor_another_task(at in 0..60_usize, other in any_value()) {
        let mut mutated = bridge("1", 1);
        mutate(&mut mutated, &mut at.clone(), &other);
        let (tasks, _) = followed(known("bridge"), &[mutated, bridge("2", 1)]);
        prop_assert!(tasks.iter().any(|task| task.name == "app/2"));

        let mut mutated = agent(json!({}));
        mutate(&mut mutated, &mut at.clone(), &other);
        let _ = introspection::read(mutated.to_string().as_bytes(), HOST);

        let mut mutated = json!({ "Instances": [{ "InstanceId": "1", "Attributes": {
            "AWS_INSTANCE_IPV4": "10.0.0.1", "AWS_INSTANCE_PORT": "80" } }] });
        mutate(&mut mutated, &mut at.clone(), &other);
        if let Ok(discovered) = api::parse(mutated.to_string().as_bytes()) {
            let _ = cloud_map::read(&discovered, "api");
        }
    }

    #[test]
    fn no_bytes_break_a_reader(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = introspection::read(&bytes, HOST);
        let _ = cluster::ec2_addresses(&String::from_utf8_lossy(&bytes));
        let _ = api::parse::<DescribedTasks>(&bytes);
    }
}
