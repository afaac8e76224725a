//! How much of its group's work a target takes at a time, and how many requests are tried again.
//!
//! Ours: Application Load Balancers have neither. Off, or as it always was, unless something is written.

/// Requests or flows that may be under way at a time. Workers look and then count, so that as many more as there are workers
/// may be at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConcurrencyLimits {
    /// At one target.
    pub per_target: u32,
    /// At all targets of the group together.
    pub per_group: u32,
}

impl Default for ConcurrencyLimits {
    fn default() -> Self {
        Self { per_target: u32::MAX, per_group: u32::MAX }
    }
}

/// How many of a group's requests under way, in each worker, may be retries. Source: Envoy's retry budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryBudget {
    /// So many of a hundred: 0 to 100.
    pub percentage: u8,
    /// So many always, however little traffic the group has.
    pub minimum: u32,
}

impl Default for RetryBudget {
    fn default() -> Self {
        Self { percentage: 20, minimum: 50 }
    }
}

impl RetryBudget {
    /// Whether there may be retries at all.
    pub fn is_any(self) -> bool {
        self.percentage > 0 || self.minimum > 0
    }

    /// Whether one more of `requests` under way may be a retry, beside `retries` others.
    pub fn allows(self, requests: u32, retries: u32) -> bool {
        let part = u64::from(requests) * u64::from(self.percentage) / 100;
        u64::from(retries) < part.max(u64::from(self.minimum))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retries_are_at_least_the_minimum_and_at_most_their_part_of_the_requests() {
        let budget = RetryBudget::default();
        assert!(budget.allows(0, 49) && !budget.allows(0, 50));
        assert!(budget.allows(300, 59) && !budget.allows(300, 60));
        assert!(!RetryBudget { percentage: 0, minimum: 0 }.allows(1000, 0), "none at all");
    }
}
