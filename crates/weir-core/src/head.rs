//! The canonical head of a request: what decisions see of it, whatever codec read it.

/// The header lines of a request, as the codec holds them.
///
/// A trait rather than a copy, so that a decision costs no allocation: the codec keeps its own representation.
pub trait HeaderLines {
    /// Whether any line called `name` (lower case) has a value for which `test` holds. Lines are tried in order.
    fn any_value(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool;

    /// The first value of `name` (lower case).
    fn first_value(&self, name: &str) -> Option<&[u8]>;
}

/// What a rule can ask about a request.
#[derive(Clone, Copy)]
pub struct Head<'a> {
    /// `http` or `https`, of the client's side.
    pub scheme: &'static str,
    /// The method, as sent: methods are case-sensitive.
    pub method: &'a str,
    /// The host without its port; empty when the request named none.
    pub host: &'a str,
    /// The port that the client connected to.
    pub port: u16,
    /// The path as it came, starting with `/` (or `*` for `OPTIONS *`).
    pub path: &'a str,
    /// The path that rules match; see [`crate::path::normal_form`].
    pub normal_path: &'a str,
    /// The query without its `?`, not decoded; `None` when there is no `?`.
    pub query: Option<&'a str>,
    /// All header lines.
    pub headers: &'a dyn HeaderLines,
}

impl std::fmt::Debug for Head<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}://{}:{}{}", self.method, self.scheme, self.host, self.port, self.path)
    }
}

/// Splits an authority into host and port: `a.example:8080`, `[::1]:80`, `a.example`.
///
/// A port that is not a number is left out, since the listener's own port is used then.
pub fn split_host_port(authority: &str) -> (&str, Option<u16>) {
    // A byte at a time from the end: authorities are short, and most have a port or nothing like one.
    let colon = match authority.bytes().rposition(|byte| matches!(byte, b':' | b']')) {
        Some(at) if authority.as_bytes()[at] == b':' => Some(at),
        _ => None,
    };
    match colon {
        Some(at) => (&authority[..at], authority[at + 1..].parse().ok()),
        None => (authority, None),
    }
}

/// Header lines in a list, for tests and for decisions made from a command line.
impl HeaderLines for Vec<(String, String)> {
    fn any_value(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.iter().any(|(n, value)| n.eq_ignore_ascii_case(name) && test(value.as_bytes()))
    }

    fn first_value(&self, name: &str) -> Option<&[u8]> {
        self.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_splits_at_its_port() {
        assert_eq!(split_host_port("a.example:8080"), ("a.example", Some(8080)));
        assert_eq!(split_host_port("a.example"), ("a.example", None));
        assert_eq!(split_host_port("[::1]:80"), ("[::1]", Some(80)));
        assert_eq!(split_host_port("[::1]"), ("[::1]", None));
        assert_eq!(split_host_port("a:b"), ("a", None));
    }
}
