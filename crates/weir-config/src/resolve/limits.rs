//! How much a target takes at a time, and how many requests are tried again.

use weir_core::limits::{ConcurrencyLimits, RetryBudget};

use crate::keys;
use crate::read::Reader;
use crate::tree::Node;

/// Largest limit of concurrent requests.
const CONCURRENT_MAX: u32 = 1_000_000;

/// Largest minimum of retries.
const RETRIES_MAX: u32 = 1000;

/// Reads a group's `concurrency_limits`.
pub(super) fn concurrency(node: &Node, reader: &mut Reader<'_>) -> Option<ConcurrencyLimits> {
    let fields = reader.fields(node, &keys::CONCURRENCY_LIMITS)?;
    let mut limit = |name: &str| {
        fields.get(name).and_then(|node| reader.number(node, 1..=CONCURRENT_MAX)).unwrap_or(u32::MAX)
    };
    Some(ConcurrencyLimits { per_target: limit("per_target"), per_group: limit("per_group") })
}

/// Reads a group's `retry_budget`.
pub(super) fn retry_budget(node: &Node, reader: &mut Reader<'_>) -> Option<RetryBudget> {
    let fields = reader.fields(node, &keys::RETRY_BUDGET)?;
    let default = RetryBudget::default();
    let percentage = fields.get("percentage").and_then(|node| reader.number(node, 0..=100));
    let minimum = fields.get("minimum").and_then(|node| reader.number(node, 0..=RETRIES_MAX));
    Some(RetryBudget {
        percentage: percentage.unwrap_or(default.percentage),
        minimum: minimum.unwrap_or(default.minimum),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use weir_core::definition::TargetGroup;

    use super::*;

    fn group(keys: &str) -> Result<TargetGroup, String> {
        let text = format!("target_groups: [{{ name: web, {keys} }}]\n");
        let loaded = crate::parse(&text, Path::new("weir.yaml")).map_err(|problems| problems.to_string())?;
        Ok(loaded.config.definitions.target_groups[0].clone())
    }

    #[test]
    fn there_is_no_limit_and_a_fifth_of_retries_unless_something_else_is_written() {
        let plain = group("protocol: http").unwrap();
        assert_eq!((plain.concurrency, plain.retries), Default::default());
        let written =
            group("concurrency_limits: { per_target: 8 }, retry_budget: { percentage: 0, minimum: 0 }");
        let written = written.unwrap();
        assert_eq!(written.concurrency, ConcurrencyLimits { per_target: 8, ..ConcurrencyLimits::default() });
        assert_eq!(written.retries, RetryBudget { percentage: 0, minimum: 0 });
    }

    #[test]
    fn limits_out_of_range_are_refused() {
        for keys in [
            "concurrency_limits: { per_target: 0 }",
            "concurrency_limits: { per_group: 1000001 }",
            "retry_budget: { percentage: 101 }",
            "retry_budget: { minimum: 1001 }",
        ] {
            assert!(group(keys).unwrap_err().contains("write "), "{keys}");
        }
    }
}
