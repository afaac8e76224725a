//! Tables beside what is published of them, and what changes of members do to flows.

use super::*;

/// The size of table that the paper measures.
const PUBLISHED: usize = 65_537;

fn members(count: u16, without: u16) -> Vec<Member> {
    let ports = (1..=count).filter(|port| *port != without);
    crate::snapshot::testing::members(&ports.map(|port| (port, 1)).collect::<Vec<_>>())
}

fn of(members: &[Member], before: Option<&FlowHash>) -> FlowHash {
    let eligible: Vec<u32> = (0..members.len() as u32).collect();
    FlowHash::build(members, &eligible, before)
}

/// The ports of the members that a thousand flows get.
fn picked(hash: &FlowHash, members: &[Member]) -> Vec<Option<u16>> {
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
fn a_table_is_sized_to_its_group() {
    for (members, slots) in [(1, 8_191), (16, 8_191), (17, 65_537), (1_000, 524_287), (20_000, 2_097_143)] {
        let names: Vec<String> = (0..members).map(|n| format!("t{n}")).collect();
        assert_eq!(Maglev::build(names.iter().map(|name| (name.as_str(), 1))).slots.len(), slots);
    }
}

fn steps(list: &[(usize, usize, u16)]) -> Vec<Steps> {
    list.iter().map(|&(next, skip, weight)| Steps { next, skip, weight }).collect()
}

#[test]
fn the_paper_s_example_fills_as_published() {
    assert_eq!(populate(7, steps(&[(3, 4, 1), (0, 2, 1), (3, 1, 1)])), [1, 0, 1, 0, 2, 2, 0]);
    assert_eq!(populate(7, steps(&[(3, 4, 1), (3, 1, 1)])), [0, 0, 0, 0, 1, 1, 1]);
}

#[test]
fn weights_one_to_two_share_the_slots_one_to_two() {
    let table = Maglev::sized(PUBLISHED, [("a", 1), ("b", 2)].into_iter());
    let ones = table.slots.iter().filter(|rank| **rank == 0).count();
    assert!((21_845..=21_847).contains(&ones), "{ones}");
}

#[test]
fn equal_members_differ_by_at_most_one_slot() {
    let names: Vec<String> = (0..100).map(|n| format!("10.0.0.{n}:80")).collect();
    let table = Maglev::build(names.iter().map(|name| (name.as_str(), 1)));
    let mut counts = vec![0; 100];
    table.slots.iter().for_each(|rank| counts[usize::from(*rank)] += 1);
    assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1);
}

/// The slots of a table of the published size over that many members, without the last so many of them.
fn published(slots: usize, count: u32, lost: u32) -> Vec<u16> {
    let names: Vec<String> = (0..count - lost).map(|n| format!("10.0.{}.{}:80", n / 250, n % 250)).collect();
    Maglev::sized(slots, names.iter().map(|name| (name.as_str(), 1))).slots
}

#[test]
fn losing_members_moves_as_much_of_a_table_as_is_published() {
    // `spec/algorithms.md`, item 25: members, lost, slots, per cent of the slots that change without need.
    for (count, lost, slots, expected) in [
        (10, 1, PUBLISHED, 0.25),
        (100, 1, PUBLISHED, 0.56),
        (100, 10, PUBLISHED, 1.0),
        (1_000, 1, PUBLISHED, 0.58),
        (1_000, 10, PUBLISHED, 2.33),
        (1_000, 50, PUBLISHED, 3.25),
        (1_000, 50, 655_373, 0.92),
    ] {
        let (all, fewer) = (published(slots, count, 0), published(slots, count, lost));
        let is_needless = |(was, is): (&u16, &u16)| was != is && u32::from(*was) < count - lost;
        let needless = all.iter().zip(&fewer).filter(|slot| is_needless(*slot)).count();
        let per_cent = 100.0 * needless as f64 / slots as f64;
        let tolerance = if count == 10 { 0.5 } else { 0.15 };
        assert!((per_cent / expected - 1.0).abs() < tolerance, "{count} lose {lost}: {per_cent} %");
    }
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
