//! Which group a request goes to.

use weir_core::health::Health;
use weir_tests::yaml::{application, group};
use weir_tests::{Client, FakeTarget, Folder, Weir};

/// A weir with a rule for each kind of condition, each leading to an answer of its own.
fn routed() -> (Weir, [FakeTarget; 2]) {
    let targets = [FakeTarget::answering("api"), FakeTarget::answering("web")];
    let groups = [group("api", "", &[&targets[0]]), group("web", "", &[&targets[1]])];
    let text = |status: u16, body: &str| {
        format!("actions: [{{ fixed_response: {{ status_code: {status}, message_body: \"{body}\" }} }}]")
    };
    let rules = [
        "{ priority: 10, conditions: [{ path_pattern: [\"/api/*\"] }], actions: [{ forward: api }] }"
            .to_owned(),
        format!(
            "{{ priority: 20, conditions: [{{ host_header: [\"*.shop.example\"] }}], {} }}",
            text(200, "host")
        ),
        format!(
            "{{ priority: 30, conditions: [{{ http_header: {{ name: X-Env, values: [\"blue*\"] }} }}], {} }}",
            text(200, "header")
        ),
        format!(
            "{{ priority: 40, conditions: [{{ http_request_method: [DELETE] }}, {{ source_ip: [127.0.0.0/8] }}], {} }}",
            text(403, "no")
        ),
        format!(
            "{{ priority: 50, conditions: [{{ query_string: [{{ key: version, value: \"2\" }}] }}], {} }}",
            text(200, "query")
        ),
        format!("{{ priority: 60, conditions: [{{ source_ip: [10.0.0.0/8] }}], {} }}", text(200, "never")),
    ];
    let listener = format!("rules: [{}], default_action: {{ forward: web }}", rules.join(", "));
    (Weir::start_healthy(&application(&groups, "", &listener)), targets)
}

// Conformance: A1.1, A2.0.2, A2.1.1, A2.1.6, A2.1.12, A2.1.14, A2.1.18, A2.1.22
#[test]
fn a_request_goes_where_the_first_rule_that_matches_it_leads() {
    let (weir, _targets) = routed();
    let ask = |line: &str, headers: &str| {
        let request = format!("{line} HTTP/1.1\r\nConnection: close\r\n{headers}\r\n");
        let reply = weir.client().ask(request);
        (reply.status, reply.body)
    };
    let host = "Host: a.example\r\n";
    let cases = [
        ("GET /api/x", host.to_owned(), (200, "api")),
        ("GET /API/x", host.to_owned(), (200, "web")),
        ("GET /%61pi/x", host.to_owned(), (200, "api")),
        ("GET /web/%2e%2E/api/x", host.to_owned(), (200, "api")),
        ("GET /api/../x", host.to_owned(), (200, "web")),
        ("GET /", "Host: Eu.Shop.Example:80\r\n".to_owned(), (200, "host")),
        ("GET /api/x", "Host: eu.shop.example\r\n".to_owned(), (200, "api")),
        ("GET /", format!("{host}x-env: BLUE-2\r\n"), (200, "header")),
        ("GET /", format!("{host}x-env: green\r\nx-env: blue\r\n"), (200, "header")),
        ("DELETE /", host.to_owned(), (403, "no")),
        ("GET /?a=1&version=2", host.to_owned(), (200, "query")),
        ("GET /?version=3", host.to_owned(), (200, "web")),
        ("GET http://b.shop.example/", host.to_owned(), (200, "host")),
    ];
    for (line, headers, (status, body)) in cases {
        assert_eq!(ask(line, &headers), (status, body.to_owned()), "{line} {headers:?}");
    }
}

// Conformance: A2.1.26, A2.1.30
#[test]
fn regular_expressions_match_hosts_and_headers_in_any_case_and_paths_in_theirs() {
    let rule = |priority: u32, condition: &str, body: &str| {
        format!(
            "{{ priority: {priority}, conditions: [{{ {condition} }}], actions: [{{ fixed_response: {{ status_code: 200, message_body: {body} }} }}] }}"
        )
    };
    let rules = [
        rule(10, "path_pattern: { regex_values: [\"^/item/[0-9]+$\"] }", "item"),
        rule(20, "host_header: { regex_values: [\"^(www[.])?shop[.]example$\"] }", "shop"),
        rule(30, "http_header: { name: User-Agent, regex_values: [\"bot|crawler\"] }", "bot"),
    ]
    .join(", ");
    let listener = format!("rules: [{rules}], default_action: {{ fixed_response: {{ status_code: 404 }} }}");
    let target = FakeTarget::answering("web");
    let weir = Weir::start(&application(&[group("web", "", &[&target])], "", &listener));
    for (path, host, agent, answer) in [
        ("/item/42", "a.example", "x", "item"),
        ("/item/42?x=/item/1", "a.example", "x", "item"),
        ("/ITEM/42", "a.example", "x", ""),
        ("/item/x", "a.example", "x", ""),
        ("/", "WWW.Shop.Example:80", "x", "shop"),
        ("/", "my.shop.example", "x", ""),
        ("/", "a.example", "GoogleBot/2", "bot"),
    ] {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {agent}\r\nConnection: close\r\n\r\n"
        );
        assert_eq!(weir.client().ask(request).body, answer, "{path} {host} {agent}");
    }
}

// Conformance: A2.3.9, A2.3.10, A2.3.11, A2.3.12, A2.3.16, A2.3.21
#[test]
fn a_redirect_keeps_what_it_does_not_change() {
    let redirects = [
        ("/old/*", "{ path: \"/new/#{path}\", status_code: HTTP_301 }"),
        ("/secure/*", "{ protocol: HTTPS, port: \"443\", status_code: HTTP_302 }"),
        (
            "/all/*",
            "{ protocol: \"#{protocol}\", host: \"x.#{host}\", port: \"#{port}\", path: \"/#{path}\", query: \"q=1&#{query}\", status_code: HTTP_302 }",
        ),
    ];
    let rules: Vec<String> = redirects
        .iter()
        .enumerate()
        .map(|(at, (path, redirect))| {
            format!(
                "{{ priority: {}, conditions: [{{ path_pattern: [\"{path}\"] }}], actions: [{{ redirect: {redirect} }}] }}",
                at + 1
            )
        })
        .collect();
    let nothing = "default_action: { fixed_response: { status_code: 404 } }";
    let weir = Weir::start(
        &application(&[], "", &format!("rules: [{}], {nothing}", rules.join(", ")))
            .replace("target_groups:\n", ""),
    );
    let port = weir.listener(0).port();
    let cases = [
        ("/old/a?b=c", 301, format!("http://a.example:{port}/new/old/a?b=c")),
        ("/secure/a", 302, "https://a.example:443/secure/a".to_owned()),
        ("/all/a?b=c", 302, format!("http://x.a.example:{port}/all/a?q=1&b=c")),
    ];
    for (path, status, location) in cases {
        let reply = weir.get(path);
        assert_eq!((reply.status, reply.header("location")), (status, location.as_str()), "{path}");
    }
}

// Conformance: A2.3.23, A2.3.25
#[test]
fn a_fixed_response_has_its_status_type_and_body() {
    let listener = "default_action: { fixed_response: { status_code: 418, content_type: application/json, message_body: '{\"tea\":true}' } }";
    let weir = Weir::start(&application(&[], "", listener).replace("target_groups:\n", ""));
    let reply = weir.get("/");
    assert_eq!(reply.status, 418);
    assert_eq!(reply.header("content-type"), "application/json");
    assert_eq!(reply.body, "{\"tea\":true}");
}

// Conformance: A1.2, A2.3.3, A2.3.6
#[test]
fn groups_share_requests_by_their_weights() {
    const REQUESTS: usize = 1000;
    let targets =
        [FakeTarget::answering("blue"), FakeTarget::answering("green"), FakeTarget::answering("never")];
    let names = ["blue", "green", "never"];
    let groups: Vec<String> =
        names.iter().zip(&targets).map(|(name, target)| group(name, "", &[target])).collect();
    let forward = "{ target_groups: [{ name: blue, weight: 9 }, { name: green, weight: 1 }, { name: never, weight: 0 }] }";
    let yaml = format!(
        "workers: 1\n{}",
        application(&groups, "", &format!("default_action: {{ forward: {forward} }}"))
    );
    let weir = Weir::start_in(Folder::new(), &yaml, |setup| setup.seed = Some(1));
    weir.wait_until_healthy();
    let mut client = weir.client();
    let bodies: Vec<String> = (0..REQUESTS).map(|_| client.get("/").body).collect();
    let count = |name: &str| bodies.iter().filter(|body| *body == name).count();
    assert_eq!(count("never"), 0);
    assert_eq!(count("blue") + count("green"), REQUESTS);
    // Four standard deviations of a binomial draw; the seed makes it the same every time.
    assert!(
        (862..=938).contains(&count("blue")),
        "{} of {REQUESTS} went to the group of weight 9",
        count("blue")
    );
}

// Conformance: A1.3, A1.15, A3.3.5
#[test]
fn targets_take_turns() {
    let targets = [FakeTarget::answering("a"), FakeTarget::answering("b"), FakeTarget::answering("c")];
    let yaml = format!("workers: 1\n{}", weir_tests::yaml::forwarding_to(&targets.each_ref()));
    let weir = Weir::start_healthy(&yaml);
    let mut client: Client = weir.client();
    let bodies: Vec<String> = (0..6).map(|_| client.get("/").body).collect();
    assert_eq!(bodies[..3], bodies[3..]);
    let mut names = bodies[..3].to_vec();
    names.sort();
    assert_eq!(names, ["a", "b", "c"]);
}

// Conformance: A2.0.5, A2.1.19
#[test]
fn the_conditions_of_a_rule_must_all_hold() {
    let field = |name: &str, value: &str| format!("{{ http_header: {{ name: {name}, values: [{value}] }} }}");
    let conditions = [field("X-Env", "blue"), field("X-Env", "eu"), field("X-Beta", "on")].join(", ");
    let listener = format!(
        "rules: [{{ priority: 1, conditions: [{conditions}], actions: [{{ fixed_response: {{ status_code: 418 }} }}] }}], default_action: {{ fixed_response: {{ status_code: 404 }} }}"
    );
    let weir = Weir::start(&application(&[], "", &listener));
    let mut client = weir.client();
    for (fields, status) in [
        ("X-Env: blue\r\nX-Env: eu\r\nX-Beta: on\r\n", 418),
        ("X-Env: blue\r\nX-Beta: on\r\n", 404),
        ("X-Env: blue\r\nX-Env: eu\r\n", 404),
    ] {
        let reply = client.ask(format!("GET / HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n"));
        assert_eq!(reply.status, status, "{fields}");
    }
}

// Conformance: A2.3.4
#[test]
fn a_group_without_targets_keeps_its_share() {
    let target = FakeTarget::answering("web");
    let groups = [group("web", "", &[&target]), group("empty", "", &[])];
    let forward = "{ target_groups: [{ name: web }, { name: empty }] }";
    let yaml = format!(
        "workers: 1\n{}",
        application(&groups, "", &format!("default_action: {{ forward: {forward} }}"))
    );
    let weir = Weir::start_in(Folder::new(), &yaml, |setup| setup.seed = Some(1));
    weir.wait_for_health(target.addr(), Health::Healthy);
    let mut client = weir.client();
    let statuses: Vec<u16> = (0..200).map(|_| client.get("/").status).collect();
    let count = |status: u16| statuses.iter().filter(|answered| **answered == status).count();
    assert_eq!(count(200) + count(503), 200);
    // Six standard deviations of a binomial draw; the seed makes it the same every time.
    assert!((58..=142).contains(&count(503)), "{} of 200 found nobody", count(503));
}
