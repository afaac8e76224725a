//! One mistake each, and what is told of it.

use super::*;

#[test]
fn impossible_loads_are_refused() {
    const REMEDY: &str = "write a number from 0.001 to 100";
    for load in ["-1", "NaN", "inf", "0", ".inf", "much", "101"] {
        let cause = format!("{load:?} is out of range");
        refused(&format!("arrivals: {{ load: {load} }}"), &cause, REMEDY);
        refused(&format!("loads: [0.5, {load}]"), &cause, REMEDY);
        refused(&format!("loads: [{load}, 0.5]\narrivals: {{ process: poisson }}"), &cause, REMEDY);
    }
    let negative = "arrivals: { steps: [{ at: 0s, load: 0.5 }, { at: 20s, load: -0.5 }] }";
    refused(negative, "\"-0.5\" is out of range", "write a number from 0 to 100");
    let nobody = "arrivals: { steps: [{ at: 0s, load: 0 }] }";
    refused(nobody, "nobody ever asks", "write more than 0 in one of the steps");
}

#[test]
fn impossible_rates_are_refused() {
    refused("arrivals: { rate: 700 }", "\"700\" is not a rate", "name the unit: `700/s`");
    refused("arrivals: { rate: often }", "\"often\" is not a rate", "write requests per second: 700/s");
    for rate in ["0/s", "-5/s", "NaN/s", "inf/s", "1000001/s"] {
        let cause = format!("{rate:?} is out of range");
        refused(&format!("arrivals: {{ rate: {rate} }}"), &cause, "write a rate from 0.001/s to 1000000/s");
    }
    refused(
        "work: { distribution: constant, mean: 100ns }\narrivals: { load: 0.7 }",
        "that is 70000000 requests per second, which is more than 1000000",
        "write less, fewer servers, or more work",
    );
}

#[test]
fn more_than_the_servers_can_do_all_the_time_is_warned_of() {
    let unstable = |load: &str| {
        format!(
            "6: unstable: {load} times what the servers can do is asked for all the time, and nothing limits who waits"
        )
    };
    let of = |keys: &str| warned(&format!("client: {{}}\n{keys}"));
    assert_eq!(of("arrivals: { load: 1 }"), [unstable("1.00")]);
    assert_eq!(of("arrivals: { rate: 1200/s }"), [unstable("1.20")]);
    assert_eq!(of("arrivals: { steps: [{ at: 0s, load: 1.1 }, { at: 5s, load: 1.5 }] }"), [unstable("1.10")]);
    assert_eq!(
        of("arrivals: { process: poisson }\nloads: [0.9, 1.3]"),
        [unstable("1.30").replace("6:", "7:")]
    );
    let shared = "servers: [{ count: 10, discipline: processor_sharing }]\narrivals: { load: 1 }";
    assert_eq!(of(shared).len(), 1);
    // Overload that ends, or that nobody has to wait for, is an experiment like others.
    for stable in [
        "arrivals: { load: 0.99 }",
        "arrivals: { steps: [{ at: 0s, load: 0.4 }, { at: 5s, load: 1.5 }] }",
        "servers: [{ count: 10, queue: 100 }]\narrivals: { load: 1.5 }",
        "target_group: { concurrency_limits: { per_target: 8 } }\narrivals: { load: 1.5 }",
    ] {
        assert!(of(stable).is_empty(), "{stable}");
    }
}

#[test]
fn a_load_means_nothing_where_nobody_is_ever_busy() {
    let cause = "servers that are never busy have no capacity that this could be a part of";
    let remedy = "write a rate: `arrivals: { process: poisson, rate: 700/s }`";
    let infinite = "servers: [{ discipline: infinite }]\n";
    refused(&format!("{infinite}arrivals: {{ load: 0.5 }}"), cause, remedy);
    refused(&format!("{infinite}arrivals: {{ rate: 5/s }}\nloads: [0.5]"), cause, remedy);
    scenario(&format!("{infinite}arrivals: {{ rate: 5/s }}"));
}

#[test]
fn requests_come_by_one_way() {
    refused(
        "arrivals: { load: 0.5 }\nusers: { count: 1, thinking: 1s }",
        "requests come by `arrivals` (line 5) or from `users`",
        "take one of them out",
    );
    let text = scenario_text("").replace("arrivals:", "# arrivals:");
    let told = parse(&text, Path::new("file.yaml")).unwrap_err().to_string();
    assert!(told.contains("nobody asks: there are neither `arrivals` nor `users`"), "{told}");
    refused(
        "users: { count: 1, thinking: 1s }\nloads: [0.5]",
        "users ask as often as they are answered, so that there is no load to set",
        "take it out, or write `arrivals` instead of `users`",
    );
    refused(
        "arrivals: { load: 0.5, rate: 5/s }",
        "arrivals have one of `load`, `rate` and `steps`",
        "write one of them: `load: 0.7`",
    );
    refused(
        "arrivals: { process: poisson }",
        "arrivals have one of `load`, `rate` and `steps`",
        "write one of them: `load: 0.7`",
    );
    refused(
        "loads: [0.5]\narrivals: { steps: [{ at: 0s, load: 0.5 }] }",
        "with `loads` (line 5) the load is the same all the time",
        "take one of them out",
    );
    refused("loads: []", "a sweep has 1 to 100 loads", "write `[0.5, 0.7, 0.9]`");
    refused(
        "arrivals: { load: 0.5, ratio: 10 }",
        "`ratio` goes with mmpp",
        "take it out, or write `process: mmpp`",
    );
}

#[test]
fn steps_begin_at_the_start_and_go_on_in_order() {
    let steps = |steps: &str| format!("arrivals: {{ steps: [{steps}] }}");
    refused(&steps("{ at: 1s, load: 1 }"), "nobody knows the load before the first step", "write `at: 0s`");
    refused(
        &steps("{ at: 0s, load: 0.4 }, { at: 9s, load: 0.5 }, { at: 9s, load: 0.6 }"),
        "a step comes after the one before it",
        "put them in order",
    );
    refused(
        &steps("{ at: 0s, load: 0.4 }, { at: 60s, load: 0.5 }"),
        "the scenario is over by then",
        "write less than its `duration`",
    );
    refused(
        &steps("{ at: 0s, load: 0.4, rate: 5/s }"),
        "a step has either `load` or `rate`",
        "write one of them: `load: 0.7`",
    );
}

#[test]
fn impossible_servers_are_refused() {
    refused("servers: []", "nobody answers: the list is empty", "write `[{ count: 10 }]`");
    let server = |keys: &str| format!("servers: [{{ {keys} }}]");
    for weight in ["0", "NaN", "1001", "-1", "1.5"] {
        let cause = format!("{weight:?} is out of range");
        refused(&server(&format!("weight: {weight}")), &cause, "write a whole number from 1 to 1000");
    }
    refused(&server("count: 0"), "\"0\" is out of range", "write a whole number from 1 to 10000");
    refused(&server("speed: 0"), "\"0\" is out of range", "write a number from 0.001 to 1000");
    refused(
        "servers: [{ count: 6000 }, { count: 6000 }]",
        "12000 servers are more than 10000",
        "write fewer",
    );
    refused(
        &server("disciplin: fcfs"),
        "`disciplin` is not a key of a kind of servers",
        "did you mean `discipline`?",
    );
    refused(
        &server("discipline: ps"),
        "\"ps\" is none of fcfs, processor_sharing, infinite",
        "write one of fcfs, processor_sharing, infinite",
    );
    refused(
        &server("discipline: processor_sharing, queue: 5"),
        "servers that are processor_sharing have no queue",
        "take it out, or write `discipline: fcfs`",
    );
    refused(
        &server("cache: { keys: 5, miss: 20 }"),
        "there is nothing to remember: requests have no keys",
        "write `keys: { count: 100000, exponent: 1 }`, or take it out",
    );
    refused(
        &server("swings: { factor: 1.5, every: 1s, lasts: 1s }"),
        "\"1.5\" is out of range",
        "write a number from 0 to 1",
    );
    refused(
        &server("swings: { factor: 0.0001, every: 1s, lasts: 1s }"),
        "so slow a server does not end in any run",
        "write 0 to have it stand still",
    );
}

#[test]
fn events_happen_to_servers_that_are_there() {
    let event = |event: &str| format!("events: [{event}]");
    refused(
        &event("{ at: 1s, crash: [3, 10] }"),
        "there is no server 10 at that moment",
        "servers are 0 to 9 then; `start` brings the next one",
    );
    refused(
        &event("{ at: 1s, start: 12 }"),
        "there is no server 12 at that moment",
        "servers are 0 to 9 then; `start` brings the next one",
    );
    // The order is that of moments, not that of lines.
    scenario(&event("{ at: 2s, stop: [10] }, { at: 1s, start: 0 }"));
    refused(
        &event("{ at: 2s, start: 0 }, { at: 1s, stop: [10] }"),
        "there is no server 10 at that moment",
        "servers are 0 to 9 then; `start` brings the next one",
    );
    refused(
        &event("{ at: 2s, start: 0 }, { at: 3s, speed: [11], factor: 0.1 }"),
        "there is no server 11 at that moment",
        "servers are 0 to 10 then, with those that have started",
    );
    refused(
        &event("{ at: 2s, stop: [1] }, { at: 3s, stop: [1] }"),
        "server 1 has been stopped already",
        "take it out",
    );
}

#[test]
fn events_have_a_moment_and_one_thing_that_happens() {
    let event = |event: &str| format!("events: [{event}]");
    for at in ["60s", "2m"] {
        refused(
            &event(&format!("{{ at: {at}, crash: [0] }}")),
            "the scenario is over by then",
            "write less than its `duration`",
        );
    }
    refused(
        &event("{ at: -5s, crash: [0] }"),
        "\"-5s\" is not a duration",
        "write a number and a unit: 500ns, 30s, 5m, 1h, 1d",
    );
    for none_or_two in ["{ at: 1s }", "{ at: 1s, crash: [0], stop: [1] }"] {
        refused(
            &event(none_or_two),
            "an event has one of crash, errors, recover, speed, start, stop",
            "write one, `crash: [0]` say, and others at the same moment",
        );
    }
    refused(&event("{ at: 1s, crash: [0], factor: 2 }"), "`crash` has no `factor`", "take it out");
    refused(
        &event("{ at: 1s, crash: [] }"),
        "it happens to nobody: the list is empty",
        "write numbers of servers: `[0]`",
    );
    refused(&event("{ at: 1s, speed: [0] }"), "`factor` is missing", "write `factor: 0.1`");
    for (keys, text) in [("errors: [0], share: 1.5", "1.5"), ("errors: [0], share: NaN", "NaN")] {
        let cause = format!("{text:?} is out of range");
        refused(&event(&format!("{{ at: 1s, {keys} }}")), &cause, "write a number from 0 to 1");
    }
}

#[test]
fn algorithms_are_known_and_have_what_they_need() {
    refused("algorithms: []", "nobody picks: the list is empty", "write `[round_robin]`, or more of them");
    let told = parse(&scenario_text("algorithms: [prequel]"), Path::new("f.yaml")).unwrap_err().to_string();
    assert!(told.contains("did you mean `prequal`?"), "{told}");
    refused("algorithms: [round_robin, round_robin]", "round_robin is written twice", "take it out");
    for algorithm in ["maglev", "rendezvous", "ring_hash", "flow_hash"] {
        refused(
            &format!("algorithms: [{algorithm}]"),
            &format!("{algorithm} picks by a request's key, and requests have none"),
            "write `keys: { count: 100000, exponent: 1 }`, or take it out",
        );
    }
}

#[test]
fn who_goes_by_response_times_is_warned_of_where_nobody_learns_of_them() {
    let told = warned("dispatchers: { refresh: 10ms }\nalgorithms: [round_robin, prequal]");
    let cause = "goes by response times, of which dispatchers that look only now and then learn nothing";
    assert_eq!(told, [format!("6: prequal {cause}")]);
}

#[test]
fn who_knows_nothing_of_health_is_warned_of_where_servers_come_or_go() {
    for event in ["crash: [0]", "start: 0", "stop: [0]"] {
        let told = warned(&format!("events: [{{ at: 1s, {event} }}]\nalgorithms: [round_robin, c3]"));
        let cause = "c3 knows the servers of the start, and nothing of those that come or go";
        assert_eq!(told, [format!("6: {cause}")]);
    }
    assert!(warned("events: [{ at: 1s, speed: [0], factor: 0 }]\nalgorithms: [c3]").is_empty());
}

#[test]
fn a_group_is_told_only_what_somebody_heeds() {
    refused(
        "target_group: { hash: { balance_factor: 125 } }",
        "none of the algorithms picks by a key",
        "take it out, or compare maglev, rendezvous or ring_hash, too",
    );
    refused(
        "target_group: { load_balancing_anomaly_mitigation: \"on\" }",
        "anomaly mitigation goes with weighted_random",
        "take it out, or compare weighted_random, too",
    );
    refused(
        "target_group: { load_probe: { path: /load } }",
        "none of the algorithms asks servers for their load",
        "take it out, or compare prequal, too",
    );
    scenario("target_group: { slow_start: 30s }\nalgorithms: [least_outstanding_requests]");
    let told = parse(&scenario_text("target_group: { targets: [] }"), Path::new("f.yaml")).unwrap_err();
    assert!(told.to_string().contains("`targets` is not a key of a target group of a scenario"), "{told}");
}

#[test]
fn work_has_the_settings_of_its_distribution() {
    let work = |keys: &str| format!("work: {{ distribution: {keys} }}");
    for alpha in ["1", "1.0000001"] {
        refused(
            &work(&format!("bounded_pareto, mean: 10ms, alpha: {alpha}, spread: 1000")),
            "with an alpha of 1 the mean has another form, which is not here",
            "write 1.01 or 0.99",
        );
    }
    refused(
        &work("exponential, mean: 10ms, alpha: 2"),
        "work that is exponential has no alpha",
        "take it out: its keys are mean",
    );
    refused(
        &work("uniform, least: 20ms, most: 10ms"),
        "the most is less than the least",
        "write them the other way round",
    );
    refused(&work("constant"), "`mean` is missing", "write `mean: 10ms`");
    refused(&work("constant, mean: 0ms"), "\"0ms\" is out of range", "write a duration from 1ns to 60s");
    refused(&work("gamma"), &format!("\"gamma\" is none of {ALL_WORK}"), &format!("write one of {ALL_WORK}"));
}

const ALL_WORK: &str = "bounded_pareto, constant, elephants, exponential, normal, trace, uniform";

#[test]
fn what_is_measured_begins_before_the_end() {
    for warm_up in ["60s", "61s"] {
        refused(
            &format!("warm_up: {warm_up}"),
            "nothing is left to be measured: it is over before that",
            "write less than the `duration`",
        );
    }
}

#[test]
fn dispatchers_and_clients_that_contradict_themselves_are_refused() {
    refused(
        "dispatchers: { count: 2, counts: apart, refresh: 100ms }",
        "dispatchers that count apart look at nothing that could get old",
        "take it out, or write `counts: shared`",
    );
    refused(
        "servers: [{ count: 1000 }]\ndispatchers: { count: 1024, counts: apart }",
        "dispatchers that count apart, times servers, are more than 100000",
        "write fewer of either, or `counts: shared`",
    );
    refused(
        "client: { timeout: 1s, hedge: 1s }",
        "by then the client has given up",
        "write less than the `timeout`",
    );
}

#[test]
fn everything_has_a_limit() {
    for (keys, remedy) in [
        ("duration: 25h", "write a duration from 1ms to 86400s"),
        ("duration: 0s", "write a duration from 1ms to 86400s"),
        ("seeds: 0", "write a whole number from 1 to 1000"),
        ("keys: { count: 10000001 }", "write a whole number from 1 to 10000000"),
        ("keys: { count: 10, exponent: NaN }", "write a number from 0 to 10"),
        ("users: { count: 1000001, thinking: 1s }", "write a whole number from 1 to 1000000"),
        ("users: { count: 1, thinking: 0s }", "write a duration from 100us to 3600s"),
        ("dispatchers: { count: 1025 }", "write a whole number from 1 to 1024"),
        ("client: { retries: 11 }", "write a whole number from 0 to 10"),
    ] {
        let told = parse(&scenario_text(keys), Path::new("f.yaml")).unwrap_err();
        assert_eq!((told.0.len(), told.0[0].remedy.as_deref()), (1, Some(remedy)), "{told}");
    }
    let large = std::env::temp_dir().join(format!("weir-lab-{}-large.yaml", std::process::id()));
    std::fs::write(&large, vec![b'#'; weir_config::FILE_BYTES_MAX as usize + 1]).unwrap();
    assert!(matches!(load(&large), Err(LoadError::TooLarge(_))));
    std::fs::remove_file(large).unwrap();
}

#[test]
fn a_key_that_is_not_known_is_told_with_the_nearest() {
    refused("sedes: 3", "`sedes` is not a key of a scenario", "did you mean `seeds`?");
    let told = parse("- a", Path::new("f.yaml")).unwrap_err().to_string();
    assert!(told.contains("a scenario is a mapping of keys to values"), "{told}");
}
