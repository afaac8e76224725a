//! How many healthy targets a group must have, and what follows when it has fewer.
//!
//! Source: Application Load Balancer, "Target group health".

/// Largest count: the targets that a group may have.
pub const COUNT_MAX: u32 = 1000;

/// The fewest healthy targets, as a number, as a part of those that are registered, or both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MinimumHealthy {
    /// A number: 1 to [`COUNT_MAX`]; `None` is off.
    pub count: Option<u32>,
    /// A part in percent: 1 to 100; `None` is off.
    pub percentage: Option<u8>,
}

impl MinimumHealthy {
    /// AWS's default: one.
    pub const ONE: Self = Self { count: Some(1), percentage: None };

    /// No minimum.
    pub const NONE: Self = Self { count: None, percentage: None };

    /// Whether `healthy` of `registered` targets are enough: for the number and for the part.
    pub fn is_met(self, healthy: usize, registered: usize) -> bool {
        let part = |percentage: u8| healthy * 100 >= registered * usize::from(percentage);
        self.count.is_none_or(|count| healthy >= count as usize) && self.percentage.is_none_or(part)
    }

    /// Whether it asks for no less than `other` wherever both ask for something.
    pub fn is_at_least(self, other: Self) -> bool {
        let at_least = |own: Option<u32>, other: Option<u32>| own.zip(other).is_none_or(|(a, b)| a >= b);
        let part = |percentage: Option<u8>| percentage.map(u32::from);
        at_least(self.count, other.count) && at_least(part(self.percentage), part(other.percentage))
    }
}

/// What a group's minimums are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// With fewer, requests go to every registered target, healthy or not; without one never.
    pub routing: MinimumHealthy,
    /// With fewer, whoever leads clients to this weir had better lead them elsewhere: shown, since weir has no DNS.
    pub dns: MinimumHealthy,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { routing: MinimumHealthy::ONE, dns: MinimumHealthy::ONE }
    }
}

impl Thresholds {
    /// Of classic load balancers, which never use unhealthy instances.
    pub const CLASSIC: Self = Self { routing: MinimumHealthy::NONE, dns: MinimumHealthy::ONE };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_minimums_must_be_met() {
        let minimum = MinimumHealthy { count: Some(2), percentage: Some(50) };
        for (healthy, registered, is_met) in
            [(2, 4, true), (1, 2, false), (2, 5, false), (3, 5, true), (0, 0, false)]
        {
            assert_eq!(minimum.is_met(healthy, registered), is_met, "{healthy} of {registered}");
        }
        assert!(MinimumHealthy::NONE.is_met(0, 9));
        assert!(!MinimumHealthy::ONE.is_met(0, 9));
    }

    #[test]
    fn a_minimum_is_compared_where_both_ask_for_something() {
        let of = |count, percentage| MinimumHealthy { count, percentage };
        assert!(of(Some(2), None).is_at_least(of(Some(2), Some(90))));
        assert!(!of(Some(1), Some(100)).is_at_least(of(Some(2), None)));
        assert!(!of(None, Some(10)).is_at_least(of(Some(5), Some(20))));
    }
}
