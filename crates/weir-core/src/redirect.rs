//! Redirects with AWS's five keywords.
//!
//! Source: Application Load Balancer, "Redirect actions". A component that is not given keeps its default:
//! `#{protocol}`, `#{host}`, `#{port}`, `/#{path}`, `#{query}`.

use std::fmt::Write as _;

use crate::head::Head;

/// Longest `Location`, in bytes: beyond it the client gets 507.
pub const LOCATION_BYTES_MAX: usize = 8 * 1024;

/// Where and how a client is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// 301 or 302.
    pub status: u16,
    /// `http`, `https` or the request's own.
    pub protocol: Template,
    /// The host.
    pub host: Template,
    /// The port.
    pub port: Template,
    /// The path, starting with `/`.
    pub path: Template,
    /// The query without `?`; empty for none.
    pub query: Template,
}

/// A text with keywords in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Keyword(Keyword),
    Literal(String),
}

/// A part of the request that a redirect can keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keyword {
    /// `#{host}`.
    Host,
    /// `#{path}`, without its leading `/`.
    Path,
    /// `#{port}`.
    Port,
    /// `#{protocol}`, lower case in the `Location`.
    Protocol,
    /// `#{query}`.
    Query,
}

impl Keyword {
    const ALL: [(&'static str, Self); 5] = [
        ("#{host}", Self::Host),
        ("#{path}", Self::Path),
        ("#{port}", Self::Port),
        ("#{protocol}", Self::Protocol),
        ("#{query}", Self::Query),
    ];

    /// The keyword as written.
    pub fn as_str(self) -> &'static str {
        Self::ALL.iter().find(|(_, keyword)| *keyword == self).map_or("", |(text, _)| text)
    }
}

/// Why a text is not a template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A keyword that this component may not use.
    #[error("may not use {0}")]
    NotAllowedHere(&'static str),
    /// `#{` that begins none of the five keywords.
    #[error("has {0:?}; the keywords are #{{protocol}}, #{{host}}, #{{port}}, #{{path}} and #{{query}}")]
    UnknownKeyword(String),
}

impl Template {
    /// Parses a component that may use the keywords in `allowed`.
    ///
    /// # Errors
    /// [`TemplateError`] when a keyword is unknown or not allowed in this component.
    pub fn parse(text: &str, allowed: &[Keyword]) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(start) = rest.find("#{") {
            if start > 0 {
                parts.push(Part::Literal(rest[..start].to_owned()));
            }
            let end = rest[start..].find('}').map_or(rest.len(), |end| start + end + 1);
            let written = &rest[start..end];
            let keyword = Keyword::ALL
                .iter()
                .find(|(name, _)| *name == written)
                .map(|(_, keyword)| *keyword)
                .ok_or_else(|| TemplateError::UnknownKeyword(written.to_owned()))?;
            if !allowed.contains(&keyword) {
                return Err(TemplateError::NotAllowedHere(keyword.as_str()));
            }
            parts.push(Part::Keyword(keyword));
            rest = &rest[end..];
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.to_owned()));
        }
        Ok(Self(parts))
    }

    fn append(&self, location: &mut String, head: &Head<'_>) {
        for part in &self.0 {
            match part {
                Part::Literal(text) => location.push_str(text),
                Part::Keyword(Keyword::Host) => location.push_str(head.host),
                Part::Keyword(Keyword::Path) => {
                    location.push_str(head.path.strip_prefix('/').unwrap_or(head.path));
                }
                Part::Keyword(Keyword::Port) => {
                    write!(location, "{}", head.port).expect("writing to a string succeeds");
                }
                Part::Keyword(Keyword::Protocol) => location.push_str(head.scheme),
                Part::Keyword(Keyword::Query) => location.push_str(head.query.unwrap_or("")),
            }
        }
    }
}

impl Redirect {
    /// The `Location` for one request: `protocol://host:port/path?query`, the port written out even when it is the
    /// protocol's default, as AWS does. `None` when it is longer than [`LOCATION_BYTES_MAX`].
    pub fn location(&self, head: &Head<'_>) -> Option<String> {
        let mut location = String::with_capacity(128);
        self.protocol.append(&mut location, head);
        location.push_str("://");
        self.host.append(&mut location, head);
        location.push(':');
        self.port.append(&mut location, head);
        self.path.append(&mut location, head);
        location.push('?');
        let without_query = location.len();
        self.query.append(&mut location, head);
        if location.len() == without_query {
            location.pop();
        }
        (location.len() <= LOCATION_BYTES_MAX).then_some(location)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Keyword; 5] =
        [Keyword::Host, Keyword::Path, Keyword::Port, Keyword::Protocol, Keyword::Query];

    fn template(text: &str) -> Template {
        Template::parse(text, &ALL).unwrap()
    }

    fn check(redirect: &Redirect, path: &str, query: Option<&str>) -> Option<String> {
        let headers = Vec::new();
        let head = Head {
            scheme: "http",
            method: "GET",
            host: "a.example",
            port: 8080,
            path,
            normal_path: path,
            query,
            headers: &headers,
        };
        redirect.location(&head)
    }

    fn defaults() -> Redirect {
        Redirect {
            status: 301,
            protocol: template("#{protocol}"),
            host: template("#{host}"),
            port: template("#{port}"),
            path: template("/#{path}"),
            query: template("#{query}"),
        }
    }

    #[test]
    fn the_defaults_keep_every_component_of_the_request() {
        let location = check(&defaults(), "/x/y", Some("a=1"));
        assert_eq!(location.as_deref(), Some("http://a.example:8080/x/y?a=1"));
    }

    // Conformance: A2.3.22
    #[test]
    fn an_empty_query_leaves_no_question_mark() {
        assert_eq!(check(&defaults(), "/", None).as_deref(), Some("http://a.example:8080/"));
    }

    // Conformance: A2.3.13, A2.3.14
    #[test]
    fn each_keyword_can_be_moved() {
        let redirect = Redirect {
            protocol: template("https"),
            port: template("443"),
            path: template("/new/#{host}/#{path}"),
            query: template("from=#{protocol}-#{port}&#{query}"),
            ..defaults()
        };
        let location = check(&redirect, "/old", Some("q=2"));
        assert_eq!(location.as_deref(), Some("https://a.example:443/new/a.example/old?from=http-8080&q=2"));
    }

    // Conformance: A2.3.20
    #[test]
    fn a_location_beyond_its_limit_is_refused() {
        assert_eq!(check(&defaults(), &format!("/{}", "x".repeat(LOCATION_BYTES_MAX)), None), None);
    }

    // Conformance: A2.3.13
    #[test]
    fn unknown_and_misplaced_keywords_are_refused() {
        assert_eq!(Template::parse("#{pth}", &ALL), Err(TemplateError::UnknownKeyword("#{pth}".into())));
        assert_eq!(
            Template::parse("#{path}", &[Keyword::Host]),
            Err(TemplateError::NotAllowedHere("#{path}"))
        );
        assert!(Template::parse("#{unclosed", &ALL).is_err());
    }
}
