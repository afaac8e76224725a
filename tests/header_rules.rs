//! What a listener changes of header fields, whatever the rule.

use std::io::Write as _;

use weir_tests::http2::request_with;
use weir_tests::tls::Pair;
use weir_tests::yaml::{application, group};
use weir_tests::{FakeTarget, Folder, Http2Client, Weir, run};

const SET: &str = "routing_http_response_strict_transport_security_header_value: max-age=9, routing_http_response_x_frame_options_header_value: DENY";
const RULES: &str = "rules: [{ priority: 1, conditions: [{ path_pattern: [/fixed] }], actions: [{ fixed_response: { status_code: 200 } }] }], default_action: { forward: web }";

fn framing() -> FakeTarget {
    const ANSWER: &[u8] = b"HTTP/1.1 200 Fine\r\nx-frame-options: SAMEORIGIN\r\nServer: mine\r\nX-Own: 1\r\nContent-Length: 3\r\n\r\nweb";
    FakeTarget::behaving(|_, stream| stream.write_all(ANSWER).is_ok())
}

fn weir(target: &FakeTarget, listener: &str) -> Weir {
    Weir::start_healthy(&application(
        &[group("web", "", &[target])],
        "http2_prior_knowledge: true",
        &format!("{listener}, {RULES}"),
    ))
}

// Conformance: A5.1.3
#[test]
fn every_response_has_what_the_listener_sets_in_place_of_what_the_target_has_set() {
    let target = framing();
    let weir = weir(&target, SET);
    let mut client = weir.client();
    let reply = client.get("/");
    assert_eq!((reply.header("x-frame-options"), reply.header("x-own")), ("DENY", "1"));
    assert_eq!((reply.header("strict-transport-security"), reply.header("server")), ("max-age=9", "mine"));
    assert_eq!(reply.headers.iter().filter(|(name, _)| name == "x-frame-options").count(), 1);
    let fixed = client.get("/fixed");
    assert_eq!((fixed.header("x-frame-options"), fixed.header("server")), ("DENY", "weir"));
    let refused = client.ask("GET / HTTP/1.1\r\n\r\n");
    assert_eq!((refused.status, refused.header("x-frame-options")), (400, "DENY"), "refused, and dressed");
    run(async {
        let mut client = Http2Client::connect(weir.listener(0)).await;
        let reply = client.get("/").await;
        assert_eq!((reply.header("x-frame-options"), reply.header("server")), ("DENY", "mine"));
    });
}

// Conformance: A5.1.4, A5.1.6
#[test]
fn responses_can_be_without_a_server() {
    let target = framing();
    let weir = weir(&target, "routing_http_response_server_enabled: false");
    for path in ["/", "/fixed"] {
        assert_eq!(weir.get(path).header("server"), "", "{path}");
    }
    assert_eq!(weir.get("/").header("x-frame-options"), "SAMEORIGIN");
}

/// What a target is told of a request over TLS with these fields.
fn told(settings: &str, listener: &str, fields: &[(&str, &str)]) -> impl Fn(&str) -> String {
    let (folder, target) = (Folder::new(), FakeTarget::answering("web"));
    Pair::new(&["shop.example"]).write(&folder, "shop");
    let yaml = application(
        &[group("web", "", &[&target])],
        settings,
        &format!(
            "protocol: https, certificates: {{ certificate: shop.pem, key: shop.key }}, {listener}default_action: {{ forward: web }}"
        ),
    );
    let weir = Weir::start_in(folder, &yaml, |_| {});
    weir.wait_until_healthy();
    run(async {
        let mut client = Http2Client::connect_secure(weir.listener(0), "shop.example").await;
        assert_eq!(client.ask(request_with("GET", "/", fields), b"").await.status, 200);
    });
    let last = target.last();
    move |name| last.header(name).to_owned()
}

// Conformance: A5.0.7, A6.43
#[test]
fn targets_are_told_of_tls_where_that_is_wanted_and_clients_cannot_say_it_for_weir() {
    let posing = [("x-amzn-tls-version", "SSLv2"), ("X-Amzn-Tls-Cipher-Suite", "none")]
        .map(|(name, value)| (name.to_ascii_lowercase(), value));
    let posing: Vec<(&str, &str)> = posing.iter().map(|(name, value)| (name.as_str(), *value)).collect();
    let header = told("x_amzn_tls_version_and_cipher_suite: true", "", &posing);
    assert_eq!(header("x-amzn-tls-version"), "TLSv1.3");
    assert!(header("x-amzn-tls-cipher-suite").starts_with("TLS_"), "{}", header("x-amzn-tls-cipher-suite"));
    let header = told("x_amzn_tls_version_and_cipher_suite: false", "", &[]);
    assert_eq!(header("x-amzn-tls-version"), "");
}

// Conformance: A5.1.2
#[test]
fn what_targets_are_told_can_have_a_name_of_the_listener_s_own() {
    let name = "routing_http_request_x_amzn_tls_version_header_name: X-My-Tls, ";
    let header = told("x_amzn_tls_version_and_cipher_suite: true", name, &[("x-my-tls", "SSLv2")]);
    assert_eq!((header("x-my-tls").as_str(), header("x-amzn-tls-version").as_str()), ("TLSv1.3", ""));
}

#[test]
fn clients_without_tls_cannot_claim_it() {
    let target = FakeTarget::answering("web");
    let weir = Weir::start_healthy(&application(
        &[group("web", "", &[&target])],
        "x_amzn_tls_version_and_cipher_suite: true",
        "default_action: { forward: web }",
    ));
    weir.client().ask("GET / HTTP/1.1\r\nHost: a\r\nX-Amzn-Tls-Version: TLSv1.3\r\n\r\n");
    assert!(!target.last().has("x-amzn-tls-version"));
}

#[test]
fn a_name_of_the_listener_s_own_is_weir_s_alone_also_where_there_is_nothing_to_tell() {
    let target = FakeTarget::answering("web");
    let name = "routing_http_request_x_amzn_mtls_clientcert_header_name: X-Client-Cert";
    let weir = weir(&target, name);
    weir.client().ask("GET / HTTP/1.1\r\nHost: a\r\nX-Client-Cert: forged\r\n\r\n");
    assert!(!target.last().has("x-client-cert"));
}
