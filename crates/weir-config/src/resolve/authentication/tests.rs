//! What is asked, and mistakes about it at their lines.

use std::path::Path;

use weir_core::authentication::{Authenticated, Authentication, ClaimFormat, OnUnauthenticated};
use weir_core::name::GroupName;
use weir_core::rule::Action;

use crate::parse;

/// A configuration with an HTTPS listener whose default actions these are.
fn https(actions: &str) -> String {
    listener(&format!(
        "protocol: https, certificates: {{ certificate: a.pem, key: a.key }}, default_actions: [{actions}]"
    ))
}

fn listener(keys: &str) -> String {
    format!(
        "target_groups: [{{ name: web }}]\nload_balancers:\n  - name: edge\n    type: application\n    listeners:\n      - {{ bind: 127.0.0.1:8443, {keys} }}\n"
    )
}

fn asked(actions: &str) -> Authenticated<GroupName> {
    let loaded = parse(&https(actions), Path::new("/etc/weir.yaml")).unwrap();
    assert_eq!(loaded.warnings, Vec::new());
    let kind = &loaded.config.definitions.load_balancers[0].listeners[0].kind;
    let weir_core::definition::ListenerKind::Application { default_action, .. } = kind else {
        unreachable!()
    };
    let Action::Authenticate(asked) = default_action else { panic!("{default_action:?}") };
    Authenticated::clone(asked)
}

fn mistake(text: &str) -> String {
    parse(text, Path::new("/etc/weir.yaml")).unwrap_err().to_string()
}

const KEYS: &str = "issuer: \"https://id.example\", jwks_endpoint: \"https://id.example/keys\"";

#[test]
fn a_token_is_asked_for_before_the_action_that_routes() {
    let claims = "[{ name: scope, format: space-separated-values, values: [read, write] }]";
    let asked = asked(&format!(
        "{{ jwt_validation: {{ {KEYS}, additional_claims: {claims} }} }}, {{ forward: web }}"
    ));
    let Authentication::Jwt(jwt) = &asked.by else { panic!("{:?}", asked.by) };
    assert_eq!((jwt.issuer.as_str(), jwt.jwks_endpoint.host()), ("https://id.example", "id.example"));
    let claim = &jwt.additional_claims[0];
    assert_eq!((claim.name.as_str(), claim.format), ("scope", ClaimFormat::SpaceSeparatedValues));
    assert_eq!(claim.values, ["read", "write"]);
    assert!(matches!(asked.then, Action::Forward(_)));
}

#[test]
fn a_provider_of_this_machine_needs_no_tls() {
    for host in ["127.0.0.1:9000", "localhost", "[::1]:9000"] {
        let keys = KEYS.replace("https://id.example/keys", &format!("http://{host}/keys"));
        asked(&format!("{{ jwt_validation: {{ {keys} }} }}, {{ forward: web }}"));
    }
}

// Conformance: A2.0.7, A2.0.8, A2.3.41
#[test]
fn mistakes_about_tokens_are_told_where_they_stand() {
    let jwt = |keys: &str| format!("{{ jwt_validation: {{ {keys} }} }}");
    let claim = |claim: &str| {
        format!("{}, {{ forward: web }}", jwt(&format!("{KEYS}, additional_claims: [{claim}]")))
    };
    let long = "x".repeat(257);
    let many = |text: &str, count: usize| vec![text; count].join(", ");
    for (actions, expected) in [
        (jwt(KEYS), "exactly one action routes"),
        (format!("{{ forward: web }}, {}", jwt(KEYS)), "must be asked before"),
        (format!("{0}, {0}, {{ forward: web }}", jwt(KEYS)), "one action at most asks"),
        (format!("{}, {{ forward: web }}, {{ forward: web }}", jwt(KEYS)), "exactly one action routes"),
        (format!("{{ jwt_validation: {{ {KEYS} }}, forward: web }}"), "exactly one action routes"),
        (format!("{}, {{ forward: web }}", jwt("issuer: a")), "`jwks_endpoint` is missing"),
        (
            format!("{}, {{ forward: web }}", jwt("jwks_endpoint: \"https://id.example/keys\"")),
            "`issuer` is missing",
        ),
        (
            format!(
                "{}, {{ forward: web }}",
                jwt(&KEYS.replace("https://id.example/keys", "http://id.example/"))
            ),
            "without TLS",
        ),
        (
            format!(
                "{}, {{ forward: web }}",
                jwt(&KEYS.replace("https://id.example/keys", "id.example/keys"))
            ),
            "is not a URL",
        ),
        (
            format!(
                "{}, {{ forward: web }}",
                jwt(&KEYS.replace("https://id.example/keys", &format!("https://a/{long}")))
            ),
            "at most 256 bytes",
        ),
        (
            format!("{}, {{ forward: web }}", jwt(&KEYS.replace("\"https://id.example\"", &long))),
            "an issuer has at most 256 bytes",
        ),
        (claim("{ name: exp, format: single-string, values: [a] }"), "`exp` is checked anyway"),
        (claim("{ name: aud, format: single_string, values: [a] }"), "did you mean `single-string`?"),
        (claim("{ name: aud, values: [a] }"), "`format` is missing"),
        (claim("{ name: aud, format: string-array, values: [] }"), "1 to 10 values"),
        (
            claim(&format!("{{ name: aud, format: string-array, values: [{}] }}", many("a", 11))),
            "1 to 10 values",
        ),
        (claim(&format!("{{ name: aud, format: string-array, values: [{long}] }}")), "at most 256 bytes"),
        (claim("{ name: scope, format: space-separated-values, values: [a b] }"), "has no space"),
        (
            claim(&many("{ name: aud, format: string-array, values: [a] }", 11)),
            "at most 10 additional claims",
        ),
    ] {
        let told = mistake(&https(&actions));
        assert!(told.contains(expected) && told.contains("weir.yaml:6"), "{actions}\n{told}");
    }
}

// Conformance: A2.0.8
#[test]
fn who_it_is_is_asked_over_tls_only_and_by_rules_too() {
    let told = mistake(&listener(&format!(
        "default_actions: [{{ jwt_validation: {{ {KEYS} }} }}, {{ forward: web }}]"
    )));
    assert!(told.contains("write `protocol: https`"), "{told}");
    let rule = format!(
        "rules: [{{ priority: 1, conditions: [{{ path_pattern: /a }}], actions: [{{ jwt_validation: {{ {KEYS} }} }}, {{ forward: web }}] }}], default_action: {{ forward: web }}"
    );
    assert!(mistake(&listener(&rule)).contains("write `protocol: https`"));
    let told = mistake(
        &https("{ forward: web }")
            .replace("default_actions", "default_action: { forward: web }, default_actions"),
    );
    assert!(told.contains("not both"), "{told}");
}

#[test]
fn a_network_listener_asks_nobody() {
    let text = listener(&format!("default_action: {{ jwt_validation: {{ {KEYS} }} }}"));
    let told = mistake(&text.replace("type: application", "type: network"));
    assert!(told.contains("a network listener can only forward"), "{told}");
}

const OIDC: &str = "issuer: \"https://id.example\", authorization_endpoint: \"https://id.example/a\", token_endpoint: \"https://id.example/t\", user_info_endpoint: \"https://id.example/u\", client_id: weir, client_secret_file: client.secret";

// Conformance: A2.3.27
#[test]
fn a_login_is_read_with_aws_s_defaults() {
    let login = |keys: &str| {
        let asked = asked(&format!("{{ authenticate_oidc: {{ {OIDC}{keys} }} }}, {{ forward: web }}"));
        let Authentication::Oidc(oidc) = asked.by else { panic!("a login was written") };
        oidc
    };
    let plain = login("");
    assert_eq!(plain.client_secret.path, Path::new("/etc/client.secret"));
    assert_eq!(
        (plain.scope.as_str(), plain.session_cookie_name.as_str()),
        ("openid", "AWSELBAuthSessionCookie")
    );
    assert_eq!(plain.session_timeout.as_secs(), 604_800);
    assert_eq!(plain.on_unauthenticated_request, OnUnauthenticated::Authenticate);
    let written = login(
        ", scope: openid email, session_timeout: 12h, on_unauthenticated_request: deny, session_cookie_name: mine, authentication_request_extra_params: { prompt: login }",
    );
    assert_eq!(written.on_unauthenticated_request, OnUnauthenticated::Deny);
    assert_eq!(written.authentication_request_extra_params, [("prompt".to_owned(), "login".to_owned())]);
}

// Conformance: A2.3.27
#[test]
fn mistakes_about_logins_are_told_where_they_stand() {
    let params = |count: usize| (0..count).map(|at| format!("p{at}: x")).collect::<Vec<_>>().join(", ");
    for (keys, expected) in [
        (OIDC.replace("https://id.example/t", "http://id.example/t"), "without TLS"),
        (OIDC.replace("client_id: weir, ", ""), "`client_id` is missing"),
        (OIDC.replace(", client_secret_file: client.secret", ""), "`client_secret_file` is missing"),
        (
            OIDC.replace("authorization_endpoint", "authorisation_endpoint"),
            "did you mean `authorization_endpoint`?",
        ),
        (format!("{OIDC}, client_secret: x"), "did you mean `client_secret_file`?"),
        (format!("{OIDC}, scope: email"), "without `openid`"),
        (format!("{OIDC}, session_timeout: 8d"), "out of range"),
        (format!("{OIDC}, session_cookie_name: \"a=b\""), "a cookie's name has"),
        (format!("{OIDC}, on_unauthenticated_request: refuse"), "none of allow, authenticate, deny"),
        (format!("{OIDC}, authentication_request_extra_params: [a]"), "a mapping of names to values"),
        (format!("{OIDC}, authentication_request_extra_params: {{ state: x }}"), "weir says `state` itself"),
        (format!("{OIDC}, authentication_request_extra_params: {{ {} }}", params(11)), "at most 10"),
    ] {
        let told = mistake(&https(&format!("{{ authenticate_oidc: {{ {keys} }} }}, {{ forward: web }}")));
        assert!(told.contains(expected) && told.contains("weir.yaml:6"), "{keys}\n{told}");
    }
}
