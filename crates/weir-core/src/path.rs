//! The normal form of a request's path, which rules match: what is written in different ways is one path.
//!
//! Source: Application Load Balancer, "Listener rules": path conditions are compared after URI normalization; which one
//! is ours to choose, see decision 19. RFC 3986 sections 6.2.2.1 to 6.2.2.3 and 5.2.4.

/// The normal form of a path that begins with `/`; `None` where it is written so, and where it is no text.
///
/// Escapes of letters, digits, `-`, `.`, `_` and `~` are decoded, the digits of other escapes are in upper case, a `%`
/// that begins none is `%25`, and `.` and `..` between slashes are gone. A target is sent the path as it came.
pub fn normal_form(path: &[u8]) -> Option<String> {
    if !may_differ(path) {
        return None;
    }
    let path = std::str::from_utf8(path).ok()?;
    let normal = without_dots(&decoded(path));
    (normal != path).then_some(normal)
}

/// Whether a path has an escape, or a part that begins with a dot: a quick look, since most have neither.
fn may_differ(path: &[u8]) -> bool {
    let mut before = 0;
    path.iter().any(|byte| *byte == b'%' || (std::mem::replace(&mut before, *byte) == b'/' && *byte == b'.'))
}

fn decoded(path: &str) -> String {
    let mut decoded = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((plain, behind)) = rest.split_once('%') {
        decoded.push_str(plain);
        match behind.as_bytes().first_chunk().copied().and_then(byte_of) {
            Some(byte) if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) => {
                decoded.push(char::from(byte));
                rest = &behind[2..];
            }
            Some(_) => {
                decoded.push('%');
                decoded.push_str(&behind[..2].to_ascii_uppercase());
                rest = &behind[2..];
            }
            // No escape, and so a sign like any other, which is written as one.
            None => {
                decoded.push_str("%25");
                rest = behind;
            }
        }
    }
    decoded.push_str(rest);
    decoded
}

/// The byte that two hexadecimal digits stand for.
fn byte_of(digits: [u8; 2]) -> Option<u8> {
    let [high, low] = digits.map(|digit| char::from(digit).to_digit(16));
    Some((high? * 16 + low?) as u8)
}

/// Without the parts `.` and `..`, and what `..` goes back over. A path cannot go above its root.
fn without_dots(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    let Some(all) = path.strip_prefix('/') else { return path.to_owned() };
    for part in all.split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    let ends_in_dots = all.rsplit('/').next().is_some_and(|last| matches!(last, "." | ".."));
    let mut normal = String::with_capacity(path.len());
    for part in &parts {
        normal.push('/');
        normal.push_str(part);
    }
    if ends_in_dots || normal.is_empty() {
        normal.push('/');
    }
    normal
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::normal_form;

    // Conformance: A2.1.14
    #[test]
    fn what_is_written_in_different_ways_is_one_path() {
        for (path, normal) in [
            ("/%61pi", "/api"),
            ("/a%2Fb", "/a%2Fb"),
            ("/a%2fb", "/a%2Fb"),
            ("/%7Euser/%e4", "/~user/%E4"),
            ("/a/../b", "/b"),
            ("/a/%2e%2E/b", "/b"),
            ("/./a/.", "/a/"),
            ("/a/b/..", "/a/"),
            ("/../..", "/"),
            ("/a//../b", "/a/b"),
            ("/.well-known/x", "/.well-known/x"),
            ("/a%zz%4", "/a%25zz%254"),
            ("/%%36%31", "/%2561"),
            ("/%25%36%31", "/%2561"),
            ("//a", "//a"),
        ] {
            assert_eq!(normal_form(path.as_bytes()).as_deref().unwrap_or(path), normal, "{path}");
        }
    }

    proptest! {
        #[test]
        fn a_normal_form_has_no_other_and_begins_like_every_path(path in "/[a./%2346eEfF5~ä]{0,12}") {
            let normal = normal_form(path.as_bytes()).unwrap_or(path);
            prop_assert!(normal.starts_with('/'));
            prop_assert!(!normal.split('/').any(|part| matches!(part, "." | "..")), "{}", normal);
            prop_assert_eq!(normal_form(normal.as_bytes()), None, "{}", normal);
        }
    }
}
