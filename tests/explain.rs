//! `weir explain`: it says where traffic goes, and traffic goes there.

use serde_json::Value;
use weir_core::health::Health;
use weir_tests::yaml::{OFTEN, application, group};
use weir_tests::{Binary, FakeTarget, Folder, Weir, wait_until};

use crate::stickiness::{BY_LB_COOKIE, three, weir as sticky};

/// Exit status, and all that was said.
fn explain(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Binary::run(&[&["explain"], arguments].concat());
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

/// What a running weir says.
fn live(weir: &Weir, arguments: &[&str]) -> Value {
    let admin = format!("http://{}", weir.process().admin().unwrap());
    let (status, said) = explain(&[&["--admin", &admin, "--json"], arguments].concat());
    assert_eq!(status, Some(0), "{said}");
    serde_json::from_str(&said).unwrap()
}

const RULES: &str = "rules: [
    { priority: 5, conditions: [{ path_pattern: [\"/a/*\"] }, { http_request_method: [GET] }], actions: [{ forward: api }] },
    { priority: 6, conditions: [{ host_header: [\"*.shop.example\"] }], actions: [{ forward: { target_groups: [{ name: api, weight: 0 }, { name: web, weight: 3 }] } }] },
    { priority: 7, conditions: [{ query_string: [{ key: go, value: away }] }], actions: [{ redirect: { path: /gone, status_code: HTTP_301 } }] },
    { priority: 8, conditions: [{ http_header: { name: X-Env, values: [blue] } }], actions: [{ fixed_response: { status_code: 418 } }] }
    ], default_action: { forward: other }";

#[test]
fn traffic_goes_where_it_says() {
    let names = ["web", "api", "other"];
    let targets = names.map(FakeTarget::answering);
    let groups = [("web", 0), ("api", 1), ("other", 2)].map(|(name, at)| group(name, "", &[&targets[at]]));
    let weir = Weir::start_healthy(&application(&groups, "", RULES));
    let mut client = weir.client();
    for (method, host, path, field) in [
        ("GET", "a.example", "/a/b", ""),
        ("POST", "a.example", "/a/b", ""),
        ("GET", "x.shop.example", "/", ""),
        ("GET", "x.shop.example", "/a/%62", ""),
        ("GET", "a.example", "/b/../a/c", ""),
        ("GET", "a.example", "/?go=away", ""),
        ("GET", "a.example", "/?go=home", "X-Env: blue"),
        ("GET", "a.example", "/", "X-Env: green"),
    ] {
        let url = format!("http://{host}:{}{path}", weir.listener(0).port());
        let fields: &[&str] = if field.is_empty() { &[] } else { &["-H", field] };
        let said = live(&weir, &[&[method, &url], fields].concat());
        let field = if field.is_empty() { String::new() } else { format!("{field}\r\n") };
        let reply = client
            .ask(format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n{field}\r\n"));
        let outcome = said["outcome"].as_str().unwrap();
        match said["action"].as_str().unwrap() {
            "forward" => {
                let picked = said["picked"].as_str().unwrap();
                let at = targets.iter().position(|target| target.addr().to_string() == picked).unwrap();
                assert_eq!(reply.body, names[at], "{method} {url}");
                let drawn = said["target_groups"].as_array().unwrap();
                let drawn = drawn.iter().find(|group| group["is_drawn"] == true).unwrap();
                assert_eq!(drawn["name"], reply.body);
            }
            "redirect" => assert_eq!(outcome, format!("{} to {}", reply.status, reply.header("location"))),
            _ => assert_eq!(outcome, format!("{} by weir itself", reply.status)),
        }
    }
    let asked = live(&weir, &["GET", "/a/b", "-H", "Host: x.shop.example"]);
    assert_eq!((asked["rule"].as_str(), asked["untried_rules"].as_u64()), (Some("5"), Some(3)));
    let picked: u64 = weir.snapshot().members().map(|(_, member)| member.target.tally.picked()).sum();
    assert_eq!(picked, 6, "questions count nothing");
}

#[test]
fn it_says_what_is_hashed_and_whether_the_request_has_it() {
    let targets = ["a", "b", "c"].map(FakeTarget::answering);
    let settings =
        "load_balancing_algorithm: maglev, hash: { on: cookie, name: session, balance_factor: 125 }";
    let groups = [group("carts", settings, &targets.each_ref())];
    let weir = Weir::start_healthy(&application(&groups, "", "default_action: { forward: carts }"));
    for session in 0..9 {
        let said = live(&weir, &["GET", "/", "-H", &format!("Cookie: session={session}")]);
        assert_eq!(said["hash"], "cookie session");
        assert!(said["targets"].as_array().unwrap().iter().all(|target| target["is_within_bounds"] == true));
        let head = format!("GET / HTTP/1.1\r\nHost: a\r\nCookie: session={session}\r\n\r\n");
        let by = weir.client().ask(head).body;
        let picked = targets.iter().position(|target| said["picked"] == target.addr().to_string()).unwrap();
        assert_eq!(by, ["a", "b", "c"][picked]);
    }
    let said = live(&weir, &["GET", "/"]);
    assert_eq!(said["hash"], "cookie session, which the request does not have: any target");
}

#[test]
fn it_knows_whom_a_client_sticks_to() {
    let targets = three();
    let weir = sticky(&targets, BY_LB_COOKIE);
    let reply = weir.get("/");
    let cookie = reply.header("set-cookie").split(';').next().unwrap().to_owned();
    let said = live(&weir, &["GET", "/", "-H", &format!("Cookie: {cookie}")]);
    let at = ["one", "two", "three"].iter().position(|name| *name == reply.body).unwrap();
    assert_eq!(said["picked"], targets[at].addr().to_string());
    assert_eq!(said["stickiness"], "sent where its cookie says");
}

#[test]
fn it_says_which_cookie_comes_with_the_response() {
    let target = FakeTarget::answering("web");
    let stays = "default_action: { forward: { target_groups: [{ name: web, weight: 1 }, { name: also, weight: 1 }], stickiness: { duration: 1h } } }";
    for (group_settings, action, expected) in [
        (
            BY_LB_COOKIE,
            "default_action: { forward: web }",
            "no cookie of a target: one is set with the response",
        ),
        (
            "stickiness: { type: app_cookie, cookie_name: s, duration: 1h }",
            "default_action: { forward: web }",
            "no cookies of a target: one is set as soon as the application sets its own",
        ),
        ("", stays, "clients stay in the group: its cookie is set with the response"),
    ] {
        let groups = ["web", "also"].map(|name| group(name, group_settings, &[&target]));
        let yaml = application(&groups, "", action);
        let weir = Weir::start(&yaml);
        weir.wait_for_health(target.addr(), Health::Healthy);
        assert_eq!(live(&weir, &["GET", "/"])["stickiness"], expected, "{group_settings}");
    }
}

#[test]
fn it_shows_every_target_with_its_state_and_what_the_algorithm_sees() {
    let (well, sick) = (FakeTarget::answering("well"), FakeTarget::answering("sick"));
    sick.set_health(503);
    let groups = [group(
        "web",
        &format!("load_balancing_algorithm: least_outstanding_requests, {OFTEN}"),
        &[&well, &sick],
    )];
    let weir = Weir::start(&application(&groups, "", "default_action: { forward: web }"));
    wait_until("both have been probed", || {
        [&well, &sick]
            .iter()
            .all(|target| !weir.member(target.addr()).unwrap().health.to_string().contains("initial"))
    });
    let said = live(&weir, &["GET", "/"]);
    let of = |target: &FakeTarget| {
        let all = said["targets"].as_array().unwrap();
        all.iter().find(|candidate| candidate["address"] == target.addr().to_string()).unwrap()
    };
    assert_eq!((&of(&well)["is_eligible"], &of(&well)["load"]), (&true.into(), &1.0.into()));
    assert_eq!((&of(&sick)["is_eligible"], &of(&sick)["state"]), (&false.into(), &"unhealthy".into()));
}

#[test]
fn a_configuration_is_asked_without_a_weir_that_runs() {
    let folder = Folder::new();
    let yaml = application(
        &[group("web", "", &[]).replace("targets: []", "targets: [{ address: 127.0.0.1, port: 9 }]")],
        "",
        "rules: [{ priority: 1, conditions: [{ path_pattern: [\"/x\"] }], actions: [{ fixed_response: { status_code: 403 } }] }], default_action: { forward: web }",
    );
    folder.write("weir.yaml", &yaml);
    let path = folder.path().join("weir.yaml");
    let path = path.to_str().unwrap();
    let (status, said) = explain(&["-c", path, "GET", "http://a.example/y"]);
    assert_eq!(status, Some(0), "{said}");
    for part in ["rule 1", "no", "path_pattern /x", "default", "127.0.0.1:9", "<- picked", "=> forwarded to"]
    {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
    let (_, said) = explain(&["-c", path, "GET", "/x"]);
    assert!(said.contains("=> 403 by weir itself"), "{said}");
}

#[test]
fn a_question_without_an_answer_says_what_to_ask() {
    let target = FakeTarget::answering("web");
    let weir = Weir::start_healthy(&application(
        &[group("web", "", &[&target])],
        "",
        "default_action: { forward: web }",
    ));
    let admin = format!("http://{}", weir.process().admin().unwrap());
    let ask = |url: &str| explain(&["--admin", &admin, "GET", url]);
    let port = weir.listener(0).port();
    let (status, said) = ask("http://a.example:1/");
    assert_eq!(status, Some(1));
    assert!(said.contains(&format!("no listener is asked for; name one of edge:{port}")), "{said}");
    let (status, said) = ask("a.example");
    assert!(status == Some(1) && said.contains("write http://host/path or /path"), "{said}");
}
