//! What the simulator promises: requests, faults, servers that come and go.

use weir_core::definition::Algorithm;
use weir_core::limits::ConcurrencyLimits;

use super::*;
use crate::arrivals::{Process, Rate};
use crate::scenario::{Cache, Client, ColdStart, Event, Keys, ServerKind};
use crate::work::Work;

const MS: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MS;
const FCFS: Discipline = Discipline::Fcfs { slots: 1, queue: u32::MAX };
const TURNS: Policy = Policy::Weir(Algorithm::RoundRobin);
const LEAST: Policy = Policy::Weir(Algorithm::LeastOutstandingRequests);

/// Everything that ended, in order.
#[derive(Debug, Default)]
struct All(Vec<Ended>);

impl Observer for All {
    fn ended(&mut self, ended: &Ended) {
        self.0.push(*ended);
    }
}

impl All {
    fn count(&self, outcome: Outcome) -> usize {
        self.0.iter().filter(|ended| ended.outcome == outcome).count()
    }

    /// By server: requests that it answered which came from then on.
    fn answered_from(&self, from: u64, servers: usize) -> Vec<usize> {
        let mut counts = vec![0; servers];
        let answered = self.0.iter().filter(|ended| ended.outcome == Outcome::Answered && ended.came >= from);
        answered.filter_map(|ended| ended.server).for_each(|server| counts[server as usize] += 1);
        counts
    }
}

/// A request every 10 ms, for 2 s; work of 5 ms.
fn scenario(servers: u32) -> Scenario {
    let mut scenario = Scenario::plain(ServerKind::plain(servers, FCFS), Work::Constant(5e6), 0.5);
    scenario.demand = Demand::Open { process: Process::Constant, rate: Rate::constant(100.0) };
    scenario.duration = 2 * SECOND;
    scenario
}

fn run(scenario: &Scenario, policy: Policy) -> All {
    simulate(scenario, policy, 1, All::default())
}

#[test]
fn every_request_ends_once_and_takes_its_work() {
    let all = run(&scenario(2), TURNS);
    let mut numbers: Vec<u64> = all.0.iter().map(|ended| ended.number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..199).collect::<Vec<_>>());
    assert!(all.0.iter().all(|ended| ended.ended - ended.came == 5 * MS && ended.waited == 0));
}

#[test]
fn the_way_there_and_back_is_part_of_a_latency() {
    let all = run(&Scenario { network: 3 * MS, ..scenario(2) }, TURNS);
    assert!(all.0.iter().all(|ended| ended.ended - ended.came == 11 * MS && ended.waited == 0));
}

#[test]
fn another_algorithm_meets_the_same_requests() {
    let mut scenario = scenario(3);
    scenario.demand = Demand::Open { process: Process::Poisson, rate: Rate::constant(300.0) };
    scenario.keys = Some(Keys { count: 10, exponent: 1.0 });
    let came = |policy| {
        let mut all: Vec<(u64, u64)> =
            run(&scenario, policy).0.iter().map(|ended| (ended.number, ended.came)).collect();
        all.sort_unstable();
        all
    };
    assert_eq!(came(TURNS), came(Policy::Weir(Algorithm::Prequal)));
}

#[test]
fn whoever_gives_up_has_waited_as_long_as_he_would() {
    let mut scenario = scenario(1);
    scenario.work = Work::Constant(30e6);
    scenario.client = Client { timeout: Some(100 * MS), ..Client::default() };
    let all = run(&scenario, TURNS);
    let gave_up: Vec<&Ended> = all.0.iter().filter(|ended| ended.outcome == Outcome::TimedOut).collect();
    assert!(gave_up.len() > 50 && gave_up.iter().all(|ended| ended.ended - ended.came == 100 * MS));
}

#[test]
fn what_fails_is_tried_at_another_server_and_only_so_often() {
    let mut scenario = scenario(2);
    scenario.events = vec![(0, Event::Errors { servers: vec![0], share: 1.0, takes: MS })];
    assert!((99..=100).contains(&run(&scenario, TURNS).count(Outcome::ServerError)), "nobody tries again");
    scenario.client.retries = 1;
    let all = run(&scenario, TURNS);
    assert_eq!((all.count(Outcome::Answered), all.0.len()), (199, 199));
    assert!(all.0.iter().all(|ended| ended.server == Some(1) && ended.attempts <= 2));
}

#[test]
fn a_retry_whose_client_has_given_up_does_not_count_for_ever() {
    let mut scenario = scenario(2);
    scenario.work = Work::Constant(60e6);
    scenario.servers[0].discipline = Discipline::Infinite;
    scenario.events = vec![(0, Event::Errors { servers: vec![0], share: 1.0, takes: MS })];
    // Every retry outlasts its client, and no more than a few may be under way.
    scenario.servers.push(ServerKind::plain(1, Discipline::Infinite));
    scenario.servers[0].count = 1;
    scenario.client = Client { timeout: Some(30 * MS), retries: 1, hedge: None };
    scenario.group.retries = weir_core::limits::RetryBudget { percentage: 0, minimum: 8 };
    let all = run(&scenario, TURNS);
    assert!(all.0.iter().filter(|ended| ended.attempts == 2).count() > 90, "half of them are tried again");
}

#[test]
fn a_crashed_server_is_found_by_health_checks_and_comes_back_by_them() {
    let mut scenario = scenario(2);
    scenario.duration = 400 * SECOND;
    scenario.demand = Demand::Open { process: Process::Constant, rate: Rate::constant(10.0) };
    let servers = vec![0];
    scenario.events = vec![
        (10 * SECOND, Event::Crash { servers: servers.clone() }),
        (200 * SECOND, Event::Recover { servers }),
    ];
    let all = run(&scenario, TURNS);
    assert_eq!(all.count(Outcome::Answered), all.0.len(), "whoever is refused is sent to the other one");
    let again: Vec<u64> = all.0.iter().filter(|ended| ended.attempts > 1).map(|e| e.came / SECOND).collect();
    // AWS's defaults: every 30 s, twice in a row; five in a row to come back.
    assert!(again.len() > 200 && again.iter().all(|at| (10..=60).contains(at)), "{again:?}");
    assert!(all.answered_from(100 * SECOND, 2)[0] > 100, "it takes its turns again");
}

#[test]
fn who_waits_for_a_server_that_stands_still_for_good_is_counted_as_never_answered() {
    let mut scenario = scenario(2);
    let swings = crate::scenario::Swings { factor: 0.5, every: SECOND, lasts: SECOND, varies: true };
    scenario.servers[0].swings = Some(swings);
    scenario.events = vec![(SECOND, Event::Speed { servers: vec![0], factor: 0.0 })];
    let all = run(&scenario, TURNS);
    assert_eq!(all.0.len(), 199);
    assert!((45..55).contains(&all.count(Outcome::TimedOut)), "{}", all.count(Outcome::TimedOut));
}

#[test]
fn what_a_server_had_that_crashes_fails() {
    let mut scenario = scenario(1);
    scenario.work = Work::Constant(30e6);
    scenario.events = vec![(SECOND, Event::Crash { servers: vec![0] })];
    let all = run(&scenario, TURNS);
    let (failed, refused) = (all.count(Outcome::ServerError), all.count(Outcome::Refused));
    assert!(failed > 60 && (99..=100).contains(&refused), "{failed} {refused}");
}

#[test]
fn a_server_that_leaves_finishes_what_it_has_and_gets_nothing_new() {
    let mut scenario = scenario(2);
    scenario.work = Work::Constant(15e6);
    scenario.events =
        vec![(SECOND, Event::Start { like: 0 }), (SECOND + MS, Event::Stop { servers: vec![0] })];
    let all = run(&scenario, LEAST);
    assert_eq!(all.count(Outcome::Answered), 199);
    let after = all.answered_from(SECOND + 2 * MS, 3);
    assert!(after[0] == 0 && after[1] > 30 && after[2] > 30, "{after:?}");
}

#[test]
fn a_cold_start_is_slow_and_fades() {
    let mut scenario = scenario(1);
    scenario.servers[0].cold_start = Some(ColdStart { cost: 2.0, lasts: 500 * MS, fades: 300 * MS });
    scenario.events = vec![(0, Event::Start { like: 0 }), (MS, Event::Stop { servers: vec![0] })];
    let all = run(&scenario, TURNS);
    let took = |from: u64, to: u64| {
        let some = all.0.iter().filter(|ended| (from..to).contains(&(ended.came / MS)));
        some.map(|ended| ended.ended - ended.came).max().unwrap()
    };
    assert_eq!((took(20, 480), took(1_000, 2_000)), (10 * MS, 5 * MS));
    assert!((6 * MS..9 * MS).contains(&took(600, 700)));
}

#[test]
fn who_finds_no_room_waits_in_order_or_is_refused() {
    let mut scenario = scenario(1);
    scenario.work = Work::Constant(19e6);
    scenario.group.concurrency = ConcurrencyLimits { per_target: 1, ..ConcurrencyLimits::default() };
    let refused = run(&scenario, LEAST);
    assert_eq!(refused.count(Outcome::Refused), 99);
    scenario.dispatchers.surge_queue = 5;
    let queued = run(&scenario, LEAST);
    let answered: Vec<u64> =
        queued.0.iter().filter(|e| e.outcome == Outcome::Answered).map(|e| e.number).collect();
    assert!(
        answered.is_sorted() && answered.len() > 100,
        "the queue is emptied when requests have ceased to come"
    );
}

#[test]
fn a_key_that_a_server_does_not_remember_is_more_work() {
    let mut scenario = scenario(2);
    scenario.keys = Some(Keys { count: 2, exponent: 0.0 });
    scenario.servers[0].cache = Some(Cache { keys: 1, miss: 3.0 });
    let took = |scenario: &Scenario, policy| {
        let all = run(scenario, policy);
        all.0.iter().map(|ended| ended.ended - ended.came).sum::<u64>() / all.0.len() as u64
    };
    scenario.group.hashing = Some(weir_core::definition::Hashing {
        on: weir_core::definition::HashOn::Flow,
        balance_factor: None,
    });
    let (turns, hashed) = (took(&scenario, TURNS), took(&scenario, Policy::Weir(Algorithm::Rendezvous)));
    assert!(turns > 9 * MS && hashed < 7 * MS, "{turns} {hashed}");
}

#[test]
fn users_of_a_closed_loop_never_have_more_under_way_than_there_are() {
    #[derive(Default)]
    struct Most(u32);
    impl Observer for Most {
        fn ended(&mut self, _: &Ended) {}

        fn look_every(&self) -> Option<u64> {
            Some(MS)
        }

        fn look(&mut self, _: u64, view: View<'_>) {
            self.0 = self.0.max(view.in_flight.iter().sum());
        }
    }
    let mut scenario = scenario(1);
    scenario.demand = Demand::Closed { users: 7, thinking: MS };
    let Most(most) = simulate(&scenario, TURNS, 1, Most::default());
    assert_eq!(most, 7);
}
