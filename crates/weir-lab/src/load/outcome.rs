//! What a load came to, and whether it may be believed.

use std::collections::BTreeMap;
use std::sync::Arc;

use hdrhistogram::Histogram;

use super::tally::histogram;

/// Largest share of the p99 shown that the p99.9 of the generator's own lateness may have. Source: `spec/algorithms.md`, section 5.
pub const LAG_SHARE_MAX: f64 = 0.1;

/// The most that it may be in any case, in nanoseconds; ours, and arbitrary. The p99 of a server that is overloaded, or stood still,
/// is seconds, of which a tenth would have requests come in bursts that nobody has planned.
pub const LAG_MAX: u64 = 10_000_000;

/// The most that the p99.9 of the generator's lateness may be where that is the p99 of latency; both in nanoseconds.
fn lag_max(p99: u64) -> u64 {
    ((LAG_SHARE_MAX * p99 as f64) as u64).min(LAG_MAX)
}

/// Whether a generator was too late for that p99 to be believed.
pub(crate) fn is_late(lag: &Histogram<u64>, p99: u64) -> bool {
    lag.value_at_quantile(0.999) > lag_max(p99)
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With a whole answer: an HTTP status, or zero for an echo.
    Answered(u16),
    /// Without one.
    Failed(Failure),
    /// Not before the load was over.
    Unanswered,
}

/// Why a request got no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The generator ran out of ports, descriptors or memory: its own fault.
    Local,
    /// What came was no answer to it.
    Malformed,
    /// Nobody took the connection.
    Refused,
    /// The connection, or the stream, ended before the answer.
    Reset,
    /// Nothing came for as long as was waited for.
    Timeout,
}

impl Ending {
    /// Whether it says how long the server takes, if only at least how long.
    pub(super) fn has_latency(self) -> bool {
        matches!(self, Self::Answered(_) | Self::Failed(Failure::Timeout) | Self::Unanswered)
    }

    /// A word or a number for it.
    pub fn text(self) -> String {
        match self {
            Self::Answered(0) => "echo".to_owned(),
            Self::Answered(status) => status.to_string(),
            Self::Failed(Failure::Local) => "local".to_owned(),
            Self::Failed(Failure::Malformed) => "malformed".to_owned(),
            Self::Failed(Failure::Refused) => "refused".to_owned(),
            Self::Failed(Failure::Reset) => "reset".to_owned(),
            Self::Failed(Failure::Timeout) => "timeout".to_owned(),
            Self::Unanswered => "unanswered".to_owned(),
        }
    }
}

/// One request, in nanoseconds from the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// When it was due.
    pub intended: u64,
    /// When it was handed to the kernel, if it was.
    pub sent: Option<u64>,
    /// When it ended.
    pub done: u64,
    /// How it ended.
    pub ending: Ending,
    /// Whom the answer came from, by its `x-lab-target`.
    pub target: Option<Arc<str>>,
}

/// Requests that went wrong, by kind. Those with a status were answered all the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// See [`Failure::Local`].
    pub local: u64,
    /// See [`Failure::Malformed`].
    pub malformed: u64,
    /// See [`Failure::Refused`].
    pub refused: u64,
    /// See [`Failure::Reset`].
    pub reset: u64,
    /// See [`Failure::Timeout`].
    pub timeout: u64,
    /// Answered with a status of 400 to 499.
    pub status_4xx: u64,
    /// Answered with a status of 500 to 599.
    pub status_5xx: u64,
}

impl Failures {
    /// All of them by name.
    pub fn by_name(&self) -> [(&'static str, u64); 7] {
        [
            ("timeout", self.timeout),
            ("refused", self.refused),
            ("reset", self.reset),
            ("malformed", self.malformed),
            ("local", self.local),
            ("4xx", self.status_4xx),
            ("5xx", self.status_5xx),
        ]
    }

    /// Those that got no answer.
    pub fn unanswered(&self) -> u64 {
        self.local + self.malformed + self.refused + self.reset + self.timeout
    }
}

/// What a load came to. `planned` is `answered`, `unanswered` and what [`Failures::unanswered`] counts, together.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// From the moment that each request was due to the end of its answer, in nanoseconds. Those that timed out or had no
    /// answer at the end are in it with the time that was waited for them, since leaving them out would flatter the server;
    /// those that failed otherwise are not.
    pub latency: Histogram<u64>,
    /// The same from the moment that each was really sent: what a generator shows that forgets who had to wait.
    pub service: Histogram<u64>,
    /// The generator's own lateness, in nanoseconds: from the moment that a request was due until the generator saw that it
    /// was, and from the moment that it also had a connection that was free until it handed the request to the kernel.
    /// Waiting for a connection that is taken, or is still being opened, is the server's doing and not in it.
    pub lag: Histogram<u64>,
    /// Requests that were due.
    pub planned: u64,
    /// Requests that were handed to the kernel.
    pub sent: u64,
    /// Requests with a whole answer, whatever its status.
    pub answered: u64,
    /// What went wrong.
    pub failures: Failures,
    /// Requests that were under way, or not even sent, when the load was over.
    pub unanswered: u64,
    /// Bytes that came.
    pub bytes: u64,
    /// From the start to the end of the last request.
    pub seconds: f64,
    /// Processor time of the generator, without what opened its first connections.
    pub cpu_seconds: f64,
    /// Answers by the name in `x-lab-target`.
    pub targets: BTreeMap<String, u64>,
    /// Whether requests came by a schedule, and not each as soon as the one before was answered.
    pub is_scheduled: bool,
    /// Whether it was stopped before all requests had come.
    pub is_interrupted: bool,
}

/// Why an outcome may not be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// See [`LAG_SHARE_MAX`] and [`LAG_MAX`]; both in nanoseconds.
    #[error(
        "the generator itself was late: the p99.9 of its send lag is {:.3} ms, and may be {:.3} ms where the p99 of latency is \
         {:.3} ms; lower the rate, leave it a processor, or give it more --threads or --spin 100us",
        *.lag as f64 / 1e6, lag_max(*.latency) as f64 / 1e6, *.latency as f64 / 1e6
    )]
    Late {
        /// The p99.9 of the send lag.
        lag: u64,
        /// The p99 of latency.
        latency: u64,
    },
    /// So many requests failed for want of something on this machine.
    #[error(
        "{0} requests failed because this machine had no port, descriptor or memory left for them; open fewer connections, or \
         raise `ulimit -n` and net.ipv4.ip_local_port_range"
    )]
    Local(u64),
    /// There is no latency to show; how most requests failed, if they did and were not just unanswered.
    #[error("no request was answered: {}", unanswered(*.0))]
    NothingAnswered(Option<Failure>),
}

/// What may be wrong where most requests failed so.
fn unanswered(failure: Option<Failure>) -> &'static str {
    match failure {
        None | Some(Failure::Timeout) => "the server took them and said nothing for as long as was waited",
        Some(Failure::Local) => "this machine had no port, descriptor or memory left for them",
        Some(Failure::Malformed) => {
            "what came was none; the server speaks another protocol than the URL says"
        }
        Some(Failure::Refused) => {
            "nobody is there; see that the server is running, and the URL names its port"
        }
        Some(Failure::Reset) => {
            "the server closed their connections; it may speak TLS, which the generator does not, or another protocol"
        }
    }
}

impl Failures {
    /// How most of those failed that got no answer.
    fn most(&self) -> Option<Failure> {
        let kinds = [
            (self.timeout, Failure::Timeout),
            (self.refused, Failure::Refused),
            (self.reset, Failure::Reset),
            (self.malformed, Failure::Malformed),
            (self.local, Failure::Local),
        ];
        let most = kinds.into_iter().max_by_key(|(count, _)| *count);
        most.filter(|(count, _)| *count > 0).map(|(_, failure)| failure)
    }
}

impl Outcome {
    pub(super) fn empty() -> Self {
        Self {
            latency: histogram(),
            service: histogram(),
            lag: histogram(),
            planned: 0,
            sent: 0,
            answered: 0,
            failures: Failures::default(),
            unanswered: 0,
            bytes: 0,
            seconds: 0.0,
            cpu_seconds: 0.0,
            targets: BTreeMap::new(),
            is_scheduled: true,
            is_interrupted: false,
        }
    }

    /// Adds what another thread saw at the same time.
    pub(super) fn add(&mut self, other: &Self) {
        for (own, others) in [
            (&mut self.latency, &other.latency),
            (&mut self.service, &other.service),
            (&mut self.lag, &other.lag),
        ] {
            own.add(others).expect("all histograms have the same bounds");
        }
        self.planned += other.planned;
        self.sent += other.sent;
        self.answered += other.answered;
        let (own, others) = (&mut self.failures, &other.failures);
        own.local += others.local;
        own.malformed += others.malformed;
        own.refused += others.refused;
        own.reset += others.reset;
        own.timeout += others.timeout;
        own.status_4xx += others.status_4xx;
        own.status_5xx += others.status_5xx;
        self.unanswered += other.unanswered;
        self.bytes += other.bytes;
        self.seconds = self.seconds.max(other.seconds);
        self.cpu_seconds += other.cpu_seconds;
        self.is_interrupted |= other.is_interrupted;
        for (name, count) in &other.targets {
            *self.targets.entry(name.clone()).or_default() += count;
        }
    }

    /// Whether the figures say something about the server, and not about the generator.
    pub fn is_valid(&self) -> bool {
        self.invalid().is_none()
    }

    /// Why the figures may not be believed, if they may not.
    pub fn invalid(&self) -> Option<Invalid> {
        let (lag, latency) = (self.lag.value_at_quantile(0.999), self.latency.value_at_quantile(0.99));
        let failure = self.failures.most();
        if self.answered == 0 && failure.is_none() && self.is_interrupted {
            // There was no time for an answer.
            None
        } else if self.answered == 0 {
            Some(Invalid::NothingAnswered(failure))
        } else if self.failures.local > 0 {
            Some(Invalid::Local(self.failures.local))
        } else if self.is_scheduled && is_late(&self.lag, latency) {
            Some(Invalid::Late { lag, latency })
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_generator_that_was_late_is_not_believed() {
        let mut outcome = Outcome::empty();
        assert_eq!(outcome.invalid(), Some(Invalid::NothingAnswered(None)));
        outcome.answered = 1000;
        outcome.latency.record_n(10_000_000, 1000).unwrap();
        outcome.lag.record_n(10, 997).unwrap();
        outcome.lag.record_n(900_000, 3).unwrap();
        assert!(outcome.is_valid());
        outcome.lag.record_n(1_100_000, 3).unwrap();
        assert!(matches!(outcome.invalid(), Some(Invalid::Late { .. })));
        outcome.is_scheduled = false;
        assert!(outcome.is_valid(), "a closed loop has no schedule to be late for");
        outcome.failures.local = 2;
        assert_eq!(outcome.invalid(), Some(Invalid::Local(2)));
    }

    #[test]
    fn where_nothing_was_answered_it_is_said_what_may_be_wrong() {
        let said = |failures| Outcome { failures, ..Outcome::empty() }.invalid().unwrap().to_string();
        let none = Failures::default();
        assert!(said(none).contains("said nothing"));
        assert!(said(Failures { reset: 9, timeout: 1, ..none }).contains("may speak TLS"));
        assert!(said(Failures { refused: 9, ..none }).contains("nobody is there"));
        assert!(said(Failures { malformed: 9, reset: 8, ..none }).contains("another protocol"));
        assert!(said(Failures { local: 1, ..none }).contains("no port"));
    }

    #[test]
    fn who_is_interrupted_before_any_answer_is_not_invalid_for_that() {
        let interrupted = Outcome { is_interrupted: true, ..Outcome::empty() };
        assert!(interrupted.is_valid());
        let refused = Failures { refused: 9, ..Failures::default() };
        assert!(!Outcome { failures: refused, ..interrupted }.is_valid());
    }

    #[test]
    fn a_slow_server_is_no_excuse_for_a_late_generator() {
        let mut outcome = Outcome { answered: 1000, ..Outcome::empty() };
        outcome.latency.record_n(5_000_000_000, 1000).unwrap();
        outcome.lag.record_n(9_000_000, 1000).unwrap();
        assert!(outcome.is_valid());
        outcome.lag.record_n(11_000_000, 2).unwrap();
        let said = outcome.invalid().unwrap().to_string();
        assert!(said.contains("is 11.") && said.contains("may be 10.000 ms"), "{said}");
    }
}
