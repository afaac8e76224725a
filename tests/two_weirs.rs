//! Two weirs that share their clients by a route, and their targets by an etcd.

use std::collections::BTreeSet;

use weir_tests::tls::TlsClient;
use weir_tests::{Client, TwoWeirs, get, wait_until};

use crate::stickiness::Jar;

/// Names that begin alike for longer than ids are shown.
const TASKS: [&str; 4] = ["task-number-4", "task-number-3", "task-number-2", "task-number-1"];

/// Client ports, below those that the kernel gives away.
const PORTS: std::ops::Range<u16> = 20_000..20_040;

/// Flows that are open while a weir is lost.
const OPEN: usize = 24;

/// Both weirs with every task. The first met each task by itself and in another order than the second one, which found them
/// all at its start.
fn running(weirs: &mut TwoWeirs) {
    weirs.run_weir(0);
    for (already, name) in TASKS.iter().enumerate() {
        weirs.run_task(name);
        weirs.wait_for_targets(0, already + 1);
    }
    weirs.run_weir(1);
    weirs.wait_for_targets(1, TASKS.len());
}

/// Sends words through a flow; the line that came back, unless the flow is broken.
fn echo(client: &mut Client, words: &str) -> Option<String> {
    client.send(format!("{words}\n"));
    client.line()
}

/// The targets that a weir leads the flows from all ports to.
fn targets_of_flows(weirs: &TwoWeirs, number: usize) -> Vec<String> {
    weirs.route(&[number]);
    PORTS
        .map(|port| {
            echo(&mut Client::connect_from(([0, 0, 0, 0], port).into(), TwoWeirs::TCP), "hello").unwrap()
        })
        .collect()
}

/// Whether a weir answers from every task of these, and from no other.
fn answers_from(weirs: &TwoWeirs, number: usize, names: &[&str]) -> bool {
    let answers = (0..2 * TASKS.len()).map(|_| {
        let reply = weirs.get_from(number, "/");
        assert_eq!(reply.status, 200, "{reply:?}");
        reply.body.split(' ').nth(1).map(ToOwned::to_owned).unwrap_or_default()
    });
    let expected: BTreeSet<String> = names.iter().map(|name| (*name).to_owned()).collect();
    answers.collect::<BTreeSet<String>>() == expected
}

#[test]
fn two_weirs_follow_one_etcd_and_lose_nothing_when_it_is_lost() {
    TwoWeirs::with(|weirs| {
        running(weirs);
        let both = |weirs: &TwoWeirs, what: &str, names: &[&str]| {
            for number in [0, 1] {
                wait_until(&format!("weir {number}: {what}"), || answers_from(weirs, number, names));
            }
        };
        both(weirs, "every task answers", &TASKS);
        weirs.delete(TASKS[0]);
        both(weirs, "a task whose key is deleted answers no more", &TASKS[1..]);
        weirs.put(TASKS[0], 0);
        both(weirs, "a task whose key is back answers again", &TASKS);

        weirs.lose_etcd();
        for number in [0, 1] {
            wait_until("the loss is told", || {
                weirs.admin(number, "/api/v1/events").is_some_and(|events| events.contains("cannot connect"))
            });
            assert!(answers_from(weirs, number, &TASKS), "weir {number} goes on with what it knows");
        }
    });
}

#[test]
fn a_flow_leads_to_the_same_target_through_either_weir() {
    TwoWeirs::with(|weirs| {
        running(weirs);
        let through = [0, 1].map(|number| targets_of_flows(weirs, number));
        assert_eq!(through[0], through[1]);
        assert!(through[0].iter().collect::<BTreeSet<_>>().len() > 1, "flows are spread: {through:?}");
    });
}

#[test]
fn a_cookie_and_a_tls_session_of_one_weir_are_honoured_by_the_other() {
    TwoWeirs::with(|weirs| {
        running(weirs);
        let ask = |weirs: &TwoWeirs, number: usize, jar: &mut Jar| {
            weirs.route(&[number]);
            jar.ask(&mut Client::connect(TwoWeirs::STICKY)).body
        };
        let mut homes = BTreeSet::new();
        for client in 0..12 {
            let mut jar = Jar::default();
            let home = ask(weirs, client % 2, &mut jar);
            for number in [1, 0, 1] {
                assert_eq!(ask(weirs, number, &mut jar), home, "client {client} at weir {number}");
            }
            homes.insert(home);
        }
        assert!(homes.len() > 1, "clients are spread: {homes:?}");

        let client = TlsClient::default();
        let is_resumed = |weirs: &TwoWeirs, number: usize| {
            weirs.route(&[number]);
            client.shake_hands(TwoWeirs::HTTPS, "shop.example").unwrap().is_resumed
        };
        assert!(!is_resumed(weirs, 0));
        assert!(is_resumed(weirs, 1));
        assert!(is_resumed(weirs, 0));
    });
}

#[test]
fn a_weir_that_is_killed_breaks_its_own_open_flows_and_nothing_else() {
    TwoWeirs::with(|weirs| {
        running(weirs);
        weirs.route(&[0, 1]);
        let mut flows: Vec<Client> = (0..OPEN).map(|_| Client::connect(TwoWeirs::TCP)).collect();
        for flow in &mut flows {
            assert!(echo(flow, "before").is_some());
        }
        let open = [0, 1].map(|number| weirs.open_at(number));
        assert_eq!(open.iter().sum::<usize>(), OPEN);
        assert!(open.iter().all(|count| *count > 0), "the route spreads flows: {open:?}");

        weirs.kill_weir(0);
        let broken = flows.iter_mut().filter_map(|flow| echo(flow, "after").is_none().then_some(())).count();
        assert_eq!(broken, open[0], "those of the weir that is gone, of {open:?}");
        for _ in 0..OPEN {
            assert!(echo(&mut Client::connect(TwoWeirs::TCP), "new").is_some());
            assert_eq!(get(TwoWeirs::HTTP, "/").status, 200);
        }
    });
}
