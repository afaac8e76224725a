//! The data plane picks as the picker does: one seeded trace through both.

use weir_core::address::ClientAddr;
use weir_core::balance::WorkerState;
use weir_core::decide::{Outcome, decide};
use weir_core::head::Head;
use weir_core::time::Moment;
use weir_tests::yaml::{application, group};
use weir_tests::{FakeTarget, Folder, Weir};

const SEED: u64 = 20_26;

const REQUESTS: usize = 300;

const PATHS: [&str; 7] = ["/turns", "/fewest", "/random", "/choices", "/again", "/weighted", "/compared"];

#[test]
fn one_seeded_trace_is_picked_identically_by_the_picker_and_by_the_data_plane() {
    let names = ["a", "b", "c", "d"];
    let targets: Vec<FakeTarget> = names.iter().map(|name| FakeTarget::answering(name)).collect();
    let all: Vec<&FakeTarget> = targets.iter().collect();
    let groups = [
        group("turns", "", &all),
        group("fewest", "load_balancing_algorithm: least_outstanding_requests", &all),
        group("random", "load_balancing_algorithm: weighted_random", &all),
        group("choices", "load_balancing_algorithm: power_of_two_choices", &all),
        group("again", "load_balancing_algorithm: power_of_two_choices_with_replacement", &all),
        group("compared", "comparison: { algorithm: power_of_two_choices }", &all),
    ];
    let rules: Vec<String> = (1..).zip(["turns", "fewest", "random", "choices", "again", "compared"]).map(|(priority, name)| {
        format!("{{ priority: {priority}, conditions: [{{ path_pattern: [\"/{name}\"] }}], actions: [{{ forward: {name} }}] }}")
    }).collect();
    let weighted = "default_action: { forward: { target_groups: [{ name: turns, weight: 3 }, { name: random, weight: 1 }] } }";
    let yaml = format!(
        "workers: 1\n{}",
        application(&groups, "", &format!("rules: [{}], {weighted}", rules.join(", ")))
    );
    let weir = Weir::start_in(Folder::new(), &yaml, |setup| setup.seed = Some(SEED));
    weir.wait_until_healthy();
    let trace: Vec<&str> = (0..REQUESTS).map(|number| PATHS[number * 7 % 11 % PATHS.len()]).collect();

    let mut client = weir.client();
    let served: Vec<String> = trace.iter().map(|path| client.get(path).body).collect();

    let snapshot = weir.snapshot();
    let listener = snapshot.listeners().next().unwrap();
    let mut worker = WorkerState::seeded(SEED);
    let headers: Vec<(String, String)> = Vec::new();
    let picked: Vec<&str> = trace
        .iter()
        .map(|path| {
            let head = Head {
                scheme: "http",
                method: "GET",
                host: "a.example",
                port: 80,
                path,
                normal_path: path,
                query: None,
                headers: &headers,
            };
            let decision =
                decide(&snapshot, listener, &head, ClientAddr(client.addr()), &mut worker, Moment::default());
            let Outcome::Forward { lease, .. } = decision.outcome else { panic!("{decision:?}") };
            names[targets.iter().position(|target| target.addr() == lease.target().addr.0).unwrap()]
        })
        .collect();
    assert_eq!(served, picked);
}
