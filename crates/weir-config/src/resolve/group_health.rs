//! How many healthy targets a group must have.

use weir_core::thresholds::{COUNT_MAX, MinimumHealthy, Thresholds};

use crate::keys;
use crate::read::{Fields, Reader};
use crate::tree::{Node, Value};

/// Reads a group's `target_group_health`.
pub(super) fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Thresholds> {
    let fields = reader.fields(node, &keys::TARGET_GROUP_HEALTH)?;
    let mut minimum = |name: &str| match fields.get(name) {
        Some(node) => minimum(node, reader),
        None => Some(MinimumHealthy::ONE),
    };
    let (routing, dns) = (minimum("unhealthy_state_routing")?, minimum("dns_failover")?);
    if routing == MinimumHealthy::NONE {
        let remedy = "write `minimum_healthy_targets_count: 1`, AWS's default";
        reader.problem(
            node,
            "a group without a minimum for routing would answer 503 when all its targets are unhealthy",
            Some(remedy),
        );
    }
    if fields.get("dns_failover").is_some() && !dns.is_at_least(routing) {
        let cause = "dns_failover asks for fewer healthy targets than unhealthy_state_routing";
        reader.problem(node, cause, Some("ask for as many, or for more"));
    }
    Some(Thresholds { routing, dns })
}

fn minimum(node: &Node, reader: &mut Reader<'_>) -> Option<MinimumHealthy> {
    let fields = reader.fields(node, &keys::MINIMUM_HEALTHY)?;
    let count = number(fields, "minimum_healthy_targets_count", COUNT_MAX, Some(1), reader);
    let percentage = number(fields, "minimum_healthy_targets_percentage", 100, None, reader);
    Some(MinimumHealthy { count, percentage: percentage.map(|percentage| percentage as u8) })
}

/// A number from 1 to `most`, or `off`.
fn number(
    fields: Fields<'_>,
    name: &str,
    most: u32,
    default: Option<u32>,
    reader: &mut Reader<'_>,
) -> Option<u32> {
    match fields.get(name) {
        None => default,
        Some(node) if matches!(&node.value, Value::Scalar(text) if text == "off") => None,
        Some(node) => reader.number(node, 1..=most),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn thresholds(written: &str) -> Result<Thresholds, String> {
        let text = format!("target_groups: [{{ name: web, target_group_health: {{ {written} }} }}]\n");
        let loaded = crate::parse(&text, Path::new("weir.yaml")).map_err(|problems| problems.to_string())?;
        Ok(loaded.config.definitions.target_groups[0].thresholds)
    }

    #[test]
    fn minimums_are_numbers_parts_or_off() {
        let of = |count, percentage| MinimumHealthy { count, percentage };
        for (written, routing) in [
            ("", of(Some(1), None)),
            ("unhealthy_state_routing: { minimum_healthy_targets_count: 3 }", of(Some(3), None)),
            ("unhealthy_state_routing: { minimum_healthy_targets_percentage: 50 }", of(Some(1), Some(50))),
            (
                "unhealthy_state_routing: { minimum_healthy_targets_count: off, minimum_healthy_targets_percentage: 100 }",
                of(None, Some(100)),
            ),
        ] {
            let dns =
                "dns_failover: { minimum_healthy_targets_count: 5, minimum_healthy_targets_percentage: 100 }";
            let comma = if written.is_empty() { "" } else { ", " };
            assert_eq!(
                thresholds(&format!("{written}{comma}{dns}")).map(|both| both.routing),
                Ok(routing),
                "{written}"
            );
        }
    }

    #[test]
    fn what_is_out_of_range_or_contradicts_itself_is_refused() {
        for (written, problem) in [
            ("unhealthy_state_routing: { minimum_healthy_targets_count: 0 }", "1"),
            ("unhealthy_state_routing: { minimum_healthy_targets_percentage: 101 }", "100"),
            ("unhealthy_state_routing: { minimum_healthy_targets_count: off }", "without a minimum"),
            (
                "unhealthy_state_routing: { minimum_healthy_targets_count: 3 }, dns_failover: { minimum_healthy_targets_count: 2 }",
                "fewer healthy targets",
            ),
        ] {
            let problems = thresholds(written).unwrap_err();
            assert!(problems.contains(problem), "{problems}");
        }
    }
}
