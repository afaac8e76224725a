//! Who a container is, whatever it is called and wherever it is reached.

use std::net::SocketAddr;

use weir_core::health::Health;
use weir_tests::docker::HTTP_PORT;
use weir_tests::yaml::{application, group_of};
use weir_tests::{Engine, Weir, free_port, loopback, wait_until};

/// A weir with a group for each of these services, on the paths `/<group>*`; the first is the default.
fn weir(services: &[(&str, &str)], container_port: u16) -> Weir {
    let groups: Vec<String> = services
        .iter()
        .map(|(group, service)| {
            let target = format!("{{ docker: {{ service: {service}, container_port: {container_port} }} }}");
            group_of(group, "hold: 0s", &target)
        })
        .collect();
    let rules: Vec<String> = (1..)
        .zip(services)
        .map(|(priority, (group, _))| {
            format!(
                "{{ priority: {priority}, conditions: [{{ path_pattern: [\"/{group}*\"] }}], actions: [{{ forward: {group} }}] }}"
            )
        })
        .collect();
    let listener = format!("rules: [{}], default_action: {{ forward: {} }}", rules.join(", "), services[0].0);
    Weir::start(&format!("discovery: {{ docker: {{}} }}\n{}", application(&groups, "", &listener)))
}

/// Where a target leads and what is known of it: its serial, its picks and where it comes from.
fn known(weir: &Weir, addr: SocketAddr) -> (u64, u64, String) {
    let member = weir.member(addr).unwrap();
    (member.target.serial.0, member.target.tally.picked(), member.provenance.to_string())
}

#[test]
fn a_renamed_container_stays_the_same_target_with_its_counts_and_connections() {
    let Some(engine) = Engine::find("rename") else { return };
    engine.run("one", &[], &[]);
    let weir = weir(&[("web", engine.service())], HTTP_PORT);
    let addr = engine.addr("one", HTTP_PORT);
    weir.wait_for_health(addr, Health::Healthy);
    let mut client = weir.client();
    assert!(client.get("/").body.contains(" one "));
    let (serial, picked, origin) = known(&weir, addr);
    assert!(origin.contains(&engine.name("one")), "{origin}");

    engine.tell(&["rename"], &["one", "other"]);
    wait_until("its provenance follows", || known(&weir, addr).2.contains(&engine.name("other")));
    assert_eq!((known(&weir, addr).0, known(&weir, addr).1), (serial, picked));
    assert_eq!(weir.member(addr).unwrap().health, Health::Healthy);
    assert!(client.get("/").body.contains(" one "), "the connection goes on");
    let events = weir.admin("/api/v1/events").body;
    assert!(!events.contains("removed") && events.matches("registered").count() == 1, "{events}");
    assert!(weir.admin("/").body.contains(&engine.name("other")));
}

#[test]
fn a_port_that_another_service_s_container_takes_over_brings_nothing_with_it() {
    let Some(engine) = Engine::find("recycled") else { return };
    let addr = loopback(free_port());
    let publish = format!("{addr}:{HTTP_PORT}");
    let other = format!("{}-other", engine.service());
    let weir = weir(&[("web", engine.service()), ("other", &other)], HTTP_PORT);
    let run = |container: &str, service: &str| {
        let service = format!("weir.service={service}");
        engine.run_bare(&engine.image(), container, &["--label", &service, "-p", &publish], &[]);
    };
    run("one", engine.service());
    weir.wait_for_health(addr, Health::Healthy);
    let mut kept = weir.client();
    assert!(kept.get("/web").body.contains(" one "));
    let before = known(&weir, addr);

    engine.tell(&["rm", "-f"], &["one"]);
    run("two", &other);
    wait_until("the other service has it", || {
        weir.member(addr).is_some_and(|member| member.target.group.as_str() == "other")
    });
    assert_eq!(known(&weir, addr).1, 0, "its counts begin anew");
    assert_ne!(known(&weir, addr).0, before.0);
    assert_eq!(kept.get("/web").status, 503, "nothing of the first service leads to the other's container");
    weir.wait_for_health(addr, Health::Healthy);
    assert!(weir.get("/other").body.contains(" two "));
}

#[test]
fn a_container_in_the_host_s_network_is_reached_at_its_own_port() {
    let Some(engine) = Engine::find("host") else { return };
    let port = free_port();
    let (service, exposed) = (format!("weir.service={}", engine.service()), port.to_string());
    let options = ["--label", &service, "--network", "host", "--expose", &exposed];
    let (http, tcp) = (loopback(port).to_string(), "127.0.0.1:0");
    engine.run_bare(&engine.image(), "one", &options, &["--http", &http, "--tcp", tcp]);
    let weir = weir(&[("web", engine.service())], port);
    weir.wait_for_health(loopback(port), Health::Healthy);
    assert!(weir.get("/").body.contains(" one "));
}

#[test]
fn a_container_in_networks_of_the_user_s_is_one_target_at_its_published_port() {
    let Some(engine) = Engine::find("networks") else { return };
    let (first, second) = (engine.network("first"), engine.network("second"));
    engine.run("one", &["--network", &first], &[]);
    let weir = weir(&[("web", engine.service())], HTTP_PORT);
    let addr = engine.addr("one", HTTP_PORT);
    weir.wait_for_health(addr, Health::Healthy);
    let serial = weir.member(addr).unwrap().target.serial;
    engine.tell(&["network", "connect", &second], &["one"]);
    assert!(weir.get("/").body.contains(" one "));
    assert_eq!(weir.snapshot().members().count(), 1);
    assert_eq!(weir.member(addr).unwrap().target.serial, serial);
}
