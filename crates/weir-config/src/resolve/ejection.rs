//! When targets are ejected whose requests fail one after the other.

use std::time::Duration;

use weir_core::ejection::Ejection;

use crate::keys;
use crate::read::Reader;
use crate::tree::Node;

const SECOND: Duration = Duration::from_secs(1);

/// Largest number of failures in a row.
const FAILURES_MAX: u32 = 1000;

/// Reads a group's `outlier_ejection`.
pub(super) fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Ejection> {
    let fields = reader.fields(node, &keys::OUTLIER_EJECTION)?;
    let default = Ejection::default();
    let failures = fields.get("consecutive_failures").and_then(|node| reader.number(node, 1..=FAILURES_MAX));
    let time = fields.get("ejection_time").and_then(|node| reader.duration(node, SECOND..=3600 * SECOND));
    let most = fields.get("maximum_ejected_percentage").and_then(|node| reader.number(node, 1..=100));
    Some(Ejection {
        consecutive_failures: failures.unwrap_or(default.consecutive_failures),
        time: time.unwrap_or(default.time),
        maximum_percentage: most.unwrap_or(default.maximum_percentage),
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn ejection(keys: &str) -> Result<Option<Ejection>, String> {
        let text = format!("target_groups: [{{ name: web{keys} }}]\n");
        let loaded = crate::parse(&text, Path::new("weir.yaml")).map_err(|problems| problems.to_string())?;
        Ok(loaded.config.definitions.target_groups[0].ejection)
    }

    #[test]
    fn nobody_is_ejected_unless_it_is_written() {
        assert_eq!(ejection(""), Ok(None));
        assert_eq!(ejection(", outlier_ejection: {}"), Ok(Some(Ejection::default())));
        let written = ", outlier_ejection: { consecutive_failures: 3, ejection_time: 10s, maximum_ejected_percentage: 50 }";
        let expected = Ejection { consecutive_failures: 3, time: 10 * SECOND, maximum_percentage: 50 };
        assert_eq!(ejection(written), Ok(Some(expected)));
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        for keys in ["consecutive_failures: 0", "ejection_time: 2h", "maximum_ejected_percentage: 0"] {
            assert!(ejection(&format!(", outlier_ejection: {{ {keys} }}")).is_err(), "{keys}");
        }
    }
}
