//! What one thread of a generator has seen.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use hdrhistogram::Histogram;

use super::outcome::{Ending, Failure, Outcome, Record};

/// Names of targets that are counted apart; those that come later are counted together.
const TARGETS_MAX: usize = 4096;

/// Name of the targets beyond [`TARGETS_MAX`].
const OTHERS: &str = "(others)";

/// Longest time that a histogram tells from longer ones, in nanoseconds: an hour.
const NANOS_MAX: u64 = 3_600_000_000_000;

/// Records that are handed over at a time; arbitrary.
const RECORDS: usize = 4096;

/// Names that responses bear, by number, so that one costs nothing once it is known.
#[derive(Debug, Default)]
pub(super) struct Names {
    numbers: HashMap<Box<[u8]>, u32>,
    names: Vec<Arc<str>>,
}

impl Names {
    /// The number of a name.
    pub(super) fn number(&mut self, name: &[u8]) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        if self.names.len() > TARGETS_MAX {
            return TARGETS_MAX as u32;
        }
        let number = self.names.len() as u32;
        let text =
            if self.names.len() == TARGETS_MAX { OTHERS.into() } else { String::from_utf8_lossy(name) };
        self.names.push(text.into());
        self.numbers.insert(name.into(), number);
        number
    }

    /// The name of a number that [`Names::number`] gave.
    pub(super) fn name(&self, number: u32) -> &Arc<str> {
        &self.names[number as usize]
    }
}

/// A request under way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Flight {
    /// When it was due, by [`super::poll::now`].
    pub(super) at: u64,
    /// When it was handed to the kernel.
    pub(super) sent: u64,
}

/// Counts and histograms of one thread.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) outcome: Outcome,
    pub(super) names: Names,
    counts: Vec<u64>,
    /// What moments count from.
    pub(super) start: u64,
    records: Vec<Record>,
    recorder: Option<SyncSender<Vec<Record>>>,
    /// When the last request ended.
    last: u64,
}

impl Tally {
    pub(super) fn new(recorder: Option<SyncSender<Vec<Record>>>) -> Self {
        let records = if recorder.is_some() { Vec::with_capacity(RECORDS) } else { Vec::new() };
        Self {
            outcome: Outcome::empty(),
            names: Names::default(),
            counts: Vec::new(),
            start: 0,
            records,
            recorder,
            last: 0,
        }
    }

    /// A request has been handed to the kernel so much after it could have been.
    pub(super) fn sent(&mut self, lag: u64) {
        self.outcome.sent += 1;
        self.outcome.lag.saturating_record(lag);
    }

    /// A request that was sent has ended.
    pub(super) fn ended(&mut self, flight: Flight, ending: Ending, target: Option<u32>, done: u64) {
        if let Some(target) = target {
            let at = target as usize;
            if self.counts.len() <= at {
                self.counts.resize(at + 1, 0);
            }
            self.counts[at] += 1;
        }
        if ending.has_latency() {
            self.outcome.latency.saturating_record(done.saturating_sub(flight.at));
            self.outcome.service.saturating_record(done.saturating_sub(flight.sent));
        }
        self.note(flight.at, Some(flight.sent), ending, target, done);
    }

    /// A request that was never sent has ended.
    pub(super) fn ended_unsent(&mut self, at: u64, ending: Ending, done: u64) {
        if ending.has_latency() {
            self.outcome.latency.saturating_record(done.saturating_sub(at));
        }
        self.note(at, None, ending, None, done);
    }

    fn note(&mut self, at: u64, sent: Option<u64>, ending: Ending, target: Option<u32>, done: u64) {
        self.last = self.last.max(done);
        match ending {
            Ending::Answered(status) => {
                self.outcome.answered += 1;
                match status {
                    400..=499 => self.outcome.failures.status_4xx += 1,
                    500..=599 => self.outcome.failures.status_5xx += 1,
                    _ => {}
                }
            }
            Ending::Failed(failure) => {
                let failures = &mut self.outcome.failures;
                let count = match failure {
                    Failure::Local => &mut failures.local,
                    Failure::Malformed => &mut failures.malformed,
                    Failure::Refused => &mut failures.refused,
                    Failure::Reset => &mut failures.reset,
                    Failure::Timeout => &mut failures.timeout,
                };
                *count += 1;
            }
            Ending::Unanswered => self.outcome.unanswered += 1,
        }
        if let Some(recorder) = &self.recorder {
            let target = target.map(|number| Arc::clone(self.names.name(number)));
            let since = |moment: u64| moment.saturating_sub(self.start);
            let record =
                Record { intended: since(at), sent: sent.map(since), done: since(done), ending, target };
            self.records.push(record);
            if self.records.len() == RECORDS {
                let full = std::mem::replace(&mut self.records, Vec::with_capacity(RECORDS));
                // Who reads them no more wants no more of them.
                let _ = recorder.send(full);
            }
        }
    }

    /// What it all came to.
    pub(super) fn finish(mut self, cpu: u64) -> Outcome {
        if let Some(recorder) = self.recorder
            && !self.records.is_empty()
        {
            let _ = recorder.send(self.records);
        }
        self.outcome.cpu_seconds = cpu as f64 / 1e9;
        self.outcome.seconds = self.last.saturating_sub(self.start) as f64 / 1e9;
        for (name, count) in self.names.names.iter().zip(&self.counts) {
            *self.outcome.targets.entry(name.to_string()).or_default() += count;
        }
        self.outcome
    }
}

/// A histogram of three digits.
pub(super) fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(NANOS_MAX, 3).expect("the bounds are sound")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_beyond_the_limit_are_counted_together() {
        let mut names = Names::default();
        let numbers: Vec<u32> =
            (0..TARGETS_MAX + 3).map(|name| names.number(name.to_string().as_bytes())).collect();
        assert_eq!(names.number(b"7"), 7);
        assert_eq!(numbers[TARGETS_MAX..], [TARGETS_MAX as u32; 3]);
        assert_eq!(**names.name(TARGETS_MAX as u32), *OTHERS);
    }
}
