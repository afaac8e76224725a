//! Which changes of a configuration a log shows.

use super::*;

fn world(rules: &str, groups: &str) -> World {
    let yaml = format!(
        "load_balancers: [{{ name: edge, type: application, listeners: [{{ bind: \"127.0.0.1:80\", rules: [{rules}], \
         default_action: {{ forward: web }} }}] }}]\ntarget_groups: [{groups}]"
    );
    let loaded = weir_config::parse(&yaml, std::path::Path::new("new.yaml")).unwrap();
    World::new(loaded.config.definitions)
}

const GROUPS: &str = "{ name: web, targets: [{ address: 127.0.0.1, port: 9001 }] }, \
                      { name: api, targets: [{ address: 127.0.0.1, port: 9002 }, { address: 127.0.0.1, port: 9003 }] }";

const API: &str =
    "{ priority: 10, conditions: [{ path_pattern: [\"/api/*\"] }], actions: [{ forward: api }] }";

fn entry(url: &str, rule: &str, group: &str, port: u16) -> Entry {
    Entry {
        came: std::time::Duration::ZERO,
        load_balancer: "edge".to_owned(),
        client: ([127, 0, 0, 1], 5000).into(),
        method: "GET".to_owned(),
        url: url.to_owned(),
        user_agent: "curl/8".to_owned(),
        target: Some(([127, 0, 0, 1], port).into()),
        target_group: Some(group.to_owned()),
        target_took: None,
        status: Some(200),
        rule: Some(rule.to_owned()),
        actions: "forward".to_owned(),
    }
}

fn replay(world: &World, entries: &[Entry]) -> Replay {
    let mut replay = Replay::default();
    for entry in entries {
        replay.add(entry, world, None);
    }
    replay
}

#[test]
fn what_is_treated_as_it_was_is_no_change() {
    let entries = [entry("http://a:80/api/x", "10", "api", 9002), entry("http://a:80/", "0", "web", 9001)];
    assert_eq!(replay(&world(API, GROUPS), &entries).changed(), 0);
}

#[test]
fn another_rule_and_another_group_are_told_with_examples() {
    let entries: Vec<Entry> =
        (0..5).map(|n| entry(&format!("http://a:80/api/{n}"), "10", "api", 9002)).collect();
    let moved = replay(&world("", GROUPS), &entries);
    let ((was, is), changed) = moved.treatments.first_key_value().unwrap();
    assert_eq!((was.rule.as_str(), was.action.as_str()), ("rule 10", "forward to api"));
    assert_eq!((is.rule.as_str(), is.action.as_str()), ("the default rule", "forward to web"));
    assert_eq!((changed.count, changed.examples.len()), (5, 3));
    assert_eq!(changed.examples[0], "GET http://a:80/api/0 from 127.0.0.1");
}

#[test]
fn a_target_that_has_gone_and_one_that_a_hash_leads_elsewhere_are_told() {
    let gone = replay(&world(API, GROUPS), &[entry("http://a:80/api/x", "10", "api", 9009)]);
    assert_eq!(gone.targets.len(), 1);
    let hashed =
        GROUPS.replace("name: api,", "name: api, load_balancing_algorithm: rendezvous, hash: { on: path },");
    let entries: Vec<Entry> =
        (0..40).map(|n| entry(&format!("http://a:80/api/{n}"), "10", "api", 9002)).collect();
    let moved = replay(&world(API, &hashed), &entries).changed();
    assert!((8..=32).contains(&moved), "about half of them: {moved}");
}

#[test]
fn two_configurations_are_compared_without_the_log_s_word() {
    let (old, new) = (world(API, GROUPS), world("", GROUPS));
    let mut replay = Replay::default();
    // The log says nothing of rules.
    let mut silent = entry("http://a:80/api/x", "0", "web", 9001);
    silent.rule = None;
    replay.add(&silent, &new, Some(&old));
    assert_eq!(replay.changed(), 1);
}

#[test]
fn a_group_that_follows_tasks_may_have_had_any_target() {
    let followed =
        GROUPS.replace("{ name: web, targets: [{ address: 127.0.0.1, port: 9001 }] }", "{ name: web }");
    assert_eq!(replay(&world("", &followed), &[entry("http://a:80/", "0", "web", 9001)]).changed(), 0);
}
