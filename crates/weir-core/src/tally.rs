//! What counts, as atomics: the numbers that all workers share about one target.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::anomaly::Attempts;
use crate::time::Timestamp;

/// Shared counts of one target. They belong to its identity and outlive every snapshot.
///
/// A tally may inform a pick; whether a target may be picked at all comes from the snapshot. All loads and stores are
/// relaxed: each number stands alone, and none guards other memory. A cache line of its own keeps one busy target
/// from slowing the counting of its neighbours.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct Tally {
    in_flight: AtomicU32,
    picked: AtomicU64,
    failed: AtomicU64,
    server_errors: AtomicU64,
    failures_in_a_row: AtomicU32,
    picked_unhealthy: AtomicU64,
    /// Nanoseconds of the moment slow start began, plus one; zero when the target is not in slow start.
    slow_start_began: AtomicU64,
}

impl Tally {
    /// Requests or flows that hold a lease on the target now.
    pub fn in_flight(&self) -> u32 {
        self.in_flight.load(Relaxed)
    }

    /// Leases ever taken.
    pub fn picked(&self) -> u64 {
        self.picked.load(Relaxed)
    }

    /// Attempts that ended without an answer: the dial failed, or the target closed before its first byte.
    pub fn failed(&self) -> u64 {
        self.failed.load(Relaxed)
    }

    /// Answers that said that the target had failed: 500 to 599.
    pub fn server_errors(&self) -> u64 {
        self.server_errors.load(Relaxed)
    }

    /// Counts an answer of 500 to 599.
    pub fn count_server_error(&self) {
        self.server_errors.fetch_add(1, Relaxed);
        self.failures_in_a_row.fetch_add(1, Relaxed);
    }

    /// Notes an answer that was no such failure.
    pub fn note_success(&self) {
        // Most have nothing to forgive, and write nothing.
        if self.failures_in_a_row() > 0 {
            self.forgive_failures();
        }
    }

    /// Requests that have failed since the last one that did not: an answer of 500 to 599, or none.
    pub fn failures_in_a_row(&self) -> u32 {
        self.failures_in_a_row.load(Relaxed)
    }

    pub(crate) fn forgive_failures(&self) {
        self.failures_in_a_row.store(0, Relaxed);
    }

    /// Leases taken while too few of the group's targets were healthy, so that everybody was used.
    pub fn picked_unhealthy(&self) -> u64 {
        self.picked_unhealthy.load(Relaxed)
    }

    pub(crate) fn count_unhealthy_pick(&self) {
        self.picked_unhealthy.fetch_add(1, Relaxed);
    }

    /// What came of everything that it was ever picked for. An attempt that is under way counts already.
    pub fn attempts(&self) -> Attempts {
        Attempts { all: self.picked(), errors: self.failed() + self.server_errors() }
    }

    /// Counts an attempt that ended without an answer.
    pub fn count_failed(&self) {
        self.failed.fetch_add(1, Relaxed);
        self.failures_in_a_row.fetch_add(1, Relaxed);
    }

    /// Starts slow start at `now`.
    pub fn begin_slow_start(&self, now: Timestamp) {
        self.slow_start_began.store(now.as_nanos().saturating_add(1), Relaxed);
    }

    /// Ends slow start, whatever its age.
    pub fn end_slow_start(&self) {
        self.slow_start_began.store(0, Relaxed);
    }

    /// How long the target has been in slow start, if it is.
    pub fn slow_start_age(&self, now: Timestamp) -> Option<Duration> {
        match self.slow_start_began.load(Relaxed) {
            0 => None,
            began => Some(now.since(Timestamp::from_nanos(began - 1))),
        }
    }

    pub(crate) fn enter(&self) {
        self.in_flight.fetch_add(1, Relaxed);
        self.picked.fetch_add(1, Relaxed);
    }

    pub(crate) fn forget_pick(&self) {
        self.picked.fetch_sub(1, Relaxed);
    }

    pub(crate) fn leave(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }
}
