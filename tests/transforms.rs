//! Rules that have targets asked for something else than the client asked for.

use weir_tests::http2::request;
use weir_tests::yaml::{application, group_of};
use weir_tests::{Capture, Folder, Http2Client, Http2Target, Weir, run};

use crate::access_log::{fields, lines};
use crate::at_the_target;

/// A rule that forwards what begins with `/dp/`, transformed.
fn rule(transforms: &str) -> String {
    format!(
        "rules: [{{ priority: 1, conditions: [{{ path_pattern: [\"/dp/*\"] }}], transforms: [{transforms}], actions: [{{ forward: web }}] }}], default_action: {{ forward: web }}"
    )
}

fn weir(target: &Capture, settings: &str, transforms: &str) -> Weir {
    at_the_target::weir(target, settings, &rule(transforms))
}

const PRODUCT: &str =
    "{ url_rewrite: { regex: \"^/dp/([A-Za-z0-9]+)/?([?].*)?$\", replace: \"/product.php$2&id=$1\" } }";

// Conformance: A2.2.3, A2.2.4, A2.2.5, A2.2.6, A6.1
#[test]
fn a_target_is_asked_for_what_the_rule_s_transforms_make_of_a_request() {
    let target = Capture::new();
    let host = "{ host_header_rewrite: { regex: \"^shop[.]\", replace: \"backend.\" } }";
    let weir = weir(&target, "", &format!("{PRODUCT}, {host}"));
    let port = weir.listener(0).port();
    for (path, host, sent, told) in [
        ("/dp/B00?x=1", "shop.example", "/product.php?x=1&id=B00", format!("backend.example:{port}")),
        ("/dp/B-00", "other.example", "/dp/B-00", format!("other.example:{port}")),
        ("/dp/B01?y=2", "Shop.Example", "/product.php?y=2&id=B01", format!("backend.example:{port}")),
        ("/b", "shop.example", "/b", format!("shop.example:{port}")),
        ("/x/../%64p/B00?", "shop.example:7", "/product.php?&id=B00", "backend.example:7".to_owned()),
        (
            "http://shop.example/dp/B1?a",
            "shop.example",
            "/product.php?a&id=B1",
            format!("backend.example:{port}"),
        ),
    ] {
        let reply = weir.client().ask(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(reply.status, 200, "{path}");
        let asked = target.requests();
        let is_so = asked.iter().any(|asked| asked.target == sent && asked.field("host") == told);
        assert!(is_so, "{path} {host}: {asked:?}");
    }
    assert_eq!(target.dirt(), Vec::<String>::new());
}

// Conformance: A2.2.7, A7.18
#[test]
fn what_no_target_can_be_asked_for_is_500_and_reaches_none() {
    for (transform, reason) in [
        ("{ url_rewrite: { regex: \"^/\", replace: \"\" } }", "transform_invalid_path"),
        ("{ url_rewrite: { regex: \"/dp\", replace: \"/a b\" } }", "transform_invalid_path"),
        ("{ url_rewrite: { regex: \"/dp\", replace: \"/a#b\" } }", "transform_invalid_path"),
        ("{ host_header_rewrite: { regex: \"^\", replace: \"a/\" } }", "transform_invalid_host"),
        ("{ host_header_rewrite: { regex: \".*\", replace: \"\" } }", "transform_invalid_host"),
    ] {
        let target = Capture::new();
        let weir = weir(&target, "", transform);
        let reply = weir.get("/dp/x");
        assert_eq!((reply.status, target.requests().len()), (500, 0), "{transform}");
        let failed = format!(
            "weir_request_errors_total{{load_balancer=\"edge\",listener=\"{}\",reason=\"{reason}\"}}",
            weir.listener(0)
        );
        assert!(weir.metric(&failed) > 0.0, "{transform}");
        assert_eq!(weir.get("/").status, 200);
    }
    let target = Capture::new();
    let long = weir(&target, "", "{ url_rewrite: { regex: \"/dp/(.*)\", replace: \"/$1$1$1$1$1\" } }");
    assert_eq!(long.get(&format!("/dp/{}", "x".repeat(4000))).status, 500);
}

#[test]
fn a_target_that_speaks_http_2_is_asked_so_too() {
    let target = Http2Target::answering("fine");
    let groups = [group_of("web", "protocol_version: http2", &target.yaml())];
    let weir = Weir::start_healthy(&application(&groups, "http2_prior_knowledge: true", &rule(PRODUCT)));
    run(async {
        let mut client = Http2Client::connect(weir.listener(0)).await;
        assert_eq!(client.ask(request("GET", "/dp/B00?x"), b"").await.status, 200);
    });
    let uri = target.received()[0].uri().clone();
    assert_eq!(uri.path_and_query().unwrap().as_str(), "/product.php?x&id=B00");
}

// Conformance: A2.2.8, A10.12
#[test]
fn the_log_tells_what_the_target_was_asked_for_and_whether_that_went_well() {
    let (folder, target) = (Folder::new(), Capture::new());
    let path = folder.path().join("access.log");
    let log = format!("access_log: {{ path: {} }}", path.display());
    let weir = weir(&target, &log, "{ url_rewrite: { regex: \"^/dp/(.?)\", replace: \"$1\" } }");
    // On one connection, and so in one worker's order.
    let mut client = weir.client();
    for path in ["/dp//x", "/dp/x", "/"] {
        client.get(path);
    }
    let lines: Vec<Vec<String>> = lines(&path, 3).iter().map(|line| fields(line)).collect();
    assert_eq!(lines[0][22], "forward,rewrite");
    assert_eq!(lines[0][30..], ["-", "/x", "TransformSuccess"]);
    assert_eq!(lines[1][8..10], ["500", "-"]);
    assert_eq!(
        (lines[1][24].as_str(), lines[1][32].as_str()),
        ("transform_invalid_path", "TransformInvalidPath")
    );
    assert_eq!(lines[2][30..], ["-", "-", "-"]);
}

// Conformance: A2.2.10
#[test]
fn a_rewrite_replaces_a_host_that_is_otherwise_preserved() {
    let target = Capture::new();
    let rewrite = "{ host_header_rewrite: { regex: \"^shop[.]\", replace: \"backend.\" } }";
    let weir = weir(&target, "preserve_host_header: true", rewrite);
    for (host, told) in [("shop.example", "backend.example"), ("Other.example", "Other.example")] {
        weir.client().ask(format!("GET /dp/x HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(target.requests().last().unwrap().field("host"), told);
        target.forget();
    }
}
