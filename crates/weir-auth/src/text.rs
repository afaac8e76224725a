//! Texts that travel in URLs, forms and cookies.

use std::fmt::Write as _;

use weir_core::head::HeaderLines;

/// `text` with everything escaped that is not safe everywhere in a URL. Source: RFC 3986 section 2.3.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            write!(escaped, "%{byte:02X}").expect("writing to a string succeeds");
        }
    }
    escaped
}

/// Pairs as a query or a form has them.
pub(crate) fn form(pairs: &[(&str, &str)]) -> String {
    let pairs: Vec<String> =
        pairs.iter().map(|(name, value)| format!("{}={}", escape(name), escape(value))).collect();
    pairs.join("&")
}

/// The value of a query's first parameter of that name.
pub(crate) fn parameter(query: &str, name: &str) -> Option<String> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| unescape(value))
}

fn unescape(text: &str) -> String {
    let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16);
    let bytes = text.as_bytes();
    let (mut plain, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let escaped = match bytes[at] {
            b'%' => digit(bytes.get(at + 1)).zip(digit(bytes.get(at + 2))),
            _ => None,
        };
        match (bytes[at], escaped) {
            (_, Some((high, low))) => {
                plain.push((high * 16 + low) as u8);
                at += 2;
            }
            (b'+', None) => plain.push(b' '),
            (byte, None) => plain.push(byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&plain).into_owned()
}

/// The value of a request's first cookie of that name. Source: RFC 6265 section 4.2.
pub(crate) fn cookie(fields: &dyn HeaderLines, name: &str) -> Option<String> {
    let mut found = None;
    fields.any_value("cookie", &mut |line| {
        let mut pairs = line.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        found = pairs.find_map(|pair| {
            let value = pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
            String::from_utf8(value.to_vec()).ok()
        });
        found.is_some()
    });
    found
}

/// A cookie as a response sets it, for the whole host, over TLS only and out of reach of scripts. `seconds` is how long
/// browsers keep it; zero takes it away.
pub(crate) fn set_cookie(name: &str, value: &str, seconds: u64) -> String {
    format!("{name}={value}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Lax")
}

/// Whether a field may have `text` as its value.
pub(crate) fn is_field(text: &str) -> bool {
    !text.is_empty() && !text.bytes().any(|byte| byte.is_ascii_control())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_parameter_is_found_by_its_whole_name() {
        let query = "xcode=1&code=a%2Bb+c&code=2&bad=%zz%";
        assert_eq!(parameter(query, "code").as_deref(), Some("a+b c"));
        assert_eq!(parameter(query, "bad").as_deref(), Some("%zz%"));
        assert_eq!(parameter(query, "missing"), None);
    }

    #[test]
    fn a_cookie_is_found_among_others_and_lines() {
        let lines = |values: &[&str]| -> Vec<(String, String)> {
            values.iter().map(|value| ("Cookie".to_owned(), (*value).to_owned())).collect()
        };
        let fields = lines(&["a=1; ab=2", "b=x=y ; b=z"]);
        assert_eq!(cookie(&fields, "a").as_deref(), Some("1"));
        assert_eq!(cookie(&fields, "b").as_deref(), Some("x=y"));
        assert_eq!(cookie(&fields, "c"), None);
    }

    proptest! {
        #[test]
        fn what_is_escaped_comes_back(text in "\\PC{0,40}") {
            prop_assert_eq!(parameter(&form(&[("a", &text)]), "a"), Some(text));
        }

        #[test]
        fn no_query_and_no_cookie_breaks_the_reader(text in "[%a-z0-9=&;+ ]{0,40}", name in "[a-c]") {
            let _ = parameter(&text, &name);
            let _ = cookie(&vec![("cookie".to_owned(), text)], &name);
        }
    }
}
