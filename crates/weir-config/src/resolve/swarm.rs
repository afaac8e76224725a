//! The source of tasks of a Docker Swarm.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use super::discovery::{engine, interval_or};
use crate::config::SwarmSource;
use crate::keys;
use crate::read::{Fields, Reader};
use crate::tree::{Node, Value};

/// Time between two questions unless it is said otherwise. A node's agent learns within 100 ms that a task shall end:
/// weir must not learn of it much later.
const INTERVAL: Duration = Duration::from_millis(200);

pub(super) fn read(node: &Node, reader: &mut Reader<'_>) -> Option<SwarmSource> {
    let fields = reader.fields(node, &keys::SWARM)?;
    Some(SwarmSource {
        addresses: addresses(fields, "addresses", ("nodes", "node-1"), reader),
        endpoint: fields.get("endpoint").and_then(|node| engine(node, reader)),
        interval: interval_or(INTERVAL, fields, reader),
    })
}

/// Addresses of machines, by whatever those are called: `whose` has what they are, and an example of their names.
pub(super) fn addresses(
    fields: Fields<'_>,
    key: &str,
    (whose, example): (&str, &str),
    reader: &mut Reader<'_>,
) -> BTreeMap<String, IpAddr> {
    let Some(node) = fields.get(key) else { return BTreeMap::new() };
    let Value::Mapping(entries) = &node.value else {
        let remedy = format!("write `{{ {example}: 10.0.0.1 }}`");
        reader.problem(node, &format!("addresses are a mapping of {whose} to IP addresses"), Some(&remedy));
        return BTreeMap::new();
    };
    let address = |(key, node): &(crate::tree::Key, Node)| {
        Some((key.name.clone(), reader.parsed(node, "an IP address", "10.0.0.1")?))
    };
    entries.iter().filter_map(address).collect()
}
