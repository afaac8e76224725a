//! Who picks, what clients do, and what requests are about.

use std::time::Duration;

use weir_config::document::{Fields, Node, Reader};

use super::read::span;
use super::{Client, Dispatchers, Keys, ServerKind, keys};

/// Most dispatchers.
const DISPATCHERS_MAX: u32 = 1_024;

/// Most dispatchers that count apart, times servers: each of them has a weir of its own that knows every server.
const APART_MAX: u64 = 100_000;

/// Most requests that wait in a dispatcher.
const SURGE_QUEUE_MAX: u32 = 1_000_000;

/// How often dispatchers may look.
const REFRESH_MIN: Duration = Duration::from_micros(100);

/// How long anything that a client does may take.
const CLIENT_MAX: Duration = Duration::from_secs(60 * 60);
const CLIENT_MIN: Duration = Duration::from_micros(1);

/// Most retries of one request.
const RETRIES_MAX: u32 = 10;

/// Most keys.
const KEYS_MAX: u32 = 10_000_000;

/// Beyond that nearly all requests are about the first key.
const EXPONENT_MAX: f64 = 10.0;

/// Reads `dispatchers`; there is one unless it is said otherwise.
pub(super) fn dispatchers(
    fields: Fields<'_>,
    servers: Option<&[ServerKind]>,
    reader: &mut Reader<'_>,
) -> Dispatchers {
    let mut dispatchers = Dispatchers { count: 1, count_apart: false, refresh: None, surge_queue: 0 };
    let Some(node) = fields.get("dispatchers") else { return dispatchers };
    let Some(fields) = reader.fields(node, &keys::DISPATCHERS) else { return dispatchers };
    if let Some(count) = fields.get("count").and_then(|node| reader.number(node, 1..=DISPATCHERS_MAX)) {
        dispatchers.count = count;
    }
    let counts =
        fields.get("counts").and_then(|node| reader.choice(node, &[("shared", false), ("apart", true)]));
    dispatchers.count_apart = counts.unwrap_or(false);
    if let Some(node) = fields.get("refresh") {
        dispatchers.refresh = span(node, REFRESH_MIN..=CLIENT_MAX, reader);
        if dispatchers.count_apart {
            let cause = "dispatchers that count apart look at nothing that could get old";
            reader.problem(node, cause, Some("take it out, or write `counts: shared`"));
        }
    }
    if let Some(most) = fields.get("surge_queue").and_then(|node| reader.number(node, 0..=SURGE_QUEUE_MAX)) {
        dispatchers.surge_queue = most;
    }
    let servers: u64 = servers.unwrap_or_default().iter().map(|kind| u64::from(kind.count)).sum();
    if dispatchers.count_apart && servers * u64::from(dispatchers.count) > APART_MAX {
        let cause = format!("dispatchers that count apart, times servers, are more than {APART_MAX}");
        reader.problem(node, &cause, Some("write fewer of either, or `counts: shared`"));
    }
    dispatchers
}

/// Reads `client`; clients are patient unless it is said otherwise.
pub(super) fn client(fields: Fields<'_>, reader: &mut Reader<'_>) -> Client {
    let Some(fields) = fields.get("client").and_then(|node| reader.fields(node, &keys::CLIENT)) else {
        return Client::default();
    };
    let timeout = fields.get("timeout").and_then(|node| span(node, CLIENT_MIN..=CLIENT_MAX, reader));
    let retries = fields.get("retries").and_then(|node| reader.number(node, 0..=RETRIES_MAX));
    let hedge =
        fields.get("hedge").and_then(|node| Some((node, span(node, CLIENT_MIN..=CLIENT_MAX, reader)?)));
    if let (Some((node, hedge)), Some(timeout)) = (hedge, timeout)
        && hedge >= timeout
    {
        reader.problem(node, "by then the client has given up", Some("write less than the `timeout`"));
    }
    Client { timeout, retries: retries.unwrap_or_default(), hedge: hedge.map(|(_, hedge)| hedge) }
}

/// Reads `keys`.
pub(super) fn keys(node: &Node, reader: &mut Reader<'_>) -> Option<Keys> {
    let fields = reader.fields(node, &keys::KEYS)?;
    let count = fields.require(reader, "count", "100000").and_then(|node| reader.number(node, 1..=KEYS_MAX));
    let exponent = match fields.get("exponent") {
        Some(node) => reader.decimal(node, 0.0..=EXPONENT_MAX),
        None => Some(0.0),
    };
    Some(Keys { count: count?, exponent: exponent? })
}
