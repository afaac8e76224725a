//! What a target group hashes.

use weir_core::definition::{Algorithm, HashOn, Hashing, TargetProtocol};

use crate::keys;
use crate::read::{Fields, Reader};
use crate::tree::Node;

/// How little more than the mean a target may be allowed, and how much, in hundredths.
const FACTORS: std::ops::RangeInclusive<u16> = 101..=1000;

/// What may be hashed; of flows, only the first two.
const WHAT: [(&str, What); 5] = [
    ("source", What::Source),
    ("flow", What::Flow),
    ("path", What::Path),
    ("header", What::Header),
    ("cookie", What::Cookie),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Source,
    Flow,
    Path,
    Header,
    Cookie,
}

/// Reads a group's `hash`, which only algorithms that hash have.
pub(super) fn read(
    fields: Fields<'_>,
    protocol: TargetProtocol,
    algorithm: Option<Algorithm>,
    reader: &mut Reader<'_>,
) -> Option<Hashing> {
    let node = fields.get("hash");
    if let Some(algorithm) = algorithm.filter(|algorithm| !algorithm.hashes()) {
        if let Some(node) = node {
            let cause = format!("nothing is hashed with {}", algorithm.as_str());
            reader.problem(node, &cause, Some("take it out, or use maglev, rendezvous or ring_hash"));
        }
        return None;
    }
    let default = if protocol.is_http() { HashOn::Source } else { HashOn::Flow };
    let Some(node) = node else {
        return algorithm.map(|_| Hashing { on: default, balance_factor: None });
    };
    let fields = reader.fields(node, &keys::HASH)?;
    let factor = fields.get("balance_factor");
    Some(Hashing {
        on: on(fields, protocol, reader).unwrap_or(default),
        balance_factor: factor.and_then(|node| reader.number(node, FACTORS)),
    })
}

fn on(fields: Fields<'_>, protocol: TargetProtocol, reader: &mut Reader<'_>) -> Option<HashOn> {
    let name = fields.get("name");
    let node = fields.get("on");
    let what = node.and_then(|node| reader.choice(node, &WHAT));
    if let (Some(node), Some(what)) = (node, what) {
        check(node, what, protocol, reader);
    }
    let named = matches!(what, Some(What::Header | What::Cookie));
    if let (Some(name), false) = (name, named) {
        reader.problem(
            name,
            "only a header and a cookie have a name",
            Some("take it out, or write `on: header`"),
        );
    }
    match what? {
        What::Source => Some(HashOn::Source),
        What::Flow => Some(HashOn::Flow),
        What::Path => Some(HashOn::Path),
        What::Header => Some(HashOn::Header(token("x-user", fields, reader)?.to_ascii_lowercase().into())),
        What::Cookie => Some(HashOn::Cookie(token("session", fields, reader)?.into())),
    }
}

/// Whether what is to be hashed is there: requests are no flows, and flows have no requests.
fn check(node: &Node, what: What, protocol: TargetProtocol, reader: &mut Reader<'_>) {
    match (protocol.is_http(), what) {
        (true, What::Flow) => {
            let cause = "requests of many clients come through one connection";
            reader.problem(node, cause, Some("write source, path, header or cookie"));
        }
        (false, What::Path | What::Header | What::Cookie) => {
            let cause = format!("nobody looks into what targets that speak {} get", protocol.as_str());
            reader.problem(node, &cause, Some("write source or flow"));
        }
        _ => {}
    }
}

/// The `name`: a token, as names of headers and of cookies are. Source: RFC 9110 section 5.6.2, RFC 6265 section 4.1.1.
fn token<'f>(example: &str, fields: Fields<'f>, reader: &mut Reader<'_>) -> Option<&'f str> {
    let node = fields.require(reader, "name", example)?;
    let text = reader.text(node)?;
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if text.is_empty() || !text.bytes().all(is_token) {
        reader.problem(
            node,
            "no header or cookie can have this name",
            Some(&format!("write one like `{example}`")),
        );
        return None;
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn hashing(keys: &str) -> Result<Option<Hashing>, String> {
        let text = format!("target_groups: [{{ name: web, {keys} }}]\n");
        let loaded = crate::parse(&text, Path::new("weir.yaml")).map_err(|problems| problems.to_string())?;
        Ok(loaded.config.definitions.target_groups[0].hashing.clone())
    }

    #[test]
    fn clients_and_flows_are_hashed_unless_something_else_is_written() {
        let of = |on, balance_factor| Ok(Some(Hashing { on, balance_factor }));
        assert_eq!(hashing("protocol: http"), Ok(None));
        assert_eq!(hashing("load_balancing_algorithm: maglev"), of(HashOn::Source, None));
        assert_eq!(hashing("protocol: tcp, load_balancing_algorithm: ring_hash"), of(HashOn::Flow, None));
        let written =
            "load_balancing_algorithm: rendezvous, hash: { on: header, name: X-User, balance_factor: 125 }";
        assert_eq!(hashing(written), of(HashOn::Header("x-user".into()), Some(125)));
        let written = "load_balancing_algorithm: maglev, hash: { on: cookie, name: Session }";
        assert_eq!(hashing(written), of(HashOn::Cookie("Session".into()), None));
    }

    #[test]
    fn what_cannot_be_hashed_is_refused_with_a_remedy() {
        for (keys, cause) in [
            ("hash: { on: path }", "nothing is hashed with round_robin"),
            ("load_balancing_algorithm: maglev, hash: { on: flow }", "come through one connection"),
            (
                "protocol: tcp, load_balancing_algorithm: maglev, hash: { on: path }",
                "nobody looks into what targets that speak tcp get",
            ),
            ("load_balancing_algorithm: maglev, hash: { on: header }", "name"),
            (
                "load_balancing_algorithm: maglev, hash: { on: path, name: x }",
                "only a header and a cookie have a name",
            ),
            ("load_balancing_algorithm: maglev, hash: { on: cookie, name: 'a b' }", "can have this name"),
            ("load_balancing_algorithm: maglev, hash: { balance_factor: 100 }", "balance_factor"),
            ("load_balancing_algorithm: maglev, hash: { on: colour }", "source, flow, path, header"),
        ] {
            let problem = hashing(keys).unwrap_err();
            assert!(problem.contains(cause), "{keys}: {problem}");
        }
    }
}
