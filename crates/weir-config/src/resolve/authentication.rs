//! Actions that ask who it is, before another one routes.

use std::sync::Arc;
use std::time::Duration;

use weir_core::authentication::{Authentication, Claim, ClaimFormat, JwtValidation, Oidc, OnUnauthenticated};
use weir_core::url::HttpUrl;

use super::{list, tls};
use crate::keys;
use crate::read::{Fields, Reader, items};
use crate::tree::{Node, Value};

/// Keys of actions that ask who it is.
const ASKING: [&str; 3] = ["authenticate_cognito", "authenticate_oidc", "jwt_validation"];

/// Longest name of an issuer, and longest URL of an endpoint, in bytes: AWS's.
const TEXT_BYTES_MAX: usize = 256;

/// Longest name of a session's cookies, in bytes: beside it there is room for what they have.
const COOKIE_NAME_BYTES_MAX: usize = 128;

/// Whether an action asks who it is, rather than routes.
pub(super) fn is_asked(node: &Node) -> bool {
    let Value::Mapping(entries) = &node.value else { return false };
    entries.iter().any(|(key, _)| ASKING.contains(&key.name.as_str()))
}

/// Reads one action that asks who it is.
pub(super) fn read(node: &Node, is_tls: bool, reader: &mut Reader<'_>) -> Option<Authentication> {
    let fields = reader.fields(node, &keys::ACTION)?;
    let written = |name: &&&str| fields.get(name).is_some();
    if keys::ACTION.keys.iter().filter(written).count() > 1 {
        let remedy = "write what routes as an action of its own, behind it";
        reader.problem(node, "an action does exactly one thing", Some(remedy));
    }
    if !is_tls {
        let cause = "who it is can only be asked of clients that speak TLS: others would show their tokens to everybody";
        reader.problem(node, cause, Some("write `protocol: https`, or take it out"));
    }
    if let Some(node) = fields.get("authenticate_oidc") {
        return oidc(node, reader).map(|oidc| Authentication::Oidc(Arc::new(oidc)));
    }
    jwt_validation(fields.get("jwt_validation")?, reader).map(|jwt| Authentication::Jwt(Arc::new(jwt)))
}

fn jwt_validation(node: &Node, reader: &mut Reader<'_>) -> Option<JwtValidation> {
    let fields = reader.fields(node, &keys::JWT_VALIDATION)?;
    let issuer = issuer(fields, reader);
    let jwks_endpoint = endpoint(fields, "jwks_endpoint", "https://id.example/.well-known/jwks.json", reader);
    let written = list(fields, "additional_claims");
    if let (Some(node), true) = (fields.get("additional_claims"), written.len() > JwtValidation::CLAIMS_MAX) {
        let cause = format!("at most {} additional claims are checked", JwtValidation::CLAIMS_MAX);
        reader.problem(node, &cause, None);
    }
    let additional_claims = written.iter().filter_map(|node| claim(node, reader)).collect();
    Some(JwtValidation { issuer: issuer?, jwks_endpoint: jwks_endpoint?, additional_claims })
}

fn claim(node: &Node, reader: &mut Reader<'_>) -> Option<Claim> {
    const FORMATS: [ClaimFormat; 3] =
        [ClaimFormat::SingleString, ClaimFormat::SpaceSeparatedValues, ClaimFormat::StringArray];
    let fields = reader.fields(node, &keys::ADDITIONAL_CLAIM)?;
    let name = fields.require(reader, "name", "scope").and_then(|node| {
        let name = reader.text(node)?;
        if JwtValidation::CHECKED_ANYWAY.contains(&name) {
            reader.problem(node, &format!("`{name}` is checked anyway"), Some("take it out"));
        }
        Some(name.to_owned())
    });
    let words = FORMATS.map(|format| (format.to_string(), format));
    let choices: Vec<(&str, ClaimFormat)> =
        words.iter().map(|(word, format)| (word.as_str(), *format)).collect();
    let format = fields.require(reader, "format", "single-string");
    let format = format.and_then(|node| reader.choice(node, &choices));
    let values = fields.require(reader, "values", "[read]").map(|node| values(node, format, reader));
    Some(Claim { name: name?, format: format?, values: values? })
}

fn values(node: &Node, format: Option<ClaimFormat>, reader: &mut Reader<'_>) -> Vec<String> {
    let nodes = items(node);
    if nodes.is_empty() || nodes.len() > Claim::VALUES_MAX {
        reader.problem(node, &format!("a claim has 1 to {} values", Claim::VALUES_MAX), None);
    }
    let mut value = |node: &Node| {
        let text = reader.text(node)?;
        if text.len() > Claim::VALUE_BYTES_MAX {
            reader.problem(node, &format!("a value has at most {} bytes", Claim::VALUE_BYTES_MAX), None);
        }
        if format == Some(ClaimFormat::SpaceSeparatedValues) && text.contains(' ') {
            reader.problem(node, "one of space-separated values has no space", Some("write two values"));
        }
        Some(text.to_owned())
    };
    nodes.iter().filter_map(&mut value).collect()
}

fn oidc(node: &Node, reader: &mut Reader<'_>) -> Option<Oidc> {
    let choices = [
        ("allow", OnUnauthenticated::Allow),
        ("authenticate", OnUnauthenticated::Authenticate),
        ("deny", OnUnauthenticated::Deny),
    ];
    let fields = reader.fields(node, &keys::AUTHENTICATE_OIDC)?;
    let issuer = issuer(fields, reader);
    let mut endpoint = |name, path| endpoint(fields, name, &format!("https://id.example/{path}"), reader);
    let (authorization_endpoint, token_endpoint, user_info_endpoint) = (
        endpoint("authorization_endpoint", "authorize"),
        endpoint("token_endpoint", "token"),
        endpoint("user_info_endpoint", "userinfo"),
    );
    let client_id = fields.require(reader, "client_id", "weir").and_then(|node| reader.text(node));
    let client_secret = fields.require(reader, "client_secret_file", "client.secret");
    let client_secret = client_secret.and_then(|node| tls::file(node, reader));
    let scope = fields.get("scope").and_then(|node| {
        let scope = reader.text(node)?;
        if !scope.split(' ').any(|word| word == "openid") {
            reader.problem(node, "without `openid` nobody says who logs in", Some("write `openid email`"));
        }
        Some(scope.to_owned())
    });
    let cookie_name = fields.get("session_cookie_name").and_then(|node| cookie_name(node, reader));
    let timeout = fields.get("session_timeout");
    let timeout =
        timeout.and_then(|node| reader.duration(node, Duration::from_secs(1)..=Oidc::SESSION_TIMEOUT_MAX));
    let unauthenticated =
        fields.get("on_unauthenticated_request").and_then(|node| reader.choice(node, &choices));
    let extra = fields.get("authentication_request_extra_params").map(|node| extra_params(node, reader));
    Some(Oidc {
        issuer: issuer?,
        authorization_endpoint: authorization_endpoint?,
        token_endpoint: token_endpoint?,
        user_info_endpoint: user_info_endpoint?,
        client_id: client_id?.to_owned(),
        client_secret: client_secret?,
        scope: scope.unwrap_or_else(|| "openid".to_owned()),
        session_cookie_name: cookie_name.unwrap_or_else(|| Oidc::SESSION_COOKIE_NAME.to_owned()),
        session_timeout: timeout.unwrap_or(Oidc::SESSION_TIMEOUT_MAX),
        on_unauthenticated_request: unauthenticated.unwrap_or_default(),
        authentication_request_extra_params: extra.unwrap_or_default(),
    })
}

fn cookie_name(node: &Node, reader: &mut Reader<'_>) -> Option<String> {
    let name = reader.text(node)?;
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if !name.bytes().all(is_token) || name.len() > COOKIE_NAME_BYTES_MAX {
        let cause =
            format!("a cookie's name has at most {COOKIE_NAME_BYTES_MAX} letters, digits, `-`, `_` and `.`");
        reader.problem(node, &cause, Some(&format!("write it like `{}`", Oidc::SESSION_COOKIE_NAME)));
    }
    Some(name.to_owned())
}

/// What the provider is told besides what weir tells it anyway.
fn extra_params(node: &Node, reader: &mut Reader<'_>) -> Vec<(String, String)> {
    const OURS: [&str; 6] = ["client_id", "nonce", "redirect_uri", "response_type", "scope", "state"];
    let Value::Mapping(entries) = &node.value else {
        reader.problem(
            node,
            "further parameters are a mapping of names to values",
            Some("write `{ prompt: login }`"),
        );
        return Vec::new();
    };
    if entries.len() > Oidc::EXTRA_PARAMS_MAX {
        reader.problem(
            node,
            &format!("at most {} further parameters are sent", Oidc::EXTRA_PARAMS_MAX),
            None,
        );
    }
    let mut param = |key: &str, value: &Node| {
        if OURS.contains(&key) {
            reader.problem(value, &format!("weir says `{key}` itself"), Some("take it out"));
        }
        Some((key.to_owned(), reader.text(value)?.to_owned()))
    };
    entries.iter().filter_map(|(key, value)| param(&key.name, value)).collect()
}

fn issuer(fields: Fields<'_>, reader: &mut Reader<'_>) -> Option<String> {
    let node = fields.require(reader, "issuer", "https://id.example")?;
    let text = reader.text(node)?;
    if text.len() > TEXT_BYTES_MAX {
        reader.problem(node, &format!("an issuer has at most {TEXT_BYTES_MAX} bytes"), None);
    }
    Some(text.to_owned())
}

/// The URL of something that weir asks, or clients are sent to. What comes from there decides who may pass: without TLS
/// it may only come from this machine.
fn endpoint(fields: Fields<'_>, name: &str, example: &str, reader: &mut Reader<'_>) -> Option<HttpUrl> {
    let node = fields.require(reader, name, example)?;
    let text = reader.text(node)?;
    if text.len() > TEXT_BYTES_MAX {
        reader.problem(node, &format!("an endpoint has at most {TEXT_BYTES_MAX} bytes"), None);
    }
    match text.parse::<HttpUrl>() {
        Ok(url) if url.is_tls() || is_loopback(url.host()) => Some(url),
        Ok(_) => {
            let cause = "without TLS whoever stands between could say who may pass";
            reader.problem(node, cause, Some("write an https URL; http only to 127.0.0.1, ::1 or localhost"));
            None
        }
        Err(error) => {
            let remedy = format!("write it like `{example}`");
            reader.problem(node, &format!("{text:?} is not a URL: {error}"), Some(&remedy));
            None
        }
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests;
