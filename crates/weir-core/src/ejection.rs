//! Outlier ejection: a target whose requests fail one after the other takes none for a while, whatever its probes say.
//!
//! Ours, and off unless it is written; the defaults are Envoy's. What decides is here; `reconcile` does it.

use std::time::Duration;

/// How often control looks for such targets.
pub const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// Times of its own that an ejection may grow to, by ejections one after the other.
const GROWTH_MAX: u32 = 10;

/// When targets of a group are ejected, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ejection {
    /// Failures in a row that do it: answers of 500 to 599, and requests without an answer. At least 1.
    pub consecutive_failures: u32,
    /// How long the first time; each time more, up to ten times of it.
    pub time: Duration,
    /// So many of a hundred registered targets may be ejected at a time, and one always: 1 to 100.
    pub maximum_percentage: u8,
}

impl Default for Ejection {
    fn default() -> Self {
        Self { consecutive_failures: 5, time: Duration::from_secs(30), maximum_percentage: 10 }
    }
}

impl Ejection {
    /// Whether a target that has failed so often in a row is ejected, where so many of the registered ones already are.
    pub fn ejects(self, failures: u32, ejected: usize, registered: usize) -> bool {
        let most = (registered * usize::from(self.maximum_percentage) / 100).max(1);
        failures >= self.consecutive_failures && ejected < most
    }

    /// How long the target stays out that has been ejected so often before.
    pub fn duration(self, before: u32) -> Duration {
        self.time * (before + 1).min(GROWTH_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenth_may_be_ejected_and_one_always() {
        let ejection = Ejection::default();
        assert!(!ejection.ejects(4, 0, 3) && ejection.ejects(5, 0, 3));
        assert!(!ejection.ejects(9, 1, 3), "of three one");
        assert!(ejection.ejects(5, 1, 20) && !ejection.ejects(5, 2, 20));
    }

    #[test]
    fn each_ejection_is_longer_than_the_one_before_up_to_ten_times() {
        let ejection = Ejection { time: Duration::from_secs(1), ..Ejection::default() };
        let seconds: Vec<u64> = [0, 1, 8, 9, 10, 99].map(|n| ejection.duration(n).as_secs()).into();
        assert_eq!(seconds, [1, 2, 9, 10, 10, 10]);
    }
}
