//! What a flow is hashed on, with a hash that gives the same answer on every machine.

use std::net::IpAddr;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::address::{ClientAddr, ListenAddr};

/// Seed of every hash that places a flow. Arbitrary, and never to be changed: several weirs must agree.
pub const FLOW_SEED: u64 = 0x7765_6972_5f66_6c77;

/// Transport protocol of a flow, with its IANA number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Protocol {
    /// TCP.
    Tcp = 6,
    /// UDP.
    Udp = 17,
}

impl Protocol {
    /// The name in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

/// Protocol and both address pairs of one flow.
///
/// Source: Network Load Balancer, "Routing": protocol, source and destination address and port. differs: AWS adds the
/// TCP sequence number, which a userspace listener cannot see, and several weirs must agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowKey {
    /// Transport protocol.
    pub protocol: Protocol,
    /// Where the flow comes from.
    pub client: ClientAddr,
    /// The local address it came to.
    pub listener: ListenAddr,
}

impl FlowKey {
    /// The key's hash: XXH3 with [`FLOW_SEED`] over protocol, client and listener, addresses as 16 bytes (IPv4
    /// mapped), ports big-endian. 37 bytes on the stack, no allocation.
    pub fn hash(&self) -> u64 {
        let mut bytes = [0_u8; 37];
        bytes[0] = self.protocol as u8;
        bytes[1..17].copy_from_slice(&sixteen(self.client.ip()));
        bytes[17..19].copy_from_slice(&self.client.port().to_be_bytes());
        bytes[19..35].copy_from_slice(&sixteen(self.listener.ip()));
        bytes[35..37].copy_from_slice(&self.listener.port().to_be_bytes());
        xxh3_64_with_seed(&bytes, FLOW_SEED)
    }

    /// The hash of the client's address alone, whatever it speaks and from which port, made in the same way.
    pub fn hash_of_source(&self) -> u64 {
        xxh3_64_with_seed(&sixteen(self.client.ip()), FLOW_SEED)
    }
}

/// An address as 16 bytes, IPv4 mapped into IPv6.
pub fn sixteen(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(client: &str) -> FlowKey {
        FlowKey {
            protocol: Protocol::Tcp,
            client: ClientAddr(client.parse().unwrap()),
            listener: ListenAddr("127.0.0.1:5432".parse().unwrap()),
        }
    }

    #[test]
    fn a_flow_hashes_to_the_same_value_on_every_machine() {
        // Computed with another implementation of XXH3.
        assert_eq!(key("10.0.0.1:40000").hash(), 0xbe79_9678_9f49_ae40);
        assert_eq!(key("[2001:db8::1]:40000").hash(), 0x75c8_ef0a_82d4_52ff);
    }

    #[test]
    fn flows_that_differ_in_the_client_port_hash_apart_and_have_one_source() {
        let (one, other) = (key("10.0.0.1:40000"), key("10.0.0.1:40001"));
        assert_ne!(one.hash(), other.hash());
        assert_eq!(one.hash_of_source(), other.hash_of_source());
        assert_eq!(one.hash_of_source(), key("[::ffff:10.0.0.1]:1").hash_of_source());
    }
}
