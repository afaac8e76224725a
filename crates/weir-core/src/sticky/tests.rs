//! Clients that keep their cookies, in virtual time.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::*;
use crate::address::{ClientAddr, ListenAddr};
use crate::balance::{PickContext, WorkerState};
use crate::decide::{Decision, Outcome, decide};
use crate::definition::{Algorithm, HttpSettings, ListenerKind, TargetGroup};
use crate::head::Head;
use crate::health::{Health, InitialReason, UnhealthyReason};
use crate::name::LoadBalancerName;
use crate::rule::{Action, RuleIndex};
use crate::snapshot::{Listener, ListenerIndex, Member, Unavailable, testing};
use crate::time::{Moment, Timestamp};

const HOUR: Duration = Duration::from_secs(3600);
const SICK: Health = Health::Unhealthy(UnhealthyReason::Timeout);

/// Groups by weight, with the ports of their targets: each group's begin at a thousand of its own.
struct World {
    groups: Vec<Group>,
    weights: Vec<u16>,
    group_stickiness: Option<Duration>,
    keys: Arc<CookieKeys>,
    worker: WorkerState,
    nonces: fastrand::Rng,
    wall_seconds: u64,
}

impl World {
    fn new(weights: &[u16], stickiness: Option<&Stickiness>) -> Self {
        let group = |at: usize| {
            let ports = [1, 2, 3].map(|port| (at as u16 * 1000 + port, 1));
            let name = format!("group-{at}");
            let settings = TargetGroup {
                stickiness: stickiness.cloned(),
                ..testing::settings(&name, Algorithm::RoundRobin)
            };
            Group::build(GroupIndex(at as u32), Arc::new(settings), testing::members(&ports), true, None)
        };
        Self {
            groups: (0..weights.len()).map(group).collect(),
            weights: weights.to_vec(),
            group_stickiness: None,
            keys: Arc::new(CookieKeys::new(&[&[1; 32]])),
            worker: WorkerState::seeded(7),
            nonces: fastrand::Rng::with_seed(7),
            wall_seconds: 1_700_000_000,
        }
    }

    fn with_group_stickiness(weights: &[u16]) -> Self {
        Self { group_stickiness: Some(HOUR), ..Self::new(weights, Some(&by_lb_cookie())) }
    }

    /// Gives the target at `port` another health.
    fn turn(&mut self, port: u16, health: Health) {
        let group = &mut self.groups[usize::from(port) / 1000];
        let mut members = group.members.clone();
        members.iter_mut().find(|member| member.target.addr.port() == port).unwrap().health = health;
        *group = Group::build(group.index, group.settings.clone(), members, true, Some(group));
    }

    fn snapshot(&self) -> Snapshot {
        let groups = self.groups.iter().map(|group| Some(Arc::new(group.clone())));
        Snapshot::new(1, Vec::new(), groups.collect()).with_cookie_keys(Some(self.keys.clone()))
    }

    fn decide(&mut self, cookies: &[(String, String)]) -> Decision {
        let groups = (0..).map(GroupIndex).zip(self.weights.iter().copied()).collect();
        let listener = Listener {
            index: ListenerIndex(0),
            load_balancer: LoadBalancerName::parse("edge").unwrap(),
            idle_timeout: HOUR,
            logs: crate::logs::Logs::default(),
            http: HttpSettings::default(),
            bind: ListenAddr("127.0.0.1:80".parse().unwrap()),
            proxies: None,
            logins: Arc::default(),
            rule_index: RuleIndex::default(),
            kind: ListenerKind::Application {
                headers: Arc::default(),
                tls: None,
                rules: Vec::new(),
                default_action: Action::Forward(Forward { groups, stickiness: self.group_stickiness }),
            },
        };
        let head = Head {
            scheme: "http",
            method: "GET",
            host: "h",
            port: 80,
            path: "/",
            normal_path: "/",
            query: None,
            headers: &cookies.to_vec(),
        };
        let client = ClientAddr("127.0.0.1:9".parse().unwrap());
        let snapshot = self.snapshot();
        let moment = Moment { now: Timestamp::default(), wall_seconds: self.wall_seconds };
        decide(&snapshot, &listener, &head, client, &mut self.worker, moment)
    }

    /// A request of a client, whose jar then has what the response sets. The port of the target.
    fn ask(&mut self, client: &mut Client) -> u16 {
        let decision = self.decide(&client.lines());
        let Outcome::Forward { group, lease } = &decision.outcome else { panic!("{decision:?}") };
        let affinity = decision.affinity.unwrap_or_default();
        client.has_missed = affinity.misses(lease.target());
        let sets = |name: &str| client.target_sets == Some(name);
        let group = &self.groups[group.0 as usize];
        let mut sealing =
            Sealing { keys: &self.keys, nonces: &mut self.nonces, wall_seconds: self.wall_seconds };
        let cookies = affinity.cookies(group, lease.target(), sets, &mut sealing);
        client.set = cookies.iter().map(|cookie| cookie.name).collect();
        for cookie in cookies.iter() {
            client.jar.insert(cookie.name, cookie.value().to_owned());
        }
        if let Some(name) = client.target_sets {
            client.jar.insert(name, "session".to_owned());
        }
        lease.target().addr.port()
    }
}

/// A client with a jar.
#[derive(Default)]
struct Client {
    jar: BTreeMap<&'static str, String>,
    /// What the last response set, but for the target's own.
    set: Vec<&'static str>,
    /// The cookie that targets set.
    target_sets: Option<&'static str>,
    has_missed: bool,
}

impl Client {
    fn lines(&self) -> Vec<(String, String)> {
        let pairs: Vec<String> = self.jar.iter().map(|(name, value)| format!("{name}={value}")).collect();
        vec![("cookie".to_owned(), pairs.join("; "))]
    }
}

fn by_lb_cookie() -> Stickiness {
    Stickiness { kind: StickinessKind::LoadBalancerCookie, duration: HOUR }
}

fn by_app_cookie() -> Stickiness {
    Stickiness { kind: StickinessKind::ApplicationCookie("session".into()), duration: HOUR }
}

#[test]
fn a_client_with_its_cookie_stays_while_others_take_turns() {
    let mut world = World::new(&[1], Some(&by_lb_cookie()));
    let mut client = Client::default();
    let first = world.ask(&mut client);
    assert!(client.has_missed, "a new client had nothing to stick to");
    for _ in 0..200 {
        world.ask(&mut Client::default());
        assert_eq!(world.ask(&mut client), first);
        assert!(!client.has_missed);
    }
    assert_eq!(client.set, ["AWSALB", "AWSALBCORS"]);
    assert_eq!(client.jar["AWSALB"], client.jar["AWSALBCORS"]);
}

// Conformance: A3.4.7, A3.4.8
#[test]
fn every_response_extends_the_time_and_silence_ends_it() {
    let mut world = World::new(&[1], Some(&by_lb_cookie()));
    let mut client = Client::default();
    let first = world.ask(&mut client);
    for _ in 0..20 {
        world.wall_seconds += 3599;
        assert_eq!(world.ask(&mut client), first, "within the hour");
    }
    world.wall_seconds += 3600;
    world.ask(&mut client);
    assert!(client.has_missed, "an hour of silence");
}

// Conformance: A3.4.10
#[test]
fn a_client_whose_target_fails_moves_and_stays_when_it_recovers() {
    let mut world = World::new(&[1], Some(&by_lb_cookie()));
    for health in [SICK, Health::Draining] {
        let mut client = Client::default();
        let first = world.ask(&mut client);
        world.turn(first, health);
        let second = world.ask(&mut client);
        assert!(second != first && client.has_missed, "{health:?}");
        world.turn(first, Health::Healthy);
        assert_eq!([world.ask(&mut client), world.ask(&mut client)], [second; 2], "{health:?}");
    }
}

#[test]
fn a_group_that_fails_open_keeps_its_clients_where_they_were() {
    let mut world = World::new(&[1], Some(&by_lb_cookie()));
    let mut client = Client::default();
    let first = world.ask(&mut client);
    for port in 1..=3 {
        world.turn(port, SICK);
    }
    assert_eq!([world.ask(&mut client), world.ask(&mut client)], [first; 2]);
}

// Conformance: A3.4.18
#[test]
fn a_cookie_of_another_group_means_nothing_and_is_kept_for_it() {
    let mut world = World::new(&[1, 0, 0, 0], Some(&by_lb_cookie()));
    let mut client = Client::default();
    let mut first = [0; 4];
    for (at, first) in first.iter_mut().enumerate() {
        world.weights = (0..4).map(|other| u16::from(other == at)).collect();
        *first = world.ask(&mut client);
        assert!(client.has_missed, "group {at} is new to it");
    }
    for at in [1, 2, 3] {
        world.weights = (0..4).map(|other| u16::from(other == at)).collect();
        assert_eq!(world.ask(&mut client), first[at], "one of the three groups that were asked last");
    }
    world.weights = vec![1, 0, 0, 0];
    world.ask(&mut client);
    assert!(client.has_missed, "that was one too many");
}

#[test]
fn keys_of_others_open_nothing_and_none_set_nothing() {
    let mut world = World::new(&[1], Some(&by_lb_cookie()));
    let mut client = Client::default();
    world.ask(&mut client);
    world.keys = Arc::new(CookieKeys::new(&[&[2; 32]]));
    world.ask(&mut client);
    assert!(client.has_missed);
    let snapshot = world.snapshot().with_cookie_keys(None);
    let headers = client.lines();
    let request = Request { snapshot: &snapshot, headers: &headers, wall_seconds: world.wall_seconds };
    assert_eq!(pinned(&by_lb_cookie(), &world.groups[0], request, &mut None), None);
}

#[test]
fn a_group_that_is_not_sticky_looks_at_no_cookie() {
    let mut world = World::new(&[1], None);
    let mut client = Client::default();
    world.ask(&mut client);
    assert_eq!((client.set.len(), client.has_missed), (0, false));
    assert_eq!(world.decide(&client.lines()).affinity, None);
}

// Conformance: A3.4.11, A3.4.12
#[test]
fn an_application_s_cookie_and_ours_are_needed_together() {
    let mut world = World::new(&[1], Some(&by_app_cookie()));
    let mut client = Client::default();
    world.ask(&mut client);
    assert_eq!(client.set.len(), 0, "the target has set no cookie");
    client.target_sets = Some("session");
    let first = world.ask(&mut client);
    assert_eq!(client.set, ["AWSALBAPP-0"]);
    client.target_sets = None;
    for _ in 0..200 {
        assert_eq!(world.ask(&mut client), first);
        assert_eq!(client.set, ["AWSALBAPP-0"], "renewed with each response");
    }
    for missing in ["session", "AWSALBAPP-0"] {
        let kept = client.jar.remove(missing).unwrap();
        world.ask(&mut client);
        assert!(client.has_missed && client.set.is_empty(), "without {missing}");
        client.jar.insert(missing, kept);
    }
    assert_eq!(world.ask(&mut client), first, "both are back");
    world.turn(first, SICK);
    let second = world.ask(&mut client);
    world.turn(first, Health::Healthy);
    assert_eq!(world.ask(&mut client), second, "it has moved for good");
}

// Conformance: A3.3.1
#[test]
fn a_client_stays_in_its_group_whatever_the_weights_but_zero() {
    let mut world = World::with_group_stickiness(&[1, 1]);
    let mut in_first = 0;
    for _ in 0..100 {
        let mut client = Client::default();
        let first = world.ask(&mut client);
        assert_eq!(client.set, ["AWSALBTG", "AWSALBTGCORS", "AWSALB", "AWSALBCORS"]);
        in_first += usize::from(first < 1000);
        world.weights = vec![999, 1];
        assert_eq!((0..10).map(|_| world.ask(&mut client)).collect::<Vec<_>>(), [first; 10]);
        world.weights = vec![1, 1];
    }
    assert!((30..70).contains(&in_first), "{in_first}");
}

// Conformance: A2.3.6
#[test]
fn a_client_of_a_group_without_weight_is_drawn_anew_and_stays_there() {
    let mut world = World::with_group_stickiness(&[1, 0]);
    let mut client = Client::default();
    assert!(world.ask(&mut client) < 1000);
    world.weights = vec![0, 1];
    assert!(world.ask(&mut client) > 1000);
    world.weights = vec![999, 1];
    assert!((0..100).all(|_| world.ask(&mut client) > 1000));
    world.weights = vec![0, 0];
    let decision = world.decide(&client.lines());
    assert!(matches!(decision.outcome, Outcome::Unavailable { group: None, .. }));
}

// Conformance: A3.4.16
#[test]
fn a_group_cookie_that_nobody_can_read_is_told_of_and_an_old_one_is_not() {
    let mut world = World::with_group_stickiness(&[1, 1]);
    let mut client = Client::default();
    world.ask(&mut client);
    let unreadable = |world: &mut World, client: &Client| {
        world.decide(&client.lines()).affinity.unwrap().has_unreadable_group_cookie()
    };
    assert!(!unreadable(&mut world, &client));
    world.wall_seconds += 2 * 3600;
    assert!(!unreadable(&mut world, &client), "it has ended");
    client.jar.insert("AWSALBTGCORS", "%41".repeat(43));
    assert!(unreadable(&mut world, &client));
}

// Conformance: A2.3.4
#[test]
fn a_group_without_a_target_keeps_its_clients_as_aws_does() {
    let mut world = World::with_group_stickiness(&[1, 0]);
    let mut client = Client::default();
    world.ask(&mut client);
    let group = &mut world.groups[0];
    *group = Group::build(group.index, group.settings.clone(), Vec::new(), true, None);
    world.weights = vec![1, 1];
    let decision = world.decide(&client.lines());
    assert!(matches!(decision.outcome, Outcome::Unavailable { group: Some(GroupIndex(0)), .. }));
}

#[test]
fn a_client_that_has_to_wait_for_its_group_does_not_forget_its_target() {
    let mut world = World::new(&[1], Some(&by_lb_cookie()));
    let mut client = Client::default();
    let first = world.ask(&mut client);
    let group = &mut world.groups[0];
    let settings = TargetGroup { hold: HOUR, ..(*group.settings).clone() };
    let initial = Health::Initial(InitialReason::InitialHealthChecking);
    let members = group.members.iter().map(|member| Member { health: initial, ..member.clone() }).collect();
    *group = Group::build(group.index, Arc::new(settings), members, true, None);
    let decision = world.decide(&client.lines());
    assert!(matches!(decision.outcome, Outcome::Unavailable { why: Unavailable::Hold(_), .. }));
    let pinned = decision.affinity.and_then(|affinity| affinity.pinned());
    for port in 1..=3 {
        world.turn(port, Health::Healthy);
    }
    let context = PickContext { key: 0, now: Timestamp::default(), avoid: &[], pinned, arm: None };
    let lease = world.groups[0].lease(&mut world.worker, &context).unwrap();
    assert_eq!(lease.target().addr.port(), first);
}
