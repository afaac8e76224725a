//! The `weir.*` labels of a task.

use std::collections::BTreeMap;

use weir_core::name::{GroupName, NameError};
use weir_core::target::Weight;
use weir_core::task::TaskLabels;

/// Every label that weir knows.
pub const KNOWN: [&str; 7] = [
    "weir.enable",
    "weir.health_check.path",
    "weir.port",
    "weir.project",
    "weir.service",
    "weir.target_group",
    "weir.weight",
];

/// A prefix that belongs to weir.
const PREFIX: &str = "weir.";

/// What is wrong with a label.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// Not `true` or `false`.
    #[error("label `{0}` is {1:?}; write true or false")]
    NotABoolean(&'static str, String),
    /// Not the name of a target group.
    #[error("label `weir.target_group` {0}")]
    NotAName(#[from] NameError),
    /// Not a path.
    #[error("label `weir.health_check.path` is {0:?}; a path starts with `/`")]
    NotAPath(String),
    /// Not a port.
    #[error("label `weir.port` is {0:?}; write the container port, 1 to 65535")]
    NotAPort(String),
    /// Not a weight.
    #[error("label `weir.weight` is {0:?}; write a number from 1 to 1000")]
    NotAWeight(String),
    /// A label with weir's prefix that weir does not know.
    #[error("label `{label}` is unknown; did you mean `{nearest}`?")]
    Unknown {
        /// As written.
        label: String,
        /// The most similar one that weir knows.
        nearest: &'static str,
    },
}

/// What a task's labels say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels {
    /// What the core needs.
    pub task: TaskLabels,
    /// `weir.service`.
    pub service: Option<String>,
    /// `weir.project`.
    pub project: Option<String>,
}

/// Reads the labels that begin with `weir.`; all others are somebody else's.
///
/// # Errors
/// The first [`LabelError`], in the order of the labels' names.
pub fn read(labels: &BTreeMap<String, String>) -> Result<Labels, LabelError> {
    let mut read = Labels::default();
    for (label, value) in labels.iter().filter(|(label, _)| label.starts_with(PREFIX)) {
        match label.as_str() {
            "weir.enable" => {
                read.task.enable =
                    value.parse().map_err(|_| LabelError::NotABoolean("weir.enable", value.clone()))?;
            }
            "weir.health_check.path" => {
                if !value.starts_with('/') || value.contains(char::is_whitespace) {
                    return Err(LabelError::NotAPath(value.clone()));
                }
                read.task.health_check_path = Some(value.clone());
            }
            "weir.port" => {
                let port = value.parse().ok().filter(|port| *port != 0);
                read.task.port = Some(port.ok_or_else(|| LabelError::NotAPort(value.clone()))?);
            }
            "weir.project" => read.project = Some(value.clone()),
            "weir.service" => read.service = Some(value.clone()),
            "weir.target_group" => read.task.target_group = Some(GroupName::parse(value)?),
            "weir.weight" => {
                let weight = value.parse().ok().and_then(Weight::new);
                read.task.weight = Some(weight.ok_or_else(|| LabelError::NotAWeight(value.clone()))?);
            }
            _ => return Err(LabelError::Unknown { label: label.clone(), nearest: nearest(label) }),
        }
    }
    Ok(read)
}

fn nearest(label: &str) -> &'static str {
    let similarity = |known: &&&str| (strsim::jaro_winkler(label, known) * 1e6) as u64;
    KNOWN.iter().max_by_key(similarity).copied().unwrap_or("weir.service")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(label: &str, value: &str) -> Result<Labels, LabelError> {
        read(&BTreeMap::from([(label.to_owned(), value.to_owned())]))
    }

    #[test]
    fn every_known_label_is_read() {
        assert!(!check("weir.enable", "false").unwrap().task.enable);
        assert_eq!(check("weir.port", "8080").unwrap().task.port, Some(8080));
        assert_eq!(check("weir.weight", "2").unwrap().task.weight, Weight::new(2));
        assert_eq!(check("weir.service", "api").unwrap().service.as_deref(), Some("api"));
        assert_eq!(
            check("weir.target_group", "api").unwrap().task.target_group,
            GroupName::parse("api").ok()
        );
        let path = check("weir.health_check.path", "/healthz").unwrap().task.health_check_path;
        assert_eq!(path.as_deref(), Some("/healthz"));
    }

    #[test]
    fn a_misspelt_label_is_reported_with_its_nearest_match() {
        let error = check("weir.prot", "80").unwrap_err().to_string();
        assert_eq!(error, "label `weir.prot` is unknown; did you mean `weir.port`?");
    }

    #[test]
    fn a_bad_value_is_reported_with_its_label() {
        for (label, value) in [
            ("weir.enable", "yes"),
            ("weir.port", "0"),
            ("weir.weight", "1001"),
            ("weir.target_group", "a b"),
        ] {
            let error = check(label, value).unwrap_err().to_string();
            assert!(error.contains(label), "{error}");
        }
    }

    #[test]
    fn labels_of_others_are_left_alone() {
        assert_eq!(check("com.docker.compose.service", "x"), Ok(Labels::default()));
    }

    proptest! {
        #[test]
        fn no_label_breaks_the_reader(label in "weir\\.[a-z._]{0,20}", value in ".{0,20}") {
            let _ = check(&label, &value);
        }
    }
}
