//! Prequal: a pool of probes, which say how much targets have under way and how long that takes; of those that are not overloaded
//! the fastest is picked, or else the least loaded.
//!
//! Source: Wydrowski et al., "Load is not what you should balance: Introducing Prequal", NSDI 2024. There probes are asked of the
//! targets, beside the requests. Here a probe is a look at what all workers of this weir count, which costs the target nothing, and
//! does not see what others send it. Weights do not count.

use std::time::Duration;

use crate::snapshot::Member;
use crate::target::TargetSerial;
use crate::time::Timestamp;

/// Probes with each request.
const PROBES_PER_REQUEST: usize = 3;

/// Probes that a pool keeps.
const POOL_MAX: usize = 16;

/// A probe is forgotten at this age.
const AGE_MAX: Duration = Duration::from_secs(1);

/// Probes that are taken out of the pool with each request, beside those that are old or used up.
const REMOVED_PER_REQUEST: usize = 1;

/// How much faster than it must a pool is to be used up.
const EXCESS: f64 = 1.0;

/// Targets with more under way than this part of the probes that were seen lately are hot. Source: `2^-0.25`.
const COLD_PART: f64 = 0.84;

/// Probes that the part is of.
const SEEN: usize = 64;

/// What one worker knows of the targets of a group.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    /// In the order they were made.
    probes: Vec<Probe>,
    seen: Seen,
    /// Whether the worst is taken out next, and not the oldest.
    is_worst_next: bool,
}

/// What was under way at targets when they were probed: the last so many.
#[derive(Clone, Debug)]
struct Seen {
    /// As they came; the next one takes the place of the oldest.
    ring: [u32; SEEN],
    count: usize,
    /// The same, in order.
    sorted: Vec<u32>,
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
        Self { probes: Vec::with_capacity(POOL_MAX), seen: Seen::new(), is_worst_next: false }
    }

    /// Picks by what is known; `None` when that is too little, or `accept` takes nobody of it.
    pub(super) fn pick(
        &mut self,
        members: &[Member],
        now: Timestamp,
        mut accept: impl FnMut(u32) -> bool,
    ) -> Option<u32> {
        self.probes.retain(|probe| now.since(probe.made) <= AGE_MAX && probe.is_of(members));
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
        for _ in 0..REMOVED_PER_REQUEST {
            self.remove_one(hot_above);
        }
        Some(at)
    }

    /// Looks at some of the `eligible`, for requests to come.
    pub(super) fn probe(
        &mut self,
        members: &[Member],
        eligible: &[u32],
        random: &mut fastrand::Rng,
        now: Timestamp,
    ) {
        let size = POOL_MAX.min(eligible.len() / 2).max(2);
        let uses = uses(size as f64 / eligible.len() as f64);
        let mut drawn = [usize::MAX; PROBES_PER_REQUEST];
        for number in 0..PROBES_PER_REQUEST.min(eligible.len()) {
            let draw = loop {
                let draw = random.usize(0..eligible.len());
                if !drawn.contains(&draw) {
                    break draw;
                }
            };
            drawn[number] = draw;
            let at = eligible[draw];
            let target = &members[at as usize].target;
            let in_flight = target.tally.in_flight();
            let latency = target.latency.estimate(in_flight + 1, now);
            // Half a use is one of every other probe.
            let uses_left = uses as u32 + u32::from(random.f64() < uses.fract());
            if self.probes.len() >= size {
                self.probes.remove(0);
            }
            self.probes.push(Probe { serial: target.serial, at, in_flight, latency, made: now, uses_left });
            self.seen.push(in_flight);
        }
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

impl Seen {
    fn new() -> Self {
        Self { ring: [0; SEEN], count: 0, sorted: Vec::with_capacity(SEEN) }
    }

    fn push(&mut self, in_flight: u32) {
        let place = &mut self.ring[self.count % SEEN];
        self.count += 1;
        if self.sorted.len() == SEEN {
            if *place == in_flight {
                return;
            }
            let oldest = self.sorted.partition_point(|seen| seen < place);
            self.sorted.remove(oldest);
        }
        *place = in_flight;
        self.sorted.insert(self.sorted.partition_point(|seen| *seen < in_flight), in_flight);
    }

    /// What that part of it is not above; zero when nothing was seen.
    fn quantile(&self, part: f64) -> u32 {
        let last = self.sorted.len().saturating_sub(1);
        self.sorted.get((last as f64 * part) as usize).copied().unwrap_or(0)
    }
}

impl Probe {
    /// Cold ones first, by their time; then hot ones, by what they have under way.
    fn cost(&self, hot_above: u32) -> (bool, u64) {
        if self.in_flight > hot_above {
            (true, self.in_flight.into())
        } else {
            (false, u64::try_from(self.latency.as_nanos()).unwrap_or(u64::MAX))
        }
    }

    /// Whether its position is still that of its target.
    fn is_of(&self, members: &[Member]) -> bool {
        members.get(self.at as usize).is_some_and(|member| member.target.serial == self.serial)
    }
}

/// How often a probe may be used, when a pool holds such a part of the targets.
fn uses(part: f64) -> f64 {
    probe_uses(part, PROBES_PER_REQUEST as f64, REMOVED_PER_REQUEST as f64)
}

/// How often a probe may be used, when a pool holds such a part of the targets, and with each request so many probes are made and so
/// many removed. Source: the paper's equation 1.
pub fn probe_uses(part: f64, probes: f64, removed: f64) -> f64 {
    ((1.0 + EXCESS) / ((1.0 - part) * probes - removed)).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::snapshot::testing::members;

    const NOW: Timestamp = Timestamp::from_nanos(1_000_000_000_000);
    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_probe_is_used_as_often_as_is_published() {
        // `spec/algorithms.md`, item 23: a pool of 16 of 100 targets.
        for (probes, removed, expected) in [(3.0, 1.0, 1.316), (1.0, 0.25, 3.39), (0.5, 0.25, 11.76)] {
            let uses = probe_uses(0.16, probes, removed);
            assert!((uses / expected - 1.0).abs() < 0.001, "{uses}");
        }
        assert!((uses(0.5) - 4.0).abs() < 1e-9, "half of the targets at most are in a pool");
    }

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
        assert_eq!(known.pick(&five(), NOW, |_| true), Some(1), "the fast one has too much under way");
        let mut known = pool(&[(0, 7, 10), (1, 5, 90), (2, 6, 1)]);
        known.seen = Seen::new();
        (0..SEEN).for_each(|_| known.seen.push(1));
        assert_eq!(known.pick(&five(), NOW, |_| true), Some(1));
    }

    #[test]
    fn a_pick_counts_in_its_probe_until_that_is_used_up() {
        let mut known = pool(&[(0, 0, 10), (1, 0, 20), (2, 0, 30), (3, 0, 40), (4, 0, 50)]);
        known.probes[0].uses_left = 1;
        assert_eq!(known.pick(&five(), NOW, |_| true), Some(0));
        assert!(known.probes.iter().all(|probe| probe.at != 0), "used up");
    }

    #[test]
    fn what_is_old_or_of_another_target_is_forgotten() {
        let mut known = pool(&[(0, 0, 10), (1, 0, 20), (2, 0, 30)]);
        known.probes[0].made = Timestamp::from_nanos(NOW.as_nanos() - 1_100_000_000);
        known.probes[1].serial = TargetSerial(77);
        assert_eq!(known.pick(&five(), NOW, |_| true), None, "one is too few");
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
            known.probe(&members, &[0, 1, 2, 3, 4], &mut random, NOW);
            assert_eq!(known.probes.len(), 2);
            assert_ne!(known.probes[0].at, known.probes[1].at);
            assert!(known.probes.iter().all(|probe| (probe.latency == 7 * MS) == (probe.at == 2)));
        }
    }
}
