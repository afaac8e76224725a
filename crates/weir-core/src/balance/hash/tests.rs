//! Tables beside what is published of them, and what changes of members do to flows.

use super::*;

fn members(count: u16, without: u16) -> Vec<Member> {
    let ports = (1..=count).filter(|port| *port != without);
    crate::snapshot::testing::members(&ports.map(|port| (port, 1)).collect::<Vec<_>>())
}

fn of(members: &[Member], before: Option<&Hash>) -> Hash {
    let eligible: Vec<u32> = (0..members.len() as u32).collect();
    Hash::build(Shape::Maglev, members, &eligible, before)
}

/// The ports of the members that a thousand flows get.
fn picked(hash: &Hash, members: &[Member]) -> Vec<Option<u16>> {
    let port = |at: u32| members[at as usize].target.addr.port();
    (0..1_000).map(|key| hash.pick(mix(key), |_| true).map(port)).collect()
}

#[test]
fn a_large_table_waits_for_its_builder_and_flows_stay_where_they_were_meanwhile() {
    let (all, fewer) = (members(1_000, 0), members(1_000, 500));
    let before = of(&all, None);
    assert!(before.unbuilt().is_none(), "the first one is built at once");
    let after = of(&fewer, Some(&before));
    let moved = |now: &[Option<u16>]| {
        let were = picked(&before, &all);
        were.iter().zip(now).filter(|(were, now)| were != now && **were != Some(500)).count()
    };
    let meanwhile = picked(&after, &fewer);
    assert!(meanwhile.iter().all(|port| port.is_some_and(|port| port != 500)));
    assert_eq!(moved(&meanwhile), 0, "only flows of the one that has gone are led elsewhere");
    after.unbuilt().unwrap().build();
    assert!(after.unbuilt().is_none());
    assert_eq!(picked(&after, &fewer), picked(&of(&fewer, None), &fewer), "then it is that of every machine");
    assert!(of(&fewer, Some(&after)).unbuilt().is_none(), "and not built again");
}

#[test]
fn a_table_of_others_is_not_waited_with() {
    let (few, all) = (members(10, 0), members(1_000, 0));
    assert!(of(&all, Some(&of(&few, None))).unbuilt().is_none());
    assert!(of(&few, Some(&of(&all, None))).unbuilt().is_none());
    assert!(of(&all, Some(&of(&[], None))).unbuilt().is_none());
}

#[test]
fn a_tenth_of_a_hundred_that_is_replaced_moves_a_hundred_thousand_new_flows_by_little_more_than_need_be() {
    let replaced = |offset: u16| {
        let ports: Vec<(u16, u16)> = (1..=100).map(|n| (if n > 90 { n + offset } else { n }, 1)).collect();
        crate::snapshot::testing::members(&ports)
    };
    let (before, after) = (replaced(0), replaced(1_000));
    let (old, new) = (of(&before, None), of(&after, None));
    let port = |members: &[Member], at: Option<u32>| members[at.unwrap() as usize].target.addr.port();
    let is_needless = |key: &u64| {
        let was = port(&before, old.pick(*key, |_| true));
        let is = port(&after, new.pick(*key, |_| true));
        was != is && was <= 90 && is <= 90
    };
    let needless = (0..100_000).map(mix).filter(is_needless).count();
    assert!(needless <= 1_500, "{needless} of 100,000");
}

#[test]
fn a_change_of_members_says_what_it_did_to_flows() {
    let before = of(&members(100, 0), None);
    assert_eq!(before.disruption(), Some(Disruption::default()), "there were none");
    let one_less = members(100, 7);
    let after = of(&one_less, Some(&before));
    assert_eq!(after.disruption(), None, "nobody knows before its table is built");
    after.unbuilt().unwrap().build();
    let Disruption { moved, needless } = after.disruption().unwrap();
    assert!((0.01..0.025).contains(&moved) && (0.001..0.012).contains(&needless), "{moved} {needless}");
}
