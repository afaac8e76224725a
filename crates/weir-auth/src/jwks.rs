//! Keys of an issuer, as its endpoint publishes them. Source: RFC 7517.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde_json::Value;
use weir_core::authentication::AuthenticationError;

/// Largest key set, in bytes: AWS's 150 KB.
pub(crate) const BYTES_MAX: usize = 150 * 1024;

/// Most keys of a set: AWS's.
const KEYS_MAX: usize = 10;

/// Bytes of a key's modulus: AWS takes RSA of 2048 bits and no other.
const MODULUS_BYTES: usize = 256;

/// The keys of a set that tokens can be checked with.
#[derive(Default)]
pub(crate) struct Keys(Vec<(Option<String>, DecodingKey)>);

impl Keys {
    /// Reads a key set. A key of another kind is left out, since it has signed no token that would pass.
    ///
    /// # Errors
    /// It is none, or has too many keys, or none that can be used.
    pub(crate) fn parse(document: &[u8]) -> Result<Self, AuthenticationError> {
        let document: Value =
            serde_json::from_slice(document).map_err(|_| AuthenticationError::JwksInvalid)?;
        let keys = document["keys"].as_array().filter(|keys| keys.len() <= KEYS_MAX);
        let keys: Vec<_> = keys.ok_or(AuthenticationError::JwksInvalid)?.iter().filter_map(key).collect();
        if keys.is_empty() { Err(AuthenticationError::JwksInvalid) } else { Ok(Self(keys)) }
    }

    /// Whether there is a key of that id.
    pub(crate) fn has(&self, id: &str) -> bool {
        self.0.iter().any(|(its, _)| its.as_deref() == Some(id))
    }

    /// The keys that may have signed a token which names `id`, or none.
    pub(crate) fn candidates(&self, id: Option<&str>) -> impl Iterator<Item = &DecodingKey> {
        let is_named = move |its: &Option<String>| id.is_none() || its.as_deref() == id;
        self.0.iter().filter(move |(its, _)| is_named(its)).map(|(_, key)| key)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(id, _)| id)).finish()
    }
}

/// A key with its id, if it checks signatures by RS256.
fn key(key: &Value) -> Option<(Option<String>, DecodingKey)> {
    let is = |name: &str, wanted: &str| key.get(name).is_none_or(|value| value == wanted);
    if key["kty"] != "RSA" || !is("use", "sig") || !is("alg", "RS256") {
        return None;
    }
    let number = |name: &str| {
        let bytes = URL_SAFE_NO_PAD.decode(key[name].as_str()?.trim_end_matches('=')).ok()?;
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        Some(bytes[zeros..].to_vec())
    };
    let modulus = number("n").filter(|modulus| modulus.len() == MODULUS_BYTES && modulus[0] & 0x80 != 0)?;
    let id = key["kid"].as_str().map(ToOwned::to_owned);
    Some((id, DecodingKey::from_rsa_raw_components(&modulus, &number("e")?)))
}

/// Issuers for tests of this crate.
#[cfg(test)]
pub(crate) mod testing {
    use rcgen::{KeyPair, PKCS_RSA_SHA256, RsaKeySize, SigningKey as _};
    use serde_json::{Value, json};

    use super::*;

    /// Somebody who signs tokens.
    pub(crate) struct Issuer {
        id: String,
        pair: KeyPair,
    }

    impl Issuer {
        pub(crate) fn new(id: &str) -> Self {
            Self::of(id, RsaKeySize::_2048)
        }

        pub(crate) fn of(id: &str, size: RsaKeySize) -> Self {
            Self { id: id.to_owned(), pair: KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, size).unwrap() }
        }

        /// Its key, as a key set has it.
        pub(crate) fn jwk(&self) -> Value {
            let (modulus, exponent) = numbers(self.pair.public_key_raw());
            let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
            json!({ "kty": "RSA", "use": "sig", "kid": self.id, "n": text(modulus), "e": text(exponent) })
        }

        pub(crate) fn document(&self) -> String {
            json!({ "keys": [self.jwk()] }).to_string()
        }

        pub(crate) fn keys(&self) -> Keys {
            Keys::parse(self.document().as_bytes()).unwrap()
        }

        /// A token with these claims.
        pub(crate) fn sign(&self, claims: &Value) -> String {
            let header = json!({ "alg": "RS256", "typ": "JWT", "kid": self.id }).to_string();
            let unsigned = forged(&header, &claims.to_string(), "");
            let unsigned = unsigned.trim_end_matches('.');
            format!("{unsigned}.{}", URL_SAFE_NO_PAD.encode(self.pair.sign(unsigned.as_bytes()).unwrap()))
        }
    }

    /// Three parts that look like a token.
    pub(crate) fn forged(header: &str, payload: &str, signature: &str) -> String {
        format!("{}.{}.{signature}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload))
    }

    /// Modulus and exponent of an `RSAPublicKey` in DER: a sequence of two integers.
    fn numbers(der: &[u8]) -> (&[u8], &[u8]) {
        let element = |der: &'_ [u8]| -> (usize, usize) {
            match der[1] {
                0x81 => (3, usize::from(der[2])),
                0x82 => (4, usize::from(der[2]) << 8 | usize::from(der[3])),
                length => (2, usize::from(length)),
            }
        };
        let inside = &der[element(der).0..];
        let (head, length) = element(inside);
        let (modulus, rest) = (&inside[head..head + length], &inside[head + length..]);
        let (head, length) = element(rest);
        (&modulus[usize::from(modulus[0] == 0)..], &rest[head..head + length])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::RsaKeySize;
    use serde_json::json;

    use super::testing::Issuer;
    use super::*;

    // Conformance: A2.3.39
    #[test]
    fn keys_of_other_kinds_are_left_out_and_do_not_spoil_the_set() {
        let issuer = Issuer::new("good");
        let with = |changes: Value| {
            let mut key = issuer.jwk();
            key["kid"] = json!("other");
            for (name, value) in changes.as_object().unwrap() {
                key[name] = value.clone();
            }
            key
        };
        for other in [
            with(json!({ "kty": "EC" })),
            with(json!({ "use": "enc" })),
            with(json!({ "alg": "RS512" })),
            with(json!({ "n": "AQAB" })),
            with(json!({ "e": 3 })),
            Issuer::of("other", RsaKeySize::_4096).jwk(),
            json!("a text"),
            json!({}),
        ] {
            let keys = Keys::parse(json!({ "keys": [other, issuer.jwk()] }).to_string().as_bytes()).unwrap();
            assert!(keys.has("good") && !keys.has("other"), "{other}");
        }
        let padded = with(json!({ "e": "AQAB==" }));
        assert!(Keys::parse(json!({ "keys": [padded] }).to_string().as_bytes()).unwrap().has("other"));
    }

    // Conformance: A2.3.42
    #[test]
    fn what_is_no_key_set_of_the_size_allowed_is_refused() {
        let key = Issuer::new("a").jwk();
        let set = |count: usize| json!({ "keys": vec![key.clone(); count] }).to_string();
        assert!(Keys::parse(set(KEYS_MAX).as_bytes()).is_ok());
        let eleven = set(KEYS_MAX + 1);
        for document in ["", "[]", "{}", "{\"keys\":{}}", "{\"keys\":[]}", "<html>", &eleven] {
            let refused = Keys::parse(document.as_bytes()).map(drop);
            assert_eq!(refused, Err(AuthenticationError::JwksInvalid), "{document}");
        }
    }

    proptest! {
        #[test]
        fn nothing_that_an_endpoint_says_breaks_the_reader(document in "\\{\"keys\":\\[(\\{\"kty\":\"RSA\",\"[ne]\":(\"[A-Za-z0-9_=-]{0,9}\"|1|null)\\},?){0,3}\\]\\}") {
            prop_assert!(Keys::parse(document.as_bytes()).is_err());
        }
    }
}
