//! Regular expressions as automata that are whole before the first text comes: a step a byte, and nothing kept between
//! two texts that workers would have to share.

use std::fmt;
use std::sync::Arc;

use regex_automata::dfa::{Automaton as _, StartKind, dense};
use regex_automata::nfa::thompson::{self, WhichCaptures};
use regex_automata::{Input, MatchKind};
use regex_syntax::hir::{Hir, HirKind, Look};

use super::{Case, PatternError};

/// Bytes of an automaton, and of what is needed to make it.
pub(crate) const AUTOMATON_BYTES_MAX: usize = 256 * 1024;
const MAKING_BYTES_MAX: usize = 1024 * 1024;

/// A compiled regular expression.
#[derive(Clone)]
pub(super) struct Regex {
    automaton: Arc<dense::DFA<Vec<u32>>>,
    literal_start: Box<[u8]>,
}

impl Regex {
    /// Compiles printable ASCII.
    pub(super) fn new(source: &str, case: Case) -> Result<Self, PatternError> {
        let hir = parse(source, case)?;
        let nfa = thompson::Config::new()
            .utf8(false)
            .which_captures(WhichCaptures::None)
            .nfa_size_limit(Some(MAKING_BYTES_MAX));
        let nfa = thompson::Compiler::new().configure(nfa).build_from_hir(&hir);
        let dfa = dense::Config::new()
            .match_kind(MatchKind::All)
            .start_kind(StartKind::Unanchored)
            .dfa_size_limit(Some(AUTOMATON_BYTES_MAX))
            .determinize_size_limit(Some(MAKING_BYTES_MAX));
        let nfa = nfa.map_err(|_| PatternError::TooComplex)?;
        let automaton = dense::Builder::new().configure(dfa).build_from_nfa(&nfa);
        let automaton = Arc::new(automaton.map_err(|_| PatternError::TooComplex)?);
        Ok(Self { automaton, literal_start: literal_start(&hir).into() })
    }

    /// Whether some part of `text` matches.
    pub(super) fn matches(&self, text: &[u8]) -> bool {
        // It gives up on nothing: that is for automata with Unicode's word boundaries.
        self.automaton.try_search_fwd(&Input::new(text).earliest(true)).is_ok_and(|found| found.is_some())
    }

    /// What every text begins with that matches; for `^/api/.*`, `/api/`.
    pub(super) fn literal_start(&self) -> &[u8] {
        &self.literal_start
    }
}

impl fmt::Debug for Regex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Regex").finish_non_exhaustive()
    }
}

/// Reads a regular expression.
pub(crate) fn parse(source: &str, case: Case) -> Result<Hir, PatternError> {
    let mut parser = regex_syntax::ParserBuilder::new();
    // Bytes, not characters: what clients send need not be UTF-8.
    parser.unicode(false).utf8(false).case_insensitive(case == Case::Insensitive);
    parser.build().parse(source).map_err(|error| not_understood(&error))
}

fn literal_start(hir: &Hir) -> &[u8] {
    let HirKind::Concat(parts) = hir.kind() else { return &[] };
    match parts.as_slice() {
        [first, second, ..] if *first.kind() == HirKind::Look(Look::Start) => match second.kind() {
            HirKind::Literal(literal) => &literal.0,
            _ => &[],
        },
        _ => &[],
    }
}

fn not_understood(error: &regex_syntax::Error) -> PatternError {
    let (what, at) = match error {
        regex_syntax::Error::Parse(error) => (error.kind().to_string(), error.span().start.offset),
        regex_syntax::Error::Translate(error) => (error.kind().to_string(), error.span().start.offset),
        other => (other.to_string(), 0),
    };
    PatternError::Regex { what, at: at + 1 }
}
