//! Headers that targets are sent.
//!
//! Source: "The PROXY protocol, versions 1 & 2", sections 2.1 and 2.2; Network Load Balancer and Classic Load Balancer, "Proxy protocol". As AWS's, ours has a
//! checksum and padding; it has no endpoint's id, for there are no endpoints.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use weir_core::address::ClientAddr;
use weir_core::definition::ProxyVersion;
use weir_core::flow_key::sixteen;

use super::{CRC32C, FIXED_BYTES, LOCAL, PROXY, SIGNATURE, TLV_HEAD_BYTES};

/// TCP over IPv4, and over IPv6.
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;

/// The type of padding.
const NOOP: u8 = 0x04;

/// Bytes of AWS's padding.
const PADDING_BYTES: usize = 36;

/// The header in front of a connection that a target gets for `client`, who has connected to `listener`.
pub fn of_client(version: ProxyVersion, client: ClientAddr, listener: SocketAddr) -> Vec<u8> {
    let canonical = |addr: SocketAddr| SocketAddr::new(addr.ip().to_canonical(), addr.port());
    let (client, listener) = (canonical(client.0), canonical(listener));
    match version {
        ProxyVersion::V1 => line(client, listener).into_bytes(),
        ProxyVersion::V2 => of_addresses(client, listener),
    }
}

fn line(client: SocketAddr, listener: SocketAddr) -> String {
    let (from, to) = (client.port(), listener.port());
    match (client.ip(), listener.ip()) {
        (IpAddr::V4(client), IpAddr::V4(listener)) => {
            format!("PROXY TCP4 {client} {listener} {from} {to}\r\n")
        }
        (client, listener) => {
            let [client, listener] = [client, listener].map(|ip| Ipv6Addr::from(sixteen(ip)));
            format!("PROXY TCP6 {client} {listener} {from} {to}\r\n")
        }
    }
}

fn of_addresses(client: SocketAddr, listener: SocketAddr) -> Vec<u8> {
    let mut addresses = Vec::with_capacity(36);
    let family = match (client.ip(), listener.ip()) {
        (IpAddr::V4(client), IpAddr::V4(listener)) => {
            addresses.extend([client.octets(), listener.octets()].concat());
            TCP4
        }
        (client, listener) => {
            addresses.extend([sixteen(client), sixteen(listener)].concat());
            TCP6
        }
    };
    addresses.extend(client.port().to_be_bytes());
    addresses.extend(listener.port().to_be_bytes());
    header(PROXY, family, &addresses)
}

/// The header in front of a connection of weir's own: a health check.
pub fn of_our_own() -> Vec<u8> {
    header(LOCAL, 0, &[])
}

fn header(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
    let length = addresses.len() + TLV_HEAD_BYTES + 4 + TLV_HEAD_BYTES + PADDING_BYTES;
    let mut header = Vec::with_capacity(FIXED_BYTES + length);
    header.extend(SIGNATURE);
    header.extend([command, family]);
    header.extend(u16::try_from(length).expect("it is short").to_be_bytes());
    header.extend(addresses);
    let checksum_at = header.len() + TLV_HEAD_BYTES;
    header.extend([CRC32C, 0, 4, 0, 0, 0, 0]);
    header.extend([NOOP, 0, PADDING_BYTES as u8]);
    header.resize(FIXED_BYTES + length, 0);
    let checksum = crc32c::crc32c(&header);
    header[checksum_at..checksum_at + 4].copy_from_slice(&checksum.to_be_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    // Conformance: B5.8
    #[test]
    fn a_client_of_ipv4_is_told_in_aws_s_layout() {
        let header =
            of_client(ProxyVersion::V2, ClientAddr(addr("192.0.2.1:4660")), addr("198.51.100.2:443"));
        assert_eq!(header[..12], SIGNATURE);
        assert_eq!(header[12..16], [0x21, 0x11, 0, 58]);
        assert_eq!(header[16..28], [192, 0, 2, 1, 198, 51, 100, 2, 0x12, 0x34, 0x01, 0xbb]);
        assert_eq!(header[28..31], [3, 0, 4]);
        assert_eq!(header[35..38], [4, 0, 36]);
        assert!(header.len() == 16 + 58 && header[38..].iter().all(|byte| *byte == 0));
    }

    // Conformance: B5.8
    #[test]
    fn the_checksum_is_that_of_the_header_without_it() {
        let mut header =
            of_client(ProxyVersion::V2, ClientAddr(addr("[2001:db8::1]:1")), addr("[2001:db8::2]:2"));
        assert_eq!(header[12..16], [0x21, 0x21, 0, 82]);
        let checksum: [u8; 4] = header[55..59].try_into().unwrap();
        header[55..59].fill(0);
        assert_eq!(u32::from_be_bytes(checksum), bit_by_bit(&header));
    }

    #[test]
    fn clients_and_listeners_of_different_families_are_both_told_as_ipv6() {
        let header = of_client(ProxyVersion::V2, ClientAddr(addr("192.0.2.1:1")), addr("[2001:db8::2]:2"));
        assert_eq!(header[13], 0x21);
        assert_eq!(header[16..32], [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1]);
        let mapped =
            of_client(ProxyVersion::V2, ClientAddr(addr("[::ffff:192.0.2.1]:1")), addr("192.0.2.2:2"));
        assert_eq!(mapped[13], 0x11, "a mapped address is IPv4");
    }

    /// CRC-32C as RFC 3720 defines it.
    fn bit_by_bit(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0_u32, |crc, byte| {
            (0..8)
                .fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg()))
        })
    }
}
