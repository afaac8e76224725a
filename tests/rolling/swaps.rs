//! How long the engine's events took to reach the published snapshot: the engine's clock against the timeline's.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use weir::image::docker;
use weir_control::timeline::Entry;

/// Delays of every event of a container that changed a target, sorted.
pub(crate) fn delays(since: SystemTime, timeline: &[Entry]) -> Vec<Duration> {
    let moment = |at: SystemTime| {
        let at = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        format!("{}.{:09}", at.as_secs(), at.subsec_nanos())
    };
    #[allow(clippy::disallowed_methods, reason = "the engine tells wall time")]
    let until = moment(SystemTime::now());
    let since = moment(since);
    let arguments = ["events", "--since", &since, "--until", &until, "--format", "{{json .}}"];
    let mut delays: Vec<Duration> = docker(&arguments)
        .unwrap_or_default()
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter_map(|event: serde_json::Value| delay(&event, timeline))
        .collect();
    delays.sort_unstable();
    delays
}

/// From one event to the first entry about that container that it can have caused.
fn delay(event: &serde_json::Value, timeline: &[Entry]) -> Option<Duration> {
    let changes =
        BTreeMap::from([("start", "registered"), ("kill", "healthy → draining"), ("die", "removed")]);
    let change = changes.get(event["Action"].as_str()?)?;
    let id = event["Actor"]["ID"].as_str()?.get(..12)?;
    let at = UNIX_EPOCH + Duration::from_nanos(event["timeNano"].as_u64()?);
    let mine = timeline.iter().filter(|entry| entry.subject.starts_with(id) && entry.change == *change);
    mine.filter_map(|entry| entry.at.duration_since(at).ok()).min()
}
