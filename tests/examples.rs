//! Every example of `config/` serves as its comments say. What an example needs to be there, the test brings along.

use std::net::SocketAddr;

use serde_json::json;
use weir_core::health::Health;
use weir_discovery::ecs::Credentials;
use weir_tests::docker::HTTP_PORT;
use weir_tests::example::Example;
use weir_tests::server::{Dnsmasq, Etcd};
use weir_tests::target::respond;
use weir_tests::tls::Pair;
use weir_tests::yaml::forwarding_to;
use weir_tests::{
    Browser, Client, Engine, FakeTarget, Folder, Moto, Weir, free_port, get, loopback, wait_until,
};

/// A list with one target that is called `web`, in the shape of Prometheus's `file_sd`.
fn listing(target: &FakeTarget) -> String {
    format!(r#"[{{ "targets": ["{}"], "labels": {{ "service": "web" }} }}]"#, target.addr())
}

/// Waits until a target is followed and healthy, and asks it.
fn serves(weir: &Weir, target: &FakeTarget) {
    wait_until("the target is followed", || weir.member(target.addr()).is_some());
    weir.wait_for_health(target.addr(), Health::Healthy);
    let before = target.received().len();
    assert_eq!(weir.get("/").status, 200);
    assert_eq!(target.received().len(), before + 1);
}

#[test]
fn the_example_with_rules_sends_every_request_where_its_comment_says() {
    let targets = ["shop", "canary"].map(FakeTarget::answering);
    let weir = Example::read("rules.yaml").with_targets(&targets).serve();
    let ask = |target: &str, host: &str, more: &str| {
        weir.client().ask(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{more}\r\n"))
    };
    for (target, host, more, body) in [
        ("/img/a/b.png", "h", "", "shop"),
        ("/v2/x", "h", "", "shop"),
        ("/item/42", "h", "", "shop"),
        ("/?version=2.1", "WWW.shop.example", "", "shop"),
        ("/?version=2.1", "h", "", "canary"),
        ("/?version=1", "h", "", "shop"),
    ] {
        assert_eq!(ask(target, host, more).body, body, "{target} of {host}");
    }
    assert_eq!(ask("/", "h", "User-Agent: a crawler\r\n").status, 403);
    assert!(ask("/old/a", "h", "").header("location").ends_with("/new/old/a"));
    let betas: Vec<String> = (0..200).map(|_| ask("/beta/", "h", "").body).collect();
    let share = betas.iter().filter(|body| *body == "canary").count();
    assert!((5..=45).contains(&share), "{share} of 200");
    ask("/dp/B1", "shop.other.example", "");
    assert_eq!(targets[0].last().request_line, "GET /product.php?id=B1 HTTP/1.1");
    assert!(targets[0].last().header("host").starts_with("backend.other.example"));
}

#[test]
fn the_example_with_header_fields_tells_targets_clients_and_logs_what_its_comments_say() {
    let (folder, targets) = (Folder::new(), [FakeTarget::answering("shop")]);
    let pair = Pair::new(&["shop.example"]);
    pair.write(&folder, "shop");
    let weir = Example::read("headers.yaml").with_targets(&targets).start_in(folder);
    weir.wait_until_healthy();
    let reply = Browser::default().get(weir.listener(0), "Shop.Example", "/", "X_Y: 1\r\n");
    for (name, value) in [
        ("strict-transport-security", "max-age=31536000; includeSubDomains"),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
        ("content-security-policy", "default-src 'self'"),
        ("server", ""),
    ] {
        assert_eq!(reply.header(name), value, "{name}");
    }
    let received = targets[0].last();
    assert_eq!((received.header("host"), received.header("x_y")), ("Shop.Example", ""));
    assert_eq!(received.header("x-client-tls"), "TLSv1.3");
    assert!(received.header("x-forwarded-for").parse::<SocketAddr>().is_ok(), "with its port");
    for log in ["access.log", "connections.log", "health.log"] {
        let log = weir.folder.path().join(log);
        wait_until("there is a line", || std::fs::read_to_string(&log).is_ok_and(|log| log.contains('\n')));
    }
}

#[test]
fn the_example_about_health_serves_both_groups() {
    let targets = ["a", "b", "c", "d", "e"].map(FakeTarget::answering);
    let weir = Example::read("health.yaml").with_targets(&targets).serve();
    for _ in 0..40 {
        assert!(["a", "b", "c"].contains(&weir.get("/").body.as_str()));
        assert!(["d", "e"].contains(&weir.get("/search/x").body.as_str()));
    }
}

#[test]
fn the_tour_serves_with_one_load_balancer_of_each_kind() {
    let (folder, web) = (Folder::new(), ["a", "b"].map(FakeTarget::answering));
    let db = FakeTarget::echoing("db");
    std::fs::create_dir(folder.path().join("targets.d")).unwrap();
    folder.write("targets.d/db.json", &listing(&db).replace("web", "db"));
    let legacy = FakeTarget::at(SocketAddr::from(([127, 0, 0, 11], free_port())), |_, stream| {
        respond(stream, 200, "legacy")
    });
    let port = legacy.addr().port();
    let weir = Example::read("example.yaml")
        .with_targets(&web)
        .with("docker: { service: api,", "docker: { service: a-service-that-nobody-runs,")
        .with("8081", &port.to_string())
        .with(
            "interval: 30s, timeout: 5s, healthy_threshold: 2",
            "interval: 5s, timeout: 2s, healthy_threshold: 2",
        )
        .start_in(folder);
    for target in [&web[0], &db, &legacy] {
        wait_until("the target is followed", || weir.member(target.addr()).is_some());
        weir.wait_for_health(target.addr(), Health::Healthy);
    }
    assert!(["a", "b"].contains(&weir.get("/").body.as_str()));
    assert_eq!(
        weir.get("/old/x").header("location").rsplit_once("/new").map(|(_, path)| path),
        Some("/old/x")
    );
    let mut flow = Client::connect(weir.listener(1));
    assert_eq!(flow.line().as_deref(), Some("db"));
    assert_eq!(get(weir.listener(2), "/").body, "legacy");
}

#[test]
fn the_network_example_relays_flows() {
    let targets = ["one", "two"].map(FakeTarget::echoing);
    let ports = targets.each_ref().map(|target| target.addr().port().to_string());
    let weir = Example::read("network.yaml")
        .with("port: 15432", &format!("port: {}", ports[0]))
        .with("port: 15433", &format!("port: {}", ports[1]))
        .serve();
    let mut flow = Client::connect(weir.listener(0));
    assert!(["one", "two"].map(Some).contains(&flow.line().as_deref()));
}

// Conformance: C1.6, C3.1, C3.7
#[test]
fn the_classic_example_serves_its_instances_by_both_protocols() {
    let port = free_port();
    let targets = [11, 12].map(|last| {
        FakeTarget::at(SocketAddr::from(([127, 0, 0, last], port)), |_, stream| respond(stream, 200, "fine"))
    });
    let weir = Example::read("classic.yaml")
        .with("8081", &port.to_string())
        .with("8082", &port.to_string())
        .with("interval: 30s, timeout: 5s", "interval: 5s, timeout: 2s")
        .serve();
    assert_eq!(weir.get("/").body, "fine");
    assert_eq!(get(weir.listener(1), "/").body, "fine");
    assert!(targets.iter().any(|target| !target.received().is_empty()));
}

#[test]
fn the_example_with_files_follows_them() {
    let (folder, target) = (Folder::new(), FakeTarget::answering("listed"));
    std::fs::create_dir(folder.path().join("targets.d")).unwrap();
    folder.write("targets.d/web.json", &listing(&target));
    serves(&Example::read("file.yaml").start_in(folder), &target);
}

#[test]
fn the_example_with_a_url_follows_what_it_lists() {
    let target = FakeTarget::answering("listed");
    let list = listing(&target);
    let server = FakeTarget::behaving(move |_, stream| respond(stream, 200, &list));
    let example = Example::read("http.yaml").with("127.0.0.1:8000", &server.addr().to_string());
    serves(&example.start_in(Folder::new()), &target);
}

#[test]
fn the_example_with_dns_follows_services_and_addresses() {
    let port = free_port();
    let targets =
        [loopback(0), loopback(port)].map(|addr| FakeTarget::at(addr, |_, s| respond(s, 200, "fine")));
    let records = [
        format!("srv-host=_http._tcp.api.example,one.example,{},10,2", targets[0].addr().port()),
        "host-record=one.example,127.0.0.1".to_owned(),
        "host-record=web.example,127.0.0.1".to_owned(),
    ];
    let dnsmasq = Dnsmasq::start(&records);
    let example = Example::read("dns.yaml")
        .with("dns: {} ", &format!("dns: {{ server: \"{}\" }} ", dnsmasq.addr()))
        .with("port: 9002", &format!("port: {port}"));
    let weir = example.start_in(Folder::new());
    serves(&weir, &targets[1]);
    weir.wait_for_health(targets[0].addr(), Health::Healthy);
    assert_eq!(weir.get("/api/x").status, 200);
    assert_eq!(targets[0].last().request_line, "GET /api/x HTTP/1.1");
}

#[test]
fn the_example_with_etcd_follows_the_keys() {
    let (etcd, target) = (Etcd::start(), FakeTarget::answering("listed"));
    etcd.put("/weir/targets/web-1", &listing(&target));
    let example = Example::read("etcd.yaml").with("http://127.0.0.1:2379", &etcd.url());
    serves(&example.start_in(Folder::new()), &target);
}

#[test]
fn the_example_that_shares_its_configuration_serves_what_is_in_etcd() {
    let (etcd, target) = (Etcd::start(), FakeTarget::answering("shared"));
    etcd.put("/weir/configuration", &forwarding_to(&[&target]));
    let example = Example::read("shared.yaml").with("http://127.0.0.1:2379", &etcd.url());
    serves(&example.start_in(Folder::new()), &target);
}

#[test]
fn the_example_with_docker_follows_the_containers_of_its_service() {
    let Some(engine) = Engine::find("example") else { return };
    engine.run("one", &[], &[]);
    // The service is called otherwise than in the example, for other tests' containers are on this engine too.
    let example = Example::read("docker.yaml")
        .with("service: web }", &format!("service: {}, container_port: {HTTP_PORT} }}", engine.service()));
    let weir = example.start_in(Folder::new());
    weir.wait_until_healthy();
    assert!(weir.get("/").body.contains("one"));
}

#[test]
fn the_example_with_ecs_follows_the_tasks_of_its_service() {
    let target = FakeTarget::at(SocketAddr::from(([127, 0, 0, 77], 8080)), |_, s| respond(s, 200, "task"));
    let moto = Moto::start();
    moto.ecs("CreateCluster", &json!({ "clusterName": "shop" }));
    let (instance, _) = moto.container_instance("shop");
    moto.ecs(
        "RegisterTaskDefinition",
        &json!({ "family": "api", "networkMode": "host", "containerDefinitions": [{
            "name": "app", "image": "shop/api", "memory": 64,
            "portMappings": [{ "containerPort": 8080, "hostPort": 8080, "protocol": "tcp" }],
        }] }),
    );
    let service =
        json!({ "cluster": "shop", "serviceName": "api", "taskDefinition": "api", "desiredCount": 1 });
    moto.ecs("CreateService", &service);
    moto.ecs(
        "RunTask",
        &json!({ "cluster": "shop", "taskDefinition": "api", "group": "service:api", "launchType": "EC2" }),
    );
    let example = Example::read("ecs.yaml")
        .with(
            "region: eu-central-1\n    serv",
            &format!("region: us-east-1\n    endpoint: http://{}\n    serv", moto.addr()),
        )
        .with("i-0123456789abcdef0: 10.0.1.5", &format!("{instance}: 127.0.0.77"));
    let weir = Weir::start_in(Folder::new(), example.text(), |setup| {
        setup.aws_credentials = Some(Credentials::new("AKIDTEST", "secret", None));
    });
    serves(&weir, &target);
}
