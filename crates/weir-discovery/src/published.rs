//! What a task publishes, from documents that name a port once for every protocol and family of addresses.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use weir_core::address::TargetAddr;
use weir_core::task::{TaskPort, Transports};

/// Published ports of one task.
#[derive(Debug, Default)]
pub(crate) struct Published(BTreeMap<(u16, Transports), SocketAddr>);

impl Published {
    /// Adds where a container port is reached, unless that is known already for the same transports: the first one counts.
    pub(crate) fn add(&mut self, container_port: u16, transports: Transports, addr: SocketAddr) {
        self.0.entry((container_port, transports)).or_insert(addr);
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them, by container port. One that takes TCP and UDP at one address is one port.
    pub(crate) fn into_ports(self) -> Vec<TaskPort> {
        let mut by_addr: BTreeMap<(u16, TargetAddr), Transports> = BTreeMap::new();
        for ((container_port, transports), addr) in self.0 {
            let known = by_addr.entry((container_port, TargetAddr(addr))).or_insert(transports);
            *known = known.and(transports);
        }
        let port = |((container_port, addr), transports)| TaskPort { container_port, transports, addr };
        by_addr.into_iter().map(port).collect()
    }
}

/// What `tcp` and `udp` name, in any case; `None` for what weir does not forward.
pub(crate) fn transports(protocol: &str) -> Option<Transports> {
    match protocol {
        name if name.eq_ignore_ascii_case("tcp") => Some(Transports::TCP),
        name if name.eq_ignore_ascii_case("udp") => Some(Transports::UDP),
        _ => None,
    }
}
