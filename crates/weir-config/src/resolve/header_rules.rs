//! What a listener changes of header fields.

use weir_core::header_rules::{
    HeaderRules, NAME_BYTES_MAX, RENAMED_FIELDS, RESPONSE_FIELDS, VALUE_BYTES_MAX,
};

use crate::read::{Fields, Reader};
use crate::tree::Node;

/// Characters of a value besides letters and digits. Source: "HTTP header modification", "Limits".
const VALUE_SIGNS: &[u8] = b"_ :;.,\\/'?!(){}[]@<>=-+*#&`|~^%\"$";

/// Names that weir or the protocol gives a meaning of their own.
const TAKEN: [&str; 12] = [
    "connection",
    "content-length",
    "cookie",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-amzn-trace-id",
    "x-forwarded-for",
];

/// Reads what a listener changes.
pub(super) fn read(fields: Fields<'_>, reader: &mut Reader<'_>) -> HeaderRules {
    let mut rules = HeaderRules::default();
    for (key, name) in RESPONSE_FIELDS {
        let value = fields.get(key).and_then(|node| value(node, reader));
        rules.responses.extend(value.map(|value| (name, value)));
    }
    let server = fields.get("routing_http_response_server_enabled");
    rules.keeps_server = server.and_then(|node| reader.boolean(node)).unwrap_or(true);
    for (key, known) in RENAMED_FIELDS {
        let Some(node) = fields.get(key) else { continue };
        let Some(own) = name(node, reader) else { continue };
        if rules.renamed.iter().any(|(_, other)| other.eq_ignore_ascii_case(&own)) {
            reader.problem(node, "another field has this name already", Some("give each a name of its own"));
        }
        rules.renamed.push((known, own));
    }
    rules
}

fn value(node: &Node, reader: &mut Reader<'_>) -> Option<String> {
    let text = reader.text(node)?;
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || VALUE_SIGNS.contains(&byte);
    if text.len() > VALUE_BYTES_MAX || !text.bytes().all(is_allowed) {
        let cause = format!("{text:?} is no value of a header field");
        let remedy = format!("write up to {VALUE_BYTES_MAX} letters, digits, spaces and signs of ASCII");
        reader.problem(node, &cause, Some(&remedy));
        return None;
    }
    Some(text.trim().to_owned())
}

fn name(node: &Node, reader: &mut Reader<'_>) -> Option<String> {
    let text = reader.text(node)?;
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if text.is_empty() || text.len() > NAME_BYTES_MAX || !text.bytes().all(is_allowed) {
        let cause = format!("{text:?} is no name of a header field");
        let remedy = format!("write 1 to {NAME_BYTES_MAX} letters, digits, - and _");
        reader.problem(node, &cause, Some(&remedy));
        return None;
    }
    if TAKEN.iter().any(|taken| text.eq_ignore_ascii_case(taken)) {
        reader.problem(node, &format!("{text} has a meaning of its own"), Some("choose another name"));
        return None;
    }
    Some(text.to_owned())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use weir_core::definition::ListenerKind;

    use super::*;

    /// What a listener with these keys changes, or the problems with them.
    fn rules(keys: &str) -> Result<HeaderRules, String> {
        let text = format!(
            "load_balancers: [{{ type: application, name: edge, listeners: [{{ bind: \"127.0.0.1:0\", {keys}, default_action: {{ fixed_response: {{ status_code: 200 }} }} }}] }}]\n"
        );
        let loaded = crate::parse(&text, Path::new("weir.yaml")).map_err(|problems| problems.to_string())?;
        let balancer = &loaded.config.definitions.load_balancers[0];
        let ListenerKind::Application { headers, .. } = &balancer.listeners[0].kind else { unreachable!() };
        Ok((**headers).clone())
    }

    // Conformance: A5.1.1, A5.1.2, A5.1.3
    #[test]
    fn every_attribute_of_a_listener_has_its_field() {
        for (key, name) in RESPONSE_FIELDS {
            let rules = rules(&format!("{key}: \"a b\"")).unwrap();
            assert_eq!(rules.responses, [(name, "a b".to_owned())]);
        }
        for (key, name) in RENAMED_FIELDS {
            assert_eq!(rules(&format!("{key}: X-Own")).unwrap().name(name), "X-Own");
        }
        assert!(!rules("routing_http_response_server_enabled: false").unwrap().keeps_server);
    }

    // Conformance: A5.1.5
    #[test]
    fn what_no_field_may_have_is_refused() {
        let long = "a".repeat(VALUE_BYTES_MAX + 1);
        for (keys, problem) in [
            ("routing_http_response_x_frame_options_header_value: \"a\\r\\nb\"", "is no value"),
            (&format!("routing_http_response_x_frame_options_header_value: {long}"), "is no value"),
            ("routing_http_request_x_amzn_tls_version_header_name: \"a b\"", "is no name"),
            ("routing_http_request_x_amzn_tls_version_header_name: Host", "a meaning of its own"),
            (
                "routing_http_request_x_amzn_tls_version_header_name: X-A, routing_http_request_x_amzn_tls_cipher_suite_header_name: x-a",
                "has this name already",
            ),
        ] {
            let problems = rules(keys).unwrap_err();
            assert!(problems.contains(problem), "{problems}");
        }
    }
}
