//! Documents that are read as the configuration is, whatever they mean: scenarios of the laboratory are some.

use std::path::Path;

use weir_core::definition::TargetGroup;

pub use crate::keys::Object;
pub use crate::problem::Position;
pub use crate::read::{Fields, Reader, items, nearest};
pub use crate::tree::{Key, Node, Value};
use crate::{Problem, Problems, keys, resolve, tree};

/// Reads a document: what `resolve` makes of it and what is allowed and probably not intended, or every mistake. `file` names it
/// in reports, and relative paths in it start from `folder`.
///
/// # Errors
/// All mistakes at once. Whoever gives `None` has reported why.
pub fn read<T>(
    text: &str,
    file: &Path,
    folder: &Path,
    resolve: impl FnOnce(&Node, &mut Reader<'_>) -> Option<T>,
) -> Result<(T, Vec<Problem>), Problems> {
    let mut reader = Reader::new(text, file, folder);
    let value = match tree::parse(text) {
        Ok(root) => resolve(&root, &mut reader),
        Err((position, cause)) => {
            reader.problem_at(position, "", &cause, None);
            None
        }
    };
    reader.finish(value)
}

/// Reads the settings of a target group of that name for which several algorithms are compared: what does not go with each of them
/// is for the caller to say. It speaks HTTP, and has no targets.
pub fn group_settings(node: &Node, name: &str, reader: &mut Reader<'_>) -> Option<TargetGroup> {
    resolve::group_settings(node, name, reader)
}

/// The keys that [`group_settings`] reads.
pub fn group_keys() -> &'static [&'static str] {
    keys::COMPARED.keys
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(text: &str) -> Result<TargetGroup, String> {
        let file = Path::new("scenario.yaml");
        let told = read(text, file, Path::new(""), |root, reader| group_settings(root, "lab", reader));
        told.map(|(group, _)| group).map_err(|problems| problems.to_string())
    }

    #[test]
    fn where_algorithms_are_compared_a_group_may_have_what_only_some_of_them_heed() {
        let written =
            "slow_start: 30s\nhash: { balance_factor: 125 }\nload_balancing_anomaly_mitigation: \"on\"";
        let group = group(written).unwrap();
        assert_eq!(group.slow_start.as_secs(), 30);
        assert_eq!(group.hashing.and_then(|hashing| hashing.balance_factor), Some(125));
        assert!(group.mitigates_anomalies);
    }

    #[test]
    fn where_algorithms_are_compared_a_group_has_no_targets_and_says_its_delay_right() {
        let told = group("targets: []\nderegistration_delay: 5").unwrap_err();
        assert!(told.contains("`targets` is not a key of a target group of a scenario"), "{told}");
        assert!(told.contains("name the unit: `5s`"), "{told}");
        assert!(told.ends_with("2 mistakes"), "{told}");
    }

    #[test]
    fn what_is_read_twice_is_told_once() {
        let told = read("slow_start: 7s", Path::new("s.yaml"), Path::new(""), |root, reader| {
            group_settings(root, "lab", reader);
            group_settings(root, "lab", reader)
        });
        assert_eq!(told.unwrap_err().0.len(), 1);
    }
}
