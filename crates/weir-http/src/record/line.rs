//! The three shapes of a line: application, classic, JSON.

use std::fmt::Display;
use std::io::Write as _;
use std::time::Duration;

use serde_json::json;
use weir_core::time::Timestamp;

use super::{Details, Inner, wall_time};
use crate::codec::edits::HeaderText;
use crate::codec::h1::desync::Reason;

/// Longest user agent in a line, in bytes.
const USER_AGENT_BYTES_MAX: usize = 8 * 1024;

/// The 33 fields of an Application Load Balancer's line.
///
/// differs: a target group has its name, and a certificate its file, in place of an ARN; byte counts are those of bodies.
pub(super) fn application(record: &Inner, details: &Details, now: Timestamp, line: &mut Vec<u8>) {
    let [dispatch, target, response] = record.durations(now).map(|d| seconds(d, 3));
    let target_addr = details.target.as_ref().map(|target| target.addr.to_string());
    let fields: [&dyn Display; 18] = [
        &details.kind,
        &humantime::format_rfc3339_micros(wall_time()),
        &format_args!("app/{}", record.observer.load_balancer),
        &details.client,
        &or_dash(target_addr.as_ref()),
        &dispatch,
        &target,
        &response,
        &record.logged_status(),
        &or_dash(details.target_status.as_ref()),
        &record.received(),
        &record.sent_bytes,
        &Quoted(&details.request_line),
        &Quoted(cut(&details.user_agent)),
        &details.handshake.as_ref().map_or("-", |handshake| handshake.suite),
        &details.handshake.as_ref().map_or("-", |handshake| handshake.version.as_str()),
        &or_dash(details.target.as_ref().map(|target| &target.group)),
        &Quoted(details.trace_id.as_ref().map_or("-", HeaderText::as_str)),
    ];
    write_fields(line, &fields);
    let fields: [&dyn Display; 15] = [
        &Quoted(&details.domain),
        &Quoted(&details.certificate()),
        &details.rule,
        &humantime::format_rfc3339_micros(details.created),
        &Quoted(&details.actions()),
        &Quoted(details.redirect_url.as_deref().unwrap_or("-")),
        &Quoted(details.error_reason.unwrap_or("-")),
        &Quoted(target_addr.as_deref().unwrap_or("-")),
        &Quoted(&details.target_status.map_or("-".to_owned(), |status| status.to_string())),
        &Quoted(details.oddities.class().as_str().unwrap_or("-")),
        &Quoted(details.oddities.gravest().map_or("-", Reason::as_str)),
        &details.connection,
        &Quoted(details.transformed_host.as_ref().map_or("-", HeaderText::as_str)),
        &Quoted(details.transformed_url.as_deref().unwrap_or("-")),
        &Quoted(details.transform_status.unwrap_or("-")),
    ];
    line.push(b' ');
    write_fields(line, &fields);
}

/// The 15 fields of a Classic Load Balancer's line.
pub(super) fn classic(record: &Inner, details: &Details, now: Timestamp, line: &mut Vec<u8>) {
    let [dispatch, target, response] = record.durations(now).map(|d| seconds(d, 6));
    let fields: [&dyn Display; 15] = [
        &humantime::format_rfc3339_micros(wall_time()),
        &record.observer.load_balancer,
        &details.client,
        &or_dash(details.target.as_ref().map(|target| &target.addr)),
        &dispatch,
        &target,
        &response,
        &record.logged_status(),
        &details.target_status.unwrap_or(0),
        &record.received(),
        &record.sent_bytes,
        &Quoted(&details.request_line),
        &Quoted(cut(&details.user_agent)),
        &details.handshake.as_ref().map_or("-", |handshake| handshake.suite),
        &details.handshake.as_ref().map_or("-", |handshake| handshake.version.as_str()),
    ];
    write_fields(line, &fields);
}

/// One JSON object with the same facts.
pub(super) fn json(record: &Inner, details: &Details, now: Timestamp, line: &mut Vec<u8>) {
    let [dispatch, target, response] = record.durations(now).map(|d| d.map(|d| d.as_secs_f64()));
    let object = json!({
        "time": humantime::format_rfc3339_micros(wall_time()).to_string(),
        "load_balancer": record.observer.load_balancer,
        "type": details.kind,
        "client": details.client,
        "connection_trace_id": details.connection.to_string(),
        "tls_version": details.handshake.as_ref().map(|handshake| handshake.version.as_str()),
        "tls_cipher": details.handshake.as_ref().map(|handshake| handshake.suite),
        "tls_key_exchange": details.handshake.as_ref().and_then(|handshake| handshake.key_exchange),
        "server_name": details.handshake.as_ref().and_then(|handshake| handshake.server_name.as_deref()),
        "target": details.target.as_ref().map(|target| target.addr.to_string()),
        "target_id": details.target.as_ref().map(|target| target.id.to_string()),
        "target_group": details.target.as_ref().map(|target| target.group.to_string()),
        "attempts": details.attempts,
        "held": record.has_waited,
        "request": details.request_line,
        "user_agent": details.user_agent,
        "status": record.logged_status(),
        "target_status": details.target_status,
        "received_bytes": record.received(),
        "sent_bytes": record.sent_bytes,
        "request_processing_seconds": dispatch,
        "target_processing_seconds": target,
        "response_processing_seconds": response,
        "rule": details.rule,
        "action": details.actions(),
        "redirect_url": details.redirect_url,
        "transformed_host": details.transformed_host.as_ref().map(HeaderText::as_str),
        "transformed_url": details.transformed_url,
        "transform_status": details.transform_status,
        "trace_id": details.trace_id.as_ref().map(HeaderText::as_str),
        "error_reason": details.error_reason,
        "classification": details.oddities.class().as_str(),
        "classification_reasons": details.oddities.reasons().collect::<Vec<_>>(),
        "cut_short": record.is_cut_short,
    });
    serde_json::to_writer(line, &object).expect("writing to memory succeeds");
}

pub(super) fn write_fields(line: &mut Vec<u8>, fields: &[&dyn Display]) {
    for (at, field) in fields.iter().enumerate() {
        let space = if at == 0 { "" } else { " " };
        write!(line, "{space}{field}").expect("writing to memory succeeds");
    }
}

/// A duration in seconds; -1 for a step that was not reached.
pub(super) fn seconds(duration: Option<Duration>, digits: usize) -> String {
    duration.map_or("-1".to_owned(), |duration| format!("{:.digits$}", duration.as_secs_f64()))
}

fn or_dash<T: Display>(value: Option<&T>) -> String {
    value.map_or("-".to_owned(), ToString::to_string)
}

fn cut(user_agent: &str) -> &str {
    &user_agent[..user_agent.floor_char_boundary(USER_AGENT_BYTES_MAX)]
}

/// A field in quotes, whose own quotes, backslashes and control characters are escaped: a client's text stays within
/// its field and its line.
pub(super) struct Quoted<'a>(pub(super) &'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("\"")?;
        for c in self.0.chars() {
            match c {
                '"' | '\\' => write!(f, "\\{c}")?,
                c if c.is_control() => write!(f, "\\x{:02X}", u32::from(c))?,
                c => write!(f, "{c}")?,
            }
        }
        f.write_str("\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_s_text_cannot_leave_its_field() {
        assert_eq!(Quoted("a\" \"b\n\\").to_string(), r#""a\" \"b\x0A\\""#);
    }

    // Conformance: A10.5
    #[test]
    fn a_step_that_was_not_reached_is_minus_one() {
        assert_eq!(seconds(None, 3), "-1");
        assert_eq!(seconds(Some(Duration::from_micros(1048)), 6), "0.001048");
    }
}
