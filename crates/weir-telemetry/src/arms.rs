//! What one worker counts for one arm of a comparison, and what all of them have counted.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use weir_core::comparison::statistics::{Bucket, Counts};
use weir_core::comparison::{Arm, BUCKETS, Side};
use weir_core::snapshot::{Group, GroupIndex, Snapshot};

use crate::families::Families;
use crate::histogram::{Histogram, Summed, add};
use crate::names;
use crate::shard::read;

/// One worker's counts for one arm: plain stores by one writer.
#[derive(Debug)]
pub struct ArmShard {
    buckets: [BucketShard; BUCKETS],
    response_time: Histogram,
}

#[derive(Debug, Default)]
struct BucketShard {
    requests: AtomicU64,
    failures: AtomicU64,
    /// Seconds until the heads of answers, as the bits of an `f64`.
    seconds: AtomicU64,
}

impl ArmShard {
    fn new() -> Self {
        Self { buckets: std::array::from_fn(|_| BucketShard::default()), response_time: Histogram::default() }
    }

    /// A request of a connection in that bucket was answered, this long after it had gone to its first target.
    pub fn answered(&self, bucket: u8, duration: Duration) {
        let counts = &self.buckets[usize::from(bucket) % BUCKETS];
        add(&counts.requests, 1);
        add_float(&counts.seconds, duration.as_secs_f64());
        self.response_time.observe(duration);
    }

    /// A request of a connection in that bucket failed: a target answered 500 to 599, or none answered.
    pub fn failed(&self, bucket: u8) {
        let counts = &self.buckets[usize::from(bucket) % BUCKETS];
        add(&counts.requests, 1);
        add(&counts.failures, 1);
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
    fn of<'s>(shards: impl Iterator<Item = &'s Arc<ArmShard>>) -> Self {
        let (mut buckets, mut response_time) = ([Bucket::default(); BUCKETS], Summed::default());
        for shard in shards {
            for (sum, counts) in buckets.iter_mut().zip(&shard.buckets) {
                // Failures first: a request that is counted meanwhile must not look like a failure of none.
                sum.failures += read(&counts.failures);
                sum.requests += read(&counts.requests);
                sum.seconds += f64::from_bits(read(&counts.seconds));
            }
            response_time.add(&shard.response_time);
        }
        Self { counts: Counts::of(buckets), response_time }
    }
}

/// The shards of one arm of one trial of one group: one of each worker that has had a request of it.
#[derive(Debug)]
struct Counted {
    group: GroupIndex,
    arm: Arm,
    shards: Vec<Arc<ArmShard>>,
}

impl Counted {
    fn is_of(&self, group: GroupIndex, arm: Arm) -> bool {
        self.group == group && self.arm.is_same(arm)
    }
}

/// The shards of all arms. Those of trials that are over are kept, so that counters never fall.
#[derive(Debug, Default)]
pub(crate) struct Arms(Mutex<Vec<Counted>>);

impl Arms {
    /// A new shard for one worker.
    pub(crate) fn shard(&self, group: GroupIndex, arm: Arm) -> Arc<ArmShard> {
        let shard = Arc::new(ArmShard::new());
        let mut all = self.lock();
        match all.iter_mut().find(|counted| counted.is_of(group, arm)) {
            Some(counted) => counted.shards.push(shard.clone()),
            None => all.push(Counted { group, arm, shards: vec![shard.clone()] }),
        }
        shard
    }

    /// What has been counted of one arm.
    pub(crate) fn totals(&self, group: GroupIndex, arm: Arm) -> ArmTotals {
        self.sum(|counted| counted.is_of(group, arm))
    }

    fn sum(&self, is_wanted: impl Fn(&Counted) -> bool) -> ArmTotals {
        let all = self.lock();
        let wanted = all.iter().filter(|counted| is_wanted(counted));
        ArmTotals::of(wanted.flat_map(|counted| &counted.shards))
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
                families.counter(names::COMPARISON_REQUESTS, &labels, totals.counts.all().requests);
                families.counter(names::COMPARISON_FAILURES, &labels, totals.counts.all().failures);
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
        let arm = |trial| Arm { trial, algorithm: Algorithm::RoundRobin, bucket: 9 };
        let workers = [arms.shard(GroupIndex(0), arm(1)), arms.shard(GroupIndex(0), arm(1))];
        for worker in &workers {
            worker.answered(9, Duration::from_millis(500));
            worker.failed(9);
        }
        workers[0].failed(63);
        arms.shard(GroupIndex(0), arm(2)).failed(9);
        arms.shard(GroupIndex(1), arm(1)).failed(9);
        let totals = arms.totals(GroupIndex(0), Arm { bucket: 0, ..arm(1) });
        let buckets = [(4, 2, 1.0), (1, 1, 0.0)];
        let buckets = buckets.map(|(requests, failures, seconds)| Bucket { requests, failures, seconds });
        assert_eq!(totals.counts, Counts::of(buckets), "two that are not empty");
        assert_eq!(totals.response_time.count(), 2);
        assert_eq!(arms.totals(GroupIndex(0), arm(9)).counts, Counts::default());
    }
}
