//! A bearer token: where it stands in a request, and whether one of an issuer's keys has signed it.
//!
//! Source: RFC 6750 section 2.1, RFC 7515. Application Load Balancer: RS256 only.

use jsonwebtoken::{Algorithm, Validation, decode, decode_header};
use serde_json::{Map, Value};
use weir_core::authentication::AuthenticationError;
use weir_core::head::HeaderLines;

use crate::jwks::Keys;

/// What a token says, by claim.
pub(crate) type Claims = Map<String, Value>;

/// A token as it came, unchecked.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Token(String);

/// The token of a request's one `Authorization: Bearer`.
///
/// Of several such fields a target might read another than weir did, so they are none.
///
/// # Errors
/// There is none, or it is not text.
pub(crate) fn bearer(fields: &dyn HeaderLines) -> Result<Token, AuthenticationError> {
    let mut count = 0;
    fields.any_value("authorization", &mut |_| {
        count += 1;
        false
    });
    let value = fields.first_value("authorization").ok_or(AuthenticationError::JwtMissing)?;
    let value = std::str::from_utf8(value).map_err(|_| AuthenticationError::JwtMalformed)?;
    let token = match value.split_once(' ') {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => token.trim(),
        _ => return Err(AuthenticationError::JwtMissing),
    };
    if count > 1 {
        return Err(AuthenticationError::JwtMalformed);
    }
    Ok(Token(token.to_owned()))
}

impl Token {
    /// The id of the key that it says it is signed with, if it says so.
    ///
    /// # Errors
    /// It is no token, not signed by RS256, or asks for something that must be understood and is not.
    pub(crate) fn key_id(&self) -> Result<Option<String>, AuthenticationError> {
        let header = decode_header(&self.0).map_err(|_| AuthenticationError::JwtMalformed)?;
        if header.alg != Algorithm::RS256 || header.crit.is_some() {
            return Err(AuthenticationError::JwtMalformed);
        }
        Ok(header.kid)
    }

    /// What it claims, once one of `keys` has been found to have signed it: that of `key_id`, or any where it names none.
    ///
    /// # Errors
    /// None has.
    pub(crate) fn verify(&self, keys: &Keys, key_id: Option<&str>) -> Result<Claims, AuthenticationError> {
        // Claims are checked elsewhere, against a time that is an argument.
        let mut validation = Validation::new(Algorithm::RS256);
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_aud = false;
        let mut claims =
            keys.candidates(key_id).filter_map(|key| decode::<Claims>(&self.0, key, &validation).ok());
        claims.next().map(|data| data.claims).ok_or(AuthenticationError::JwtSignatureInvalid)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::jwks::testing::{Issuer, forged};

    fn fields(values: &[&str]) -> Vec<(String, String)> {
        values.iter().map(|value| ("Authorization".to_owned(), (*value).to_owned())).collect()
    }

    // Conformance: A2.3.38
    #[test]
    fn a_bearer_token_is_found_whatever_the_case_of_its_scheme() {
        for value in ["Bearer abc", "bearer abc", "BEARER  abc "] {
            assert_eq!(bearer(&fields(&[value])), Ok(Token("abc".to_owned())), "{value}");
        }
    }

    #[test]
    fn whatever_is_no_bearer_token_is_missing_and_two_are_none() {
        for values in [&[][..], &["Basic abc"], &["Bearer"], &["Bearerabc"]] {
            assert_eq!(bearer(&fields(values)), Err(AuthenticationError::JwtMissing), "{values:?}");
        }
        let two = bearer(&fields(&["Bearer abc", "Bearer def"]));
        assert_eq!(two, Err(AuthenticationError::JwtMalformed));
    }

    #[test]
    fn only_a_key_of_the_issuer_opens_a_token() {
        let (issuer, stranger) = (Issuer::new("a"), Issuer::new("a"));
        let token = Token(issuer.sign(&serde_json::json!({ "sub": "x" })));
        assert_eq!(token.key_id().unwrap().as_deref(), Some("a"));
        assert_eq!(token.verify(&issuer.keys(), Some("a")).unwrap()["sub"], "x");
        assert_eq!(token.verify(&issuer.keys(), None).unwrap()["sub"], "x", "no id: any key");
        for (keys, id) in [(stranger.keys(), "a"), (issuer.keys(), "b")] {
            let refused = token.verify(&keys, Some(id));
            assert_eq!(refused, Err(AuthenticationError::JwtSignatureInvalid));
        }
    }

    // Conformance: A2.3.39
    #[test]
    fn a_token_that_is_not_signed_by_rs256_is_malformed() {
        for (algorithm, name) in
            [("none", "none"), ("HS256", "HS256"), ("RS384", "RS384"), ("ES256", "ES256")]
        {
            let token = Token(forged(&format!("{{\"alg\":\"{algorithm}\"}}"), "{}", "AAAA"));
            assert_eq!(token.key_id(), Err(AuthenticationError::JwtMalformed), "{name}");
        }
        let critical = Token(forged("{\"alg\":\"RS256\",\"crit\":[\"exp\"]}", "{}", "AAAA"));
        assert_eq!(critical.key_id(), Err(AuthenticationError::JwtMalformed));
    }

    proptest! {
        #[test]
        fn no_bytes_of_a_client_break_the_reader(
            text in prop_oneof![
                "\\PC{0,80}".boxed(),
                "Bearer [A-Za-z0-9_.=-]{0,120}".boxed(),
                ("\\PC{0,60}", "\\PC{0,40}", "[A-Za-z0-9_-]{0,20}")
                    .prop_map(|(header, payload, signature)| format!("Bearer {}", forged(&header, &payload, &signature)))
                    .boxed(),
            ],
        ) {
            if let Ok(token) = bearer(&fields(&[&text])) {
                let _ = token.key_id();
                prop_assert!(token.verify(&Keys::default(), None).is_err());
            }
        }

        #[test]
        fn no_header_of_a_token_breaks_the_reader(header in "\\{(\"(alg|kid|typ|crit|jwk|x5c)\":(\"RS256\"|1|null|\\[\\]|\\{\\}),?){0,4}\\}") {
            let token = Token(forged(&header, "{}", "AAAA"));
            let _ = token.key_id();
        }
    }
}
