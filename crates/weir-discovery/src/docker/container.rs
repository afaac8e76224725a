//! One container, from what the engine says of it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bollard::models::{ContainerInspectResponse, ContainerState, Health, HealthStatusEnum, PortBinding};
use weir_core::task::{Provenance, Task, TaskId, TaskPort, TaskState, Transports};

use crate::labels::{self, LabelError};
use crate::published::{Published, transports};

/// A container that is running.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Container {
    /// The task it is, or the mistake that keeps it from being one.
    pub(super) task: Result<Task, LabelError>,
    /// For messages: its name and short id.
    pub(super) owner: String,
    /// The number of the signal that asks it to stop.
    pub(super) stop_signal: u32,
    /// How long it may take to stop.
    pub(super) stop_timeout: Duration,
}

/// Who speaks when a container is `starting` or `unhealthy`.
pub(super) const HEALTH_CHECK: &str = "the engine's health check";

/// The label with the stack that a Swarm's service belongs to.
pub(crate) const STACK: &str = "com.docker.stack.namespace";

/// The name of a Swarm's service in its stack: of `shop_api` in the stack `shop` that is `api`.
pub(crate) fn in_stack<'n>(name: &'n str, stack: Option<&str>) -> &'n str {
    let inner = stack.and_then(|stack| name.strip_prefix(stack)?.strip_prefix('_'));
    inner.filter(|inner| !inner.is_empty()).unwrap_or(name)
}

/// Longest part of a health check's output that is shown, in characters.
const HEALTH_OUTPUT_CHARS_MAX: usize = 120;

/// A container's stop timeout where it names none.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

impl Container {
    /// Reads an inspected container; `None` when it is not running, or is a one-off run of Compose.
    ///
    /// `host` is where the engine's published ports are reached.
    pub(super) fn read(inspected: &ContainerInspectResponse, host: IpAddr, cause: &str) -> Option<Self> {
        let state = inspected.state.as_ref()?;
        let (id, started_at) = (inspected.id.as_deref()?, state.started_at.as_deref()?);
        let config = inspected.config.as_ref()?;
        let labels: BTreeMap<String, String> =
            config.labels.clone().unwrap_or_default().into_iter().collect();
        let label = |name: &str| labels.get(name).cloned();
        let is_one_off = label("com.docker.compose.oneoff").as_deref() == Some("True");
        if state.running != Some(true) || is_one_off {
            return None;
        }
        let name = inspected.name.as_deref().unwrap_or(id).trim_start_matches('/').to_owned();
        let owner = format!("container {name} ({})", id.get(..12).unwrap_or(id));
        let (task_state, said) = task_state(state);
        let task = labels::read(&labels).map(|read| Task {
            id: Some(TaskId { id: id.into(), generation: started_at.into() }),
            service: read
                .service
                .or_else(|| label("com.docker.compose.service"))
                .or_else(|| {
                    let stack = label(STACK);
                    label("com.docker.swarm.service.name")
                        .map(|name| in_stack(&name, stack.as_deref()).to_owned())
                })
                .or_else(|| Some(name.clone())),
            project: read.project.or_else(|| label("com.docker.compose.project")).or_else(|| label(STACK)),
            name: name.clone(),
            ports: ports(inspected, host, read.task.port),
            labels: read.task,
            state: task_state,
            provenance: Arc::new(Provenance { source: "docker", origin: owner.clone() }),
            cause: said.unwrap_or_else(|| cause.to_owned()),
        });
        Some(Self {
            task,
            owner,
            stop_signal: config.stop_signal.as_deref().and_then(signal_number).unwrap_or(SIGTERM),
            stop_timeout: config
                .stop_timeout
                .and_then(|seconds| u64::try_from(seconds).ok())
                .map_or(STOP_TIMEOUT, Duration::from_secs),
        })
    }

    /// Whether this is the start of the container that `other` is, too; of two with mistakes nobody knows.
    pub(super) fn is_same_start(&self, other: &Self) -> bool {
        match (&self.task, &other.task) {
            (Ok(one), Ok(other)) => one.id == other.id,
            _ => false,
        }
    }
}

/// What a running container is doing, and in the words of its engine's health check why, where that has a say.
fn task_state(state: &ContainerState) -> (TaskState, Option<String>) {
    if state.paused == Some(true) {
        return (TaskState::Paused, None);
    }
    let Some(health) = &state.health else { return (TaskState::Running, None) };
    match health.status {
        Some(HealthStatusEnum::STARTING) => {
            (TaskState::Starting, Some(format!("{HEALTH_CHECK} has not passed yet")))
        }
        Some(HealthStatusEnum::UNHEALTHY) => (TaskState::Failing, Some(failure(health))),
        Some(HealthStatusEnum::EMPTY | HealthStatusEnum::HEALTHY | HealthStatusEnum::NONE) | None => {
            (TaskState::Running, None)
        }
    }
}

/// How a health check fails: `the engine's health check fails: exit status 1: connection refused`.
fn failure(health: &Health) -> String {
    let last = health.log.as_ref().and_then(|log| log.last());
    let mut text = match last.and_then(|last| last.exit_code) {
        Some(status) => format!("{HEALTH_CHECK} fails: exit status {status}"),
        None => format!("{HEALTH_CHECK} fails"),
    };
    let line = last
        .and_then(|last| last.output.as_deref())
        .unwrap_or_default()
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty());
    if let Some(line) = line {
        text.push_str(": ");
        text.extend(line.chars().filter(|c| !c.is_control()).take(HEALTH_OUTPUT_CHARS_MAX));
    }
    text
}

/// Where a container's ports are reached from here. One that is published for both transports at one address is one port.
fn ports(inspected: &ContainerInspectResponse, host: IpAddr, asked: Option<u16>) -> Vec<TaskPort> {
    let mut found = Published::default();
    let published = inspected.network_settings.as_ref().and_then(|settings| settings.ports.as_ref());
    for (name, bindings) in published.into_iter().flatten() {
        let Some((port, transports)) = port_of(name) else { continue };
        let reached = bindings.iter().flatten().filter_map(|binding| reached_at(binding, host));
        if let Some(addr) = reached.min_by_key(preference) {
            found.add(port, transports, addr);
        }
    }
    let network_mode = inspected.host_config.as_ref().and_then(|config| config.network_mode.as_deref());
    if found.is_empty() && network_mode == Some("host") {
        // The container has the host's network: its ports are the host's own.
        let exposed = inspected.config.iter().flat_map(|config| config.exposed_ports.iter().flatten());
        let mut own: Vec<_> = exposed.filter_map(|name| port_of(name)).collect();
        // What the image does not say of a port that is named, the group says that takes it.
        own.extend(
            asked
                .filter(|asked| own.iter().all(|(port, _)| port != asked))
                .map(|port| (port, Transports::BOTH)),
        );
        for (port, transports) in own {
            found.add(port, transports, (host, port).into());
        }
    }
    found.into_ports()
}

/// The port of a name like `8080/tcp` or `53/udp`.
fn port_of(name: &str) -> Option<(u16, Transports)> {
    let (port, protocol) = name.split_once('/')?;
    Some((port.parse().ok()?, transports(protocol)?))
}

/// Where a binding is reached: a binding to all addresses at the engine's host.
fn reached_at(binding: &PortBinding, host: IpAddr) -> Option<std::net::SocketAddr> {
    let port = binding.host_port.as_deref()?.parse().ok()?;
    let ip: IpAddr = match binding.host_ip.as_deref() {
        Some("::") if host.is_loopback() => std::net::Ipv6Addr::LOCALHOST.into(),
        None | Some("" | "0.0.0.0" | "::") => host,
        Some(ip) => ip.parse().ok()?,
    };
    Some((ip, port).into())
}

/// IPv4 before IPv6, loopback before others: a dual-stack engine lists each port twice.
fn preference(addr: &std::net::SocketAddr) -> (bool, bool, std::net::SocketAddr) {
    (addr.is_ipv6(), !addr.ip().is_loopback(), *addr)
}

const SIGTERM: u32 = 15;

/// The number of the signal that cannot be ignored.
pub(super) const SIGKILL: u32 = 9;

/// The number of a signal written as a number or a name, with or without `SIG`.
pub(super) fn signal_number(signal: &str) -> Option<u32> {
    const NAMES: [(&str, u32); 13] = [
        ("ABRT", 6),
        ("ALRM", 14),
        ("HUP", 1),
        ("INT", 2),
        ("KILL", 9),
        ("PIPE", 13),
        ("PWR", 30),
        ("QUIT", 3),
        ("STOP", 19),
        ("TERM", 15),
        ("USR1", 10),
        ("USR2", 12),
        ("WINCH", 28),
    ];
    if let Ok(number) = signal.parse() {
        return Some(number);
    }
    let upper = signal.to_ascii_uppercase();
    if let Some(offset) = upper.strip_prefix("SIGRTMIN").or_else(|| upper.strip_prefix("RTMIN")) {
        // Linux's first real-time signal for programs; systemd in a container stops with SIGRTMIN+3.
        return Some(34 + offset.trim_start_matches('+').parse::<u32>().unwrap_or(0));
    }
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(ip: &str, port: &str) -> PortBinding {
        PortBinding { host_ip: Some(ip.into()), host_port: Some(port.into()) }
    }

    fn check(bindings: &[PortBinding]) -> Option<String> {
        let host: IpAddr = "127.0.0.1".parse().unwrap();
        let addrs = bindings.iter().filter_map(|b| reached_at(b, host));
        addrs.min_by_key(preference).map(|addr| addr.to_string())
    }

    #[test]
    fn a_port_published_on_both_families_is_one_ipv4_target() {
        assert_eq!(
            check(&[binding("::", "32768"), binding("0.0.0.0", "32768")]).as_deref(),
            Some("127.0.0.1:32768")
        );
        assert_eq!(check(&[binding("::", "32768")]).as_deref(), Some("[::1]:32768"));
        assert_eq!(check(&[binding("192.0.2.1", "80")]).as_deref(), Some("192.0.2.1:80"));
        assert_eq!(check(&[binding("", "80")]).as_deref(), Some("127.0.0.1:80"));
    }

    /// The ports of a running container, from what an engine says when it is asked to inspect one.
    fn ports_of(config: &str, network_mode: &str, published: &str) -> Vec<String> {
        let document = format!(
            r#"{{ "Id": "3f2a91c07b1d", "Name": "/c",
                 "State": {{ "Running": true, "Paused": false, "StartedAt": "2026-01-01T00:00:00.1Z" }},
                 "Config": {{ "ExposedPorts": {{ "9000/tcp": {{}}, "53/udp": {{}} }}, "Labels": {{ {config} }} }},
                 "HostConfig": {{ "NetworkMode": "{network_mode}" }},
                 "NetworkSettings": {{ "Ports": {{ {published} }}, "Networks": {{
                    "{network_mode}": {{ "IPAddress": "172.18.0.2" }}, "second": {{ "IPAddress": "172.19.0.2" }} }} }} }}"#
        );
        let inspected: ContainerInspectResponse = serde_json::from_str(&document).unwrap();
        let container = Container::read(&inspected, "127.0.0.1".parse().unwrap(), "start").unwrap();
        let ports = container.task.unwrap().ports;
        ports
            .iter()
            .map(|port| format!("{}/{} at {}", port.container_port, port.transports, port.addr))
            .collect()
    }

    #[test]
    fn a_container_in_the_host_s_network_is_reached_at_the_ports_that_it_exposes_or_names() {
        let exposed = ["53/udp at 127.0.0.1:53", "9000/tcp at 127.0.0.1:9000"];
        assert_eq!(ports_of("", "host", ""), exposed);
        let named = [exposed[0], "8080/tcp+udp at 127.0.0.1:8080", exposed[1]];
        assert_eq!(ports_of(r#""weir.port": "8080""#, "host", ""), named);
        assert_eq!(ports_of(r#""weir.port": "9000""#, "host", ""), exposed);
    }

    #[test]
    fn a_container_in_networks_of_the_user_s_is_reached_once_at_what_it_publishes() {
        let published = r#""9000/tcp": [ { "HostIp": "0.0.0.0", "HostPort": "32768" },
                                         { "HostIp": "::", "HostPort": "32768" } ], "8080/tcp": null"#;
        for network in ["bridge", "shop_default"] {
            assert_eq!(ports_of("", network, published), ["9000/tcp at 127.0.0.1:32768"]);
            assert_eq!(ports_of("", network, ""), [""; 0]);
        }
    }

    #[test]
    fn a_port_that_is_published_for_both_transports_is_one_where_it_is_at_one_address() {
        let published = |tcp: u16, udp: u16| {
            format!(
                r#""53/tcp": [{{ "HostPort": "{tcp}" }}], "53/udp": [{{ "HostPort": "{udp}" }}], "9/sctp": null"#
            )
        };
        assert_eq!(ports_of("", "bridge", &published(5300, 5300)), ["53/tcp+udp at 127.0.0.1:5300"]);
        let apart = ["53/tcp at 127.0.0.1:5300", "53/udp at 127.0.0.1:5301"];
        assert_eq!(ports_of("", "bridge", &published(5300, 5301)), apart);
    }

    #[test]
    fn a_stop_signal_is_a_number_or_a_name() {
        for (text, number) in [
            ("SIGTERM", Some(15)),
            ("quit", Some(3)),
            ("2", Some(2)),
            ("SIGRTMIN+3", Some(37)),
            ("SIGNONE", None),
        ] {
            assert_eq!(signal_number(text), number, "{text}");
        }
    }
}
