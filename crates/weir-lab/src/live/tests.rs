//! What can be run live, and what comes of it.

use super::*;
use weir_core::definition::Algorithm;

use crate::scenario::Discipline;
use crate::work::Work;

fn scenario() -> Scenario {
    let server = ServerKind::plain(2, Discipline::Fcfs { slots: 1, queue: u32::MAX });
    let policies = [Algorithm::RoundRobin, Algorithm::LeastOutstandingRequests].map(Policy::Weir).into();
    Scenario { policies, ..Scenario::plain(server, Work::Exponential(1e7), 0.5) }
}

#[test]
fn what_only_the_simulator_can_do_is_refused_before_anything_runs() {
    let says = |change: &dyn Fn(&mut Scenario)| {
        let mut scenario = scenario();
        change(&mut scenario);
        check(&scenario).unwrap_err().to_string()
    };
    assert!(check(&scenario()).is_ok());
    assert_eq!(says(&|s| s.network = 1), "a network delay cannot be run live");
    assert_eq!(
        says(&|s| s.dispatchers.count_apart = true),
        "dispatchers that count apart cannot be run live"
    );
    let stop = Event::Stop { servers: vec![0] };
    assert_eq!(
        says(&|s| s.events = vec![(0, stop.clone())]),
        "an event that starts or stops servers cannot be run live"
    );
    let idle = Policy::Laboratory(crate::scenario::LaboratoryPolicy::JoinIdleQueue);
    assert!(
        says(&|s| s.policies.push(idle)).starts_with("join_idle_queue is an algorithm of the laboratory")
    );
}

#[test]
fn live_requests_are_those_of_the_simulator() {
    struct Came(Vec<u64>);
    impl Observer for Came {
        fn ended(&mut self, ended: &Ended) {
            self.0.push(ended.came);
        }
    }
    let scenario = Scenario { duration: 2_000_000_000, ..scenario() };
    let Came(mut simulated) =
        crate::simulator::simulate(&scenario, scenario.policies[0], 5, Came(Vec::new()));
    simulated.sort_unstable();
    let live: Vec<u64> = Requests::new(&scenario, 5).unwrap().map(|planned| planned.at).collect();
    assert_eq!(live, simulated);
}

#[test]
fn what_was_noted_of_requests_is_a_run() {
    let scenario = Scenario { duration: 600_000_000, ..scenario() };
    let record = |intended, done, ending, target: Option<&str>| Record {
        intended,
        sent: Some(intended),
        done,
        ending,
        target: target.map(Into::into),
    };
    let records = [
        record(0, 300_000_000, Ending::Answered(200), Some("0")),
        record(1_000_000, 5_000_000, Ending::Answered(503), None),
        record(2_000_000, 9_000_000, Ending::Failed(Failure::Timeout), None),
        record(3_000_000, 8_000_000, Ending::Answered(500), Some("1")),
    ];
    let run = as_noted(&scenario, 1, &records);
    let counts = run.counts;
    assert_eq!(
        (counts.all, counts.answered, counts.refused, counts.timed_out, counts.errors),
        (4, 1, 1, 1, 1)
    );
    assert_eq!(run.answers, [1, 0]);
    assert!((run.slices[10].in_flight[0] - 1.0).abs() < 1e-9 && run.slices[40].in_flight[0] == 0.0);
}
