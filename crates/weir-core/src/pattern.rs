//! Patterns of rule conditions: texts with wildcards, and regular expressions.
//!
//! Source: Application Load Balancer, "Listener rules": wildcards in host, path, header and query conditions, where `*`
//! crosses `/`; regular expressions in host, path and header conditions.

mod regex;
mod wildcards;

use std::fmt;

use regex::Regex;
pub(crate) use regex::{AUTOMATON_BYTES_MAX, parse as parse_regex};
use wildcards::Wildcards;

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
    /// Not a regular expression that is understood: what, and at which byte.
    #[error("is not a regular expression that is understood: {what} at character {at}")]
    Regex {
        /// What is wrong.
        what: String,
        /// At which byte, from 1.
        at: usize,
    },
    /// A regular expression whose automaton would be larger than a limit, 256 KiB.
    #[error(
        "needs too large an automaton; counted repetitions like `{{1,50}}` of alternatives are what makes it so"
    )]
    TooComplex,
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

/// A compiled pattern. Matching takes no lock and no allocation.
#[derive(Clone, Debug)]
pub struct Pattern {
    source: String,
    case: Case,
    form: Form,
}

#[derive(Clone, Debug)]
enum Form {
    Regex(Regex),
    Wildcards(Wildcards),
}

impl Pattern {
    /// Compiles a pattern with wildcards: `*` is any run of characters, `?` exactly one, `\` makes either literal.
    ///
    /// # Errors
    /// [`PatternError`] when the text is empty, too long or not printable ASCII.
    pub fn parse(source: &str, case: Case) -> Result<Self, PatternError> {
        check(source)?;
        let form = Form::Wildcards(Wildcards::new(source, case));
        Ok(Self { source: source.to_owned(), case, form })
    }

    /// Compiles a regular expression, which matches anywhere in a text: no look-around, no back-references, no Unicode
    /// classes.
    ///
    /// # Errors
    /// [`PatternError`] when the text is empty, too long, not printable ASCII, not understood or too complex.
    pub fn parse_regex(source: &str, case: Case) -> Result<Self, PatternError> {
        check(source)?;
        let form = Form::Regex(Regex::new(source, case)?);
        Ok(Self { source: source.to_owned(), case, form })
    }

    /// Whether a text matches: all of it, or some part of it where the pattern is a regular expression. Time is at most
    /// pattern length times text length.
    pub fn matches(&self, text: &[u8]) -> bool {
        match &self.form {
            Form::Regex(regex) => regex.matches(text),
            Form::Wildcards(wildcards) => wildcards.matches(text),
        }
    }

    /// Bytes that every text begins with that matches, in lower case where case does not matter.
    pub fn literal_start(&self) -> Vec<u8> {
        match &self.form {
            Form::Regex(regex) => regex.literal_start().to_vec(),
            Form::Wildcards(wildcards) => wildcards.literal_start().collect(),
        }
    }

    /// Bytes that every text ends with that matches, in lower case where case does not matter; the last one first.
    pub fn literal_end_reversed(&self) -> Vec<u8> {
        match &self.form {
            Form::Regex(_) => Vec::new(),
            Form::Wildcards(wildcards) => wildcards.literal_end_reversed().collect(),
        }
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.source
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        let is_regex = |pattern: &Self| matches!(pattern.form, Form::Regex(_));
        (&self.source, self.case, is_regex(self)) == (&other.source, other.case, is_regex(other))
    }
}

impl Eq for Pattern {}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.form {
            // As AWS's rules are shown, and told apart from a text with wildcards.
            Form::Regex(_) => write!(f, "regex {}", self.source),
            Form::Wildcards(_) => f.write_str(&self.source),
        }
    }
}

/// What all patterns have to be.
fn check(source: &str) -> Result<(), PatternError> {
    if source.is_empty() {
        return Err(PatternError::Empty);
    }
    if source.len() > PATTERN_BYTES_MAX {
        return Err(PatternError::TooLong);
    }
    match source.chars().find(|c| !matches!(c, ' '..='~')) {
        Some(c) => Err(PatternError::NotPrintable(c)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(pattern: &str, text: &str) -> bool {
        Pattern::parse(pattern, Case::Sensitive).unwrap().matches(text.as_bytes())
    }

    // Conformance: A2.1.8, A2.1.11
    #[test]
    fn a_star_crosses_slashes_and_may_be_empty() {
        assert!(check("/img/*", "/img/a/b"));
        assert!(check("/img/*", "/img/"));
        assert!(!check("/img/*", "/img"));
        assert!(check("*.example.com", "test.example.com"));
        assert!(!check("*.example.com", "example.com"));
    }

    // Conformance: A2.1.8
    #[test]
    fn a_question_mark_is_exactly_one_character() {
        assert!(check("/v?/x", "/v1/x"));
        assert!(!check("/v?/x", "/v/x"));
        assert!(!check("/v?/x", "/v10/x"));
    }

    // Conformance: A2.1.23
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

    // Conformance: A2.1.9
    #[test]
    fn empty_long_and_unprintable_patterns_are_refused() {
        assert_eq!(Pattern::parse("", Case::Sensitive), Err(PatternError::Empty));
        assert_eq!(Pattern::parse("a\tb", Case::Sensitive), Err(PatternError::NotPrintable('\t')));
        assert_eq!(Pattern::parse(&"a".repeat(129), Case::Sensitive), Err(PatternError::TooLong));
    }

    fn check_regex(pattern: &str, case: Case, text: &str) -> bool {
        Pattern::parse_regex(pattern, case).unwrap().matches(text.as_bytes())
    }

    // Conformance: A2.1.29
    #[test]
    fn a_regular_expression_matches_anywhere_unless_it_is_anchored() {
        assert!(check_regex("b+", Case::Sensitive, "abbc"));
        assert!(check_regex("^/dp/([A-Za-z0-9]+)/?$", Case::Sensitive, "/dp/B00/"));
        assert!(!check_regex("^/dp/([A-Za-z0-9]+)/?$", Case::Sensitive, "/x/dp/B00"));
        assert!(!check_regex("^/dp$", Case::Sensitive, "/DP"));
        assert!(check_regex("^(.+[.])?example[.]com$", Case::Insensitive, "A.EXAMPLE.com"));
        assert!(check_regex(r"\bv2\b", Case::Sensitive, "/api/v2/x"));
    }

    #[test]
    fn bytes_that_are_no_text_are_matched_as_bytes() {
        let any = Pattern::parse_regex("^a.c$", Case::Sensitive).unwrap();
        assert!(any.matches(b"a\xffc"));
    }

    // Conformance: A2.1.28
    #[test]
    fn what_is_no_regular_expression_says_where() {
        let error = |text: &str| Pattern::parse_regex(text, Case::Sensitive).unwrap_err().to_string();
        assert_eq!(
            error("^/a(b"),
            "is not a regular expression that is understood: unclosed group at character 4"
        );
        assert!(error("(?=a)").contains("look-around"), "{}", error("(?=a)"));
        assert!(error(r"(a)\1").contains("backreferences"), "{}", error(r"(a)\1"));
        assert!(error(r"\p{Greek}").contains("Unicode"), "{}", error(r"\p{Greek}"));
        assert_eq!(error("(a|b){500}(a|b){500}.*(a|b){500}"), PatternError::TooComplex.to_string());
        assert_eq!(error("ä"), PatternError::NotPrintable('ä').to_string());
    }

    #[test]
    fn a_regular_expression_that_is_anchored_tells_what_paths_begin_with() {
        let start = |text: &str, case| Pattern::parse_regex(text, case).unwrap().literal_start();
        assert_eq!(start("^/api/v[0-9]", Case::Sensitive), b"/api/v");
        for (text, case) in
            [("/api", Case::Sensitive), ("^/a|b", Case::Sensitive), ("^a.b", Case::Insensitive)]
        {
            assert_eq!(start(text, case), b"", "{text}");
        }
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
        // Conformance: A2.1.8
        #[test]
        fn agrees_with_the_naive_matcher(pattern in "[ab*?/]{1,8}", text in "[ab/]{0,10}") {
            prop_assert_eq!(check(&pattern, &text), naive(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
