//! Desync mitigation: what is odd about a request, how grave that is, and what each mode does with it.
//!
//! Source: Application Load Balancer, "Desync mitigation mode" and "Classification reasons"; Amazon's own library
//! for it is the oracle of this codec's tests.

use weir_core::definition::DesyncMitigationMode;

/// How far a request is from what RFC 9112 describes; graver ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// As the RFC says.
    Compliant,
    /// Not quite, but everybody reads it alike.
    Acceptable,
    /// Some read it differently, so that they see its end elsewhere.
    Ambiguous,
    /// Malformed, or crafted to be misread.
    Severe,
}

impl Class {
    /// The name in access logs; `None` for a request that is compliant.
    pub(crate) fn as_str(self) -> Option<&'static str> {
        match self {
            Self::Compliant => None,
            Self::Acceptable => Some("Acceptable"),
            Self::Ambiguous => Some("Ambiguous"),
            Self::Severe => Some("Severe"),
        }
    }
}

/// One thing that is odd about a request, by Amazon's name for it. Sorted: a graver class comes later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Reason {
    /// `Content-Length: 0` on GET or HEAD.
    GetHeadZeroContentLength,
    /// Other bytes than visible ASCII in a field.
    NonCompliantHeader,
    /// HTTP/0.9, HTTP/1.2 to 1.9, or white space after the version.
    NonCompliantVersion,
    /// A line that ends without CR.
    NonCrLfLineTermination,
    /// A space in the request target.
    SpaceInUri,

    /// A control byte or a fragment in the request target.
    AmbiguousUri,
    /// Both `Transfer-Encoding` and `Content-Length`.
    BothTeClPresent,
    /// The same `Content-Length` twice.
    DuplicateContentLength,
    /// A field without a name.
    EmptyHeader,
    /// A field line without a colon.
    MissingHeaderColon,
    /// The client has gone before the empty line that ends a head.
    MissingLastEmptyLine,
    /// No request target.
    MissingUri,
    /// A field that goes on in another line.
    MultilineHeader,
    /// The client has gone within a line.
    PartialHeaderLine,
    /// A name that some take for `Transfer-Encoding` or `Content-Length`.
    SuspiciousHeader,
    /// A `Content-Length` above zero on GET or HEAD.
    UndefinedContentLengthSemantics,
    /// `Transfer-Encoding` on GET, HEAD or in HTTP/1.0.
    UndefinedTransferEncodingSemantics,

    /// A `Content-Length` that is no number, or one too large.
    BadContentLength,
    /// NUL or a bare CR in a field.
    BadHeader,
    /// A method that is no token.
    BadMethod,
    /// A `Transfer-Encoding` that names no coding that could be meant.
    BadTransferEncoding,
    /// NUL or a bare CR in the request target.
    BadUri,
    /// No version of HTTP, or one that is unknown.
    BadVersion,
    /// `Content-Length` twice, and not the same.
    MultipleContentLength,
    /// `chunked` twice.
    MultipleTransferEncodingChunked,
    /// Both `Transfer-Encoding` and `Content-Length`, one of them in disguise.
    SuspiciousTeClPresent,
}

impl Reason {
    /// Every reason, in order.
    pub(crate) const ALL: [Self; 26] = [
        Self::GetHeadZeroContentLength,
        Self::NonCompliantHeader,
        Self::NonCompliantVersion,
        Self::NonCrLfLineTermination,
        Self::SpaceInUri,
        Self::AmbiguousUri,
        Self::BothTeClPresent,
        Self::DuplicateContentLength,
        Self::EmptyHeader,
        Self::MissingHeaderColon,
        Self::MissingLastEmptyLine,
        Self::MissingUri,
        Self::MultilineHeader,
        Self::PartialHeaderLine,
        Self::SuspiciousHeader,
        Self::UndefinedContentLengthSemantics,
        Self::UndefinedTransferEncodingSemantics,
        Self::BadContentLength,
        Self::BadHeader,
        Self::BadMethod,
        Self::BadTransferEncoding,
        Self::BadUri,
        Self::BadVersion,
        Self::MultipleContentLength,
        Self::MultipleTransferEncodingChunked,
        Self::SuspiciousTeClPresent,
    ];

    /// How grave it is.
    pub(crate) fn class(self) -> Class {
        if self >= Self::BadContentLength {
            Class::Severe
        } else if self >= Self::AmbiguousUri {
            Class::Ambiguous
        } else {
            Class::Acceptable
        }
    }

    /// Amazon's name for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::AmbiguousUri => "AmbiguousUri",
            Self::BadContentLength => "BadContentLength",
            Self::BadHeader => "BadHeader",
            Self::BadMethod => "BadMethod",
            Self::BadTransferEncoding => "BadTransferEncoding",
            Self::BadUri => "BadUri",
            Self::BadVersion => "BadVersion",
            Self::BothTeClPresent => "BothTeClPresent",
            Self::DuplicateContentLength => "DuplicateContentLength",
            Self::EmptyHeader => "EmptyHeader",
            Self::GetHeadZeroContentLength => "GetHeadZeroContentLength",
            Self::MissingHeaderColon => "MissingHeaderColon",
            Self::MissingLastEmptyLine => "MissingLastEmptyLine",
            Self::MissingUri => "MissingUri",
            Self::MultilineHeader => "MultilineHeader",
            Self::MultipleContentLength => "MultipleContentLength",
            Self::MultipleTransferEncodingChunked => "MultipleTransferEncodingChunked",
            Self::NonCompliantHeader => "NonCompliantHeader",
            Self::NonCompliantVersion => "NonCompliantVersion",
            Self::NonCrLfLineTermination => "NonCrLfLineTermination",
            Self::PartialHeaderLine => "PartialHeaderLine",
            Self::SpaceInUri => "SpaceInUri",
            Self::SuspiciousHeader => "SuspiciousHeader",
            Self::SuspiciousTeClPresent => "SuspiciousTeClPresent",
            Self::UndefinedContentLengthSemantics => "UndefinedContentLengthSemantics",
            Self::UndefinedTransferEncodingSemantics => "UndefinedTransferEncodingSemantics",
        }
    }
}

/// Everything that is odd about a request: a bit for each [`Reason`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Oddities(u32);

impl Oddities {
    /// One reason alone.
    pub(crate) const fn of(reason: Reason) -> Self {
        Self(1 << reason as u32)
    }

    /// What is odd about a head that the client has left unfinished.
    pub(crate) fn of_cut(bytes: &[u8]) -> Self {
        Self::of(if bytes.ends_with(b"\n") {
            Reason::MissingLastEmptyLine
        } else {
            Reason::PartialHeaderLine
        })
    }

    /// These and one more.
    #[must_use]
    pub(crate) const fn with(self, reason: Reason) -> Self {
        Self(self.0 | 1 << reason as u32)
    }

    /// These and others.
    #[must_use]
    pub(crate) const fn with_all(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    /// Whether nothing is odd.
    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether a reason is among them.
    pub(crate) const fn has(self, reason: Reason) -> bool {
        self.0 & (1 << reason as u32) != 0
    }

    /// The class of the gravest.
    pub(crate) fn class(self) -> Class {
        self.gravest().map_or(Class::Compliant, Reason::class)
    }

    /// The one that an access log names; `None` when nothing is odd.
    pub(crate) fn gravest(self) -> Option<Reason> {
        self.0.checked_ilog2().map(|bit| Reason::ALL[bit as usize])
    }

    /// Amazon's names of all of them.
    pub(crate) fn reasons(self) -> impl Iterator<Item = &'static str> {
        Reason::ALL.into_iter().filter(move |reason| self.has(*reason)).map(Reason::as_str)
    }
}

/// What becomes of a request of some class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is forwarded.
    Pass,
    /// It is forwarded; then the client's connection and the target's are closed, so that nothing can be left in them.
    PassAndClose,
    /// It is answered with 400, and the client's connection is closed.
    Refuse,
}

/// What a mode does with a class.
///
/// Source: Application Load Balancer, "Desync mitigation mode", its table.
pub(crate) fn verdict(mode: DesyncMitigationMode, class: Class) -> Verdict {
    use DesyncMitigationMode::{Defensive, Monitor, Strictest};
    match (mode, class) {
        (Monitor, _) | (_, Class::Compliant) | (Defensive, Class::Acceptable) => Verdict::Pass,
        (Defensive, Class::Ambiguous) => Verdict::PassAndClose,
        (Defensive, Class::Severe) | (Strictest, _) => Verdict::Refuse,
    }
}

#[cfg(test)]
mod tests {
    use DesyncMitigationMode::{Defensive, Monitor, Strictest};
    use Verdict::{Pass, PassAndClose, Refuse};

    use super::*;

    // Conformance: A8.1, A8.2, A8.3, A8.4
    #[test]
    fn each_mode_does_with_each_class_what_the_table_says() {
        let table = [
            (Class::Compliant, [Pass, Pass, Pass]),
            (Class::Acceptable, [Pass, Pass, Refuse]),
            (Class::Ambiguous, [Pass, PassAndClose, Refuse]),
            (Class::Severe, [Pass, Refuse, Refuse]),
        ];
        for (class, row) in table {
            let verdicts = [Monitor, Defensive, Strictest].map(|mode| verdict(mode, class));
            assert_eq!(verdicts, row, "{class:?}");
        }
    }

    // Conformance: A8.7
    #[test]
    fn the_gravest_oddity_decides_the_class() {
        let mild = Oddities::of(Reason::SpaceInUri);
        assert_eq!(Oddities::default().class(), Class::Compliant);
        assert_eq!(mild.class(), Class::Acceptable);
        assert_eq!(mild.with(Reason::AmbiguousUri).class(), Class::Ambiguous);
        assert_eq!(mild.with(Reason::BadUri).with(Reason::AmbiguousUri).gravest(), Some(Reason::BadUri));
    }

    #[test]
    fn every_reason_is_a_bit_of_its_own_and_sorted_by_class() {
        for (at, reason) in (0_u32..).zip(Reason::ALL) {
            assert_eq!(reason as u32, at);
            assert_eq!(Oddities::of(reason).reasons().collect::<Vec<_>>(), [reason.as_str()]);
            assert_eq!(Oddities::of(reason).gravest(), Some(reason));
            assert_eq!(reason.as_str(), format!("{reason:?}"));
        }
        assert!(Reason::ALL.is_sorted_by_key(|reason| reason.class()));
    }

    // Conformance: A8.9
    #[test]
    fn a_head_left_unfinished_is_ambiguous() {
        assert!(Oddities::of_cut(b"GET / HTTP/1.1\r\nHost: a\r\n").has(Reason::MissingLastEmptyLine));
        assert!(Oddities::of_cut(b"GET / HTTP/1.1\r\nHost: a").has(Reason::PartialHeaderLine));
    }
}
