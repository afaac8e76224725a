//! Proxies in front of a listener that say who their clients are.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

/// Whose connections begin with a header of the PROXY protocol that says who the client is. Nobody else is believed: what
/// looks like a header then is the client's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxies {
    /// The networks that they are in.
    pub networks: Vec<IpNet>,
    /// How long the header may take to come: 100 ms to 60 s.
    pub timeout: Duration,
}

impl Proxies {
    /// How long a header may take unless it is written. Ours: time for a lost packet to be sent twice again.
    pub const TIMEOUT: Duration = Duration::from_secs(5);

    /// Whether a connection from that address begins with a header.
    pub fn has(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.networks.iter().any(|network| network.contains(&peer))
    }
}
