//! Targets of every kind, a weir before them, and a load on it.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc::{Sender, channel};
use std::thread;

use weir_tests::target::respond;
use weir_tests::udp_target::{UdpClient, UdpTarget};
use weir_tests::{Client, FakeTarget, Lineage, get, loopback, quiet_port, wait_until};

/// So many answers are waited for before and after something happens under load.
const SOME: usize = 20;

/// Targets of every kind, and where a weir before them listens.
pub(super) struct World {
    pub(super) http: SocketAddr,
    pub(super) tcp: SocketAddr,
    pub(super) udp: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) web: FakeTarget,
    db: FakeTarget,
    pub(super) dns: [UdpTarget; 3],
    /// Has the target answer one request for `/slow`.
    pub(super) answer: Sender<()>,
}

impl World {
    pub(super) fn new() -> Self {
        let (answer, may_answer) = channel();
        let may_answer = Mutex::new(may_answer);
        let web = FakeTarget::behaving(move |received, stream| {
            if received.request_line.contains("/slow") {
                let _ = may_answer.lock().unwrap().recv();
            }
            respond(stream, 200, "answered")
        });
        let [http, tcp, udp, admin] = [(); 4].map(|()| loopback(quiet_port()));
        let (db, dns) = (FakeTarget::echoing("db"), ["a", "b", "c"].map(UdpTarget::named));
        Self { http, tcp, udp, admin, web, db, dns, answer }
    }

    /// A configuration with these settings, and these further keys of the application load balancer's.
    pub(super) fn yaml_with(&self, settings: &str, more: &str) -> String {
        let Self { http, tcp, udp, admin, web, db, dns, .. } = self;
        let dns: Vec<String> = dns.iter().map(UdpTarget::yaml).collect();
        let listener = |addr: &SocketAddr, keys: &str| format!("listeners: [{{ bind: \"{addr}\", {keys} }}]");
        [
            format!("admin: {{ bind: \"{admin}\" }}"),
            settings.to_owned(),
            "target_groups:".to_owned(),
            format!("  - {{ name: web, targets: [{}] }}", web.yaml()),
            format!("  - {{ name: db, protocol: tcp, targets: [{}] }}", db.yaml()),
            format!("  - {{ name: dns, protocol: udp, targets: [{}] }}", dns.join(", ")),
            "load_balancers:".to_owned(),
            format!(
                "  - {{ name: edge, type: application, {more}{} }}",
                listener(http, "default_action: { forward: web }")
            ),
            format!(
                "  - {{ name: flows, type: network, {} }}",
                listener(tcp, "default_action: { forward: db }")
            ),
            format!(
                "  - {{ name: names, type: network, {} }}",
                listener(udp, "protocol: udp, default_action: { forward: dns }")
            ),
        ]
        .join("\n")
    }

    pub(super) fn yaml(&self, settings: &str) -> String {
        self.yaml_with(settings, "")
    }

    pub(super) fn start(&self, settings: &str) -> Lineage {
        Lineage::start(self.admin, &self.yaml(settings), |_: &mut Command| {})
    }

    /// A flow of TCP, which has said something both ways.
    pub(super) fn flow(&self) -> Client {
        let mut client = Client::connect(self.tcp);
        assert_eq!(client.line().unwrap(), "db");
        talk(&mut client, "hello");
        client
    }

    /// Requests and flows one after another, of every kind, while `story` happens. Each of them must succeed.
    pub(super) fn under_load(&self, story: impl FnOnce(&dyn Fn())) {
        let (is_over, counts) = (AtomicBool::new(false), [(); 3].map(|()| AtomicUsize::new(0)));
        let forever = |count: &AtomicUsize, step: &dyn Fn()| {
            while !is_over.load(Relaxed) {
                step();
                count.fetch_add(1, Relaxed);
            }
        };
        let more_answers = || {
            let before = counts.each_ref().map(|count| count.load(Relaxed));
            let have_come =
                || counts.iter().zip(before).all(|(count, before)| count.load(Relaxed) >= before + SOME);
            wait_until("each load goes on", have_come);
        };
        thread::scope(|scope| {
            scope.spawn(|| forever(&counts[0], &|| assert_eq!(get(self.http, "/").status, 200)));
            scope.spawn(|| forever(&counts[1], &|| drop(self.flow())));
            scope.spawn(|| {
                let client = UdpClient::of(self.udp);
                let target = client.ask("first");
                forever(&counts[2], &|| assert_eq!(client.ask("again"), target));
            });
            // A load that fails must not be waited for: its panic is the test's.
            let _over = Over(&is_over);
            story(&more_answers);
        });
    }
}

/// Ends the loads, also when the story fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

pub(super) fn talk(client: &mut Client, words: &str) {
    client.send(words);
    assert_eq!(client.exactly(words.len()).expect("the flow is open"), words.as_bytes());
}
