//! The `weir.*` labels of a task.

use std::collections::BTreeMap;

use weir_core::name::{GroupName, LoadBalancerName, NameError};
use weir_core::pattern::{Case, Pattern, PatternError};
use weir_core::quic::ServerIdError;
use weir_core::rule::{Condition, LabelRule, Priority};
use weir_core::target::Weight;
use weir_core::task::TaskLabels;

/// Every label that weir knows.
pub const KNOWN: [&str; 13] = [
    "weir.enable",
    "weir.health_check.path",
    "weir.host",
    "weir.listener",
    "weir.path",
    "weir.port",
    "weir.priority",
    "weir.project",
    "weir.quic_server_id",
    "weir.service",
    "weir.target_group",
    "weir.weight",
    "weir.zone",
];

/// A prefix that belongs to weir.
const PREFIX: &str = "weir.";

/// What is wrong with a label.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LabelError {
    /// Not `true` or `false`.
    #[error("label `{0}` is {1:?}; write true or false")]
    NotABoolean(&'static str, String),
    /// Not a listener.
    #[error(
        "label `weir.listener` is {0:?}; write a load balancer's name and the port of its application listener, like `edge:8080`"
    )]
    NotAListener(String),
    /// Not the name of a target group.
    #[error("label `weir.target_group` {0}")]
    NotAName(#[from] NameError),
    /// Not a path.
    #[error("label `weir.health_check.path` is {0:?}; a path starts with `/`")]
    NotAPath(String),
    /// Not a pattern.
    #[error("label `{0}` {1}")]
    NotAPattern(&'static str, PatternError),
    /// Not a pattern that a path could match.
    #[error("label `weir.path` is {0:?}; a path starts with `/`, like `/api/*`")]
    NotAPathPattern(String),
    /// Not a port.
    #[error("label `weir.port` is {0:?}; write the container port, 1 to 65535")]
    NotAPort(String),
    /// Not a priority.
    #[error("label `weir.priority` is {0:?}; write a number from 1 to 50000")]
    NotAPriority(String),
    /// Not a weight.
    #[error("label `weir.weight` is {0:?}; write a number from 1 to 1000")]
    NotAWeight(String),
    /// Not the id of a server.
    #[error("label `weir.quic_server_id` is {0:?}; {1}")]
    NotAServerId(String, #[source] ServerIdError),
    /// Not a zone.
    #[error("label `weir.zone` is {0:?}; write a word, like `eu-central-1a`")]
    NotAZone(String),
    /// Labels that make a rule only together.
    #[error("label `{there}` makes a rule only together with {missing}")]
    RuleIncomplete {
        /// The one that is there.
        there: &'static str,
        /// What is missing.
        missing: &'static str,
    },
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
    let mut rule = RuleLabels::default();
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
            "weir.host" => {
                let pattern = Pattern::parse(value, Case::Insensitive);
                rule.host = Some(pattern.map_err(|error| LabelError::NotAPattern("weir.host", error))?);
            }
            "weir.listener" => {
                rule.listener = Some(listener(value).ok_or_else(|| LabelError::NotAListener(value.clone()))?);
            }
            "weir.path" => {
                if !value.starts_with(['/', '*', '?']) {
                    return Err(LabelError::NotAPathPattern(value.clone()));
                }
                let pattern = Pattern::parse(value, Case::Sensitive);
                rule.path = Some(pattern.map_err(|error| LabelError::NotAPattern("weir.path", error))?);
            }
            "weir.priority" => {
                let priority = value.parse().ok().and_then(Priority::new);
                rule.priority = Some(priority.ok_or_else(|| LabelError::NotAPriority(value.clone()))?);
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
            "weir.quic_server_id" => {
                let id = value.parse().map_err(|error| LabelError::NotAServerId(value.clone(), error))?;
                read.task.server_id = Some(id);
            }
            "weir.zone" => {
                if value.is_empty() || value.contains(char::is_whitespace) {
                    return Err(LabelError::NotAZone(value.clone()));
                }
                read.task.zone = Some(value.clone());
            }
            _ => return Err(LabelError::Unknown { label: label.clone(), nearest: nearest(label) }),
        }
    }
    read.task.rule = rule.whole()?;
    Ok(read)
}

/// The labels that [`read`] understands as these.
pub fn write(task: &TaskLabels) -> BTreeMap<String, String> {
    let TaskLabels { enable, target_group, port, weight, zone, server_id, health_check_path, rule } = task;
    let texts = [
        ("weir.enable", (!enable).then(|| "false".to_owned())),
        ("weir.target_group", target_group.as_ref().map(ToString::to_string)),
        ("weir.port", port.map(|port| port.to_string())),
        ("weir.weight", weight.map(|weight| weight.get().to_string())),
        ("weir.zone", zone.clone()),
        ("weir.quic_server_id", server_id.map(|id| id.to_string())),
        ("weir.health_check.path", health_check_path.clone()),
        ("weir.listener", rule.as_ref().map(LabelRule::listener)),
        ("weir.priority", rule.as_ref().map(|rule| rule.priority.get().to_string())),
    ];
    let pattern = |condition: &Condition| match condition {
        Condition::HostHeader(patterns) => patterns.first().map(|pattern| ("weir.host", pattern.to_string())),
        Condition::PathPattern(patterns) => {
            patterns.first().map(|pattern| ("weir.path", pattern.to_string()))
        }
        // No label makes one.
        _ => None,
    };
    let patterns = rule.iter().flat_map(|rule| &rule.conditions).filter_map(pattern);
    let texts = texts.into_iter().filter_map(|(label, text)| Some((label, text?)));
    texts.chain(patterns).map(|(label, text)| (label.to_owned(), text)).collect()
}

/// The labels that make a rule together.
#[derive(Debug, Default)]
struct RuleLabels {
    listener: Option<(LoadBalancerName, Option<u16>)>,
    priority: Option<Priority>,
    host: Option<Pattern>,
    path: Option<Pattern>,
}

impl RuleLabels {
    /// The rule; `None` when no label asks for one.
    fn whole(self) -> Result<Option<LabelRule>, LabelError> {
        let incomplete = |there, missing| Err(LabelError::RuleIncomplete { there, missing });
        let Some((load_balancer, port)) = self.listener else {
            let there = [
                ("weir.host", self.host.is_some()),
                ("weir.path", self.path.is_some()),
                ("weir.priority", self.priority.is_some()),
            ];
            return match there.into_iter().find(|(_, is_there)| *is_there) {
                Some((label, _)) => incomplete(label, "`weir.listener`, like `edge:8080`"),
                None => Ok(None),
            };
        };
        let Some(priority) = self.priority else {
            return incomplete("weir.listener", "`weir.priority`, a number from 1 to 50000");
        };
        let host = self.host.map(|pattern| Condition::HostHeader(vec![pattern]));
        let path = self.path.map(|pattern| Condition::PathPattern(vec![pattern]));
        let conditions: Vec<Condition> = host.into_iter().chain(path).collect();
        if conditions.is_empty() {
            return incomplete("weir.listener", "`weir.path` or `weir.host`, like `/api/*`");
        }
        Ok(Some(LabelRule { load_balancer, port, priority, conditions }))
    }
}

/// `edge:8080`, or `edge`.
fn listener(text: &str) -> Option<(LoadBalancerName, Option<u16>)> {
    let (name, port) = match text.split_once(':') {
        Some((name, port)) => (name, Some(port.parse().ok().filter(|port| *port != 0)?)),
        None => (text, None),
    };
    Some((LoadBalancerName::parse(name).ok()?, port))
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
        assert_eq!(check("weir.zone", "a").unwrap().task.zone.as_deref(), Some("a"));
        assert_eq!(check("weir.service", "api").unwrap().service.as_deref(), Some("api"));
        assert_eq!(
            check("weir.target_group", "api").unwrap().task.target_group,
            GroupName::parse("api").ok()
        );
        let path = check("weir.health_check.path", "/healthz").unwrap().task.health_check_path;
        assert_eq!(path.as_deref(), Some("/healthz"));
    }

    fn rule(labels: &[(&str, &str)]) -> Result<Option<LabelRule>, String> {
        let labels = labels.iter().map(|(label, value)| ((*label).to_owned(), (*value).to_owned()));
        read(&labels.collect()).map(|labels| labels.task.rule).map_err(|error| error.to_string())
    }

    #[test]
    fn four_labels_make_a_rule() {
        let labels = [
            ("weir.listener", "edge:8080"),
            ("weir.priority", "10"),
            ("weir.host", "api.localhost"),
            ("weir.path", "/api/*"),
        ];
        let all = rule(&labels).unwrap().unwrap();
        assert_eq!((all.listener().as_str(), all.priority.get()), ("edge:8080", 10));
        let names: Vec<&str> = all.conditions.iter().map(Condition::as_str).collect();
        assert_eq!(names, ["host_header", "path_pattern"]);
        let without_path = rule(&labels[..3]).unwrap().unwrap();
        assert_eq!(without_path.conditions.len(), 1);
        assert_eq!(rule(&[]), Ok(None));
    }

    #[test]
    fn a_rule_that_is_not_whole_says_what_is_missing() {
        for (labels, missing) in [
            (vec![("weir.path", "/a")], "`weir.listener`"),
            (vec![("weir.priority", "1")], "`weir.listener`"),
            (vec![("weir.listener", "edge"), ("weir.path", "/a")], "`weir.priority`"),
            (vec![("weir.listener", "edge"), ("weir.priority", "1")], "`weir.path` or `weir.host`"),
        ] {
            let error = rule(&labels).unwrap_err();
            assert!(error.contains(missing), "{error}");
        }
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
            ("weir.listener", "edge:0"),
            ("weir.listener", "a b:80"),
            ("weir.path", "api/*"),
            ("weir.host", ""),
            ("weir.priority", "50001"),
            ("weir.zone", "a b"),
            ("weir.quic_server_id", "1"),
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
