//! Items 15 to 17: what clients do, who ask only when they have an answer, ask twice, or ask again.

use weir_core::definition::Algorithm;
use weir_core::limits::RetryBudget;

use super::queues::{FCFS, MEAN, mean, row, run, scaled};
use super::{Depth, Expected, Item, Row, Source};
use crate::arrivals::{Process, Rate};
use crate::scenario::{Client, Demand, Discipline, Event, Policy, Scenario, ServerKind};
use crate::theory;
use crate::work::Work;

const TURNS: Policy = Policy::Weir(Algorithm::RoundRobin);

pub(super) fn add(depth: Depth, items: &mut Vec<Item>) {
    for (users, thinking, requests) in [(10, 9.0, 4_000_000), (1_000, 1_111.0, 40_000_000)] {
        // The more users, the more like an open loop: at 0.89 it takes as many requests.
        if users > 10 && depth == Depth::Quick {
            continue;
        }
        items.push(Item::new(15, "closed loop", requests as f64 / 4e6, move || {
            closed(users, thinking, requests)
        }));
    }
    items.push(Item::new(16, "hedge", 4.0, move || hedge(scaled(depth, 8_000_000))));
    items.push(Item::new(17, "retries", 1.0, || retries(400_000)));
}

fn closed(users: u32, thinking: f64, requests: u64) -> Vec<Row> {
    let open = Scenario::plain(ServerKind::plain(1, FCFS), Work::Exponential(MEAN), 0.5);
    let demand = Demand::Closed { users, thinking: (thinking * MEAN) as u64 };
    let batches = run(&Scenario { demand, ..open.clone() }, TURNS, requests);
    let (rate, response) = theory::closed_loop(users, thinking);
    let same = run(&open.at_load(rate), TURNS, requests.min(4_000_000));
    let what = |of: &str| format!("{users} users, {of}");
    vec![
        row(
            15,
            what("requests in a service time"),
            Expected::Near(rate, 0.01),
            batches.throughput() * 1e9,
            requests,
        ),
        row(15, what("mean"), Expected::Near(response, 0.01), mean(&batches), requests),
        row(
            15,
            what("as many in an open loop, mean"),
            Expected::Near(theory::mm1(rate), 0.04),
            mean(&same),
            requests,
        ),
    ]
}

fn hedge(requests: u64) -> Vec<Row> {
    const AFTER: f64 = 2.9957;
    let mut scenario =
        Scenario::plain(ServerKind::plain(10, Discipline::Infinite), Work::Exponential(MEAN), 1.0);
    scenario.demand = Demand::Open { process: Process::Poisson, rate: Rate::constant(10.0) };
    let plain = run(&scenario, TURNS, requests);
    scenario.client = Client { hedge: Some((AFTER * MEAN) as u64), ..Client::default() };
    let hedged = run(&scenario, TURNS, requests);
    // Without: e^-t. With: e^-t e^-(t - d), which is a thousandth where 2t - d = ln 1000.
    let thousandth = 1000.0_f64.ln();
    vec![
        row(
            16,
            "no hedge, p99.9".to_owned(),
            Expected::Near(thousandth, 0.01),
            plain.quantile(0.999) / MEAN,
            requests,
        ),
        row(
            16,
            "hedge at p95, p99.9".to_owned(),
            Expected::Near(f64::midpoint(thousandth, AFTER), 0.01),
            hedged.quantile(0.999) / MEAN,
            requests,
        ),
        row(
            16,
            "hedge at p95, requests sent for each".to_owned(),
            Expected::Near(1.05, 0.01),
            hedged.attempts_each(),
            requests,
        ),
    ]
}

fn retries(requests: u64) -> Vec<Row> {
    let mut scenario = Scenario::plain(ServerKind::plain(10, FCFS), Work::Exponential(MEAN), 0.5);
    let all = (0..10).collect();
    scenario.events = vec![(0, Event::Errors { servers: all, share: 1.0, takes: MEAN as u64 })];
    scenario.client.retries = 3;
    scenario.group.retries = RetryBudget { percentage: 100, minimum: u32::MAX };
    let without = run(&scenario, TURNS, requests).attempts_each();
    // Many at a time, so that the budget is not rounded away.
    let mut scenario = scenario.at_load(50.0);
    scenario.group.retries = RetryBudget { percentage: 20, minimum: 0 };
    let with = run(&scenario, TURNS, requests).attempts_each();
    let row = |what: &str, expected, got| Row {
        source: Source::Definition,
        ..row(17, what.to_owned(), expected, got, requests)
    };
    vec![
        row("everything fails, 3 retries, sent for each", Expected::Within(4.0, 0.0), without),
        // A fifth of what is under way are retries, so that four fifths are what came.
        row("everything fails, budget of 20 %, sent for each", Expected::Near(1.25, 0.01), with),
    ]
}
