//! What the demo's traffic has seen.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Failures that are kept to be shown.
const FAILURES_KEPT: usize = 20;

/// Upper bounds of the latency buckets in microseconds grow by this factor from 50.
const BUCKET_GROWTH: f64 = 1.25;

/// Buckets: up to about 50 µs × 1.25^63, more than a minute.
const BUCKETS: usize = 64;

/// Counts of the demo's traffic.
#[derive(Debug)]
pub(super) struct Score {
    requests: AtomicU64,
    posts: AtomicU64,
    flows: AtomicU64,
    failed: AtomicU64,
    latencies: [AtomicU64; BUCKETS],
    failures: Mutex<Vec<String>>,
    answered: Mutex<BTreeSet<String>>,
}

impl Default for Score {
    fn default() -> Self {
        Self {
            requests: AtomicU64::new(0),
            posts: AtomicU64::new(0),
            flows: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            latencies: [const { AtomicU64::new(0) }; BUCKETS],
            failures: Mutex::default(),
            answered: Mutex::default(),
        }
    }
}

/// What a client tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    Get,
    Post,
    /// A POST that its task takes time for: its latency is the task's, not weir's.
    Work,
    Flow,
}

impl Score {
    /// Records one attempt: the task that answered, or why it failed.
    pub(super) fn record(&self, attempt: Attempt, latency: Duration, outcome: Result<String, String>) {
        self.requests.fetch_add(1, Relaxed);
        match attempt {
            Attempt::Get => {}
            Attempt::Post | Attempt::Work => drop(self.posts.fetch_add(1, Relaxed)),
            Attempt::Flow => drop(self.flows.fetch_add(1, Relaxed)),
        }
        if attempt != Attempt::Work {
            let micros = latency.as_micros().max(50) as f64;
            let bucket = ((micros / 50.0).ln() / BUCKET_GROWTH.ln()) as usize;
            self.latencies[bucket.min(BUCKETS - 1)].fetch_add(1, Relaxed);
        }
        match outcome {
            Ok(task) => drop(lock(&self.answered).insert(task)),
            Err(problem) => {
                self.failed.fetch_add(1, Relaxed);
                let mut failures = lock(&self.failures);
                if failures.len() < FAILURES_KEPT {
                    failures.push(problem);
                }
            }
        }
    }

    pub(super) fn requests(&self) -> u64 {
        self.requests.load(Relaxed)
    }

    pub(super) fn posts(&self) -> u64 {
        self.posts.load(Relaxed)
    }

    pub(super) fn flows(&self) -> u64 {
        self.flows.load(Relaxed)
    }

    pub(super) fn failed(&self) -> u64 {
        self.failed.load(Relaxed)
    }

    pub(super) fn failures(&self) -> Vec<String> {
        lock(&self.failures).clone()
    }

    pub(super) fn has_answered(&self, task: &str) -> bool {
        lock(&self.answered).contains(task)
    }

    /// The upper bound of the bucket that holds the 99th percentile.
    pub(super) fn p99(&self) -> Duration {
        let counts: Vec<u64> = self.latencies.iter().map(|count| count.load(Relaxed)).collect();
        let wanted = (counts.iter().sum::<u64>() as f64 * 0.99).ceil() as u64;
        let mut sum = 0;
        let bucket = counts.iter().position(|count| {
            sum += count;
            sum >= wanted.max(1)
        });
        bucket.map_or(Duration::ZERO, |bucket| {
            Duration::from_secs_f64(50e-6 * BUCKET_GROWTH.powi(i32::try_from(bucket).unwrap_or(0) + 1))
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
