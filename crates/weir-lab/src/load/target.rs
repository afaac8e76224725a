//! What is loaded: a URL, read once.

use std::net::{SocketAddr, ToSocketAddrs};

/// What a server is spoken to in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1, one request at a time on each connection.
    Http1,
    /// HTTP/2 without TLS, known beforehand.
    Http2,
    /// A connection for each request: something is sent, its echo is waited for.
    Tcp,
    /// A datagram for each request, whose echo is waited for.
    Udp,
}

/// A server, and what it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// What it is spoken to in.
    pub protocol: Protocol,
    /// Where it is.
    pub addr: SocketAddr,
    /// What HTTP calls it: visible ASCII.
    pub authority: String,
    /// What HTTP asks it for: begins with a slash, visible ASCII.
    pub path: String,
}

/// What is wrong with a URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Its authority is none.
    #[error("{0:?} is no host with a port; write it like 127.0.0.1:8080")]
    Authority(String),
    /// Its path has characters that no path has.
    #[error("the path {0:?} has characters other than visible ASCII; percent-encode them")]
    Path(String),
    /// A path where there is none.
    #[error("tcp:// and udp:// have no path; leave {0:?} out")]
    PathOfNone(String),
    /// TCP and UDP have no port of their own.
    #[error("tcp:// and udp:// need a port, as in tcp://127.0.0.1:5432")]
    Port,
    /// None of ours.
    #[error("a URL begins with http://, h2c://, tcp:// or udp://, as in http://127.0.0.1:8080/{0}")]
    Scheme(&'static str),
    /// Its name leads nowhere.
    #[error("nobody knows the address of {0:?}; write it with its address")]
    Unknown(String),
}

impl Endpoint {
    /// Reads a URL; asks for the address of a name.
    pub fn parse(url: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = url.split_once("://").ok_or(UrlError::Scheme(""))?;
        let protocol = match scheme {
            "http" => Protocol::Http1,
            "h2c" => Protocol::Http2,
            "tcp" => Protocol::Tcp,
            "udp" => Protocol::Udp,
            "https" => {
                return Err(UrlError::Scheme(
                    " (the generator does not speak TLS; load a listener without it)",
                ));
            }
            _ => return Err(UrlError::Scheme("")),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let path = path.split('#').next().unwrap_or_default();
        if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(UrlError::Path(path.to_owned()));
        }
        let is_http = matches!(protocol, Protocol::Http1 | Protocol::Http2);
        if !is_http && !matches!(path, "" | "/") {
            return Err(UrlError::PathOfNone(path.to_owned()));
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let addr = resolve(authority, if is_http { Some(80) } else { None })?;
        Ok(Self { protocol, addr, authority: authority.to_owned(), path })
    }
}

/// The address of an authority; of several addresses, loopback's own or else the first.
fn resolve(authority: &str, port: Option<u16>) -> Result<SocketAddr, UrlError> {
    let bad = || UrlError::Authority(authority.to_owned());
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
    if authority.is_empty() || !authority.bytes().all(is_plain) {
        return Err(bad());
    }
    // The colons in an IPv6 address are within brackets.
    let has_port = authority.rsplit(']').next().is_some_and(|rest| rest.contains(':'));
    let full = match port {
        _ if has_port => authority.to_owned(),
        Some(port) => format!("{authority}:{port}"),
        None => return Err(UrlError::Port),
    };
    let (host, port) = full.rsplit_once(':').ok_or_else(bad)?;
    if host.is_empty() || port.parse::<u16>().is_ok_and(|port| port == 0) || port.parse::<u16>().is_err() {
        return Err(bad());
    }
    // Names below localhost are loopback's everywhere, also where the resolver does not know it. Source: RFC 6761, section 6.3.
    let is_local = host == "localhost" || host.ends_with(".localhost");
    let full = if is_local { format!("127.0.0.1:{port}") } else { full };
    let addrs: Vec<SocketAddr> =
        full.to_socket_addrs().map_err(|_| UrlError::Unknown(authority.to_owned()))?.collect();
    let loopback = addrs.iter().find(|addr| addr.ip().is_loopback());
    loopback.or(addrs.first()).copied().ok_or_else(|| UrlError::Unknown(authority.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_what_is_spoken_and_to_whom() {
        let read = |url: &str| {
            let endpoint = Endpoint::parse(url).unwrap();
            (endpoint.protocol, endpoint.addr.to_string(), endpoint.authority, endpoint.path)
        };
        let cases = [
            ("http://127.0.0.1:8080/a?b=c#d", Protocol::Http1, "127.0.0.1:8080", "127.0.0.1:8080", "/a?b=c"),
            ("http://127.0.0.1", Protocol::Http1, "127.0.0.1:80", "127.0.0.1", "/"),
            ("h2c://api.localhost:9000?x", Protocol::Http2, "127.0.0.1:9000", "api.localhost:9000", "/?x"),
            ("tcp://[::1]:5432", Protocol::Tcp, "[::1]:5432", "[::1]:5432", "/"),
            ("udp://localhost:53/", Protocol::Udp, "127.0.0.1:53", "localhost:53", "/"),
        ];
        for (url, protocol, addr, authority, path) in cases {
            assert_eq!(
                read(url),
                (protocol, addr.to_owned(), authority.to_owned(), path.to_owned()),
                "{url}"
            );
        }
    }

    #[test]
    fn a_url_that_is_none_says_how_to_write_it() {
        for (url, remedy) in [
            ("127.0.0.1:80", "begins with http://"),
            ("https://127.0.0.1", "TLS"),
            ("http://", "like 127.0.0.1:8080"),
            ("http://127.0.0.1:0/", "like 127.0.0.1:8080"),
            ("http://127.0.0.1:99999/", "like 127.0.0.1:8080"),
            ("http://user@127.0.0.1/", "like 127.0.0.1:8080"),
            ("http://127.0.0.1/a b", "percent-encode"),
            ("tcp://127.0.0.1", "need a port"),
            ("tcp://127.0.0.1:1/path", "leave \"/path\" out"),
        ] {
            let said = Endpoint::parse(url).unwrap_err().to_string();
            assert!(said.contains(remedy), "{url}: {said}");
        }
    }
}
