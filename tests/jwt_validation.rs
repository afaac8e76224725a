//! Rules that ask for a token before they do anything.

use std::fmt::Display;
use std::io::Read;

use serde_json::{Value, json};
use tokio::time::Instant;
use weir_tests::issuer::{Key, now, unsigned};
use weir_tests::tls::Pair;
use weir_tests::yaml::group;
use weir_tests::{Browser, FakeTarget, Folder, Issuer, Reply, Weir};

use crate::access_log::{fields, lines};

const ISSUER: &str = "https://id.example";

/// A weir whose rule for `/api/*` asks for a token of the issuer; `claims` are the additional ones.
fn weir(issuer: &Issuer, target: &FakeTarget, settings: &str, claims: &str) -> Weir {
    asking(issuer.url(), target, settings, claims)
}

/// The same, with the issuer's keys at this URL.
fn asking(keys: impl Display, target: &FakeTarget, settings: &str, claims: &str) -> Weir {
    let folder = Folder::new();
    Pair::new(&["shop.example"]).write(&folder, "shop");
    let jwt = format!(
        "jwt_validation: {{ issuer: \"{ISSUER}\", jwks_endpoint: \"{keys}\", additional_claims: [{claims}] }}"
    );
    let yaml = format!(
        "workers: 1\ntarget_groups:\n{}load_balancers:\n  - {{ name: edge, type: application, {settings} listeners: [{{ bind: \"127.0.0.1:0\", \
         protocol: https, certificates: {{ certificate: shop.pem, key: shop.key }}, \
         rules: [{{ priority: 7, conditions: [{{ path_pattern: [\"/api/*\"] }}], actions: [{{ {jwt} }}, {{ forward: web }}] }}], \
         default_action: {{ forward: web }} }}] }}\n",
        group("web", "", &[target])
    );
    let weir = Weir::start_in(folder, &yaml, |_| {});
    weir.wait_until_healthy();
    weir
}

fn ask(weir: &Weir, path: &str, lines: &str) -> Reply {
    Browser::default().get(weir.listener(0), "shop.example", path, lines)
}

fn with_token(weir: &Weir, token: &str) -> u16 {
    ask(weir, "/api/x", &format!("Authorization: Bearer {token}\r\n")).status
}

/// Claims that pass, with some changed; `null` takes one away.
fn claims(changes: &Value) -> Value {
    let mut claims = json!({ "iss": ISSUER, "exp": now() + 600, "sub": "robot" });
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    claims
}

// Conformance: A2.3.43
#[test]
fn an_issuer_that_is_silent_for_five_seconds_is_500() {
    let issuer = FakeTarget::behaving(|_, stream| {
        // Until weir hangs up.
        let _ = stream.read(&mut [0]);
        false
    });
    let url = format!("http://{}/keys", issuer.addr());
    let weir = asking(url, &FakeTarget::answering("fine"), "", "");
    let (token, began) = (Key::new("one").sign(&claims(&json!({}))), Instant::now());
    assert_eq!(with_token(&weir, &token), 500);
    let waited = began.elapsed();
    assert!((4..15).contains(&waited.as_secs()), "{waited:?}");
}

// Conformance: A2.3.47
#[test]
fn a_request_with_a_good_token_is_forwarded_as_it_came() {
    let (key, target) = (Key::new("one"), FakeTarget::answering("fine"));
    let weir = weir(&Issuer::publishing(&[&key]), &target, "", "");
    let token = key.sign(&claims(&json!({ "nbf": now() - 5, "iat": now() - 5 })));
    let reply = ask(&weir, "/api/x", &format!("Authorization: Bearer {token}\r\n"));
    assert_eq!((reply.status, reply.body.as_str()), (200, "fine"));
    assert_eq!(target.last().header("authorization"), format!("Bearer {token}"));
}

// Conformance: A2.3.44
#[test]
fn only_the_rule_that_asks_wants_a_token() {
    let (key, target) = (Key::new("one"), FakeTarget::answering("fine"));
    let issuer = Issuer::publishing(&[&key]);
    let weir = weir(&issuer, &target, "", "");
    assert_eq!(ask(&weir, "/", "").status, 200);
    let refused = ask(&weir, "/api/x", "");
    assert_eq!((refused.status, target.received().len()), (401, 1));
    assert_eq!(issuer.asked(), 0, "without a token nobody needs a key");
}

// Conformance: A2.3.38, A2.3.40, A2.3.44, A7.8
#[test]
fn a_token_that_is_not_the_issuer_s_or_does_not_count_is_refused() {
    let (key, stranger) = (Key::new("one"), Key::new("one"));
    let target = FakeTarget::answering("fine");
    let weir = weir(&Issuer::publishing(&[&key]), &target, "", "");
    let good = claims(&json!({}));
    let (head, _) = good_parts(&key.sign(&good));
    let hs256 = {
        // The public key taken for a shared secret: what verifiers fell for that let the token choose.
        let unsigned = unsigned("{\"alg\":\"HS256\",\"kid\":\"one\"}", &good);
        format!("{unsigned}.{}", hmac_like(key.public(), unsigned.as_bytes()))
    };
    for (token, what) in [
        (stranger.sign(&good), "signed by another key of the same id"),
        (Key::new("two").sign(&good), "signed by a key that nobody published"),
        (format!("{head}.AAAA"), "a bad signature"),
        (key.sign(&claims(&json!({ "iss": "https://other.example" }))), "another issuer"),
        (key.sign(&claims(&json!({ "iss": null }))), "no issuer"),
        (key.sign(&claims(&json!({ "exp": now() - 1 }))), "expired"),
        (key.sign(&claims(&json!({ "exp": null }))), "no end"),
        (key.sign(&claims(&json!({ "nbf": now() + 600 }))), "not yet"),
        (key.sign(&claims(&json!({ "iat": now() + 600 }))), "issued tomorrow"),
        (format!("{}.", unsigned("{\"alg\":\"none\"}", &good)), "no algorithm"),
        (format!("{}.", unsigned("{\"alg\":\"nOnE\",\"kid\":\"one\"}", &good)), "no algorithm, in disguise"),
        (hs256, "the public key as a secret"),
        (String::new(), "nothing"),
        ("a.b.c".to_owned(), "no token"),
        (format!("{}, {}", key.sign(&good), key.sign(&good)), "two in one"),
    ] {
        assert_eq!(with_token(&weir, &token), 401, "{what}");
    }
    let (good, bad) = (key.sign(&good), stranger.sign(&good));
    let two = format!("Authorization: Bearer {good}\r\nAuthorization: Bearer {bad}\r\n");
    assert_eq!(ask(&weir, "/api/x", &two).status, 401, "a target may read the other one");
    assert_eq!(ask(&weir, "/api/x", &format!("Authorization: Basic {good}\r\n")).status, 401);
    assert_eq!(ask(&weir, &format!("/api/x?access_token={good}"), "").status, 401, "in the header only");
    assert_eq!(target.received().len(), 0);
    assert_eq!(with_token(&weir, &good), 200);
}

/// The first two parts of a token, and its signature.
fn good_parts(token: &str) -> (String, String) {
    let (head, signature) = token.rsplit_once('.').unwrap();
    (head.to_owned(), signature.to_owned())
}

/// HMAC with SHA-256, as HS256 has it.
fn hmac_like(secret: &[u8], message: &[u8]) -> String {
    use base64::Engine as _;
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, secret);
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(aws_lc_rs::hmac::sign(&key, message))
}

// Conformance: A2.3.41
#[test]
fn additional_claims_are_read_in_their_formats() {
    let (key, target) = (Key::new("one"), FakeTarget::answering("fine"));
    let wanted = "{ name: tenant, format: single-string, values: [one, two] }, \
                  { name: scope, format: space-separated-values, values: [write] }, \
                  { name: groups, format: string-array, values: [admins, owners] }";
    let weir = weir(&Issuer::publishing(&[&key]), &target, "", wanted);
    let good = json!({ "tenant": "two", "scope": "read write", "groups": ["guests", "admins"] });
    for (changes, expected) in [
        (json!({}), 200),
        (json!({ "tenant": "three" }), 401),
        (json!({ "tenant": null }), 401),
        (json!({ "scope": "read writes" }), 401),
        (json!({ "scope": ["write"] }), 401),
        (json!({ "groups": ["guests"] }), 401),
        (json!({ "groups": "admins" }), 401),
    ] {
        let mut claimed = claims(&good);
        for (name, value) in changes.as_object().unwrap() {
            claimed[name] = value.clone();
        }
        assert_eq!(with_token(&weir, &key.sign(&claimed)), expected, "{changes}");
    }
}

#[test]
fn a_new_key_counts_as_soon_as_it_is_used_and_one_that_nobody_knows_asks_for_no_more() {
    let (old, new) = (Key::new("old"), Key::new("new"));
    let issuer = Issuer::publishing(&[&old]);
    let target = FakeTarget::answering("fine");
    let weir = weir(&issuer, &target, "", "");
    // What was fetched this moment is not fetched again for a key that nobody knows. Made before: that takes its time.
    let strange = Key::new("strange").sign(&claims(&json!({})));
    for _ in 0..5 {
        assert_eq!(with_token(&weir, &strange), 401);
    }
    assert_eq!(with_token(&weir, &old.sign(&claims(&json!({})))), 200);
    assert_eq!(issuer.asked(), 1, "one fetch serves all");
    issuer.publish(&[&old, &new]);
    weir_tests::wait_until("the new key counts", || with_token(&weir, &new.sign(&claims(&json!({})))) == 200);
    assert_eq!(issuer.asked(), 2);
}

// Conformance: A2.3.42, A2.3.45, A2.3.46, A7.19, A7.38
#[test]
fn without_the_issuer_s_keys_nobody_passes_and_the_status_says_why() {
    let (key, target) = (Key::new("one"), FakeTarget::answering("fine"));
    let token = key.sign(&claims(&json!({})));
    let eleven: Vec<&Key> = std::iter::repeat_n(&key, 11).collect();
    let large = format!("{{\"keys\":[{}],\"x\":\"{}\"}}", key.jwk(), "x".repeat(150 * 1024));
    for (status, text, expected, what) in [
        (500, "", 562, "an error"),
        (404, "", 562, "nothing there"),
        (302, "", 562, "somewhere else"),
        (200, "<html>", 500, "no key set"),
        (200, "{\"keys\":[]}", 500, "no key"),
        (200, large.as_str(), 500, "too large"),
    ] {
        let issuer = Issuer::publishing(&[&key]);
        issuer.say(status, text);
        assert_eq!(with_token(&weir(&issuer, &target, "", ""), &token), expected, "{what}");
    }
    let issuer = Issuer::publishing(&eleven);
    assert_eq!(with_token(&weir(&issuer, &target, "", ""), &token), 500, "too many keys");
    let gone = Issuer::publishing(&[&key]);
    gone.end();
    assert_eq!(with_token(&weir(&gone, &target, "", ""), &token), 500, "nobody answers");
    assert_eq!(target.received().len(), 0);
}

#[test]
fn keys_that_were_had_serve_on_while_the_issuer_is_away() {
    let (key, target) = (Key::new("one"), FakeTarget::answering("fine"));
    let issuer = Issuer::publishing(&[&key]);
    let weir = weir(&issuer, &target, "", "");
    let token = key.sign(&claims(&json!({})));
    assert_eq!(with_token(&weir, &token), 200);
    issuer.end();
    assert_eq!(with_token(&weir, &token), 200);
}

// Conformance: A10.12, A11.31
#[test]
fn the_log_and_the_metrics_tell_who_was_refused_and_why() {
    let (folder, key, target) = (Folder::new(), Key::new("one"), FakeTarget::answering("fine"));
    let path = folder.path().join("access.log");
    let log = format!("access_log: {{ path: {} }},", path.display());
    let weir = weir(&Issuer::publishing(&[&key]), &target, &log, "");
    let good = key.sign(&claims(&json!({})));
    let late = key.sign(&claims(&json!({ "exp": 1 })));
    for token in [&good, &late] {
        with_token(&weir, token);
    }
    ask(&weir, "/", "");
    let lines: Vec<Vec<String>> = lines(&path, 3).iter().map(|line| fields(line)).collect();
    let told = |line: &[String]| (line[8].clone(), line[20].clone(), line[22].clone(), line[24].clone());
    let expected = |status: &str, rule: &str, actions: &str, reason: &str| {
        (status.to_owned(), rule.to_owned(), actions.to_owned(), reason.to_owned())
    };
    assert_eq!(told(&lines[0]), expected("200", "7", "authenticate,forward", "-"));
    assert_eq!(told(&lines[1]), expected("401", "7", "authenticate", "AuthExpiredJwt"));
    assert_eq!(told(&lines[2]), expected("200", "0", "forward", "-"));
    let refused = format!(
        "weir_request_errors_total{{load_balancer=\"edge\",listener=\"{}\",reason=\"auth_jwt_expired\"}}",
        weir.listener(0)
    );
    assert!((weir.metric(&refused) - 1.0).abs() < 0.1);
}
