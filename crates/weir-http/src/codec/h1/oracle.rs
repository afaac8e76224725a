//! The classes beside those of Amazon's own classifier, `http_desync_guardian`, over our cases and over requests that
//! nobody sent.
//!
//! In defensive mode: what it calls severe is refused, what it calls ambiguous is refused or closes both connections,
//! what it calls compliant is never refused. In strictest mode only what it calls compliant may pass.

use std::collections::BTreeSet;

use http_desync_guardian::RequestSafetyTier;
use http_desync_guardian::request_analyzer::HttpRequestData;
use weir_core::definition::DesyncMitigationMode;

use super::cases;
use super::desync::{Verdict, verdict};
use super::request_head::{HeadError, parse, scan};
use super::testing::generator::conversation;
use super::testing::{seeds, smallest};

/// Inputs of an ordinary test run, beside the cases. Ours: about a second without optimization.
const INPUTS: u64 = 20_000;

/// A difference to the oracle that is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Difference {
    /// A target has no fragment: RFC 9112 section 3.2 knows none, and software differs on what it does with one.
    Fragment,
    /// A `Content-Length` without digits is refused; the oracle reads zero.
    LengthEmpty,
    /// A request line without a method or a target is refused.
    Missing,
    /// A line folded below `Content-Type` is never looked at by the oracle. Here it is refused when it could be
    /// taken for a field that frames.
    MultilineFraming,
    /// To the oracle a beginning of the letters is a look-alike, when only signs follow: `Content-Len---`.
    NameBegins,
    /// A target is UTF-8.
    TargetText,
    /// Codings that weir does not decode get 501, as from an Application Load Balancer; parameters and lists are refused.
    TransferCodings,
    /// The oracle takes whatever sorts after `HTTP/2` for HTTP/2, and does not look further.
    VersionBeyond,
}

impl Difference {
    /// Every difference, each of which cases and inputs must come across.
    const ALL: [Self; 8] = [
        Self::Fragment,
        Self::LengthEmpty,
        Self::Missing,
        Self::MultilineFraming,
        Self::NameBegins,
        Self::TargetText,
        Self::TransferCodings,
        Self::VersionBeyond,
    ];
}

/// The difference that an input shows; in words where none is meant.
fn look(bytes: &[u8]) -> Result<Option<Difference>, String> {
    let parsed = parse(&mut bytes.to_vec(), &mut Vec::new());
    let verdict_of = |mode| match parsed {
        Ok(Some(head)) => verdict(mode, head.oddities.class()),
        // A head that is not over is not forwarded.
        Ok(None) | Err(_) => Verdict::Refuse,
    };
    let defensive = verdict_of(DesyncMitigationMode::Defensive);
    // Empty lines before a request are forgiven, as RFC 9112 section 2.2 asks; the oracle takes the first for the
    // request line, so it does not see them.
    let begin = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).filter(|_| parsed.is_ok());
    let theirs = HttpRequestData::analyze_raw_request(&bytes[begin.unwrap_or(0)..]);
    let agrees = match theirs.tier {
        RequestSafetyTier::Severe => defensive == Verdict::Refuse,
        RequestSafetyTier::Ambiguous => defensive != Verdict::Pass,
        RequestSafetyTier::Acceptable => verdict_of(DesyncMitigationMode::Strictest) == Verdict::Refuse,
        RequestSafetyTier::Compliant => defensive != Verdict::Refuse,
    };
    if agrees || parsed == Ok(None) {
        return Ok(None);
    }
    let difference = match parsed {
        Ok(_) => why_forwarded(bytes),
        Err(error) => why_refused(bytes, error),
    };
    let words = || format!("{:?} for {:?} to the oracle, {parsed:?} to us", theirs.tier, theirs.reason);
    difference.map(Some).ok_or_else(words)
}

/// Why a request passes that the oracle would treat worse.
fn why_forwarded(bytes: &[u8]) -> Option<Difference> {
    let names = bytes.split(|byte| *byte == b'\n').filter_map(|line| line.split(|byte| *byte == b':').next());
    let is_sign = |byte: &u8| !byte.is_ascii_alphanumeric();
    let begins = |name: &[u8]| {
        let letters: Vec<u8> =
            name.iter().filter(|byte| !is_sign(byte)).map(u8::to_ascii_lowercase).collect();
        [b"contentlength".as_slice(), b"transferencoding"].iter().any(|model| model.starts_with(&letters))
    };
    names.into_iter().any(begins).then_some(Difference::NameBegins)
}

/// Why a request is refused that is compliant to the oracle.
fn why_refused(bytes: &[u8], error: HeadError) -> Option<Difference> {
    use super::desync::Reason::{
        AmbiguousUri, BadContentLength, BadMethod, BadTransferEncoding, MissingUri, MultilineHeader,
    };
    let request_line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    // Behind the method, its version begins behind the last space that has a token byte behind it.
    let rest = request_line.splitn(2, |byte| *byte == b' ').nth(1).unwrap_or_default();
    let end = rest.iter().rposition(|byte| scan::is_token(*byte)).unwrap_or(0) + 1;
    let begin = rest.iter().take(end).rposition(|byte| *byte == b' ').map_or(0, |at| at + 1);
    let oddities = error.oddities();
    let is_odd = |reason| oddities.has(reason);
    if &rest[begin..] >= b"HTTP/2".as_slice() {
        Some(Difference::VersionBeyond)
    } else if is_odd(AmbiguousUri) {
        Some(if request_line.contains(&b'#') { Difference::Fragment } else { Difference::TargetText })
    } else if is_odd(MissingUri) || is_odd(BadMethod) {
        Some(Difference::Missing)
    } else if is_odd(BadContentLength) {
        Some(Difference::LengthEmpty)
    } else if is_odd(BadTransferEncoding) {
        Some(Difference::TransferCodings)
    } else if is_odd(MultilineHeader) {
        Some(Difference::MultilineFraming)
    } else {
        None
    }
}

// Conformance: A8.8, A8.9, A8.10
#[test]
fn classes_differ_from_those_of_the_oracle_only_where_that_is_meant() {
    let generated = seeds(INPUTS).map(|seed| (format!("seed {seed}"), conversation(seed)));
    let written = cases::all().into_iter().map(|case| (case.place, case.bytes));
    let mut seen = BTreeSet::new();
    for (place, bytes) in written.chain(generated) {
        match look(&bytes) {
            Ok(difference) => seen.extend(difference),
            Err(_) => {
                let smallest = smallest(&bytes, |bytes| look(bytes).is_err());
                let why = look(&smallest).expect_err("the smallest input fails, too");
                panic!("{place}: {}\n{why}", smallest.escape_ascii());
            }
        }
    }
    let unseen: Vec<Difference> = Difference::ALL.into_iter().filter(|d| !seen.contains(d)).collect();
    assert!(unseen.is_empty(), "never came across {unseen:?}");
}

#[test]
fn each_class_of_the_oracle_is_met_by_cases_of_ours() {
    let mut counts = [0; 4];
    for case in cases::all() {
        counts[HttpRequestData::analyze_raw_request(&case.bytes).tier as usize] += 1;
    }
    assert!(counts.iter().all(|count| *count >= 20), "compliant, acceptable, ambiguous, severe: {counts:?}");
}
