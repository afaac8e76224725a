//! Targets from Amazon ECS: moto's API, an API that a test controls down to the document, and an agent.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use weir_core::health::Health;
use weir_discovery::ecs::Credentials;
use weir_tests::server::START_DEADLINE;
use weir_tests::target::{Received, respond};
use weir_tests::yaml::{application, group_of};
use weir_tests::{Binary, FakeTarget, Folder, Moto, Weir, wait_at_most, wait_until};

/// A configuration with this source and one group of the service `api`.
fn configuration(ecs: &str) -> String {
    let group = group_of("web", "deregistration_delay: 60s", "{ ecs: { service: api } }");
    let listener = "default_action: { forward: web }";
    format!("discovery: {{ ecs: {{ interval: 100ms, {ecs} }} }}\n{}", application(&[group], "", listener))
}

fn following_with(ecs: &str, (id, secret): (&str, &str)) -> Weir {
    let credentials = Credentials::new(id, secret, None);
    Weir::start_in(Folder::new(), &configuration(ecs), |setup| setup.aws_credentials = Some(credentials))
}

fn following(ecs: &str) -> Weir {
    following_with(ecs, ("AKIDTEST", "secret"))
}

fn told(weir: &Weir, what: &str) {
    wait_until(&format!("{what:?} is told"), || weir.admin("/api/v1/events").body.contains(what));
}

/// A task definition `api` with one port in the host's network.
fn register(moto: &Moto, port: u16) {
    moto.ecs(
        "RegisterTaskDefinition",
        &json!({ "family": "api", "networkMode": "host", "containerDefinitions": [{
            "name": "app", "image": "shop/api", "memory": 64,
            "portMappings": [{ "containerPort": port, "hostPort": port, "protocol": "tcp" }],
        }] }),
    );
}

/// A cluster of moto's with one task in the host's network, which is `target`: its ARN, and a configuration in which its
/// instance is on loopback.
fn run_task(moto: &Moto, target: &FakeTarget) -> (String, String) {
    moto.ecs("CreateCluster", &json!({ "clusterName": "shop" }));
    let (instance, _) = moto.container_instance("shop");
    register(moto, target.addr().port());
    let ran = moto.ecs(
        "RunTask",
        &json!({ "cluster": "shop", "taskDefinition": "api", "group": "service:api", "launchType": "EC2",
            "tags": [{ "key": "weir.weight", "value": "3" }] }),
    );
    let arn = ran["tasks"][0]["taskArn"].as_str().unwrap().to_owned();
    (arn, format!("cluster: shop, region: us-east-1, instance_addresses: {{ {instance}: 127.0.0.1 }}"))
}

#[test]
fn tasks_of_a_cluster_come_and_go_and_every_request_is_signed() {
    let moto = Moto::start();
    let target = FakeTarget::answering("task");
    let (arn, ecs) = run_task(&moto, &target);
    moto.ecs(
        "RegisterTaskDefinition",
        &json!({ "family": "own", "networkMode": "awsvpc", "containerDefinitions": [{
            "name": "app", "image": "shop/api", "memory": 64, "portMappings": [{ "containerPort": 8080 }],
        }] }),
    );
    let ran = moto.ecs(
        "RunTask",
        &json!({ "cluster": "shop", "taskDefinition": "own", "group": "service:api", "launchType": "FARGATE",
            "networkConfiguration": { "awsvpcConfiguration": { "subnets": [moto.subnet()], "securityGroups": [] } } }),
    );
    let details = ran["tasks"][0]["attachments"][0]["details"].as_array().unwrap();
    let address = details.iter().find(|detail| detail["name"] == "privateIPv4Address").unwrap();
    let own = format!("{}:8080", address["value"].as_str().unwrap()).parse().unwrap();

    let ecs = format!("{ecs}, endpoint: \"http://{}\"", moto.addr());
    let weir = following(&ecs);
    weir.wait_for_health(target.addr(), Health::Healthy);
    assert_eq!(weir.get("/").body, "task");
    assert_eq!(weir.member(target.addr()).unwrap().weight.get(), 3);
    assert!(weir.member(own).is_some(), "the task with an interface of its own is at {own}");
    // Moto's tasks stop at once, and go on being described.
    moto.ecs("StopTask", &json!({ "cluster": "shop", "task": arn }));
    wait_until("the stopped task is gone", || weir.member(target.addr()).is_none());

    let (id, secret) = moto.demand_signatures();
    let signing = following_with(&ecs, (&id, &secret));
    wait_until("a signed request is answered", || signing.member(own).is_some());
    let forger = following_with(&ecs, (&id, "another secret"));
    told(&forger, "SignatureDoesNotMatch");
    assert!(forger.member(own).is_none());
}

#[test]
fn an_instance_whose_address_nothing_names_is_asked_for_at_ec2() {
    let moto = Moto::start();
    let target = FakeTarget::answering("nobody asks it");
    moto.ecs("CreateCluster", &json!({ "clusterName": "shop" }));
    let (_, address) = moto.container_instance("shop");
    let port = target.addr().port();
    register(&moto, port);
    moto.ecs("RunTask", &json!({ "cluster": "shop", "taskDefinition": "api", "launchType": "EC2" }));
    let weir = following(&format!("cluster: shop, region: us-east-1, endpoint: \"http://{}\"", moto.addr()));
    let addr = format!("{address}:{port}").parse().unwrap();
    wait_until(&format!("the task is a target at {addr}"), || weir.member(addr).is_some());
}

#[test]
fn instances_of_cloud_map_come_and_go() {
    let moto = Moto::start();
    moto.cloud_map("CreateHttpNamespace", &json!({ "Name": "internal", "CreatorRequestId": "1" }));
    let namespaces = moto.cloud_map("ListNamespaces", &json!({}));
    let service = moto.cloud_map(
        "CreateService",
        &json!({ "Name": "api", "NamespaceId": namespaces["Namespaces"][0]["Id"], "CreatorRequestId": "2" }),
    );
    let service = &service["Service"]["Id"];
    let targets = [FakeTarget::answering("first"), FakeTarget::answering("second")];
    let register = |id: &str, target: &FakeTarget| {
        let attributes = json!({ "AWS_INSTANCE_IPV4": "127.0.0.1", "AWS_INSTANCE_PORT": target.addr().port().to_string() });
        moto.cloud_map(
            "RegisterInstance",
            &json!({ "ServiceId": service, "InstanceId": id, "CreatorRequestId": id, "Attributes": attributes }),
        );
    };
    register("1", &targets[0]);
    let weir = following(&format!(
        "region: us-east-1, endpoint: \"http://{}\", cloud_map: {{ namespace: internal, service: api }}",
        moto.addr()
    ));
    weir.wait_for_health(targets[0].addr(), Health::Healthy);
    register("2", &targets[1]);
    weir.wait_for_health(targets[1].addr(), Health::Healthy);
    moto.cloud_map("DeregisterInstance", &json!({ "ServiceId": service, "InstanceId": "1" }));
    weir.wait_for_health(targets[0].addr(), Health::Draining);
    assert_eq!(weir.get("/").body, "second");
}

#[test]
fn a_server_is_asked_over_tls_when_its_certificate_is_trusted() {
    let moto = Moto::start_tls();
    let folder = Folder::new();
    let path = folder.write(
        "weir.yaml",
        &format!(
            "admin: {{ bind: \"127.0.0.1:0\" }}\n{}",
            configuration(&format!(
                "cluster: none, region: us-east-1, endpoint: \"https://{}\"",
                moto.addr()
            ))
        ),
    );
    let said = |certificates: &std::path::Path, what: &str| {
        let mut command = Binary::command(&["run", "-c", path.to_str().unwrap()]);
        command.env("SSL_CERT_FILE", certificates).env_remove("SSL_CERT_DIR");
        command.env("AWS_ACCESS_KEY_ID", "AKIDTEST").env("AWS_SECRET_ACCESS_KEY", "secret");
        let log = folder.path().join("log");
        let file = std::fs::File::create(&log).unwrap();
        command.stdout(file.try_clone().unwrap()).stderr(file);
        let mut child = command.spawn().unwrap();
        // Moto reads the code of a service when it is first asked for it.
        wait_at_most(START_DEADLINE, &format!("weir says {what:?}"), || {
            std::fs::read_to_string(&log).unwrap().contains(what)
        });
        let _ = (child.kill(), child.wait());
    };
    // Moto knows no such cluster, which only somebody who can read its answer learns.
    said(&moto.certificate(), "ClusterNotFoundException");
    moto.replace_certificate();
    said(&moto.certificate(), "cannot speak TLS");
}

#[test]
fn missing_credentials_are_named() {
    let folder = Folder::new();
    let path = folder.write("weir.yaml", &configuration("cluster: shop, region: us-east-1"));
    let mut command = Binary::command(&["run", "-c", path.to_str().unwrap()]);
    command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && said.contains("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        "{said}"
    );
}

/// An ECS API whose documents a test writes: pages of one task, and whatever moto does not do.
struct Ecs {
    server: FakeTarget,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// Tasks that are described, by ARN.
    tasks: Mutex<BTreeMap<String, Value>>,
    /// Nothing is listed, whatever is described.
    lists_nothing: AtomicBool,
    throttles: AtomicBool,
    /// Every page names another one.
    never_ends: AtomicBool,
}

impl Ecs {
    fn start() -> Self {
        let shared = Arc::new(Shared::default());
        let answering = shared.clone();
        let server = FakeTarget::behaving(move |request, stream| {
            if answering.throttles.load(Relaxed) {
                let refusal = r#"{"__type":"ThrottlingException","message":"Rate exceeded"}"#;
                return respond(stream, 400, refusal);
            }
            respond(stream, 200, &answering.answer(request).to_string())
        });
        Self { server, shared }
    }

    /// A task in bridge mode at the target's port.
    fn run(&self, id: &str, target: &FakeTarget) {
        let task = json!({
            "taskArn": id, "clusterArn": "cluster/shop", "taskDefinitionArn": "task-definition/api:1",
            "containerInstanceArn": "container-instance/c1", "group": "service:api", "version": 1,
            "lastStatus": "RUNNING", "desiredStatus": "RUNNING", "startedAt": null,
            "containers": [{ "name": "app", "runtimeId": id, "lastStatus": "RUNNING", "networkInterfaces": [],
                "networkBindings": [
                    { "bindIP": "0.0.0.0", "containerPort": 80, "hostPort": target.addr().port(), "protocol": "tcp" },
                    { "bindIP": "::", "containerPort": 80, "hostPort": target.addr().port(), "protocol": "tcp" },
                ] }],
        });
        self.shared.tasks.lock().unwrap().insert(id.to_owned(), task);
    }

    fn change(&self, id: &str, field: &str, value: Value) {
        let mut tasks = self.shared.tasks.lock().unwrap();
        let task = tasks.get_mut(id).unwrap();
        task["version"] = json!(task["version"].as_i64().unwrap() + 1);
        task[field] = value;
    }

    fn forget(&self, id: &str) {
        self.shared.tasks.lock().unwrap().remove(id);
    }

    fn following(&self) -> Weir {
        following(&format!(
            "cluster: shop, region: r, services: [api], endpoint: \"http://{}\"",
            self.server.addr()
        ))
    }
}

impl Shared {
    fn answer(&self, request: &Received) -> Value {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let tasks = self.tasks.lock().unwrap();
        match request.header("x-amz-target").rsplit('.').next().unwrap() {
            "ListTasks" => {
                assert_eq!((&body["serviceName"], &body["cluster"]), (&json!("api"), &json!("shop")));
                let is_listed =
                    |task: &&Value| task["desiredStatus"] == "RUNNING" && !self.lists_nothing.load(Relaxed);
                let arns: Vec<&Value> =
                    tasks.values().filter(is_listed).map(|task| &task["taskArn"]).collect();
                let page: usize = body["nextToken"].as_str().map_or(0, |token| token.parse().unwrap());
                let has_next = page + 1 < arns.len() || self.never_ends.load(Relaxed);
                let next = has_next.then(|| (page + 1).to_string());
                json!({ "taskArns": arns.get(page).into_iter().collect::<Vec<_>>(), "nextToken": next })
            }
            "DescribeTasks" => {
                assert_eq!(body["include"], json!(["TAGS"]));
                let asked = body["tasks"].as_array().unwrap().iter().map(|arn| arn.as_str().unwrap());
                let (there, missing): (Vec<&str>, Vec<&str>) =
                    asked.partition(|arn| tasks.contains_key(*arn));
                let there: Vec<&Value> = there.iter().map(|arn| &tasks[*arn]).collect();
                let missing: Vec<Value> =
                    missing.iter().map(|arn| json!({ "arn": arn, "reason": "MISSING" })).collect();
                json!({ "tasks": there, "failures": missing })
            }
            "DescribeContainerInstances" => json!({ "containerInstances": [{
                "containerInstanceArn": "container-instance/c1", "ec2InstanceId": "i-1", "agentConnected": false,
                "attributes": [{ "name": "weir.address", "value": "127.0.0.1" }],
            }] }),
            "DescribeTaskDefinition" => json!({ "taskDefinition": { "networkMode": "bridge" } }),
            action => panic!("{action}"),
        }
    }
}

#[test]
fn a_task_that_is_told_to_stop_drains_and_one_that_is_gone_is_removed() {
    let targets =
        [FakeTarget::answering("kept"), FakeTarget::answering("stopping"), FakeTarget::answering("gone")];
    let ecs = Ecs::start();
    for (target, id) in targets.iter().zip(["1", "2", "3"]) {
        ecs.run(id, target);
    }
    let weir = ecs.following();
    weir.wait_until_healthy();
    assert_eq!(weir.snapshot().members().count(), 3, "every page was asked for");

    ecs.change("2", "desiredStatus", json!("STOPPED"));
    weir.wait_for_health(targets[1].addr(), Health::Draining);
    ecs.forget("3");
    wait_until("the task that is gone is removed", || weir.member(targets[2].addr()).is_none());
    ecs.change("2", "lastStatus", json!("STOPPED"));
    wait_until("the task that has stopped is removed", || weir.member(targets[1].addr()).is_none());
    assert_eq!(weir.get("/").body, "kept");
}

#[test]
fn another_task_on_a_recycled_port_is_another_target() {
    let target = FakeTarget::answering("both");
    let ecs = Ecs::start();
    ecs.run("1", &target);
    let weir = ecs.following();
    weir.wait_for_health(target.addr(), Health::Healthy);
    let serials = || weir.snapshot().members().map(|(_, member)| member.target.serial).collect::<Vec<_>>();
    let first = serials();
    ecs.change("1", "desiredStatus", json!("STOPPED"));
    weir.wait_for_health(target.addr(), Health::Draining);
    ecs.run("2", &target);
    wait_until("the new task is healthy beside the old one", || {
        let snapshot = weir.snapshot();
        let health: Vec<Health> = snapshot.members().map(|(_, member)| member.health).collect();
        health.contains(&Health::Draining) && health.contains(&Health::Healthy)
    });
    ecs.change("1", "lastStatus", json!("STOPPED"));
    wait_until("the old one is gone", || serials().len() == 1);
    assert_ne!(serials(), first, "the new task inherits nothing");
}

#[test]
fn an_api_that_fails_or_lists_nothing_keeps_the_last_good_targets() {
    let targets = [FakeTarget::answering("kept"), FakeTarget::answering("new")];
    let ecs = Ecs::start();
    ecs.run("1", &targets[0]);
    let weir = ecs.following();
    weir.wait_for_health(targets[0].addr(), Health::Healthy);
    ecs.shared.throttles.store(true, Relaxed);
    told(&weir, "ThrottlingException: Rate exceeded");
    ecs.shared.lists_nothing.store(true, Relaxed);
    ecs.shared.throttles.store(false, Relaxed);
    told(&weir, "recovered");
    let asked = ecs.server.received().len();
    wait_until("the empty list was given several times", || ecs.server.received().len() > asked + 10);
    assert_eq!(weir.member(targets[0].addr()).unwrap().health, Health::Healthy);
    ecs.shared.lists_nothing.store(false, Relaxed);
    ecs.run("2", &targets[1]);
    weir.wait_for_health(targets[1].addr(), Health::Healthy);
}

#[test]
fn a_list_that_never_ends_is_refused() {
    let ecs = Ecs::start();
    ecs.shared.never_ends.store(true, Relaxed);
    told(&ecs.following(), "more than 200 pages");
}

#[test]
fn an_agent_s_tasks_are_followed_without_credentials() {
    let targets = [FakeTarget::answering("kept"), FakeTarget::answering("leaving")];
    let task = |id: &str, target: &FakeTarget, known: &str, desired: &str| {
        json!({ "Arn": format!("arn:aws:ecs:r:1:task/shop/{id}"), "Family": "api", "Version": "8",
            "KnownStatus": known, "DesiredStatus": desired,
            "Containers": [{ "DockerId": id, "DockerName": "ecs-api-8-app-1", "Name": "app",
                "Ports": [{ "ContainerPort": 80, "Protocol": "tcp", "HostPort": target.addr().port() }] }] })
    };
    let tasks = |desired: &str, known: &str| {
        json!({ "Tasks": [
            task("1", &targets[0], "RUNNING", "RUNNING"), task("2", &targets[1], known, desired),
        ] })
        .to_string()
    };
    let said = Arc::new(Mutex::new(tasks("RUNNING", "RUNNING")));
    let saying = said.clone();
    let agent = FakeTarget::behaving(move |request, stream| {
        assert_eq!(request.request_line, "GET /v1/tasks HTTP/1.1");
        respond(stream, 200, &saying.lock().unwrap().clone())
    });
    let weir = Weir::start_healthy(&configuration(&format!("introspection: \"http://{}\"", agent.addr())));
    *said.lock().unwrap() = tasks("STOPPED", "RUNNING");
    weir.wait_for_health(targets[1].addr(), Health::Draining);
    *said.lock().unwrap() = tasks("STOPPED", "STOPPED");
    wait_until("the task that has stopped is removed", || weir.member(targets[1].addr()).is_none());
    agent.kill();
    told(&weir, "cannot connect");
    assert_eq!(weir.get("/").body, "kept");
}
