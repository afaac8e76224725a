//! How the program behaves toward whoever runs it: signals, exit statuses, commands.

use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::mpsc::channel;

use rustix::process::Signal;
use weir_tests::target::respond;
use weir_tests::{Binary, Client, FakeTarget, Folder, free_port, loopback, wait_until};

/// A running program with a listener and an admin port, in front of a target that answers `/slow` when told to.
struct Story {
    binary: Binary,
    folder: Folder,
    listener: std::net::SocketAddr,
    admin: String,
    target: FakeTarget,
    answer: std::sync::mpsc::Sender<()>,
}

impl Story {
    fn begin() -> Self {
        let (answer, may_answer) = channel();
        let may_answer = Mutex::new(may_answer);
        let target = FakeTarget::behaving(move |received, stream| {
            if received.request_line.contains("/slow") {
                let _ = may_answer.lock().unwrap().recv();
            }
            respond(stream, 200, "answered")
        });
        let (listener, admin) = (loopback(free_port()), loopback(free_port()));
        let folder = Folder::new();
        let path = folder.write("weir.yaml", &Self::yaml(listener, admin, &target, ""));
        let binary = Binary::start(&mut Binary::command(&["run", "-c", path.to_str().unwrap()]));
        let story = Self { binary, folder, listener, admin: format!("http://{admin}"), target, answer };
        wait_until("weir is ready", || story.command("healthcheck").0 == Some(0));
        wait_until("the target is healthy", || story.command("status").1.contains(" healthy "));
        story
    }

    fn yaml(
        listener: std::net::SocketAddr,
        admin: std::net::SocketAddr,
        target: &FakeTarget,
        rules: &str,
    ) -> String {
        format!(
            "admin: {{ bind: {admin} }}\nworkers: 2\ntarget_groups: [{{ name: web, targets: [{}] }}]\nload_balancers: [{{ name: edge, type: application, listeners: [{{ bind: \"{listener}\", {rules}default_action: {{ forward: web }} }}] }}]\n",
            target.yaml()
        )
    }

    /// Writes another configuration, with a rule that answers `/x` with a status.
    fn rewrite(&self, status: &str) {
        let rules = format!(
            "rules: [{{ priority: 1, conditions: [{{ path_pattern: [/x] }}], actions: [{{ fixed_response: {{ status_code: {status} }} }}] }}], "
        );
        let admin = self.admin.trim_start_matches("http://").parse().unwrap();
        self.folder.write("weir.yaml", &Self::yaml(self.listener, admin, &self.target, &rules));
    }

    fn command(&self, name: &str) -> (Option<i32>, String) {
        let output = Binary::run(&[name, "--admin", &self.admin]);
        let text =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.code(), text)
    }

    fn slow_request(&self) -> Client {
        let mut client = Client::connect(self.listener);
        client.send("POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
        wait_until("the target has the request", || !self.target.received().is_empty());
        client
    }
}

#[test]
fn sigterm_and_sigint_finish_what_is_under_way_accept_no_more_and_exit_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let story = Story::begin();
        let mut client = story.slow_request();
        story.binary.signal(signal);
        wait_until("new connections are refused", || TcpStream::connect(story.listener).is_err());
        story.answer.send(()).unwrap();
        let reply = client.reply();
        assert_eq!((reply.status, reply.header("connection")), (200, "close"));
        assert_eq!(story.binary.wait().status.code(), Some(0));
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    let story = Story::begin();
    let mut client = story.slow_request();
    story.binary.signal(Signal::TERM);
    wait_until("the drain has begun", || TcpStream::connect(story.listener).is_err());
    story.binary.signal(Signal::TERM);
    assert_eq!(story.binary.wait().status.code(), Some(1));
    assert!(client.is_closed());
}

#[test]
fn sighup_and_the_reload_command_read_the_configuration_again() {
    let story = Story::begin();
    let ask = || Client::connect(story.listener).get("/x").status;
    assert_eq!(ask(), 200);
    story.rewrite("201");
    let (status, text) = story.command("reload");
    assert_eq!(status, Some(0), "{text}");
    assert!(text.contains("reloaded; generation"), "{text}");
    assert_eq!(ask(), 201);
    story.rewrite("202");
    story.binary.signal(Signal::HUP);
    wait_until("SIGHUP has taken effect", || ask() == 202);
    story.rewrite("9999");
    let (status, text) = story.command("reload");
    assert_eq!(status, Some(1));
    assert!(text.contains("the last good configuration stays") && text.contains("9999"), "{text}");
    assert_eq!(ask(), 202);
}

#[test]
fn status_shows_listeners_and_targets_and_healthcheck_says_whether_weir_is_ready() {
    let story = Story::begin();
    Client::connect(story.listener).get("/");
    let (status, text) = story.command("status");
    assert_eq!(status, Some(0));
    assert!(text.contains(&format!("http://{}", story.listener)), "{text}");
    assert!(text.contains(&story.target.addr().to_string()), "{text}");
    let nobody = Binary::run(&["healthcheck", "--admin", &format!("http://127.0.0.1:{}", free_port())]);
    assert_eq!(nobody.status.code(), Some(2));
    let complaint = String::from_utf8_lossy(&nobody.stderr);
    assert!(complaint.contains("no weir answers at") && complaint.contains("--admin"), "{complaint}");
}

#[test]
fn the_admin_port_listens_to_no_stranger_s_web_page() {
    let story = Story::begin();
    let admin = story.admin.trim_start_matches("http://").parse().unwrap();
    let ask = |request: String| Client::connect(admin).ask(request).status;
    let post = |headers: &str| {
        format!("POST /api/v1/reload HTTP/1.1\r\nConnection: close\r\nContent-Length: 0\r\n{headers}\r\n")
    };
    assert_eq!(ask(post(&format!("Host: {admin}\r\nOrigin: http://evil.example\r\n"))), 403);
    assert_eq!(ask(post("Host: evil.example\r\n")), 403);
    assert_eq!(ask(post(&format!("Host: {admin}\r\n"))), 200);
}

#[test]
fn the_demo_s_bounded_round_loses_nothing() {
    let output = Binary::run(&["demo", "--once"]);
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains(" 0 failed"), "{text}");
}
