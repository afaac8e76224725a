//! Rules that ask for a login before they do anything.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::{Value, json};
use weir_tests::example::Example;
use weir_tests::issuer::unsigned;
use weir_tests::target::respond;
use weir_tests::tls::Pair;
use weir_tests::yaml::group;
use weir_tests::{Browser, Canaille, FakeTarget, Folder, Reply, Weir};

use crate::access_log::{fields, lines};

pub(crate) const HOST: &str = "shop.example";
pub(crate) const CALLBACK: &str = "https://shop.example/oauth2/idpresponse";
const SECRET: &str = "a secret that nobody guesses for a while\n";

/// A weir whose rule for `/private*` asks for a login at `provider`; `settings` are further keys of that.
pub(crate) fn weir(provider: &str, target: &FakeTarget, settings: &str, secret: &str) -> Weir {
    let folder = Folder::new();
    let path = folder.path().join("access.log");
    Pair::new(&[HOST]).write(&folder, "shop");
    folder.write("cookies.key", secret);
    folder.write("client.secret", &format!("{}\n", Canaille::SECRET));
    let oidc = format!(
        "authenticate_oidc: {{ issuer: \"{provider}\", authorization_endpoint: \"{provider}/oauth/authorize\", \
         token_endpoint: \"{provider}/oauth/token\", user_info_endpoint: \"{provider}/oauth/userinfo\", client_id: weir, \
         client_secret_file: client.secret, scope: openid email, {settings} }}"
    );
    let yaml = format!(
        "workers: 1\nsecrets: {{ cookies: cookies.key }}\ntarget_groups:\n{}load_balancers:\n  - {{ name: edge, type: application, \
         access_log: {{ path: {} }}, listeners: [{{ bind: \"127.0.0.1:0\", protocol: https, \
         certificates: {{ certificate: shop.pem, key: shop.key }}, \
         rules: [{{ priority: 7, conditions: [{{ path_pattern: [\"/private*\"] }}], actions: [{{ {oidc} }}, {{ forward: web }}] }}], \
         default_action: {{ forward: web }} }}] }}\n",
        group("web", "", &[target]),
        path.display()
    );
    let weir = Weir::start_in(folder, &yaml, |_| {});
    weir.wait_until_healthy();
    weir
}

pub(crate) fn get(browser: &mut Browser, weir: &Weir, path: &str) -> Reply {
    browser.get(weir.listener(0), HOST, path, "")
}

/// A provider that takes every code, puts it into its ID token as the nonce, and says `claims` of whoever it is.
pub(crate) fn fake(expires_in: u64, claims: Value) -> FakeTarget {
    FakeTarget::behaving(move |asked, stream| {
        if asked.request_line.contains("/oauth/userinfo") {
            return respond(stream, 200, &claims.to_string());
        }
        let form = String::from_utf8_lossy(&asked.body).into_owned();
        let issuer = format!("http://{}", asked.header("host"));
        let code = form.split('&').find_map(|pair| pair.strip_prefix("code=")).unwrap_or("");
        let id_token =
            json!({ "iss": issuer, "aud": "weir", "sub": "bob", "nonce": code, "exp": 9_999_999_999_u64 });
        let tokens = json!({
            "access_token": format!("access-{}", if code.is_empty() { "renewed" } else { "first" }),
            "refresh_token": "again",
            "expires_in": if code.is_empty() { 3600 } else { expires_in },
            "id_token": format!("{}.x", unsigned("{}", &id_token)),
        });
        respond(stream, 200, &tokens.to_string())
    })
}

/// The value of a parameter of a URL, as it is written there.
pub(crate) fn parameter(url: &str, name: &str) -> String {
    let found = url.split(['?', '&']).find_map(|pair| pair.strip_prefix(&format!("{name}=")));
    found.unwrap_or_else(|| panic!("no {name} in {url}")).to_owned()
}

/// Sends a browser through a login at a fake provider; what weir answers when it comes back.
pub(crate) fn log_in(browser: &mut Browser, weir: &Weir) -> Reply {
    let sent = get(browser, weir, "/private?x=1");
    assert_eq!(sent.status, 302);
    let location = sent.header("location");
    let (state, nonce) = (parameter(location, "state"), parameter(location, "nonce"));
    get(browser, weir, &format!("/oauth2/idpresponse?code={nonce}&state={state}"))
}

pub(crate) fn url(provider: &FakeTarget) -> String {
    format!("http://{}", provider.addr())
}

// Conformance: A2.3.28, A2.3.29, A2.3.31, A2.3.32, A6.44
#[test]
fn somebody_who_logs_in_at_a_real_provider_is_told_to_targets_and_known_to_every_weir_with_the_secret() {
    let (canaille, target) = (Canaille::start(&[CALLBACK]), FakeTarget::answering("fine"));
    let [first, second] = [(); 2].map(|()| weir(&canaille.url(), &target, "", SECRET));
    let stranger = weir(&canaille.url(), &target, "", "another secret, as long as the first one\n");
    let mut browser = Browser::default();
    let sent = get(&mut browser, &first, "/private?x=1");
    assert_eq!((sent.status, target.received().len()), (302, 0));
    let back = canaille.log_in(&mut browser, sent.header("location"));
    let path = back.strip_prefix("https://shop.example").unwrap();
    let led = get(&mut browser, &first, path);
    assert_eq!(
        (led.status, led.header("location")),
        (302, "https://shop.example/private?x=1"),
        "{}",
        led.body
    );
    for weir in [&first, &second] {
        let forged = "X-Amzn-Oidc-Identity: alice\r\nX_Amzn_Oidc_Data: x\r\nx-amzn-oidc-anything: x\r\n";
        assert_eq!(browser.get(weir.listener(0), HOST, "/private", forged).status, 200);
        let told = target.last();
        assert_eq!(told.header("x-amzn-oidc-identity"), "bob");
        assert!(!told.header("x-amzn-oidc-accesstoken").is_empty());
        assert!(!told.has("x_amzn_oidc_data") && !told.has("x-amzn-oidc-anything"), "{told:?}");
        check_data(weir, told.header("x-amzn-oidc-data"), &canaille.url());
    }
    assert_eq!(get(&mut browser, &stranger, "/private").status, 302, "another secret");
    let whole = lines(&first.folder.path().join("access.log"), 3);
    let actions: Vec<String> = whole.iter().map(|line| fields(line)[22].clone()).collect();
    assert_eq!(actions, ["authenticate", "authenticate", "authenticate,forward"]);
}

/// What a target does with what it is told: it fetches the key by its id, and checks the signature.
fn check_data(weir: &Weir, data: &str, issuer: &str) {
    let parts: Vec<&str> = data.split('.').collect();
    let read = |part: &str| URL_SAFE.decode(part).unwrap();
    let header: Value = serde_json::from_slice(&read(parts[0])).unwrap();
    let claims: Value = serde_json::from_slice(&read(parts[1])).unwrap();
    assert_eq!(
        (&header["alg"], &header["signer"], &header["client"]),
        (&json!("ES256"), &json!("app/edge"), &json!("weir"))
    );
    assert_eq!(
        (&header["iss"], &claims["sub"], &claims["email"]),
        (&json!(issuer), &json!("bob"), &json!("bob@example.org"))
    );
    let id = header["kid"].as_str().unwrap();
    assert_eq!(weir.admin("/api/v1/identity_keys").body, format!("[\"{id}\"]"));
    let pem = weir.admin(&format!("/api/v1/identity_keys/{id}")).body;
    let key = STANDARD.decode(pem.lines().filter(|line| !line.starts_with('-')).collect::<String>()).unwrap();
    // A point of P-256 is the last 65 bytes of its key in DER.
    let key = aws_lc_rs::signature::UnparsedPublicKey::new(
        &aws_lc_rs::signature::ECDSA_P256_SHA256_FIXED,
        &key[key.len() - 65..],
    );
    let signed = format!("{}.{}", parts[0], parts[1]);
    assert!(key.verify(signed.as_bytes(), &read(parts[2])).is_ok(), "{data}");
}

#[test]
fn a_session_that_was_changed_is_none() {
    let (provider, target) = (fake(3600, json!({ "sub": "bob" })), FakeTarget::answering("fine"));
    let weir = weir(&url(&provider), &target, "", SECRET);
    let mut browser = Browser::default();
    assert_eq!(log_in(&mut browser, &weir).status, 302);
    assert_eq!(get(&mut browser, &weir, "/private").status, 200);
    let cookie = browser.cookies(HOST).get_mut("AWSELBAuthSessionCookie-0").unwrap();
    let changed = if cookie.starts_with('A') { "B" } else { "A" };
    cookie.replace_range(..1, changed);
    assert_eq!(get(&mut browser, &weir, "/private").status, 302);
}

// Conformance: A2.3.28, A7.6
#[test]
fn whoever_has_not_logged_in_may_be_refused_or_let_pass_unnamed() {
    let (provider, target) = (fake(3600, json!({ "sub": "bob" })), FakeTarget::answering("fine"));
    let denying = weir(&url(&provider), &target, "on_unauthenticated_request: deny", SECRET);
    assert_eq!(
        (get(&mut Browser::default(), &denying, "/private").status, target.received().len()),
        (401, 0)
    );
    let allowing = weir(&url(&provider), &target, "on_unauthenticated_request: allow", SECRET);
    for path in ["/private", "/elsewhere"] {
        let reply =
            Browser::default().get(allowing.listener(0), HOST, path, "x-amzn-oidc-identity: alice\r\n");
        assert_eq!(reply.status, 200);
        assert!(!target.last().has("x-amzn-oidc-identity"), "{path}: only weir says who somebody is");
    }
}

#[test]
fn a_session_whose_access_token_has_ended_is_renewed_once() {
    let (provider, target) = (fake(0, json!({ "sub": "bob" })), FakeTarget::answering("fine"));
    let weir = weir(&url(&provider), &target, "", SECRET);
    let mut browser = Browser::default();
    assert_eq!(log_in(&mut browser, &weir).status, 302);
    let before = browser.cookies(HOST).clone();
    assert_eq!(get(&mut browser, &weir, "/private").status, 200);
    assert_eq!(target.last().header("x-amzn-oidc-accesstoken"), "access-renewed");
    let asked = provider.received().len();
    let mut late = Browser::default();
    *late.cookies(HOST) = before;
    assert_eq!(get(&mut late, &weir, "/private").status, 200, "one that was under way with the old cookies");
    assert_eq!(get(&mut browser, &weir, "/private").status, 200);
    assert_eq!(provider.received().len(), asked, "the renewed session is not renewed again");
}

// Conformance: A2.3.27
#[test]
fn a_session_ends_with_its_timeout() {
    let (provider, target) = (fake(3600, json!({ "sub": "bob" })), FakeTarget::answering("fine"));
    let weir = weir(&url(&provider), &target, "session_timeout: 1s, session_cookie_name: mine", SECRET);
    let mut browser = Browser::default();
    let led = log_in(&mut browser, &weir);
    assert!(
        led.header("set-cookie").starts_with("mine-0=") && led.header("set-cookie").contains("Max-Age=1;")
    );
    weir_tests::wait_until("the session is over", || get(&mut browser, &weir, "/private").status == 302);
}

#[test]
fn the_example_asks_programs_for_a_token_and_people_for_a_login() {
    let folder = Folder::new();
    Pair::new(&[HOST]).write(&folder, "shop");
    folder.write("cookies.key", SECRET);
    folder.write("client.secret", "secret\n");
    let weir = Example::read("authentication.yaml").start_in(folder);
    let mut browser = Browser::default();
    assert_eq!(get(&mut browser, &weir, "/api/x").status, 401);
    let sent = get(&mut browser, &weir, "/");
    assert!(
        sent.status == 302 && sent.header("location").starts_with("https://id.example/authorize?"),
        "{sent:?}"
    );
    assert!(![302, 401].contains(&get(&mut browser, &weir, "/public/x").status));
}

#[test]
fn a_configuration_whose_secret_is_missing_is_refused_with_its_file() {
    let (provider, target) = (fake(3600, json!({ "sub": "bob" })), FakeTarget::answering("fine"));
    let weir = weir(&url(&provider), &target, "", SECRET);
    std::fs::remove_file(weir.folder.path().join("client.secret")).unwrap();
    let text = std::fs::read_to_string(weir.folder.path().join("weir.yaml")).unwrap();
    let refused = weir.reload(&text).unwrap_err();
    assert!(refused.contains("client.secret: cannot be read"), "{refused}");
    weir.folder.write("client.secret", " \n");
    assert!(weir.reload(&text).unwrap_err().contains("client.secret: has no secret"));
    assert_eq!(get(&mut Browser::default(), &weir, "/private").status, 302, "the last good one serves on");
}
