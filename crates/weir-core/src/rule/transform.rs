//! Transforms of a rule: targets are asked for another host or URL than the client asked for.
//!
//! Source: Application Load Balancer, "Transforms for listener rules". They come after rule and target are chosen, and
//! nothing is chosen anew for what they make.

use std::fmt;

use regex_automata::meta;

use crate::pattern::{self, Case, PatternError};

/// Longest regular expression and replacement, in bytes.
pub const REWRITE_BYTES_MAX: usize = 1024;

/// What a rule changes of the requests that it forwards. At least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transforms {
    /// Of the host, without its port.
    pub host: Option<Rewrite>,
    /// Of the path in its normal form, with `?` and the query as it came.
    pub url: Option<Rewrite>,
}

/// A regular expression, and what its first match is replaced with.
#[derive(Clone, Debug)]
pub struct Rewrite {
    regex: meta::Regex,
    source: String,
    replacement: String,
    parts: Vec<Part>,
}

/// A part of a replacement.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// What a group has matched; nothing where it has not.
    Group(usize),
    Text(String),
}

/// Why there is no such rewrite.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RewriteError {
    /// The replacement names a group that the regular expression does not have.
    #[error("the replacement has ${0}, and the regular expression no such group")]
    NoGroup(usize),
    /// The regular expression is none.
    #[error("the pattern {0}")]
    Pattern(PatternError),
    /// One of them is longer than [`REWRITE_BYTES_MAX`].
    #[error("has more than {REWRITE_BYTES_MAX} characters")]
    TooLong,
}

impl Rewrite {
    /// A rewrite of what `regex` matches first to `replacement`, in which `$1` or `${1}` is what the first group matched.
    ///
    /// # Errors
    /// [`RewriteError`].
    pub fn new(regex: &str, replacement: &str) -> Result<Self, RewriteError> {
        if regex.len().max(replacement.len()) > REWRITE_BYTES_MAX {
            return Err(RewriteError::TooLong);
        }
        let hir = pattern::parse_regex(regex, Case::Sensitive).map_err(RewriteError::Pattern)?;
        let config = meta::Config::new().utf8_empty(false).nfa_size_limit(Some(pattern::AUTOMATON_BYTES_MAX));
        let compiled = meta::Builder::new().configure(config).build_from_hir(&hir);
        let compiled = compiled.map_err(|_| RewriteError::Pattern(PatternError::TooComplex))?;
        let parts = parts(replacement);
        let groups = compiled.captures_len();
        for part in &parts {
            match part {
                Part::Group(group) if *group >= groups => return Err(RewriteError::NoGroup(*group)),
                Part::Group(_) | Part::Text(_) => {}
            }
        }
        let (source, replacement) = (regex.to_owned(), replacement.to_owned());
        Ok(Self { regex: compiled, source, replacement, parts })
    }

    /// `text` with its first match replaced; `None` where nothing matches.
    pub fn apply(&self, text: &str) -> Option<Vec<u8>> {
        let text = text.as_bytes();
        let mut groups = self.regex.create_captures();
        self.regex.captures(text, &mut groups);
        let found = groups.get_match()?.range();
        let mut rewritten = text[..found.start].to_vec();
        for part in &self.parts {
            match part {
                Part::Group(group) => {
                    let span = groups.get_group(*group);
                    rewritten.extend_from_slice(span.map_or(&[], |span| &text[span.range()]));
                }
                Part::Text(plain) => rewritten.extend_from_slice(plain.as_bytes()),
            }
        }
        rewritten.extend_from_slice(&text[found.end..]);
        Some(rewritten)
    }
}

impl PartialEq for Rewrite {
    fn eq(&self, other: &Self) -> bool {
        (&self.source, &self.replacement) == (&other.source, &other.replacement)
    }
}

impl Eq for Rewrite {}

impl fmt::Display for Rewrite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} to {}",
            self.source,
            if self.replacement.is_empty() { "nothing" } else { &self.replacement }
        )
    }
}

impl fmt::Display for Transforms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.host.iter().map(|rewrite| format!("host {rewrite}"));
        let url = self.url.iter().map(|rewrite| format!("URL {rewrite}"));
        f.write_str(&host.chain(url).collect::<Vec<_>>().join(", "))
    }
}

/// Splits a replacement at its groups. A `$` that no number follows is a `$`.
fn parts(replacement: &str) -> Vec<Part> {
    let (mut parts, mut text, mut rest) = (Vec::new(), String::new(), replacement);
    while let Some((plain, behind)) = rest.split_once('$') {
        text.push_str(plain);
        let (number, after) = match behind.strip_prefix('{').and_then(|inner| inner.split_once('}')) {
            Some((number, after)) => (number, after),
            None => behind.split_at(behind.bytes().take_while(u8::is_ascii_digit).count()),
        };
        match number.parse() {
            Ok(group) => {
                parts.push(Part::Text(std::mem::take(&mut text)));
                parts.push(Part::Group(group));
                rest = after;
            }
            Err(_) => {
                text.push('$');
                rest = behind;
            }
        }
    }
    text.push_str(rest);
    parts.push(Part::Text(text));
    parts.retain(|part| *part != Part::Text(String::new()));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(regex: &str, replacement: &str, text: &str) -> Option<String> {
        let rewritten = Rewrite::new(regex, replacement).unwrap().apply(text)?;
        Some(String::from_utf8(rewritten).unwrap())
    }

    // Conformance: A2.2.2, A2.2.4
    #[test]
    fn what_matches_first_is_replaced_and_the_rest_stays() {
        for (regex, replacement, text, expected) in [
            ("^/dp/([A-Za-z0-9]+)/?$", "/product.php?id=$1", "/dp/B00/", Some("/product.php?id=B00")),
            ("^/dp/([A-Za-z0-9]+)/?$", "/product.php?id=$1", "/dp/B00?x=1", None),
            ("^/v1/", "/", "/v1/a/v1/b", Some("/a/v1/b")),
            ("^/(a)(b)?", "/${1}0$2-$$", "/ac", Some("/a0-$$c")),
            ("x", "", "/axx", Some("/ax")),
        ] {
            assert_eq!(applied(regex, replacement, text).as_deref(), expected, "{regex} {text}");
        }
    }

    #[test]
    fn transforms_are_shown_as_what_they_make_of_what() {
        let url = Some(Rewrite::new("^/v1", "").unwrap());
        let host = Some(Rewrite::new("(.*)", "x.$1").unwrap());
        assert_eq!(Transforms { host, url }.to_string(), "host (.*) to x.$1, URL ^/v1 to nothing");
    }

    // Conformance: A2.2.2
    #[test]
    fn a_rewrite_that_cannot_be_says_why() {
        let error = |regex: &str, replacement: &str| Rewrite::new(regex, replacement).unwrap_err();
        assert_eq!(error("^/(a)", "/$2"), RewriteError::NoGroup(2));
        assert_eq!(error("a", &"x".repeat(1025)), RewriteError::TooLong);
        assert!(matches!(error("a(", "b"), RewriteError::Pattern(PatternError::Regex { .. })));
    }
}
