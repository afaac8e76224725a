//! Addresses that cannot be confused with one another.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

macro_rules! address {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub SocketAddr);

        impl $name {
            /// The address without its port.
            pub fn ip(self) -> IpAddr {
                self.0.ip()
            }

            /// The port.
            pub fn port(self) -> u16 {
                self.0.port()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

address! {
    /// Where a client's connection comes from, as the socket says.
    ClientAddr
}
address! {
    /// Where a listener accepts connections.
    ListenAddr
}

impl ListenAddr {
    /// Whether two listeners would take the same connections: one port, and one address or every one of a family. Port 0 is
    /// any free port.
    pub fn overlaps(self, other: Self) -> bool {
        self.covers(other) || other.covers(self)
    }

    /// Whether a listener here may take every connection to `other`: one port, and the same address or every one of its family.
    pub fn covers(self, other: Self) -> bool {
        let is_every_one = self.ip().is_unspecified() && self.0.is_ipv4() == other.0.is_ipv4();
        self.port() != 0 && self.port() == other.port() && (is_every_one || self.ip() == other.ip())
    }
}

address! {
    /// Where a target takes traffic. An attribute of a target, never its identity: ports are recycled.
    TargetAddr
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_overlap_at_one_port_of_one_address_or_of_every_one_of_a_family() {
        let overlap = |one: &str, other: &str| {
            let [one, other] = [one, other].map(|addr| ListenAddr(addr.parse().unwrap()));
            assert_eq!(one.overlaps(other), other.overlaps(one));
            one.overlaps(other)
        };
        assert!(overlap("127.0.0.1:80", "127.0.0.1:80") && overlap("0.0.0.0:80", "127.0.0.1:80"));
        assert!(overlap("[::]:80", "[::1]:80") && !overlap("0.0.0.0:80", "[::1]:80"));
        assert!(!overlap("127.0.0.1:80", "127.0.0.2:80") && !overlap("0.0.0.0:80", "127.0.0.1:81"));
        assert!(!overlap("127.0.0.1:0", "127.0.0.1:0"), "each gets a port of its own");
        let [every, one] = ["0.0.0.0:80", "127.0.0.1:80"].map(|addr| ListenAddr(addr.parse().unwrap()));
        assert!(every.covers(one) && one.covers(one) && !one.covers(every));
    }
}
