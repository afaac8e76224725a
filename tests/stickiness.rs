//! Clients that come back to where they were, by the cookies that they bring.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime};

use weir_core::health::Health;
use weir_tests::yaml::{OFTEN, application, group, group_of};
use weir_tests::{Client, FakeTarget, Folder, Reply, Weir, wait_until};

use crate::access_log::{fields, lines};

pub(crate) const FORWARD: &str = "default_action: { forward: web }";
pub(crate) const BY_LB_COOKIE: &str = "stickiness: { type: lb_cookie, duration: 1h }";
const BY_APP_COOKIE: &str = "stickiness: { type: app_cookie, cookie_name: session, duration: 1h }";

/// The two groups of a forward action whose clients stay in theirs.
pub(crate) fn weighted(web: u16, api: u16) -> String {
    format!(
        "default_action: {{ forward: {{ target_groups: [{{ name: web, weight: {web} }}, {{ name: api, weight: {api} }}], stickiness: {{ duration: 1h }} }} }}"
    )
}

/// Three targets that answer with their names.
pub(crate) fn three() -> [FakeTarget; 3] {
    ["one", "two", "three"].map(FakeTarget::answering)
}

/// A weir whose clients stick to three targets, all of them healthy.
pub(crate) fn weir(targets: &[FakeTarget; 3], settings: &str) -> Weir {
    let targets = [&targets[0], &targets[1], &targets[2]];
    Weir::start_healthy(&application(&[group("web", settings, &targets)], "", FORWARD))
}

/// What a browser keeps of cookies.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Jar(pub(crate) BTreeMap<String, String>);

impl Jar {
    /// A jar with one cookie.
    pub(crate) fn of(name: &str, value: &str) -> Self {
        Self([(name.to_owned(), value.to_owned())].into())
    }

    pub(crate) fn line(&self) -> String {
        let pairs: Vec<String> = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        pairs.join("; ")
    }

    fn take(&mut self, reply: &Reply) {
        for cookie in set_cookies(reply) {
            let (name, value) = cookie.split(';').next().unwrap().split_once('=').unwrap();
            self.0.insert(name.to_owned(), value.to_owned());
        }
    }

    /// Asks for `/` with these cookies and keeps what comes.
    pub(crate) fn ask(&mut self, client: &mut Client) -> Reply {
        let cookies = if self.0.is_empty() { String::new() } else { format!("Cookie: {}\r\n", self.line()) };
        let reply = client.ask(format!("GET / HTTP/1.1\r\nHost: a.example\r\n{cookies}\r\n"));
        self.take(&reply);
        reply
    }

    /// Asks as many times, and gives every body that came.
    pub(crate) fn bodies(&mut self, client: &mut Client, count: usize) -> BTreeSet<String> {
        (0..count).map(|_| self.ask(client).body).collect()
    }
}

/// Every `Set-Cookie` of a reply.
pub(crate) fn set_cookies(reply: &Reply) -> Vec<&str> {
    let lines = reply.headers.iter().filter(|(name, _)| name == "set-cookie");
    lines.map(|(_, value)| value.as_str()).collect()
}

/// The names of the cookies that a reply sets.
pub(crate) fn names(reply: &Reply) -> Vec<&str> {
    set_cookies(reply).into_iter().map(|cookie| cookie.split('=').next().unwrap()).collect()
}

/// Requests for which a target was picked anew.
fn non_sticky(weir: &Weir) -> f64 {
    weir.metric("weir_requests_non_sticky_total")
}

// Conformance: A3.3.3, A3.4.9, A11.28
#[test]
fn a_client_with_the_cookie_stays_at_its_target_and_others_go_round() {
    let targets = three();
    let weir = weir(&targets, BY_LB_COOKIE);
    let (mut client, mut jar) = (weir.client(), Jar::default());
    let first = jar.ask(&mut client).body;
    assert_eq!(jar.bodies(&mut client, 200), [first].into());
    assert!((non_sticky(&weir) - 1.0).abs() < 0.1, "the first request alone");
    let others: BTreeSet<String> = (0..9).map(|_| Jar::default().ask(&mut client).body).collect();
    assert_eq!(others.len(), 3);
    assert!((non_sticky(&weir) - 10.0).abs() < 0.1);
}

// Conformance: A3.4.1, A3.4.2, A3.4.6, A3.4.7
#[test]
fn the_cookies_are_as_aws_writes_them_and_are_set_by_every_response() {
    let target = FakeTarget::behaving(|_, stream| {
        use std::io::Write as _;
        let answer = "HTTP/1.1 200 OK\r\nSet-Cookie: own=1; Path=/x\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(answer.as_bytes()).is_ok()
    });
    let yaml = application(&[group("web", BY_LB_COOKIE, &[&target])], "", FORWARD);
    let weir = Weir::start_healthy(&yaml);
    let (mut client, mut jar) = (weir.client(), Jar::default());
    for _ in 0..2 {
        let sent = jar.line();
        let reply = jar.ask(&mut client);
        let [own, plain, cross_site] = set_cookies(&reply)[..] else { panic!("{reply:?}") };
        assert_eq!(own, "own=1; Path=/x", "the target's own passes as it is");
        let (value, attributes) = plain.strip_prefix("AWSALB=").unwrap().split_once("; ").unwrap();
        assert!(value.len() == 128 && value.bytes().all(|c| c.is_ascii_alphanumeric() || b"+/".contains(&c)));
        let expires = attributes.strip_prefix("Expires=").unwrap().strip_suffix("; Path=/").unwrap();
        let left = httpdate::parse_http_date(expires).unwrap().duration_since(now()).unwrap();
        let week = Duration::from_secs(7 * 24 * 3600);
        assert!(left <= week && left + Duration::from_secs(60) > week, "{left:?}, whatever the duration");
        assert_eq!(
            cross_site,
            format!("AWSALBCORS={value}; Expires={expires}; Path=/; SameSite=None; Secure")
        );
        assert_eq!(target.last().header("cookie"), sent, "targets get cookies as they came");
    }
}

#[allow(clippy::disallowed_methods, reason = "cookies end at wall time")]
fn now() -> SystemTime {
    SystemTime::now()
}

#[test]
fn a_group_that_is_not_sticky_sets_no_cookie() {
    let targets = three();
    let weir = weir(&targets, "protocol: http");
    let mut client = weir.client();
    let mut jar = Jar::of("AWSALB", "anything");
    let replies: Vec<Reply> = (0..6).map(|_| jar.ask(&mut client)).collect();
    assert!(replies.iter().all(|reply| set_cookies(reply).is_empty()));
    assert!(non_sticky(&weir) < 0.1);
}

// Conformance: A3.4.4, A3.4.11, A3.4.12
#[test]
fn a_client_sticks_by_its_application_s_cookie_once_the_target_has_set_it() {
    let targets = ["one", "two", "three"].map(|name| {
        FakeTarget::behaving(move |received, stream| {
            use std::io::Write as _;
            let set = if received.header("x-login").is_empty() {
                ""
            } else {
                "Set-Cookie: other=2\r\nSet-Cookie: session=1; HttpOnly\r\n"
            };
            let length = name.len();
            let answer = format!("HTTP/1.1 200 OK\r\n{set}Content-Length: {length}\r\n\r\n{name}");
            stream.write_all(answer.as_bytes()).is_ok()
        })
    });
    let weir = weir(&targets, BY_APP_COOKIE);
    let (mut client, mut jar) = (weir.client(), Jar::default());
    assert_eq!(
        names(&jar.ask(&mut client)),
        Vec::<&str>::new(),
        "no cookie of the application, none of weir's"
    );
    let login = client.ask("GET / HTTP/1.1\r\nHost: a\r\nX-Login: 1\r\n\r\n");
    assert_eq!(names(&login), ["other", "session", "AWSALBAPP-0"]);
    jar.take(&login);
    assert_eq!(jar.bodies(&mut client, 200), [login.body.clone()].into());
    for missing in ["session", "AWSALBAPP-0"] {
        let mut jar = jar.clone();
        jar.0.remove(missing);
        assert_eq!(jar.bodies(&mut client, 9).len(), 3, "without {missing}");
    }
    assert_eq!(jar.bodies(&mut client, 9), [login.body].into(), "both are needed, and there");
}

// Conformance: A3.3.1, A3.4.5
#[test]
fn a_client_stays_in_its_group_and_a_reload_moves_only_who_must() {
    let (web, api) = (FakeTarget::answering("web"), FakeTarget::answering("api"));
    let groups = [group("web", "", &[&web]), group("api", BY_LB_COOKIE, &[&api])];
    let port = weir_tests::free_port();
    let yaml = |web, api| {
        application(&groups, "", &weighted(web, api)).replace("127.0.0.1:0", &format!("127.0.0.1:{port}"))
    };
    let weir = Weir::start_healthy(&yaml(1, 1));
    let mut client = weir.client();
    let mut seen = BTreeSet::new();
    let mut jars = BTreeMap::new();
    while seen.len() < 2 {
        let mut jar = Jar::default();
        let reply = jar.ask(&mut client);
        let expected: &[&str] = match reply.body.as_str() {
            "web" => &["AWSALBTG", "AWSALBTGCORS"],
            _ => &["AWSALBTG", "AWSALBTGCORS", "AWSALB", "AWSALBCORS"],
        };
        assert_eq!(names(&reply), expected);
        seen.insert(reply.body.clone());
        jars.insert(reply.body, jar);
    }
    for (body, jar) in &mut jars {
        assert_eq!(jar.bodies(&mut client, 100), [body.clone()].into(), "at 50 to 50");
    }
    weir.reload(&yaml(1, 999)).unwrap();
    for (body, jar) in &mut jars {
        assert_eq!(jar.bodies(&mut client, 100), [body.clone()].into(), "it has its cookie");
    }
    let new: Vec<String> = (0..100).map(|_| Jar::default().ask(&mut client).body).collect();
    assert!(new.iter().filter(|body| *body == "api").count() > 90, "new clients see the new weights");
    weir.reload(&yaml(0, 1)).unwrap();
    let jar = jars.get_mut("web").unwrap();
    assert_eq!(jar.bodies(&mut client, 10), ["api".to_owned()].into(), "a group of weight zero keeps nobody");
    weir.reload(&yaml(999, 1)).unwrap();
    assert_eq!(jar.bodies(&mut client, 100), ["api".to_owned()].into(), "it has moved for good");
}

// Conformance: A3.3.3, A3.4.8, A3.4.10
#[test]
fn a_client_whose_target_fails_moves_and_stays_when_it_is_back() {
    let targets = three();
    let weir = weir(&targets, &format!("{BY_LB_COOKIE}, {OFTEN}"));
    let (mut client, mut jar) = (weir.client(), Jar::default());
    let first = jar.ask(&mut client).body;
    let named = ["one", "two", "three"].iter().position(|name| *name == first).unwrap();
    targets[named].set_health(503);
    wait_until("the target has failed", || {
        matches!(weir.member(targets[named].addr()).unwrap().health, Health::Unhealthy(_))
    });
    let second = jar.ask(&mut client).body;
    assert_ne!(second, first);
    targets[named].set_health(200);
    weir.wait_for_health(targets[named].addr(), Health::Healthy);
    assert_eq!(jar.bodies(&mut client, 20), [second].into());
}

/// Targets that a sticky group follows in a file.
fn following(folder: &Folder, targets: &[&FakeTarget], rest: &str) -> String {
    list(folder, targets);
    let settings = format!("{BY_LB_COOKIE}, hold: 20s, deregistration_delay: 1m");
    format!(
        "{rest}discovery: {{ confirm_removals: 0s, file: {{ path: {} }} }}\n{}",
        folder.path().join("targets.json").display(),
        application(&[group_of("web", &settings, "{ file: { service: web } }")], "", FORWARD)
    )
}

fn list(folder: &Folder, targets: &[&FakeTarget]) {
    let addrs: Vec<String> = targets.iter().map(|target| format!("\"{}\"", target.addr())).collect();
    let text = format!("[{{ \"targets\": [{}], \"labels\": {{ \"service\": \"web\" }} }}]", addrs.join(", "));
    folder.write("targets.json", &text);
}

// Conformance: A3.4.14
#[test]
fn a_client_of_a_draining_target_goes_elsewhere() {
    let (folder, leaves, stays) =
        (Folder::new(), FakeTarget::answering("leaves"), FakeTarget::answering("stays"));
    let weir = Weir::start_healthy(&following(&folder, &[&leaves], ""));
    let (mut client, mut jar) = (weir.client(), Jar::default());
    assert_eq!(jar.ask(&mut client).body, "leaves");
    list(&folder, &[&stays]);
    weir.wait_for_health(leaves.addr(), Health::Draining);
    weir.wait_for_health(stays.addr(), Health::Healthy);
    assert_eq!(jar.ask(&mut client).body, "stays");
    list(&folder, &[&stays, &leaves]);
    weir.wait_for_health(leaves.addr(), Health::Healthy);
    assert_eq!(jar.bodies(&mut client, 20), ["stays".to_owned()].into());
}

#[test]
fn a_request_that_waited_for_its_group_sticks_from_then_on() {
    let (folder, target) = (Folder::new(), FakeTarget::answering("at last"));
    let weir = Weir::start(&following(&folder, &[], ""));
    let mut client = weir.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_until("it waits", || weir.metric("weir_holding") > 0.5);
    list(&folder, &[&target]);
    let reply = client.reply();
    assert_eq!((reply.body.as_str(), names(&reply)), ("at last", vec!["AWSALB", "AWSALBCORS"]));
}

#[test]
fn a_request_that_is_repeated_elsewhere_sticks_there() {
    let targets = three();
    let weir = weir(&targets, BY_LB_COOKIE);
    let mut jar = Jar::default();
    let first = jar.ask(&mut weir.client()).body;
    let named = ["one", "two", "three"].iter().position(|name| *name == first).unwrap();
    targets[named].set_hollow(true);
    targets[named].close_connections();
    let reply = jar.ask(&mut weir.client());
    assert!(reply.status == 200 && reply.body != first, "{reply:?}");
    targets[named].set_hollow(false);
    assert_eq!(jar.bodies(&mut weir.client(), 20), [reply.body].into());
}

// Conformance: A3.4.16, A10.14
#[test]
fn the_log_tells_of_a_group_cookie_that_nobody_can_read() {
    let (folder, target) = (Folder::new(), FakeTarget::answering("web"));
    let path = folder.path().join("access.log");
    let groups = [group("web", "", &[&target]), group("api", "", &[&target])];
    let log = format!("access_log: {{ path: {} }}", path.display());
    let weir = Weir::start_healthy(&application(&groups, &log, &weighted(1, 1)));
    // On one connection, and so in one worker's order.
    let (mut client, mut jar) = (weir.client(), Jar::default());
    jar.ask(&mut client);
    jar.ask(&mut client);
    assert_eq!(Jar::of("AWSALBTG", "a%2Bb").ask(&mut client).status, 200);
    let reasons: Vec<String> = lines(&path, 3).iter().map(|line| fields(line)[24].clone()).collect();
    assert_eq!(reasons, ["-", "-", "AWSALBTGCookieInvalid"]);
}
