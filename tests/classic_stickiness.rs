//! Clients of a classic listener that come back to their instance.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::net::SocketAddr;

use weir_core::health::Health;
use weir_tests::target::respond;
use weir_tests::yaml::classic;
use weir_tests::{FakeTarget, Reply, Weir, free_port, wait_until};

use crate::stickiness::{Jar, set_cookies};

/// Three instances that answer with their names; at `/login` the application sets its cookie, by this line.
fn instances(third: u8, set: &'static str) -> (u16, [FakeTarget; 3]) {
    let port = free_port();
    let at = |last: u8, name: &'static str| {
        FakeTarget::at(SocketAddr::from(([127, 2, third, last], port)), move |received, stream| {
            if received.request_line.contains("/login") {
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nSet-Cookie: {set}\r\nContent-Length: {}\r\n\r\n{name}",
                    name.len()
                );
                return stream.write_all(answer.as_bytes()).is_ok();
            }
            respond(stream, 200, name)
        })
    };
    (port, [at(1, "one"), at(2, "two"), at(3, "three")])
}

fn weir(third: u8, port: u16, stickiness: &str) -> Weir {
    let instances = [1, 2, 3].map(|last| format!("127.2.{third}.{last}"));
    let listener = format!("instance_port: {port}, stickiness: {stickiness}");
    Weir::start_healthy(&classic(
        &instances.each_ref().map(String::as_str),
        &format!("HTTP:{port}/healthz"),
        "",
        &listener,
    ))
}

/// Asks for a path with these cookies, on a connection of its own.
fn ask(weir: &Weir, path: &str, jar: &Jar) -> Reply {
    weir.client().ask(format!(
        "GET {path} HTTP/1.1\r\nHost: a.example\r\nCookie: {}\r\nConnection: close\r\n\r\n",
        jar.line()
    ))
}

/// Who answer several requests with these cookies.
fn answering(weir: &Weir, jar: &Jar) -> BTreeSet<String> {
    (0..12).map(|_| ask(weir, "/", jar).body).collect()
}

// Conformance: C4.1, C4.3
#[test]
fn a_client_gets_its_cookies_once_and_comes_back_by_either() {
    let (port, _instances) = instances(1, "");
    for (stickiness, kept) in
        [("{ type: lb_cookie, duration: 60s }", "; Max-Age=60"), ("{}", ""), ("{ duration: 0s }", "")]
    {
        let weir = weir(1, port, stickiness);
        let (mut client, mut jar) = (weir.client(), Jar::default());
        let first = jar.ask(&mut client);
        let cookies = set_cookies(&first);
        let attributes: Vec<&str> =
            cookies.iter().map(|cookie| &cookie[cookie.find(';').unwrap()..]).collect();
        assert_eq!(attributes, [format!("; Path=/{kept}"), format!("; Path=/{kept}; SameSite=None; Secure")]);
        for name in ["AWSELB", "AWSELBCORS"] {
            let again = ask(&weir, "/", &Jar::of(name, &jar.0[name]));
            assert_eq!(set_cookies(&again).len(), 0, "it is never refreshed");
            assert_eq!(answering(&weir, &Jar::of(name, &jar.0[name])), [first.body.clone()].into());
        }
    }
}

// Conformance: C4.4
#[test]
fn an_instance_that_fails_is_as_no_cookie() {
    let (port, instances) = instances(2, "");
    let weir = weir(2, port, "{}");
    let (mut client, mut jar) = (weir.client(), Jar::default());
    let first = jar.ask(&mut client).body;
    let its = instances.iter().zip(["one", "two", "three"]).find(|(_, name)| *name == first).unwrap().0;
    its.set_health(500);
    wait_until("it is out of service", || weir.member(its.addr()).unwrap().health != Health::Healthy);
    let second = ask(&weir, "/", &jar);
    assert!(second.body != first && set_cookies(&second).len() == 2, "another instance, another cookie");
    let value =
        set_cookies(&second)[0].split(';').next().unwrap().strip_prefix("AWSELB=").unwrap().to_owned();
    its.set_health(200);
    weir.wait_for_health(its.addr(), Health::Healthy);
    assert_eq!(
        answering(&weir, &Jar::of("AWSELB", &value)),
        [second.body].into(),
        "it stays with the new one"
    );
}

#[test]
fn a_cookie_that_somebody_has_made_is_none() {
    let (port, _instances) = instances(3, "");
    let weir = weir(3, port, "{}");
    let made = Jar::of("AWSELB", &"A".repeat(128));
    assert_eq!(set_cookies(&ask(&weir, "/", &made)).len(), 2);
    assert!(answering(&weir, &made).len() > 1);
}

// Conformance: C4.2
#[test]
fn a_client_sticks_for_as_long_as_the_application_s_cookie() {
    let set = "session=1; Path=/a_b; Max-Age=60; HttpOnly";
    let (port, _instances) = instances(4, set);
    let weir = weir(4, port, "{ type: app_cookie, cookie_name: session }");
    assert_eq!(
        set_cookies(&ask(&weir, "/", &Jar::default())).len(),
        0,
        "nothing before the application does"
    );
    let first = ask(&weir, "/login", &Jar::default());
    let cookies = set_cookies(&first);
    let [own, ours, cross] = &cookies[..] else { panic!("{cookies:?}") };
    assert_eq!(*own, set);
    assert!(ours.starts_with("AWSELB=") && ours.ends_with("; Path=/a%5Fb; Max-Age=60; HttpOnly"), "{ours}");
    assert!(
        cross.starts_with("AWSELBCORS=") && cross.ends_with("; HttpOnly; SameSite=None; Secure"),
        "{cross}"
    );
    let value = ours.split(';').next().unwrap().strip_prefix("AWSELB=").unwrap();
    let mut jar = Jar::of("AWSELB", value);
    assert!(answering(&weir, &jar).len() > 1, "without the application's cookie it says nothing");
    jar.0.insert("session".to_owned(), "1".to_owned());
    assert_eq!(answering(&weir, &jar), [first.body].into());
}

// Conformance: C4.2
#[test]
fn an_application_s_cookie_that_ends_with_a_semicolon_is_passed_over() {
    let (port, _instances) = instances(5, "session=1; Path=/;");
    let weir = weir(5, port, "{ type: app_cookie, cookie_name: session }");
    assert_eq!(set_cookies(&ask(&weir, "/login", &Jar::default())), ["session=1; Path=/;"]);
}
