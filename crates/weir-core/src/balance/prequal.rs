//! Prequal: a pool of probes, which say how much targets have under way and how long that takes; of those that are not overloaded
//! the fastest is picked, or else the least loaded.
//!
//! Source: Wydrowski et al., "Load is not what you should balance: Introducing Prequal", NSDI 2024. There probes are asked of the
//! targets, beside the requests; so they are here where a group says what to ask for. Else a probe is a look at what all workers
//! of this weir count, which costs the target nothing, and does not see what others send it. Weights do not count.

mod rates;
mod seen;

use std::sync::Arc;
use std::time::Duration;

pub use self::rates::probe_uses;

pub(super) use self::rates::Rates;
use self::rates::{PROBES_PER_REMOVAL, WHOLE};
use self::seen::Seen;
use crate::load_report::LoadReport;
use crate::snapshot::Member;
use crate::target::{Target, TargetSerial};
use crate::time::Timestamp;

/// Probes with one request at most.
const PROBES_MAX: usize = 5;

/// Probes that a pool keeps.
const POOL_MAX: usize = 16;

/// Targets with more under way than this part of the probes that were seen lately are hot. Source: `2^-0.25`.
const COLD_PART: f64 = 0.84;

/// A target that is to be asked for its load.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The target.
    pub target: Arc<Target>,
    /// Its position among the members, as long as it has not changed.
    at: u32,
}

/// What one worker knows of the targets of a group.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    /// In the order they were made.
    probes: Vec<Probe>,
    seen: Seen,
    /// Hundredths of probes that are due, and of those that a removal is due for.
    probes_due: u16,
    removals_due: u16,
    /// Whether the worst is taken out next, and not the oldest.
    is_worst_next: bool,
}

/// What was seen of a target.
#[derive(Clone, Copy, Debug)]
struct Probe {
    serial: TargetSerial,
    /// Its position among the members, as long as it has not changed.
    at: u32,
    in_flight: u32,
    latency: Duration,
    made: Timestamp,
    uses_left: u32,
}

impl Pool {
    /// Nothing is known yet.
    pub(super) fn new() -> Self {
        let probes = Vec::with_capacity(POOL_MAX);
        Self { probes, seen: Seen::new(), probes_due: 0, removals_due: 0, is_worst_next: false }
    }

    /// Picks by what is known; `None` when that is too little, or `accept` takes nobody of it.
    pub(super) fn pick(
        &mut self,
        members: &[Member],
        rates: Rates,
        now: Timestamp,
        mut accept: impl FnMut(u32) -> bool,
    ) -> Option<u32> {
        self.probes.retain(|probe| now.since(probe.made) <= LoadReport::WORTH && probe.is_of(members));
        if self.probes.len() < 2 {
            return None;
        }
        let hot_above = self.seen.quantile(COLD_PART);
        let acceptable = self.probes.iter_mut().filter(|probe| accept(probe.at));
        let picked = acceptable.min_by_key(|probe| probe.cost(hot_above))?;
        picked.in_flight += 1;
        picked.uses_left -= 1;
        let at = picked.at;
        self.probes.retain(|probe| probe.uses_left > 0);
        self.removals_due += rates.per_hundred;
        while self.removals_due >= WHOLE * PROBES_PER_REMOVAL {
            self.removals_due -= WHOLE * PROBES_PER_REMOVAL;
            self.remove_one(hot_above);
        }
        Some(at)
    }

    /// Looks at some of the `eligible`, for requests to come.
    pub(super) fn look(
        &mut self,
        members: &[Member],
        eligible: &[u32],
        rates: Rates,
        random: &mut fastrand::Rng,
        now: Timestamp,
    ) {
        let mut lots = Lots::default();
        for _ in 0..self.due(eligible, rates) {
            let at = lots.draw(eligible, random);
            let target = &members[at as usize].target;
            let in_flight = target.tally.in_flight();
            let latency = target.latency.estimate(in_flight + 1, now);
            let probe = Probe { serial: target.serial, at, in_flight, latency, made: now, uses_left: 0 };
            self.keep(probe, eligible.len(), rates, random);
        }
    }

    /// Draws some of the `eligible` that are to be asked, for requests to come.
    pub(super) fn draw(
        &mut self,
        members: &[Member],
        eligible: &[u32],
        rates: Rates,
        random: &mut fastrand::Rng,
        drawn: &mut Vec<Asked>,
    ) {
        let mut lots = Lots::default();
        let due = self.due(eligible, rates);
        drawn.extend((0..due).map(|_| {
            let at = lots.draw(eligible, random);
            Asked { target: members[at as usize].target.clone(), at }
        }));
    }

    /// Keeps what one of so many targets has said.
    pub(super) fn hear(
        &mut self,
        Asked { target, at }: &Asked,
        report: LoadReport,
        (targets, rates): (usize, Rates),
        random: &mut fastrand::Rng,
        now: Timestamp,
    ) {
        // Who does not say what a request takes is known by what requests of this weir have taken; and who fails, whatever it says.
        let estimate = target.latency.estimate(report.in_flight.saturating_add(1), now);
        let has_failed = target.tally.failures_in_a_row() > 0;
        let latency =
            report.latency.map_or(estimate, |said| if has_failed { said.max(estimate) } else { said });
        let (serial, in_flight) = (target.serial, report.in_flight);
        let probe = Probe { serial, at: *at, in_flight, latency, made: now, uses_left: 0 };
        self.keep(probe, targets, rates, random);
    }

    /// How many of the `eligible` are to be probed with this request.
    fn due(&mut self, eligible: &[u32], rates: Rates) -> usize {
        self.probes_due += rates.per_hundred;
        let due = self.probes_due / WHOLE;
        self.probes_due %= WHOLE;
        (due as usize).min(PROBES_MAX).min(eligible.len())
    }

    /// Keeps a probe of one of so many targets, for as many uses as it is good for.
    fn keep(&mut self, probe: Probe, targets: usize, rates: Rates, random: &mut fastrand::Rng) {
        let size = POOL_MAX.min(targets / 2).max(2);
        let uses = rates.uses(size as f64 / targets as f64);
        // Half a use is one of every other probe.
        let uses_left = uses as u32 + u32::from(random.f64() < uses.fract());
        if self.probes.len() >= size {
            self.probes.remove(0);
        }
        self.seen.push(probe.in_flight);
        self.probes.push(Probe { uses_left, ..probe });
    }

    /// Takes out the oldest or the worst, in turn: the hot one with most under way, or else the slowest.
    fn remove_one(&mut self, hot_above: u32) {
        if self.probes.is_empty() {
            return;
        }
        let worst = self.probes.iter().enumerate().max_by_key(|(_, probe)| probe.cost(hot_above));
        let removed = if self.is_worst_next { worst.map_or(0, |(at, _)| at) } else { 0 };
        self.is_worst_next = !self.is_worst_next;
        self.probes.remove(removed);
    }
}

impl Probe {
    /// Cold ones first, by their time; then hot ones, by what they have under way. One number, since it is compared faster than two.
    fn cost(&self, hot_above: u32) -> u64 {
        const HOT: u64 = 1 << 63;
        let nanos = u64::try_from(self.latency.as_nanos()).unwrap_or(u64::MAX).min(HOT - 1);
        if self.in_flight > hot_above { HOT | u64::from(self.in_flight) } else { nanos }
    }

    /// Whether its position is still that of its target.
    fn is_of(&self, members: &[Member]) -> bool {
        members.get(self.at as usize).is_some_and(|member| member.target.serial == self.serial)
    }
}

/// Lots that are drawn for one request, and differ.
#[derive(Default)]
struct Lots {
    drawn: [u32; PROBES_MAX],
    count: usize,
}

impl Lots {
    /// Another one of the `eligible`, of which there are more than were drawn.
    fn draw(&mut self, eligible: &[u32], random: &mut fastrand::Rng) -> u32 {
        let at = loop {
            let at = eligible[random.usize(0..eligible.len())];
            if !self.drawn[..self.count].contains(&at) {
                break at;
            }
        };
        self.drawn[self.count] = at;
        self.count += 1;
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::testing::members;

    use super::seen::SEEN;

    const NOW: Timestamp = Timestamp::from_nanos(1_000_000_000_000);
    const MS: Duration = Duration::from_millis(1);
    const LOOKS: Rates = Rates { per_hundred: 300, asks: false };

    fn pool(probes: &[(u32, u32, u64)]) -> Pool {
        let probe = |&(at, in_flight, millis): &(u32, u32, u64)| Probe {
            serial: TargetSerial(u64::from(at) + 1),
            at,
            in_flight,
            latency: Duration::from_millis(millis),
            made: NOW,
            uses_left: 9,
        };
        let mut seen = Seen::new();
        for (_, in_flight, _) in probes {
            seen.push(*in_flight);
        }
        Pool { probes: probes.iter().map(probe).collect(), seen, ..Pool::new() }
    }

    fn five() -> Vec<Member> {
        members(&[(1, 1), (2, 1), (3, 1), (4, 1), (5, 1)])
    }

    #[test]
    fn the_fastest_cold_one_is_picked_and_among_hot_ones_the_least_loaded() {
        let mut known = pool(&[(0, 1, 30), (1, 2, 20), (2, 3, 40), (3, 2, 50), (4, 9, 1)]);
        assert_eq!(known.pick(&five(), LOOKS, NOW, |_| true), Some(1), "the fast one has too much under way");
        let mut known = pool(&[(0, 7, 10), (1, 5, 90), (2, 6, 1)]);
        known.seen = Seen::new();
        (0..SEEN).for_each(|_| known.seen.push(1));
        assert_eq!(known.pick(&five(), LOOKS, NOW, |_| true), Some(1));
    }

    #[test]
    fn a_pick_counts_in_its_probe_until_that_is_used_up() {
        let mut known = pool(&[(0, 0, 10), (1, 0, 20), (2, 0, 30), (3, 0, 40), (4, 0, 50)]);
        known.probes[0].uses_left = 1;
        assert_eq!(known.pick(&five(), LOOKS, NOW, |_| true), Some(0));
        assert!(known.probes.iter().all(|probe| probe.at != 0), "used up");
    }

    #[test]
    fn what_is_old_or_of_another_target_is_forgotten() {
        let mut known = pool(&[(0, 0, 10), (1, 0, 20), (2, 0, 30)]);
        known.probes[0].made = Timestamp::from_nanos(NOW.as_nanos() - 1_100_000_000);
        known.probes[1].serial = TargetSerial(77);
        assert_eq!(known.pick(&five(), LOOKS, NOW, |_| true), None, "one is too few");
    }

    #[test]
    fn the_oldest_and_the_worst_are_taken_out_in_turn() {
        let mut known = pool(&[(0, 0, 10), (1, 0, 99), (2, 0, 30), (3, 0, 40)]);
        known.remove_one(0);
        assert_eq!(known.probes.iter().map(|probe| probe.at).collect::<Vec<_>>(), [1, 2, 3]);
        known.remove_one(0);
        assert_eq!(known.probes.iter().map(|probe| probe.at).collect::<Vec<_>>(), [2, 3]);
    }

    #[test]
    fn probes_are_of_different_targets_and_no_more_than_half_of_them_are_known() {
        let members = five();
        members[2].target.latency.note(7 * MS, 1, false, NOW);
        let (mut known, mut random) = (Pool::new(), fastrand::Rng::with_seed(1));
        for _ in 0..20 {
            known.look(&members, &[0, 1, 2, 3, 4], LOOKS, &mut random, NOW);
            assert_eq!(known.probes.len(), 2);
            assert_ne!(known.probes[0].at, known.probes[1].at);
            assert!(known.probes.iter().all(|probe| (probe.latency == 7 * MS) == (probe.at == 2)));
        }
    }

    #[test]
    fn half_a_probe_with_each_request_is_one_with_every_other() {
        let (members, mut known) = (five(), Pool::new());
        let rates = Rates { per_hundred: 50, asks: true };
        let mut random = fastrand::Rng::with_seed(1);
        let counts = [0; 6].map(|_| {
            let mut drawn = Vec::new();
            known.draw(&members, &[0, 1, 2, 3, 4], rates, &mut random, &mut drawn);
            drawn.len()
        });
        assert_eq!(counts, [0, 1, 0, 1, 0, 1]);
    }

    #[test]
    fn what_a_target_says_of_itself_is_believed_and_what_it_leaves_out_is_estimated() {
        let (members, mut known) = (five(), Pool::new());
        members[1].target.latency.note(7 * MS, 1, false, NOW);
        let (rates, mut random) = (Rates { per_hundred: 500, asks: true }, fastrand::Rng::with_seed(1));
        let mut drawn = Vec::new();
        known.draw(&members, &[0, 1], rates, &mut random, &mut drawn);
        drawn.sort_by_key(|asked| asked.at);
        for (asked, latency) in drawn.iter().zip([Some(40 * MS), None]) {
            let report = LoadReport { in_flight: 0, latency };
            known.hear(asked, report, (2, rates), &mut random, NOW);
        }
        assert_eq!(known.probes.iter().map(|probe| probe.latency).collect::<Vec<_>>(), [40 * MS, 7 * MS]);
        assert_eq!(known.pick(&members, rates, NOW, |_| true), Some(1));
    }

    #[test]
    fn who_has_just_failed_is_not_believed_that_it_is_fast() {
        let (members, mut known) = (five(), Pool::new());
        let failing = &members[0].target;
        failing.latency.note(MS, 1, true, NOW);
        failing.tally.count_server_error();
        let (rates, mut random) = (Rates { per_hundred: 500, asks: true }, fastrand::Rng::with_seed(1));
        for (at, millis) in [(0, 1), (1, 20)] {
            let asked = Asked { target: members[at as usize].target.clone(), at };
            let report = LoadReport { in_flight: 0, latency: Some(Duration::from_millis(millis)) };
            known.hear(&asked, report, (2, rates), &mut random, NOW);
        }
        assert_eq!(known.pick(&members, rates, NOW, |_| true), Some(1));
    }
}
