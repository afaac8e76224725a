//! Which certificate a client is shown.
//!
//! What decides, in AWS's order: ECDSA over RSA, unexpired over expired, the better hash, the longer key, the later end.
//! See [SNI](https://docs.aws.amazon.com/elasticloadbalancing/latest/application/https-listener-certificates.html).

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crate::certificate::{Key, ServerCertificate};

/// The certificates of a listener by the names that they are for.
#[derive(Debug, Default)]
pub(crate) struct Names {
    /// Certificates by position. Wildcards stand without their `*`: `.example.com`.
    by_name: BTreeMap<String, Vec<usize>>,
}

impl Names {
    /// The names of `certificates`.
    pub(crate) fn of<'c>(certificates: impl Iterator<Item = &'c ServerCertificate>) -> Self {
        let mut names = Self::default();
        for (at, certificate) in certificates.enumerate() {
            // What begins with a dot is no name, and would be taken for a wildcard's.
            for name in certificate.names.iter().filter(|name| !name.starts_with('.')) {
                // A wildcard stands for a whole first label, and for nothing else.
                let name = name.strip_prefix('*').filter(|rest| rest.starts_with('.')).unwrap_or(name);
                let certificates = names.by_name.entry(name.to_owned()).or_default();
                if certificates.last() != Some(&at) {
                    certificates.push(at);
                }
            }
        }
        names
    }

    /// The positions of the certificates that are for `name`: those with the very name, else those with its wildcard.
    pub(crate) fn matching(&self, name: &str) -> &[usize] {
        let name = name.to_ascii_lowercase();
        let exact = self.by_name.get(&name).filter(|_| !name.starts_with('.'));
        let wildcard = || name.find('.').filter(|at| *at > 0).and_then(|at| self.by_name.get(&name[at..]));
        exact.or_else(wildcard).map_or(&[], Vec::as_slice)
    }
}

/// The preferred of `certificates`, each with whether the client can use it; `None` when there is none. What the client
/// cannot use is chosen only when there is nothing else.
pub(crate) fn preferred<'c>(
    certificates: impl Iterator<Item = (usize, &'c ServerCertificate, bool)>,
    now: i64,
) -> Option<usize> {
    let rank = |certificate: &ServerCertificate, is_usable: bool| {
        let (is_ecdsa, bits) = match certificate.key {
            Key::Ecdsa(bits) => (true, bits),
            Key::Rsa(bits) => (false, bits),
            Key::Other => (false, 0),
        };
        let is_valid = certificate.is_valid(now);
        (is_usable, is_ecdsa, is_valid, certificate.hash_bits, bits, certificate.not_after)
    };
    // Of equals the first one written.
    certificates
        .max_by_key(|(at, certificate, is_usable)| (rank(certificate, *is_usable), Reverse(*at)))
        .map(|(at, ..)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(names: &[&str], key: Key, not_after: i64) -> ServerCertificate {
        ServerCertificate {
            file: "shop.pem".into(),
            names: names.iter().map(ToString::to_string).collect(),
            serial_number: "01".to_owned(),
            not_before: 0,
            not_after,
            key,
            hash_bits: 256,
        }
    }

    fn named(names: &[&str]) -> ServerCertificate {
        certificate(names, Key::Rsa(2048), 100)
    }

    // Conformance: A9.3
    #[test]
    fn a_name_goes_before_its_wildcard_and_a_wildcard_stands_for_one_label() {
        let certificates =
            [named(&["*.example.com"]), named(&["shop.example.com", "SHOP.test"]), named(&["com", ".odd"])];
        let names = Names::of(certificates.iter());
        assert_eq!(names.matching("shop.example.com"), [1]);
        assert_eq!(names.matching("Blog.Example.com"), [0]);
        assert!(names.matching("a.blog.example.com").is_empty());
        assert!(names.matching("example.com").is_empty());
        assert!(names.matching("a.odd").is_empty());
        assert!(names.matching(".example.com").is_empty());
        assert!(names.matching("").is_empty());
    }

    // Conformance: A9.2
    #[test]
    fn each_rule_decides_when_those_before_it_do_not() {
        let choose = |a: &ServerCertificate, b: &ServerCertificate| {
            let first = preferred([(0, a, true), (1, b, true)].into_iter(), 50);
            let turned = preferred([(0, b, true), (1, a, true)].into_iter(), 50);
            assert_eq!(turned, first.map(|at| 1 - at), "the order written decides between {a:?} and {b:?}");
            first.unwrap()
        };
        let base = named(&["a"]);
        let ecdsa = certificate(&["a"], Key::Ecdsa(256), 100);
        let ended = certificate(&["a"], Key::Rsa(4096), 10);
        assert_eq!(choose(&base, &ecdsa), 1, "ECDSA over RSA");
        assert_eq!(choose(&ended, &base), 1, "unexpired over a longer key");
        assert_eq!(choose(&certificate(&["a"], Key::Ecdsa(256), 10), &base), 0, "ECDSA over unexpired");
        assert_eq!(choose(&ServerCertificate { hash_bits: 0, ..base.clone() }, &base), 1, "SHA over MD5");
        assert_eq!(
            choose(&certificate(&["a"], Key::Rsa(3072), 90), &base),
            0,
            "the longer key over the later end"
        );
        assert_eq!(choose(&base, &certificate(&["a"], Key::Rsa(2048), 200)), 1, "the later end");
    }

    // Conformance: A9.2
    #[test]
    fn what_the_client_cannot_use_is_chosen_last() {
        let (ecdsa, rsa) = (certificate(&["a"], Key::Ecdsa(256), 100), named(&["a"]));
        assert_eq!(preferred([(0, &ecdsa, false), (1, &rsa, true)].into_iter(), 50), Some(1));
        assert_eq!(preferred([(0, &ecdsa, false), (1, &rsa, false)].into_iter(), 50), Some(0));
        assert_eq!(
            preferred([(0, &rsa, true), (1, &rsa, true)].into_iter(), 50),
            Some(0),
            "of equals the first"
        );
    }
}
