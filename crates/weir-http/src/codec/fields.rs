//! The fields of a head, as spans over its bytes.

use weir_core::head::HeaderLines;

/// A part of a head's bytes, from `start` to before `end`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Span {
    /// From `start` to before `end`; heads are smaller than 4 GiB.
    pub(crate) fn new(start: usize, end: usize) -> Self {
        Self { start: start as u32, end: end as u32 }
    }

    /// The bytes that it spans.
    pub(crate) fn of(self, bytes: &[u8]) -> &[u8] {
        &bytes[self.start as usize..self.end as usize]
    }
}

/// One field: a name, and a value without the white space around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) name: Span,
    pub(crate) value: Span,
    pub(crate) known: Known,
}

/// The names that an exchange treats in a way of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Known {
    Authorization,
    Connection,
    ContentLength,
    Cookie,
    Date,
    Expect,
    Host,
    Http2Settings,
    KeepAlive,
    ProxyConnection,
    Server,
    Te,
    Trailer,
    TransferEncoding,
    Upgrade,
    UserAgent,
    /// What weir tells of a client's certificate: `X-Amzn-Mtls-`, and whatever follows.
    XAmznMtls,
    /// What weir tells of who has logged in: `X-Amzn-Oidc-`, and whatever follows.
    XAmznOidc,
    XAmznTraceId,
    XForwardedFor,
    XForwardedPort,
    XForwardedProto,
    /// Any other name.
    Other,
}

impl Known {
    /// Which name it is, whatever its case.
    pub(crate) fn of(name: &[u8]) -> Self {
        // Most names are told apart by their length and first letter.
        let (candidate, known): (&[u8], Self) = match (name.len(), name.first().map(|b| b | 0x20)) {
            (2, _) => (b"te", Self::Te),
            (4, Some(b'h')) => (b"host", Self::Host),
            (4, _) => (b"date", Self::Date),
            (6, Some(b'c')) => (b"cookie", Self::Cookie),
            (6, Some(b'e')) => (b"expect", Self::Expect),
            (6, _) => (b"server", Self::Server),
            (7, Some(b't')) => (b"trailer", Self::Trailer),
            (7, _) => (b"upgrade", Self::Upgrade),
            (10, Some(b'c')) => (b"connection", Self::Connection),
            (10, Some(b'u')) => (b"user-agent", Self::UserAgent),
            (10, _) => (b"keep-alive", Self::KeepAlive),
            (13, _) => (b"authorization", Self::Authorization),
            (14, Some(b'c')) => (b"content-length", Self::ContentLength),
            (14, _) => (b"http2-settings", Self::Http2Settings),
            (15, Some(b'x')) if name[2] | 0x20 == b'a' => (b"x-amzn-trace-id", Self::XAmznTraceId),
            (15, _) => (b"x-forwarded-for", Self::XForwardedFor),
            (16, Some(b'p')) => (b"proxy-connection", Self::ProxyConnection),
            (16, Some(b'x')) if name[2] | 0x20 == b'a' => (b"x-amzn-oidc-", Self::XAmznOidc),
            (16, _) => (b"x-forwarded-port", Self::XForwardedPort),
            (17, Some(b't')) => (b"transfer-encoding", Self::TransferEncoding),
            (17, _) => (b"x-forwarded-proto", Self::XForwardedProto),
            (22.., Some(b'x')) if name[7] | 0x20 == b'm' => (b"x-amzn-mtls-clientcert", Self::XAmznMtls),
            (18.., Some(b'x')) => (b"x-amzn-oidc-", Self::XAmznOidc),
            _ => return Self::Other,
        };
        let name = match known {
            Self::XAmznMtls | Self::XAmznOidc => &name[..candidate.len()],
            _ => name,
        };
        if is_token(name, candidate) { known } else { Self::Other }
    }
}

/// Whether a token is `lower`, which is as long and in lower case, whatever its own case: eight letters at a time.
#[inline]
fn is_token(token: &[u8], lower: &[u8]) -> bool {
    // No byte of a token but the letter itself becomes that letter when the bit of lower case is set.
    const LOWER: u64 = 0x2020_2020_2020_2020;
    let word = |bytes: &[u8; 8]| u64::from_le_bytes(*bytes) | LOWER;
    match (token.last_chunk(), lower.last_chunk()) {
        (Some(token_end), Some(lower_end)) if token.len() == lower.len() => {
            let words = token.as_chunks().0.iter().zip(lower.as_chunks().0);
            word(token_end) == word(lower_end)
                && words.into_iter().all(|(token, lower)| word(token) == word(lower))
        }
        _ => token.eq_ignore_ascii_case(lower),
    }
}

/// A set of known names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KnownSet(u32);

impl KnownSet {
    pub(crate) const fn of(names: &[Known]) -> Self {
        let (mut bits, mut at) = (0, 0);
        while at < names.len() {
            bits |= 1 << names[at] as u32;
            at += 1;
        }
        Self(bits)
    }

    pub(crate) const fn has(self, known: Known) -> bool {
        self.0 & (1 << known as u32) != 0
    }

    pub(crate) const fn with_all(self, others: Self) -> Self {
        Self(self.0 | others.0)
    }

    pub(crate) const fn with(self, known: Known) -> Self {
        Self(self.0 | 1 << known as u32)
    }
}

/// Fields beside the bytes that they span.
#[derive(Clone, Copy)]
pub(crate) struct Fields<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) list: &'a [Field],
    /// The known names in the list.
    pub(crate) known: KnownSet,
}

impl<'a> Fields<'a> {
    /// Every value of a known name, in the order of the head.
    pub(crate) fn values(self, known: Known) -> impl Iterator<Item = &'a [u8]> {
        let list = if self.known.has(known) { self.list } else { &[] };
        let of_name = list.iter().filter(move |field| field.known == known);
        of_name.map(move |field| field.value.of(self.bytes))
    }

    /// Every field called `name`, whatever the case.
    pub(crate) fn named<'n>(self, name: &'n str) -> impl Iterator<Item = &'a [u8]> + use<'a, 'n> {
        let is_it = move |field: &&Field| field.name.of(self.bytes).eq_ignore_ascii_case(name.as_bytes());
        self.list.iter().filter(is_it).map(move |field| field.value.of(self.bytes))
    }
}

impl HeaderLines for Fields<'_> {
    fn any_value(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.named(name).any(test)
    }

    fn first_value(&self, name: &str) -> Option<&[u8]> {
        self.named(name).next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_known_in_whatever_case_and_no_other_is() {
        for (name, known) in [
            ("Host", Known::Host),
            ("TE", Known::Te),
            ("transfer-encoding", Known::TransferEncoding),
            ("Transfer-Encoding", Known::TransferEncoding),
            ("CONTENT-LENGTH", Known::ContentLength),
            ("HTTP2-Settings", Known::Http2Settings),
            ("X-Amzn-Trace-Id", Known::XAmznTraceId),
            ("X-Forwarded-For", Known::XForwardedFor),
            ("X-Amzn-Mtls-Clientcert", Known::XAmznMtls),
            ("x-amzn-mtls-clientcert-subject", Known::XAmznMtls),
            ("X-Amzn-Oidc-Data", Known::XAmznOidc),
            ("x-amzn-oidc-identity", Known::XAmznOidc),
            ("X-Amzn-Oidc-Accesstoken", Known::XAmznOidc),
            ("x-amzn-oidc_data", Known::Other),
            ("x-amzn-other-name-that-is-long", Known::Other),
            ("X-Forwarded-Fo", Known::Other),
            ("Transfer_Encoding", Known::Other),
            ("Content-Lengt\u{88}", Known::Other),
            ("Hos", Known::Other),
            ("", Known::Other),
        ] {
            assert_eq!(Known::of(name.as_bytes()), known, "{name}");
        }
    }
}
