//! A Docker Swarm of a test's own: engines on hosts that are namespaces, joined by a bridge in a namespace of the test's.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use crate::server::Etcd;
use crate::{Namespaces, OwnEngine, wait_at_most};

/// Longest time until something of a Swarm has happened: a task is scheduled, started and watched before it runs.
pub const SWARM_DEADLINE: std::time::Duration = std::time::Duration::from_secs(60);

/// Where a test is, which reaches all nodes.
pub const OUTSIDE: Ipv4Addr = Ipv4Addr::new(10, 77, 0, 254);

/// The image of weir's own binary.
const IMAGE: &str = "task:own";

/// Two nodes, of which the first is the manager.
#[derive(Debug)]
pub struct OwnSwarm {
    nodes: Vec<OwnEngine>,
    /// The id of the image, the same on all nodes: what has an id is not looked for in a registry.
    image: String,
    // Ends last: its bridge joins the nodes.
    _bridge: Namespaces,
}

impl OwnSwarm {
    /// Runs a test with a Swarm, on a thread in a network that reaches the nodes at their addresses. Does nothing where no
    /// engine can be run and that is allowed.
    ///
    /// # Panics
    /// When the test does, or when no engine can be run and `CI` is set.
    pub fn with(test: impl FnOnce(&Self) + Send) {
        let engines: Option<Vec<OwnEngine>> = ["node-1", "node-2"].into_iter().map(OwnEngine::find).collect();
        let Some(engines) = engines else { return };
        let bridge = Namespaces::new("bridge");
        let network = bridge.network();
        Namespaces::run(&network, move || test(&Self::start(engines, bridge)));
    }

    /// Joins the engines; this thread is in the network of the bridge.
    fn start(mut nodes: Vec<OwnEngine>, bridge: Namespaces) -> Self {
        bridge.ip("link add br0 type bridge");
        bridge.ip(&format!("addr add {OUTSIDE}/24 dev br0"));
        bridge.ip("link set br0 up");
        for (number, node) in nodes.iter_mut().enumerate() {
            let (host, address) = (node.namespaces.id(), address(number));
            bridge.ip(&format!("link add veth{number} type veth peer name eth0 netns {host}"));
            bridge.ip(&format!("link set veth{number} master br0 up"));
            node.namespaces.ip(&format!("addr add {address}/24 dev eth0"));
            node.namespaces.ip("link set eth0 up");
            node.start(&[]);
        }
        let (manager, worker) = (&nodes[0], &nodes[1]);
        let docker = |node: &OwnEngine, arguments: &[&str]| {
            node.docker(arguments).unwrap_or_else(|error| panic!("{error}"))
        };
        docker(manager, &["import", &manager.path("image.tar"), IMAGE]);
        let saved = manager.path("saved.tar");
        docker(manager, &["save", "-o", &saved, IMAGE]);
        docker(worker, &["load", "-i", &saved]);
        let image = docker(manager, &["image", "inspect", "--format", "{{.Id}}", IMAGE]);
        docker(manager, &["swarm", "init", "--advertise-addr", &address(0).to_string()]);
        let token = docker(manager, &["swarm", "join-token", "-q", "worker"]);
        docker(worker, &["swarm", "join", "--token", &token, &format!("{}:2377", address(0))]);
        Self { nodes, image, _bridge: bridge }
    }

    /// Where a node's engine answers; that of number 0 is the manager.
    pub fn endpoint(&self, number: usize) -> String {
        self.nodes[number].endpoint()
    }

    /// Where a node's tasks are reached.
    pub fn address(&self, number: usize) -> IpAddr {
        address(number)
    }

    /// Runs `docker` with the manager; what it printed.
    ///
    /// # Panics
    /// With what it complained of.
    pub fn docker(&self, arguments: &[&str]) -> String {
        self.nodes[0].docker(arguments).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Makes a service of weir's tasks that answer at port 8080, and datagrams at port 5353, with these options.
    ///
    /// # Panics
    /// When the manager refuses.
    pub fn serve(&self, service: &str, options: &[&str]) {
        let mut arguments = vec!["service", "create", "-d", "--no-resolve-image", "--name", service];
        // One place for each task, one after another without a pause, and no time in which Swarm only looks.
        arguments.extend(["--stop-grace-period", "15s", "--update-order", "start-first"]);
        arguments.extend(["--update-delay", "0s", "--update-monitor", "100ms", "--restart-delay", "100ms"]);
        arguments.extend(options);
        arguments.extend([self.image.as_str(), "/weir", "task", "--service", service]);
        arguments.extend(["--name", "task", "--http", "0.0.0.0:8080", "--tcp", "127.0.0.1:0"]);
        arguments.extend(["--udp", "0.0.0.0:5353"]);
        self.docker(&arguments);
    }

    /// Deploys the stack of the examples as `weir`: of this Swarm's image, with this etcd.
    ///
    /// # Panics
    /// When the manager refuses.
    pub fn deploy(&self, etcd: &Etcd) {
        let manager = &self.nodes[0];
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../config");
        for name in ["stack.yaml", "stack-manager.yaml", "stack-worker.yaml"] {
            let text = std::fs::read_to_string(examples.join(name)).expect("the example is there");
            let text = text
                .replace("weir:latest", &self.image)
                .replace("/var/run/docker.sock:", &format!("{}:", manager.path("docker.sock")))
                .replace("http://etcd.internal:2379", &etcd.url());
            std::fs::write(manager.path(name), text).expect("temporary files can be written");
        }
        let stack = manager.path("stack.yaml");
        self.docker(&["stack", "deploy", "--resolve-image", "never", "-c", &stack, "weir"]);
    }

    /// The ids of a service's tasks that run and shall run.
    pub fn running(&self, service: &str) -> Vec<String> {
        let format = "{{.ID}} {{.CurrentState}}";
        let arguments =
            ["service", "ps", "--no-trunc", "--filter", "desired-state=running", "--format", format];
        let said = self.docker(&[&arguments[..], &[service]].concat());
        let running = said.lines().filter_map(|line| line.split_once(" Running "));
        running.map(|(id, _)| id.to_owned()).collect()
    }

    /// Waits for something of the Swarm.
    ///
    /// # Panics
    /// When it does not happen.
    pub fn wait_until(&self, what: &str, holds: impl FnMut() -> bool) {
        wait_at_most(SWARM_DEADLINE, what, holds);
    }
}

impl Drop for OwnSwarm {
    fn drop(&mut self) {
        // An engine that leaves removes the Swarm's containers, which its manager would start again otherwise.
        for node in &self.nodes {
            let _ = node.docker(&["swarm", "leave", "--force"]);
        }
    }
}

fn address(number: usize) -> IpAddr {
    let last = u8::try_from(number + 1).expect("there are few nodes");
    Ipv4Addr::new(10, 77, 0, last).into()
}
