//! URLs of servers that weir asks.

use std::fmt;
use std::str::FromStr;

/// The port of a URL that names none, by scheme.
const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;

/// Longest URL, in bytes.
const URL_BYTES_MAX: usize = 2048;

/// An absolute `http` or `https` URL: `http://host:port/path?query`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HttpUrl {
    is_tls: bool,
    host: String,
    port: u16,
    path: String,
}

/// Why a text is not the URL of a server that weir can ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// It has a fragment, which servers never see.
    #[error("it has a `#`, which no server sees")]
    Fragment,
    /// The host is missing, or has characters that no host has.
    #[error("its host is not a name or an IP address")]
    Host,
    /// The path has spaces or characters that are not ASCII.
    #[error("its path has characters that must be escaped, as %20")]
    Path,
    /// The port is not a number from 1 to 65535.
    #[error("its port is not a number from 1 to 65535")]
    Port,
    /// It begins with neither `http://` nor `https://`.
    #[error("it begins with neither http:// nor https://")]
    Scheme,
    /// Longer than `URL_BYTES_MAX`, 2048 bytes.
    #[error("it has more than {URL_BYTES_MAX} bytes")]
    TooLong,
    /// It has a user or password.
    #[error("it has a user or password, which weir does not send")]
    UserInfo,
}

impl HttpUrl {
    /// Whether its scheme is `https`.
    pub fn is_tls(&self) -> bool {
        self.is_tls
    }

    /// The host: a name or an IP address, without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port; 80, or 443 for `https`, where the URL names none.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What stands in the request line: the path with its query, at least `/`.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What stands in the `Host` header.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == default_port(self.is_tls) { host } else { format!("{host}:{}", self.port) }
    }

    /// The same server, another path.
    #[must_use]
    pub fn with_path(&self, path: &str) -> Self {
        Self { path: path.to_owned(), ..self.clone() }
    }
}

impl FromStr for HttpUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        if text.len() > URL_BYTES_MAX {
            return Err(UrlError::TooLong);
        }
        let Some((scheme, rest)) = text.split_once("://") else { return Err(UrlError::Scheme) };
        let is_tls = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err(UrlError::Scheme),
        };
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err(UrlError::UserInfo);
        }
        if path.contains('#') {
            return Err(UrlError::Fragment);
        }
        if !path.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(UrlError::Path);
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let (host, port) = host_and_port(authority, default_port(is_tls))?;
        Ok(Self { is_tls, host, port, path })
    }
}

fn default_port(is_tls: bool) -> u16 {
    if is_tls { HTTPS_PORT } else { HTTP_PORT }
}

fn host_and_port(authority: &str, default_port: u16) -> Result<(String, u16), UrlError> {
    let (host, rest) = match authority.strip_prefix('[') {
        Some(bracketed) => {
            let (host, rest) = bracketed.split_once(']').ok_or(UrlError::Host)?;
            host.parse::<std::net::Ipv6Addr>().map_err(|_| UrlError::Host)?;
            (host, rest)
        }
        None => {
            let (host, rest) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
            let is_host = |b: u8| b.is_ascii_alphanumeric() || b"-._".contains(&b);
            if host.is_empty() || !host.bytes().all(is_host) {
                return Err(UrlError::Host);
            }
            (host, rest)
        }
    };
    let port = match rest.strip_prefix(':') {
        Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or(UrlError::Port)?,
        None if rest.is_empty() => default_port,
        None => return Err(UrlError::Host),
    };
    Ok((host.to_owned(), port))
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_a_host_a_port_and_a_path() {
        let parts = |text: &str| {
            let url: HttpUrl = text.parse().unwrap();
            (url.host().to_owned(), url.port(), url.path().to_owned())
        };
        assert_eq!(parts("http://sd.example"), ("sd.example".into(), 80, "/".into()));
        assert_eq!(parts("http://127.0.0.1:9000/a?b=c"), ("127.0.0.1".into(), 9000, "/a?b=c".into()));
        assert_eq!(parts("HTTP://[::1]:9000?x"), ("::1".into(), 9000, "/?x".into()));
        assert_eq!(parts("https://sd.example"), ("sd.example".into(), 443, "/".into()));
    }

    #[test]
    fn a_url_reads_as_it_was_written() {
        for text in [
            "https://sd.example/",
            "https://sd.example:80/",
            "http://sd.example/",
            "http://127.0.0.1:9000/a?b=c",
            "http://[::1]:1/",
        ] {
            assert_eq!(text.parse::<HttpUrl>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_url_says_why() {
        for (text, why) in [
            ("sd.example/targets", UrlError::Scheme),
            ("ftp://a/", UrlError::Scheme),
            ("http://", UrlError::Host),
            ("http://a b/", UrlError::Host),
            ("http://[::g]/", UrlError::Host),
            ("http://[::1]9/", UrlError::Host),
            ("http://a:0/", UrlError::Port),
            ("http://a:65536/", UrlError::Port),
            ("http://a:/", UrlError::Port),
            ("http://user:secret@a/", UrlError::UserInfo),
            ("http://a/b c", UrlError::Path),
            ("http://a/b#c", UrlError::Fragment),
        ] {
            assert_eq!(text.parse::<HttpUrl>(), Err(why), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_breaks_the_reader_and_what_is_read_reads_the_same_again(text in "(https?://)?[a-z0-9\\[\\]:/?#@. ]{0,30}") {
            if let Ok(url) = text.parse::<HttpUrl>() {
                proptest::prop_assert_eq!(url.to_string().parse(), Ok(url));
            }
        }
    }
}
