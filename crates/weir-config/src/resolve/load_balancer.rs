//! Load balancers and their listeners.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use weir_core::address::ListenAddr;
use weir_core::definition::{
    DesyncMitigationMode, ForwardedForMode, HttpSettings, Listener, ListenerKind, LoadBalancer,
};
use weir_core::logs::{Log, LogFormat, Logs};
use weir_core::name::{GroupName, LoadBalancerName};

use super::{Groups, action, classic, header_rules, list, network, proxies, rule, tls, zone};
use crate::keys::{self, Object};
use crate::read::{Fields, Reader, items};
use crate::tree::{Node, Value};

const SECOND: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Application,
    Classic,
    Network,
}

/// Reads one load balancer, and whether it uses targets of all zones where it may choose; `places` gathers where listeners are.
pub(super) fn read<'n>(
    node: &'n Node,
    groups: &mut Groups<'n>,
    places: &mut BTreeMap<ListenAddr, &'n Node>,
    reader: &mut Reader<'_>,
) -> Option<(LoadBalancer, Option<bool>)> {
    let kind = kind(node, reader)?;
    let object = match kind {
        Type::Application => &keys::APPLICATION,
        Type::Classic => &keys::CLASSIC,
        Type::Network => &keys::NETWORK,
    };
    let fields = reader.fields(node, object)?;
    let name = name(fields, reader);
    let mut log = |key| fields.get(key).and_then(|node| log(node, reader));
    let logs = Logs {
        access: log("access_log"),
        connection: log("connection_log"),
        health_check: log("health_check_log"),
    };
    let http = http(fields, reader);
    let idle_timeout = match kind {
        Type::Application | Type::Classic => {
            let node = fields.get("idle_timeout");
            node.and_then(|node| reader.duration(node, SECOND..=4000 * SECOND)).unwrap_or(60 * SECOND)
        }
        Type::Network => {
            let node = fields.get("tcp_idle_timeout").or(fields.get("idle_timeout"));
            node.and_then(|node| reader.duration(node, 60 * SECOND..=6000 * SECOND)).unwrap_or(350 * SECOND)
        }
    };
    let listeners = match kind {
        Type::Application => {
            listeners(fields, &keys::APPLICATION_LISTENER, places, reader, |fields, reader| {
                application(fields, groups, reader)
            })
        }
        Type::Network => listeners(fields, &keys::NETWORK_LISTENER, places, reader, |fields, reader| {
            network::read(fields, groups, reader)
        }),
        Type::Classic => {
            let instances = classic::Instances::read(fields, reader);
            let listeners = listeners(fields, &keys::CLASSIC_LISTENER, places, reader, |fields, reader| {
                instances.listener(fields, name.as_ref(), groups, reader)
            });
            instances.check_ports(groups, reader);
            listeners
        }
    };
    if fields.get("listeners").is_none_or(|node| items(node).is_empty()) {
        reader.problem(
            fields.node(),
            "a load balancer needs a listener",
            Some("add `listeners: [{ bind: \"127.0.0.1:8080\" }]`"),
        );
    }
    let crosses_zones = (kind != Type::Application).then(|| zone::crosses(fields, reader));
    Some((LoadBalancer { name: name?, idle_timeout, logs, http, listeners }, crosses_zones))
}

/// The type decides which keys there are, so it is read first.
fn kind(node: &Node, reader: &mut Reader<'_>) -> Option<Type> {
    let Value::Mapping(entries) = &node.value else {
        reader.problem(node, "a load balancer is a mapping of keys to values", None);
        return None;
    };
    let Some((_, kind)) = entries.iter().find(|(key, _)| key.name == "type") else {
        reader.problem(node, "`type` is missing", Some("write `type: application`, `network` or `classic`"));
        return None;
    };
    reader.choice(
        kind,
        &[("application", Type::Application), ("network", Type::Network), ("classic", Type::Classic)],
    )
}

fn name(fields: Fields<'_>, reader: &mut Reader<'_>) -> Option<LoadBalancerName> {
    let node = fields.require(reader, "name", "edge")?;
    let text = reader.text(node)?;
    match LoadBalancerName::parse(text) {
        Ok(name) => Some(name),
        Err(error) => {
            reader.problem(node, &format!("the name {error}"), None);
            None
        }
    }
}

fn log(node: &Node, reader: &mut Reader<'_>) -> Option<Log> {
    if let Value::Scalar(text) = &node.value
        && text == "stdout"
    {
        return Some(Log { path: None, format: LogFormat::Elb });
    }
    let fields = reader.fields(node, &keys::LOG)?;
    let formats = [("elb", LogFormat::Elb), ("json", LogFormat::Json)];
    let format = fields.get("format").and_then(|node| reader.choice(node, &formats));
    let path = fields.get("path").and_then(|node| reader.text(node)).map(|path| reader.folder().join(path));
    Some(Log { path, format: format.unwrap_or(LogFormat::Elb) })
}

/// How HTTP is read. Each kind has the keys that AWS gives it.
fn http(fields: Fields<'_>, reader: &mut Reader<'_>) -> HttpSettings {
    let modes = [
        ("monitor", DesyncMitigationMode::Monitor),
        ("defensive", DesyncMitigationMode::Defensive),
        ("strictest", DesyncMitigationMode::Strictest),
    ];
    let mode = fields.get("desync_mitigation_mode").and_then(|node| reader.choice(node, &modes));
    let drops = fields.get("drop_invalid_header_fields").and_then(|node| reader.boolean(node));
    let keep_alive = fields.get("client_keep_alive");
    let keep_alive = keep_alive.and_then(|node| reader.duration(node, 60 * SECOND..=604_800 * SECOND));
    let http2 = fields.get("enable_http2").and_then(|node| reader.boolean(node));
    let prior_knowledge = fields.get("http2_prior_knowledge").and_then(|node| reader.boolean(node));
    let forwarded_for = [
        ("append", ForwardedForMode::Append),
        ("preserve", ForwardedForMode::Preserve),
        ("remove", ForwardedForMode::Remove),
    ];
    let forwarded_for =
        fields.get("xff_header_processing_mode").and_then(|node| reader.choice(node, &forwarded_for));
    let client_port = fields.get("xff_client_port").and_then(|node| reader.boolean(node));
    let preserves_host = fields.get("preserve_host_header").and_then(|node| reader.boolean(node));
    let tells_tls = fields.get("x_amzn_tls_version_and_cipher_suite").and_then(|node| reader.boolean(node));
    let default = HttpSettings::default();
    HttpSettings {
        desync_mitigation_mode: mode.unwrap_or(default.desync_mitigation_mode),
        drop_invalid_header_fields: drops.unwrap_or(default.drop_invalid_header_fields),
        client_keep_alive: keep_alive.unwrap_or(default.client_keep_alive),
        http2: http2.unwrap_or(default.http2),
        http2_by_prior_knowledge: prior_knowledge.unwrap_or(default.http2_by_prior_knowledge),
        forwarded_for: forwarded_for.unwrap_or(default.forwarded_for),
        forwards_client_port: client_port.unwrap_or(default.forwards_client_port),
        preserves_host: preserves_host.unwrap_or(default.preserves_host),
        tells_tls: tells_tls.unwrap_or(default.tells_tls),
    }
}

/// Reads every listener of a load balancer: its place, then what its kind asks for.
fn listeners<'n>(
    fields: Fields<'n>,
    object: &Object,
    places: &mut BTreeMap<ListenAddr, &'n Node>,
    reader: &mut Reader<'_>,
    mut read: impl FnMut(Fields<'n>, &mut Reader<'_>) -> Option<ListenerKind<GroupName>>,
) -> Vec<Listener> {
    let mut listeners = Vec::new();
    for node in list(fields, "listeners") {
        let Some(fields) = reader.fields(node, object) else { continue };
        let bind = bind(fields, places, reader);
        let proxies = fields.get("proxy_protocol").and_then(|node| proxies::read(node, reader)).map(Arc::new);
        let kind = read(fields, reader);
        if let (Some(bind), Some(kind)) = (bind, kind) {
            listeners.push(Listener { bind, proxies, kind });
        }
    }
    listeners
}

fn bind<'n>(
    fields: Fields<'n>,
    places: &mut BTreeMap<ListenAddr, &'n Node>,
    reader: &mut Reader<'_>,
) -> Option<ListenAddr> {
    let node = fields.require(reader, "bind", "\"127.0.0.1:8080\"")?;
    let text = reader.text(node)?;
    if let Some(port) = text.strip_prefix(':') {
        let remedy =
            format!("write 0.0.0.0:{port} for every address, or 127.0.0.1:{port} for this machine only");
        reader.problem(node, &format!("{text:?} does not say at which address"), Some(&remedy));
        return None;
    }
    let bind = ListenAddr(reader.parsed(node, "an address with a port", "127.0.0.1:8080")?);
    // Port 0 is a port of its own every time.
    if bind.port() != 0
        && let Some(first) = places.insert(bind, node)
    {
        let cause = format!("another listener has this address already, on line {}", first.position.line);
        reader.problem(node, &cause, Some("choose another port"));
    }
    Some(bind)
}

/// Which of `spoken`, the protocols of its kind in this version, the listener speaks; the first unless it says so.
pub(super) fn speaks<'s>(fields: Fields<'_>, spoken: &[&'s str], reader: &mut Reader<'_>) -> Option<&'s str> {
    let Some(node) = fields.get("protocol") else { return spoken.first().copied() };
    match reader.text(node) {
        Some(text) if spoken.contains(&text) => spoken.iter().find(|word| **word == text).copied(),
        Some(text @ ("https" | "tls" | "udp" | "tcp_udp" | "quic" | "tcp_quic" | "ssl")) => {
            let cause = format!("listeners of this type of load balancer do not speak {text}");
            let remedy = format!("write {}, or another `type`", spoken.join(" or "));
            reader.problem(node, &cause, Some(&remedy));
            None
        }
        Some(_) => {
            let choices: Vec<(&str, &str)> = spoken.iter().map(|word| (*word, *word)).collect();
            reader.choice(node, &choices)
        }
        None => None,
    }
}

fn application(
    fields: Fields<'_>,
    groups: &mut Groups<'_>,
    reader: &mut Reader<'_>,
) -> Option<ListenerKind<GroupName>> {
    let protocol = speaks(fields, &["http", "https"], reader);
    // Without knowing what it speaks, what is written about TLS is read for its mistakes.
    let tls = tls::read(fields, protocol, "https", reader);
    // Without knowing what it speaks, nobody is told that something goes with another protocol.
    let is_tls = protocol != Some("http");
    let rules = rule::read_all(list(fields, "rules"), is_tls, groups, reader);
    let default = match (fields.get("default_action"), fields.get("default_actions")) {
        (Some(_), Some(node)) => {
            let cause = "a listener has `default_action` or `default_actions`, not both";
            reader.problem(node, cause, Some("write all actions into this list"));
            Some(node)
        }
        (None, Some(node)) => Some(node),
        (_, None) => fields.require(reader, "default_action", "{ forward: web }"),
    };
    let default_action = default.and_then(|node| action::read_all(node, is_tls, groups, reader));
    let headers = Arc::new(header_rules::read(fields, reader));
    protocol?;
    Some(ListenerKind::Application { tls, rules, default_action: default_action?, headers })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// What a load balancer of some type asks of requests, or the problems with its lines.
    fn checks(kind: &str, lines: &str) -> Result<HttpSettings, String> {
        let (group, rest) = match kind {
            "classic" => ("", "instances: [127.0.0.1], health_check: { target: \"TCP:80\" }"),
            "network" => ("protocol: tcp,", "idle_timeout: 60s"),
            _ => ("protocol: http,", "idle_timeout: 60s"),
        };
        let listener = match kind {
            "classic" => "bind: \"127.0.0.1:0\", instance_port: 80",
            _ => "bind: \"127.0.0.1:0\", default_action: { forward: web }",
        };
        let groups = if group.is_empty() {
            String::new()
        } else {
            format!("target_groups: [{{ name: web, {group} }}]\n")
        };
        let text = format!(
            "{groups}load_balancers: [{{ type: {kind}, name: edge, {rest}, {lines} listeners: [{{ {listener} }}] }}]\n"
        );
        let loaded = crate::parse(&text, Path::new("weir.yaml")).map_err(|problems| problems.to_string())?;
        Ok(loaded.config.definitions.load_balancers[0].http)
    }

    // Conformance: A5.0.4, A5.0.5, C5.6
    #[test]
    fn requests_are_checked_defensively_unless_something_else_is_written() {
        for kind in ["application", "classic"] {
            assert_eq!(checks(kind, ""), Ok(HttpSettings::default()), "{kind}");
            for (word, mode) in [
                ("monitor", DesyncMitigationMode::Monitor),
                ("defensive", DesyncMitigationMode::Defensive),
                ("strictest", DesyncMitigationMode::Strictest),
            ] {
                let checks = checks(kind, &format!("desync_mitigation_mode: {word},"));
                assert_eq!(checks.map(|checks| checks.desync_mitigation_mode), Ok(mode), "{kind}");
            }
        }
        let dropping = checks("application", "drop_invalid_header_fields: true,");
        assert_eq!(dropping.map(|checks| checks.drop_invalid_header_fields), Ok(true));
    }

    // Conformance: A5.0.4
    #[test]
    fn a_mode_that_does_not_exist_is_reported_with_its_path() {
        let problems = checks("application", "desync_mitigation_mode: strict,").unwrap_err();
        assert!(problems.contains("load_balancers[0].desync_mitigation_mode"), "{problems}");
        assert!(problems.contains("did you mean `strictest`?"), "{problems}");
    }

    #[test]
    fn each_type_has_only_the_checks_that_it_makes() {
        assert!(checks("network", "desync_mitigation_mode: monitor,").is_err());
        assert!(checks("classic", "drop_invalid_header_fields: true,").is_err());
    }
}
