//! Actions: forward, redirect, fixed response; before them, whom to ask who it is.

use std::sync::Arc;

use weir_core::authentication::Authenticated;
use weir_core::definition::TargetProtocol;
use weir_core::name::GroupName;
use weir_core::redirect::{Keyword, Redirect, Template};
use weir_core::rule::{Action, FixedResponse, Forward};

use super::{Groups, authentication, list, stickiness};
use crate::keys;
use crate::read::{Fields, Reader, items};
use crate::tree::{Node, Value};

/// Most groups of one forward action.
const GROUPS_MAX: usize = 5;

/// What groups of application listeners speak.
const HTTP: [TargetProtocol; 2] = [TargetProtocol::Http, TargetProtocol::Https];

/// Largest weight of a group.
const GROUP_WEIGHT_MAX: u16 = 999;

/// Longest component of a redirect, in bytes.
const COMPONENT_BYTES_MAX: usize = 128;

/// Reads the actions of a rule, or of a listener's default: one that routes, and perhaps one before it that asks who it
/// is, where clients speak TLS.
pub(super) fn read_all(
    node: &Node,
    is_tls: bool,
    groups: &mut Groups<'_>,
    reader: &mut Reader<'_>,
) -> Option<Action<GroupName>> {
    let actions = items(node);
    let asks = |node: &&Node| authentication::is_asked(node);
    let (asking, routing): (Vec<&Node>, Vec<&Node>) = actions.iter().partition(asks);
    if routing.len() != 1 {
        let remedy =
            "write one of `forward`, `redirect` and `fixed_response`, behind whatever asks who it is";
        reader.problem(node, "exactly one action routes", Some(remedy));
    }
    if let Some(second) = asking.get(1) {
        reader.problem(second, "one action at most asks who it is", Some("leave out one of them"));
    }
    if let (Some(first), Some(last)) = (asking.first(), actions.last())
        && std::ptr::eq(*first, last)
        && actions.len() > 1
    {
        reader.problem(first, "who it is must be asked before anything is done", Some("write it first"));
    }
    let by = asking.first().map(|node| authentication::read(node, is_tls, reader));
    let then = routing.first().and_then(|node| read(node, is_tls, groups, reader));
    match by {
        None => then,
        Some(by) => Some(Action::Authenticate(Arc::new(Authenticated { by: by?, then: then? }))),
    }
}

/// Reads one action that routes.
fn read(
    node: &Node,
    is_tls: bool,
    groups: &mut Groups<'_>,
    reader: &mut Reader<'_>,
) -> Option<Action<GroupName>> {
    let fields = reader.fields(node, &keys::ACTION)?;
    let written = |name: &&&str| fields.get(name).is_some();
    if keys::ACTION.keys.iter().filter(written).count() != 1 {
        let remedy = "write one of `forward`, `redirect` and `fixed_response`";
        reader.problem(node, "an action does exactly one thing", Some(remedy));
    }
    if let Some(node) = fields.get("forward") {
        return forward(node, &HTTP, groups, reader).map(Action::Forward);
    }
    if let Some(node) = fields.get("redirect") {
        return redirect(node, is_tls, reader).map(|redirect| Action::Redirect(Arc::new(redirect)));
    }
    fixed_response(fields.get("fixed_response")?, reader).map(|fixed| Action::FixedResponse(Arc::new(fixed)))
}

/// Reads the groups that take requests or flows, which must speak one of `protocols`.
pub(super) fn forward(
    node: &Node,
    protocols: &[TargetProtocol],
    groups: &mut Groups<'_>,
    reader: &mut Reader<'_>,
) -> Option<Forward<GroupName>> {
    if let Value::Scalar(_) = node.value {
        return groups.named(node, protocols, reader).map(Forward::to);
    }
    let fields = reader.fields(node, &keys::FORWARD)?;
    let written = list(fields, "target_groups");
    if written.is_empty() || written.len() > GROUPS_MAX {
        let cause = format!("a forward action has 1 to {GROUPS_MAX} target groups");
        reader.problem(node, &cause, Some("write `target_groups: [{ name: web, weight: 1 }]`"));
    }
    let mut weighted = Vec::new();
    for node in written {
        let Some(fields) = reader.fields(node, &keys::FORWARD_GROUP) else { continue };
        let name = fields.require(reader, "name", "web");
        let name = name.and_then(|node| groups.named(node, protocols, reader));
        let weight =
            fields.get("weight").and_then(|node| reader.number(node, 0..=GROUP_WEIGHT_MAX)).unwrap_or(1);
        weighted.extend(name.map(|name| (name, weight)));
    }
    if !weighted.is_empty() && weighted.iter().all(|(_, weight)| *weight == 0) {
        let cause = "every weight is 0, so nothing is forwarded";
        reader.warning(node, cause, Some("give one group a weight"));
    }
    let stickiness = stickiness::of_action(fields, &weighted, groups, reader);
    Some(Forward { groups: weighted, stickiness })
}

fn redirect(node: &Node, is_tls: bool, reader: &mut Reader<'_>) -> Option<Redirect> {
    const HOST: [Keyword; 1] = [Keyword::Host];
    const PORT: [Keyword; 1] = [Keyword::Port];
    const PROTOCOL: [Keyword; 1] = [Keyword::Protocol];
    const PATH: [Keyword; 3] = [Keyword::Host, Keyword::Path, Keyword::Port];
    const ALL: [Keyword; 5] =
        [Keyword::Host, Keyword::Path, Keyword::Port, Keyword::Protocol, Keyword::Query];
    let fields = reader.fields(node, &keys::REDIRECT)?;
    let status = fields.require(reader, "status_code", "HTTP_301");
    let status = status.and_then(|node| reader.choice(node, &[("HTTP_301", 301_u16), ("HTTP_302", 302)]));
    let protocol = component(fields, "protocol", "#{protocol}", &PROTOCOL, reader);
    let host = component(fields, "host", "#{host}", &HOST, reader);
    let port = component(fields, "port", "#{port}", &PORT, reader);
    let path = component(fields, "path", "/#{path}", &PATH, reader);
    let query = component(fields, "query", "#{query}", &ALL, reader);
    check_components(fields, is_tls, reader);
    Some(Redirect {
        status: status?,
        protocol: protocol?,
        host: host?,
        port: port?,
        path: path?,
        query: query?,
    })
}

fn component(
    fields: Fields<'_>,
    name: &str,
    default: &str,
    allowed: &[Keyword],
    reader: &mut Reader<'_>,
) -> Option<Template> {
    let Some(node) = fields.get(name) else { return Template::parse(default, allowed).ok() };
    // An empty query is a query that is left out.
    let text = match &node.value {
        Value::Scalar(text) if text.is_empty() && name == "query" => "",
        _ => reader.text(node)?,
    };
    // `HTTPS` is how AWS writes it, and a URL is lower case.
    let text = if name == "protocol" { text.to_ascii_lowercase() } else { text.to_owned() };
    if text.len() > COMPONENT_BYTES_MAX || !text.bytes().all(|b| b.is_ascii_graphic()) {
        let cause =
            format!("a redirect's {name} has at most {COMPONENT_BYTES_MAX} characters, and no spaces");
        reader.problem(node, &cause, None);
        return None;
    }
    match Template::parse(&text, allowed) {
        Ok(template) => Some(template),
        Err(error) => {
            reader.problem(node, &format!("the {name} {error}"), None);
            None
        }
    }
}

fn check_components(fields: Fields<'_>, is_tls: bool, reader: &mut Reader<'_>) {
    let mut text = |name: &str| fields.get(name).and_then(|node| Some((node, reader.text(node)?)));
    let (protocol, port, path) = (text("protocol"), text("port"), text("path"));
    let is_changed =
        [("protocol", "#{protocol}"), ("host", "#{host}"), ("port", "#{port}"), ("path", "/#{path}")]
            .iter()
            .any(|(name, default)| text(name).is_some_and(|(_, text)| text != *default));
    if let Some((node, text)) = protocol
        && !matches!(text.to_ascii_lowercase().as_str(), "http" | "https" | "#{protocol}")
    {
        reader.problem(
            node,
            &format!("{text:?} is not a protocol to redirect to"),
            Some("write HTTP or HTTPS"),
        );
    }
    if let Some((node, text)) = protocol
        && is_tls
        && text.eq_ignore_ascii_case("http")
    {
        let cause = "this redirect would lead clients from HTTPS to HTTP";
        reader.problem(node, cause, Some("write HTTPS, or leave it out"));
    }
    if let Some(node) = fields.get("query")
        && matches!(&node.value, Value::Scalar(text) if text.starts_with('?'))
    {
        reader.problem(node, "a query has no `?` before it: that is written by itself", Some("leave it out"));
    }
    if let Some((node, text)) = port
        && text != "#{port}"
        && !text.parse::<u16>().is_ok_and(|port| port != 0)
    {
        reader.problem(node, &format!("{text:?} is not a port"), Some("write a number from 1 to 65535"));
    }
    if let Some((node, text)) = path
        && !text.starts_with('/')
    {
        reader.problem(node, &format!("the path {text:?} must start with `/`"), None);
    }
    if !is_changed {
        let cause = "this redirect leads back to where it came from";
        let remedy = "change at least one of protocol, host, port and path";
        reader.problem(fields.node(), cause, Some(remedy));
    }
}

fn fixed_response(node: &Node, reader: &mut Reader<'_>) -> Option<FixedResponse> {
    let fields = reader.fields(node, &keys::FIXED_RESPONSE)?;
    let status_node = fields.require(reader, "status_code", "403");
    let status = status_node.and_then(|node| reader.number(node, 200..=599_u16));
    if let (Some(300..=399), Some(node)) = (status, status_node) {
        reader.problem(
            node,
            "a fixed response is 2xx, 4xx or 5xx",
            Some("use `redirect` to send clients elsewhere"),
        );
    }
    let types = FixedResponse::CONTENT_TYPES.map(|name| (name, name));
    let content_type = fields.get("content_type").and_then(|node| reader.choice(node, &types));
    let body = match fields.get("message_body") {
        Some(node) => reader.text(node).unwrap_or_default().to_owned(),
        None => String::new(),
    };
    if let (Some(node), true) = (fields.get("message_body"), body.len() > FixedResponse::BODY_BYTES_MAX) {
        reader.problem(node, &format!("a body has at most {} bytes", FixedResponse::BODY_BYTES_MAX), None);
    }
    let content_type = if body.is_empty() { content_type } else { content_type.or(Some("text/plain")) };
    Some(FixedResponse { status: status?, content_type, body })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    /// What is wrong with a redirect of a listener that speaks `protocol`; nothing where it is good.
    fn problems(protocol: &str, redirect: &str) -> String {
        let tls = if protocol == "https" { ", certificates: { certificate: a.pem, key: a.key }" } else { "" };
        let text = format!(
            "load_balancers: [{{ type: application, name: edge, listeners: [{{ bind: \"127.0.0.1:0\", protocol: {protocol}{tls}, default_action: {{ redirect: {{ {redirect}, status_code: HTTP_301 }} }} }}] }}]\n"
        );
        crate::parse(&text, Path::new("weir.yaml"))
            .map_or_else(|problems| problems.to_string(), |_| String::new())
    }

    // Conformance: A2.3.17
    #[test]
    fn no_redirect_leads_from_https_to_http() {
        assert!(problems("https", "protocol: HTTP").contains("from HTTPS to HTTP"));
        assert_eq!(problems("https", "protocol: HTTPS, port: \"444\""), "");
        assert_eq!(problems("http", "protocol: HTTP, path: /x"), "");
    }

    // Conformance: A2.3.15
    #[test]
    fn the_query_of_a_redirect_has_no_mark_before_it() {
        assert!(problems("http", "path: /x, query: \"?a=b\"").contains("no `?` before it"));
        assert_eq!(problems("http", "path: /x, query: \"a=b?c\""), "");
    }
}
