//! Look-ups: which records of the domain name system become targets.

use std::fmt;
use std::str::FromStr;

/// Longest name, in bytes, without its last dot (RFC 1035, section 2.3.4, in text).
const NAME_BYTES_MAX: usize = 253;

/// Longest part of a name between two dots, in bytes.
const LABEL_BYTES_MAX: usize = 63;

/// A name in the domain name system: fully qualified, in lower case, without its last dot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DnsName(String);

/// Why a text is not a name in the domain name system.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DnsNameError {
    /// It is an IP address, which needs no look-up.
    #[error("it is an IP address")]
    Address,
    /// It has other characters than letters, digits, `-`, `_` and dots.
    #[error("it has other characters than letters, digits, `-`, `_` and `.`")]
    Character,
    /// A part between dots is empty or longer than 63 bytes.
    #[error("its parts between dots have 1 to {LABEL_BYTES_MAX} characters")]
    Label,
    /// It is longer than 253 bytes.
    #[error("it has more than {NAME_BYTES_MAX} characters")]
    TooLong,
}

impl DnsName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for DnsName {
    type Err = DnsNameError;

    fn from_str(text: &str) -> Result<Self, DnsNameError> {
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.parse::<std::net::IpAddr>().is_ok() {
            return Err(DnsNameError::Address);
        }
        if name.len() > NAME_BYTES_MAX {
            return Err(DnsNameError::TooLong);
        }
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)) {
            return Err(DnsNameError::Character);
        }
        if !name.split('.').all(|label| (1..=LABEL_BYTES_MAX).contains(&label.len())) {
            return Err(DnsNameError::Label);
        }
        Ok(Self(name.to_ascii_lowercase()))
    }
}

impl fmt::Display for DnsName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which records of a name are targets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Record {
    /// IPv4 addresses, each a target at this port.
    A {
        /// The port, which the records do not name.
        port: u16,
    },
    /// IPv6 addresses, each a target at this port.
    Aaaa {
        /// The port, which the records do not name.
        port: u16,
    },
    /// Hosts with ports, priorities and weights (RFC 2782).
    Srv,
}

/// One look-up that a target group asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lookup {
    /// The name.
    pub name: DnsName,
    /// Which of its records.
    pub record: Record,
}

/// `_http._tcp.api.example SRV`, `api.example:8080 A`: also the service of the tasks that it finds.
impl fmt::Display for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.record {
            Record::A { port } => write!(f, "{}:{port} A", self.name),
            Record::Aaaa { port } => write!(f, "{}:{port} AAAA", self.name),
            Record::Srv => write!(f, "{} SRV", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_whatever_its_case_and_last_dot() {
        let name = |text: &str| text.parse::<DnsName>();
        assert_eq!(name("_HTTP._tcp.api.example."), name("_http._tcp.api.example"));
        assert_eq!(name("127.0.0.1"), Err(DnsNameError::Address));
        assert_eq!(name("::1"), Err(DnsNameError::Address));
        assert_eq!(name(""), Err(DnsNameError::Label));
        assert_eq!(name("a..b"), Err(DnsNameError::Label));
        assert_eq!(name("a b"), Err(DnsNameError::Character));
        assert_eq!(name(&"a".repeat(64)), Err(DnsNameError::Label));
        assert_eq!(name(&"a.".repeat(127)).map(|name| name.as_str().len()), Ok(253));
        assert_eq!(name(&"a.".repeat(128)), Err(DnsNameError::TooLong));
    }

    #[test]
    fn look_ups_that_differ_read_differently() {
        let name: DnsName = "api.example".parse().unwrap();
        let records = [Record::A { port: 1 }, Record::A { port: 2 }, Record::Aaaa { port: 1 }, Record::Srv];
        let texts = records.map(|record| Lookup { name: name.clone(), record }.to_string());
        assert_eq!(texts, ["api.example:1 A", "api.example:2 A", "api.example:1 AAAA", "api.example SRV"]);
    }
}
