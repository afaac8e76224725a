//! Names that some software takes for others: `Content_Length`, `Transfer---Encoding`, `X_Forwarded_For`.

/// What a name looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Likeness {
    ContentLength,
    TransferEncoding,
    /// A field that tells a target where a request comes from.
    Forwarding,
}

/// The letters of the names that are imitated, in lower case.
const MODELS: [(&[u8], Likeness); 6] = [
    (b"contentlength", Likeness::ContentLength),
    (b"transferencoding", Likeness::TransferEncoding),
    (b"xamzntraceid", Likeness::Forwarding),
    (b"xforwardedfor", Likeness::Forwarding),
    (b"xforwardedport", Likeness::Forwarding),
    (b"xforwardedproto", Likeness::Forwarding),
];

/// The letters that names begin with which say who a client is, in lower case.
const IDENTITIES: [&[u8]; 2] = [b"xamznmtls", b"xamznoidc"];

/// Fewest letters of a model.
const SHORTEST: usize = 12;

/// Whether a name is worth a closer look: it is long enough, and does not begin with another letter.
#[inline]
pub(super) fn may_be_look_alike(name: &[u8]) -> bool {
    let is_other = |byte: u8| matches!(byte | 0x20, b'a' | b'b' | b'd'..=b's' | b'u'..=b'w' | b'y' | b'z');
    name.len() >= SHORTEST && !is_other(name[0])
}

/// What a name looks like when only its letters and digits are looked at.
pub(super) fn likeness(name: &[u8]) -> Option<Likeness> {
    if !may_be_look_alike(name) {
        return None;
    }
    if IDENTITIES.iter().any(|letters| rest_of_letters(name, letters).is_some()) {
        return Some(Likeness::Forwarding);
    }
    let is_it = |letters: &[u8]| {
        rest_of_letters(name, letters).is_some_and(|rest| !rest.iter().any(u8::is_ascii_alphanumeric))
    };
    MODELS.into_iter().find(|(letters, _)| is_it(letters)).map(|(_, likeness)| likeness)
}

/// What follows in `name` when its letters and digits begin with `letters`, in any case, with whatever between them.
fn rest_of_letters<'n>(name: &'n [u8], letters: &[u8]) -> Option<&'n [u8]> {
    let mut wanted = letters.iter().peekable();
    let mut rest = name;
    while let Some(next) = wanted.peek() {
        let (letter, width) = match rest {
            // Long s and dotless i turn into S and I where software changes case.
            [0xc5, 0xbf, ..] => (b's', 2),
            [0xc4, 0xb1, ..] => (b'i', 2),
            [byte, ..] => (byte.to_ascii_lowercase(), 1),
            [] => return None,
        };
        if letter == **next {
            wanted.next();
        } else if letter.is_ascii_alphanumeric() {
            return None;
        }
        rest = &rest[width..];
    }
    Some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    // Conformance: A8.13
    #[test]
    fn what_stands_between_letters_does_not_hide_a_name() {
        for name in
            ["Content_Length", "content-length ", "-CONTENT-LENGTH", "ContentLength", "Content.Length\t"]
        {
            assert_eq!(likeness(name.as_bytes()), Some(Likeness::ContentLength), "{name}");
        }
        for name in ["Transfer---Encoding", "Transfer Encoding", "tranſfer-encoding", "Transfer-Encodıng"] {
            assert_eq!(likeness(name.as_bytes()), Some(Likeness::TransferEncoding), "{name}");
        }
        for name in [
            "X_Amzn_Mtls_Clientcert",
            "x-amzn_mtls-clientcert-leaf",
            "X-Amzn-Mtls-Anything",
            "X_Amzn_Oidc_Data",
        ] {
            assert_eq!(likeness(name.as_bytes()), Some(Likeness::Forwarding), "{name}");
        }
        for name in ["X_Forwarded_For", "X-Forwarded_Proto", "XForwarded-Port", "X_Amzn_Trace_Id"] {
            assert_eq!(likeness(name.as_bytes()), Some(Likeness::Forwarding), "{name}");
        }
    }

    #[test]
    fn names_of_other_letters_are_their_own() {
        for name in
            ["Content-Type", "Content-Length2", "Content-Lengt", "X-Forwarded-Host", "X-Forwarded-Forx", "TE"]
        {
            assert_eq!(likeness(name.as_bytes()), None, "{name}");
        }
    }
}
