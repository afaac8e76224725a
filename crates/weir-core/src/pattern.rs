//! Wildcard patterns of rule conditions: `*` is any run of characters, `?` exactly one, `\` makes either literal.
//!
//! Source: Application Load Balancer, "Listener rules": wildcards in host, path, header and query conditions. `*`
//! crosses `/`.

use std::fmt;

/// Longest pattern, in bytes (AWS's limit on a condition value).
pub const PATTERN_BYTES_MAX: usize = 128;

/// Why a text is not a pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// No character at all.
    #[error("is empty")]
    Empty,
    /// A character outside printable ASCII.
    #[error("has the character {0:?}; only printable ASCII is allowed")]
    NotPrintable(char),
    /// Longer than [`PATTERN_BYTES_MAX`].
    #[error("is longer than {PATTERN_BYTES_MAX} characters")]
    TooLong,
}

/// Whether letters that differ in case are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Case {
    /// `A` matches `a`.
    Insensitive,
    /// `A` matches only `A`.
    Sensitive,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    AnyRun,
    AnyOne,
    Byte(u8),
}

impl Token {
    fn literal(self) -> Option<u8> {
        match self {
            Self::Byte(byte) => Some(byte),
            Self::AnyRun | Self::AnyOne => None,
        }
    }
}

/// A compiled wildcard pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    source: String,
    tokens: Vec<Token>,
    case: Case,
}

impl Pattern {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// [`PatternError`] when the text is empty, too long or not printable ASCII.
    pub fn parse(source: &str, case: Case) -> Result<Self, PatternError> {
        if source.is_empty() {
            return Err(PatternError::Empty);
        }
        if source.len() > PATTERN_BYTES_MAX {
            return Err(PatternError::TooLong);
        }
        if let Some(c) = source.chars().find(|c| !matches!(c, ' '..='~')) {
            return Err(PatternError::NotPrintable(c));
        }
        let mut tokens = Vec::with_capacity(source.len());
        let mut bytes = source.bytes().peekable();
        while let Some(byte) = bytes.next() {
            let token = match byte {
                b'*' => Token::AnyRun,
                b'?' => Token::AnyOne,
                b'\\' => Token::Byte(fold(
                    bytes.next_if(|b| matches!(b, b'*' | b'?' | b'\\')).unwrap_or(b'\\'),
                    case,
                )),
                _ => Token::Byte(fold(byte, case)),
            };
            // Two `*` in a row mean the same as one and would cost a level of backtracking.
            if token != Token::AnyRun || tokens.last() != Some(&Token::AnyRun) {
                tokens.push(token);
            }
        }
        Ok(Self { source: source.to_owned(), tokens, case })
    }

    /// Whether the whole of `text` matches. Time is at most pattern length times text length; no allocation.
    pub fn matches(&self, text: &[u8]) -> bool {
        let (mut token, mut at) = (0, 0);
        // Where to resume when a later token fails: just after the last `*`, one byte further into the text.
        let mut resume: Option<(usize, usize)> = None;
        while at < text.len() {
            let step = match self.tokens.get(token) {
                Some(Token::AnyRun) => {
                    resume = Some((token + 1, at));
                    token += 1;
                    continue;
                }
                Some(Token::AnyOne) => true,
                Some(Token::Byte(byte)) => *byte == fold(text[at], self.case),
                None => false,
            };
            if step {
                token += 1;
                at += 1;
            } else if let Some((after_run, from)) = resume {
                token = after_run;
                at = from + 1;
                resume = Some((after_run, at));
            } else {
                return false;
            }
        }
        self.tokens[token..].iter().all(|t| *t == Token::AnyRun)
    }

    /// The bytes that every text begins with that matches, in lower case where case does not matter.
    pub fn literal_start(&self) -> impl Iterator<Item = u8> {
        self.tokens.iter().map_while(|token| token.literal())
    }

    /// The bytes that every text ends with that matches, in lower case where case does not matter; the last one first.
    pub fn literal_end_reversed(&self) -> impl Iterator<Item = u8> {
        self.tokens.iter().rev().map_while(|token| token.literal())
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.source
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

fn fold(byte: u8, case: Case) -> u8 {
    match case {
        Case::Insensitive => byte.to_ascii_lowercase(),
        Case::Sensitive => byte,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(pattern: &str, text: &str) -> bool {
        Pattern::parse(pattern, Case::Sensitive).unwrap().matches(text.as_bytes())
    }

    #[test]
    fn a_star_crosses_slashes_and_may_be_empty() {
        assert!(check("/img/*", "/img/a/b"));
        assert!(check("/img/*", "/img/"));
        assert!(!check("/img/*", "/img"));
        assert!(check("*.example.com", "test.example.com"));
        assert!(!check("*.example.com", "example.com"));
    }

    #[test]
    fn a_question_mark_is_exactly_one_character() {
        assert!(check("/v?/x", "/v1/x"));
        assert!(!check("/v?/x", "/v/x"));
        assert!(!check("/v?/x", "/v10/x"));
    }

    #[test]
    fn a_backslash_makes_a_wildcard_literal() {
        assert!(check(r"a\*b", "a*b"));
        assert!(!check(r"a\*b", "axb"));
        assert!(check(r"a\b", r"a\b"));
    }

    #[test]
    fn case_matters_only_where_it_should() {
        assert!(!check("/A", "/a"));
        assert!(Pattern::parse("A.Example", Case::Insensitive).unwrap().matches(b"a.eXAMPLE"));
    }

    #[test]
    fn empty_long_and_unprintable_patterns_are_refused() {
        assert_eq!(Pattern::parse("", Case::Sensitive), Err(PatternError::Empty));
        assert_eq!(Pattern::parse("a\tb", Case::Sensitive), Err(PatternError::NotPrintable('\t')));
        assert_eq!(Pattern::parse(&"a".repeat(129), Case::Sensitive), Err(PatternError::TooLong));
    }

    fn naive(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some((b'*', rest)), _) => naive(rest, text) || (!text.is_empty() && naive(pattern, &text[1..])),
            (Some((b'?', rest)), Some((_, tail))) => naive(rest, tail),
            (Some((p, rest)), Some((t, tail))) => p == t && naive(rest, tail),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_naive_matcher(pattern in "[ab*?/]{1,8}", text in "[ab/]{0,10}") {
            prop_assert_eq!(check(&pattern, &text), naive(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
