//! Conditions of a rule, each one test on a request.

use std::fmt;

use ipnet::IpNet;

use crate::address::ClientAddr;
use crate::head::Head;
use crate::pattern::Pattern;

/// One test on a request. Matches when any of its values does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// The host, without port, case-insensitive.
    HostHeader(Vec<Pattern>),
    /// A header's value, case-insensitive; a repeated header is searched line by line.
    HttpHeader {
        /// The header's name in lower case.
        name: String,
        /// The values.
        values: Vec<Pattern>,
    },
    /// The method, exactly.
    HttpRequestMethod(Vec<String>),
    /// The path in its normal form, case-sensitive, never the query.
    PathPattern(Vec<Pattern>),
    /// Pairs of the query, case-insensitive, compared as sent.
    QueryString(Vec<QueryPattern>),
    /// The address of the connection's peer, never `X-Forwarded-For`.
    SourceIp(Vec<IpNet>),
}

/// A test on one `key=value` pair of a query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryPattern {
    /// The key; `None` matches under any key.
    pub key: Option<Pattern>,
    /// The value.
    pub value: Pattern,
}

impl Condition {
    /// The condition's name in configuration.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::HostHeader(_) => "host_header",
            Self::HttpHeader { .. } => "http_header",
            Self::HttpRequestMethod(_) => "http_request_method",
            Self::PathPattern(_) => "path_pattern",
            Self::QueryString(_) => "query_string",
            Self::SourceIp(_) => "source_ip",
        }
    }

    /// Whether the request matches.
    pub fn matches(&self, head: &Head<'_>, client: ClientAddr) -> bool {
        match self {
            Self::HostHeader(patterns) => any(patterns, head.host.as_bytes()),
            Self::HttpHeader { name, values } => {
                head.headers.any_value(name, &mut |value| any(values, value))
            }
            Self::HttpRequestMethod(methods) => methods.iter().any(|method| method == head.method),
            Self::PathPattern(patterns) => any(patterns, head.normal_path.as_bytes()),
            Self::QueryString(patterns) => head.query.is_some_and(|query| {
                query.split('&').any(|pair| patterns.iter().any(|pattern| pattern.matches(pair)))
            }),
            Self::SourceIp(networks) => {
                // A dual-stack socket reports IPv4 clients as mapped addresses; the rule is written for IPv4.
                let ip = client.ip().to_canonical();
                networks.iter().any(|network| network.contains(&ip))
            }
        }
    }
}

impl fmt::Display for Condition {
    /// As the configuration has it: `path_pattern /a/* or /b/*`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())?;
        f.write_str(" ")?;
        match self {
            Self::HostHeader(patterns) | Self::PathPattern(patterns) => list(f, patterns),
            Self::HttpHeader { name, values } => {
                write!(f, "{name}: ")?;
                list(f, values)
            }
            Self::HttpRequestMethod(methods) => list(f, methods),
            Self::QueryString(pairs) => list(f, pairs),
            Self::SourceIp(networks) => list(f, networks),
        }
    }
}

fn list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, values: &[T]) -> fmt::Result {
    values.iter().enumerate().try_for_each(|(at, value)| {
        let or = if at == 0 { "" } else { " or " };
        write!(f, "{or}{value}")
    })
}

impl fmt::Display for QueryPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(f, "{key}={}", self.value),
            None => self.value.fmt(f),
        }
    }
}

impl QueryPattern {
    /// Whether one pair, `key=value` or a bare value, matches.
    fn matches(&self, pair: &str) -> bool {
        match (&self.key, pair.split_once('=')) {
            (Some(key), Some((k, v))) => key.matches(k.as_bytes()) && self.value.matches(v.as_bytes()),
            (Some(_), None) => false,
            (None, Some((_, v))) => self.value.matches(v.as_bytes()),
            (None, None) => self.value.matches(pair.as_bytes()),
        }
    }
}

fn any(patterns: &[Pattern], text: &[u8]) -> bool {
    patterns.iter().any(|pattern| pattern.matches(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::Case;

    fn patterns(list: &[&str], case: Case) -> Vec<Pattern> {
        list.iter().map(|p| Pattern::parse(p, case).unwrap()).collect()
    }

    fn check(condition: &Condition, edit: impl FnOnce(&mut Head<'_>)) -> bool {
        let headers = vec![("X-Env".to_owned(), "blue".to_owned()), ("x-env".to_owned(), "Green".to_owned())];
        let mut head = Head {
            scheme: "http",
            method: "GET",
            host: "Shop.Example.com",
            port: 80,
            path: "/api/v1",
            normal_path: "/api/v1",
            query: Some("a=1&flag&Name=Bob"),
            headers: &headers,
        };
        edit(&mut head);
        condition.matches(&head, ClientAddr("10.1.2.3:5000".parse().unwrap()))
    }

    // Conformance: A2.1.1, A2.1.11
    #[test]
    fn a_host_matches_without_regard_to_case() {
        let condition = Condition::HostHeader(patterns(&["*.example.com"], Case::Insensitive));
        assert!(check(&condition, |_| {}));
        assert!(!check(&condition, |head| head.host = "example.com"));
    }

    // Conformance: A2.0.6, A2.1.3
    #[test]
    fn a_path_matches_with_regard_to_case_and_never_the_query() {
        let condition = Condition::PathPattern(patterns(&["/api/*", "/x"], Case::Sensitive));
        assert!(check(&condition, |_| {}));
        assert!(!check(&condition, |head| head.normal_path = "/API/v1"));
        assert!(!check(&condition, |head| {
            head.normal_path = "/y";
            head.query = Some("/api/1");
        }));
    }

    // Conformance: A2.1.6, A2.1.18
    #[test]
    fn a_repeated_header_is_searched_line_by_line() {
        let condition =
            Condition::HttpHeader { name: "x-env".into(), values: patterns(&["green"], Case::Insensitive) };
        assert!(check(&condition, |_| {}));
    }

    // Conformance: A2.1.4
    #[test]
    fn a_method_matches_exactly() {
        let condition = Condition::HttpRequestMethod(vec!["GET".into()]);
        assert!(check(&condition, |_| {}));
        assert!(!check(&condition, |head| head.method = "get"));
    }

    // Conformance: A2.1.7, A2.1.21, A2.1.22
    #[test]
    fn a_query_value_matches_under_its_key_or_under_any() {
        let query = |key: Option<&str>, value: &str| {
            Condition::QueryString(vec![QueryPattern {
                key: key.map(|k| Pattern::parse(k, Case::Insensitive).unwrap()),
                value: Pattern::parse(value, Case::Insensitive).unwrap(),
            }])
        };
        assert!(check(&query(Some("name"), "b*"), |_| {}));
        assert!(!check(&query(Some("a"), "2"), |_| {}));
        assert!(check(&query(None, "flag"), |_| {}));
        assert!(check(&query(None, "1"), |_| {}));
        assert!(!check(&query(None, "1"), |head| head.query = None));
    }

    // Conformance: A2.1.5, A2.1.24
    #[test]
    fn a_source_address_is_the_peer_of_the_connection() {
        let condition = Condition::SourceIp(vec!["10.0.0.0/8".parse().unwrap()]);
        assert!(check(&condition, |_| {}));
        let condition = Condition::SourceIp(vec!["192.168.0.0/16".parse().unwrap()]);
        assert!(!check(&condition, |_| {}));
    }

    // Conformance: A2.1.24
    #[test]
    fn a_network_may_be_of_ipv6() {
        let condition = Condition::SourceIp(vec!["2001:db8::/32".parse().unwrap()]);
        let headers: Vec<(String, String)> = Vec::new();
        let head = Head {
            scheme: "http",
            method: "GET",
            host: "a.example",
            port: 80,
            path: "/",
            normal_path: "/",
            query: None,
            headers: &headers,
        };
        let is_from = |addr: &str| condition.matches(&head, ClientAddr(addr.parse().unwrap()));
        assert!(is_from("[2001:db8::1]:5000"));
        assert!(!is_from("[2001:db9::1]:5000") && !is_from("10.1.2.3:5000"));
    }
}
