//! What a request asks for: a path of some host.

use super::fields::Span;

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// `OPTIONS *`.
    Asterisk,
    /// Nothing that a target could serve.
    Invalid,
    /// A path and a query, and an authority where the client wrote an absolute URI.
    Resource {
        authority: Option<Span>,
        /// `None` for the path `/` of an absolute URI that has none.
        path: Option<Span>,
        query: Option<Span>,
    },
}

impl Target {
    /// Reads a request line's target, `span` of `bytes`.
    pub(crate) fn parse(bytes: &[u8], span: Span) -> Self {
        let target = span.of(bytes);
        let part = |from: usize, to: usize| Span::new(span.start as usize + from, span.start as usize + to);
        // Text is what rules are made of.
        if !target.is_ascii() && std::str::from_utf8(target).is_err() {
            return Self::Invalid;
        }
        let (authority, path_start) = match target {
            b"*" => return Self::Asterisk,
            [b'/', ..] => (None, 0),
            _ => {
                let Some(start) = authority_start(target) else { return Self::Invalid };
                let length = target[start..].iter().position(|byte| matches!(byte, b'/' | b'?'));
                let end = length.map_or(target.len(), |length| start + length);
                (Some(part(start, end)), end)
            }
        };
        // A fragment is never sent.
        if target.contains(&b'#') {
            return Self::Invalid;
        }
        let mark = target[path_start..].iter().position(|byte| *byte == b'?').map(|at| path_start + at);
        let path_end = mark.unwrap_or(target.len());
        Self::Resource {
            authority,
            path: (path_end > path_start).then(|| part(path_start, path_end)),
            query: mark.map(|mark| part(mark + 1, target.len())),
        }
    }

    /// The normal form of its path in `bytes`, where that is another.
    pub(crate) fn normal_path(self, bytes: &[u8]) -> Option<Box<str>> {
        let Self::Resource { path: Some(path), .. } = self else { return None };
        Some(weir_core::path::normal_form(path.of(bytes))?.into())
    }
}

/// Where the authority of an absolute `http` or `https` URI begins.
fn authority_start(target: &[u8]) -> Option<usize> {
    let is_scheme =
        |scheme: &[u8]| target.len() > scheme.len() && target[..scheme.len()].eq_ignore_ascii_case(scheme);
    [&b"http://"[..], b"https://"].into_iter().find(|scheme| is_scheme(scheme)).map(<[u8]>::len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        let target = Target::parse(text.as_bytes(), Span::new(0, text.len()));
        let show = |span: Option<Span>| {
            span.map_or("-".to_owned(), |span| String::from_utf8_lossy(span.of(text.as_bytes())).into_owned())
        };
        match target {
            Target::Resource { authority, path, query } => {
                format!("{} {} {}", show(authority), show(path), show(query))
            }
            Target::Asterisk => "*".to_owned(),
            Target::Invalid => "invalid".to_owned(),
        }
    }

    #[test]
    fn a_target_is_a_path_with_a_query_or_an_absolute_uri() {
        for (text, expected) in [
            ("/", "- / -"),
            ("/x?y=1?z", "- /x y=1?z"),
            ("/x?", "- /x "),
            ("http://a.example:80/x?y", "a.example:80 /x y"),
            ("HTTPS://a.example", "a.example - -"),
            ("http://a.example?y", "a.example - y"),
            ("*", "*"),
            ("x", "invalid"),
            ("ftp://a/", "invalid"),
            ("/x#y", "invalid"),
            ("http://", "invalid"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }
}
