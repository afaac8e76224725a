//! HAProxy and nginx in weir's place, each driven by a small script on the engine's events, as people drive them.
//!
//! The script is kind to them: it adds a container only when its task has answered, and takes it out at its stop
//! signal. HAProxy is told over its runtime API; nginx gets another configuration and a reload.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use rustix::process::{Pid, Signal, kill_process};
use weir_tests::docker::{HTTP_PORT, TCP_PORT};
use weir_tests::{Engine, Folder, free_port, loopback, wait_until};

use crate::SERVICES;
use crate::load::Endpoints;

/// Whom the script drives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Haproxy,
    Nginx,
}

/// A peer with its script; both end when it is dropped.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) endpoints: Endpoints,
    proxy: Child,
    events: Child,
    tasks: Tasks,
    script: Option<JoinHandle<()>>,
}

/// The tasks that the peer knows, by container: service, HTTP port, flow port.
type Tasks = Arc<Mutex<BTreeMap<String, (String, SocketAddr, SocketAddr)>>>;

impl Peer {
    /// Starts the peer without any task, and its script for this engine's containers.
    pub(crate) fn start(kind: Kind, engine: &Engine) -> Self {
        let endpoints = Endpoints { http: loopback(free_port()), tcp: loopback(free_port()) };
        let tasks = Tasks::default();
        let mut script =
            Script { kind, folder: Folder::new(), endpoints, mark: engine.service().to_owned(), tasks };
        let proxy = script.start();
        let filter = format!("label=weir-test={}", script.mark);
        let mut events = Command::new("docker")
            .args(["events", "--filter", "type=container", "--filter", &filter, "--format", "{{json .}}"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("docker can be started");
        let lines = BufReader::new(events.stdout.take().expect("its output is piped")).lines();
        let tasks = script.tasks.clone();
        let script = thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                script.act(&serde_json::from_str(&line).unwrap_or_default());
            }
        });
        Self { endpoints, proxy, events, tasks, script: Some(script) }
    }

    /// Tasks of `service` that the peer knows.
    pub(crate) fn known(&self, service: &str) -> usize {
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.values().filter(|(of, _, _)| of == service).count()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // The script ends with the events.
        let _ = (self.events.kill(), self.events.wait());
        let _ = self.script.take().map(JoinHandle::join);
        if let Some(pid) = i32::try_from(self.proxy.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.proxy.wait();
    }
}

/// Whether a task answers: its port alone says nothing, since the engine's own proxy accepts for it.
fn answers(addr: SocketAddr) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(addr)?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: task\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.starts_with("HTTP/1.1 200"))
}

/// What people write to keep a peer up to date.
struct Script {
    kind: Kind,
    folder: Folder,
    endpoints: Endpoints,
    mark: String,
    tasks: Tasks,
}

impl Script {
    fn start(&mut self) -> Child {
        let mut command = match self.kind {
            Kind::Haproxy => {
                let path = self.folder.write("haproxy.cfg", &self.haproxy());
                let mut command = Command::new("haproxy");
                command.arg("-f").arg(path);
                command
            }
            Kind::Nginx => {
                let mut command = Command::new("nginx");
                command.arg("-c").arg(self.write_nginx());
                command
            }
        };
        let log = fs::File::create(self.folder.path().join("log")).unwrap();
        let started = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn();
        let child =
            started.expect("the peer is installed (apt-get install nginx-light libnginx-mod-stream haproxy)");
        wait_until("the peer listens", || TcpStream::connect(self.endpoints.http).is_ok());
        child
    }

    /// Does what one event asks for.
    fn act(&mut self, event: &serde_json::Value) {
        let attribute = |name: &str| event["Actor"]["Attributes"][name].as_str().unwrap_or_default();
        let (container, label) = (attribute("name"), attribute("weir.service"));
        let service =
            label.strip_prefix(&self.mark).and_then(|rest| rest.strip_prefix('-')).unwrap_or_default();
        match event["Action"].as_str().unwrap_or_default() {
            "start" => self.add(container, service),
            "kill" => self.take_out(container, false),
            "die" => self.take_out(container, true),
            _ => {}
        }
    }

    fn add(&mut self, container: &str, service: &str) {
        let port = |port: u16| -> Option<SocketAddr> {
            let text = weir::image::docker(&["port", container, &format!("{port}/tcp")]).ok()?;
            text.lines().next()?.parse().ok()
        };
        let Some(http) = port(HTTP_PORT) else { return };
        // In one phase containers have no port for flows.
        let tcp = port(TCP_PORT).unwrap_or(http);
        wait_until("the task answers", || answers(http).unwrap_or(false));
        let task = (service.to_owned(), http, tcp);
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner).insert(container.to_owned(), task);
        match self.kind {
            Kind::Nginx => self.reload_nginx(),
            Kind::Haproxy => {
                for (backend, addr) in Self::backends(service, http, tcp) {
                    self.tell_haproxy(&format!("add server {backend}/{container} {addr}"));
                    self.tell_haproxy(&format!("enable server {backend}/{container}"));
                }
            }
        }
    }

    fn take_out(&mut self, container: &str, is_gone: bool) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((service, http, tcp)) = tasks.remove(container) else { return };
        drop(tasks);
        match self.kind {
            Kind::Nginx => self.reload_nginx(),
            Kind::Haproxy => {
                let state = if is_gone { "maint" } else { "drain" };
                for (backend, _) in Self::backends(&service, http, tcp) {
                    self.tell_haproxy(&format!("set server {backend}/{container} state {state}"));
                }
            }
        }
    }

    /// The backends that a task belongs to, each with its address there.
    fn backends(service: &str, http: SocketAddr, tcp: SocketAddr) -> Vec<(&str, SocketAddr)> {
        let of_first = [("flows", tcp), ("sockets", tcp)];
        let others = if service == SERVICES[0] { &of_first[..] } else { &[] };
        [&[(service, http)], others].concat()
    }

    /// HAProxy as its guide advises: what fails before an answer goes elsewhere, unless it is a POST that was written.
    fn haproxy(&self) -> String {
        let mut text = format!(
            "global\n  stats socket {} level admin\n  nbthread 2\ndefaults\n  timeout connect 5s\n  timeout client 1h\n  timeout server 1h\n  retries 3\n  option redispatch 1\n  balance roundrobin\n",
            self.socket().display()
        );
        let retries = "  mode http\n  retry-on conn-failure empty-response response-timeout\n  http-request disable-l7-retry if METH_POST\n";
        let mut rules = String::new();
        rules.extend(SERVICES.iter().map(|s| format!("  use_backend {s} if {{ path_beg /{s}/ }}\n")));
        writeln!(
            text,
            "frontend edge\n  mode http\n  bind {}\n  use_backend sockets if {{ path /sockets }}\n{rules}\nfrontend data\n  mode tcp\n  bind {}\n  default_backend flows\nbackend flows\n  mode tcp\nbackend sockets\n  mode http",
            self.endpoints.http, self.endpoints.tcp
        )
        .expect("writing to a string succeeds");
        for service in SERVICES {
            writeln!(text, "backend {service}\n{retries}").expect("writing to a string succeeds");
        }
        text
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("admin.sock")
    }

    fn tell_haproxy(&self, command: &str) {
        let mut stream = UnixStream::connect(self.socket()).expect("HAProxy's runtime API answers");
        writeln!(stream, "{command}").expect("HAProxy takes commands");
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
    }

    /// nginx as its guide advises: kept connections, upgrades, GETs repeated elsewhere.
    fn write_nginx(&self) -> PathBuf {
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let upstream = |backend: &str, settings: &str| {
            let everywhere =
                tasks.values().flat_map(|(service, http, tcp)| Self::backends(service, *http, *tcp));
            let mut servers = String::new();
            servers.extend(
                everywhere.filter(|(of, _)| *of == backend).map(|(_, addr)| format!("server {addr}; ")),
            );
            if servers.is_empty() {
                // It refuses an upstream without servers.
                servers += "server 127.0.0.1:1 down; ";
            }
            format!("upstream {backend} {{ {servers}{settings} }}\n")
        };
        let mut http: String = SERVICES.iter().map(|service| upstream(service, "keepalive 64;")).collect();
        http += &upstream("sockets", "");
        let mut locations = String::new();
        let location = |s: &&str| {
            format!(
                "location /{s}/ {{ proxy_pass http://{s}; proxy_http_version 1.1; proxy_set_header Connection \"\"; }}\n"
            )
        };
        locations.extend(SERVICES.iter().map(location));
        let folder = self.folder.path().display();
        let text = format!(
            "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\ndaemon off; worker_processes 2; error_log {folder}/error.log crit; pid {folder}/nginx.pid;\nevents {{ worker_connections 8192; }}\nhttp {{ access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;\n{http}server {{ listen {}; {locations}location /sockets {{ proxy_pass http://sockets; proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; proxy_read_timeout 1h; }} }} }}\nstream {{ {} server {{ listen {}; proxy_pass flows; }} }}\n",
            self.endpoints.http,
            upstream("flows", ""),
            self.endpoints.tcp
        );
        self.folder.write("nginx.conf", &text)
    }

    fn reload_nginx(&self) {
        let path = self.write_nginx();
        let told =
            Command::new("nginx").arg("-c").arg(path).args(["-s", "reload"]).stderr(Stdio::null()).status();
        assert!(told.is_ok_and(|status| status.success()), "nginx takes a reload");
    }
}
