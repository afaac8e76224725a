//! Targets from the tasks of a real Swarm of two nodes.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr, TcpStream};

use weir_core::health::Health;
use weir_core::target::TargetId;
use weir_tests::example::Example;
use weir_tests::open_loop::{self, Method};
use weir_tests::own_swarm::OUTSIDE;
use weir_tests::server::Etcd;
use weir_tests::udp_target::UdpClient;
use weir_tests::yaml::{application, group_of, network_listener};
use weir_tests::{Folder, OwnSwarm, Weir, get, wait_until};

/// Requests a second of the open-loop load.
const RATE: u32 = 100;

const PUBLISHED: [&str; 2] = ["--publish", "mode=host,target=8080"];

/// A weir with this discovery, whose only group has these targets.
fn weir(discovery: &str, targets: &str) -> Weir {
    let group = group_of("web", "", targets);
    Weir::start(&format!(
        "discovery: {{ confirm_removals: 0s, {discovery} }}\n{}",
        application(&[group], "", "default_action: { forward: web }")
    ))
}

fn following(swarm: &OwnSwarm, service: &str) -> Weir {
    let discovery = format!("swarm: {{ endpoint: \"{}\" }}", swarm.endpoint(0));
    weir(&discovery, &format!("{{ swarm: {{ service: {service} }} }}"))
}

/// The ids of the tasks that are healthy targets.
fn healthy(weir: &Weir) -> BTreeSet<String> {
    let snapshot = weir.snapshot();
    let healthy = snapshot.members().filter(|(_, member)| member.health == Health::Healthy);
    healthy
        .filter_map(|(_, member)| match &member.target.id {
            TargetId::Task { task, .. } => Some(task.id.to_string()),
            TargetId::Address(_) => None,
        })
        .collect()
}

/// Waits until exactly the tasks that Swarm says are running are healthy, and as many as that.
fn wait_for_tasks(swarm: &OwnSwarm, weir: &Weir, service: &str, count: usize) {
    swarm.wait_until(&format!("{count} tasks of {service} are healthy targets"), || {
        let running: BTreeSet<String> = swarm.running(service).into_iter().collect();
        running.len() == count && healthy(weir) == running
    });
}

fn said(weir: &Weir) -> String {
    weir.admin("/api/v1/events").body
}

#[test]
fn tasks_on_two_nodes_are_targets_at_the_ports_that_they_were_given() {
    OwnSwarm::with(|swarm| {
        let stack = ["--label", "com.docker.stack.namespace=shop", "--label", "weir.weight=2"];
        let replicas = ["--replicas", "2", "--container-label", "weir.weight=3"];
        swarm.serve("shop_api", &[&PUBLISHED[..], &stack, &replicas].concat());
        swarm.serve("meshed", &["--publish", "target=8080"]);
        let weir = following(swarm, "api");
        wait_for_tasks(swarm, &weir, "shop_api", 2);
        let snapshot = weir.snapshot();
        let members: Vec<_> = snapshot.members().map(|(_, member)| member).collect();
        let nodes: BTreeSet<IpAddr> = members.iter().map(|member| member.target.addr.0.ip()).collect();
        assert_eq!(nodes, BTreeSet::from([swarm.address(0), swarm.address(1)]));
        for member in members {
            assert!(member.target.addr.0.port() > 1024 && member.weight.get() == 3, "{member:?}");
        }
        assert!(weir.get("/").body.starts_with("shop_api "));
        for (node, ip) in [("on node-1", swarm.address(0)), ("on node-2", swarm.address(1))] {
            let (_, member) = snapshot.members().find(|(_, member)| member.target.addr.0.ip() == ip).unwrap();
            let origin = member.provenance.to_string();
            assert!(origin.starts_with("swarm: task shop_api.") && origin.ends_with(node), "{origin}");
        }
        wait_until("the service behind the mesh is named", || {
            let said = said(&weir);
            said.contains("service meshed") && said.contains("mode=host,target=8080")
        });

        swarm.docker(&["service", "scale", "-d", "shop_api=4"]);
        wait_for_tasks(swarm, &weir, "shop_api", 4);
        swarm.docker(&["service", "scale", "-d", "shop_api=1"]);
        wait_for_tasks(swarm, &weir, "shop_api", 1);
        swarm.wait_until("those that ended are gone", || weir.snapshot().members().count() == 1);

        let discovery = format!("swarm: {{ endpoint: \"{}\" }}", swarm.endpoint(1));
        let elsewhere = self::weir(&discovery, "{ swarm: { service: api } }");
        wait_until("a worker is named as what it is", || said(&elsewhere).contains("is not a manager"));
    });
}

#[test]
fn a_task_takes_datagrams_at_the_port_that_is_published_for_them() {
    OwnSwarm::with(|swarm| {
        let datagrams = "mode=host,target=5353,protocol=udp";
        let health = "mode=host,target=8080,published=8080";
        swarm.serve("names", &["--publish", datagrams, "--publish", health]);
        let targets = "{ swarm: { service: names, container_port: 5353 } }";
        let group = group_of("names", "protocol: udp, health_check: { port: 8080 }", targets);
        let listener = network_listener(&[group], "protocol: udp, default_action: { forward: names }");
        let discovery = format!("swarm: {{ endpoint: \"{}\" }}", swarm.endpoint(0));
        let weir = Weir::start(&format!("discovery: {{ {discovery} }}\n{listener}"));
        wait_for_tasks(swarm, &weir, "names", 1);
        let client = UdpClient::of(weir.listener(0));
        client.send(b"hello");
        assert_eq!(String::from_utf8_lossy(&client.answer()), "names task hello");
    });
}

#[test]
fn an_update_that_replaces_every_task_and_a_node_that_is_emptied_lose_no_request() {
    OwnSwarm::with(|swarm| {
        swarm.serve("web", &[&PUBLISHED[..], &["--replicas", "2"]].concat());
        let weir = following(swarm, "web");
        wait_for_tasks(swarm, &weir, "web", 2);
        let before = healthy(&weir);
        let load = open_loop::start(weir.listener(0), RATE, &[Method::Get, Method::Post]);
        swarm.docker(&["service", "update", "-d", "--force", "web"]);
        swarm.wait_until("every task is another one", || {
            let now = healthy(&weir);
            now.len() == 2 && now.is_disjoint(&before)
        });
        swarm.wait_until("those before have left", || weir.snapshot().members().count() == 2);

        swarm.docker(&["node", "update", "--availability", "drain", "node-2"]);
        swarm.wait_until("the tasks of a node that is emptied have gone to the other", || {
            let snapshot = weir.snapshot();
            let ips = snapshot.members().map(|(_, member)| member.target.addr.0.ip());
            healthy(&weir).len() == 2
                && ips.collect::<BTreeSet<IpAddr>>() == BTreeSet::from([swarm.address(0)])
        });
        let outcome = load.stop();
        assert!(outcome.sent > u64::from(RATE / 4), "{} requests are too few to say anything", outcome.sent);
        assert_eq!(outcome.lost(), 0, "of {} requests: {:?}", outcome.sent, outcome.failures);
    });
}

#[test]
fn what_a_weir_beside_a_manager_publishes_is_served_by_one_elsewhere() {
    OwnSwarm::with(|swarm| {
        let mut etcd = Etcd::start();
        etcd.put(
            "/weir/targets/swarm/left-behind",
            r#"{"targets":["127.0.0.1:1"],"labels":{"service":"web"}}"#,
        );
        let cluster = format!("etcd: {{ endpoints: [{}], prefix: /weir/targets/", etcd.url());
        let elsewhere = weir(&format!("{cluster} }}"), "{ etcd: { service: web, container_port: 8080 } }");
        let discovery =
            format!("swarm: {{ endpoint: \"{}\" }}, {cluster}, publish: [swarm] }}", swarm.endpoint(0));
        swarm.serve("web", &[&PUBLISHED[..], &["--replicas", "2"]].concat());
        let publishing = weir(&discovery, "{ swarm: { service: web } }");
        wait_for_tasks(swarm, &publishing, "web", 2);
        wait_for_tasks(swarm, &elsewhere, "web", 2);
        let members = |weir: &Weir| -> BTreeSet<_> {
            weir.snapshot().members().map(|(_, member)| member.target.addr).collect()
        };
        wait_until("what was left behind is deleted", || members(&elsewhere) == members(&publishing));
        assert!(elsewhere.get("/").body.starts_with("web "));

        let load = open_loop::start(elsewhere.listener(0), RATE, &[Method::Get]);
        let before = healthy(&elsewhere);
        swarm.docker(&["service", "update", "-d", "--force", "web"]);
        swarm.wait_until("the update has arrived", || {
            let now = healthy(&elsewhere);
            now.len() == 2 && now.is_disjoint(&before)
        });
        let outcome = load.stop();
        assert_eq!(outcome.lost(), 0, "of {} requests: {:?}", outcome.sent, outcome.failures);

        publishing.stop();
        etcd.kill();
        assert_eq!(elsewhere.get("/").status, 200, "without publisher and store what was said last stays");
        etcd.start_again();
        wait_for_tasks(swarm, &elsewhere, "web", 2);
    });
}

#[test]
fn the_stack_of_the_examples_serves_the_same_on_a_manager_and_on_a_worker() {
    OwnSwarm::with(|swarm| {
        let etcd = Etcd::start_at(OUTSIDE.into());
        let stack = ["--label", "com.docker.stack.namespace=shop"];
        swarm.serve("shop_api", &[&PUBLISHED[..], &stack, &["--replicas", "2"]].concat());
        swarm.deploy(&etcd);
        for (number, service) in ["weir_manager", "weir_worker"].into_iter().enumerate() {
            let addr = SocketAddr::new(swarm.address(number), 8080);
            swarm.wait_until(&format!("{service} serves the tasks of the Swarm"), || {
                TcpStream::connect(addr).is_ok() && get(addr, "/").body.starts_with("shop_api ")
            });
            swarm.wait_until(&format!("{service} has passed its health check"), || {
                swarm.running(service).len() == 1
            });
        }
        // The example for one weir beside the stack: its own prefix, and the engine of the first node.
        let example = Example::read("swarm.yaml")
            .with("interval: 200ms", &format!("endpoint: \"{}\"", swarm.endpoint(0)))
            .with("node-2: 10.0.0.12", &format!("node-2: {}", swarm.address(1)))
            .with(
                "http://127.0.0.1:2379]\n    prefix: /weir/targets/\n",
                &format!("{}]\n    prefix: /weir/example/\n", etcd.url()),
            );
        let weir = example.start_in(Folder::new());
        wait_for_tasks(swarm, &weir, "shop_api", 2);
        assert!(weir.get("/").body.starts_with("shop_api "));
    });
}
