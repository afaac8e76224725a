//! Proxies in front of a listener that say who their clients are.

use std::time::Duration;

use weir_core::definition::Proxies;

use crate::keys;
use crate::read::{Reader, items};
use crate::tree::Node;

const TIMEOUT_MIN: Duration = Duration::from_millis(100);
const TIMEOUT_MAX: Duration = Duration::from_secs(60);

/// Reads a listener's `proxy_protocol`.
pub(super) fn read(node: &Node, reader: &mut Reader<'_>) -> Option<Proxies> {
    let fields = reader.fields(node, &keys::PROXIES)?;
    let from = fields.require(reader, "from", "[10.0.0.0/8]")?;
    let networks: Vec<_> =
        items(from).iter().filter_map(|node| reader.parsed(node, "a network", "10.0.0.0/8")).collect();
    if items(from).is_empty() {
        reader.problem(from, "nobody is in no network", Some("write `from: [10.0.0.0/8]`"));
    }
    let timeout = fields.get("timeout").and_then(|node| reader.duration(node, TIMEOUT_MIN..=TIMEOUT_MAX));
    Some(Proxies { networks, timeout: timeout.unwrap_or(Proxies::TIMEOUT) })
}
