//! Flows through a network listener.

use weir_core::address::{ClientAddr, ListenAddr};
use weir_core::balance::{PickContext, WorkerState};
use weir_core::decide::{Outcome, forward};
use weir_core::definition::ListenerKind;
use weir_core::flow_key::{FlowKey, Protocol};
use weir_core::snapshot::GroupIndex;
use weir_core::time::Timestamp;
use weir_tests::yaml::{group, network, network_listener};
use weir_tests::{Binary, Client, FakeTarget, Folder, Weir, free_port, loopback, wait_until};

fn echoing(names: &[&str]) -> Vec<FakeTarget> {
    names.iter().map(|name| FakeTarget::echoing(name)).collect()
}

fn talk(client: &mut Client, words: &str) {
    client.send(words);
    assert_eq!(client.exactly(words.len()).expect("the flow is open"), words.as_bytes());
}

// Conformance: B2.9
#[test]
fn bytes_pass_both_ways_and_an_end_in_one_direction_leaves_the_other() {
    let targets = echoing(&["a"]);
    let weir = Weir::start_healthy(&network(&[group("db", "protocol: tcp", &[&targets[0]])], ""));
    let mut client = weir.client();
    assert_eq!(client.line().unwrap(), "a");
    let words = "x".repeat(1_000_000);
    std::thread::scope(|scope| {
        scope.spawn(|| talk(&mut client, &words));
    });
    client.send("last");
    client.finish();
    assert_eq!(client.to_end(), b"last");
}

/// The program itself with one target that echoes, and a flow to that.
fn program(target: &FakeTarget) -> (Folder, Binary, Client) {
    let (folder, addr) = (Folder::new(), loopback(free_port()));
    let yaml = network(&[group("db", "protocol: tcp", &[target])], "");
    let yaml = yaml.replace("127.0.0.1:0", &addr.to_string());
    let path = folder.write("weir.yaml", &format!("admin: {{ bind: \"127.0.0.1:0\" }}\n{yaml}"));
    let binary = Binary::start(&mut Binary::command(&["run", "-c", path.to_str().unwrap()]));
    wait_until("weir listens", || std::net::TcpStream::connect(addr).is_ok());
    let mut client = Client::connect(addr);
    assert_eq!(client.line().unwrap(), "a");
    (folder, binary, client)
}

/// Megabytes there and back, one after the other.
fn talk_at_length(client: &mut Client) {
    for letter in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        talk(client, &letter.repeat(1_000_000));
    }
}

#[test]
fn bulk_passes_through_a_pipe_that_a_flow_has_only_while_it_is_bulky() {
    let target = FakeTarget::echoing("a");
    let (_folder, weir, mut client) = program(&target);
    let before = weir.pipe_ends();
    talk_at_length(&mut client);
    // Whoever is kept for the next flow is kept empty; both directions have had one at the same time at most.
    let after = weir.pipe_ends() - before;
    assert!(after == 2 || after == 4, "{after} ends of pipes");
    talk(&mut client, "little again");
}

#[test]
fn bulk_passes_also_when_no_descriptor_is_left_for_a_pipe() {
    let target = FakeTarget::echoing("a");
    let (_folder, weir, mut client) = program(&target);
    let before = weir.pipe_ends();
    weir.allow_no_more_files();
    talk_at_length(&mut client);
    assert_eq!(weir.pipe_ends(), before);
}

#[test]
fn bytes_of_a_flow_are_counted_as_they_passed() {
    let target = FakeTarget::echoing("a");
    let weir = Weir::start_healthy(&network(&[group("db", "protocol: tcp", &[&target])], ""));
    let mut client = weir.client();
    assert_eq!(client.line().unwrap(), "a");
    talk_at_length(&mut client);
    client.finish();
    client.to_end();
    let total = || weir.metric("weir_flow_bytes_total");
    // The target's greeting has two bytes more than it echoed.
    wait_until("all are counted", || (total() - 16_000_002.0).abs() < 0.5);
}

#[test]
fn a_flow_finds_the_only_target_that_takes_it() {
    let targets = echoing(&["a", "b", "c", "d"]);
    let weir = Weir::start_healthy(&network(
        &[group("db", "protocol: tcp", &targets.iter().collect::<Vec<_>>())],
        "",
    ));
    targets[..3].iter().for_each(FakeTarget::kill);
    for _ in 0..20 {
        assert_eq!(weir.client().line().as_deref(), Some("d"));
    }
}

// Conformance: B2.1
#[test]
fn a_flow_goes_where_its_flow_key_leads() {
    let names = ["a", "b", "c", "d"];
    let targets = echoing(&names);
    let weir = Weir::start_healthy(&network(
        &[group("db", "protocol: tcp", &targets.iter().collect::<Vec<_>>())],
        "",
    ));
    let snapshot = weir.snapshot();
    let mut seen = std::collections::BTreeSet::new();
    for _ in 0..40 {
        let mut client = weir.client();
        let key = FlowKey {
            protocol: Protocol::Tcp,
            client: ClientAddr(client.addr()),
            listener: ListenAddr(weir.listener(0)),
        };
        let context =
            PickContext { key: key.hash(), now: Timestamp::default(), avoid: &[], pinned: None, arm: None };
        let outcome = forward(&snapshot, GroupIndex(0), &mut WorkerState::seeded(0), &context);
        let Outcome::Forward { lease, .. } = outcome else { panic!("{outcome:?}") };
        let expected = targets.iter().position(|target| target.addr() == lease.target().addr.0).unwrap();
        let name = client.line().unwrap();
        assert_eq!(name, names[expected]);
        seen.insert(name);
    }
    assert!(seen.len() > 1, "flows are spread");
}

#[test]
fn a_flow_tries_another_target_when_the_first_takes_no_connection() {
    let targets = echoing(&["gone", "here"]);
    let weir =
        Weir::start_healthy(&network(&[group("db", "protocol: tcp", &[&targets[0], &targets[1]])], ""));
    targets[0].kill();
    for _ in 0..10 {
        assert_eq!(weir.client().line().unwrap(), "here");
    }
    assert!(weir.metric("weir_retries_total") >= 1.0);
}

#[test]
fn a_flow_that_no_target_can_take_is_reset() {
    let weir = Weir::start(&network(&[group("db", "protocol: tcp", &[])], ""));
    assert!(weir.client().is_closed());
    wait_until("the end is counted with its reason", || weir.metric("weir_flow_ends_total{") >= 1.0);
    assert!(weir.admin("/metrics").body.contains("no_target"));
}

/// A weir whose one group follows `targets.json`, and that file's text for some targets.
fn following(settings: &str) -> (Weir, Folder) {
    let folder = Folder::new();
    folder.write("targets.json", "[]");
    let yaml = format!(
        "discovery: {{ confirm_removals: 0s, file: {{ path: {} }} }}\n{}",
        folder.path().join("targets.json").display(),
        network(&[weir_tests::yaml::group_of("db", settings, "{ file: { service: db } }")], "")
    );
    (Weir::start(&yaml), folder)
}

fn entries(targets: &[&FakeTarget]) -> String {
    let addrs: Vec<String> = targets.iter().map(|target| format!("\"{}\"", target.addr())).collect();
    format!("[{{ \"targets\": [{}], \"labels\": {{ \"service\": \"db\" }} }}]", addrs.join(", "))
}

// Conformance: B2.5, B8.2
#[test]
fn a_flow_outlives_its_target_s_deregistration() {
    let targets = echoing(&["old", "new"]);
    let (weir, folder) = following("protocol: tcp, deregistration_delay: 0s");
    folder.write("targets.json", &entries(&[&targets[0]]));
    let mut client = weir.client();
    assert_eq!(client.line().unwrap(), "old", "the flow was held until there was a target");
    folder.write("targets.json", &entries(&[&targets[1]]));
    wait_until("the old target has left", || weir.member(targets[0].addr()).is_none());
    talk(&mut client, "still there");
    assert_eq!(weir.client().line().unwrap(), "new", "new flows go to those that are registered");
}

// Conformance: B8.1
#[test]
fn a_target_that_leaves_drains_for_the_delay_with_its_flows_and_gets_no_new_ones() {
    let targets = echoing(&["old", "new"]);
    let (weir, folder) = following("protocol: tcp, deregistration_delay: 2s, connection_termination: true");
    folder.write("targets.json", &entries(&[&targets[0]]));
    let mut client = weir.client();
    assert_eq!(client.line().unwrap(), "old");
    folder.write("targets.json", &entries(&[&targets[1]]));
    wait_until("it drains", || {
        weir.member(targets[0].addr()).is_some_and(|member| member.state() == "draining")
    });
    talk(&mut client, "still there");
    weir.wait_for_health(targets[1].addr(), weir_core::health::Health::Healthy);
    assert!((0..10).all(|_| weir.client().line().as_deref() == Some("new")));
    assert!(client.is_closed(), "the delay is over");
    assert!(weir.member(targets[0].addr()).is_none());
}

// Conformance: B8.3
#[test]
fn a_group_that_terminates_connections_ends_flows_with_the_delay() {
    let targets = echoing(&["old", "new"]);
    let (weir, folder) = following("protocol: tcp, deregistration_delay: 0s, connection_termination: true");
    folder.write("targets.json", &entries(&[&targets[0]]));
    let mut client = weir.client();
    assert_eq!(client.line().unwrap(), "old");
    folder.write("targets.json", &entries(&[&targets[1]]));
    assert!(client.is_closed());
}

// Conformance: B1.13
#[test]
fn groups_share_flows_by_their_weights_and_alike_at_every_weir() {
    let targets = echoing(&["many", "few", "none"]);
    let groups: Vec<String> = ["many", "few", "none"]
        .iter()
        .zip(&targets)
        .map(|(name, target)| group(name, "protocol: tcp", &[target]))
        .collect();
    let listener = "default_action: { forward: { target_groups: [{ name: many, weight: 3 }, { name: few, weight: 1 }, { name: none, weight: 0 }] } }";
    let weir = Weir::start_healthy(&network_listener(&groups, listener));
    let snapshot = weir.snapshot();
    let ListenerKind::Network(network) = &snapshot.listeners().next().unwrap().kind else {
        panic!("a network listener")
    };
    let mut many = 0;
    for _ in 0..200 {
        let mut client = weir.client();
        let key = FlowKey {
            protocol: Protocol::Tcp,
            client: ClientAddr(client.addr()),
            listener: ListenAddr(weir.listener(0)),
        };
        // Whoever knows the addresses and the weights knows the group.
        let group = snapshot.group(*network.forward.of_key(key.hash()).unwrap()).unwrap();
        assert_eq!(client.line().as_deref(), Some(group.settings.name.as_str()));
        many += usize::from(group.settings.name.as_str() == "many");
    }
    assert!((120..=180).contains(&many), "{many} of 200");
}
