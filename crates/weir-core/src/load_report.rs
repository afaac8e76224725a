//! What targets say of their load, where they are asked.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::time::Timestamp;

/// How targets of a group are asked for their load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadProbe {
    /// What is asked for: a path, with a query or without.
    pub path: Box<str>,
    /// Probes with a hundred requests: 1 to 500.
    pub per_hundred: u16,
}

/// What a target says of its load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoadReport {
    /// Requests that it has under way, whoever sent them.
    pub in_flight: u32,
    /// What one more would take; `None` where it does not say.
    pub latency: Option<Duration>,
}

impl LoadReport {
    /// How long it is worth something: what is older says nothing of now.
    pub const WORTH: Duration = Duration::from_secs(1);
}

/// The last report of one target, and how often it was asked: shared by all workers.
///
/// Numbers that stand alone: of two workers that note at the same moment each may leave a part. Picks go by what a worker was
/// told itself; this is for those who look on.
#[derive(Debug, Default)]
pub struct Reported {
    answered: AtomicU64,
    unanswered: AtomicU64,
    in_flight: AtomicU32,
    /// Nanoseconds, plus one; zero where it does not say.
    latency: AtomicU64,
    /// Nanoseconds of the moment of the last report.
    at: AtomicU64,
}

impl Reported {
    /// Notes what a target has said.
    pub fn note(&self, report: LoadReport, now: Timestamp) {
        let nanos =
            |latency: Duration| u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX).saturating_add(1);
        self.answered.fetch_add(1, Relaxed);
        self.in_flight.store(report.in_flight, Relaxed);
        self.latency.store(report.latency.map_or(0, nanos), Relaxed);
        self.at.store(now.as_nanos(), Relaxed);
    }

    /// Notes that it has said nothing, or nothing that weir understands.
    pub fn note_silence(&self) {
        self.unanswered.fetch_add(1, Relaxed);
    }

    /// Probes that it has answered.
    pub fn answered(&self) -> u64 {
        self.answered.load(Relaxed)
    }

    /// Probes that it has not answered, or not in a way that weir understands.
    pub fn unanswered(&self) -> u64 {
        self.unanswered.load(Relaxed)
    }

    /// What it said last, and how long ago; `None` when it never has.
    pub fn last(&self, now: Timestamp) -> Option<(LoadReport, Duration)> {
        if self.answered() == 0 {
            return None;
        }
        let latency = self.latency.load(Relaxed).checked_sub(1).map(Duration::from_nanos);
        let report = LoadReport { in_flight: self.in_flight.load(Relaxed), latency };
        Some((report, now.since(Timestamp::from_nanos(self.at.load(Relaxed)))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_report_is_kept_with_its_age() {
        let (reported, start) = (Reported::default(), Timestamp::from_nanos(7));
        assert_eq!(reported.last(start), None);
        reported.note_silence();
        let quick = LoadReport { in_flight: 3, latency: Some(Duration::ZERO) };
        reported.note(LoadReport { in_flight: 9, latency: None }, start);
        reported.note(quick, start);
        let second = Duration::from_secs(1);
        assert_eq!(reported.last(start.after(second)), Some((quick, second)));
        assert_eq!((reported.answered(), reported.unanswered()), (2, 1));
    }
}
