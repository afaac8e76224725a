//! Two weirs behind a route that a test makes: a client that reaches both at one address, and their targets in one etcd.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::Value;

use crate::server::Etcd;
use crate::tls::Pair;
use crate::yaml::group_of;
use crate::{Binary, Client, Folder, Namespaces, Reply, get, wait_until};

/// The address of the service, which both weirs have.
const SHARED: Ipv4Addr = Ipv4Addr::new(10, 78, 0, 1);

/// Where the client and the targets are on the networks that lead to both weirs.
const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 78, 1, 254);
const INSIDE: Ipv4Addr = Ipv4Addr::new(10, 78, 2, 254);

/// Where a weir is on the client's network: the next hop of a route to it.
fn next_hop(number: usize) -> String {
    format!("10.78.1.{}", number + 1)
}

/// The weirs' admin ports, each on a loopback of its own.
const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9900);

/// The hosts, and what runs on them.
#[derive(Debug)]
pub struct TwoWeirs {
    weirs: Vec<Option<Binary>>,
    tasks: Vec<Binary>,
    etcd: Etcd,
    folder: Folder,
    hosts: [Namespaces; 2],
    inside: Namespaces,
    client: Namespaces,
}

impl TwoWeirs {
    /// Where both serve requests.
    pub const HTTP: SocketAddr = SocketAddr::new(IpAddr::V4(SHARED), 80);

    /// Where both serve clients who stick to a target and a group.
    pub const STICKY: SocketAddr = SocketAddr::new(IpAddr::V4(SHARED), 81);

    /// Where both serve requests over TLS, as `shop.example`.
    pub const HTTPS: SocketAddr = SocketAddr::new(IpAddr::V4(SHARED), 443);

    /// Where both serve flows.
    pub const TCP: SocketAddr = SocketAddr::new(IpAddr::V4(SHARED), 5432);

    /// Runs a test on the client's host, with neither weir nor task yet. Does nothing where hosts cannot be made and that is
    /// allowed.
    ///
    /// # Panics
    /// When the test does, or when hosts cannot be made and `CI` is set.
    pub fn with(test: impl FnOnce(&mut Self) + Send) {
        let has = |program: &str, option: &str| {
            let mut asked = Command::new(program);
            let asked = asked.arg(option).stdin(Stdio::null()).output();
            asked.is_ok_and(|output| output.status.success())
        };
        let may = rustix::process::geteuid().is_root() && has("ip", "-V") && has("etcd", "--version");
        if !may {
            assert!(std::env::var_os("CI").is_none(), "CI is set, and root with `ip` and `etcd` is needed");
            return;
        }
        let client = Namespaces::new("client");
        let network = client.network();
        Namespaces::run(&network, move || test(&mut Self::start(client)));
    }

    /// Joins the hosts; this thread is in the client's network.
    fn start(client: Namespaces) -> Self {
        let inside = Namespaces::new("inside");
        let hosts = ["weir-a", "weir-b"].map(Namespaces::new);
        for (bridged, own, subnet) in [(&client, CLIENT, 1), (&inside, INSIDE, 2)] {
            bridged.ip("link add br0 type bridge");
            bridged.ip(&format!("addr add {own}/24 dev br0"));
            bridged.ip("link set br0 up");
            for (number, host) in hosts.iter().enumerate() {
                let id = host.id();
                bridged.ip(&format!("link add veth{number} type veth peer name eth{subnet} netns {id}"));
                bridged.ip(&format!("link set veth{number} master br0 up"));
                host.ip(&format!("addr add 10.78.{subnet}.{}/24 dev eth{subnet}", number + 1));
                host.ip(&format!("link set eth{subnet} up"));
            }
        }
        for host in &hosts {
            host.ip(&format!("addr add {SHARED}/32 dev lo"));
        }
        // A flow stays on its way by its ports, too, as routers do it.
        std::fs::write("/proc/sys/net/ipv4/fib_multipath_hash_policy", "1")
            .expect("root may set how its own network hashes");
        let etcd = Namespaces::run(&inside.network(), || Etcd::start_at(INSIDE.into()));
        let folder = Folder::new();
        folder.write("weir.yaml", &configuration(&etcd));
        Pair::new(&["shop.example"]).write(&folder, "shop");
        folder.write("cookies.key", "a secret that nobody guesses for a while\n");
        folder.write("tickets.key", "another secret, as long as the first one\n");
        Self { weirs: vec![None, None], tasks: Vec::new(), etcd, folder, hosts, inside, client }
    }

    /// Starts a weir; `number` is 0 or 1.
    pub fn run_weir(&mut self, number: usize) {
        let configuration = self.folder.path().join("weir.yaml").display().to_string();
        let network = self.hosts[number].network();
        self.weirs[number] = Some(Namespaces::run(&network, || {
            Binary::start(&mut Binary::command(&["run", "-c", &configuration]))
        }));
    }

    /// Runs a task that answers requests and echoes flows, at an address of its own and the same ports as all.
    pub fn run_task(&mut self, name: &str) {
        let number = self.tasks.len();
        let [http, tcp] = addrs(number);
        self.inside.ip(&format!("addr add {}/24 dev br0", http.ip()));
        let [http, tcp] = [http, tcp].map(|addr| addr.to_string());
        let arguments = ["task", "--service", "web", "--name", name, "--http", &http, "--tcp", &tcp];
        let network = self.inside.network();
        self.tasks.push(Namespaces::run(&network, || Binary::start(&mut Binary::command(&arguments))));
        self.put(name, number);
    }

    /// Writes the keys of the task that was run with this number.
    pub fn put(&self, name: &str, number: usize) {
        for (service, addr) in ["web", "db"].into_iter().zip(addrs(number)) {
            let value = format!(r#"{{"targets":["{addr}"],"labels":{{"service":"{service}"}}}}"#);
            self.in_etcd(|etcd| etcd.put(&key(service, name), &value));
        }
    }

    /// Deletes a task's keys. It runs on.
    pub fn delete(&self, name: &str) {
        self.in_etcd(|etcd| ["web", "db"].into_iter().for_each(|service| etcd.delete(&key(service, name))));
    }

    fn in_etcd(&self, act: impl FnOnce(&Etcd) + Send) {
        Namespaces::run(&self.inside.network(), || act(&self.etcd));
    }

    /// Ends etcd as a machine that loses its power does.
    pub fn lose_etcd(&mut self) {
        self.etcd.kill();
    }

    /// Leads the client to these weirs, by its connections' hashes where they are several.
    pub fn route(&self, weirs: &[usize]) {
        let hops: Vec<String> =
            weirs.iter().map(|number| format!("nexthop via {}", next_hop(*number))).collect();
        self.client.ip(&format!("route replace {SHARED}/32 {}", hops.join(" ")));
    }

    /// Kills a weir, and takes it out of the client's route, as a routing daemon does that misses its neighbour.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill_weir(&mut self, number: usize) {
        let weir = self.weirs[number].take().expect("the weir runs");
        weir.signal(Signal::KILL);
        weir.wait();
        self.route(&[1 - number]);
    }

    /// Asks one weir, and no other, for a path.
    pub fn get_from(&self, number: usize, path: &str) -> Reply {
        self.route(&[number]);
        get(Self::HTTP, path)
    }

    /// Asks a weir's admin port for a path; `None` while it does not listen.
    pub fn admin(&self, number: usize, path: &str) -> Option<String> {
        Namespaces::run(&self.hosts[number].network(), || {
            drop(std::net::TcpStream::connect(ADMIN).ok()?);
            let request = format!("GET {path} HTTP/1.1\r\nHost: {ADMIN}\r\nConnection: close\r\n\r\n");
            Some(Client::connect(ADMIN).ask(request).body)
        })
    }

    /// Waits until every target of a weir is healthy, and as many as that in each of its groups.
    ///
    /// # Panics
    /// When they do not become so.
    pub fn wait_for_targets(&self, number: usize, count: usize) {
        wait_until(&format!("weir {number} has {count} healthy targets in each group"), || {
            let Some(view) = self.admin(number, "/api/v1") else { return false };
            let view: Value = serde_json::from_str(&view).expect("the admin port answers JSON");
            let groups = view["target_groups"].as_array().expect("there are groups");
            groups.iter().all(|group| {
                let targets = group["targets"].as_array().expect("a group has targets");
                targets.len() == count && targets.iter().all(|target| target["state"] == "healthy")
            })
        });
    }

    /// Client connections that a weir has open.
    ///
    /// # Panics
    /// When it does not listen.
    pub fn open_at(&self, number: usize) -> usize {
        let page = self.admin(number, "/metrics").expect("the weir runs");
        let lines = page.lines().filter(|line| line.starts_with("weir_connections_open{"));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<usize>().ok()).sum()
    }
}

/// Where the task of this number answers requests, and where it echoes flows.
fn addrs(number: usize) -> [SocketAddr; 2] {
    let last = u8::try_from(100 + number).expect("there are few tasks");
    [8080, 5432].map(|port| SocketAddr::from(([10, 78, 2, last], port)))
}

fn key(service: &str, name: &str) -> String {
    format!("/weir/targets/{service}/{name}")
}

/// What both weirs run.
fn configuration(etcd: &Etcd) -> String {
    let (http, stay, https) = (TwoWeirs::HTTP, TwoWeirs::STICKY, TwoWeirs::HTTPS);
    let (tcp, url) = (TwoWeirs::TCP, etcd.url());
    let sticky = "deregistration_delay: 0s, stickiness: { type: lb_cookie, duration: 1h }";
    let groups = [
        group_of("blue", sticky, "{ etcd: { service: web } }"),
        group_of("green", sticky, "{ etcd: { service: web } }"),
        group_of("web", "deregistration_delay: 0s", "{ etcd: { service: web } }"),
        group_of("db", "deregistration_delay: 0s, protocol: tcp", "{ etcd: { service: db } }"),
    ];
    format!(
        "admin: {{ bind: \"{ADMIN}\" }}
workers: 2
secrets: {{ cookies: cookies.key, tls_tickets: tickets.key }}
discovery: {{ confirm_removals: 0s, etcd: {{ endpoints: [{url}], prefix: /weir/targets/ }} }}
target_groups:
{}load_balancers:
  - name: edge
    type: application
    listeners:
      - {{ bind: \"{http}\", default_action: {{ forward: web }} }}
      - {{ bind: \"{stay}\", default_action: {{ forward: {{ target_groups: [{{ name: blue }}, {{ name: green }}], stickiness: {{ duration: 1h }} }} }} }}
      - {{ bind: \"{https}\", protocol: https, certificates: {{ certificate: shop.pem, key: shop.key }}, default_action: {{ forward: web }} }}
  - {{ name: data, type: network, listeners: [{{ bind: \"{tcp}\", default_action: {{ forward: db }} }}] }}
",
        groups.concat()
    )
}
