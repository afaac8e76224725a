//! What one worker counts for one arm of a comparison, and what all of them have counted.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use weir_core::comparison::statistics::Counts;
use weir_core::comparison::{Arm, Side};
use weir_core::snapshot::{Group, GroupIndex, Snapshot};

use crate::families::Families;
use crate::histogram::{Histogram, Summed, add};
use crate::names;
use crate::shard::read;

/// One worker's counts for one arm: plain stores by one writer.
#[derive(Debug, Default)]
pub struct ArmShard {
    requests: AtomicU64,
    failures: AtomicU64,
    /// Seconds until the heads of answers, as the bits of an `f64`.
    seconds: AtomicU64,
    /// Their squares, in the same way.
    squares: AtomicU64,
    response_time: Histogram,
}

impl ArmShard {
    /// A request was answered, this long after it had gone to its first target.
    pub fn answered(&self, duration: Duration) {
        add(&self.requests, 1);
        let seconds = duration.as_secs_f64();
        add_float(&self.seconds, seconds);
        add_float(&self.squares, seconds * seconds);
        self.response_time.observe(duration);
    }

    /// A request failed: a target answered 500 to 599, or none answered.
    pub fn failed(&self) {
        add(&self.requests, 1);
        add(&self.failures, 1);
    }
}

/// Adds to a sum that only this thread writes.
fn add_float(sum: &AtomicU64, more: f64) {
    sum.store((f64::from_bits(sum.load(Relaxed)) + more).to_bits(), Relaxed);
}

/// What all workers have counted for one arm.
#[derive(Clone, Debug, Default)]
pub struct ArmTotals {
    /// What it has to show.
    pub counts: Counts,
    /// Time until the head of the answer of requests that did not fail.
    pub response_time: Summed,
}

impl ArmTotals {
    fn add(&mut self, shard: &ArmShard) {
        let float = |sum: &AtomicU64| f64::from_bits(read(sum));
        // Failures first: a request that is counted meanwhile must not look like a failure of none.
        self.counts.failures += read(&shard.failures);
        self.counts.requests += read(&shard.requests);
        self.counts.seconds += float(&shard.seconds);
        self.counts.squares += float(&shard.squares);
        self.response_time.add(&shard.response_time);
    }
}

/// The shards of one arm of one trial of one group: one of each worker that has had a request of it.
#[derive(Debug)]
struct Counted {
    group: GroupIndex,
    arm: Arm,
    shards: Vec<Arc<ArmShard>>,
}

/// The shards of all arms. Those of trials that are over are kept, so that counters never fall.
#[derive(Debug, Default)]
pub(crate) struct Arms(Mutex<Vec<Counted>>);

impl Arms {
    /// A new shard for one worker.
    pub(crate) fn shard(&self, group: GroupIndex, arm: Arm) -> Arc<ArmShard> {
        let shard = Arc::new(ArmShard::default());
        let mut all = self.lock();
        match all.iter_mut().find(|counted| (counted.group, counted.arm) == (group, arm)) {
            Some(counted) => counted.shards.push(shard.clone()),
            None => all.push(Counted { group, arm, shards: vec![shard.clone()] }),
        }
        shard
    }

    /// What has been counted of one arm.
    pub(crate) fn totals(&self, group: GroupIndex, arm: Arm) -> ArmTotals {
        self.sum(|counted| (counted.group, counted.arm) == (group, arm))
    }

    fn sum(&self, is_wanted: impl Fn(&Counted) -> bool) -> ArmTotals {
        let mut totals = ArmTotals::default();
        for counted in self.lock().iter().filter(|counted| is_wanted(counted)) {
            counted.shards.iter().for_each(|shard| totals.add(shard));
        }
        totals
    }

    /// The series of every group that compares, or did: over all of its trials, by algorithm.
    pub(crate) fn collect(&self, snapshot: &Snapshot, families: &mut Families) {
        for group in snapshot.groups() {
            collect_shares(group, families);
            let algorithms: BTreeSet<&str> = {
                let all = self.lock();
                let of_group = all.iter().filter(|counted| counted.group == group.index);
                of_group.map(|counted| counted.arm.algorithm.as_str()).collect()
            };
            for algorithm in algorithms {
                let totals = self.sum(|counted| {
                    counted.group == group.index && counted.arm.algorithm.as_str() == algorithm
                });
                let labels = labels(group, algorithm);
                families.counter(names::COMPARISON_REQUESTS, &labels, totals.counts.requests);
                families.counter(names::COMPARISON_FAILURES, &labels, totals.counts.failures);
                families.histogram(names::COMPARISON_RESPONSE_TIME, &labels, &totals.response_time);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Counted>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The part of its connections that each arm of a group has now.
fn collect_shares(group: &Group, families: &mut Families) {
    for side in [Side::A, Side::B] {
        if let Some(arm) = group.arm_of(side) {
            let share = f64::from(group.percentage(side)) / 100.0;
            families.ratio(names::COMPARISON_SHARE, &labels(group, arm.algorithm.as_str()), share);
        }
    }
}

fn labels(group: &Group, algorithm: &str) -> [(&'static str, String); 2] {
    [("target_group", group.settings.name.to_string()), ("algorithm", algorithm.to_owned())]
}

#[cfg(test)]
mod tests {
    use weir_core::definition::Algorithm;

    use super::*;

    #[test]
    fn an_arm_is_the_sum_of_what_workers_count_for_it_and_of_no_other() {
        let arms = Arms::default();
        let arm = |trial| Arm { trial, algorithm: Algorithm::RoundRobin };
        let workers = [arms.shard(GroupIndex(0), arm(1)), arms.shard(GroupIndex(0), arm(1))];
        for worker in &workers {
            worker.answered(Duration::from_millis(500));
            worker.failed();
        }
        arms.shard(GroupIndex(0), arm(2)).failed();
        arms.shard(GroupIndex(1), arm(1)).failed();
        let totals = arms.totals(GroupIndex(0), arm(1));
        assert_eq!(totals.counts, Counts { requests: 4, failures: 2, seconds: 1.0, squares: 0.5 });
        assert_eq!(totals.response_time.count(), 2);
        assert_eq!(arms.totals(GroupIndex(0), arm(9)).counts, Counts::default());
    }
}
