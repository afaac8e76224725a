//! What requests and flows are hashed on, where that decides on their target.

use std::fmt;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::address::ClientAddr;
use crate::flow_key::{FLOW_SEED, sixteen};
use crate::head::Head;
use crate::sticky;

/// How a group hashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hashing {
    /// What goes to the same target.
    pub on: HashOn,
    /// No target has more than so many hundredths of the mean of what is under way: 101 to 1000. `None` sets no bound.
    /// Source: Mirrokni et al., "Consistent Hashing with Bounded Loads", 2018; HAProxy, `hash-balance-factor`.
    pub balance_factor: Option<u16>,
}

/// What is hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashOn {
    /// The first value of a cookie.
    Cookie(Box<str>),
    /// Protocol, addresses and ports of a flow.
    Flow,
    /// The first line of a header, by its name in lower case.
    Header(Box<str>),
    /// The path as it came, without its query.
    Path,
    /// The client's address, without its port.
    Source,
}

impl fmt::Display for HashOn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cookie(name) => write!(f, "cookie {name}"),
            Self::Flow => f.write_str("flow"),
            Self::Header(name) => write!(f, "header {name}"),
            Self::Path => f.write_str("path"),
            Self::Source => f.write_str("client's address"),
        }
    }
}

impl Hashing {
    /// What a request is hashed to; `None` when it has nothing of what is asked for.
    pub fn key(&self, head: &Head<'_>, client: ClientAddr) -> Option<u64> {
        let hash = |bytes: &[u8]| xxh3_64_with_seed(bytes, FLOW_SEED);
        match &self.on {
            HashOn::Cookie(name) => sticky::with_cookie(head.headers, name, hash),
            HashOn::Header(name) => head.headers.first_value(name).map(hash),
            HashOn::Path => Some(hash(head.path.as_bytes())),
            HashOn::Flow | HashOn::Source => Some(hash(&sixteen(client.ip()))),
        }
    }
}
