//! The algorithm that a group's own one is compared with.

use weir_core::comparison::Comparison;
use weir_core::definition::{Algorithm, TargetProtocol};

use super::target_group::algorithms;
use crate::keys;
use crate::read::{Fields, Reader};

/// The part of the connections that the other algorithm has.
const PERCENTAGE: u8 = 50;

/// Reads a group's `comparison`; `own` is what the group picks by.
pub(super) fn read(
    fields: Fields<'_>,
    protocol: TargetProtocol,
    own: Algorithm,
    reader: &mut Reader<'_>,
) -> Option<Comparison> {
    let node = fields.get("comparison")?;
    if !protocol.is_http() {
        let cause = format!("nobody knows what an answer is of targets that speak {}", protocol.as_str());
        reader.problem(node, &cause, Some("take it out: it is for http and https"));
        return None;
    }
    if let Some(stickiness) = fields.get("stickiness") {
        let cause = "clients who stick to a target are in no arm of a comparison: their cookies pick";
        reader.problem(stickiness, cause, Some("take out `stickiness` or `comparison`"));
    }
    let compared = reader.fields(node, &keys::COMPARISON)?;
    let written = compared.require(reader, "algorithm", "peak_ewma")?;
    let algorithm = reader.choice(written, algorithms(protocol))?;
    if algorithm == own {
        let cause = format!("{} is what the group picks by already", own.as_str());
        reader.problem(written, &cause, Some("write another one"));
    }
    let percentage = compared.get("percentage").and_then(|node| reader.number(node, 1..=99));
    let stops = compared.get("stop_when_worse").and_then(|node| reader.boolean(node));
    Some(Comparison {
        algorithm,
        percentage: percentage.unwrap_or(PERCENTAGE),
        stops_when_worse: stops.unwrap_or(true),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use weir_core::definition::{HashOn, TargetGroup};

    use super::*;

    fn group(keys: &str) -> Result<TargetGroup, String> {
        let text = format!("target_groups: [{{ name: web, {keys} }}]\n");
        let loaded = crate::parse(&text, Path::new("weir.yaml")).map_err(|problems| problems.to_string())?;
        Ok(loaded.config.definitions.target_groups[0].clone())
    }

    #[test]
    fn half_of_the_connections_are_compared_until_one_arm_is_worse() {
        assert_eq!(group("protocol: http").unwrap().comparison, None);
        let of = |algorithm, percentage, stops_when_worse| {
            Some(Comparison { algorithm, percentage, stops_when_worse })
        };
        let comparison = |keys: &str| group(&format!("comparison: {{ {keys} }}")).unwrap().comparison;
        assert_eq!(comparison("algorithm: prequal"), of(Algorithm::Prequal, 50, true));
        let written = "algorithm: peak_ewma, percentage: 5, stop_when_worse: false";
        assert_eq!(comparison(written), of(Algorithm::PeakEwma, 5, false));
    }

    #[test]
    fn settings_of_either_algorithm_may_be_written() {
        let hashes = group("comparison: { algorithm: maglev }, hash: { on: path }").unwrap();
        assert_eq!(hashes.hashing.map(|hashing| hashing.on), Some(HashOn::Path));
        let hashes = group("comparison: { algorithm: maglev }").unwrap();
        assert_eq!(hashes.hashing.map(|hashing| hashing.on), Some(HashOn::Source), "as without a comparison");
        let own = group("load_balancing_algorithm: ring_hash, comparison: { algorithm: prequal }").unwrap();
        assert!(own.hashing.is_some());
        let written = "comparison: { algorithm: weighted_random }, load_balancing_anomaly_mitigation: on";
        assert!(group(written).unwrap().mitigates_anomalies);
    }

    #[test]
    fn what_cannot_be_compared_is_refused_with_a_remedy() {
        for (keys, cause, remedy) in [
            ("comparison: { algorithm: round_robin }", "picks by already", "write another one"),
            (
                "load_balancing_algorithm: prequal, comparison: { algorithm: prequal }",
                "prequal is what",
                "another",
            ),
            ("comparison: {}", "algorithm", "peak_ewma"),
            ("comparison: { algorithm: flow_hash }", "flow_hash", "round_robin"),
            ("comparison: { algorithm: prequal, percentage: 100 }", "percentage", "99"),
            ("comparison: { algorithm: prequal, percentage: 0 }", "percentage", "1"),
            ("protocol: tcp, comparison: { algorithm: round_robin }", "that speak tcp", "for http and https"),
            ("comparison: { algorithm: prequal }, stickiness: {}", "their cookies pick", "take out"),
            ("comparison: { algorithm: prequal }, slow_start: 30s", "not with prequal", "take it out"),
            ("comparison: { algorithm: prequal }, hash: { on: path }", "nothing is hashed", "use maglev"),
        ] {
            let problem = group(keys).unwrap_err();
            assert!(problem.contains(cause) && problem.contains(remedy), "{keys}: {problem}");
        }
    }
}
