//! How a target group asks its targets for their load.

use weir_core::definition::{Algorithm, TargetProtocol};
use weir_core::load_report::LoadProbe;

use super::health_check::is_path;
use crate::keys;
use crate::read::{Fields, Reader};

/// Probes with each request, unless it is written. Source: the Prequal paper's own.
const PER_REQUEST: f64 = 3.0;

/// Reads a group's `load_probe`, which goes with `prequal` and HTTP.
pub(super) fn read(
    fields: Fields<'_>,
    protocol: TargetProtocol,
    algorithm: Option<Algorithm>,
    reader: &mut Reader<'_>,
) -> Option<LoadProbe> {
    let node = fields.get("load_probe")?;
    if !protocol.is_http() {
        let cause = format!("targets that speak {} cannot be asked for a path", protocol.as_str());
        reader.problem(node, &cause, Some("take it out: prequal then goes by what weir counts"));
    }
    if let Some(algorithm) = algorithm.filter(|algorithm| *algorithm != Algorithm::Prequal) {
        let cause = format!("{} does not ask targets for their load", algorithm.as_str());
        reader.problem(node, &cause, Some("take it out, or write `load_balancing_algorithm: prequal`"));
    }
    let fields = reader.fields(node, &keys::LOAD_PROBE)?;
    let rate = fields.get("per_request").map(|node| reader.decimal(node, 0.01..=5.0));
    let path = fields.require(reader, "path", "/load")?;
    let text = reader.text(path)?;
    if !is_path(text) {
        let remedy = "a path starts with `/`, has no spaces and no `#`, and at most 1024 characters";
        reader.problem(path, &format!("{text:?} is not a path"), Some(remedy));
    }
    let per_request = rate.flatten().unwrap_or(PER_REQUEST);
    Some(LoadProbe { path: text.into(), per_hundred: (per_request * 100.0).round() as u16 })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn probe(keys: &str) -> Result<Option<LoadProbe>, String> {
        let text = format!("target_groups: [{{ name: web, {keys} }}]\n");
        let loaded = crate::parse(&text, Path::new("weir.yaml")).map_err(|problems| problems.to_string())?;
        Ok(loaded.config.definitions.target_groups[0].load_probe.clone())
    }

    #[test]
    fn targets_are_asked_three_times_with_each_request_unless_something_else_is_written() {
        let of = |per_hundred| Ok(Some(LoadProbe { path: "/load".into(), per_hundred }));
        assert_eq!(probe("load_balancing_algorithm: prequal"), Ok(None));
        assert_eq!(probe("load_balancing_algorithm: prequal, load_probe: { path: /load }"), of(300));
        let half = "load_balancing_algorithm: prequal, load_probe: { path: /load, per_request: 0.5 }";
        assert_eq!(probe(half), of(50));
        assert_eq!(probe("comparison: { algorithm: prequal }, load_probe: { path: /load }"), of(300));
    }

    #[test]
    fn what_cannot_be_asked_is_refused_with_a_remedy() {
        for (keys, cause) in [
            ("load_probe: { path: /load }", "round_robin does not ask"),
            ("load_balancing_algorithm: prequal, load_probe: {}", "path"),
            ("load_balancing_algorithm: prequal, load_probe: { path: load }", "is not a path"),
            ("load_balancing_algorithm: prequal, load_probe: { path: '/load#now' }", "no `#`"),
            ("load_balancing_algorithm: prequal, load_probe: { path: /l, per_request: 0 }", "0.01 to 5"),
            ("load_balancing_algorithm: prequal, load_probe: { path: /l, per_request: 9 }", "0.01 to 5"),
            ("protocol: tcp, load_balancing_algorithm: prequal, load_probe: { path: /l }", "speak tcp"),
        ] {
            let problem = probe(keys).unwrap_err();
            assert!(problem.contains(cause), "{keys}: {problem}");
        }
    }
}
