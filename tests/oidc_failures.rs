//! Logins that go wrong: the client hears whose fault it is, and no target hears anything.

use std::io::Read;

use serde_json::json;
use tokio::time::Instant;
use weir_tests::target::respond;
use weir_tests::{Browser, FakeTarget};

use crate::access_log::{fields, lines};
use crate::oidc::{fake, get, log_in, parameter, url, weir};

const SECRET: &str = "a secret that nobody guesses for a while\n";

// Conformance: A7.7, A10.13
#[test]
fn a_client_that_comes_back_with_another_s_login_is_refused() {
    let (provider, target) = (fake(3600, json!({ "sub": "bob" })), FakeTarget::answering("fine"));
    let weir = weir(&url(&provider), &target, "", SECRET);
    let mut browser = Browser::default();
    let sent = get(&mut browser, &weir, "/private");
    let state = parameter(sent.header("location"), "state");
    let callback = |rest: &str| format!("/oauth2/idpresponse?{rest}");
    for (rest, is_same, expected) in [
        (format!("code=c&state={state}"), false, "AuthInvalidAWSALBAuthNonce"),
        ("code=c".to_owned(), true, "AuthMissingStateParam"),
        ("code=c&state=forged".to_owned(), true, "AuthInvalidStateParam"),
    ] {
        let mut other = Browser::default();
        let who = if is_same { &mut browser } else { &mut other };
        assert_eq!(get(who, &weir, &callback(&rest)).status, 401, "{expected}");
    }
    assert_eq!(get(&mut browser, &weir, &callback(&format!("state={state}"))).status, 401);
    assert_eq!(provider.received().len() + target.received().len(), 0);
    let whole = lines(&weir.folder.path().join("access.log"), 5);
    let reasons: Vec<String> = whole.iter().map(|line| fields(line)[24].clone()).collect();
    assert_eq!(
        reasons,
        [
            "-",
            "AuthInvalidAWSALBAuthNonce",
            "AuthMissingStateParam",
            "AuthInvalidStateParam",
            "AuthMissingCodeParam"
        ]
    );
}

// Conformance: A2.3.34, A7.19
#[test]
fn a_provider_that_is_away_is_500() {
    let (provider, target) = (fake(3600, json!({ "sub": "bob" })), FakeTarget::answering("fine"));
    let weir = weir(&url(&provider), &target, "", SECRET);
    provider.kill();
    assert_eq!(log_in(&mut Browser::default(), &weir).status, 500);
}

// Conformance: A2.3.35
#[test]
fn a_provider_that_is_silent_for_five_seconds_is_500() {
    let provider = FakeTarget::behaving(|_, stream| {
        // Until weir hangs up.
        let _ = stream.read(&mut [0]);
        false
    });
    let weir = weir(&url(&provider), &FakeTarget::answering("fine"), "", SECRET);
    let began = Instant::now();
    assert_eq!(log_in(&mut Browser::default(), &weir).status, 500);
    let waited = began.elapsed();
    assert!((4..15).contains(&waited.as_secs()), "{waited:?}");
}

// Conformance: A2.3.36, A7.37
#[test]
fn a_provider_that_refuses_is_561() {
    let (provider, target) = (fake(3600, json!({ "sub": "bob" })), FakeTarget::answering("fine"));
    let weir = weir(&url(&provider), &target, "", SECRET);
    let mut browser = Browser::default();
    let state = parameter(get(&mut browser, &weir, "/private").header("location"), "state");
    let path = format!("/oauth2/idpresponse?error=access_denied&state={state}");
    assert_eq!(get(&mut browser, &weir, &path).status, 561);
}

// Conformance: A2.3.33, A2.3.36
#[test]
fn what_a_provider_must_not_say_is_refused() {
    for (claims, expected, what) in [
        (json!({ "sub": "alice" }), 561, "somebody else"),
        (json!({}), 561, "nobody"),
        (json!(["bob"]), 561, "no claims"),
        (json!({ "sub": "bob", "about": "x".repeat(11 * 1024) }), 500, "too much"),
    ] {
        let (provider, target) = (fake(3600, claims), FakeTarget::answering("fine"));
        let weir = weir(&url(&provider), &target, "", SECRET);
        assert_eq!(log_in(&mut Browser::default(), &weir).status, expected, "{what}");
    }
    for (status, text) in [(400, "{\"error\":\"invalid_grant\"}"), (500, ""), (200, "<html>"), (200, "{}")] {
        let provider = FakeTarget::behaving(move |_, stream| respond(stream, status, text));
        let target = FakeTarget::answering("fine");
        let weir = weir(&url(&provider), &target, "", SECRET);
        assert_eq!(log_in(&mut Browser::default(), &weir).status, 561, "{status} {text}");
    }
}

// Conformance: A2.3.26
#[test]
fn a_login_whose_claims_are_long_has_several_cookies() {
    let claims = json!({ "sub": "bob", "about": "x".repeat(10 * 1024) });
    let (provider, target) = (fake(3600, claims), FakeTarget::answering("fine"));
    let weir = weir(&url(&provider), &target, "", SECRET);
    let mut browser = Browser::default();
    assert_eq!(log_in(&mut browser, &weir).status, 302);
    assert!(browser.cookies(crate::oidc::HOST).keys().filter(|name| name.starts_with("AWSELB")).count() > 1);
    assert_eq!(get(&mut browser, &weir, "/private").status, 200);
}
