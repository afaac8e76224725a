//! Limits hold, and what waits behind one is served when there is room.

use weir_tests::yaml::application;
use weir_tests::{Weir, wait_until};

// Conformance: A11.2, A11.4
#[test]
fn connections_beyond_the_limit_wait_until_one_has_ended() {
    let yaml = application(&[], "", "default_action: { fixed_response: { status_code: 200 } }")
        .replace("target_groups:\n", "");
    let weir = Weir::start(&format!("limits: {{ connections: 2 }}\n{yaml}"));
    let mut first = weir.client();
    let mut second = weir.client();
    assert_eq!((first.get("/").status, second.get("/").status), (200, 200));
    let mut third = weir.client();
    third.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!((weir.metric("weir_connections_open") - 2.0).abs() < 0.1);
    assert_eq!(first.get("/").status, 200, "those that are in are served on");
    drop(first);
    assert_eq!(third.reply().status, 200);
    wait_until("two are open again", || (weir.metric("weir_connections_open") - 2.0).abs() < 0.1);
}
