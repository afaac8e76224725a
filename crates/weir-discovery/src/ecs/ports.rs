//! Ports of a container: bindings as documents write them, ranges of them, and where they are reached.

use std::net::{IpAddr, SocketAddr};

use weir_core::task::TaskPort;

use crate::published::{Published, transports};

/// Most ports of one container: ECS allows 100 mappings, each of which may be a range.
pub(super) const PORTS_MAX: usize = 1_000;

/// A container port, or a range of them, with what it is on the host.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Binding {
    #[serde(alias = "ContainerPort")]
    pub(super) container_port: Option<u32>,
    /// Absent or 0 until it is known.
    #[serde(alias = "HostPort")]
    pub(super) host_port: Option<u32>,
    /// `8000-8009`, in place of a container port.
    pub(super) container_port_range: Option<String>,
    pub(super) host_port_range: Option<String>,
    /// `tcp` where it is absent.
    #[serde(alias = "Protocol")]
    pub(super) protocol: Option<String>,
}

impl Binding {
    /// The same with every container port at the same port of its address: tasks with a network interface of their
    /// own, and tasks in the host's network.
    pub(super) fn at_container_port(&self) -> Self {
        Self {
            host_port: self.container_port,
            host_port_range: self.container_port_range.clone(),
            ..self.clone()
        }
    }

    /// Its first container port and host port, and how many follow; `None` while the host port is not known.
    fn spans(&self) -> Result<Option<(u16, u16, u16)>, String> {
        let container = span(self.container_port, self.container_port_range.as_deref())?;
        let host = span(self.host_port, self.host_port_range.as_deref())?;
        let (Some((container, container_last)), Some((host, host_last))) = (container, host) else {
            return Ok(None);
        };
        let further = container_last - container;
        if further != host_last - host {
            return Err(format!(
                "has ports {container}-{container_last} at host ports {host}-{host_last}, which are not as many"
            ));
        }
        Ok(Some((container, host, further)))
    }
}

/// The first and the last port; `None` where none is named.
fn span(port: Option<u32>, range: Option<&str>) -> Result<Option<(u16, u16)>, String> {
    if let Some(range) = range.filter(|range| !range.is_empty()) {
        let ends = range.split_once('-').and_then(|(first, last)| {
            let (first, last): (u16, u16) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
            (first != 0 && first <= last).then_some((first, last))
        });
        return ends.map(Some).ok_or_else(|| format!("has {range:?}, which is not a range of ports"));
    }
    match port {
        None | Some(0) => Ok(None),
        Some(port) => {
            let port = u16::try_from(port).map_err(|_| format!("has port {port}, which no port is"))?;
            Ok(Some((port, port)))
        }
    }
}

/// The ports of bindings at `address`, by container port.
///
/// A container port that is bound more than once, as on `0.0.0.0` and `::`, is one port: the first one counts. So is one that
/// takes TCP and UDP at one host port.
///
/// # Errors
/// A range that is none, or more than [`PORTS_MAX`] ports.
pub(super) fn ports(bindings: &[Binding], address: IpAddr) -> Result<Vec<TaskPort>, String> {
    let mut published = Published::default();
    for binding in bindings {
        let Some(transports) = transports(binding.protocol.as_deref().unwrap_or("tcp")) else { continue };
        let Some((container, host, further)) = binding.spans()? else { continue };
        if published.len() + usize::from(further) >= PORTS_MAX {
            return Err(format!("has more than {PORTS_MAX} ports; no more are read"));
        }
        for offset in 0..=further {
            published.add(container + offset, transports, SocketAddr::new(address, host + offset));
        }
    }
    Ok(published.into_ports())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

    fn read(json: &str) -> Result<Vec<(u16, u16)>, String> {
        let bindings: Vec<Binding> = serde_json::from_str(json).unwrap();
        let ports = ports(&bindings, ADDRESS)?;
        Ok(ports.into_iter().map(|port| (port.container_port, port.addr.0.port())).collect())
    }

    #[test]
    fn bindings_of_both_families_are_one_port() {
        let both = r#"[{"bindIP":"0.0.0.0","containerPort":80,"hostPort":32769,"protocol":"tcp"},
                       {"bindIP":"::","containerPort":80,"hostPort":32769,"protocol":"tcp"}]"#;
        assert_eq!(read(both), Ok(vec![(80, 32769)]));
    }

    #[test]
    fn a_range_is_every_port_in_it() {
        let range = r#"[{"containerPortRange":"8000-8002","hostPortRange":"32800-32802","protocol":"tcp"}]"#;
        assert_eq!(read(range), Ok(vec![(8000, 32800), (8001, 32801), (8002, 32802)]));
    }

    #[test]
    fn a_port_that_is_not_known_yet_is_none() {
        let none = r#"[{"containerPort":80},{"containerPort":81,"hostPort":0}]"#;
        assert_eq!(read(none), Ok(Vec::new()));
    }

    #[test]
    fn a_port_takes_what_its_binding_says_and_both_where_both_are_at_one_host_port() {
        let bindings = |tcp: u16, udp: u16| {
            let text = format!(
                r#"[{{"containerPort":53,"hostPort":{tcp},"protocol":"tcp"}},
                    {{"containerPort":53,"hostPort":{udp},"protocol":"udp"}}]"#
            );
            let bindings: Vec<Binding> = serde_json::from_str(&text).unwrap();
            let ports = ports(&bindings, ADDRESS).unwrap();
            ports.iter().map(|port| format!("{} at {}", port.transports, port.addr)).collect::<Vec<_>>()
        };
        assert_eq!(bindings(32768, 32768), ["tcp+udp at 10.0.0.1:32768"]);
        assert_eq!(bindings(32768, 32769), ["tcp at 10.0.0.1:32768", "udp at 10.0.0.1:32769"]);
    }

    #[test]
    fn a_mistaken_range_says_what_is_wrong() {
        for (range, told) in [
            (r#"[{"containerPortRange":"8000","hostPortRange":"1-2"}]"#, "not a range"),
            (r#"[{"containerPortRange":"9-8","hostPortRange":"1-2"}]"#, "not a range"),
            (r#"[{"containerPortRange":"8000-8002","hostPortRange":"1-2"}]"#, "not as many"),
            (r#"[{"containerPort":70000,"hostPort":1}]"#, "no port is"),
            (r#"[{"containerPortRange":"1-1001","hostPortRange":"1-1001"}]"#, "more than 1000 ports"),
        ] {
            let error = read(range).unwrap_err();
            assert!(error.contains(told), "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_binding_breaks_the_reader(
            container in any::<Option<u32>>(),
            host in any::<Option<u32>>(),
            container_range in prop::option::of("[0-9]{0,6}-?[0-9]{0,6}"),
            host_range in prop::option::of("[0-9]{0,6}-?[0-9]{0,6}"),
        ) {
            let binding = Binding {
                container_port: container,
                host_port: host,
                container_port_range: container_range,
                host_port_range: host_range,
                protocol: None,
            };
            if let Ok(ports) = ports(&[binding], ADDRESS) {
                prop_assert!(ports.len() <= PORTS_MAX);
            }
        }
    }
}
