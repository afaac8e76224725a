//! The access-log line of a flow: network, classic, JSON.
//!
//! Source: Network Load Balancer, "Access log entries" (22 fields, TLS listeners only; differs: ours writes them for
//! TCP and UDP too, with types `tcp` and `udp`); Classic Load Balancer, "Access log entries".

use std::io::Write as _;
use std::time::SystemTime;

use serde_json::json;

use weir_tls::Alpn;

use crate::flow::Flow;

pub(crate) fn network(flow: &Flow<'_>, line: &mut Vec<u8>) {
    let now = wall_time();
    let duration = flow.ended.since(flow.began);
    let secured = flow.secured.as_ref();
    let handshake = secured.map(|secured| &secured.handshake);
    let or_none = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
    write!(
        line,
        "{protocol} 2.0 {time} net/{name} {bind} {client} {target} {millis} {shaken} {received} {sent} {alert} {certificate} - {suite} \
         {version} - {domain} {alpn} {target_alpn} {preferences} {created}",
        protocol = if flow.listener.kind.tls().is_some() { "tls" } else { flow.protocol.as_str() },
        time = seconds(now),
        name = flow.listener.load_balancer,
        bind = flow.listener.bind,
        client = flow.client,
        target = or_none(flow.target.map(|target| target.addr.to_string())),
        millis = duration.as_millis(),
        shaken = or_none(secured.map(|secured| secured.at.since(flow.began).as_millis().to_string())),
        received = flow.from_client_bytes,
        sent = flow.from_target_bytes,
        alert = or_none(flow.alert.map(|alert| alert.to_string())),
        certificate = or_none(handshake.map(|shaken| shaken.certificate.file.display().to_string())),
        suite = handshake.map_or("-", |shaken| shaken.suite),
        version = or_none(handshake.map(|shaken| shaken.version.as_str().to_ascii_lowercase().replace('.', ""))),
        domain = handshake.and_then(|shaken| shaken.server_name.as_deref()).unwrap_or("-"),
        alpn = handshake.and_then(|shaken| shaken.alpn.as_ref()).map_or("-", Alpn::as_str),
        target_alpn = secured.and_then(|secured| secured.target_alpn.as_ref()).map_or("-", Alpn::as_str),
        preferences = handshake.and_then(|shaken| shaken.alpn_preferences.as_deref()).unwrap_or("-"),
        created = seconds(now.checked_sub(duration).unwrap_or(now)),
    )
    .expect("writing to memory succeeds");
}

pub(crate) fn classic(flow: &Flow<'_>, line: &mut Vec<u8>) {
    let connect = flow.connected.map(|at| at.since(flow.began).as_secs_f64());
    write!(
        line,
        "{time} {name} {client} {target} {connect} {first} {rest} - - {received} {sent} \"- - - \" \"-\" {suite} {version}",
        time = humantime::format_rfc3339_micros(wall_time()),
        name = flow.listener.load_balancer,
        client = flow.client,
        target = flow.target.map_or("-".to_owned(), |target| target.addr.to_string()),
        connect = connect.map_or("-1".to_owned(), |seconds| format!("{seconds:.6}")),
        first = if connect.is_some() { "0.000000" } else { "-1" },
        rest = if connect.is_some() { "0.000000" } else { "-1" },
        received = flow.from_client_bytes,
        sent = flow.from_target_bytes,
        suite = flow.secured.as_ref().map_or("-", |secured| secured.handshake.suite),
        version = flow.secured.as_ref().map_or("-", |secured| secured.handshake.version.as_str()),
    )
    .expect("writing to memory succeeds");
}

pub(crate) fn json(flow: &Flow<'_>, line: &mut Vec<u8>) {
    let object = json!({
        "time": humantime::format_rfc3339_micros(wall_time()).to_string(),
        "load_balancer": flow.listener.load_balancer.as_str(),
        "listener": flow.listener.bind.to_string(),
        "protocol": if flow.listener.kind.tls().is_some() { "tls" } else { flow.protocol.as_str() },
        "client": flow.client.to_string(),
        "target": flow.target.map(|target| target.addr.to_string()),
        "target_id": flow.target.map(|target| target.id.to_string()),
        "target_group": flow.target.map(|target| target.group.to_string()),
        "received_bytes": flow.from_client_bytes,
        "sent_bytes": flow.from_target_bytes,
        "connect_seconds": flow.connected.map(|at| at.since(flow.began).as_secs_f64()),
        "duration_seconds": flow.ended.since(flow.began).as_secs_f64(),
        "end": flow.end,
    });
    serde_json::to_writer(line, &object).expect("writing to memory succeeds");
}

/// A timestamp without fraction and zone, as Network Load Balancers write it.
fn seconds(time: SystemTime) -> String {
    let text = humantime::format_rfc3339_seconds(time).to_string();
    text.trim_end_matches('Z').to_owned()
}

#[allow(clippy::disallowed_methods, reason = "log lines carry wall time")]
fn wall_time() -> SystemTime {
    SystemTime::now()
}
