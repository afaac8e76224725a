//! That an explanation says what happens.

use proptest::prelude::*;

use super::*;
use crate::balance::Draws;
use crate::definition::Algorithm;
use crate::health::{Health, UnhealthyReason};
use crate::name::LoadBalancerName;
use crate::pattern::{Case, Pattern};
use crate::rule::{Condition, Forward, Priority, RuleIndex};
use crate::snapshot::{ListenerIndex, testing};

const ALGORITHMS: [Algorithm; 5] = [
    Algorithm::RoundRobin,
    Algorithm::LeastOutstandingRequests,
    Algorithm::PeakEwma,
    Algorithm::PowerOfTwoChoices(Draws::Distinct),
    Algorithm::WeightedRandom,
];

/// Three groups of three targets; of target `n` the `n`th bit of `sick` says whether it is.
fn snapshot(sick: u16) -> Snapshot {
    let group = |number: u16| {
        let ports: Vec<(u16, u16)> = (0..3).map(|at| (number * 3 + at + 1, at + 1)).collect();
        let mut members = testing::members(&ports);
        for member in &mut members {
            if sick >> (member.target.addr.port() - 1) & 1 == 1 {
                member.health = Health::Unhealthy(UnhealthyReason::Timeout);
            }
        }
        let settings = testing::settings("g", ALGORITHMS[usize::from(number)]);
        let index = GroupIndex(u32::from(number));
        Some(Arc::new(Group::build(index, Arc::new(settings), members, true, None)))
    };
    Snapshot::new(1, Vec::new(), (0..3).map(group).collect())
}

/// Rules for these paths, each with a forward of its own.
fn listener(paths: &[(String, [u16; 3])]) -> Listener {
    let forward = |weights: [u16; 3]| {
        let groups = (0..).map(GroupIndex).zip(weights).collect();
        Action::Forward(Forward { groups, stickiness: None })
    };
    let rules: Vec<_> = (1..)
        .zip(paths)
        .map(|(priority, (path, weights))| Rule {
            priority: Priority::new(priority).unwrap(),
            conditions: vec![Condition::PathPattern(vec![Pattern::parse(path, Case::Sensitive).unwrap()])],
            action: forward(*weights),
            transforms: None,
            provenance: None,
        })
        .collect();
    Listener {
        index: ListenerIndex(0),
        load_balancer: LoadBalancerName::parse("edge").unwrap(),
        idle_timeout: Duration::from_secs(60),
        logs: crate::logs::Logs::default(),
        http: crate::definition::HttpSettings::default(),
        bind: crate::address::ListenAddr("127.0.0.1:80".parse().unwrap()),
        proxies: None,
        logins: Arc::default(),
        rule_index: RuleIndex::new(&rules),
        kind: ListenerKind::Application {
            tls: None,
            rules,
            default_action: forward([1, 1, 1]),
            headers: Arc::default(),
        },
    }
}

proptest! {
    #[test]
    fn traffic_goes_where_explain_says(
        sick in 0..512_u16,
        rules in prop::collection::vec(("/[ab*]{1,3}", prop::array::uniform3(0..3_u16)), 0..6),
        paths in prop::collection::vec("/[ab]{0,3}", 1..20),
        seed: u64,
    ) {
        let (snapshot, listener) = (snapshot(sick), listener(&rules));
        let client = ClientAddr("127.0.0.1:9".parse().unwrap());
        let (mut worker, headers) = (WorkerState::seeded(seed), Vec::new());
        for path in &paths {
            let head = Head {
                scheme: "http", method: "GET", host: "h", port: 80, path, normal_path: path, query: None, headers: &headers,
            };
            let picked: Vec<u64> = snapshot.members().map(|(_, member)| member.target.tally.picked()).collect();
            let mut asked = worker.clone();
            let explained = explain(&snapshot, &listener, &head, client, &mut asked, Moment::default());
            let untouched: Vec<u64> = snapshot.members().map(|(_, member)| member.target.tally.picked()).collect();
            prop_assert_eq!(picked, untouched, "a question counts nothing");

            let decision = decide(&snapshot, &listener, &head, client, &mut worker, Moment::default());
            prop_assert_eq!(explained.rule.map(|rule| rule.priority), decision.rule);
            let (matched, others) = match (explained.tried.split_last(), decision.rule) {
                (Some((last, others)), Some(_)) => (Some(last), others),
                _ => (None, explained.tried.as_slice()),
            };
            prop_assert!(matched.is_none_or(Tried::matches));
            prop_assert!(others.iter().all(|tried| !tried.matches()));
            prop_assert_eq!(explained.tried.len() + explained.untried, rules.len());
            match (&explained.fate, &decision.outcome) {
                (Fate::Forward { group, target }, Outcome::Forward { group: index, lease }) => {
                    prop_assert_eq!(group.index, *index);
                    prop_assert_eq!(target.serial, lease.target().serial);
                    let found = candidates(group, None, Timestamp::default())
                        .find(|candidate| candidate.member.target.serial == target.serial);
                    prop_assert!(found.is_some_and(|candidate| candidate.is_eligible));
                }
                (Fate::NoTarget { group: None }, Outcome::Unavailable { group: None, .. }) => {}
                (fate, outcome) => prop_assert!(false, "{fate:?} is not {outcome:?}"),
            }
        }
    }
}
