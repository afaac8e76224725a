//! Where the codec and hyper differ, and why: `docs/decisions/0018-desync.md` says it at length.

use super::super::super::fields::Known;
use super::super::chunks::ChunkError;
use super::super::desync::Reason;
use super::super::request_head::{HeadError, is_look_alike};
use super::super::testing::{Conversation, End, Message};
use super::reference::{Reference, Seen};

/// A difference that is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Difference {
    /// Extensions follow the RFC's grammar; hyper takes any bytes but LF.
    ChunkExtension,
    /// A size has no white space behind it, and at most 16 digits.
    ChunkSize,
    /// hyper closes behind a request with both framings; here the mode decides.
    ClosedBehindBoth,
    /// At most two empty lines come before a request.
    EmptyLines,
    /// A target has no fragment; hyper cuts it off.
    Fragment,
    /// `identity` is taken for what RFC 2616 says: no coding.
    Identity,
    /// Lines without a name, a colon or a token before it, and look-alikes, are left out; hyper refuses the first, and
    /// keeps the last.
    LeftOut,
    /// A length is any `u64`; hyper keeps the two greatest for itself.
    Length,
    /// A length that makes no sense is refused beside chunks, too; hyper does not look at it.
    LengthBesideChunks,
    /// A folded line becomes one.
    Multiline,
    /// Whether a target can be routed is for the exchange to say.
    Target,
    /// Lines of trailers end with CR LF.
    TrailerLine,
    /// `chunked` stands alone; hyper looks only at the last coding.
    TransferCodings,
    /// Chunks frame in HTTP/1.0, too, and the mode decides.
    TransferEncodingInHttp10,
    /// HTTP/1.2 to 1.9 are read as 1.1, and white space behind a version is forgiven.
    Version,
}

impl Difference {
    /// Every difference, each of which a long run must come across.
    pub(super) const ALL: [Self; 15] = [
        Self::ChunkExtension,
        Self::ChunkSize,
        Self::ClosedBehindBoth,
        Self::EmptyLines,
        Self::Fragment,
        Self::Identity,
        Self::LeftOut,
        Self::Length,
        Self::LengthBesideChunks,
        Self::Multiline,
        Self::Target,
        Self::TrailerLine,
        Self::TransferCodings,
        Self::TransferEncodingInHttp10,
        Self::Version,
    ];
}

/// The first difference, if any; in words where no decision says that it may be.
pub(super) fn first(
    bytes: &[u8],
    ours: &Conversation,
    theirs: &Reference,
) -> Result<Option<Difference>, String> {
    let mut left_out = None;
    for (at, message) in ours.messages.iter().enumerate() {
        let Some(seen) = theirs.seen.get(at).filter(|seen| seen.is_complete) else {
            if !theirs.is_refused && at > 0 && theirs.seen.len() == at {
                let (before, seen) = (&ours.messages[at - 1], &theirs.seen[at - 1]);
                if ends_connection(seen) {
                    return Ok(left_out);
                }
                if before.oddities.has(Reason::BothTeClPresent) {
                    return Ok(Some(Difference::ClosedBehindBoth));
                }
            }
            let difference = why_only_we_accept(bytes, message);
            return difference
                .map(Some)
                .ok_or_else(|| format!("only we accept {message:?}; hyper: {theirs:?}"));
        };
        if let Some(what) = different_part(message, seen) {
            return Err(format!("another {what}: {message:?}\nhyper: {seen:?}"));
        }
        if message.fields.len() < seen.fields.len() {
            left_out = Some(Difference::LeftOut);
        }
    }
    let Some(next) = theirs.seen.get(ours.messages.len()).filter(|seen| seen.is_complete) else {
        return Ok(left_out);
    };
    let difference = why_only_hyper_accepts(bytes, ours.end, next);
    difference.map(Some).ok_or_else(|| format!("only hyper accepts {next:?}; we say {:?}", ours.end))
}

fn why_only_we_accept(bytes: &[u8], message: &Message) -> Option<Difference> {
    let is_odd = |reason| message.oddities.has(reason);
    let is_left_out = [
        Reason::EmptyHeader,
        Reason::MissingHeaderColon,
        Reason::NonCompliantHeader,
        Reason::SuspiciousHeader,
    ];
    if is_left_out.into_iter().any(is_odd) {
        Some(Difference::LeftOut)
    } else if is_odd(Reason::MultilineHeader) {
        Some(Difference::Multiline)
    } else if is_odd(Reason::NonCompliantVersion) {
        Some(Difference::Version)
    } else if is_odd(Reason::UndefinedTransferEncodingSemantics) && message.minor == 0 {
        Some(Difference::TransferEncodingInHttp10)
    } else if hyper::Uri::try_from(message.target.as_slice()).is_err() {
        Some(Difference::Target)
    } else if bytes.windows(19).any(|digits| digits == b"1844674407370955161") {
        Some(Difference::Length)
    } else if bytes.windows(8).any(|word| word.eq_ignore_ascii_case(b"identity")) {
        Some(Difference::Identity)
    } else {
        None
    }
}

fn why_only_hyper_accepts(bytes: &[u8], end: End, seen: &Seen) -> Option<Difference> {
    match end {
        End::BadHead(HeadError::Malformed(oddities)) => {
            if oddities.has(Reason::BadTransferEncoding)
                || oddities.has(Reason::MultipleTransferEncodingChunked)
            {
                Some(Difference::TransferCodings)
            } else if oddities.has(Reason::BadContentLength) || oddities.has(Reason::MultipleContentLength) {
                let is_chunked = seen.fields.iter().any(|(name, _)| name == "transfer-encoding");
                is_chunked.then_some(Difference::LengthBesideChunks)
            } else if oddities.has(Reason::AmbiguousUri) {
                bytes.contains(&b'#').then_some(Difference::Fragment)
            } else {
                oddities.has(Reason::MissingUri).then_some(Difference::EmptyLines)
            }
        }
        End::BadHead(HeadError::TransferCodingUnknown) => Some(Difference::TransferCodings),
        End::BadBody(ChunkError::SizeInvalid) => Some(Difference::ChunkSize),
        End::BadBody(ChunkError::ExtensionInvalid) => Some(Difference::ChunkExtension),
        End::BadBody(ChunkError::TrailerInvalid) => Some(Difference::TrailerLine),
        _ => None,
    }
}

/// Whether hyper reads no further requests behind this one, because it says so.
fn ends_connection(seen: &Seen) -> bool {
    let says = |wanted: &str| {
        // hyper looks only at values that are ASCII.
        let is_read = |(name, value): &&(String, Vec<u8>)| name == "connection" && value.is_ascii();
        let values = seen.fields.iter().filter(is_read);
        let mut tokens = values.flat_map(|(_, value)| value.split(|byte| *byte == b','));
        tokens.any(|token| token.trim_ascii().eq_ignore_ascii_case(wanted.as_bytes()))
    };
    says("close") || (seen.minor == 0 && !says("keep-alive"))
}

/// The part of a request that hyper reads differently; look-alikes apart.
fn different_part(message: &Message, seen: &Seen) -> Option<&'static str> {
    let lower = |(name, value): &(Vec<u8>, Vec<u8>)| {
        (String::from_utf8_lossy(name).to_ascii_lowercase(), value.clone())
    };
    let is_left_out =
        |name: &str| Known::of(name.as_bytes()) == Known::Other && is_look_alike(name.as_bytes());
    let mut ours: Vec<_> = message.fields.iter().map(lower).collect();
    let mut theirs: Vec<_> = seen.fields.iter().filter(|(name, _)| !is_left_out(name)).cloned().collect();
    ours.sort();
    theirs.sort();
    // hyper writes a path where an absolute target has none.
    let target = hyper::Uri::try_from(message.target.as_slice()).map(|target| target.to_string());
    if message.method != seen.method.as_bytes() {
        Some("method")
    } else if target.ok().as_ref() != Some(&seen.target) {
        Some("target")
    } else if message.minor != seen.minor {
        Some("version")
    } else if ours != theirs {
        Some("list of fields")
    } else {
        (message.body != seen.body).then_some("body")
    }
}
