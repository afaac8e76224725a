//! The proxies: how each is configured.

use std::fmt::Write as _;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::proxy::Proxy;
use crate::scenario::{Front, Scenario};

/// Clients that each peer may have. All of `idle-memory`, and more.
const CLIENTS: usize = 8_500;

/// What a proxy is started with.
#[derive(Debug)]
pub(crate) struct Bench<'a> {
    pub(crate) scenario: Scenario,
    pub(crate) backends: &'a [SocketAddr],
    /// Where configurations are written; it has the certificate of a scenario with TLS.
    pub(crate) folder: &'a Path,
    pub(crate) weir: &'a Path,
}

/// What weir's configuration has besides what every bench needs.
#[derive(Debug, Default)]
pub(crate) struct More {
    /// At its top.
    pub(crate) top: String,
    /// Among its target groups.
    pub(crate) groups: String,
    /// Within its listener, from a comma on.
    pub(crate) rules: String,
}

impl Bench<'_> {
    /// Starts every proxy that is there; what is missing, and the remedy. HAProxy does not forward datagrams.
    pub(crate) fn start(&self) -> (Vec<Proxy>, Vec<String>) {
        let mut missing = Vec::new();
        let mut proxies = Vec::new();
        let haproxy = (self.scenario.front() != Front::Udp).then(|| self.haproxy());
        for started in [Some(self.nginx()), haproxy, Some(self.weir())].into_iter().flatten() {
            match started {
                Ok(proxy) => proxies.push(proxy),
                Err(error) => missing.push(format!("{error:#}")),
            }
        }
        (proxies, missing)
    }

    pub(crate) fn floor(&self) -> anyhow::Result<Proxy> {
        let addr = free_addr()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("floor").arg(addr.to_string()).args(self.backends.iter().map(ToString::to_string));
        if self.scenario.front() == Front::Udp {
            command.arg("--udp");
        }
        Proxy::start("floor relay".to_owned(), addr, &command)
    }

    fn nginx(&self) -> anyhow::Result<Proxy> {
        self.nginx_with("")
    }

    /// nginx with more locations, each of which has `proxy_pass http://b;`.
    pub(crate) fn nginx_with(&self, locations: &str) -> anyhow::Result<Proxy> {
        let addr = free_addr()?;
        let mut servers = String::new();
        for backend in self.backends {
            writeln!(servers, "server {backend} max_fails=0;")?;
        }
        let (certificate, key) = (self.folder.join("cert.pem"), self.folder.join("key.pem"));
        let (flags, tls) = match self.scenario.front() {
            Front::Tcp | Front::Udp | Front::Http => ("", String::new()),
            Front::Http2 => (" http2", String::new()),
            Front::Https => (
                " ssl",
                format!(
                    "ssl_certificate {}; ssl_certificate_key {}; ssl_protocols TLSv1.3;",
                    certificate.display(),
                    key.display()
                ),
            ),
        };
        let server = match self.scenario.front() {
            Front::Tcp => format!(
                "stream {{ upstream b {{ {servers} }} server {{ listen {addr} backlog=4096; proxy_pass b; tcp_nodelay on; {} }} }}",
                if self.scenario.is_bulk() { "proxy_buffer_size 256k;" } else { "" }
            ),
            Front::Udp => format!(
                "stream {{ upstream b {{ {servers} }} server {{ listen {addr} udp; proxy_pass b; }} }}"
            ),
            Front::Http | Front::Http2 | Front::Https => format!(
                "http {{ access_log off; keepalive_requests 100000000; tcp_nodelay on;
                 upstream b {{ {servers} keepalive 512; keepalive_requests 100000000; }}
                 server {{ listen {addr}{flags} backlog=4096; {tls} proxy_http_version 1.1;
                 proxy_set_header Connection \"\"; proxy_set_header Host $host;
                 proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
                 proxy_set_header X-Forwarded-Proto $scheme; proxy_set_header X-Forwarded-Port $server_port;
                 proxy_set_header X-Amzn-Trace-Id $request_id;
                 location / {{ proxy_pass http://b; }}
                 {locations} }} }}"
            ),
        };
        let modules = "/usr/lib/nginx/modules/ngx_stream_module.so";
        let is_stream = matches!(self.scenario.front(), Front::Tcp | Front::Udp);
        let load = if is_stream && Path::new(modules).exists() {
            format!("load_module {modules};\n")
        } else {
            String::new()
        };
        let text = format!(
            "{load}daemon off; worker_processes 1; error_log /dev/null crit; pid {};\nevents {{ worker_connections {};{} }}\n{server}\n",
            self.folder.join("nginx.pid").display(),
            // On either side.
            2 * CLIENTS,
            // Without it nginx waits anew before each datagram that a listener has.
            if self.scenario.front() == Front::Udp { " multi_accept on;" } else { "" }
        );
        let path = self.write("nginx.conf", &text)?;
        let version = version("nginx", "-v", "nginx/")?;
        Proxy::start(format!("nginx {version}"), addr, Command::new("nginx").arg("-c").arg(path))
    }

    fn haproxy(&self) -> anyhow::Result<Proxy> {
        self.haproxy_with("")
    }

    /// HAProxy with lines in its frontend that say which requests go to backend `b`.
    pub(crate) fn haproxy_with(&self, rules: &str) -> anyhow::Result<Proxy> {
        let addr = free_addr()?;
        let mut servers = String::new();
        for (number, backend) in self.backends.iter().enumerate() {
            let pool = if self.scenario.front() == Front::Tcp { "" } else { "pool-max-conn -1" };
            writeln!(servers, "  server s{number} {backend} {pool}")?;
        }
        let (mode, reuse, options) = match self.scenario.front() {
            Front::Tcp if self.scenario.is_bulk() => (
                "tcp",
                "",
                "  option splice-auto\n  option splice-request\n  option splice-response\n".to_owned(),
            ),
            Front::Tcp | Front::Udp => ("tcp", "", String::new()),
            front @ (Front::Http | Front::Http2 | Front::Https) => (
                "http",
                "  http-reuse always\n",
                format!(
                    "  option forwardfor\n  http-request set-header X-Forwarded-Proto {}\n  http-request set-header X-Forwarded-Port %[dst_port]\n  unique-id-format %{{+X}}o%ci%cp%Ts%rt\n  unique-id-header X-Amzn-Trace-Id\n",
                    if front == Front::Https { "https" } else { "http" }
                ),
            ),
        };
        let bind = match self.scenario.front() {
            Front::Tcp | Front::Udp | Front::Http => String::new(),
            Front::Http2 => " proto h2".to_owned(),
            Front::Https => {
                format!(" ssl crt {} ssl-min-ver TLSv1.3", self.folder.join("both.pem").display())
            }
        };
        let text = format!(
            "global\n  nbthread 1\n  maxconn {CLIENTS}\n  maxpipes 64\ndefaults\n  mode {mode}\n  timeout connect 10s\n  timeout client 60s\n  timeout server 60s\nfrontend f\n  bind {addr} backlog 4096{bind}\n{options}{rules}  default_backend b\nbackend b\n  balance roundrobin\n{reuse}{servers}"
        );
        let path = self.write("haproxy.cfg", &text)?;
        let version = version("haproxy", "-v", "version ")?;
        Proxy::start(format!("HAProxy {version}"), addr, Command::new("haproxy").arg("-f").arg(path))
    }

    fn weir(&self) -> anyhow::Result<Proxy> {
        self.weir_with(&More::default())
    }

    /// weir with more in its configuration.
    pub(crate) fn weir_with(&self, more: &More) -> anyhow::Result<Proxy> {
        let (addr, command) = self.weir_command(more)?;
        let output = Command::new(self.weir).arg("--version").output().context("weir --version")?;
        let name = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Proxy::start(name, addr, &command)
    }

    /// Writes weir's configuration: where it will listen, and how it is started.
    pub(crate) fn weir_command(
        &self,
        More { top, groups, rules }: &More,
    ) -> anyhow::Result<(SocketAddr, Command)> {
        anyhow::ensure!(
            self.weir.exists(),
            "no weir at {}: build it with `cargo build --release`, or name one with --weir",
            self.weir.display()
        );
        let (addr, admin) = (free_addr()?, free_addr()?);
        let mut targets = String::new();
        for backend in self.backends {
            writeln!(targets, "      - {{ address: {}, port: {} }}", backend.ip(), backend.port())?;
        }
        let (protocol, kind) = match self.scenario.front() {
            Front::Tcp => ("tcp", "network"),
            Front::Udp => ("udp", "network"),
            Front::Http | Front::Http2 | Front::Https => ("http", "application"),
        };
        let (of_all, of_listener) = match self.scenario.front() {
            Front::Tcp | Front::Http => ("", ""),
            Front::Udp => ("", ", protocol: udp"),
            Front::Http2 => ("    http2_prior_knowledge: true\n", ""),
            Front::Https => {
                ("", ", protocol: https, certificates: [{ certificate: cert.pem, key: key.pem }]")
            }
        };
        let text = format!(
            "admin: {{ bind: {admin} }}\nworkers: 1\n{top}target_groups:\n{groups}  - name: backends\n    protocol: {protocol}\n    health_check: {{ protocol: tcp, interval: 300s }}\n    targets:\n{targets}load_balancers:\n  - name: bench\n    type: {kind}\n{of_all}    listeners: [{{ bind: \"{addr}\"{of_listener}{rules}, default_action: {{ forward: backends }} }}]\n"
        );
        let path = self.write("weir.yaml", &text)?;
        let mut command = Command::new(self.weir);
        command.args(["run", "-c"]).arg(path);
        Ok((addr, command))
    }

    fn write(&self, name: &str, text: &str) -> anyhow::Result<PathBuf> {
        let path = self.folder.join(name);
        std::fs::write(&path, text)?;
        Ok(path)
    }
}

fn version(program: &str, flag: &str, before: &str) -> anyhow::Result<String> {
    let output = Command::new(program)
        .arg(flag)
        .output()
        .with_context(|| format!("{program} is not installed (apt-get install nginx-light haproxy)"))?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    let after = text.split(before).nth(1).unwrap_or("?");
    Ok(after.split(|c: char| !(c.is_ascii_digit() || c == '.')).next().unwrap_or("?").to_owned())
}

/// An address that is free for both transports: clients of datagrams have taken thousands of ports.
fn free_addr() -> anyhow::Result<SocketAddr> {
    const ATTEMPTS: usize = 100;
    let free = || {
        let addr = TcpListener::bind("127.0.0.1:0").ok()?.local_addr().ok()?;
        UdpSocket::bind(addr).is_ok().then_some(addr)
    };
    (0..ATTEMPTS).find_map(|_| free()).context("no port is free for both transports")
}
