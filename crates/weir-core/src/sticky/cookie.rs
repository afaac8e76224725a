//! Cookies of a request and of its response: their names, and where they are in a head.

use std::time::Duration;

use super::pins::Pins;
use crate::head::HeaderLines;
use crate::seal::{CookieKeys, Purpose};

/// Characters of a cookie's value: as many as AWS's have.
pub const VALUE_CHARS: usize = 128;

/// Cookies of one name that are tried until one opens: a client may have several, of other paths and domains.
const TRIED_MAX: usize = 4;

/// Cookies of groups, the one that counts first.
pub(super) const OF_GROUPS: [&str; 2] = ["AWSALBTGCORS", "AWSALBTG"];

/// Cookies of targets, the one that counts first.
pub(super) const OF_TARGETS: [&str; 2] = ["AWSALBCORS", "AWSALB"];

/// Cookies of instances behind a classic listener, the one that counts first.
pub(super) const OF_INSTANCES: [&str; 2] = ["AWSELBCORS", "AWSELB"];

/// The cookie that accompanies an application's. AWS has four, for what one cannot hold; ours holds all there is.
pub(super) const OF_APPLICATION_TARGETS: [&str; 1] = ["AWSALBAPP-0"];

/// The value of a cookie: base64.
pub(super) type Value = [u8; VALUE_CHARS];

/// A cookie that a response sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cookie {
    /// Its name.
    pub name: &'static str,
    value: Value,
}

/// The cookies that a response sets.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cookies {
    cookies: [Option<Cookie>; OF_GROUPS.len() + OF_TARGETS.len()],
    /// How long browsers keep those of classic listeners, if longer than their session.
    pub kept: Option<Duration>,
}

impl Cookie {
    /// Its value: [`VALUE_CHARS`] characters of base64.
    pub fn value(&self) -> &str {
        std::str::from_utf8(&self.value).expect("base64 is ASCII")
    }

    /// Whether it is the copy for requests that pages of other sites make.
    pub fn is_cross_site(&self) -> bool {
        self.name.ends_with("CORS")
    }
}

impl Cookies {
    /// Sets a value under every one of `names`: the plain one first, as AWS does.
    pub(super) fn add(&mut self, names: &[&'static str], value: &Value) {
        let places = self.cookies.iter_mut().filter(|place| place.is_none());
        for (place, name) in places.zip(names.iter().rev()) {
            *place = Some(Cookie { name, value: *value });
        }
    }

    /// Each cookie, in the order in which they are set.
    pub fn iter(&self) -> impl Iterator<Item = &Cookie> {
        self.cookies.iter().flatten()
    }
}

/// What a request has of a kind of cookie.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found {
    Nothing,
    Pins(Pins),
    /// Some, and none that opens: it was sealed with a secret that is forgotten, or changed under way.
    Unreadable,
}

impl Found {
    pub(super) fn pins(self) -> Pins {
        match self {
            Self::Pins(pins) => pins,
            Self::Nothing | Self::Unreadable => Pins::default(),
        }
    }
}

/// What a request's cookies say of which the first of `names` that there is counts.
pub(super) fn find(
    headers: &dyn HeaderLines,
    names: &[&str],
    purpose: Purpose,
    keys: Option<&CookieKeys>,
) -> Found {
    let Some(keys) = keys else { return Found::Nothing };
    for name in names {
        let (mut tried, mut opened) = (0, None);
        any_named(headers, name, |value| {
            tried += 1;
            opened = Pins::open(keys, purpose, value);
            opened.is_some() || tried == TRIED_MAX
        });
        match opened {
            Some(pins) => return Found::Pins(pins),
            None if tried > 0 => return Found::Unreadable,
            None => {}
        }
    }
    Found::Nothing
}

/// Whether a request has a cookie of this name.
pub(super) fn has(headers: &dyn HeaderLines, name: &str) -> bool {
    any_named(headers, name, |_| true)
}

/// What `make` makes of the first cookie of this name.
pub fn with_cookie<T>(headers: &dyn HeaderLines, name: &str, make: impl Fn(&[u8]) -> T) -> Option<T> {
    let mut first = None;
    any_named(headers, name, |value| {
        first = Some(make(value));
        true
    });
    first
}

/// Whether the value of any cookie of this name passes the test. Names are case-sensitive. Source: RFC 6265 section 4.2.
fn any_named(headers: &dyn HeaderLines, name: &str, mut test: impl FnMut(&[u8]) -> bool) -> bool {
    headers.any_value("cookie", &mut |line| {
        line.split(|byte| *byte == b';').any(|pair| {
            let value = pair.trim_ascii_start().strip_prefix(name.as_bytes());
            value.and_then(|rest| rest.strip_prefix(b"=")).is_some_and(|value| test(value.trim_ascii_end()))
        })
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::seal::Nonce;
    use crate::sticky::pins::{Fingerprint, Pin};

    fn keys() -> CookieKeys {
        CookieKeys::new(&[&[1; 32]])
    }

    /// A value that pins to a target whose group is its number, until the second 10.
    fn value(group: u64) -> String {
        let pin = Pin::new(Fingerprint::number(group), Fingerprint::number(7), 10, Duration::ZERO);
        let value = Pins::of(pin, [None; 2]).seal(&keys(), Purpose::Target, Nonce([9; 12]));
        String::from_utf8(value.to_vec()).unwrap()
    }

    /// The group that cookie lines pin to; `Err` when there is a cookie that cannot be read.
    fn group(lines: &[&str]) -> Result<Option<Fingerprint>, ()> {
        let headers: Vec<(String, String)> =
            lines.iter().map(|line| ("Cookie".to_owned(), (*line).to_owned())).collect();
        match find(&headers, &OF_TARGETS, Purpose::Target, Some(&keys())) {
            Found::Nothing => Ok(None),
            Found::Unreadable => Err(()),
            Found::Pins(pins) => Ok(pins.live(0).next().map(|pin| pin.group)),
        }
    }

    #[test]
    fn a_cookie_is_found_wherever_it_stands() {
        let (one, expected) = (value(1), Ok(Some(Fingerprint::number(1))));
        assert_eq!(group(&[&format!("AWSALB={one}")]), expected);
        assert_eq!(group(&[&format!("a=b; AWSALB={one}; c=d")]), expected);
        assert_eq!(group(&[&format!("a=b;AWSALB={one};")]), expected);
        assert_eq!(group(&["a=b", &format!("AWSALB={one}"), "c=d"]), expected, "crumbs of HTTP/2");
        for other in ["XAWSALB", "AWSALBX", "awsalb", "AWSALB "] {
            assert_eq!(group(&[&format!("{other}={one}")]), Ok(None), "{other}");
        }
    }

    // Conformance: A3.4.3
    #[test]
    fn the_cookie_for_other_sites_wins() {
        let [one, two] = [value(1), value(2)];
        let both = [format!("AWSALB={one}; AWSALBCORS={two}"), format!("AWSALBCORS={two}; AWSALB={one}")];
        for line in both {
            assert_eq!(group(&[&line]), Ok(Some(Fingerprint::number(2))), "{line}");
        }
        assert_eq!(group(&[&format!("AWSALB={one}; AWSALBCORS=x")]), Err(()), "even when it cannot be read");
    }

    #[test]
    fn of_several_with_one_name_the_first_that_opens_counts_and_few_are_tried() {
        let one = value(1);
        assert_eq!(group(&[&format!("AWSALB=x; AWSALB={one}")]), Ok(Some(Fingerprint::number(1))));
        let many = format!("{}AWSALB={one}", "AWSALB=x; ".repeat(TRIED_MAX));
        assert_eq!(group(&[&many]), Err(()));
    }

    // Conformance: A3.4.15
    #[test]
    fn what_is_not_as_it_was_sealed_is_unreadable() {
        let one = value(1);
        let encoded = one.replace('+', "%2B").replace('/', "%2F");
        let encoded = if encoded == one { one.replacen('A', "%41", 1) } else { encoded };
        for bad in [&encoded, &one[1..], &format!("\"{one}\""), &format!("{one}="), "", &"A".repeat(128)] {
            assert_eq!(group(&[&format!("AWSALB={bad}")]), Err(()), "{bad}");
        }
    }

    // Conformance: A3.4.5
    #[test]
    fn cookies_are_set_in_the_order_that_aws_has() {
        let mut cookies = Cookies::default();
        cookies.add(&OF_GROUPS, &[b'a'; VALUE_CHARS]);
        cookies.add(&OF_TARGETS, &[b'b'; VALUE_CHARS]);
        let names: Vec<&str> = cookies.iter().map(|cookie| cookie.name).collect();
        assert_eq!(names, ["AWSALBTG", "AWSALBTGCORS", "AWSALB", "AWSALBCORS"]);
    }

    struct Bytes(Vec<Vec<u8>>);

    impl HeaderLines for Bytes {
        fn any_value(&self, _: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
            self.0.iter().any(|line| test(line))
        }

        fn first_value(&self, _: &str) -> Option<&[u8]> {
            self.0.first().map(Vec::as_slice)
        }
    }

    proptest! {
        #[test]
        fn no_cookie_that_a_client_makes_panics_or_pins(
            lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..200), 0..4),
            value in "[A-Za-z0-9+/=;% ]{0,140}",
        ) {
            let mut lines = lines;
            lines.push([b"AWSALBCORS=", value.as_bytes()].concat());
            let found = find(&Bytes(lines), &OF_TARGETS, Purpose::Target, Some(&keys()));
            prop_assert!(matches!(found, Found::Unreadable));
        }
    }
}
